"""One number with its interval: what the lines of ``summary.csv`` are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_medxai.metrics import Aggregate

__all__ = [
    "EVERY",
    "LOCALIZATION",
    "MIN_UNITS",
    "RESAMPLES",
    "Agreement",
    "Band",
    "SummaryLine",
    "mean_intervals",
]

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
NAN = float("nan")

FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SummaryLine:
    """A row of ``summary.csv``.

    Attributes
    ----------
    method, metric, preset, aggregation : str
        `preset` is "" where the metric does not depend on it.
    class_ : str
        ``all``, a class, or a stratum such as ``lesion smallest third``.
    n, n_excluded : int
        Images that take part and those left out; units for a chance rank.
    value, ci_low, ci_high : float
        With a 95 % bootstrap interval; NaN where there is none.
    curve : Aggregate or None
        Where the line comes from information curves and one is to be drawn.
    null : str
        What the chance maps were; "" where nothing was compared with them.
    chance_value : float
        The same aggregate over the chance maps of all these images, pooled.
    p_value, p_adjusted : float
        Of the rank test over units, and corrected after Holm within its family.
    effect_size : float
        Mean share of the chance maps that the map is above: 0.5 is chance, 1 best.
    """

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
    curve: Aggregate | None = field(default=None, repr=False)
    null: str = ""
    chance_value: float = NAN
    p_value: float = NAN
    p_adjusted: float = NAN
    effect_size: float = NAN

    def as_row(self) -> dict[str, Any]:
        """Return the row with the table's column names."""
        return {
            "method": self.method,
            "metric": self.metric,
            "preset": self.preset,
            "null": self.null,
            "aggregation": self.aggregation,
            "class": self.class_,
            "n": self.n,
            "n_excluded": self.n_excluded,
            "value": self.value,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            "chance_value": self.chance_value,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "effect_size": self.effect_size,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """Where the median curve of chance maps lies.

    Each member of the chance maps gives one median curve over the images; the band
    holds percentiles over the members.

    Attributes
    ----------
    x : ndarray of float64, shape (n,)
        The grid of the curves.
    low, middle, high : ndarray of float64, shape (n,)
        2.5th, 50th and 97.5th percentile at each point of `x`.
    members : int
        Chance maps of each image that stand behind it.
    """

    x: FloatArray = field(repr=False)
    low: FloatArray = field(repr=False)
    middle: FloatArray = field(repr=False)
    high: FloatArray = field(repr=False)
    members: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """How alike the maps of different methods are.

    Attributes
    ----------
    methods : tuple of str
    matrix : ndarray of float64, shape (m, m)
        Mean over images of Spearman's correlation of two methods' maps; 1 on the
        diagonal, NaN where two were never compared.
    n : int
        Images behind it; of two methods that failed on some, fewer.
    """

    methods: tuple[str, ...]
    matrix: FloatArray = field(repr=False)
    n: int


def mean_intervals(
    values: FloatArray, units: NDArray[np.int64], seed: int
) -> list[tuple[float, float, float]]:
    """Mean of each column with its 95 % percentile interval, resampling units.

    Parameters
    ----------
    values : ndarray of float64, shape (n, m)
        NaN where an image has no value.
    units : ndarray of int, shape (n,)
        The patient (or case) of each image.
    seed : int

    Returns
    -------
    list of tuple of float
        Mean and interval of each column; NaN without values, and for the interval
        with fewer than `MIN_UNITS` units that have one.
    """
    finite = np.isfinite(values)
    patterns: dict[bytes, list[int]] = {}
    for column in range(values.shape[1]):
        patterns.setdefault(finite[:, column].tobytes(), []).append(column)
    found = [(NAN, NAN, NAN)] * values.shape[1]
    for columns in patterns.values():
        keep = finite[:, columns[0]]
        if not keep.any():
            continue
        part = values[keep][:, columns]
        means = part.mean(axis=0)
        low = high = np.full(len(columns), NAN)
        _, member = np.unique(units[keep], return_inverse=True)
        counts = np.bincount(member)
        if len(counts) >= MIN_UNITS:
            times = _resamples(len(counts), seed)
            sums = np.stack([np.bincount(member, weights=c) for c in part.T], axis=1)
            drawn = (times @ sums) / (times @ counts)[:, None]
            low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
        for i, column in enumerate(columns):
            found[column] = (float(means[i]), float(low[i]), float(high[i]))
    return found


# Methods and metrics share their units: the resamples are drawn once.
@lru_cache(maxsize=4)
def _resamples(n_units: int, seed: int) -> FloatArray:
    """How often each unit is drawn in each resample, ``(RESAMPLES, n_units)``."""
    drawn = np.random.default_rng(seed).integers(n_units, size=(RESAMPLES, n_units))
    drawn += n_units * np.arange(RESAMPLES)[:, None]
    times = np.bincount(drawn.ravel(), minlength=RESAMPLES * n_units)
    return times.reshape(RESAMPLES, n_units).astype(np.float64)
