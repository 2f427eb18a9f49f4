"""What the batch is asked for, checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import saliency
from .errors import UsageError
from .export import KINDS, ExportOptions, check_percentile
from .metrics import preset_names
from .saliency import parameters
from .settings import Settings

__all__ = ["BatchOptions", "export_options", "settings_of"]

EXPORTS = ("png", *KINDS)


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """What the batch's command line says; defaults as there.

    Attributes
    ----------
    inputs : tuple of Path
    out : Path
    model : str
    methods : str
        Comma list of names and groups.
    assignments : tuple of str
        METHOD.PARAMETER=VALUE, of ``--set``.
    target, masks : str
    labels : Path or None
    slices : str or None
    presets, export : tuple of str
    seg_percentile : float
    identify : bool
    resample : bool
        Tilted and unevenly spaced volumes onto a regular grid.
    device, precision : str
    batch_size : int or "auto"
    seed : int
    limit : int or None
    overwrite : bool
    report_cases : int
    """

    inputs: tuple[Path, ...]
    out: Path
    model: str = "brain-tumor-mri"
    methods: str = "core"
    assignments: tuple[str, ...] = ()
    target: str = "predicted"
    masks: str = "auto"
    labels: Path | None = None
    slices: str | None = None
    presets: tuple[str, ...] = ("pair",)
    export: tuple[str, ...] = ("png",)
    seg_percentile: float = 95.0
    identify: bool = False
    resample: bool = False
    device: str = "auto"
    precision: str = "fp32"
    batch_size: int | str = "auto"
    seed: int = 0
    limit: int | None = None
    overwrite: bool = False
    report_cases: int = 50


def settings_of(options: BatchOptions) -> Settings:
    """Check the options and turn them into the engine's settings.

    Raises
    ------
    UsageError, MethodError
        If an option is wrong.
    """
    methods = tuple(saliency.resolve(options.methods))
    known = preset_names()
    if not options.presets:
        raise UsageError(f"no presets given; {', '.join(known)}.")
    if options.seed < 0:
        raise UsageError(f"seed {options.seed} is negative; 0 or more is needed.")
    if options.report_cases < 0:
        raise UsageError("report-cases must be 0 or more.")
    if options.masks not in ("auto", "none") and not Path(options.masks).is_dir():
        raise UsageError(
            f"masks '{options.masks}' is neither auto, none, nor a folder that exists."
        )
    for preset in options.presets:
        if preset not in known:
            raise UsageError(f"preset '{preset}' is unknown; {', '.join(known)}.")
    for export in options.export:
        if export not in EXPORTS:
            raise UsageError(
                f"export '{export}' is unknown; {', '.join(EXPORTS)}, or none."
            )
    check_percentile(options.seg_percentile)
    if options.limit is not None and options.limit < 1:
        raise UsageError("limit must be at least 1.")
    if options.slices not in (None, "mask", "middle", "all"):
        first, colon, last = options.slices.partition(":")
        numbers = all(not p or p.removeprefix("-").isdigit() for p in (first, last))
        if not colon or not numbers:
            raise UsageError(
                f"slices '{options.slices}' is not mask, middle, all or A:B."
            )
    return Settings(
        methods=methods,
        parameters=parameters.parse(options.assignments, methods),
        target=options.target,
        slices=options.slices,
        presets=tuple(options.presets),
        seed=options.seed,
    )


def export_options(options: BatchOptions) -> ExportOptions:
    """Return how the exports are made; ``png`` is the run's own."""
    return ExportOptions(
        kinds=tuple(kind for kind in KINDS if kind in options.export),
        seg_percentile=options.seg_percentile,
        identify=options.identify,
    )
