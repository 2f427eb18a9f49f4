from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from napari_medxai.errors import MetricError
from napari_medxai.metrics import _permutation
from napari_medxai.metrics.statistics import (
    THIRDS,
    combined_p,
    holm,
    rank_test,
    thirds,
    volume_rank,
)

FloatArray = NDArray[np.float64]


def skewed(n: int, members: int, rng: np.random.Generator) -> FloatArray:
    """Areas without any effect, as skewed as those of chance maps are."""
    return np.exp(rng.normal(size=(n, members))) / 20


def naive_ranks(areas: FloatArray, units: Sequence[Hashable]) -> list[list[Fraction]]:
    """Average the ranks of each unit's images, one member after the other."""
    table = []
    for unit in dict.fromkeys(units):
        images = [row for row, u in zip(areas, units, strict=True) if u == unit]
        averaged = []
        for j in range(areas.shape[1]):
            total = Fraction(0)
            for row in images:
                others = [a for i, a in enumerate(row) if i != j]
                below = sum(bool(a < row[j]) for a in others)
                equal = sum(bool(a == row[j]) for a in others)
                total += below + Fraction(equal, 2)
            averaged.append(total / len(images))
        table.append(averaged)
    return table


def enumerated(ranks: list[list[Fraction]]) -> float:
    """Share of all ways to name one member of each unit the map that reach it."""
    observed = sum(row[0] for row in ranks)
    ways = [sum(way) >= observed for way in product(*ranks)]
    return float(np.mean(ways))


UNITS = {
    "one image each": [0, 1, 2, 3],
    "uneven": ["a", "b", "a", "a", "c", "b"],
    "one unit": [7, 7, 7],
    "of four sizes": [0, 0, 0, 0, 1, 2, 2, 3, 3, 3],
}


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_p_value_and_effect_by_enumeration(
    units: list[Hashable], ties: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    areas = rng.random((len(units), 5))
    areas[:, 0] += 0.2 * seed
    if ties:
        areas = np.round(areas * 4) / 4
    ranks = naive_ranks(areas, units)
    result = rank_test(areas, units)
    assert result.p_value == pytest.approx(enumerated(ranks), abs=1e-12)
    assert result.effect == pytest.approx(float(np.mean([r[0] for r in ranks])) / 4)
    assert (result.n_units, result.n_images) == (len(set(units)), len(units))


@pytest.mark.parametrize("ties", [False, True])
def test_level_is_exact_over_every_place_of_the_map(ties: bool) -> None:
    """Each member of each unit takes the map's place once: P(p <= a) is at most a."""
    rng = np.random.default_rng(5)
    areas = skewed(5, 4, rng)
    units = ["a", "a", "b", "c", "c"]
    if ties:
        areas = np.round(areas * 20) / 20
    p_values = []
    for way in product(range(4), repeat=3):
        swapped = areas.copy()
        for row, unit in enumerate(units):
            j = way["abc".index(unit)]
            swapped[row, [0, j]] = swapped[row, [j, 0]]
        p_values.append(rank_test(swapped, units, n_bootstrap=0).p_value)
    values = np.array(p_values)
    for level in values:
        share = float((values <= level + 1e-12).mean())
        assert share == pytest.approx(level, abs=1e-12)  # its own distribution function


def test_one_chance_map_is_the_sign_test() -> None:
    rng = np.random.default_rng(0)
    areas = rng.random((37, 2)) + np.array([0.1, 0])
    wins = int((areas[:, 0] > areas[:, 1]).sum())
    expected = stats.binomtest(wins, 37, alternative="greater").pvalue
    result = rank_test(areas, range(37))
    assert result.p_value == pytest.approx(expected, rel=1e-9)
    assert result.effect == pytest.approx(wins / 37)


def test_one_unit_is_the_monte_carlo_test() -> None:
    areas = np.array([[0.7, *np.linspace(0, 1, 199)]])
    reached = int((areas[0, 1:] >= 0.7).sum())
    assert rank_test(areas, ["x"]).p_value == pytest.approx((1 + reached) / 200)


def test_many_units_against_convolution_one_by_one() -> None:
    rng = np.random.default_rng(2)
    areas = np.round(rng.random((151, 21)) * 16) / 16
    areas[:, 0] += 1 / 16 * (rng.random(151) < 0.9)
    mass, total = np.ones(1), 0
    for row in naive_ranks(areas, range(151)):
        single = np.bincount([int(2 * r) for r in row], minlength=41) / 21
        mass = np.convolve(mass, single)
        total += int(2 * row[0])
    expected = mass[total:].sum()
    assert 1e-6 < expected < 0.1
    assert rank_test(areas, range(151)).p_value == pytest.approx(expected, rel=1e-6)


def test_drawn_distribution_agrees_with_the_exact_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    units = [0, 0, 0, 1, 1, 2, 3, 4, 5, 5]
    areas = np.round(rng.random((10, 8)), 1)
    areas[:, 0] += 0.15
    exact = rank_test(areas, units).p_value
    monkeypatch.setattr(_permutation, "_LATTICE", 0)
    drawn = rank_test(areas, units, draws=40_000).p_value
    assert exact not in (0, 1)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 4e4))
    assert drawn == rank_test(areas, units, draws=40_000).p_value
    assert drawn != rank_test(areas, units, draws=40_000, seed=1).p_value
    # the map itself is counted: never zero
    areas[:, 0] = 2
    assert rank_test(areas, units, draws=999).p_value == pytest.approx(1 / 1000)


