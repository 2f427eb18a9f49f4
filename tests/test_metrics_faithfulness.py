"""Insertion and deletion: exact shares, orders, baselines, areas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from napari_medxai.errors import Cancelled, MetricError
from napari_medxai.metrics import faithfulness
from napari_medxai.metrics.faithfulness import insertion_deletion

CASES = [((6, 7), False), ((6, 7, 3), False), ((3, 4, 5), True), ((3, 4, 5, 2), True)]


def image_of(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Three classes from sums weighted by place, so that each pixel counts."""
    flat = images.reshape(len(images), -1) / 255.0
    weights = np.random.default_rng(9).normal(size=(flat.shape[1], 3))
    logits = np.exp(flat @ weights)
    return logits / logits.sum(axis=1, keepdims=True)


def slow(
    image: NDArray[np.uint8],
    order: list[tuple[int, ...]],
    start: NDArray[np.uint8],
    finish: NDArray[np.uint8],
    steps: int,
    target: int,
) -> tuple[list[float], float]:
    """Pixel by pixel and image by image; the area as a sum of trapezoids."""
    current, scores, shares = start.copy(), [], []
    done = 0
    for step in range(steps + 1):
        while done < round(step * len(order) / steps):
            current[order[done]] = finish[order[done]]
            done += 1
        scores.append(float(predict(current[None])[0, target]))
        shares.append(done / len(order))
    area = sum(
        (shares[i + 1] - shares[i]) * (scores[i] + scores[i + 1]) / 2
        for i in range(steps)
    )
    return scores, area


@pytest.mark.parametrize(("shape", "volume"), CASES)
@pytest.mark.parametrize("baseline", ["rise", "blurred", "black"])
@pytest.mark.parametrize("steps", [1, 5, 60])
def test_pixel_by_pixel(
    shape: tuple[int, ...], volume: bool, baseline: str, steps: int
) -> None:
    image = image_of(shape)
    spatial = shape[: 3 if volume else 2]
    values = np.random.default_rng(1).normal(size=spatial).astype(np.float32)
    order = sorted(np.ndindex(spatial), key=lambda i: -values[i])
    black = np.zeros_like(image)
    blurred = image.astype(float)
    for axis, size in enumerate(spatial):
        blurred = gaussian_filter1d(blurred, 0.05 * size, axis=axis, mode="nearest")
    blurred = np.rint(blurred).astype(np.uint8)
    first = black if baseline == "black" else blurred
    last = blurred if baseline == "blurred" else black
    result = insertion_deletion(
        image, values, predict, 1, steps=steps, baseline=baseline, volume=volume
    )
    inserted, insertion = slow(image, order, first, image, steps, 1)
    deleted, deletion = slow(image, order, image, last, steps, 1)
    np.testing.assert_allclose(result.insertion_curve, inserted)
    np.testing.assert_allclose(result.deletion_curve, deleted)
    assert result.insertion == pytest.approx(insertion)
    assert result.deletion == pytest.approx(deletion)
    whole = predict(image[None])[0, 1]
    assert result.insertion_curve[-1] == result.deletion_curve[0]
    assert result.deletion_curve[0] == pytest.approx(whole)


