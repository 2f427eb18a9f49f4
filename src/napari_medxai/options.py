"""What the batch is asked for, checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import saliency
from .errors import MetricError, UsageError
from .export import KINDS, ExportOptions, check_percentile
from .metrics import NULLS, get_preset, preset_names
from .saliency import parameters
from .settings import CHECKS, Settings

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
    arch : str or None
    classes : tuple of str
    preprocessing : Path or None
    trust : bool
        Of a model that was brought along, see :func:`.models.load_model`.
    methods : str
        Comma list of names and groups.
    assignments : tuple of str
        METHOD.PARAMETER=VALUE, of ``--set``.
    target, masks : str
    labels : Path or None
    slices : str or None
    presets, export : tuple of str
    chance : int
        Chance maps for each method and slice.
    null : str
        What a chance map is.
    checks : tuple of str
        Checks of the maps that cost passes, see :class:`Settings`.
    maps : Path or None
        Folder in which maps are kept between runs.
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
    arch: str | None = None
    classes: tuple[str, ...] = ()
    preprocessing: Path | None = None
    trust: bool = False
    methods: str = "core"
    assignments: tuple[str, ...] = ()
    target: str = "predicted"
    masks: str = "auto"
    labels: Path | None = None
    slices: str | None = None
    presets: tuple[str, ...] = ("pair",)
    chance: int = 0
    null: str = "surrogate"
    checks: tuple[str, ...] = ()
    maps: Path | None = None
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
    if not options.presets:
        raise UsageError(f"no presets given; {', '.join(preset_names())}.")
    if options.chance < 0:
        raise UsageError(f"chance {options.chance} is negative; 0 or more is needed.")
    if options.null not in NULLS:
        raise UsageError(f"null '{options.null}' is unknown; {', '.join(NULLS)}.")
    for check in options.checks:
        if check not in CHECKS:
            raise UsageError(f"check '{check}' is unknown; {', '.join(CHECKS)}.")
    if options.seed < 0:
        raise UsageError(f"seed {options.seed} is negative; 0 or more is needed.")
    if options.report_cases < 0:
        raise UsageError("report-cases must be 0 or more.")
    if options.masks not in ("auto", "none") and not Path(options.masks).is_dir():
        raise UsageError(
            f"masks '{options.masks}' is neither auto, none, nor a folder that exists."
        )
    for preset in options.presets:
        try:
            get_preset(preset)
        except MetricError as error:
            raise UsageError(f"{error}.") from None
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
        chance=options.chance,
        null=options.null if options.chance else "",
        checks=tuple(sorted(set(options.checks))),
    )


def export_options(options: BatchOptions) -> ExportOptions:
    """Return how the exports are made; ``png`` is the run's own."""
    return ExportOptions(
        kinds=tuple(kind for kind in KINDS if kind in options.export),
        seg_percentile=options.seg_percentile,
        identify=options.identify,
    )
