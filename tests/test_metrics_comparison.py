from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from napari_medxai.errors import MetricError
from napari_medxai.metrics.comparison import (
    Comparison,
    compare_methods,
    paired_test,
)
from napari_medxai.metrics.statistics import holm

FloatArray = NDArray[np.float64]

# Demšar 2006, table 6: AUC of C4.5, +m, +cf, +m+cf on fourteen data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9752, 0.975],  # printed equal, ranked 2 and 3
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def compared(values: FloatArray, methods: str, units: object, **settings: int):  # type: ignore[no-untyped-def]
    result = compare_methods(values, list(methods), list(units), **settings)  # type: ignore[call-overload]
    assert isinstance(result, Comparison)
    return result


def flipped(differences: FloatArray) -> float:
    """Share of all patterns of signs that reach the sum, one by one."""
    observed = abs(math.fsum(differences))
    hits = 0
    for signs in product((1, -1), repeat=len(differences)):
        total = math.fsum(s * d for s, d in zip(signs, differences, strict=True))
        hits += abs(total) >= observed - 1e-12
    return float(hits / 2 ** len(differences))


def test_the_published_example() -> None:
    result = compared(DEMSAR, "abcd", range(14))
    assert result.mean_ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert result.critical_difference == pytest.approx(1.25, abs=5e-3)
    # the paper's 9.28 is not corrected for ties: three rows of two, one of all
    tied = 1 - (3 * (2**3 - 2) + (4**3 - 4)) / (14 * 4 * (4**2 - 1))
    assert result.statistic * tied == pytest.approx(9.28, abs=5e-3)
    assert result.p_value == pytest.approx(stats.chi2.sf(9.28 / tied, 3), abs=1e-4)


# Demšar 2006, table 5 (a): critical values at 5 % for 2 to 10 methods.
@pytest.mark.parametrize(
    ("methods", "q"),
    list(enumerate((1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164), 2)),
)
def test_critical_difference_by_the_published_table(methods: int, q: float) -> None:
    values = np.random.default_rng(0).random((9, methods))
    result = compared(values, "abcdefghij"[:methods], range(9), draws=1)
    expected = q * math.sqrt(methods * (methods + 1) / (6 * 9))
    assert result.critical_difference == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_all_of_it_against_loops(ties: bool) -> None:
    rng = np.random.default_rng(1)
    names = ["grad", "cam", "xrai", "edge"]
    units = [0, 0, 0, 1, 2, 2, 3, 4, 5, 5, 6]
    values = rng.random((11, 4)) + np.array([0, 0.1, 0.2, 0.1])
    if ties:
        values = np.round(values, 1)
    means = np.array(
        [
            [
                np.mean([values[i, m] for i in range(11) if units[i] == unit])
                for m in range(4)
            ]
            for unit in range(7)
        ]
    )
    result = compare_methods(values, names, units, n_bootstrap=200, seed=3)
    assert result is not None
    assert (result.n_units, result.n_dropped) == (7, 0)
    assert result.methods == tuple(names)
    steps = np.rint(means * 1e6)
    for m in range(4):
        ranks = [1 + sum(row > row[m]) + (sum(row == row[m]) - 1) / 2 for row in steps]
        assert result.mean_ranks[m] == pytest.approx(np.mean(ranks))
    assert (result.statistic, result.p_value) == pytest.approx(
        tuple(stats.friedmanchisquare(*steps.T))
    )
    draws = np.random.default_rng(3).integers(7, size=(200, 7))
    raw = []
    for pair, (i, j) in zip(result.pairs, combinations(range(4), 2), strict=True):
        differences = means[:, i] - means[:, j]
        assert (pair.first, pair.second) == (names[i], names[j])
        assert pair.difference == pytest.approx(differences.mean(), abs=2e-6)
        assert pair.p_value == flipped((steps[:, i] - steps[:, j]) / 1e6)
        drawn = [np.mean([differences[u] for u in draw]) for draw in draws]
        assert (pair.ci_low, pair.ci_high) == pytest.approx(
            tuple(np.percentile(drawn, (2.5, 97.5))), abs=2e-6
        )
        raw.append(pair.p_value)
    assert [pair.p_adjusted for pair in result.pairs] == holm(raw).tolist()


