"""Permutation distributions: ranks among exchangeable members, flipped signs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.signal import fftconvolve

from napari_medxai.metrics._units import CHUNK, FloatArray, IntArray

_LATTICE = 4_000_000  # cells of the exact distribution's first step, 32 MB
# Convolution by Fourier transform is right to about 1e-13, whatever the p-value.
_SMALLEST_P = 1e-12
_EXACT_UNITS = 13  # up to 2**13 patterns of signs are enumerated


def shared_rank_p(ranks: FloatArray) -> float:
    """P-value of ranks (units, 1 + K) whose columns are one draw each."""
    means = ranks.mean(axis=0)
    return int(np.count_nonzero(means >= means[0] - 1e-9)) / len(means)


def rank_p(sums: FloatArray, counts: IntArray, draws: int, seed: int) -> float:
    """Tail of the mean rank under chance, from sums of mid-ranks by unit."""
    units, members = sums.shape
    common = math.lcm(*counts.tolist())
    if common * 2 * (members - 1) * units <= _LATTICE:
        # twice a sum of mid-ranks is whole; on a common denominator so are the means
        scaled = np.rint(2 * sums).astype(np.int64) * (common // counts)[:, None]
        return _exact_tail(scaled - scaled.min(axis=1, keepdims=True))
    means = sums / counts[:, None]
    rng = np.random.default_rng(seed)
    totals = np.zeros(draws)
    for row in means:
        totals += row[rng.integers(members, size=draws)]
    observed = means[:, 0].sum()
    reached = int(np.count_nonzero(totals >= observed - 1e-9 * units))
    return (reached + 1) / (draws + 1)


def _exact_tail(values: IntArray) -> float:
    """P(sum over rows of an entry drawn from each >= sum of column 0), values >= 0."""
    step = max(1, int(np.gcd.reduce(values, axis=None)))
    values = values // step
    units, members = values.shape
    mass = np.zeros((units, int(values.max()) + 1))
    np.add.at(mass, (np.arange(units)[:, None], values), 1.0 / members)
    while len(mass) > 1:
        if len(mass) % 2:
            nothing = np.zeros((1, mass.shape[1]))
            nothing[0, 0] = 1.0
            mass = np.concatenate([mass, nothing])
        mass = fftconvolve(mass[::2], mass[1::2], axes=1)
    tail = float(mass[0, int(values[:, 0].sum()) :].sum())
    return min(1.0, max(tail, _SMALLEST_P))


def sign_flip_p(
    means: FloatArray, pairs: Sequence[tuple[int, int]], draws: int, seed: int
) -> FloatArray:
    """Two-sided p-values (pairs,) of the mean differences between columns.

    Means are whole numbers, so sums are exact and equal ones are seen as equal. A
    unit's sign is drawn once for all pairs: flipped differences are differences of
    flipped means.
    """
    first, second = np.array(pairs).T
    units = len(means)
    centred = means - means[:, :1]
    sums = centred.sum(axis=0)
    observed = np.abs(sums[first] - sums[second])
    exact = units <= _EXACT_UNITS
    total = 2**units if exact else draws
    rng = np.random.default_rng(seed)
    reached = np.zeros(len(pairs), dtype=np.int64)
    chunk = max(1, CHUNK // max(units, len(pairs)))
    for start in range(0, total, chunk):
        size = min(chunk, total - start)
        if exact:
            patterns = np.arange(start, start + size)[:, None]
            bits = (patterns >> np.arange(units)) & 1
        else:
            bits = rng.integers(2, size=(size, units), dtype=np.int8)
        flipped = (1.0 - 2.0 * bits) @ centred
        reached += (np.abs(flipped[:, first] - flipped[:, second]) >= observed).sum(
            axis=0
        )
    return reached / total if exact else (reached + 1) / (total + 1)
