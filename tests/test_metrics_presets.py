"""The presets beside slow second implementations, entropies, groups, volumes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from saliency.metrics import pic as reference
from scipy import interpolate, stats
from scipy.ndimage import gaussian_filter

from napari_medxai import metrics
from napari_medxai.errors import MetricError
from napari_medxai.metrics.curve import InformationCurve
from napari_medxai.metrics.presets import THRESHOLDS, get_preset

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
Array = NDArray[np.float64]


def picture(size: int = 40, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.normal(size=(size, size)), 1.2)
    return np.clip(110 + 160 * texture, 0, 255).astype(np.uint8)


def detail(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Two classes; the first grows with the detail of the images."""
    flat = images.astype(np.float64).reshape(len(images), *images.shape[1:3], -1)
    energy = np.abs(np.diff(flat, axis=1)).mean(axis=(1, 2, 3))
    odds = np.exp(np.clip(energy - 6, -30, 30))
    return np.stack([odds / (1 + odds), 1 / (1 + odds)], axis=1)


def smooth_map(size: int = 40, seed: int = 3) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return gaussian_filter(rng.normal(size=(size, size)), 4)


# --- corrected -------------------------------------------------------------------


def slow_order(saliency_map: Array, seed: int) -> list[tuple[int, int]]:
    """Pixels from the most salient on; those tied at the minimum are left out."""
    shuffled = np.random.default_rng(seed).permutation(saliency_map.size)
    place = {int(pixel): i for i, pixel in enumerate(shuffled)}
    lowest = saliency_map.min()
    tied = int((saliency_map == lowest).sum()) > 1
    pixels = [
        (r, c)
        for r, c in itertools.product(*map(range, saliency_map.shape))
        if not tied or saliency_map[r, c] > lowest
    ]
    columns = saliency_map.shape[1]
    return sorted(
        pixels, key=lambda rc: (-saliency_map[rc], place[rc[0] * columns + rc[1]])
    )


@pytest.mark.parametrize("kind", ["smooth", "relu", "plateaus", "constant", "float32"])
def test_corrected_reveals_the_fraction_in_order_and_stops_where_the_ranking_ends(
    kind: str,
) -> None:
    values = {
        "smooth": smooth_map(),
        "relu": np.maximum(smooth_map(), 0.02),
        "plateaus": np.round(smooth_map() * 20),
        "constant": np.zeros((40, 40)),
        "float32": smooth_map().astype(np.float32),
    }[kind]
    masks = get_preset("corrected").reveal(values, THRESHOLDS, 5)
    order = slow_order(values, 5)
    for t, mask in zip(THRESHOLDS, masks, strict=True):
        wanted = min(values.size - math.ceil((values.size - 1) * (1 - t)), len(order))
        assert abs(wanted - t * values.size) <= 1 or wanted == len(order)
        expected = np.zeros(values.shape, bool)
        for pixel in order[:wanted]:
            expected[pixel] = True
        np.testing.assert_array_equal(mask, expected)


def test_without_ties_corrected_reveals_what_pair_reveals() -> None:
    for values in (smooth_map(), np.random.default_rng(0).random((31, 29))):
        by_rank = get_preset("corrected").reveal(values, THRESHOLDS, 1)
        by_quantile = get_preset("pair").reveal(values, THRESHOLDS, 1)
        np.testing.assert_array_equal(by_rank, by_quantile)


def test_tied_share_is_the_share_at_the_minimum() -> None:
    assert metrics.tied_share(np.arange(10.0)) == 0.0
    assert metrics.tied_share(np.array([0.0, 0, 0, 1, 2, 2])) == 0.5
    assert metrics.tied_share(np.ones((4, 4))) == 1.0


def test_corrected_keeps_the_largest_y_of_equal_x_and_never_dips() -> None:
    x, y = [0.0, 0.5, 0.5, 0.3], [0.2, 0.6, 0.8, 0.9]
    curve = InformationCurve.from_knots("sic", x, y, preset="corrected")
    assert curve.y[0] == 0.2
    assert curve.y[300] == pytest.approx(0.9)
    assert curve.y[500] == pytest.approx(0.9)
    assert np.all(np.diff(curve.y) >= 0)
    points = [(0.0, 0.2), (0.3, 0.9), (0.5, 0.9), (1.0, 1.0)]
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    assert curve.auc == pytest.approx(area, abs=1e-5)


