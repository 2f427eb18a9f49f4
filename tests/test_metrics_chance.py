"""Ranks and p-values among chance maps; calibration of the surrogate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage, stats

from napari_medxai.errors import Cancelled, MetricError
from napari_medxai.metrics import chance
from napari_medxai.metrics.curve import InformationCurve, InformationCurves, Knots
from napari_medxai.metrics.nulls import random_pixels, surrogate
from napari_medxai.metrics.pic import prepare

REASON = "excluded for the test"


def curve(metric, area, preset="pair"):
    if area is None:
        return InformationCurve.from_knots(metric, preset=preset, excluded=REASON)
    built = InformationCurve.from_knots(metric, [0.5], [0.5], preset=preset)
    return InformationCurve(**{**vars(built), "auc": float(area)})


def curves(aic, sic, preset="pair"):
    nothing = np.empty(0)
    return InformationCurves(
        aic=curve("aic", aic, preset),
        sic=curve("sic", sic, preset),
        knots=Knots(
            thresholds=nothing,
            revealed=nothing,
            sizes=nothing,
            probabilities=nothing,
            predicted=nothing.astype(np.int64),
        ),
        preset=preset,
        target=0,
        label=0,
    )


class Fake:
    """Areas from a list: a "map" is its own number."""

    def __init__(self, **areas):
        self.areas = areas  # preset -> (aic areas or None, sic areas or None)
        self.calls = []

    def curves_of(self, maps, target, *, label=None, min_probability=0.8, progress):
        self.calls.append((target, label, min_probability))
        for one in maps:
            if progress is not None:
                progress(1, 3)
            yield {
                preset: curves(*(a if a is None else a[int(one)] for a in pair), preset)
                for preset, pair in self.areas.items()
            }


def against(fake, own, k, **more):
    drawn = []

    def draw(j):
        drawn.append(j)
        return np.array(j)

    options = {"null": "surrogate", "k": k, "target": 0, **more}
    return chance.against_chance(fake, own, draw, **options), drawn


def slowly(areas, own, asked):
    """Rank and p-value by the definition, one chance map after the other."""
    below = equal = reached = 0
    p_value = None
    for number, area in enumerate(areas, start=1):
        if abs(area - own) < 1e-6:
            equal += 1
        elif area < own:
            below += 1
        if area > own - 1e-6:
            reached += 1
            if reached == 10 and p_value is None:
                p_value = 10 / number
    if p_value is None:
        p_value = (reached + 1) / (asked + 1)
    return below + equal / 2, p_value if asked >= 199 else math.nan


@pytest.mark.parametrize("k", [1, 7, 20, 21, 150, 199, 400])
@pytest.mark.parametrize("own", [0.05, 0.5, 0.93, 2.0])
def test_rank_and_p_value_by_definition(k, own):
    areas = np.random.default_rng(k).integers(0, 20, k) / 20
    fake = Fake(pair=(None, areas))
    found, drawn = against(fake, {"pair": curves(None, own)}, k)
    result = found["pair"]
    assert drawn == list(range(result.n))
    assert (result.asked, result.null, result.aic) == (k, "surrogate", None)
    assert np.array_equal(result.sic.areas, areas[: result.n])
    assert len(result.sic.curves) == min(k, 20)
    assert [c.auc for c in result.sic.curves] == list(areas[: min(k, 20)])
    rank, p_value = slowly(areas[: result.n], own, k)
    assert result.sic.rank == rank
    assert result.sic.p_value == pytest.approx(p_value, nan_ok=True)
    # all of them are drawn unless the answer is clear
    reached = np.cumsum(areas >= own)
    stops = [n for n in (*range(20, k, 20), k) if reached[n - 1] >= 10 or n == k]
    assert result.n == stops[0] if k >= 20 else k


def test_goes_on_until_every_curve_is_clear():
    rng = np.random.default_rng(0)
    high, low = rng.uniform(0.5, 1, 199), rng.uniform(0, 0.3, 199)
    low[95:] = 0.9
    fake = Fake(pair=(high, None), corrected=(None, low))
    own = {"pair": curves(0.4, None), "corrected": curves(None, 0.4, "corrected")}
    found, drawn = against(fake, own, 199)
    assert found["pair"].n == found["corrected"].n == len(drawn) == 120
    assert found["pair"].aic.p_value == 1.0  # the tenth was number ten
    assert found["corrected"].sic.p_value == pytest.approx(10 / 105)
    assert found["corrected"].sic.rank == 95


def test_what_is_excluded_is_not_drawn():
    fake = Fake(pair=(None, None))
    told = []
    found, drawn = against(
        fake,
        {"pair": curves(None, None)},
        199,
        progress=lambda *step: told.append(step),
    )
    assert not drawn
    assert not fake.calls
    assert (found["pair"].n, found["pair"].asked) == (0, 199)
    assert found["pair"].aic is found["pair"].sic is None
    assert told == [(199, 199)]


def test_equal_curves_are_in_the_middle():
    fake = Fake(pair=([0.4 + 3e-8] * 199, [0.7] * 199))
    found, _ = against(fake, {"pair": curves(0.4, 0.7)}, 199)
    assert found["pair"].n == 20
    for standing in (found["pair"].aic, found["pair"].sic):
        assert standing.rank == 10
        assert standing.p_value == 1


def test_progress_and_what_it_raises():
    fake = Fake(pair=(None, np.zeros(60)))
    told = []
    own = {"pair": curves(None, 0.5)}
    against(fake, own, 60, progress=lambda *step: told.append(step), label=2)
    assert told[-1] == (60, 60)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {done for done, _ in told} == set(range(61))
    assert {total for _, total in told} == {60}
    assert set(fake.calls) == {(0, 2, 0.8)}

    def cancel(done, total):
        if done == 7:
            raise Cancelled

    drawn = []
    with pytest.raises(Cancelled):
        chance.against_chance(
            fake,
            own,
            lambda j: drawn.append(j) or np.array(j),
            null="other_case",
            k=60,
            target=0,
            progress=cancel,
        )
    assert len(drawn) <= 8


@pytest.mark.parametrize(
    ("null", "k", "says"), [("noise", 5, "surrogate"), ("surrogate", 0, "1 or more")]
)
def test_refuses(null, k, says):
    with pytest.raises(MetricError, match=says):
        against(Fake(), {}, k, null=null)


def test_real_curves_of_an_image():
    """The real preparation: lazily, the same numbers as one by one."""
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.uniform(0, 255, (32, 32)), 1)
    image[18:26, 6:14] += 90
    image = np.clip(image, 0, 255).astype(np.uint8)

    def predict(images):
        bright = images[:, 18:26, 6:14].mean(axis=(1, 2)) - images.mean(axis=(1, 2))
        right = 1 / (1 + np.exp(-(bright - 60) / 6))
        return np.stack([1 - right, right], axis=1)

    prepared = prepare(image, predict, presets=("pair", "corrected"), seed=1)
    cue = np.zeros((32, 32), dtype=np.float32)
    cue[18:26, 6:14] = rng.uniform(1, 2, (8, 8))
    body = np.ones(cue.shape, dtype=bool)
    own = prepared.curves(cue, 1)
    told = []
    found = chance.against_chance(
        prepared,
        own,
        lambda j: surrogate(cue, body, seed=j),
        null="surrogate",
        k=20,
        target=1,
        progress=lambda *step: told.append(step),
    )
    assert set(found) == {"pair", "corrected"}
    for preset, result in found.items():
        assert result.n == 20
        one = prepared.curves(surrogate(cue, body, seed=3), 1)[preset]
        assert result.sic.areas[3] == pytest.approx(one.sic.auc, abs=1e-9)
        assert np.allclose(result.sic.curves[3].y, one.sic.y, atol=1e-9)
        assert math.isnan(result.sic.p_value)
    assert found["corrected"].sic.rank >= 19
    assert told[-1] == (20, 20)
    flat = np.zeros((32, 32), dtype=np.float32)
    same = chance.against_chance(
        prepared,
        prepared.curves(flat, 1),
        lambda j: random_pixels(flat, seed=j),
        null="random_pixels",
        k=20,
        target=1,
    )
    assert same["pair"].sic.rank == same["corrected"].sic.rank == 10


# Calibration: maps that are drawn from the null

SIDE, MEMBERS = 32, 19
BODY = np.hypot(*((np.mgrid[:SIDE, :SIDE] - 15.5) / [[[1.1]], [[1.0]]])) < 13
WEIGHT = np.sin(np.mgrid[:SIDE, :SIDE][0] / 6 + 1) + np.cos(
    np.mgrid[:SIDE, :SIDE][1] / 8
)


def placed(saliency_map):
    """Mean of a fixed smooth weight over the top tenth of the body."""
    top = saliency_map > np.quantile(saliency_map[BODY], 0.9)
    return WEIGHT[top].mean() if top.any() else WEIGHT.mean()


def covered(saliency_map):
    """How near the body's pixels are to the top tenth: better for scattered maps."""
    top = saliency_map > np.quantile(saliency_map[BODY], 0.9)
    return np.exp(-ndimage.distance_transform_edt(~top)[BODY] / 3).mean()


