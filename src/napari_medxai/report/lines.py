"""Lines of ``summary.csv`` about one method: curves, localisation, measures."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_medxai import metrics

from .aggregates import (
    EVERY,
    LOCALIZATION,
    MIN_UNITS,
    NAN,
    RESAMPLES,
    SummaryLine,
    mean_intervals,
)
from .records import Row
from .strata import Image, class_masks, stratum_masks
from .wording import wilson

__all__ = ["VERDICTS", "curve_lines", "localization_lines", "measure_lines"]

AGGREGATIONS = ("median_curve", "mean_curve", "mean")
# A measure of localisation that results.csv has no column for.
MEASURED_LOCALIZATION = ("iou_otsu",)
# Verdicts on single images, not measurements: a mean of them says nothing.
VERDICTS = ("aic_p_value", "sic_p_value")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """Numbers of one method, a row an image and a column a metric.

    Attributes
    ----------
    names : sequence of str
    values : ndarray of float64, shape (n, m)
        NaN where there is no value.
    present : ndarray of bool, shape (n, m)
        Whether it was measured at all; without a value then, it was excluded.
    units : ndarray of int, shape (n,)
    """

    names: Sequence[str]
    values: NDArray[np.float64]
    present: NDArray[np.bool_]
    units: NDArray[np.int64]


def curve_lines(
    rows: Sequence[Row],
    method: str,
    preset: str,
    classes: Sequence[str],
    strata: Mapping[Image, frozenset[str]],
    seed: int,
) -> Iterator[SummaryLine]:
    """Aggregate the information curves of one method under one preset.

    Parameters
    ----------
    rows : sequence of Row
    method, preset : str
    classes : sequence of str
    strata : mapping of (case, slice) to frozenset of str
        Their lines carry the mean of the areas only.
    seed : int
    """
    for class_, chosen in class_masks(rows, classes).items():
        part = [row for row, use in zip(rows, chosen, strict=True) if use]
        for metric in ("aic", "sic"):
            pairs = [(c, r.unit) for r in part if (c := getattr(r, metric))]
            for how in AGGREGATIONS:
                total = metrics.aggregate(
                    [curve for curve, _ in pairs],
                    how=how,  # type: ignore[arg-type]
                    groups=[unit for _, unit in pairs],
                    n_bootstrap=RESAMPLES,
                    seed=seed,
                )
                yield _curve_line(method, metric, preset, class_, total)
    table = _table(
        rows,
        [
            {m: c.auc for m in ("aic", "sic") if (c := getattr(row, m)) is not None}
            for row in rows
        ],
        ("aic", "sic"),
    )
    for class_, chosen in stratum_masks(rows, strata).items():
        yield from _mean_lines(table, method, preset, class_, chosen, seed)


def localization_lines(
    rows: Sequence[Row],
    method: str,
    classes: Sequence[str],
    strata: Mapping[Image, frozenset[str]],
    seed: int,
) -> Iterator[SummaryLine]:
    """Aggregate how one method's maps point at the masks.

    Parameters
    ----------
    rows : sequence of Row
        One an image.
    method : str
    classes : sequence of str
    strata : mapping of (case, slice) to frozenset of str
    seed : int
    """
    table = _table(
        rows,
        [
            {name: getattr(row.localization, name) for name in LOCALIZATION}
            if row.localization is not None
            else {}
            for row in rows
        ],
        LOCALIZATION,
    )
    for class_, chosen in class_masks(rows, classes).items():
        yield from _mean_lines(table, method, "", class_, chosen, seed, empty=True)
    for class_, chosen in stratum_masks(rows, strata).items():
        yield from _mean_lines(table, method, "", class_, chosen, seed)


def measure_lines(
    rows: Sequence[Row],
    method: str,
    classes: Sequence[str],
    strata: Mapping[Image, frozenset[str]],
    seed: int,
) -> Iterator[SummaryLine]:
    """Aggregate what else was measured of one method's maps, by name.

    Parameters
    ----------
    rows : sequence of Row
        One an image.
    method : str
    classes : sequence of str
        Measures of a pair (``spearman:METHOD``) or of a stage have no lines by class.
    strata : mapping of (case, slice) to frozenset of str
        For measures of localisation only.
    seed : int
    """
    found = {name for row in rows for name in row.measures} - set(VERDICTS)
    if not found:
        return
    names = sorted(found)
    table = _table(rows, [row.measures for row in rows], names)
    plain = [name for name in names if ":" not in name]
    for class_, chosen in class_masks(rows, classes).items():
        only = names if class_ == EVERY else plain
        yield from _mean_lines(table, method, "", class_, chosen, seed, only=only)
    for class_, chosen in stratum_masks(rows, strata).items():
        yield from _mean_lines(
            table, method, "", class_, chosen, seed, only=MEASURED_LOCALIZATION
        )


def _curve_line(
    method: str, metric: str, preset: str, class_: str, total: metrics.Aggregate
) -> SummaryLine:
    if total.n_groups < MIN_UNITS:
        nothing = np.full_like(total.y, np.nan)
        total = replace(total, ci_low=NAN, ci_high=NAN, y_low=nothing, y_high=nothing)
    return SummaryLine(
        method,
        metric,
        preset,
        total.how,
        class_,
        total.n,
        total.n_excluded,
        total.value,
        total.ci_low,
        total.ci_high,
        # the mean of areas is the area of the mean curve: draw it once
        curve=None if total.how == "mean" or total.n == 0 else total,
    )


def _table(
    rows: Sequence[Row],
    values: Sequence[Mapping[str, float]],
    names: Sequence[str],
) -> _Table:
    shape = len(rows), len(names)
    _, units = np.unique([row.unit for row in rows], return_inverse=True)
    found = np.array([[v.get(n, NAN) for n in names] for v in values], dtype=float)
    present = np.array([[n in v for n in names] for v in values], dtype=np.bool_)
    return _Table(
        names=names,
        values=found.reshape(shape),
        present=present.reshape(shape),
        units=units,
    )


def _mean_lines(
    table: _Table,
    method: str,
    preset: str,
    class_: str,
    chosen: NDArray[np.bool_],
    seed: int,
    *,
    only: Collection[str] | None = None,
    empty: bool = False,
) -> Iterator[SummaryLine]:
    """Means of the columns over the chosen images; `empty`: of nothing too."""
    wanted = [i for i, n in enumerate(table.names) if only is None or n in only]
    values = table.values[chosen][:, wanted]
    present = table.present[chosen][:, wanted].sum(axis=0)
    units = table.units[chosen]
    for i, (value, low, high) in enumerate(mean_intervals(values, units, seed)):
        finite = np.isfinite(values[:, i])
        if not present[i] and not empty:
            continue
        name = table.names[wanted[i]]
        if name == "pointing_hit" and low == high and value in (0.0, 1.0):
            n = len(set(units[finite].tolist()))
            low, high = wilson(round(value * n), n)
        n_values = int(finite.sum())
        yield SummaryLine(
            method,
            name,
            preset,
            "mean",
            class_,
            n_values,
            int(present[i]) - n_values,
            value,
            low,
            high,
        )