def test_units_of_many_sizes_are_drawn() -> None:
    units = [i for i in range(24) for _ in range(i + 1)]
    rng = np.random.default_rng(4)
    areas = rng.random((len(units), 21))
    p_value = rank_test(areas, units, draws=4999).p_value
    assert p_value * 5000 == pytest.approx(round(p_value * 5000))
    ranks = np.array(naive_ranks(areas, units), dtype=float)
    # sums of 24 independent averages are nearly normal
    z = (ranks[:, 0] - ranks.mean(axis=1)).sum() / math.sqrt(ranks.var(axis=1).sum())
    assert p_value == pytest.approx(stats.norm.sf(z), abs=0.03)


def test_interval_resamples_units() -> None:
    rng = np.random.default_rng(6)
    units = [0, 0, 0, 1, 2, 3, 3, 4, 5]
    areas = rng.random((9, 11))
    shares = np.array([float(row[0]) / 10 for row in naive_ranks(areas, units)])
    draws = np.random.default_rng(8).integers(6, size=(300, 6))
    means = [np.mean([shares[i] for i in draw]) for draw in draws]
    result = rank_test(areas, units, n_bootstrap=300, seed=8)
    assert (result.ci_low, result.ci_high) == pytest.approx(
        tuple(np.percentile(means, (2.5, 97.5)))
    )
    assert result.ci_low < result.effect < result.ci_high
    for few in (
        rank_test(areas[:7], units[:7]),
        rank_test(areas, units, n_bootstrap=0),
    ):
        assert math.isnan(few.ci_low)
        assert math.isnan(few.ci_high)
        assert 0 < few.p_value < 1


def test_excluded_images_are_left_out_and_counted() -> None:
    rng = np.random.default_rng(7)
    areas = rng.random((8, 6))
    units = [0, 0, 1, 1, 2, 2, 3, 4]
    with_nan = areas.copy()
    with_nan[1] = np.nan
    with_nan[6, 3] = np.nan
    kept = [0, 2, 3, 4, 5, 7]
    result = rank_test(with_nan, units)
    expected = rank_test(areas[kept], [units[i] for i in kept])
    assert (result.n_units, result.n_images, result.n_excluded) == (4, 6, 2)
    assert result.p_value == expected.p_value
    assert result.effect == expected.effect
    nothing = rank_test(np.full((3, 4), np.nan), "abc")
    assert (nothing.n_units, nothing.n_images, nothing.n_excluded) == (0, 0, 3)
    assert math.isnan(nothing.p_value)
    assert math.isnan(nothing.effect)


def test_only_order_within_an_image_counts() -> None:
    rng = np.random.default_rng(9)
    areas = rng.random((7, 9))
    moved = areas * rng.uniform(0.5, 3, size=(7, 1)) + rng.random((7, 1))
    assert rank_test(areas, "aabbcde") == rank_test(moved, "aabbcde")
    order = rng.permutation(7)
    units = ["aabbcde"[i] for i in order]
    shuffled = rank_test(areas[order], units)
    assert shuffled.p_value == rank_test(areas, "aabbcde").p_value


def test_the_rounding_of_a_network_is_no_evidence() -> None:
    """A constant map and its equal chance maps, scored in batches of two sizes."""
    areas = np.full((30, 21), 0.6123)
    areas[:, 0] += 2e-8
    result = rank_test(areas, range(30))
    assert result.effect == 0.5
    assert result.p_value == 1.0
    assert volume_rank(areas[:5]) == 10.0