def test_a_true_map_beats_its_inverse() -> None:
    """The class shows in one bright square: on paper, areas are those of its share."""
    image = np.full((20, 20), 40, np.uint8)
    image[5:10, 5:10] = 240
    square = (image == 240).astype(float)

    def sees(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        found = (images[:, 5:10, 5:10] > 200).mean(axis=(1, 2))
        return np.stack([found, 1 - found], axis=1)

    good = insertion_deletion(image, square, sees, 0, steps=400, baseline="black")
    bad = insertion_deletion(image, -square, sees, 0, steps=400, baseline="black")
    share = 25 / 400
    assert good.insertion == pytest.approx(1 - share / 2)
    assert good.deletion == pytest.approx(share / 2)
    assert bad.insertion == pytest.approx(share / 2)
    assert bad.deletion == pytest.approx(1 - share / 2)
    other = insertion_deletion(image, square, sees, 1, steps=400, baseline="black")
    assert other.deletion == pytest.approx(1 - good.deletion)


def test_ties_come_in_an_order_of_the_seed_and_by_exact_shares() -> None:
    image = np.full((10, 10), 255, np.uint8)
    seen: list[NDArray[np.uint8]] = []

    def watch(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        seen.extend(images)
        share = (images > 0).mean(axis=(1, 2))
        return np.stack([share, 1 - share], axis=1)

    flat = np.zeros((10, 10))
    one = insertion_deletion(image, flat, watch, 0, steps=8, baseline="black", seed=1)
    first = np.stack(seen)
    shares = (first > 0).mean(axis=(1, 2))
    np.testing.assert_allclose(shares[:9], one.fractions)
    np.testing.assert_allclose(shares[9:], 1 - one.fractions)
    np.testing.assert_allclose(one.fractions * 100, np.rint(np.linspace(0, 100, 9)))
    assert one.insertion == pytest.approx(0.5)
    for seed, same in ((1, True), (2, False)):
        seen.clear()
        insertion_deletion(image, flat, watch, 0, steps=8, baseline="black", seed=seed)
        assert np.array_equal(first, np.stack(seen)) == same
    # What is deleted at a share is what is inserted there.
    assert np.array_equal(first[:9] > 0, first[9:] == 0)
    # Ties are scattered, not taken row by row.
    assert (first[1] > 0).any(axis=1).sum() > 3


def test_batches_and_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    image, values = image_of((6, 7)), np.random.default_rng(1).normal(size=(6, 7))
    sizes, calls = [], []

    def watch(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        sizes.append(len(images))
        return predict(images)

    def note(done: int, total: int) -> None:
        calls.append((done, total))

    whole = insertion_deletion(image, values, watch, 0, progress=note)
    assert sizes == [64, 2]
    assert calls == [(64, 66), (66, 66)]
    monkeypatch.setattr(faithfulness, "BATCH_BYTES", 5 * image.nbytes)
    parts = insertion_deletion(image, values, watch, 0)
    assert sizes[2:] == [5] * 13 + [1]
    np.testing.assert_allclose(parts.insertion_curve, whole.insertion_curve)
    assert parts.deletion == pytest.approx(whole.deletion)

    def cancel(done: int, total: int) -> None:
        raise Cancelled("stopped by the user")

    with pytest.raises(Cancelled):
        insertion_deletion(image, values, predict, 0, progress=cancel)


def test_the_blurred_baseline_stays_an_8_bit_image_of_the_same_brightness() -> None:
    image = np.full((40, 40, 3), 255, np.uint8)
    image[..., 1] = 100
    first = []

    def watch(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        first.append(images[0])
        return predict(images)

    insertion_deletion(image, np.zeros((40, 40)), watch, 0, steps=2)
    assert first[0].dtype == np.uint8
    assert np.array_equal(first[0], image)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image": np.zeros((6, 7))}, "uint8"),
        ({"image": image_of((6,))}, "2 axes"),
        ({"volume": True}, "3 axes"),
        ({"saliency_map": np.zeros((6, 8))}, "one grid"),
        ({"saliency_map": np.full((6, 7), np.inf)}, "infinite"),
        ({"steps": 0}, "steps"),
        ({"baseline": "white"}, "white.*rise, blurred, black"),
        ({"target": 3}, "target 3 is not one of the network's 3"),
        ({"predict": lambda images: np.full((len(images), 2), math.nan)}, "NaN"),
    ],
)
def test_misuse_is_told_in_words(changes: dict[str, object], text: str) -> None:
    given: dict[str, object] = {
        "image": image_of((6, 7)),
        "saliency_map": np.zeros((6, 7)),
        "predict": predict,
        "target": 0,
    }
    with pytest.raises(MetricError, match=text):
        insertion_deletion(**{**given, **changes})
