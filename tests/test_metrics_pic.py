from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from saliency.metrics import pic as reference
from scipy.interpolate import griddata
from scipy.ndimage import gaussian_filter

from napari_medxai import metrics
from napari_medxai.errors import Cancelled, MetricError
from napari_medxai.metrics.curve import InformationCurve

SIZE = 64
THRESHOLDS = [0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34]
THRESHOLDS += [0.5, 0.75]
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


def scene(channels: int, seed: int, size: int = SIZE) -> NDArray[np.uint8]:
    """A smooth body, a bright textured lesion and some noise."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:size, :size] / size

    def blob(r: float, c: float, s: float) -> NDArray[np.float64]:
        return np.exp(-((row - r) ** 2 + (column - c) ** 2) / (2 * s * s))

    layers = []
    for channel in range(max(channels, 1)):
        texture = gaussian_filter(rng.normal(size=(size, size)), 1.5) * 60
        layer = 70 * blob(0.5, 0.5, 0.35) + 30 + rng.normal(size=(size, size)) * 2
        layers.append(
            layer + (90 + 10 * channel + texture) * blob(0.35, 0.6, 0.07) + texture / 4
        )
    stack = np.clip(np.stack(layers, axis=-1), 0, 255).astype(np.uint8)
    return stack[..., 0] if channels == 0 else stack


def lesion_detector() -> Predict:
    """Three classes; class 1 grows with the edges around the lesion."""

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        grey = images.astype(np.float64)
        if grey.ndim == 4:
            grey = grey.mean(axis=-1)
        size = grey.shape[1]
        rows = slice(int(0.18 * size), int(0.53 * size))
        window = grey[:, rows, int(0.43 * size) : int(0.78 * size)]
        energy = np.abs(np.diff(window, axis=1)).mean(axis=(1, 2))
        energy += np.abs(np.diff(window, axis=2)).mean(axis=(1, 2))
        logit = np.stack(
            [np.zeros(len(grey)), 1.5 * (energy - 7), 0.3 * (energy - 12)], axis=1
        )
        exponent = np.exp(logit - logit.max(axis=1, keepdims=True))
        return exponent / exponent.sum(axis=1, keepdims=True)

    return predict


def lookup(original: list[float], blurred: list[float]) -> Callable[..., Predict]:
    """Prediction that depends only on whether the image is the original."""

    def of(image: NDArray[np.uint8]) -> Predict:
        def predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
            return np.array(
                [original if np.array_equal(i, image) else blurred for i in images]
            )

        return predict

    return of


def saliency_maps(size: int = SIZE) -> dict[str, NDArray[np.floating]]:
    rng = np.random.default_rng(7)
    row, column = np.mgrid[:size, :size] / size
    relevant = np.exp(-((row - 0.35) ** 2 + (column - 0.6) ** 2) / 0.02)
    sparse = rng.random((size, size))
    sparse[rng.random((size, size)) < 0.6] = 0
    return {
        "smooth": relevant,
        "misplaced": relevant[::-1, ::-1].copy(),
        "noise": rng.random((size, size)).astype(np.float32),
        "sparse": sparse,
        "signed": gaussian_filter(rng.normal(size=(size, size)), 4),
    }


# --- a slow and simple second implementation -----------------------------------


def slow_blur(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    mask = mask.copy()
    for r in (0, -1):
        for c in (0, -1):
            mask[r, c] = True
    if mask.all():
        return image
    result = image.copy()
    planes = image[..., None] if image.ndim == 2 else image
    out = result[..., None] if image.ndim == 2 else result
    for channel in range(planes.shape[2]):
        values = griddata(
            np.argwhere(mask), planes[..., channel][mask], np.argwhere(~mask)
        )
        out[..., channel][~mask] = np.round(values.astype(np.float32))
    return result


def slow_size(image: NDArray[np.uint8]) -> int:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="webp", lossless=True, quality=100)
    return len(buffer.getvalue())


def slow_curve(
    image: NDArray[np.uint8],
    saliency_map: NDArray[np.floating],
    score: Callable[[NDArray[np.uint8]], float],
    mask: NDArray[np.bool_],
    least: float,
) -> tuple[list[float], float] | None:
    blurred = slow_blur(image, mask)
    low, high = score(blurred), score(image)
    small, large = slow_size(blurred), slow_size(image)
    if high < least or small >= large or low >= high:
        return None
    points, best = [(0.0, 0.0)], 0.0
    for t in THRESHOLDS:
        shown = slow_blur(
            image, (saliency_map >= np.quantile(saliency_map, 1 - t)) | mask
        )
        x = min(max((slow_size(shown) - small) / (large - small), 0.0), 1.0)
        best = max(best, min(max((score(shown) - low) / (high - low), 0.0), 1.0))
        if x > 0:  # at x = 0 the point (0, 0) counts
            points.append((x, best))
    points = [*sorted(points, key=lambda p: p[0]), (1.0, 1.0)]
    ys = []
    for i in range(1000):
        x = i / 1000
        k = max(j for j, p in enumerate(points) if p[0] <= x)
        (x0, y0), (x1, y1) = points[k], points[k + 1]
        ys.append(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    ys.append(1.0)
    return ys, sum((a + b) / 2000 for a, b in itertools.pairwise(ys))


def scores(
    predict: Predict, target: int, label: int
) -> dict[str, Callable[[NDArray[np.uint8]], float]]:
    return {
        "sic": lambda image: float(predict(image[None])[0, target]),
        "aic": lambda image: float(predict(image[None])[0].argmax() == label),
    }


@pytest.mark.parametrize("channels", [0, 3], ids=["grey", "rgb"])
@pytest.mark.parametrize("name", ["smooth", "noise", "sparse"])
def test_curves_agree_with_the_slow_implementation(channels: int, name: str) -> None:
    image, predict = scene(channels, 1, 40), lesion_detector()
    saliency_map = saliency_maps(40)[name]
    mask = metrics.random_mask((40, 40), seed=3)
    curves = metrics.information_curves(
        image, saliency_map, predict, 1, random_mask=mask, min_probability=0.5
    )
    for metric, score in scores(predict, 1, 1).items():
        expected = slow_curve(image, saliency_map, score, mask, 0.5)
        curve = getattr(curves, metric)
        assert expected is not None
        assert curve.excluded is None
        assert curve.auc == pytest.approx(expected[1], abs=0.01)
        assert np.median(np.abs(curve.y - expected[0])) < 0.02


# --- parity with PAIR ----------------------------------------------------------


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """The reference; NumPy 2.4 dropped `trapz`, which it calls."""
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)

    def auc(
        image: NDArray[np.uint8],
        saliency_map: NDArray[np.floating],
        mask: NDArray[np.bool_],
        score: Callable[[NDArray[np.uint8]], float],
        least: float,
    ) -> float:
        return float(
            reference.compute_pic_metric(
                image,
                saliency_map,
                mask,
                lambda batch: [score(i) for i in batch],
                THRESHOLDS,
                min_pred_value=least,
            ).auc
        )

    return auc


@pytest.mark.parametrize("channels", [0, 3], ids=["grey", "rgb"])
@pytest.mark.parametrize("name", ["smooth", "misplaced", "noise", "signed"])
def test_parity_with_pair(pair: Callable[..., float], channels: int, name: str) -> None:
    image, predict = scene(channels, 2), lesion_detector()
    saliency_map = saliency_maps()[name]
    mask = metrics.random_mask((SIZE, SIZE), seed=5)
    curves = metrics.information_curves(
        image, saliency_map, predict, 1, random_mask=mask
    )
    for metric, score in scores(predict, 1, 1).items():
        expected = pair(image, saliency_map, mask, score, 0.8)
        assert getattr(curves, metric).auc == pytest.approx(expected, abs=0.01)


def test_parity_with_pair_where_grey_is_repeated(pair: Callable[..., float]) -> None:
    grey, predict = scene(0, 2), lesion_detector()
    image = np.repeat(grey[..., None], 3, axis=-1)
    mask = metrics.random_mask((SIZE, SIZE), seed=5)
    saliency_map = saliency_maps()["smooth"]
    mine = metrics.information_curves(image, saliency_map, predict, 1, random_mask=mask)
    expected = pair(image, saliency_map, mask, scores(predict, 1, 1)["sic"], 0.8)
    assert mine.sic.auc == pytest.approx(expected, abs=0.01)
    single = metrics.information_curves(
        grey, saliency_map, predict, 1, random_mask=mask
    )
    np.testing.assert_array_equal(mine.knots.sizes, single.knots.sizes)
    assert metrics.webp_size(image) == metrics.webp_size(grey) == slow_size(image)


CASES = {
    "unsure": ([0.3, 0.7, 0.0], [0.8, 0.2, 0.0]),
    "wrong": ([0.5, 0.4, 0.1], [0.8, 0.2, 0.0]),
    "as_sure_blurred": ([0.1, 0.9, 0.0], [0.1, 0.9, 0.0]),
    "right_but_less_sure_blurred": ([0.1, 0.9, 0.0], [0.4, 0.6, 0.0]),
    "fine": ([0.1, 0.9, 0.0], [0.7, 0.3, 0.0]),
}
REASONS = {
    "unsure": (None, "the network is less sure than 0.8 of the class on the original"),
    "wrong": ("not classified as the label", "less sure than 0.8"),
    "as_sure_blurred": ("still classified as the label", "as surely from the blurred"),
    "right_but_less_sure_blurred": ("still classified as the label", None),
    "fine": (None, None),
}


@pytest.mark.parametrize("flat", [False, True], ids=["textured", "constant"])
@pytest.mark.parametrize("case", CASES)
def test_exclusions_are_those_of_pair(
    pair: Callable[..., float], case: str, flat: bool
) -> None:
    size = 24
    image = np.full((size, size), 80, np.uint8) if flat else scene(0, 3, size)
    # the constant image equals its blurred one: let the first image asked be right
    predict = lookup(*CASES[case])(image)
    mask = metrics.random_mask((size, size), seed=0)
    saliency_map = saliency_maps(size)["signed"]
    curves = metrics.information_curves(
        image, saliency_map, predict, 1, random_mask=mask
    )
    for metric, score in scores(predict, 1, 1).items():
        curve = getattr(curves, metric)
        if curve.excluded is None:
            expected = pair(image, saliency_map, mask, score, 0.8)
            assert curve.auc == pytest.approx(expected, abs=0.01)
            continue
        with pytest.raises(reference.ComputePicMetricError) as caught:
            pair(image, saliency_map, mask, score, 0.8)
        assert ("entropy" in str(caught.value)) == ("no smaller" in curve.excluded)
        assert np.isnan(curve.auc)
        assert np.isnan(curve.y).all()
        assert curve.x.shape == curve.y.shape == (1001,)
    if not flat:
        wanted = REASONS[case]
        for curve, part in zip((curves.aic, curves.sic), wanted, strict=True):
            assert (curve.excluded is None) == (part is None)
            assert part is None or part in curve.excluded


def test_min_probability_is_an_inclusive_limit() -> None:
    image = scene(0, 3, 24)
    prepared = metrics.prepare(image, lookup([0.2, 0.8], [0.9, 0.1])(image))
    assert prepared.excluded(1, min_probability=0.8) == {"pair": (None, None)}
    aic, sic = prepared.excluded(1, min_probability=0.81)["pair"]
    assert aic is None
    assert sic is not None
    assert "0.81" in sic


# --- behaviour of our own ------------------------------------------------------


def test_sic_follows_the_target_and_aic_the_label() -> None:
    image = scene(0, 1, 40)
    prepared = metrics.prepare(image, lesion_detector())
    saliency_map = saliency_maps(40)["smooth"]
    both = prepared.curves(saliency_map, 1)["pair"]
    other = prepared.curves(saliency_map, 1, label=0)["pair"]
    assert (both.label, other.label) == (1, 0)
    np.testing.assert_array_equal(both.sic.y, other.sic.y)
    assert both.aic.excluded is None
    assert other.aic.excluded == "the original image is not classified as the label"


def test_one_batch_serves_all_thresholds_and_the_ends_are_made_once() -> None:
    image, batches = scene(3, 1, 40), []
    detector = lesion_detector()

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        assert images.dtype == np.uint8
        assert images.shape[1:] == image.shape
        batches.append(len(images))
        return detector(images)

    prepared = metrics.prepare(image, predict)
    maps = saliency_maps(40)
    for name in ("smooth", "noise"):
        prepared.curves(maps[name], 1)
    assert batches == [2, 13, 13]


def test_nothing_is_computed_where_both_curves_are_excluded() -> None:
    image = scene(0, 1, 24)
    prepared = metrics.prepare(image, lookup([0.9, 0.1], [0.9, 0.1])(image))
    curves = prepared.curves(saliency_maps(24)["noise"], 1)["pair"]
    assert curves.aic.excluded
    assert curves.sic.excluded
    assert curves.knots.thresholds.tolist() == [0.0, 1.0]
    assert curves.aic.knots_x.size == 0


def test_knots_carry_what_was_measured() -> None:
    image, predict = scene(0, 1, 40), lesion_detector()
    curves = metrics.information_curves(
        image, saliency_maps(40)["smooth"], predict, 1, min_probability=0.5
    )
    knots = curves.knots
    assert knots.thresholds.tolist() == [0.0, *THRESHOLDS, 1.0]
    assert knots.sizes[-1] == slow_size(image)
    assert knots.probabilities[-1] == predict(image[None])[0, 1]
    assert knots.predicted[-1] == predict(image[None])[0].argmax()
    assert np.all(np.diff(knots.revealed) >= 0)
    assert np.all(knots.revealed[1:-1] >= THRESHOLDS)
    assert np.all(np.diff(curves.sic.knots_y) >= 0)


def test_a_stored_curve_comes_back_to_the_last_bit() -> None:
    curves = metrics.information_curves(
        scene(0, 1, 40), saliency_maps(40)["signed"], lesion_detector(), 1
    )
    for curve in (curves.aic, curves.sic):
        assert curve.excluded is None
        stored = json.loads(
            json.dumps([curve.knots_x.tolist(), curve.knots_y.tolist()])
        )
        again = InformationCurve.from_knots(curve.metric, *stored)
        np.testing.assert_array_equal(again.y, curve.y)
        assert again.auc == curve.auc
    nothing = InformationCurve.from_knots("sic", excluded="why")
    assert nothing.excluded == "why"
    assert np.isnan(nothing.auc)


def test_equal_x_keeps_the_last_point_and_zero_belongs_to_the_origin() -> None:
    curve = InformationCurve.from_knots("sic", [0.0, 0.5, 0.5], [0.4, 0.6, 0.8])
    assert curve.y[0] == 0.0
    assert curve.y[500] == 0.8
    assert curve.y[499] == pytest.approx(0.6 * 499 / 500)
    assert curve.auc == pytest.approx(0.5 * 0.6 / 2 + 0.5 * 1.8 / 2, abs=1e-3)


def test_a_sparse_map_shows_everything_and_costs_no_forward() -> None:
    image = scene(0, 1, 40)
    prepared = metrics.prepare(image, lesion_detector())
    revealed = prepared.reveal(saliency_maps(40)["sparse"])
    full = np.asarray(THRESHOLDS) >= 0.5
    assert revealed.fractions[full].tolist() == [1.0, 1.0]
    assert revealed.sizes[full].tolist() == [prepared.sizes["webp"][1]] * 2
    assert len(revealed.images) == 11
    curves = prepared.curves(saliency_maps(40)["sparse"], 1)["pair"]
    assert curves.sic.knots_y[-1] == 1.0
    assert curves.knots.probabilities[-2] == curves.knots.probabilities[-1]


def test_a_constant_map_reveals_everything_at_once() -> None:
    prepared = metrics.prepare(scene(0, 1, 40), lesion_detector())
    curves = prepared.curves(np.zeros((40, 40)), 1)["pair"]
    assert curves.sic.auc == pytest.approx(0.5)
    assert len(prepared.reveal(np.zeros((40, 40))).images) == 0


def test_a_mask_of_all_pixels_leaves_nothing_to_measure() -> None:
    image = scene(0, 1, 24)
    curves = metrics.information_curves(
        image,
        saliency_maps(24)["noise"],
        lesion_detector(),
        1,
        random_mask=np.ones((24, 24), bool),
        min_probability=0.0,
    )
    assert curves.sic.excluded == "the blurred image is no smaller than the original"


def test_results_depend_on_the_seed_alone() -> None:
    image, predict = scene(0, 1, 40), lesion_detector()
    saliency_map = saliency_maps(40)["noise"]
    runs = [
        metrics.prepare(image, predict, seed=seed, threads=threads).curves(
            saliency_map, 1
        )["pair"]
        for seed, threads in ((4, 1), (4, 3), (5, 1))
    ]
    np.testing.assert_array_equal(runs[0].sic.y, runs[1].sic.y)
    np.testing.assert_array_equal(runs[0].knots.sizes, runs[1].knots.sizes)
    assert np.any(runs[0].knots.sizes != runs[2].knots.sizes)
    wrapped = metrics.information_curves(image, saliency_map, predict, 1, seed=4)
    assert wrapped.sic.auc == runs[0].sic.auc


@pytest.mark.parametrize("threads", [1, 2])
def test_progress_counts_to_its_total_and_can_cancel(threads: int) -> None:
    calls: list[tuple[int, int]] = []
    prepared = metrics.prepare(
        scene(0, 1, 40),
        lesion_detector(),
        threads=threads,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 2), (2, 2)]
    calls.clear()
    saliency_map = saliency_maps(40)["smooth"]
    prepared.curves(saliency_map, 1, progress=lambda d, t: calls.append((d, t)))
    assert calls == [(i, 14) for i in range(1, 15)]

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        prepared.curves(saliency_maps(40)["noise"], 1, progress=stop)


def uniform(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.full((len(images), 2), 0.5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"preset": "sharp"}, "'sharp' is unknown; choose one of: pair"),
        ({"image": np.zeros((8, 8))}, "uint8, not float64"),
        ({"image": np.zeros((1, 8), np.uint8)}, "at least 2 x 2"),
        ({"saliency_map": np.zeros((8, 9))}, "on one grid"),
        ({"saliency_map": np.full((8, 8), np.nan)}, "NaN"),
        ({"random_mask": np.zeros((8, 8))}, "bool of shape"),
        ({"target": 2}, "target 2 is not one of the network's 2"),
        ({"label": -1}, "label -1"),
        ({"min_probability": 1.5}, "between 0 and 1"),
        ({"predict": lambda b: np.full((len(b), 2), np.nan)}, "NaN or infinite"),
        ({"predict": lambda b: np.zeros(len(b))}, "images, classes"),
    ],
)
def test_misuse_is_told_in_words(change: dict[str, object], text: str) -> None:
    arguments: dict[str, object] = {
        "image": np.zeros((8, 8), np.uint8),
        "saliency_map": np.zeros((8, 8)),
        "predict": uniform,
        "target": 0,
        **change,
    }
    with pytest.raises(MetricError, match=text):
        metrics.information_curves(**arguments)  # type: ignore[arg-type]


def test_knots_that_are_none_are_refused() -> None:
    with pytest.raises(MetricError, match="two lists of one length"):
        InformationCurve.from_knots("sic", [0.1], [0.2, 0.3])
    with pytest.raises(MetricError, match=r"leaves \[0, 1\]"):
        InformationCurve.from_knots("sic", [0.1], [float("nan")])