def test_level_holds_on_skewed_areas_where_wilcoxon_fails() -> None:
    rng = np.random.default_rng(10)
    alarms = {"rank test": 0, "median": 0, "mean": 0}
    for _ in range(300):
        areas = skewed(40, 21, rng)
        alarms["rank test"] += rank_test(areas, range(40), n_bootstrap=0).p_value < 0.05
        against = {"median": np.median, "mean": np.mean}
        for name, middle in against.items():
            side = "greater" if name == "median" else "less"
            differences = areas[:, 0] - middle(areas[:, 1:], axis=1)
            p_value = stats.wilcoxon(differences, alternative=side).pvalue
            alarms[name] += p_value < 0.05
    assert 0.02 * 300 <= alarms["rank test"] <= 0.07 * 300
    assert alarms["median"] > 0.15 * 300
    assert alarms["mean"] > 0.15 * 300


def test_slices_of_a_patient_are_one_draw() -> None:
    """A field through all slices: the patient keeps the level, the slice does not."""
    rng = np.random.default_rng(11)
    patients = np.repeat(np.arange(10), 8)
    alarms = {"patients": 0, "slices": 0}
    for _ in range(200):
        areas = skewed(10, 21, rng)[patients] * rng.uniform(0.8, 1.2, size=(80, 21))
        for name, units in (("patients", patients), ("slices", np.arange(80))):
            p_value = rank_test(areas, units.tolist(), n_bootstrap=0).p_value
            alarms[name] += p_value < 0.05
    assert 0.02 * 200 <= alarms["patients"] <= 0.08 * 200
    assert alarms["slices"] > 0.15 * 200


def test_a_network_shared_by_all_patients_is_one_draw() -> None:
    """A tenth of the variance is the network's: counted by patient, it would do."""
    rng = np.random.default_rng(15)
    alarms = {True: 0, False: 0}
    for _ in range(1000):
        network = rng.normal(size=21) * math.sqrt(0.1)
        areas = np.exp(network + rng.normal(size=(40, 21)) * math.sqrt(0.9)) / 20
        for shared in alarms:
            test = rank_test(areas, range(40), shared=shared, n_bootstrap=0)
            alarms[shared] += test.p_value <= 0.05
    assert 0.03 * 1000 <= alarms[True] <= 0.07 * 1000
    assert alarms[False] > 0.12 * 1000


@pytest.mark.parametrize("ties", [False, True])
def test_shared_members_are_ranked_as_a_whole(ties: bool) -> None:
    rng = np.random.default_rng(16)
    units = [0, 0, 0, 1, 2, 2, 3, 4]
    areas = rng.random((8, 12))
    if ties:
        areas = np.round(areas * 2) / 2
    means = np.array(naive_ranks(areas, units)).mean(axis=0)
    for j in range(12):
        swapped = areas.copy()
        swapped[:, [0, j]] = swapped[:, [j, 0]]
        result = rank_test(swapped, units, shared=True)
        assert result.p_value == pytest.approx(sum(m >= means[j] for m in means) / 12)
        assert result.effect == pytest.approx(float(means[j]) / 11)
        by_unit = rank_test(swapped, units)
        assert (result.ci_low, result.ci_high) == (by_unit.ci_low, by_unit.ci_high)


def test_power_on_forty_patients() -> None:
    rng = np.random.default_rng(12)
    found = 0
    for _ in range(50):
        areas = skewed(40, 21, rng)
        areas[:, 0] *= 2
        found += rank_test(areas, range(40), n_bootstrap=0).p_value < 0.05
    assert found >= 48


@given(
    st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=12),
)
@settings(max_examples=100, deadline=None)
def test_holm_by_its_definition(p_values: list[float]) -> None:
    """Smallest level at which the step-down procedure rejects, for each."""
    adjusted = holm(np.array(p_values, dtype=float))
    valid = sorted(p for p in p_values if not math.isnan(p))
    for p, got in zip(p_values, adjusted, strict=True):
        if math.isnan(p):
            assert math.isnan(got)
            continue
        steps = valid[: valid.index(p) + 1]
        needed = [(len(valid) - i) * step for i, step in enumerate(steps)]
        assert got == min(1.0, max(needed))


def test_holm_on_paper() -> None:
    # 0.01 x 4, 0.02 x 3, then 0.03 x 2 = 0.06 is not below it, 0.04 x 1 neither
    assert holm([0.04, 0.01, math.nan, 0.03, 0.02]) == pytest.approx(
        [0.06, 0.04, math.nan, 0.06, 0.06], nan_ok=True
    )
    assert holm([]).shape == (0,)