def field(rng, spectrum):
    """Cut from a larger field, so that it does not wrap around."""
    n = 4 * SIDE
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
    amplitude = {
        "blobs": np.exp(-((2 * np.pi * frequency * 5) ** 2) / 4),
        "white": np.ones_like(frequency),
        "1/f": 1 / np.maximum(frequency, 1 / n),
    }[spectrum]
    noise = np.fft.rfft2(rng.standard_normal((n, n)))
    return np.fft.irfft2(noise * amplitude, s=(n, n))[:SIDE, :SIDE]


def null_map(rng, spectrum, clipped):
    """Confine a field to the body: the highest values lie there."""
    drawn = field(rng, spectrum)
    order = np.lexsort((drawn.ravel(), BODY.ravel()))
    values = np.sort(rng.standard_normal(drawn.size))
    if clipped:
        values = np.maximum(values - values[-int(0.4 * BODY.sum())], 0)
    result = np.empty(drawn.shape, dtype=np.float32)
    result.flat[order] = values
    return result


def p_values(draw, areas, images):
    """Share of the members (and the map itself) that reach the map's area."""
    found = np.zeros((images, len(areas)))
    for image in range(images):
        saliency_map, members = draw(image)
        for i, area in enumerate(areas):
            own, drawn = area(saliency_map), np.array([area(m) for m in members])
            found[image, i] = (1 + np.count_nonzero(drawn >= own - 1e-9)) / (
                1 + len(members)
            )
    return found