@pytest.mark.parametrize("units", [6, 13])
def test_permutation_against_scipy(units: int) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((2, units))
    a += 0.2
    expected = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    result = paired_test(a, b, range(units))
    assert result.p_value == pytest.approx(expected.pvalue)
    assert result.difference == pytest.approx(expected.statistic, abs=2e-6)


def test_drawn_permutations_agree_with_all_of_them() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 15))
    b += 0.15
    signs = 1 - 2 * ((np.arange(2**15)[:, None] >> np.arange(15)) & 1)
    exact = float((np.abs(signs @ (a - b)) >= abs((a - b).sum()) - 1e-9).mean())
    drawn = paired_test(a, b, range(15), draws=40_000).p_value
    assert exact < 0.5
    assert drawn == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 4e4))
    assert drawn == paired_test(a, b, range(15), draws=40_000).p_value
    assert drawn != paired_test(a, b, range(15), draws=40_000, seed=1).p_value
    assert paired_test(a + 9, b, range(15), draws=99).p_value == 1 / 100


def test_chunks_of_draws_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    exact, drawn = rng.random((12, 4)), rng.random((20, 4))
    whole = compared(exact, "abcd", range(12)), compared(drawn, "abcd", range(20))
    monkeypatch.setattr("napari_medxai.metrics._permutation.CHUNK", 1000)
    monkeypatch.setattr("napari_medxai.metrics._units.CHUNK", 1000)
    parts = compared(exact, "abcd", range(12)), compared(drawn, "abcd", range(20))
    assert parts == whole


def test_level_is_exact_over_all_swaps() -> None:
    rng = np.random.default_rng(5)
    values = np.round(np.exp(rng.normal(size=(6, 2))), 1)
    p_values = []
    for swaps in product((False, True), repeat=6):
        rows = [row[::-1] if s else row for row, s in zip(values, swaps, strict=True)]
        a, b = np.array(rows).T
        p_values.append(paired_test(a, b, range(6), n_bootstrap=0).p_value)
    p = np.array(p_values)
    for level in p:
        assert (p <= level).mean() == pytest.approx(level)


def test_family_level_and_power_of_the_pairs() -> None:
    rng = np.random.default_rng(6)
    false, found, friedman = 0, 0, 0
    for _ in range(150):
        values = np.exp(rng.normal(size=(20, 4)))
        options = {"draws": 499, "n_bootstrap": 0}
        null = compared(values, "abcd", range(20), **options)
        false += min(pair.p_adjusted for pair in null.pairs) <= 0.05
        friedman += null.p_value <= 0.05
        values[:, 1] += 5
        real = compared(values, "abcd", range(20), **options)
        found += all(
            (pair.p_adjusted <= 0.05)
            for pair in real.pairs
            if "b" in (pair.first + pair.second)
        )
    assert false <= 0.08 * 150
    assert 0.01 * 150 <= friedman <= 0.08 * 150
    assert found >= 0.9 * 150


def test_two_methods_are_the_sign_test() -> None:
    values = np.array([[1, 0]] * 6 + [[0, 1]] * 1 + [[1, 1]] * 2, dtype=float)
    result = compared(values, "ab", range(9))
    assert result.statistic == pytest.approx(25 / 7)
    assert result.p_value == pytest.approx(stats.binomtest(6, 7).pvalue)
    assert result.mean_ranks == pytest.approx(((6 + 2 + 3) / 9, (12 + 1 + 3) / 9))


def test_equal_methods_are_not_told_apart() -> None:
    rng = np.random.default_rng(7)
    own = rng.random(30)
    # the same maps in another batch: set apart by rounding alone, to one side
    for count, methods in ((2, "ab"), (3, "abc")):
        values = np.stack([own + 1e-9 * j for j in range(count)], axis=1)
        values = np.round(values, 3) + 1e-9 * np.arange(count)
        result = compared(values, methods, range(30))
        assert (result.statistic, result.p_value) == (0.0, 1.0)
        assert set(result.mean_ranks) == {(count + 1) / 2}
        assert {pair.p_value for pair in result.pairs} == {1.0}
        assert {pair.difference for pair in result.pairs} == {0.0}


