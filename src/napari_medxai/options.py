"""What the batch is asked for, checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import saliency
from .errors import UsageError
from .metrics import preset_names
from .settings import Settings

__all__ = ["BatchOptions", "settings_of"]

EXPORTS = ("png",)


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
    target, masks : str
    labels : Path or None
    slices : str or None
    presets, export : tuple of str
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
    target: str = "predicted"
    masks: str = "auto"
    labels: Path | None = None
    slices: str | None = None
    presets: tuple[str, ...] = ("pair",)
    export: tuple[str, ...] = ("png",)
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
            raise UsageError(f"export '{export}' is unknown; png or none.")
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
        target=options.target,
        slices=options.slices,
        presets=tuple(options.presets),
        seed=options.seed,
    )
