"""One method on one slice: its map, curves and localisation, by preset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import metrics
from .errors import Cancelled, MedXAIError, OutputError
from .models import Classifier
from .results import Outcome
from .settings import Settings
from .slices import SliceJob, map_concerns, saliency_map, slice_mask
from .study import Study

__all__ = ["measure"]

UNKNOWN_LABEL = "the label is not one of the model's classes"


def measure(
    study: Study,
    model: Classifier,
    settings: Settings,
    job: SliceJob,
    prepared: Mapping[str, metrics.PreparedImage],
    name: str,
    label: str | None,
    on_explain: Callable[[int, int], None] | None,
    on_curves: Callable[[int, int], None] | None,
) -> Iterator[Outcome]:
    """Explain one slice by one method and measure the map under each preset."""
    predicted = int(job.probabilities.argmax())
    outcome = Outcome(
        method=name,
        preset="",
        slice=job.input.slice,
        status="ok",
        reason="",
        predicted_class=model.classes[predicted],
        probability=float(job.probabilities[job.target]),
        target_class=model.classes[job.target],
        label=label,
        correct=None if label is None else model.classes[predicted] == label,
        probabilities=job.probabilities,
        input=job.input,
    )
    try:
        measured = _measured(
            study, model, settings, job, prepared, name, label, on_explain, on_curves
        )
    except (Cancelled, OutputError):
        raise
    except Exception as error:  # noqa: BLE001 - a method's failure costs the method
        kind = "" if isinstance(error, MedXAIError) else f"{type(error).__name__}: "
        for preset in settings.presets:
            yield replace(
                outcome, preset=preset, status="failed", reason=f"{kind}{error}"
            )
        return
    for preset, changes in measured.items():
        yield replace(outcome, preset=preset, **changes)


def _measured(
    study: Study,
    model: Classifier,
    settings: Settings,
    job: SliceJob,
    prepared: Mapping[str, metrics.PreparedImage],
    name: str,
    label: str | None,
    on_explain: Callable[[int, int], None] | None,
    on_curves: Callable[[int, int], None] | None,
) -> dict[str, dict[str, Any]]:
    """Compute what a method's outcomes say beyond the prediction, by preset."""
    parameters = settings.parameters.get(name, {})
    network_map = saliency_map(model, name, job, parameters, settings.seed, on_explain)
    concerns = map_concerns(model, name, job, network_map, parameters, on_explain)
    native = job.input.to_native(network_map)
    mask = slice_mask(study, job.input.slice)
    localization = None
    if mask is not None and mask.any():
        spacing = study.spacing
        if job.input.slice is not None and spacing is not None:
            spacing = spacing[1:]
        localization = metrics.localize(native, mask, spacing=spacing)
    measured = {}
    for preset, image in prepared.items():
        curves = _curves(
            image, network_map, job.target, label, model, settings, on_curves
        )
        reasons = [
            f"{metric}: {curve.excluded}"
            for metric, curve in (("AIC", curves.aic), ("SIC", curves.sic))
            if curve.excluded is not None
        ]
        reasons += concerns
        measured[preset] = {
            "reason": "; ".join(reasons),
            "curves": curves,
            "localization": localization,
            "map": native,
        }
    return measured


def _curves(
    image: metrics.PreparedImage,
    network_map: NDArray[np.float32],
    target: int,
    label: str | None,
    model: Classifier,
    settings: Settings,
    progress: Callable[[int, int], None] | None,
) -> metrics.InformationCurves:
    """Both curves; no AIC where the label is none of the model's classes."""
    known = label in model.classes
    curves = image.curves(
        network_map,
        target,
        label=model.class_index(label) if label is not None and known else None,
        min_probability=settings.min_probability,
        progress=progress,
    )
    if label is None and curves.aic.excluded is not None:
        reason = curves.aic.excluded.replace("the label", "the class explained")
        return replace(curves, aic=replace(curves.aic, excluded=reason))
    if label is None or known:
        return curves
    nothing = metrics.InformationCurve.from_knots(
        "aic", preset=curves.preset, excluded=UNKNOWN_LABEL
    )
    return replace(curves, aic=nothing)
