"""One method on one slice: its map, curves, chance, localisation, by preset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import metrics
from .chance_maps import Donors, drawer
from .errors import Cancelled, MedXAIError, OutputError
from .map_checks import checked
from .map_pool import Maps
from .metrics.agreement import standardised_ranks
from .models import Classifier
from .results import Outcome
from .settings import Settings
from .slices import SliceJob, map_concerns, saliency_map, slice_mask
from .study import Study

__all__ = ["SliceContext", "measure"]

UNKNOWN_LABEL = "the label is not one of the model's classes"
Report = Callable[[int, int], None]


@dataclass(eq=False)
class SliceContext:
    """What all methods of one slice have in common.

    Attributes
    ----------
    study, model, settings
    job : SliceJob
    prepared : metrics.PreparedImage
    label : str or None
    subject : str
        Patient or case: chance maps of one subject share their random field.
    donors : Donors or None
        Maps of other cases, for the null ``other_case``.
    given : mapping
        Maps on the network's grid that were made before, by slice and method.
    ranks : dict
        The order of the pixels in the maps of the methods measured so far.
    random_networks : dict
        Networks of the null ``random_network``, where there is room for them.
    """

    study: Study
    model: Classifier
    settings: Settings
    job: SliceJob
    prepared: metrics.PreparedImage
    label: str | None
    subject: str
    donors: Donors | None = None
    given: Maps = field(default_factory=dict)
    ranks: dict[str, NDArray[np.float64] | None] = field(default_factory=dict)
    random_networks: dict[int, tuple[Classifier, SliceJob]] = field(
        default_factory=dict
    )

    @property
    def classes(self) -> tuple[int, int | None]:
        """The class explained, and the one AIC counts (None: the same)."""
        return self.model.question(self.job.target, self.label)[1:]

    @cached_property
    def mask(self) -> NDArray[np.bool_] | None:
        """Ground truth of the slice or volume on the native grid."""
        return slice_mask(self.study, self.job.input.slice)

    @cached_property
    def spacing(self) -> tuple[float, ...] | None:
        """Millimetres along the axes of `mask`."""
        spacing = self.study.spacing
        if self.job.input.slice is not None and spacing is not None:
            return tuple(spacing[1:])
        return None if spacing is None else tuple(spacing)

    @cached_property
    def lesion(self) -> float:
        """Area of the lesion in mm² (volume in mm³), in pixels without spacing."""
        if self.mask is None or not self.mask.any():
            return float("nan")
        step = 1.0 if self.spacing is None else float(np.prod(self.spacing))
        return float(self.mask.sum()) * step

    @property
    def volume(self) -> bool:
        """Whether the network input is a volume."""
        return self.model.preprocessing.volumetric

    @cached_property
    def edge_ranks(self) -> NDArray[np.float64] | None:
        """Order of the image's edges, which know nothing of the network."""
        edges = metrics.edge_map(self.job.input.image, volume=self.volume)
        return standardised_ranks(edges)

    @cached_property
    def body(self) -> NDArray[np.bool_]:
        """Pixels of the network input image that show the body."""
        return metrics.body_mask(self.job.input.image, self.job.input.padding)


def measure(
    context: SliceContext,
    name: str,
    on_explain: Report | None = None,
    on_curves: Report | None = None,
    on_chance: Report | None = None,
) -> Iterator[Outcome]:
    """Explain one slice by one method and measure the map under each preset."""
    job, model = context.job, context.model
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
        label=context.label,
        correct=model.correct(job.probabilities, job.target, context.label),
        probabilities=job.probabilities,
        input=job.input,
        lesion_mm2=context.lesion,
    )
    try:
        measured = _measured(context, name, on_explain, on_curves, on_chance)
    except (Cancelled, OutputError):
        raise
    except Exception as error:  # noqa: BLE001 - a method's failure costs the method
        kind = "" if isinstance(error, MedXAIError) else f"{type(error).__name__}: "
        for preset in context.settings.presets:
            yield replace(
                outcome, preset=preset, status="failed", reason=f"{kind}{error}"
            )
        return
    for preset, changes in measured.items():
        yield replace(outcome, preset=preset, **changes)


def _measured(
    context: SliceContext,
    name: str,
    on_explain: Report | None,
    on_curves: Report | None,
    on_chance: Report | None,
) -> dict[str, dict[str, Any]]:
    """Compute what a method's outcomes say beyond the prediction, by preset."""
    settings, job = context.settings, context.job
    parameters = settings.parameters.get(name, {})
    network_map = context.given.get((job.input.slice, name))
    if network_map is None:
        network_map = saliency_map(
            context.model, name, job, parameters, settings.seed, on_explain
        )
    concerns = map_concerns(
        context.model, name, job, network_map, parameters, on_explain
    )
    native = job.input.to_native(network_map)
    localization = None
    if context.mask is not None and context.mask.any():
        localization = metrics.localize(native, context.mask, spacing=context.spacing)
    target, label = context.classes
    least = settings.min_probability
    curves = context.prepared.curves(
        network_map, target, label=label, min_probability=least, progress=on_curves
    )
    measures = checked(context, name, network_map, on_chance)
    if localization is not None:
        measures["iou_otsu"] = localization.iou_otsu
    chance: dict[str, metrics.Chance] = {}
    if settings.chance:
        chance = metrics.against_chance(
            context.prepared,
            curves,
            drawer(context, name, network_map),
            null=settings.null,
            k=settings.chance,
            target=target,
            label=label,
            min_probability=least,
            progress=on_chance,
        )
    measured = {}
    for preset, found in curves.items():
        own = _said(context, found)
        reasons = [
            f"{metric}: {curve.excluded}"
            for metric, curve in (("AIC", own.aic), ("SIC", own.sic))
            if curve.excluded is not None
        ]
        against = chance.get(preset)
        if against is not None and own.aic.excluded == UNKNOWN_LABEL:
            against = replace(against, aic=None)
        measured[preset] = {
            "reason": "; ".join([*reasons, *concerns]),
            "curves": own,
            "localization": localization,
            "map": native,
            "chance": against,
            "measures": {**measures, **_p_values(against)},
        }
    return measured


def _p_values(chance: metrics.Chance | None) -> dict[str, float]:
    """P-values of this slice alone, where enough chance maps were drawn."""
    if chance is None:
        return {}
    found = {"aic_p_value": chance.aic, "sic_p_value": chance.sic}
    return {
        name: one.p_value
        for name, one in found.items()
        if one is not None and np.isfinite(one.p_value)
    }


def _said(
    context: SliceContext, curves: metrics.InformationCurves
) -> metrics.InformationCurves:
    """Both curves; no AIC where the label is none of the model's classes."""
    label = context.label
    if label is None and curves.aic.excluded is not None:
        reason = curves.aic.excluded.replace("the label", "the class explained")
        return replace(curves, aic=replace(curves.aic, excluded=reason))
    if label is None or context.model.label_indices(label):
        return curves
    nothing = metrics.InformationCurve.from_knots(
        "aic", preset=curves.preset, excluded=UNKNOWN_LABEL
    )
    return replace(curves, aic=nothing)
