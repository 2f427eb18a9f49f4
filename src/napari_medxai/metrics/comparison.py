"""Methods against each other on the same images, by patient."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from napari_medxai.errors import MetricError
from napari_medxai.metrics._permutation import sign_flip_p
from napari_medxai.metrics._units import (
    MIN_UNITS,
    TIE,
    FloatArray,
    checked_draws,
    checked_table,
    interval,
    resampled_means,
    unit_sums,
)
from napari_medxai.metrics.statistics import holm

__all__ = ["Comparison", "Pair", "PairedTest", "compare_methods", "paired_test"]

_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two methods on the same units.

    Attributes
    ----------
    first, second
        The methods.
    difference
        Mean over units of first minus second.
    ci_low, ci_high
        95 % percentile interval of it, units resampled.
    p_value
        Two-sided, by permutation.
    p_adjusted
        After Holm's correction over all pairs of the comparison.
    """

    first: str
    second: str
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    p_adjusted: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several methods on the same units.

    Attributes
    ----------
    methods
        Those that have values, in the order given.
    mean_ranks
        Mean over units of each method's rank: 1 is best, the largest value; ties share
        their mean.
    n_units
        Units (patients) with at least one image on which every method has a value.
    statistic, p_value
        Friedman's test that no method ranks above another.
    critical_difference
        Nemenyi's, at 5 %: mean ranks nearer than this are not told apart.
    pairs
        Each method with each later one.
    n_dropped
        Units left out because no image of theirs has a value of every method.
    """

    methods: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    n_units: int
    statistic: float
    p_value: float
    critical_difference: float
    pairs: tuple[Pair, ...]
    n_dropped: int = 0


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Two series of values of the same images, as of two runs.

    Attributes
    ----------
    n_units, n_images
        Units and images with both values.
    n_dropped
        Images left out because one of their values is NaN.
    mean_a, mean_b
        Mean over units of each; NaN without units.
    difference
        Mean over units of a minus b.
    ci_low, ci_high
        95 % percentile interval of it, units resampled; NaN below five units.
    p_value
        Two-sided, by permutation; NaN without units. At least ``2 / 2**n_units``.
    """

    n_units: int
    n_images: int
    n_dropped: int
    mean_a: float
    mean_b: float
    difference: float
    ci_low: float
    ci_high: float
    p_value: float


