"""Does a saliency map beat chance, over a data set and over a volume's slices.

One map and K chance maps of it were scored on every image. If the map knew nothing,
its score would be one more draw from chance: its rank among the 1 + K would be uniform.
Tests here use nothing else, so ties, skewed scores and scores of unlike scale leave
their level as it is.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from napari_medxai.errors import MetricError
from napari_medxai.metrics._permutation import rank_p, shared_rank_p
from napari_medxai.metrics._units import (
    TIE,
    FloatArray,
    checked_draws,
    checked_table,
    interval,
    resampled_means,
    unit_sums,
)

__all__ = [
    "THIRDS",
    "RankTest",
    "combined_p",
    "holm",
    "rank_test",
    "thirds",
    "volume_rank",
]

THIRDS = ("smallest third", "middle third", "largest third")


@dataclass(frozen=True, kw_only=True)
class RankTest:
    """A method against chance over a data set.

    Attributes
    ----------
    n_units
        Units (patients) that take part.
    n_images
        Their images.
    effect
        Share of its chance maps that the map is above on an average image, ties half:
        0 to 1, 0.5 under chance; the mean over units. NaN without units.
    ci_low, ci_high
        95 % percentile interval of `effect`, units resampled; NaN below five units.
        All effects equal give an interval of no width.
    p_value
        One-sided: probability under chance of an effect as large; NaN without units.
        Never below 1e-12, where the exact distribution loses its digits.
    n_excluded
        Images left out because an area was NaN.
    """

    n_units: int
    n_images: int
    effect: float
    ci_low: float
    ci_high: float
    p_value: float
    n_excluded: int = 0


def rank_test(
    areas: ArrayLike,
    units: Sequence[Hashable],
    *,
    shared: bool = False,
    draws: int = 19_999,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> RankTest:
    """Test whether a method's maps rank above their chance maps.

    Parameters
    ----------
    areas
        Areas under the curve ``(images, 1 + K)``: column 0 the map's, column ``1 + j``
        that of chance member j. An image with NaN in any column is left out.
    units
        Patient of each image; where patients are unknown the case or slice.
    shared
        Whether chance member j is one draw for the whole data set, as a network with
        randomised weights is that explains every case (the null ``random_network``).
    draws
        Monte Carlo draws, where the exact distribution would cost too much.
    n_bootstrap
        Resamples of the units for the interval; 0 gives none.
    seed
        Seed of draws and resamples.

    Returns
    -------
    RankTest
        The mean rank, as `effect`, with its p-value.

    Raises
    ------
    MetricError
        If there is no chance column, units and images do not fit, a unit is missing,
        a value is infinite or a number is out of range.

    Notes
    -----
    Every image gives each of its 1 + K maps a mid-rank (areas within 1e-6 of each
    other, rounded to that, tie). The ranks of chance member j are averaged over the
    images of a unit, as the map's are: the member is *one* draw for the unit, so it
    must come from the same random field in all of them. Under the hypothesis the
    place of the map among the 1 + K members of each unit is uniform. The statistic is
    the mean over units of the map's averaged rank; its conditional distribution draws
    one member for every unit, independently. No assumption on areas, ties or the
    dependence between a unit's images is made, but that the map depends on its
    neighbours as a chance member does.

    The distribution is exact (convolution on the lattice the ranks lie on) where
    the lattice is small, as with one image a unit up to 100,000 units of 20; else
    ``(1 + draws that reach the map's) / (1 + draws)`` (Phipson and Smyth 2010,
    doi:10.2202/1544-6115.1585; sequential draws are for single cases, Besag and
    Clifford 1991, doi:10.1093/biomet/78.2.301). With one unit it is the Monte Carlo
    test ``(1 + chance maps that reach the map) / (1 + K)``.

    A network is not drawn anew for every patient: one may do better than another on
    all of them. With `shared` members the data set is therefore a single draw, the
    p-value ``(1 + chance members whose mean reaches the map's) / (1 + K)`` whatever
    the number of patients, and never below ``1 / (1 + K)``; the interval of `effect`
    is for these K members. Where a tenth of the variance of log-normal areas is the
    network's, 40 units and K = 20, the test by unit alarms in 20 % of 2000
    repetitions at 5 %, this one in 5 %.

    Averaging ranks and not areas keeps `effect` a share that does not grow with the
    images of a patient, and a patient with a wide spread of areas from deciding.

    A Wilcoxon or t-test on "map minus median (or mean) of its chance maps" is invalid
    here, since areas of chance maps are skewed. At 5 %, K = 20 and log-normal areas
    without any effect, Wilcoxon against the median alarms in 25 % of 2000 repetitions
    on 40 units and in 86 % of 500 on 300 units, this test in 5 % of both.
    """
    checked_draws(draws, n_bootstrap, seed)
    table = _checked_areas(areas, units)
    sums, counts = unit_sums(_mid_ranks(table), units)
    n_images = int(counts.sum())
    nan = float("nan")
    effect, low, high, p_value = nan, nan, nan, nan
    if n_images:
        shares = (sums[:, :1] / counts[:, None] - 1) / (table.shape[1] - 1)
        effect = float(shares.mean())
        low, high = interval(resampled_means(shares, n_bootstrap, seed), len(counts))
        if shared:
            p_value = shared_rank_p(sums / counts[:, None])
        else:
            p_value = rank_p(sums, counts, draws, seed)
    return RankTest(
        n_units=len(counts),
        n_images=n_images,
        effect=effect,
        ci_low=low,
        ci_high=high,
        p_value=p_value,
        n_excluded=len(table) - n_images,
    )


def volume_rank(areas: ArrayLike) -> float:
    """Rank of a volume's map among chance, its slices put together.

    Parameters
    ----------
    areas
        Areas ``(slices, 1 + K)``: column 0 the map's, column ``1 + j`` those of chance
        member j, drawn from one random field through all slices. A slice with NaN in
        any column is left out.

    Returns
    -------
    float
        Chance members whose mean area over the slices is below the map's, and half of
        those equal (to 1e-6): 0 to K. NaN where no slice is left.

    Raises
    ------
    MetricError
        If `areas` is not two-dimensional, has no chance column or infinite values.

    Notes
    -----
    Slices are not independent, so their verdicts must not be counted as so many. The
    mean over slices keeps one draw from chance a member.
    """
    table = _checked_areas(areas)
    table = table[~np.isnan(table).any(axis=1)]
    if len(table) == 0:
        return float("nan")
    return float(_mid_ranks(table.mean(axis=0)[None])[0, 0] - 1)


def combined_p(p_values: ArrayLike) -> float:
    """Put p-values of any dependence together, as those of a volume's slices.

    Parameters
    ----------
    p_values
        P-values ``(n,)``; NaN (excluded) do not count.

    Returns
    -------
    float
        Twice their mean, at most 1; a single one as it is; NaN where there is none.

    Raises
    ------
    MetricError
        If they are not one-dimensional or not in 0..1.

    Notes
    -----
    Vovk and Wang 2020, "Combining p-values via averaging",
    doi:10.1093/biomet/asaa027: twice the arithmetic mean is a p-value whatever the
    dependence, and no smaller factor is. It answers whether *all* slices follow
    chance.
    """
    array = _checked_p_values(p_values)
    valid = array[~np.isnan(array)]
    if valid.size == 0:
        return float("nan")
    if valid.size == 1:
        return float(valid[0])
    return min(1.0, 2.0 * float(valid.mean()))


def holm(p_values: ArrayLike) -> FloatArray:
    """Adjust the p-values of one family by Holm's step-down method.

    Parameters
    ----------
    p_values
        P-values ``(n,)`` of the family. NaN stay NaN and do not count.

    Returns
    -------
    ndarray of float, (n,)
        Adjusted p-values: reject those up to the level wanted and the probability of
        any false alarm is at most that level, whatever the dependence.

    Raises
    ------
    MetricError
        If they are not one-dimensional or not in 0..1.

    Notes
    -----
    Holm 1979, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6, 65-70.
    """
    array = _checked_p_values(p_values)
    valid = np.flatnonzero(~np.isnan(array))
    order = valid[np.argsort(array[valid], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted = np.full(array.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * array[order]), 1.0)
    return adjusted


def thirds(values: ArrayLike) -> tuple[str, ...]:
    """Name the third of the data each value lies in, as for lesion sizes.

    Parameters
    ----------
    values
        Values ``(n,)``; NaN where unknown.

    Returns
    -------
    tuple of str
        ``"smallest third"``, ``"middle third"`` or ``"largest third"`` (`THIRDS`),
        empty for NaN. Equal values share a third, so thirds may be unequal or empty.

    Raises
    ------
    MetricError
        If they are not one-dimensional.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise MetricError(f"values must have shape (n,), not {array.shape}")
    known = np.flatnonzero(~np.isnan(array))
    labels = [""] * len(array)
    # the middle of a value's ranks, (mid - 1/2) / n, against 1/3 and 2/3
    for i, mid in zip(known, rankdata(array[known]), strict=True):
        labels[i] = THIRDS[min(2, int(3 * (2 * mid - 1)) // (2 * known.size))]
    return tuple(labels)


def _checked_p_values(p_values: ArrayLike) -> FloatArray:
    array = np.asarray(p_values, dtype=np.float64)
    if array.ndim != 1:
        raise MetricError(f"p-values must have shape (n,), not {array.shape}")
    outside = array[(array < 0) | (array > 1)]
    if outside.size:
        raise MetricError(f"{outside[0]} is not a p-value; they lie in 0..1")
    return array


def _checked_areas(
    areas: ArrayLike, units: Sequence[Hashable] | None = None
) -> FloatArray:
    array = np.asarray(areas, dtype=np.float64)
    rows = range(len(array) if array.ndim else 0)
    table = checked_table(array, rows if units is None else units, "areas")
    if table.shape[1] < 2:
        raise MetricError(
            "areas have no chance maps; give columns for the map and its chance maps"
        )
    return table


def _mid_ranks(areas: FloatArray) -> FloatArray:
    """Mid-ranks 1..1 + K of each row's areas, near ones tied; NaN rows stay NaN."""
    ranks: FloatArray = rankdata(np.rint(areas / TIE), axis=1, nan_policy="propagate")
    return ranks
