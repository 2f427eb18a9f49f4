"""Agreement of maps with each other, with edges and with randomised networks."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray

from napari_medxai import saliency
from napari_medxai.errors import MetricError
from napari_medxai.metrics.agreement import agreement, edge_map, spearman
from napari_medxai.metrics.sanity import Similarity, similarity

SHAPES = [(9, 12), (4, 5, 6)]


def noise(shape: tuple[int, ...], seed: int, levels: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    if levels:
        return rng.integers(-levels, levels, shape).astype(float)
    return rng.normal(size=shape)


# Spearman


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [0, 2, 7])
def test_spearman_is_that_of_scipy(shape: tuple[int, ...], levels: int) -> None:
    one = noise(shape, 1, levels)
    two = one / one.std() + noise(shape, 2)
    expected = scipy.stats.spearmanr(one.ravel(), two.ravel()).statistic
    assert 0.2 < expected < 0.95
    assert spearman(one, two) == pytest.approx(expected, abs=1e-12)
    assert spearman(two, one) == spearman(one, two)
    assert spearman(one, -one) == pytest.approx(-1.0)
    assert spearman(one.astype(np.float32), np.exp(one)) == pytest.approx(1.0)


def test_a_constant_map_agrees_with_nothing() -> None:
    assert math.isnan(spearman(np.zeros((4, 4)), noise((4, 4), 0)))
    assert math.isnan(spearman(noise((4, 4), 0), np.full((4, 4), 3)))


def test_agreement_ranks_each_map_once(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = {name: noise((6, 7), i) for i, name in enumerate("abc")}
    maps["flat"] = np.ones((6, 7))
    calls = []

    def counted(values: NDArray[np.float64]) -> NDArray[np.float64]:
        calls.append(1)
        return scipy.stats.rankdata(values)

    monkeypatch.setattr(sys.modules[agreement.__module__], "rankdata", counted)
    found = agreement(maps)
    assert len(calls) == 3
    assert list(found) == [
        *[("a", "b"), ("a", "c"), ("a", "flat")],
        *[("b", "c"), ("b", "flat"), ("c", "flat")],
    ]
    for (a, b), value in found.items():
        expected = spearman(maps[a], maps[b])
        assert value == pytest.approx(expected, nan_ok=True)
        assert math.isnan(value) == (b == "flat")
    assert agreement({"a": maps["a"]}) == {}


@pytest.mark.parametrize(
    ("one", "two", "text"),
    [
        (np.zeros((3, 3)), np.zeros((3, 4)), "one grid"),
        (np.arange(9.0), np.full(9, np.nan), "NaN"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no pixels"),
    ],
)
def test_maps_that_cannot_be_compared(
    one: NDArray[np.float64], two: NDArray[np.float64], text: str
) -> None:
    with pytest.raises(MetricError, match=text):
        spearman(one, two)


# Edges


def slow_edges(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sobel's filter in loops: a difference along an axis, 1 2 1 along the others."""
    padded = np.pad(image, 1, mode="edge")
    result = np.zeros(image.shape)
    for place in np.ndindex(image.shape):
        square = 0.0
        for axis in range(image.ndim):
            total = 0.0
            for step in np.ndindex(*(3,) * image.ndim):
                weight = float(step[axis] - 1)
                for other in range(image.ndim):
                    weight *= 1 if other == axis else (1, 2, 1)[step[other]]
                total += weight * padded[tuple(np.add(place, step))]
            square += total**2
        result[place] = math.sqrt(square)
    return result


def test_edges_in_plain_loops_and_by_the_method_edge() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (6, 7)).astype(np.uint8)
    colour = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    volume = rng.integers(0, 256, (4, 3, 5)).astype(np.uint8)
    flat = colour.astype(float).mean(axis=-1)
    np.testing.assert_allclose(edge_map(grey), slow_edges(grey.astype(float)))
    np.testing.assert_allclose(edge_map(colour), slow_edges(flat))
    solid = edge_map(volume, volume=True)
    np.testing.assert_allclose(solid, slow_edges(volume.astype(float)))
    coloured = np.stack([volume] * 3, axis=-1)
    np.testing.assert_allclose(edge_map(coloured, volume=True), solid)
    for image, axes in ((grey, 2), (volume, 3)):
        x = torch.from_numpy(image.astype(np.float32))[None, None]
        method = saliency.compute("edge", None, x, 0)[0].numpy()
        ours = edge_map(image, volume=axes == 3)
        np.testing.assert_allclose(ours, method, rtol=1e-6)


def test_edges_need_an_image() -> None:
    with pytest.raises(MetricError, match="2 axes"):
        edge_map(np.zeros(4))
    with pytest.raises(MetricError, match="3 axes"):
        edge_map(np.zeros((4, 4)), volume=True)


# Randomised networks


def slow_ssim(
    one: NDArray[np.float64], two: NDArray[np.float64], sigma: float, radius: int
) -> float:
    """Wang et al. 2004, equation 13, window by window, no window over the edge."""
    one, two = (
        (values - values.min()) / (values.max() - values.min()) for values in (one, two)
    )
    offsets = np.arange(-radius, radius + 1)
    bell = np.exp(-0.5 * (offsets / sigma) ** 2)
    window = np.ones(())
    for _ in range(one.ndim):
        window = window[..., None] * bell
    window /= window.sum()
    values = []
    for place in np.ndindex(*(size - 2 * radius for size in one.shape)):
        part = tuple(slice(i, i + 2 * radius + 1) for i in place)
        x, y = one[part], two[part]
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
        vxy = (window * (x - mx) * (y - my)).sum()
        values.append(
            (2 * mx * my + 1e-4)
            * (2 * vxy + 9e-4)
            / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
        )
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("shape", "radius"),
    [((13, 16), 5), ((11, 12, 13), 5), ((7, 20), 3), ((4, 12, 12), 1), ((3, 3), 1)],
)
def test_similarity_in_plain_loops(shape: tuple[int, ...], radius: int) -> None:
    one = noise(shape, 1)
    two = one + noise(shape, 2)
    sigma = 1.5 if radius == 5 else radius / 3.5
    result = similarity(one, two)
    assert result.ssim == pytest.approx(slow_ssim(one, two, sigma, radius), abs=1e-9)
    expected = scipy.stats.spearmanr(one.ravel(), two.ravel()).statistic
    assert result.spearman == pytest.approx(expected)


def test_similarity_of_equal_inverted_and_unrelated_maps() -> None:
    one = noise((16, 16), 1)
    assert similarity(one, 3 * one + 2) == Similarity(
        spearman=pytest.approx(1.0), ssim=pytest.approx(1.0)
    )
    assert similarity(one, -one).spearman == pytest.approx(-1.0)
    assert similarity(one, -one).ssim < 0
    unrelated = similarity(one, noise((16, 16), 2))
    assert abs(unrelated.spearman) < 0.2
    assert abs(unrelated.ssim) < 0.3
    huge = similarity(one / np.abs(one).max() * 1.7e308, one)
    assert huge.ssim == pytest.approx(1.0)


def test_similarity_where_it_is_not_defined() -> None:
    one = noise((16, 16), 1)
    nothing = similarity(one, np.zeros((16, 16)))
    assert math.isnan(nothing.spearman)
    assert math.isnan(nothing.ssim)
    thin = similarity(one[:2], one[2:4])
    assert math.isnan(thin.ssim)
    assert not math.isnan(thin.spearman)
    with pytest.raises(MetricError, match="2-D and 3-D"):
        similarity(one[0], one[1])
    with pytest.raises(MetricError, match="one grid"):
        similarity(one, one[:8])