def compare_methods(
    values: ArrayLike,
    methods: Sequence[str],
    units: Sequence[Hashable],
    *,
    draws: int = 9999,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Comparison | None:
    """Compare methods on the images where all of them have a value.

    Parameters
    ----------
    values
        ``(images, methods)``, larger is better, NaN where there is none. A method
        without any value takes no part.
    methods
        Names of the columns.
    units
        Patient of each image; where patients are unknown the case or slice. A unit's
        images are averaged first.
    draws
        Permutations with more than 13 units; up to 13 all are enumerated.
    n_bootstrap
        Resamples of the units for the intervals; 0 gives none.
    seed
        Seed of permutations and resamples.

    Returns
    -------
    Comparison or None
        None with fewer than two methods or five units.

    Raises
    ------
    MetricError
        If names, units and values do not fit, a name stands twice, a unit is missing,
        a value is infinite or a number is out of range.

    Notes
    -----
    Friedman's test (Friedman 1937, doi:10.1080/01621459.1937.10503522) with its
    chi-squared distribution, corrected for ties; with two methods it is the sign test,
    and the p-value is that test's exact one. Mean ranks and Nemenyi's critical
    difference as in Demšar 2006, "Statistical comparisons of classifiers over multiple
    data sets", JMLR 7, section 3.2.2 (Nemenyi 1963). Pairs are tested by the mean
    difference, the sign of each unit's flipped at random (exact if the two methods
    could be swapped within any unit), two-sided, corrected after Holm. Ranks and mean
    differences are two questions: they may disagree.

    Unit means are rounded to 1e-6, so that what a network's rounding sets apart ties.
    """
    checked_draws(draws, n_bootstrap, seed)
    table = checked_table(values, units, "values")
    names = tuple(methods)
    if len(names) != table.shape[1] or len(set(names)) != len(names):
        raise MetricError(
            f"values have {table.shape[1]} columns but the methods are"
            f" {', '.join(names) or 'none'}; give each column its own name"
        )
    filled = np.flatnonzero(~np.isnan(table).all(axis=0))
    names = tuple(names[i] for i in filled)
    means, _ = _complete_means(table[:, filled], units)
    if len(names) < 2 or len(means) < MIN_UNITS:
        return None
    ranks = stats.rankdata(-means, axis=1)
    statistic, p_value = _friedman(ranks)
    pairs = list(combinations(range(len(names)), 2))
    p_values = sign_flip_p(means, pairs, draws, seed)
    resampled = resampled_means(means, n_bootstrap, seed) * TIE
    tested = []
    for (i, j), p, adjusted in zip(pairs, p_values, holm(p_values), strict=True):
        low, high = interval(resampled[:, i] - resampled[:, j], len(means))
        tested.append(
            Pair(
                first=names[i],
                second=names[j],
                difference=float((means[:, i] - means[:, j]).mean() * TIE),
                ci_low=low,
                ci_high=high,
                p_value=float(p),
                p_adjusted=float(adjusted),
            )
        )
    return Comparison(
        methods=names,
        mean_ranks=tuple(float(r) for r in ranks.mean(axis=0)),
        n_units=len(means),
        statistic=statistic,
        p_value=p_value,
        critical_difference=_nemenyi(len(names)) / float(np.sqrt(len(means))),
        pairs=tuple(tested),
        n_dropped=len(set(units)) - len(means),
    )


def paired_test(
    a: ArrayLike,
    b: ArrayLike,
    units: Sequence[Hashable],
    *,
    draws: int = 9999,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> PairedTest:
    """Test the mean difference of two series of values of the same images.

    Parameters
    ----------
    a, b
        Values ``(images,)``; an image with NaN in either is left out.
    units
        Patient of each image; a unit's images are averaged first.
    draws, n_bootstrap, seed
        As in `compare_methods`.

    Returns
    -------
    PairedTest
        Correct the p-values of a family with `holm`.

    Raises
    ------
    MetricError
        If the three are not equally long, a unit is missing, a value is infinite or a
        number is out of range.

    Notes
    -----
    The sign of each unit's difference is flipped, all ways up to 13 units, else at
    random with ``(1 + draws that reach the difference) / (1 + draws)`` (Phipson and
    Smyth 2010, doi:10.2202/1544-6115.1585).
    """
    checked_draws(draws, n_bootstrap, seed)
    first, second = (np.asarray(v, dtype=np.float64) for v in (a, b))
    if first.ndim != 1 or first.shape != second.shape:
        raise MetricError(
            f"paired values must have one shape (images,), not {first.shape} and"
            f" {second.shape}"
        )
    table = checked_table(np.column_stack([first, second]), units, "paired values")
    means, n_images = _complete_means(table, units)
    nan = float("nan")
    (mean_a, mean_b), p_value, low, high = (nan, nan), nan, nan, nan
    if n_images:
        mean_a, mean_b = (float(mean) for mean in means.mean(axis=0) * TIE)
        differences = (means[:, :1] - means[:, 1:]) * TIE
        resampled = resampled_means(differences, n_bootstrap, seed)
        low, high = interval(resampled, len(means))
        p_value = float(sign_flip_p(means, [(0, 1)], draws, seed)[0])
    return PairedTest(
        n_units=len(means),
        n_images=n_images,
        n_dropped=len(table) - n_images,
        mean_a=mean_a,
        mean_b=mean_b,
        difference=mean_a - mean_b,
        ci_low=low,
        ci_high=high,
        p_value=p_value,
    )


def _complete_means(
    table: FloatArray, units: Sequence[Hashable]
) -> tuple[FloatArray, int]:
    """Means (units, columns) over complete images, in whole steps of a tie; images."""
    sums, counts = unit_sums(table, units)
    return np.rint(sums / counts[:, None] / TIE), int(counts.sum())


def _friedman(ranks: FloatArray) -> tuple[float, float]:
    """Friedman's statistic and p-value from ranks (units, methods)."""
    if (ranks == ranks[:, :1]).all():
        return 0.0, 1.0
    if ranks.shape[1] > 2:
        statistic, p_value = stats.friedmanchisquare(*ranks.T)
        return float(statistic), float(p_value)
    wins = int((ranks[:, 0] < ranks[:, 1]).sum())
    losses = int((ranks[:, 0] > ranks[:, 1]).sum())
    statistic = (wins - losses) ** 2 / (wins + losses)
    return statistic, float(stats.binomtest(wins, wins + losses).pvalue)


@cache
def _nemenyi(methods: int) -> float:
    """Critical difference of mean ranks at one unit (Demšar 2006, equation 6)."""
    q = stats.studentized_range.ppf(1 - _LEVEL, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / 6))
