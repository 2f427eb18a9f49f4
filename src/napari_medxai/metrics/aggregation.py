"""Curves of many images put together, with a bootstrap over patients.

PAIR takes the median (or mean) of the curves at each point and then the area
(Kapishnikov et al. 2019, section 4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import MetricError
from napari_medxai.metrics.curve import InformationCurve, curve_grid

__all__ = ["Aggregate", "Aggregation", "Exclusion", "aggregate", "exclusions"]

Aggregation: TypeAlias = Literal["median_curve", "mean_curve", "mean"]
FloatArray: TypeAlias = NDArray[np.float64]

_STRIDE = 10  # the bootstrap sees every tenth point of the grid
_CHUNK_BYTES = 32_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Aggregate:
    """Curves of several images as one.

    Attributes
    ----------
    how
        ``"median_curve"``, ``"mean_curve"`` or ``"mean"``.
    x, y
        Median or mean curve on the grid of the single ones; NaN where there are
        none. ``"mean"`` shows the mean curve.
    y_low, y_high
        Pointwise percentile band of the bootstrap; NaN with fewer than two groups.
    value
        Area under `y`; for ``"mean"`` the mean of the single areas.
    ci_low, ci_high
        Percentile interval of `value`; NaN with fewer than two groups.
    confidence
        Coverage of band and interval.
    n, n_excluded
        Images that take part, and those left out.
    n_groups
        Patients (or images, where no groups are given) that were resampled.
    """

    how: Aggregation
    x: FloatArray = field(repr=False)
    y: FloatArray = field(repr=False)
    y_low: FloatArray = field(repr=False)
    y_high: FloatArray = field(repr=False)
    value: float
    ci_low: float
    ci_high: float
    confidence: float
    n: int
    n_excluded: int
    n_groups: int


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """How many images of a class were left out for one reason.

    Attributes
    ----------
    class_
        The class, as given.
    reason
        In plain words.
    n
        Images left out for it.
    total
        Images of the class, left out or not.
    """

    class_: Hashable
    reason: str
    n: int
    total: int


def exclusions(
    curves: Sequence[InformationCurve], classes: Sequence[Hashable]
) -> tuple[Exclusion, ...]:
    """Count what was excluded, by class and reason.

    With few classes AIC drops every image still right when blurred, and so the class
    the network falls back to: an aggregate means little without this count.

    Parameters
    ----------
    curves
        Curves of one metric.
    classes
        Class of each curve.

    Returns
    -------
    tuple of Exclusion
        In the order the classes and, within one, the reasons first appear.

    Raises
    ------
    MetricError
        If the two are not equally long.
    """
    if len(curves) != len(classes):
        raise MetricError(f"{len(curves)} curves but {len(classes)} classes of them")
    totals = Counter(classes)
    counts = Counter(
        (class_, curve.excluded)
        for curve, class_ in zip(curves, classes, strict=True)
        if curve.excluded is not None
    )
    position = {class_: i for i, class_ in enumerate(totals)}
    return tuple(
        Exclusion(class_=class_, reason=reason, n=n, total=totals[class_])
        for (class_, reason), n in sorted(
            counts.items(), key=lambda item: position[item[0][0]]
        )
    )


def aggregate(
    curves: Sequence[InformationCurve],
    *,
    how: Aggregation = "median_curve",
    groups: Sequence[Hashable] | None = None,
    n_bootstrap: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> Aggregate:
    """Put the curves of several images together.

    Parameters
    ----------
    curves
        Curves of one metric, preset and method; excluded ones are counted and left
        out.
    how
        ``"median_curve"`` or ``"mean_curve"``: the pointwise curve and its area;
        ``"mean"``: the mean of the areas.
    groups
        Patient of each curve. Patients, not images, are resampled; each image is a
        patient of its own where None.
    n_bootstrap
        Resamples; 0 gives no interval.
    confidence
        Coverage of the percentile interval, in (0, 1).
    seed
        Seed of the resampling.

    Returns
    -------
    Aggregate
        With NaN values and ``n = 0`` where no curve is left.

    Raises
    ------
    MetricError
        If `how` is unknown, the groups or grids do not fit, or a number is out of
        range.

    Notes
    -----
    Resamples are evaluated on every tenth point of the grid. What the area loses by
    that is measured on the curves as they are and added back to the interval.
    """
    _check(curves, how, groups, n_bootstrap, confidence)
    kept = [i for i, curve in enumerate(curves) if curve.excluded is None]
    x = curves[0].x if curves else curve_grid(1000)
    nothing = np.full(x.shape, np.nan)
    y, value, n_groups = nothing, float("nan"), 0
    low = high = nothing
    ci = (float("nan"), float("nan"))
    if kept:
        ys = np.stack([curves[i].y for i in kept])
        aucs = np.array([curves[i].auc for i in kept])
        y = np.median(ys, axis=0) if how == "median_curve" else ys.mean(axis=0)
        value = float(aucs.mean() if how == "mean" else np.trapezoid(y, x))
        names = kept if groups is None else [groups[i] for i in kept]
        codes = {name: code for code, name in enumerate(dict.fromkeys(names))}
        members = np.array([codes[name] for name in names])
        n_groups = len(codes)
        if n_groups > 1 and n_bootstrap > 0:
            coarse = np.arange(0, x.size, _STRIDE)
            drawn, areas = _bootstrap(
                ys[:, coarse], aucs, x[coarse], members, how, n_bootstrap, seed
            )
            if how != "mean":
                areas = areas + (value - np.trapezoid(y[coarse], x[coarse]))
            tails = [(1 - confidence) / 2, (1 + confidence) / 2]
            band = np.quantile(drawn, tails, axis=0)
            low, high = (np.interp(x, x[coarse], edge) for edge in band)
            limits = np.clip(np.quantile(areas, tails), 0.0, 1.0)
            ci = (float(limits[0]), float(limits[1]))
    return Aggregate(
        how=how,
        x=x,
        y=y,
        y_low=low,
        y_high=high,
        value=value,
        ci_low=ci[0],
        ci_high=ci[1],
        confidence=confidence,
        n=len(kept),
        n_excluded=len(curves) - len(kept),
        n_groups=n_groups,
    )


def _check(
    curves: Sequence[InformationCurve],
    how: str,
    groups: Sequence[Hashable] | None,
    n_bootstrap: int,
    confidence: float,
) -> None:
    known = ("median_curve", "mean_curve", "mean")
    if how not in known:
        raise MetricError(
            f"aggregation {how!r} is unknown; choose one of: {', '.join(known)}"
        )
    if groups is not None and len(groups) != len(curves):
        raise MetricError(f"{len(curves)} curves but {len(groups)} groups of them")
    if n_bootstrap < 0 or not 0.0 < confidence < 1.0:
        raise MetricError(
            f"n_bootstrap {n_bootstrap} must be 0 or more, and confidence"
            f" {confidence} between 0 and 1"
        )
    kinds = {(curve.metric, curve.preset, curve.x.size) for curve in curves}
    if len(kinds) > 1:
        listed = ", ".join(f"{metric} {preset}" for metric, preset, _ in sorted(kinds))
        raise MetricError(f"curves of different kinds cannot be aggregated: {listed}")


def _bootstrap(
    ys: FloatArray,
    aucs: FloatArray,
    x: FloatArray,
    members: NDArray[np.int64],
    how: Aggregation,
    n_bootstrap: int,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Resampled curves ``(n_bootstrap, len(x))`` and values ``(n_bootstrap,)``."""
    rng = np.random.default_rng(seed)
    n_groups = int(members.max()) + 1
    drawn = np.empty((n_bootstrap, x.size))
    means = np.empty(n_bootstrap)
    median = _WeightedMedian(ys) if how == "median_curve" else None
    chunk = max(1, _CHUNK_BYTES // (8 * max(len(ys), n_groups)))
    for start in range(0, n_bootstrap, chunk):
        rows = min(chunk, n_bootstrap - start)
        draws = rng.integers(0, n_groups, size=(rows, n_groups))
        draws += n_groups * np.arange(rows)[:, None]
        times = np.bincount(draws.ravel(), minlength=rows * n_groups)
        weights = times.reshape(rows, n_groups)[:, members].astype(np.float64)
        span = slice(start, start + rows)
        total = weights.sum(axis=1)
        means[span] = weights @ aucs / total
        if median is None:
            drawn[span] = weights @ ys / total[:, None]
        else:
            drawn[span] = median(weights)
    if how == "mean":
        return drawn, means
    return drawn, np.asarray(np.trapezoid(drawn, x, axis=1))


class _WeightedMedian:
    """Median of every column when rows are repeated by whole-number weights.

    The columns are sorted once. The median of a resample lies near that of the
    sample, so the weights are added up one by one only in a window around it; what
    lies below enters as a sum (a matrix product), and a resample whose median
    leaves the window is looked up in full.
    """

    def __init__(self, ys: FloatArray) -> None:
        self.order = np.argsort(ys, axis=0, kind="stable")
        self.sorted = np.take_along_axis(ys, self.order, axis=0)
        n = len(ys)
        half = 8 + int(4 * np.sqrt(n))
        self.low, self.high = max(0, n // 2 - half), min(n, n // 2 + half)
        rank = np.empty_like(self.order)
        np.put_along_axis(rank, self.order, np.arange(n)[:, None], axis=0)
        self.below = (rank < self.low).astype(np.float64)

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Medians ``(resamples, columns)`` of weights ``(resamples, rows)``."""
        base = weights @ self.below
        result = np.empty(base.shape)
        for row, (weight, below) in enumerate(zip(weights, base, strict=True)):
            total = weight.sum()
            ranks = np.array([(total - 1) // 2, total // 2])
            window = slice(self.low, self.high)
            running = below + np.cumsum(weight[self.order[window]], axis=0)
            if (below > ranks[0]).any() or (running[-1] <= ranks[1]).any():
                window = slice(None)
                running = np.cumsum(weight[self.order], axis=0)
            values = self.sorted[window]
            middle = [
                np.take_along_axis(values, (running <= k).sum(axis=0)[None], axis=0)[0]
                for k in ranks
            ]
            result[row] = (middle[0] + middle[1]) / 2
        return result