def test_incomplete_images_units_and_methods_are_left_out() -> None:
    rng = np.random.default_rng(8)
    units = [0, 0, 1, 2, 3, 4, 5, 6]
    values = rng.random((8, 4))
    values[:, 2] = np.nan  # failed everywhere
    values[1, 0] = np.nan  # unit 0 keeps its other image
    values[4] = np.nan  # unit 3 has no other
    result = compared(values, "abcd", units)
    kept = [0, 2, 3, 5, 6, 7]
    expected = compared(values[kept][:, [0, 1, 3]], "abd", range(6))
    assert result.methods == ("a", "b", "d")
    assert (result.n_units, result.n_dropped) == (6, 1)
    assert result.pairs == expected.pairs
    assert result.mean_ranks == expected.mean_ranks


def test_too_little_to_compare() -> None:
    values = np.random.default_rng(9).random((12, 3))
    assert compare_methods(values[:, :1], ["a"], range(12)) is None
    assert compare_methods(values, ["a", "b", "c"], [0, 1, 2, 3] * 3) is None
    assert compare_methods(values, ["a", "b", "c"], [0, 1, 2, 3, 4, 5] * 2) is not None
    values[:, 1:] = np.nan
    assert compare_methods(values, ["a", "b", "c"], range(12)) is None
    assert compare_methods(np.zeros((0, 0)), [], []) is None


def test_paired_values_by_patient() -> None:
    rng = np.random.default_rng(10)
    units = [0, 0, 0, 1, 2, 3, 4, 5]
    a, b = rng.random((2, 8))
    a[3] = np.nan
    b[0] = np.nan
    result = paired_test(a, b, units, n_bootstrap=150, seed=2)
    assert (result.n_units, result.n_images, result.n_dropped) == (5, 6, 2)
    mean_a = np.array([a[1:3].mean(), *a[4:]])
    mean_b = np.array([b[1:3].mean(), *b[4:]])
    assert result.mean_a == pytest.approx(mean_a.mean(), abs=2e-6)
    assert result.mean_b == pytest.approx(mean_b.mean(), abs=2e-6)
    assert result.difference == pytest.approx((mean_a - mean_b).mean(), abs=2e-6)
    assert result.p_value == flipped(mean_a - mean_b)
    draws = np.random.default_rng(2).integers(5, size=(150, 5))
    drawn = [np.mean([(mean_a - mean_b)[u] for u in draw]) for draw in draws]
    assert (result.ci_low, result.ci_high) == pytest.approx(
        tuple(np.percentile(drawn, (2.5, 97.5))), abs=2e-6
    )
    swapped = paired_test(b, a, units)
    assert swapped.p_value == result.p_value
    assert swapped.difference == -result.difference


def test_paired_values_of_few_or_no_units() -> None:
    few = paired_test([1.0, 2, 3], [0.0, 0, 0], "abc")
    assert few.p_value == 2 / 8
    assert math.isnan(few.ci_low)
    none = paired_test([math.nan], [1.0], ["x"])
    assert (none.n_units, none.n_dropped) == (0, 1)
    assert math.isnan(none.p_value)
    assert math.isnan(none.difference)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare_methods([0.5], ["a"], "x"), "shape"),
        (lambda: compare_methods([[1, 2]], ["a"], "x"), "2 columns"),
        (lambda: compare_methods([[1, 2]], ["a", "a"], "x"), "its own name"),
        (lambda: compare_methods([[1, 2]], ["a", "b"], "xy"), "1 images but 2 units"),
        (lambda: compare_methods([[1, math.inf]], ["a", "b"], "x"), "infinite"),
        (lambda: compare_methods([[1, 2]], ["a", "b"], [None]), "has no unit"),
        (lambda: compare_methods([[1, 2]], ["a", "b"], "x", draws=0), "draws"),
        (lambda: paired_test([1.0], [1.0, 2.0], "x"), r"one shape \(images,\)"),
        (lambda: paired_test([1.0], [2.0], "xy"), "1 images but 2 units"),
        (lambda: paired_test([1.0], [2.0], "x", n_bootstrap=-1), "n_bootstrap"),
    ],
)
def test_errors_say_what_is_wrong(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MetricError, match=message):
        call()
