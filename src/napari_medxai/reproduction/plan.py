"""The estimate: each architecture tried, one case counted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from napari_medxai.errors import Cancelled, MedXAIError, OutputError
from napari_medxai.saliency import parameters
from napari_medxai.training.images import read_images

from .counting import Work, work_of_a_case
from .estimate import (
    Estimate,
    Row,
    augmentation_seconds,
    device_text,
    read_estimate,
    row_of,
    write_estimate,
)
from .material import Material, network_input
from .options import ReproductionOptions
from .probe import probe

__all__ = ["estimated"]

FILE = "estimate.json"
TRIED = 8  # images


def estimated(
    options: ReproductionOptions,
    found: Material,
    cases: int,
    cache: Path,
    *,
    quiet: bool = False,
) -> Estimate:
    """Try every architecture for a few seconds, and write ``estimate.json``.

    What an earlier call with the same options found on the same device is taken.

    Parameters
    ----------
    options : ReproductionOptions
    found : Material
    cases : int
        Cases that will be explained.
    cache : Path
        For the few images that are read.
    quiet : bool
    """
    asked = _asked(options, found, cases)
    path = options.out / FILE
    known = read_estimate(path, asked)
    if known is not None:
        return known
    settings = options.settings(options.architectures[0])
    few = found.judged[:TRIED]
    pixels = read_images(few, network_input(settings), cache, quiet=True).pixels()
    if not quiet:
        print("Measuring how long it will take ...", file=sys.stderr, flush=True)
    work = work_of_a_case(
        pixels[0],
        network_input(settings),
        classes=len(found.classes),
        methods=options.resolved_methods,
        parameters=parameters.parse(options.assignments, options.resolved_methods),
        presets=options.presets,
        seed=options.seed,
    )
    augmentation = augmentation_seconds(pixels, settings)
    estimate = Estimate(
        rows=tuple(
            _row(options, found, name, work, cases, augmentation)
            for name in tqdm(
                options.architectures, desc="trying", disable=quiet, leave=False
            )
        ),
        cases=cases,
        explained=options.explained_names(),
        device=device_text(options.device),
    )
    write_estimate(path, estimate, asked)
    return estimate


def _row(
    options: ReproductionOptions,
    found: Material,
    name: str,
    work: Work,
    cases: int,
    augmentation: float,
) -> Row:
    settings = options.settings(name)
    try:
        measured = probe(settings, len(found.classes))
    except (Cancelled, OutputError):
        raise
    except Exception as error:  # noqa: BLE001 - training will meet and report it again
        kind = "" if isinstance(error, MedXAIError) else f"{type(error).__name__}: "
        first = (str(error).strip() or "no reason given").splitlines()[0]
        return Row(architecture=name, reason=f"{kind}{first}")
    return row_of(
        measured,
        settings,
        work,
        training=len(found.split.training),
        judged=len(found.split.selection),
        cases=cases,
        augmentation=augmentation,
    )


def _asked(options: ReproductionOptions, found: Material, cases: int) -> dict[str, Any]:
    """Return what the estimate depends on."""
    said = options.settings(options.architectures[0]).fingerprint()
    return {
        **{key: value for key, value in said.items() if key != "arch"},
        "architectures": list(options.architectures),
        "explain": options.explain,
        "methods": list(options.resolved_methods),
        "presets": list(options.presets),
        "cases": cases,
        "training": len(found.split.training),
        "device": device_text(options.device),
    }
