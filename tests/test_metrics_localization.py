from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medxai import metrics
from napari_medxai.errors import MetricError
from napari_medxai.metrics import localization


def otsu(values: list[float], bins: int = 256) -> float:
    """Centre of the bin after which the variance between two classes is largest."""
    low, width = min(values), (max(values) - min(values)) / bins
    if width == 0:
        return math.nan
    places = [min(int((v - low) / width), bins - 1) for v in values]
    centres = [low + (i + 0.5) * width for i in range(bins)]
    best, cut = -1.0, math.nan
    for last in range(bins - 1):
        below = [centres[i] for i in places if i <= last]
        above = [centres[i] for i in places if i > last]
        gap = sum(below) / len(below) - sum(above) / len(above)
        between = len(below) * len(above) * gap**2
        if between > best * (1 + 1e-12):
            best, cut = between, centres[last]
    return cut


def brute(
    values: NDArray[np.floating],
    mask: NDArray[np.bool_],
    spacing: tuple[float, ...],
) -> dict[str, float]:
    """Every order of tied voxels in turn, in plain loops."""
    cells = [
        (float(values[i]), bool(mask[i]), i)
        for i in np.ndindex(values.shape)
        if not math.isnan(values[i])
    ]
    inside = [i for _, hit, i in cells if hit]
    area = len(inside)
    top = max(v for v, _, _ in cells)
    peaks = [(hit, i) for v, hit, i in cells if v == top]

    def distance(a: tuple[int, ...]) -> float:
        return min(
            math.sqrt(
                sum(((p - q) * s) ** 2 for p, q, s in zip(a, b, spacing, strict=True))
            )
            for b in inside
        )

    cut = sorted((v for v, _, _ in cells), reverse=True)[area - 1]
    above = [hit for v, hit, _ in cells if v > cut]
    tied = [hit for v, hit, _ in cells if v == cut]
    ranks, ious = [], []
    for chosen in itertools.combinations(tied, area - len(above)):
        overlap = sum(above) + sum(chosen)
        ranks.append(overlap / area)
        ious.append(overlap / (2 * area - overlap))
    cut = otsu([v for v, _, _ in cells])
    segmented = [(v > cut, hit) for v, hit, _ in cells]
    precision, recall_before = 0.0, 0.0
    for level in sorted({v for v, _, _ in cells}, reverse=True):
        shown = [hit for v, hit, _ in cells if v >= level]
        recall = sum(shown) / area
        precision += (recall - recall_before) * sum(shown) / len(shown)
        recall_before = recall
    positive = sum(v for v, _, _ in cells if v > 0)
    mass = sum(v for v, hit, _ in cells if v > 0 and hit)
    return {
        "pointing_hit": sum(hit for hit, _ in peaks) / len(peaks),
        "relevance_mass": mass / positive if positive else math.nan,
        "relevance_rank": sum(ranks) / len(ranks),
        "iou_mask_area": sum(ious) / len(ious),
        "iou_otsu": sum(a and b for a, b in segmented)
        / sum(a or b for a, b in segmented),
        "average_precision": precision,
        "peak_distance_mm": sum(distance(i) for _, i in peaks) / len(peaks),
    }


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 3)])
@pytest.mark.parametrize("levels", [2, 4, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_against_brute_force(shape: tuple[int, ...], levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.integers(0, levels, shape) - levels // 4).astype(np.float32)
    mask = rng.random(shape) < 0.3
    mask.flat[seed] = True
    values.flat[-1] = np.nan
    values.flat[-2], values.flat[-3] = levels, levels - 1
    spacing = (2.5, 0.7, 1.1)[: len(shape)]
    result = metrics.localize(values, mask, spacing=spacing)
    for name, expected in brute(values, mask, spacing).items():
        assert getattr(result, name) == pytest.approx(expected, nan_ok=True), name
    assert not result.constant


def test_average_precision_is_that_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for levels in (5, 1000):
        values = rng.integers(0, levels, (30, 30)).astype(float)
        mask = rng.random((30, 30)) < 0.1
        expected = sklearn.average_precision_score(mask.ravel(), values.ravel())
        result = metrics.localize(values, mask).average_precision
        assert result == pytest.approx(expected)


def test_a_perfect_map() -> None:
    mask = np.zeros((12, 12), bool)
    mask[3:6, 4:9] = True
    result = metrics.localize(np.where(mask, 2.0, 0.0), mask, spacing=(1, 1))
    scores = dataclasses.asdict(result)
    assert scores.pop("peak_distance_mm") == 0.0
    assert scores.pop("constant") is False
    assert all(value == 1.0 for value in scores.values())


@pytest.mark.parametrize("value", [0.0, 3.0, -1.0])
def test_a_constant_map_scores_what_chance_scores(value: float) -> None:
    mask = np.zeros((4, 5), bool)
    mask[1, 1:3] = True
    values = np.full((4, 5), value)
    result = metrics.localize(values, mask, spacing=(1.0, 2.0))
    assert result.constant
    assert result.pointing_hit == pytest.approx(0.1)
    assert result.relevance_mass == pytest.approx(0.1)
    assert result.relevance_rank == pytest.approx(0.1)
    assert result.average_precision == pytest.approx(0.1)
    expected = brute(values, mask, (1.0, 2.0))
    assert result.iou_mask_area == pytest.approx(expected["iou_mask_area"])
    assert result.peak_distance_mm == pytest.approx(expected["peak_distance_mm"])
    assert math.isnan(result.iou_otsu)


def test_many_maxima_take_another_way_to_the_same_distance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((5, 12, 9)) < 0.02
    mask[2, 3, 4] = True
    values = rng.integers(0, 2, mask.shape).astype(float)
    few = metrics.localize(values, mask, spacing=(3.0, 0.5, 0.8))
    monkeypatch.setattr(localization, "_MANY_PEAKS", 0)
    many = metrics.localize(values, mask, spacing=(3.0, 0.5, 0.8))
    assert few.peak_distance_mm > 0
    assert few.peak_distance_mm == pytest.approx(many.peak_distance_mm)


def test_a_map_without_positive_relevance_has_no_mass() -> None:
    values = -np.arange(12.0).reshape(3, 4)
    mask = values > -3
    result = metrics.localize(values, mask)
    assert math.isnan(result.relevance_mass)
    assert result.pointing_hit == 1.0
    assert math.isnan(result.peak_distance_mm)


def test_scores_do_not_depend_on_the_maps_scale() -> None:
    rng = np.random.default_rng(2)
    values, mask = rng.random((9, 9)), rng.random((9, 9)) < 0.2
    plain = dataclasses.asdict(metrics.localize(values, mask, spacing=(1, 1)))
    for factor in (1e-300, 1e300):
        scaled = metrics.localize(values * factor, mask, spacing=(1, 1))
        assert dataclasses.asdict(scaled) == pytest.approx(plain)


def test_unexplained_slices_and_the_mask_there_are_left_out() -> None:
    rng = np.random.default_rng(3)
    values, mask = np.full((3, 6, 6), np.nan), rng.random((3, 6, 6)) < 0.3
    values[1] = rng.random((6, 6))
    volume = metrics.localize(values, mask, spacing=(5.0, 1.0, 2.0))
    flat = metrics.localize(values[1], mask[1], spacing=(1.0, 2.0))
    assert volume == flat


@pytest.mark.parametrize(
    ("values", "mask", "spacing", "text"),
    [
        (np.zeros((3, 3)), np.zeros((3, 3)), None, "mask is empty"),
        (np.zeros((3, 3)), np.ones((3, 4)), None, "native grid"),
        (np.zeros(3), np.ones(3), None, "2-D and 3-D"),
        (np.full((3, 3), np.nan), np.ones((3, 3)), None, "explains no voxel"),
        (np.full((3, 3), np.inf), np.ones((3, 3)), None, "infinite"),
        (np.zeros((3, 3)), np.ones((3, 3)), (1.0,), "spacing"),
        (np.zeros((3, 3)), np.ones((3, 3)), (1.0, -1.0), "spacing"),
    ],
)
def test_misuse_is_told_in_words(
    values: NDArray[np.floating],
    mask: NDArray[np.floating],
    spacing: tuple[float, ...] | None,
    text: str,
) -> None:
    with pytest.raises(MetricError, match=text):
        metrics.localize(values, mask, spacing=spacing)