def assert_super_uniform(p, more=0.0):
    """No smaller p-values than uniform ones, by Kolmogorov and at 5 %."""
    attainable = np.unique(p)
    excess = max((p <= a).mean() - a for a in attainable)
    assert stats.ksone.sf(excess - more, len(p)) > 0.005
    bound = stats.binom.isf(0.005, len(p), 0.05 + more)
    assert np.count_nonzero(p <= 0.05) <= bound


@pytest.mark.parametrize("null", ["surrogate", "random_pixels"])
def test_draws_of_one_map_are_exchangeable(null):
    base = null_map(np.random.default_rng(1), "blobs", clipped=True)

    def one(seed):
        if null == "surrogate":
            return surrogate(base, BODY, seed=seed)
        return random_pixels(base, seed=seed)

    def draw(image):
        first, *rest = (one(100 * image + j) for j in range(1 + MEMBERS))
        return first, rest

    found = p_values(draw, [placed, covered], 150)
    for p in found.T:
        assert_super_uniform(p)
        assert_super_uniform(1 + 1 / (1 + MEMBERS) - p)
    assert np.all(np.abs(found.mean(axis=0) - 0.525) < 0.08)


@pytest.mark.parametrize("clipped", [False, True], ids=["all values", "clipped"])
@pytest.mark.parametrize("spectrum", ["blobs", "white", "1/f"])
def test_null_maps_do_not_beat_their_own_surrogates(spectrum, clipped):
    rng = np.random.default_rng(sum(map(ord, spectrum)) + clipped)

    def draw(image):
        saliency_map = null_map(rng, spectrum, clipped)
        seeds = range(1000 * image, 1000 * image + MEMBERS)
        return saliency_map, [surrogate(saliency_map, BODY, seed=s) for s in seeds]

    found = p_values(draw, [placed, covered], 80)
    # Pixel noise has no texture to keep: fitted scales leave its sets a little more
    # clumped than its own, by 0.05 of the mean rank (300 maps).
    more = 0.05 if spectrum == "white" else 0.0
    for p in found.T:
        assert_super_uniform(p, more)
    # nor is the test blunt: not all p-values lie in the middle
    assert found.std(axis=0).min() > 0.12


def test_a_smoother_null_is_caught():
    """The same test alarms where the chance maps are smoother than the map."""
    rng = np.random.default_rng(3)

    def draw(image):
        saliency_map = null_map(rng, "white", clipped=False)
        return saliency_map, [null_map(rng, "blobs", False) for _ in range(MEMBERS)]

    found = p_values(draw, [covered], 40)
    with pytest.raises(AssertionError):
        assert_super_uniform(found[:, 0])
