"""Units of the statistics: images put together by patient, units resampled."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medxai.errors import MetricError

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

# With fewer units a percentile bootstrap is little more than the range of the values.
MIN_UNITS = 5
# A network in float32 moves areas by some 1e-7 with its batch: nearer is a tie.
TIE = 1e-6
CHUNK = 4_000_000


def checked_table(
    values: ArrayLike, units: Sequence[Hashable], what: str
) -> FloatArray:
    """Values as (images, columns), NaN where excluded, or MetricError."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise MetricError(
            f"{what} must have shape (images, columns), not {table.shape}"
        )
    if len(units) != len(table):
        raise MetricError(
            f"{what} of {len(table)} images but {len(units)} units of them"
        )
    if np.isinf(table).any():
        raise MetricError(f"{what} hold infinite values; mark what is excluded by NaN")
    for row, unit in enumerate(units):
        if unit is None or unit == "" or unit != unit:
            raise MetricError(
                f"image {row} of {what} has no unit; images without a patient would"
                " be taken for one patient: give the case or the slice instead"
            )
    return table


def checked_draws(draws: int, n_bootstrap: int, seed: int) -> None:
    """Raise MetricError where a number of draws or the seed is out of range."""
    if draws < 1 or n_bootstrap < 0 or seed < 0:
        raise MetricError(
            f"draws {draws} must be 1 or more, n_bootstrap {n_bootstrap} and seed"
            f" {seed} 0 or more"
        )


def unit_sums(
    table: FloatArray, units: Sequence[Hashable]
) -> tuple[FloatArray, IntArray]:
    """Sum each unit's rows without NaN (units, columns), and count them (units,)."""
    complete = np.asarray(~np.isnan(table).any(axis=1))
    codes: dict[Hashable, int] = {}
    members = [
        codes.setdefault(unit, len(codes))
        for unit, keep in zip(units, complete, strict=True)
        if keep
    ]
    sums = np.zeros((len(codes), table.shape[1]))
    np.add.at(sums, members, table[complete])
    return sums, np.bincount(np.array(members, dtype=np.int64), minlength=len(codes))


def resampled_means(values: FloatArray, n: int, seed: int) -> FloatArray:
    """Column means (n, columns) of `values` (units, columns), units resampled."""
    rng = np.random.default_rng(seed)
    units, columns = values.shape
    means = np.empty((n, columns))
    chunk = max(1, CHUNK // (units * columns))
    for start in range(0, n, chunk):
        stop = min(start + chunk, n)
        drawn = rng.integers(units, size=(stop - start, units))
        means[start:stop] = values[drawn].mean(axis=1)
    return means


def interval(resampled: FloatArray, units: int) -> tuple[float, float]:
    """95 % percentile interval of resampled values; NaN below five units."""
    if units < MIN_UNITS or resampled.size == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(resampled, (2.5, 97.5))
    return float(low), float(high)