def test_combined_p_keeps_its_level_whatever_the_dependence() -> None:
    rng = np.random.default_rng(13)
    one = rng.random(4000)
    # p-values that hold each other's mean at 0.025 whenever the first is below 0.05
    against = np.where(one < 0.05, 0.05 - one, one)
    cases = {
        "equal": np.repeat(one[:, None], 9, axis=1),
        "independent": rng.random((4000, 9)),
        "opposed": np.stack([one, 1 - one], axis=1),
        "worst": np.stack([one, against], axis=1),
    }
    alarms = {}
    for name, table in cases.items():
        combined = np.array([combined_p(row) for row in table])
        alarms[name] = float((combined <= 0.05 + 1e-12).mean())
    assert max(alarms.values()) < 0.06
    assert alarms["equal"] == pytest.approx(0.025, abs=0.01)
    assert alarms["worst"] > 0.04  # no factor below 2 would do


def test_combined_p_on_paper() -> None:
    assert combined_p([0.01, math.nan, 0.03]) == pytest.approx(0.04)
    assert combined_p([0.9, 0.8]) == 1.0
    assert combined_p([0.03]) == 0.03
    assert math.isnan(combined_p([math.nan]))
    assert math.isnan(combined_p([]))


def test_volume_rank_ranks_the_means() -> None:
    rng = np.random.default_rng(14)
    areas = np.round(rng.random((7, 21)), 2)
    areas[:, 3] = areas[::-1, 0]  # tied: the same areas in another order
    areas[3, 5] = np.nan
    kept = np.delete(areas, 3, axis=0)
    means = [math.fsum(column) / 6 for column in kept.T]
    below = sum(m < means[0] - 1e-9 for m in means[1:])
    equal = sum(abs(m - means[0]) < 1e-9 for m in means[1:])
    assert volume_rank(areas) == below + equal / 2
    areas[3] = 0.5
    assert volume_rank(areas) % 1 == 0.5
    assert math.isnan(volume_rank(np.full((2, 3), np.nan)))
    assert volume_rank([[1, 0, 0], [1, 0, 0]]) == 2


def test_thirds() -> None:
    assert thirds([5.0, 1, 9, math.nan, 2, 8, 4]) == (
        "middle third",
        "smallest third",
        "largest third",
        "",
        "smallest third",
        "largest third",
        "middle third",
    )
    assert thirds([3.0] * 4) == ("middle third",) * 4
    assert thirds([]) == ()
    assert thirds([1.0, 2.0]) == ("smallest third", "largest third")


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_thirds_follow_order_and_keep_equals_together(values: list[int]) -> None:
    places = [THIRDS.index(name) for name in thirds(values)]
    for value, place in zip(values, places, strict=True):
        below = sum(v < value for v in values)
        equal = values.count(value)
        middle = Fraction(2 * below + equal, 2 * len(values))
        assert place == (middle >= Fraction(1, 3)) + (middle >= Fraction(2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rank_test([0.5, 0.1], "ab"), "shape"),
        (lambda: rank_test([[0.5, 0.1]], "ab"), "1 images but 2 units"),
        (lambda: rank_test([[0.5]], "a"), "no chance maps"),
        (lambda: rank_test([[0.5, math.inf]], "a"), "infinite"),
        (lambda: rank_test([[0.5, 0.1]], [None]), "image 0 of areas has no unit"),
        (lambda: rank_test([[0.5, 0.1]], [""]), "has no unit"),
        (lambda: rank_test([[0.5, 0.1]], [math.nan]), "has no unit"),
        (lambda: rank_test([[0.5, 0.1]], "a", draws=0), "draws"),
        (lambda: rank_test([[0.5, 0.1]], "a", seed=-1), "seed"),
        (lambda: volume_rank([0.5, 0.1]), "shape"),
        (lambda: volume_rank(0.5), "shape"),
        (lambda: volume_rank([[0.5]]), "no chance maps"),
        (lambda: holm([0.5, 1.2]), r"1\.2 is not a p-value"),
        (lambda: holm([[0.5]]), "shape"),
        (lambda: combined_p([-0.1]), "not a p-value"),
        (lambda: combined_p(0.5), "shape"),
        (lambda: thirds([[1.0]]), "shape"),
    ],
)
def test_errors_say_what_is_wrong(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MetricError, match=message):
        call()
