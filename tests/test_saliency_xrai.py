"""XRAI against a slow second implementation: its segments and its ranking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from skimage.morphology import dilation, disk
from skimage.segmentation import felzenszwalb, slic
from skimage.transform import resize
from torch import nn

from napari_medxai import saliency
from napari_medxai.errors import MethodError
from napari_medxai.saliency import segments as segments_module
from napari_medxai.saliency.ranking import rank_segments, rank_segments_fast
from napari_medxai.saliency.segments import (
    dilated_segments,
    image_segments,
    label_images,
)


class Linear(nn.Module):
    """Logit k is Σ W[k]·x, so integrated gradients are W[k]·(x - baseline)."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x):
        return torch.einsum("bc...,kc...->bk", x, self.weights)


def slow_rank(attribution, masks, least, area=1.0):
    """Boolean masks, everything counted anew in each round."""
    result = np.full(attribution.shape, np.nan)
    covered = np.zeros(attribution.shape, bool)
    left = list(masks)
    while covered.mean() <= area:
        left = [mask for mask in left if (mask & ~covered).sum() >= least]
        if not left:
            break
        gains = [attribution[mask & ~covered].mean() for mask in left]
        best = left.pop(int(np.argmax(gains)))
        result[best & ~covered] = max(gains)
        covered |= best
    if not covered.all():
        result[~covered] = attribution[~covered].mean()
    return result


def slow_fast_rank(attribution, masks, least):
    """Ranked once by the mean over all of each mask."""
    result = np.full(attribution.shape, np.nan)
    for mask in sorted(masks, key=lambda mask: -attribution[mask].mean()):
        new = mask & np.isnan(result)
        if new.sum() >= least:
            result[new] = attribution[new].mean()
    left = np.isnan(result)
    if left.any():
        result[left] = attribution[left].mean()
    return result


def rectangles(rng, shape, count):
    masks = []
    for _ in range(count):
        top, left = rng.integers(0, 10, 2)
        height, width = rng.integers(1, 9, 2)
        mask = np.zeros(shape, bool)
        mask[top : top + height, left : left + width] = True
        masks.append(mask)
    return masks


