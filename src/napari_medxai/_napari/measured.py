"""What the curves dock shows, whichever way it was measured: curves and rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medxai.results import Outcome

if TYPE_CHECKING:
    from napari_medxai.report import Summary

__all__ = ["METRICS", "Measured", "MeasuredRow", "from_outcomes", "from_summary"]

METRICS = ("aic", "sic")
LOCALIZATION = ("pointing_hit", "relevance_mass", "average_precision")


@dataclass(frozen=True)
class MeasuredRow:
    """One method: areas under the curves and agreement with the mask; NaN: none."""

    method: str
    aic: float
    sic: float
    pointing_hit: float
    relevance_mass: float
    average_precision: float
    failed: str = ""


@dataclass(frozen=True)
class Measured:
    """Curves by metric and method, rows, and what was left out and why."""

    curves: Mapping[str, Mapping[str, Any]]
    rows: tuple[MeasuredRow, ...]
    excluded: tuple[str, ...] = ()


def from_outcomes(outcomes: list[Outcome], methods: tuple[str, ...]) -> Measured:
    """Put the outcomes of one study together.

    Parameters
    ----------
    outcomes : list of Outcome
        Of one preset. Of several slices the median curve is shown, and the mean of
        the localisation.
    methods : tuple of str
        In the table's order; those without outcome yet are left out.
    """
    curves: dict[str, dict[str, Any]] = {metric: {} for metric in METRICS}
    rows = []
    for method in methods:
        own = [o for o in outcomes if o.method == method]
        if not own:
            continue
        failed = next((o.reason for o in own if o.status != "ok"), "")
        areas = {}
        for metric in METRICS:
            found = [getattr(o.curves, metric) for o in own if o.curves is not None]
            areas[metric] = float("nan")
            if found:
                curve = _together(found)
                curves[metric][method] = curve
                areas[metric] = float(getattr(curve, "auc", getattr(curve, "value", 0)))
        found = [o.localization for o in own if o.localization is not None]
        places = {
            name: _mean([getattr(f, name) for f in found]) for name in LOCALIZATION
        }
        rows.append(MeasuredRow(method, **areas, **places, failed=failed))
    reasons = dict.fromkeys(_reasons(outcomes))
    return Measured(curves, tuple(rows), tuple(reasons))


def from_summary(summary: Summary, methods: tuple[str, ...], preset: str) -> Measured:
    """Take the aggregates of a batch: median curves, means of the localisation."""
    curves: dict[str, dict[str, Any]] = {metric: {} for metric in METRICS}
    rows = []
    for method in methods:
        numbers: dict[str, float] = {}
        for metric in METRICS:
            line = summary.find(method, metric, preset=preset)
            numbers[metric] = float("nan") if line is None else line.value
            if line is not None and line.curve is not None:
                curves[metric][method] = line.curve
        for name in LOCALIZATION:
            line = summary.find(method, name, aggregation="mean")
            numbers[name] = float("nan") if line is None else line.value
        rows.append(MeasuredRow(method, **numbers))  # type: ignore[arg-type]
    excluded = [
        f"{metric.upper()}: {one.n} of {one.total} ({one.class_}) left out: "
        f"{one.reason}"
        for metric, named, one in summary.exclusions
        if named == preset
    ]
    return Measured(curves, tuple(rows), tuple(excluded))


def _together(curves: list[Any]) -> Any:
    if len(curves) == 1:
        return curves[0]
    from napari_medxai.metrics import aggregate

    return aggregate(curves, how="median_curve", n_bootstrap=0)


def _mean(values: list[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def _reasons(outcomes: list[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.curves is None:
            continue
        where = "" if outcome.slice is None else f" in slice {outcome.slice}"
        for metric in METRICS:
            why = getattr(outcome.curves, metric).excluded
            if why is not None:
                yield f"No {metric.upper()}{where}: {why}"
