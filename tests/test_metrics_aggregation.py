from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from saliency.metrics import pic as reference

from napari_medxai import metrics
from napari_medxai.errors import MetricError
from napari_medxai.metrics.aggregation import Aggregation, Exclusion
from napari_medxai.metrics.curve import InformationCurve


def curves(n: int, seed: int = 0, metric: str = "sic") -> list[InformationCurve]:
    rng = np.random.default_rng(seed)
    return [
        InformationCurve.from_knots(
            metric,  # type: ignore[arg-type]
            np.sort(rng.random(6)),
            np.sort(rng.random(6)),
        )
        for _ in range(n)
    ]


def naive(
    kept: list[InformationCurve],
    members: list[int],
    how: Aggregation,
    n_bootstrap: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Resample patients one by one, repeat their curves, take medians."""
    rng = np.random.default_rng(seed)
    n_groups = max(members) + 1
    ys = np.stack([c.y[::10] for c in kept])
    aucs = np.array([c.auc for c in kept])
    drawn, values = [], []
    draws = rng.integers(0, n_groups, size=(n_bootstrap, n_groups))
    for draw in draws:
        rows = [i for g in draw for i, m in enumerate(members) if m == g]
        middle = np.median if how == "median_curve" else np.mean
        drawn.append(middle(ys[rows], axis=0))
        mean = aucs[rows].mean()
        values.append(mean if how == "mean" else np.trapezoid(drawn[-1], dx=0.01))
    return np.array(drawn), np.array(values)


@pytest.mark.parametrize("how", ["median_curve", "mean_curve", "mean"])
@pytest.mark.parametrize("patients", [None, "uneven"])
def test_against_a_naive_bootstrap(how: Aggregation, patients: str | None) -> None:
    sample = curves(17)
    names = list(range(17))
    if patients:
        names = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 5, 6, 0, 0]
    result = metrics.aggregate(
        sample,
        how=how,
        groups=[f"p{name}" for name in names] if patients else None,
        n_bootstrap=60,
        confidence=0.9,
        seed=5,
    )
    drawn, values = naive(sample, names, how, 60, 5)
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(result.y_low[::10], low, atol=1e-12)
    np.testing.assert_allclose(result.y_high[::10], high, atol=1e-12)
    shift = 0.0
    if how != "mean":
        shift = result.value - np.trapezoid(result.y[::10], dx=0.01)
        assert abs(shift) < 0.005
    wanted = np.quantile(values, [0.05, 0.95]) + shift
    assert (result.ci_low, result.ci_high) == pytest.approx(tuple(wanted))
    assert result.ci_low <= result.value <= result.ci_high
    assert result.n == 17
    assert result.n_groups == len(set(names))


def test_the_median_of_a_large_or_lopsided_sample() -> None:
    """One patient holds half of 400 curves: some resamples leave the window."""
    sample = [InformationCurve.from_knots("sic", [0.5], [i / 400]) for i in range(400)]
    names = [0] * 200 + list(range(1, 21)) * 10
    result = metrics.aggregate(sample, groups=names, n_bootstrap=40, seed=1)
    drawn, _ = naive(sample, names, "median_curve", 40, 1)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(result.y_low[::10], low, atol=1e-12)
    np.testing.assert_allclose(result.y_high[::10], high, atol=1e-12)


@pytest.mark.parametrize("how", ["median", "mean"])
def test_parity_with_pair(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    sample = curves(8, seed=3)
    expected = reference.aggregate_individual_pic_results(
        [
            reference.PicMetricResult(
                curve_x=c.x,
                curve_y=c.y,
                blurred_images=[],
                predictions=[],
                thresholds=[],
                auc=c.auc,
            )
            for c in sample
        ],
        method=how,
    )
    result = metrics.aggregate(
        sample,
        how="median_curve" if how == "median" else "mean_curve",
        n_bootstrap=0,
    )
    np.testing.assert_allclose(result.y, expected.curve_y, atol=1e-12)
    assert result.value == pytest.approx(expected.auc)
    assert math.isnan(result.ci_low)


def test_excluded_curves_are_counted_and_left_out() -> None:
    sample = curves(5)
    out = [InformationCurve.from_knots("sic", excluded="why")] * 2
    mixed = [out[0], *sample, out[1]]
    groups = ["x", "a", "a", "b", "b", "c", "y"]
    result = metrics.aggregate(mixed, groups=groups)
    plain = metrics.aggregate(sample, groups=groups[1:-1])
    assert (result.n, result.n_excluded, result.n_groups) == (5, 2, 3)
    assert (result.value, result.ci_low) == (plain.value, plain.ci_low)


@pytest.mark.parametrize("how", ["median_curve", "mean_curve", "mean"])
def test_nothing_left_is_nan(how: Aggregation) -> None:
    gone = InformationCurve.from_knots("aic", excluded="why")
    for sample in ([], [gone, gone]):
        result = metrics.aggregate(sample, how=how)
        assert result.n == 0
        assert result.n_excluded == len(sample)
        assert math.isnan(result.value)
        assert math.isnan(result.ci_high)
        assert result.y.shape == result.x.shape == result.y_low.shape == (1001,)
        assert np.isnan(result.y).all()


def test_one_patient_has_a_value_but_no_interval() -> None:
    result = metrics.aggregate(curves(4), groups=["a"] * 4)
    assert math.isfinite(result.value)
    assert math.isnan(result.ci_low)
    assert np.isnan(result.y_high).all()


def test_the_seed_alone_decides() -> None:
    sample = curves(9)
    runs = [metrics.aggregate(sample, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0].y_low, runs[1].y_low)
    assert runs[0].ci_low == runs[1].ci_low
    assert runs[0].ci_low != runs[2].ci_low


def test_exclusions_by_class_and_reason() -> None:
    def gone(reason: str) -> InformationCurve:
        return InformationCurve.from_knots("aic", excluded=reason)

    sample = [gone("wrong"), *curves(2, metric="aic"), gone("blurred"), gone("wrong")]
    counted = metrics.exclusions(sample, ["a", "a", "b", "b", "a"])
    assert counted == (
        Exclusion(class_="a", reason="wrong", n=2, total=3),
        Exclusion(class_="b", reason="blurred", n=1, total=2),
    )
    assert metrics.exclusions([], []) == ()
    with pytest.raises(MetricError, match="5 curves but 1 classes"):
        metrics.exclusions(sample, ["a"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"how": "mode"}, "'mode' is unknown"),
        ({"groups": ["a"]}, "3 curves but 1 groups"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"n_bootstrap": -1}, "0 or more"),
    ],
)
def test_misuse_is_told_in_words(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(MetricError, match=text):
        metrics.aggregate(curves(3), **arguments)  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="different kinds"):
        metrics.aggregate([*curves(1), *curves(1, metric="aic")])
