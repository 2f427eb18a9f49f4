"""Aggregates over cases, each with its bootstrap interval and exclusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_medxai import metrics

from .store import Row, StoredCase

__all__ = ["Summary", "SummaryLine", "summarise"]

AGGREGATIONS = ("median_curve", "mean_curve", "mean")
LOCALIZATION = (
    "pointing_hit",
    "relevance_mass",
    "relevance_rank",
    "iou_mask_area",
    "average_precision",
    "peak_distance_mm",
)
RESAMPLES = 500
# With fewer units a percentile bootstrap is little more than the range of the values.
MIN_UNITS = 5
EVERY = "all"


@dataclass(frozen=True, eq=False)
class SummaryLine:
    """A row of ``summary.csv``; `curve` where it comes from information curves."""

    method: str
    metric: str
    preset: str
    aggregation: str
    class_: str
    n: int
    n_excluded: int
    value: float
    ci_low: float
    ci_high: float
    curve: metrics.Aggregate | None = field(default=None, repr=False)

    def as_row(self) -> dict[str, Any]:
        """Return the row with the table's column names."""
        return {
            "method": self.method,
            "metric": self.metric,
            "preset": self.preset,
            "aggregation": self.aggregation,
            "class": self.class_,
            "n": self.n,
            "n_excluded": self.n_excluded,
            "value": self.value,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
        }


@dataclass(frozen=True, eq=False)
class Summary:
    """All aggregates of a run.

    Attributes
    ----------
    lines : tuple of SummaryLine
    unit : str
        What was resampled: ``patients`` or ``cases``.
    units : int
        How many of them there are.
    without_patient : int
        Cases without a patient in a run that knows others: each counts as its own.
    failures : mapping of str to int
        Slices on which a method could not run, by method.
    exclusions : tuple of tuple
        (metric, preset, Exclusion): counted once a slice, over the first method, since
        exclusions do not depend on the map.
    """

    lines: tuple[SummaryLine, ...]
    unit: str
    units: int
    without_patient: int
    failures: Mapping[str, int]
    exclusions: tuple[tuple[str, str, metrics.Exclusion], ...]

    def find(
        self,
        method: str,
        metric: str,
        *,
        preset: str = "",
        aggregation: str = "median_curve",
    ) -> SummaryLine | None:
        """Return the line over all classes, or None."""
        for line in self.lines:
            if (line.method, line.metric, line.class_) == (method, metric, EVERY) and (
                line.preset,
                line.aggregation,
            ) == (preset, aggregation):
                return line
        return None


def summarise(
    cases: Iterable[StoredCase],
    methods: Sequence[str],
    presets: Sequence[str],
    *,
    seed: int = 0,
) -> Summary:
    """Aggregate finished cases.

    Parameters
    ----------
    cases : iterable of StoredCase
    methods, presets : sequence of str
        In the order of the tables.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Summary
        The interval resamples patients, all their slices together; a case without a
        patient counts as its own.
    """
    every = [row for case in cases for row in case.rows]
    rows = [row for row in every if row.status == "ok"]
    failures = Counter(
        row.method
        for row in every
        if row.status == "failed" and row.preset == presets[0]
    )
    groups = {id(row): row.patient or row.case for row in rows}
    alone = {row.case for row in rows if not row.patient}
    by_patient = any(row.patient for row in rows)
    classes = sorted({row.stratum for row in rows})
    lines: list[SummaryLine] = []
    for method in methods:
        own = [row for row in rows if row.method == method]
        for preset in presets:
            chosen = [row for row in own if row.preset == preset]
            for class_ in (EVERY, *classes):
                part = [r for r in chosen if class_ in (EVERY, r.stratum)]
                lines += _curve_lines(part, groups, method, preset, class_, seed)
        first = [row for row in own if row.preset == presets[0]]
        lines += _localization_lines(first, groups, method, classes, seed)
    return Summary(
        lines=tuple(lines),
        unit="patients" if by_patient else "cases",
        units=len(set(groups.values())),
        without_patient=len(alone) if by_patient else 0,
        failures=dict(failures),
        exclusions=tuple(_exclusions(rows, methods, presets)),
    )