def blobs(shape, seed=0):
    """A smooth image with a few areas, (C, *shape)."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    image = np.zeros((2, *shape))
    for _ in range(6):
        centre = rng.uniform(-0.8, 0.8, len(shape)).reshape(-1, *[1] * len(shape))
        size, height = rng.uniform(0.15, 0.5), rng.normal(size=(2, *[1] * len(shape)))
        image += height * (((grid - centre) ** 2).sum(0) < size**2)
    return image + rng.normal(0, 0.02, image.shape)


def slow_masks(image):
    """Follow PAIR: normalise, resize to 224, segment, resize back, dilate."""
    scaled = (image - image.min()) / (image.max() - image.min()) * 2 - 1
    big = resize(
        np.moveaxis(scaled, 0, -1),
        (224, 224),
        order=3,
        mode="constant",
        preserve_range=True,
        anti_aliasing=True,
    )
    masks = []
    for scale in (50, 100, 150, 250, 500, 1200):
        labels = felzenszwalb(big, scale=scale, sigma=0.8, min_size=150)
        labels = resize(
            labels,
            image.shape[1:],
            order=0,
            mode="constant",
            preserve_range=True,
            anti_aliasing=False,
        ).astype(int)
        masks += [
            dilation(labels == label, disk(5)) for label in range(labels.max() + 1)
        ]
    return masks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("least", [1, 5, 50])
def test_ranking(seed, least):
    rng = np.random.default_rng(seed)
    attribution = rng.normal(size=(11, 13))
    masks = rectangles(rng, attribution.shape, 25)
    pixels = [np.flatnonzero(mask) for mask in masks]
    exact = {"rtol": 1e-12, "atol": 1e-14}
    for area in (1.0, 0.4, 0.0):
        got = rank_segments(attribution, pixels, least, area_threshold=area)
        expected = slow_rank(attribution, masks, least, area)
        np.testing.assert_allclose(got, expected, **exact)
        # What is spread over the segments is the attribution, all of it.
        assert got.sum() == pytest.approx(attribution.sum())
    got = rank_segments_fast(attribution, pixels, least)
    expected = slow_fast_rank(attribution, masks, least)
    np.testing.assert_allclose(got, expected, **exact)
    assert got.sum() == pytest.approx(attribution.sum())


def test_ranking_without_a_usable_segment_is_the_mean():
    attribution = np.arange(12.0).reshape(3, 4)
    for segments in ([], [np.array([0, 1])]):
        for rank in (rank_segments, rank_segments_fast):
            got = rank(attribution, segments, 5)
            np.testing.assert_allclose(got, np.full((3, 4), 5.5))


@pytest.mark.parametrize("radius", [0, 1, 5])
def test_dilation_in_the_plane(radius):
    labels = np.random.default_rng(0).integers(0, 5, (5, 6)).repeat(4, 0).repeat(4, 1)
    labels[labels == 3] = 2  # a label that is missing
    got = dilated_segments(labels, radius)
    present = sorted(set(labels.ravel()))
    assert len(got) == len(present) == 4
    for pixels, label in zip(got, present, strict=True):
        mask = dilation(labels == label, disk(radius))
        np.testing.assert_array_equal(pixels, np.flatnonzero(mask))


def test_dilation_in_a_volume():
    labels = np.zeros((5, 6, 7), int)
    labels[2, 3, 3] = 1
    (_, pixels) = dilated_segments(labels, 2)
    expected = [
        np.ravel_multi_index(p, labels.shape)
        for p in np.ndindex(*labels.shape)
        if (p[0] - 2) ** 2 + (p[1] - 3) ** 2 + (p[2] - 3) ** 2 <= 4
    ]
    np.testing.assert_array_equal(pixels, expected)


def ig_of_a_linear_network(image, weights, baselines):
    return np.mean([weights * (image - start) for start in baselines], axis=0)


@pytest.mark.parametrize("shape", [(40, 52), (224, 224)])
def test_whole_method_in_the_plane(shape):
    image = blobs(shape).astype(np.float32).astype(np.float64)
    weights = np.random.default_rng(1).normal(size=(2, 2, *shape))
    weights = np.round(weights * 32) / 32
    network = Linear(torch.from_numpy(weights))
    got = saliency.compute("xrai", network, torch.from_numpy(image)[None], 1, steps=2)
    attribution = ig_of_a_linear_network(
        image, weights[1], (image.min(), image.max())
    ).max(0)
    expected = slow_rank(attribution, slow_masks(image), 50)
    assert len(np.unique(expected)) > 3
    np.testing.assert_allclose(got[0].numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reduce", ["max", "sum", "abs_sum"])
def test_baselines_and_reductions(reduce):
    image = blobs((24, 24), seed=3)
    labels = [np.arange(576).reshape(24, 24) // n for n in (72, 60)]
    weights = np.random.default_rng(2).normal(size=(1, 2, 24, 24))
    network = Linear(torch.from_numpy(weights))
    merge = {
        "max": lambda a: a.max(0),
        "sum": lambda a: a.sum(0),
        "abs_sum": lambda a: abs(a).sum(0),
    }[reduce]
    masks = [part == n for part in labels for n in np.unique(part)]
    for given, baselines in (
        (0.5, [0.5]),
        ([0.0, -1.0, 2.0], [0.0, -1.0, 2.0]),
        (torch.from_numpy(image) / 2, [image / 2]),
    ):
        got = saliency.compute(
            "xrai",
            network,
            torch.from_numpy(image)[None],
            0,
            steps=2,
            baseline=given,
            reduce=reduce,
            segments=torch.from_numpy(np.stack(masks)),
            min_pixel_diff=10,
        )
        attribution = merge(ig_of_a_linear_network(image, weights[0], baselines))
        expected = slow_rank(attribution, masks, 10)
        np.testing.assert_allclose(got[0].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_attribution_can_be_given():
    image = torch.from_numpy(blobs((24, 24), seed=3))[None]
    given = torch.from_numpy(np.random.default_rng(4).normal(size=(1, 2, 24, 24)))
    masks = rectangles(np.random.default_rng(5), (24, 24), 12)
    segments = torch.from_numpy(np.stack(masks))
    network = Linear(torch.zeros(1, 2, 24, 24, dtype=torch.float64))
    merged = given[0].amax(0).numpy()
    for name, expected in (
        ("xrai", slow_rank(merged, masks, 5)),
        ("fast_xrai", slow_fast_rank(merged, masks, 5)),
    ):
        got = saliency.compute(
            name,
            network,
            image,
            0,
            attribution=given,
            segments=segments,
            min_pixel_diff=5,
        )
        np.testing.assert_allclose(got[0].numpy(), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(MethodError, match="xrai: segments must be a bool tensor"):
        saliency.compute("xrai", network, image, 0, segments=segments[:, 1:])
    with pytest.raises(MethodError, match="xrai: attribution must be a tensor"):
        saliency.compute("xrai", network, image, 0, attribution=given[:, :1])


def test_fast_is_said_to_approximate():
    assert saliency.get("fast_xrai").approximates == "xrai"
    assert saliency.get("xrai").approximates is None


def test_integrals_and_segments_are_shared():
    """The second method passes no image and gives what it gives alone."""
    image = torch.from_numpy(blobs((24, 24), seed=3))[None].float()
    network = Linear(
        torch.from_numpy(np.random.default_rng(2).normal(size=(1, 2, 24, 24))).float()
    )
    passed = []
    network.register_forward_hook(lambda _, args, __: passed.append(len(args[0])))
    shared = saliency.Shared()
    saliency.compute("xrai", network, image, 0, steps=4, batch_size=4, shared=shared)
    assert sum(passed) == 8
    told = []
    got = saliency.compute(
        "fast_xrai",
        network,
        image,
        0,
        steps=4,
        batch_size=4,
        shared=shared,
        progress=lambda done, total: told.append((done, total)),
    )
    assert sum(passed) == 8
    assert told[-1] == (8, 8)
    alone = saliency.compute("fast_xrai", network, image, 0, steps=4, batch_size=4)
    torch.testing.assert_close(got, alone, rtol=0, atol=0)


def test_volume():
    image = blobs((8, 12, 14), seed=5)
    scaled = (image - image.min()) / (image.max() - image.min()) * 2 - 1
    weights = np.random.default_rng(3).normal(size=(1, 2, 8, 12, 14))
    masks = []
    for count in (16, 32, 64, 128, 256, 512):
        labels = slic(
            np.moveaxis(scaled, 0, -1),
            n_segments=count,
            compactness=0.1,
            channel_axis=-1,
            start_label=0,
        )
        for label in np.unique(labels):
            # A ball of radius 1 is the six neighbours: the default cross.
            mask = binary_dilation(labels == label)
            masks.append(mask)
    got = saliency.compute(
        "xrai",
        Linear(torch.from_numpy(weights)),
        torch.from_numpy(image)[None],
        0,
        steps=2,
        dilation=1,
        min_pixel_diff=20,
    )
    attribution = ig_of_a_linear_network(
        image, weights[0], (image.min(), image.max())
    ).max(0)
    expected = slow_rank(attribution, masks, 20)
    assert len(np.unique(expected)) > 3
    np.testing.assert_allclose(got[0].numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 24), (6, 8, 8)])
def test_constant_image_gives_a_constant_map(shape):
    weights = torch.ones(1, 1, *shape)
    x = torch.full((1, 1, *shape), 3.0)
    got = saliency.compute("xrai", Linear(weights), x, 0, steps=2)
    assert got.abs().max() == 0
    given = saliency.compute("xrai", Linear(weights), x, 0, steps=2, baseline=1.0)
    torch.testing.assert_close(given, torch.full((1, *shape), 2.0))


def test_label_images_cover_every_pixel():
    for image in (blobs((30, 20)), blobs((6, 10, 9))):
        found = label_images(image)
        assert len(found) == 6
        pixels = [p for labels in found for p in dilated_segments(labels, 2)]
        both = zip(pixels, image_segments(image, 2), strict=True)
        assert all(np.array_equal(one, other) for one, other in both)
        for labels in found:
            assert labels.shape == image.shape[1:]
            assert labels.min() >= 0
            assert sum(map(len, dilated_segments(labels, 0))) == labels.size
    assert segments_module.FELZENSZWALB_SHAPE == (224, 224)