def test_a_sparse_map_is_not_rewarded_for_its_ties() -> None:
    image, values = picture(), np.maximum(smooth_map(), 0.0)
    values[20:] = 0
    ours = metrics.prepare(image, detail, presets=("pair", "corrected"))
    found = ours.curves(values, 0, min_probability=0.0)
    assert found["pair"].knots.revealed[-2] == 1.0
    ranked = (values > 0).mean()
    assert found["corrected"].knots.revealed[-2] < ranked + 0.03


# --- brima2024 -------------------------------------------------------------------


def papers_curve(
    image: NDArray[np.uint8],
    values: Array,
    mask: NDArray[np.bool_],
    score: Callable[[NDArray[np.uint8]], float],
) -> tuple[Array, float] | None:
    """The paper's definition, step by step; None where its flag leaves it out."""

    def entropy(picture: NDArray[np.uint8]) -> float:
        shares = np.histogram(picture, 256, (picture.min(), picture.max()))[0]
        return float(stats.entropy(shares, base=2))

    def blurred(shown: NDArray[np.bool_]) -> NDArray[np.uint8]:
        return metrics.blur(image, shown)

    full, none = entropy(image), entropy(blurred(mask))
    high, low = score(image), score(blurred(mask))
    if not (full > none and high >= low):
        return None
    points, best = [], 0.0
    for t in THRESHOLDS:
        one = blurred((values >= np.quantile(values, 1 - t)) | mask)
        x = float(np.clip((entropy(one) - none) / (full - none), 0.0, 1.0))
        with np.errstate(invalid="ignore", divide="ignore"):
            y = np.clip(np.float64(score(one) - low) / np.float64(high - low), 0.0, 1.0)
        best = max(best, float(y))  # a comparison with NaN keeps the first
        points.append((x, best))
    points += [(0.0, 0.0), (1.0, 1.0)]
    curve = interpolate.interp1d(*zip(*points, strict=True))
    ys = np.append([curve(i / 1000) for i in range(1000)], 1.0)
    return ys, float(np.trapezoid(ys, np.append(np.arange(1000) / 1000, 1.0)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("metric", ["aic", "sic"])
def test_brima2024_follows_the_papers_code(metric: str, seed: int) -> None:
    image, values = picture(24, seed), smooth_map(24, seed)
    mask = metrics.random_mask((24, 24), seed=seed)
    limit = 2.0 + seed  # from classes that stay right when blurred to ones never right

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        flat = images.astype(np.float64)
        energy = np.abs(np.diff(flat, axis=1)).mean(axis=(1, 2)) - limit
        return np.stack([1 / (1 + np.exp(-energy)), 1 / (1 + np.exp(energy))], axis=1)

    def score(one: NDArray[np.uint8]) -> float:
        answer = predict(one[None])[0]
        return float(answer.argmax() == 0) if metric == "aic" else float(answer[0])

    found = metrics.information_curves(
        image, values, predict, 0, preset="brima2024", random_mask=mask
    )
    curve = getattr(found, metric)
    expected = papers_curve(image, values, mask, score)
    assert (expected is None) == (curve.excluded is not None)
    if expected is not None:
        np.testing.assert_allclose(curve.y, expected[0], atol=1e-9)
        assert curve.auc == pytest.approx(expected[1], abs=1e-9)


def test_brima2024_keeps_an_image_still_right_when_blurred_as_a_flat_curve() -> None:
    def right(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.tile([0.9, 0.1], (len(images), 1))

    image = picture(40, 2)
    values = smooth_map()
    found = metrics.prepare(image, right, presets=("pair", "brima2024")).curves(
        values, 0
    )
    assert found["pair"].aic.excluded == (
        "the blurred image is still classified as the label"
    )
    paper = found["brima2024"].aic
    assert paper.excluded is None
    assert paper.knots_y.max() == 0.0
    assert paper.auc < 0.5


# --- entropies -------------------------------------------------------------------


def test_histogram_entropy_by_counting() -> None:
    image = picture(30, 1)
    low, high = int(image.min()), int(image.max())
    counts: dict[int, int] = {}
    for value in image.ravel().tolist():
        bin_ = min(255, int((value - low) / (high - low) * 256))
        counts[bin_] = counts.get(bin_, 0) + 1
    shares = [n / image.size for n in counts.values()]
    expected = -sum(p * math.log2(p) for p in shares)
    assert metrics.histogram_entropy(image) == pytest.approx(expected)
    assert metrics.histogram_entropy(np.full((5, 5), 7, np.uint8)) == 0.0


def slow_ms_ssim(image: Array, original: Array, scales: int) -> float:
    """MS-SSIM by convolution in double precision, Wang et al. 2003."""
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333][:scales])
    weights /= weights.sum()
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel = np.outer(window, window) / window.sum() ** 2
    a, b = image / 255, original / 255

    def mean(x: Array) -> Array:
        views = np.lib.stride_tricks.sliding_window_view(x, (11, 11))
        return np.einsum("ijkl,kl->ij", views, kernel)

    result = 1.0
    for scale in range(scales):
        mu_a, mu_b = mean(a), mean(b)
        var_a, var_b = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2
        cross = mean(a * b) - mu_a * mu_b
        term = (2 * cross + 0.03**2) / (var_a + var_b + 0.03**2)
        if scale == scales - 1:
            term = term * (2 * mu_a * mu_b + 1e-4) / (mu_a**2 + mu_b**2 + 1e-4)
        result *= max(float(term.mean()), 0.0) ** weights[scale]
        if scale == scales - 1:
            break
        a = a.reshape(len(a) // 2, 2, -1, 2).mean(axis=(1, 3))
        b = b.reshape(len(b) // 2, 2, -1, 2).mean(axis=(1, 3))
    return result


@pytest.mark.parametrize(("size", "scales"), [(44, 3), (176, 5)])
def test_ms_ssim_by_convolution(size: int, scales: int) -> None:
    original = picture(size, 4)
    shown = metrics.blur(original, metrics.random_mask((size, size), fraction=0.1))
    expected = slow_ms_ssim(shown.astype(float), original.astype(float), scales)
    assert metrics.ms_ssim(shown, original) == pytest.approx(expected, abs=2e-4)
    assert metrics.ms_ssim(original, original) == pytest.approx(1.0, abs=1e-6)
    assert metrics.ms_ssim(original[:6, :6], original[:6, :6]) == pytest.approx(1.0)


def test_any_preset_takes_any_entropy_and_says_what_it_does_not_know() -> None:
    image, values = picture(), smooth_map()
    names = ("corrected", "corrected:histogram", "corrected:ms_ssim", "pair:webp")
    found = metrics.prepare(image, detail, presets=names).curves(
        values, 0, min_probability=0.0
    )
    assert tuple(found) == names
    assert found["corrected:ms_ssim"].knots.sizes[-1] == pytest.approx(1.0, abs=1e-6)
    assert not np.array_equal(
        found["corrected"].knots.sizes, found["corrected:histogram"].knots.sizes
    )
    with pytest.raises(MetricError, match="webp, histogram, ms_ssim"):
        get_preset("pair:zip")
    with pytest.raises(MetricError, match="pair, brima2024, corrected"):
        get_preset("none:webp")


# --- many presets, many maps -----------------------------------------------------


def test_presets_share_the_forwards_of_equal_images_and_change_nothing() -> None:
    image, values, asked = picture(), smooth_map(), []

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        asked.append(len(images))
        return detail(images)

    names = ("pair", "brima2024", "corrected")
    together = metrics.prepare(image, predict, presets=names)
    found = together.curves(values, 0, min_probability=0.0)
    assert asked == [2, 13]
    for name in names:
        alone = metrics.prepare(image, detail, presets=(name,))
        expected = alone.curves(values, 0, min_probability=0.0)[name]
        np.testing.assert_array_equal(found[name].sic.y, expected.sic.y)
        np.testing.assert_array_equal(found[name].knots.sizes, expected.knots.sizes)


def test_curves_of_many_maps_are_those_of_single_ones() -> None:
    image = picture()
    prepared = metrics.prepare(image, detail, presets=("pair", "corrected"))
    maps = [smooth_map(seed=seed) for seed in range(11)]
    batches: list[int] = []

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        batches.append(len(images))
        return detail(images)

    many = metrics.prepare(image, predict, presets=("pair", "corrected"))
    together = list(many.curves_of(iter(maps), 0, min_probability=0.0))
    assert len(together) == 11
    assert batches[1:] == [52, 52, 39]  # four maps of thirteen images a group
    for values, found in zip(maps, together, strict=True):
        alone = prepared.curves(values, 0, min_probability=0.0)
        for name, curves in found.items():
            np.testing.assert_array_equal(curves.sic.y, alone[name].sic.y)
    asked = len(batches)
    again = list(many.curves_of(maps, 0, min_probability=0.0))
    assert len(batches) == asked  # the same groups are remembered
    np.testing.assert_array_equal(again[7]["pair"].sic.y, together[7]["pair"].sic.y)


# --- parity where nothing is left to choice --------------------------------------


def empty_circles(points: Sequence[tuple[int, int]]) -> bool:
    """Whether no four points lie on one circle that holds no other point."""
    for four in itertools.combinations(points, 4):
        rows = np.array([[r * r + c * c, r, c, 1] for r, c in four], dtype=float)
        if round(np.linalg.det(rows)) != 0:
            continue
        for three in itertools.combinations(four, 3):
            (a, b), (c, d), (e, f) = three
            size = 2 * (a * (d - f) + c * (f - b) + e * (b - d))
            if size == 0:
                continue
            y = (
                (a * a + b * b) * (d - f)
                + (c * c + d * d) * (f - b)
                + (e * e + f * f) * (b - d)
            ) / size
            x = (
                (a * a + b * b) * (e - c)
                + (c * c + d * d) * (a - e)
                + (e * e + f * f) * (c - a)
            ) / size
            radius = (a - y) ** 2 + (b - x) ** 2
            others = [p for p in points if p not in four]
            if all((r - y) ** 2 + (c - x) ** 2 > radius - 1e-9 for r, c in others):
                return False
            break
    return True


@pytest.mark.parametrize("channels", [0, 3], ids=["grey", "rgb"])
def test_curves_equal_those_of_pair_where_no_points_are_co_circular(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    grey = picture(30, 1)
    image = np.stack([grey, grey[::-1], grey.T], axis=-1) if channels else grey
    found = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        mask = metrics.random_mask((30, 30), fraction=0.005, seed=seed)
        values = np.zeros((30, 30))
        # PAIR shows all at once from the threshold on that reaches the zeros
        values.flat[rng.choice(900, 8, replace=False)] = rng.random(8) + 0.1
        partly = [
            (values >= np.quantile(values, 1 - t)) | mask
            for t in THRESHOLDS
            if np.quantile(values, 1 - t) > 0
        ]
        corners = [(0, 0), (0, 29), (29, 0), (29, 29)]
        if not all(
            empty_circles(sorted({*corners, *map(tuple, np.argwhere(m).tolist())}))
            for m in (mask, *partly)
        ):
            continue
        found += 1
        ours = metrics.information_curves(
            image, values, detail, 0, random_mask=mask, min_probability=0.0
        )
        theirs = reference.compute_pic_metric(
            # it crashes on two dimensions where all is shown
            image if channels else np.repeat(grey[..., None], 3, axis=-1),
            values,
            mask,
            lambda batch: detail(np.asarray(batch))[:, 0],
            list(THRESHOLDS),
            min_pred_value=0.0,
        )
        np.testing.assert_allclose(ours.sic.y, theirs.curve_y, atol=1e-12)
        assert ours.sic.auc == pytest.approx(float(theirs.auc), abs=1e-12)
    assert found >= 3


# --- volumes ---------------------------------------------------------------------


def test_a_volume_is_its_slices_blurred_and_compressed_one_by_one() -> None:
    volume = np.stack([picture(24, seed) for seed in range(3)])
    values = np.random.default_rng(1).random(volume.shape)
    seen: list[NDArray[np.uint8]] = []

    def predict(batch: NDArray[np.uint8]) -> NDArray[np.float64]:
        seen.extend(batch)
        return np.mean([detail(batch[:, i]) for i in range(3)], axis=0)

    prepared = metrics.prepare(volume, predict, volume=True, seed=2)
    assert prepared.random_mask.shape == volume.shape
    found = prepared.curves(values, 0, min_probability=0.0)["pair"]
    for t, size, shown in zip(
        THRESHOLDS, found.knots.sizes[1:], seen[2:], strict=False
    ):
        mask = (values >= np.quantile(values, 1 - t)) | prepared.random_mask
        slices = [metrics.blur(volume[i], mask[i]) for i in range(3)]
        np.testing.assert_array_equal(shown, np.stack(slices))
        assert size == sum(metrics.webp_size(one) for one in slices)


def test_a_volume_of_one_slice_gives_what_the_slice_gives() -> None:
    image, values = picture(), smooth_map()
    mask = metrics.random_mask(image.shape, seed=1)
    names = ("pair", "brima2024", "corrected", "corrected:ms_ssim")
    flat = metrics.prepare(image, detail, presets=names, random_mask=mask)
    deep = metrics.prepare(
        image[None],
        lambda batch: detail(batch[:, 0]),
        presets=names,
        random_mask=mask[None],
        volume=True,
    )
    one = flat.curves(values, 0, min_probability=0.0)
    other = deep.curves(values[None], 0, min_probability=0.0)
    for name in names:
        np.testing.assert_allclose(one[name].sic.y, other[name].sic.y)
    with pytest.raises(MetricError, match=r"\(D, H, W\)"):
        metrics.prepare(image, detail, volume=True)