def _curve_lines(
    rows: Sequence[Row],
    groups: dict[int, str],
    method: str,
    preset: str,
    class_: str,
    seed: int,
) -> Iterable[SummaryLine]:
    for metric in ("aic", "sic"):
        pairs = [(c, groups[id(r)]) for r in rows if (c := getattr(r, metric))]
        for how in AGGREGATIONS:
            total = metrics.aggregate(
                [curve for curve, _ in pairs],
                how=how,  # type: ignore[arg-type]
                groups=[group for _, group in pairs],
                n_bootstrap=RESAMPLES,
                seed=seed,
            )
            total = _without_rough_interval(total)
            yield SummaryLine(
                method,
                metric,
                preset,
                how,
                class_,
                total.n,
                total.n_excluded,
                total.value,
                total.ci_low,
                total.ci_high,
                # the mean of areas is the area of the mean curve: draw it once
                curve=None if how == "mean" or total.n == 0 else total,
            )


def _localization_lines(
    rows: Sequence[Row],
    groups: dict[int, str],
    method: str,
    classes: Sequence[str],
    seed: int,
) -> Iterable[SummaryLine]:
    for metric in LOCALIZATION:
        for class_ in (EVERY, *classes):
            found = [
                (getattr(r.localization, metric), groups[id(r)])
                for r in rows
                if r.localization is not None and class_ in (EVERY, r.stratum)
            ]
            values = np.array([v for v, _ in found], dtype=float)
            keep = np.isfinite(values)
            names = [g for (_, g), k in zip(found, keep, strict=True) if k]
            value, low, high = _mean_interval(values[keep], names, seed)
            if metric == "pointing_hit" and low == high and value in (0.0, 1.0):
                low, high = _wilson(value, len(set(names)))
            yield SummaryLine(
                method,
                metric,
                "",
                "mean",
                class_,
                int(keep.sum()),
                int((~keep).sum()),
                value,
                low,
                high,
            )


def _without_rough_interval(total: metrics.Aggregate) -> metrics.Aggregate:
    """Drop interval and band where too few units stand behind them."""
    if total.n_groups >= MIN_UNITS:
        return total
    nothing = np.full_like(total.y, np.nan)
    nan = float("nan")
    return replace(total, ci_low=nan, ci_high=nan, y_low=nothing, y_high=nothing)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """95 % score interval of a share, for hits that all fell the same way."""
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def _mean_interval(
    values: np.ndarray[Any, np.dtype[np.float64]], groups: Sequence[str], seed: int
) -> tuple[float, float, float]:
    """Mean with its 95 % percentile interval, resampling whole groups."""
    if values.size == 0:
        return (float("nan"),) * 3
    names, member = np.unique(np.array(groups), return_inverse=True)
    if len(names) < MIN_UNITS:
        return float(values.mean()), float("nan"), float("nan")
    sums = np.bincount(member, weights=values)
    counts = np.bincount(member)
    drawn = np.random.default_rng(seed).integers(
        len(names), size=(RESAMPLES, len(names))
    )
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def _exclusions(
    rows: Sequence[Row], methods: Sequence[str], presets: Sequence[str]
) -> Iterable[tuple[str, str, metrics.Exclusion]]:
    for preset in presets:
        once: dict[tuple[str, int | None], Row] = {}
        for row in rows:
            if row.preset == preset:
                once.setdefault((row.case, row.slice), row)
        for metric in ("aic", "sic"):
            chosen = [r for r in once.values() if getattr(r, metric) is not None]
            for exclusion in metrics.exclusions(
                [getattr(r, metric) for r in chosen], [r.stratum for r in chosen]
            ):
                yield metric, preset, exclusion
