"""Chance maps: own values, own ties, own texture; and what is body."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.stats import rankdata, spearmanr

from napari_medxai.errors import MetricError
from napari_medxai.metrics import _field
from napari_medxai.metrics.body import body_mask
from napari_medxai.metrics.nulls import random_pixels, ranked_like, surrogate

SIZE = 64


def smooth(rng, sigma, shape=(SIZE, SIZE)):
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return field / field.std()


def plateaus(rng):
    """Segments of one value each, as XRAI's: the cells of scattered points."""
    points = rng.uniform(0, SIZE, (25, 2))
    grid = np.stack(np.mgrid[:SIZE, :SIZE], axis=-1)
    nearest = ((grid[:, :, None] - points) ** 2).sum(axis=-1).argmin(axis=-1)
    return rng.permutation(25)[nearest].astype(np.float32)


def blob(rng):
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.exp(-(((rows - 25) / 14) ** 2) - ((columns - 36) / 11) ** 2)


MAPS = {
    "relu": lambda rng: np.maximum(smooth(rng, 5) - 0.25, 0),
    "plateaus": plateaus,
    "heavy tails": lambda rng: np.exp(smooth(rng, 5) + 1.5 * smooth(rng, 0.4)),
    "blob": blob,
    "noise": lambda rng: rng.standard_normal((SIZE, SIZE)),
    "smooth": lambda rng: smooth(rng, 4),
}


def head():
    rows, columns = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) - 0.5
    angle = np.arctan2(rows, columns)
    return np.hypot(rows / 1.1, columns) < 0.38 + 0.03 * np.sin(3 * angle)


def made(name, seed=0):
    found = MAPS[name](np.random.default_rng(seed)).astype(np.float32)
    if name != "blob":
        assert found.std() > 0
    return found


def nulls(saliency_map, seed):
    order = smooth(np.random.default_rng(9), 3, saliency_map.shape)
    body = np.zeros(saliency_map.shape, dtype=bool)
    body[..., 3:-5, 4:-2] = True
    return {
        "random_pixels": random_pixels(saliency_map, seed=seed),
        "surrogate": surrogate(saliency_map, body, seed=seed),
        "ranked_like": ranked_like(saliency_map, order, seed=seed),
        "ranked_like, ties": ranked_like(saliency_map, np.maximum(order, 0), seed=seed),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(20, 27), (5, 12, 14)], ids=["2-D", "3-D"])
def test_values_are_the_map_s_own(shape, dtype):
    rng = np.random.default_rng(3)
    saliency_map = np.maximum(smooth(rng, 2, shape), 0).astype(dtype)
    before = saliency_map.copy()
    first, again, other = (nulls(saliency_map, seed) for seed in (1, 1, 2))
    for name, chance in first.items():
        assert chance.shape == shape
        assert chance.dtype == dtype
        assert np.array_equal(np.sort(chance, axis=None), np.sort(before, axis=None))
        assert not np.array_equal(chance, saliency_map)
        assert np.array_equal(chance, again[name])
        assert name == "ranked_like" or not np.array_equal(chance, other[name])
    assert np.array_equal(saliency_map, before)


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_constant_map_is_its_own_chance_map(value):
    constant = np.full((9, 11), value, dtype=np.float32)
    for chance in nulls(constant, 4).values():
        assert np.array_equal(chance, constant)
        assert chance is not constant


def slowly_placed(values, places):
    """Loop: the smallest value goes to the first place, and so on."""
    result = np.empty(values.size, dtype=values.dtype)
    for value, place in zip(sorted(values.ravel()), places, strict=True):
        result[place] = value
    return result.reshape(values.shape)


def test_random_pixels_are_a_permutation_without_place():
    saliency_map = made("smooth")[:30, :30]
    places = np.random.default_rng(5).permutation(900)
    chance = random_pixels(saliency_map, seed=5)
    assert np.array_equal(chance, slowly_placed(saliency_map, places))
    draws = np.stack([random_pixels(saliency_map, seed=s) for s in range(400)])
    error = saliency_map.std() / np.sqrt(400)
    assert np.abs(draws.mean(axis=0) - saliency_map.mean()).max() < 4.5 * error


def test_ranked_like_follows_the_other_map():
    rng = np.random.default_rng(0)
    saliency_map, order = made("relu")[:12, :12], rng.standard_normal((12, 12))
    chance = ranked_like(saliency_map, order, seed=0)
    ascending = sorted(saliency_map.ravel())
    for place in np.ndindex(order.shape):
        assert chance[place] == ascending[int((order < order[place]).sum())]
    assert np.array_equal(ranked_like(order, order, seed=3), order)


def test_ranked_like_breaks_ties_by_a_field_of_the_map_s_texture():
    saliency_map = made("smooth")
    order = np.maximum(smooth(np.random.default_rng(1), 6), 0.5)
    chance = ranked_like(saliency_map, order, seed=2)
    ascending = np.sort(saliency_map, axis=None)
    for value in np.unique(order):
        first = int((order < value).sum())
        tied = np.sort(chance[order == value])
        assert np.array_equal(tied, ascending[first : first + tied.size])
    tied = order == order.min()
    assert tied.mean() > 0.5
    own, drawn = roughness(saliency_map, tied), roughness(chance, tied)
    scattered = roughness(random_pixels(saliency_map, seed=0), tied)
    assert drawn < 2 * own < scattered / 3


def test_surrogate_lies_in_the_body():
    body = head()
    for name in MAPS:
        chance = surrogate(made(name), body, seed=7)
        assert chance[body].min() >= chance[~body].max()


def test_surrogate_is_the_field_put_in_order():
    body, saliency_map = head(), made("relu")
    field = _field.fit_field(saliency_map[body], body).draw(11)
    inside, outside = np.flatnonzero(body), np.flatnonzero(~body)
    places = [
        *sorted(outside, key=lambda at: field.flat[at]),
        *sorted(inside, key=lambda at: field.flat[at]),
    ]
    expected = slowly_placed(saliency_map, places)
    assert np.array_equal(surrogate(saliency_map, body, seed=11), expected)


def test_field_is_the_spectrum_with_the_noise_s_phases():
    shape = (7, 6)
    values = smooth(np.random.default_rng(0), 1, shape)
    fitted = _field.fit_field(values.ravel(), np.ones(shape, dtype=bool))
    grid = _field.padded_shape(shape)
    noise = np.random.default_rng(4).standard_normal(grid)
    axes = [np.arange(n) for n in grid]
    expected = np.zeros(shape)
    for u, v in itertools.product(*axes):
        wave = np.exp(
            -2j * np.pi * (u * axes[0][:, None] / grid[0] + v * axes[1] / grid[1])
        )
        sign = -1 if v > grid[1] // 2 else 1  # the other half is the conjugate
        amplitude = fitted.amplitude[(sign * u) % grid[0], (sign * v) % grid[1]]
        phase = np.angle((noise * wave).sum())
        expected += (amplitude * np.exp(1j * phase) * wave.conj()).real[:7, :6]
    drawn = fitted.draw(4) * np.prod(grid)
    assert np.allclose(drawn, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("domain", ["all", "part"])
def test_mirrored_white_noise_has_the_power_that_is_divided_out(domain):
    inside = np.ones((9, 8), dtype=bool)
    if domain == "part":
        inside[:3] = inside[:, 6:] = inside[5, 2] = False
    window = _field._window(inside.tobytes(), inside.shape)
    grid = window.source.shape
    # every value on its own: their powers add up
    power = np.zeros(grid)
    for value in range(np.count_nonzero(inside)):
        one = np.where(window.source == value, window.weight, 0.0)
        power += np.abs(np.fft.fftn(one)) ** 2
    power = power[:, : window.white.shape[1]]
    expected = np.sqrt(np.maximum(power / power.mean(), 0.05))
    assert np.allclose(window.white, expected, rtol=1e-5)


def test_domain_stays_and_fades_into_the_margin():
    body = head()
    window = _field._window(body.tobytes(), body.shape)
    values = np.arange(np.count_nonzero(body), dtype=float)
    shown = (values[window.source] * window.weight)[:SIZE, :SIZE]
    assert np.allclose(shown[body], values)
    distance = ndimage.distance_transform_edt(~body)
    margin = int(SIZE * _field.MARGIN)
    weight = window.weight[:SIZE, :SIZE]
    assert np.all(weight[distance >= margin] == 0)
    near = (distance > 0) & (distance < margin - 1)
    assert np.all((weight[near] > 0) & (weight[near] < 1))


def roughness(saliency_map, within):
    """Mean absolute difference of neighbours, of the ranks within a region."""
    ranks = np.zeros(saliency_map.shape)
    ranks[within] = rankdata(saliency_map[within]) / np.count_nonzero(within)
    total, pairs = 0.0, 0
    for axis in (0, 1):
        both = np.delete(within, 0, axis) & np.delete(within, -1, axis)
        total += np.abs(np.diff(ranks, axis=axis))[both].sum()
        pairs += np.count_nonzero(both)
    return total / pairs


@pytest.mark.parametrize("name", MAPS)
def test_surrogate_is_as_smooth_as_the_map(name):
    """Nor smoother: a chance map that were would be easy to beat."""
    body = head()
    # the map as the surrogates have it: confined, with the same values inside
    inside = np.where(body, made(name), -np.inf)
    places = np.argsort(inside, axis=None, kind="stable")
    confined = slowly_placed(made(name), places)
    own = roughness(confined, body)
    drawn = [roughness(surrogate(confined, body, seed=s), body) for s in range(12)]
    assert 0.75 * own < np.mean(drawn) < 1.35 * own
    scattered = roughness(random_pixels(confined, seed=0), body)
    assert name in ("noise", "heavy tails") or np.mean(drawn) < 0.6 * scattered


@pytest.mark.parametrize("name", MAPS)
def test_spectrum_has_settled(name):
    """Sets of the most salient pixels have the map's power at every scale."""
    body, values = head(), made(name)[head()]
    fitted = _field.fit_field(values, body)
    sizes = _field._set_sizes(_field.normal_scores(values))
    window = _field._window(body.tobytes(), body.shape)
    band = _field._bands(window.source.shape)[0]

    def power(order):
        return _field._power(window.power(_field._top_sets(order, sizes)), band)

    target = power(np.argsort(values))
    drawn = [power(np.argsort(fitted.draw(s)[body])) for s in range(60)]
    off = np.abs(np.log(np.mean(drawn, axis=0) / target))
    share = target / target.sum()
    assert np.sum(share * off) < 0.2
    # the largest scales have a handful of waves: nothing can be fitted to the share
    # of them that leaks in from their neighbours
    assert off[2:][share[2:] > 0.01].max() < 0.35
    assert np.isfinite(fitted.mismatch)


def test_one_seed_gives_one_field_to_all_slices():
    body, moved = head(), np.roll(head(), 2, axis=0)
    first, second = made("smooth", 1), made("smooth", 2)
    both = body & moved

    def alike(a, b):
        return abs(spearmanr(a[both], b[both]).statistic)

    same = alike(surrogate(first, body, seed=3), surrogate(second, moved, seed=3))
    different = [
        alike(surrogate(first, body, seed=3), surrogate(second, moved, seed=s))
        for s in range(4, 12)
    ]
    assert same > 0.5 > 2 * np.mean(different)


def test_texture_is_the_image_s_where_the_body_holds_little():
    body = np.zeros((SIZE, SIZE), dtype=bool)
    body[:, :32] = True
    right = np.where(np.arange(SIZE) >= 32, made("smooth") - made("smooth").min(), 0)
    chance = surrogate(right, body, seed=0)
    assert np.all(chance[~body] == 0)
    assert roughness(chance, body) < 0.6 * roughness(random_pixels(right, seed=0), body)
    flat = np.where(body, 5.0, made("smooth"))  # one value in the body
    assert np.array_equal(
        np.sort(surrogate(flat, body, seed=0), axis=None), np.sort(flat, axis=None)
    )


@pytest.mark.parametrize("shape", [(2, 2), (3, 17), (1, 5), (2, 3, 2)])
def test_small_maps(shape):
    saliency_map = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    chance = surrogate(saliency_map, np.ones(shape, dtype=bool), seed=0)
    assert sorted(chance.ravel()) == sorted(saliency_map.ravel())


@pytest.mark.parametrize(
    ("saliency_map", "body", "order", "says"),
    [
        (np.zeros(5), np.ones(5, bool), np.zeros(5), "two or three axes"),
        (np.full((3, 3), np.nan), np.ones((3, 3), bool), np.zeros((3, 3)), "NaN"),
        (np.eye(3), np.ones((3, 4), bool), np.zeros((3, 4)), "one grid|shape"),
        (np.eye(3), np.zeros((3, 3), bool), np.full((3, 3), np.inf), "empty|infinite"),
        (np.eye(3), np.ones((3, 3)), np.zeros((2, 3)), "bool|one grid"),
    ],
)
def test_refuses_what_has_no_order_or_place(saliency_map, body, order, says):
    with pytest.raises(MetricError, match=says):
        surrogate(saliency_map, body, seed=0)
    with pytest.raises(MetricError, match=says):
        ranked_like(saliency_map, order, seed=0)


# Body


def phantom(size=96):
    """Skull, brain, dark ventricles, dark noise around."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size] - size / 2
    distance = np.hypot(rows / 1.15, columns)
    image = np.where(distance < 34, 230, rng.integers(0, 12, (size, size)))
    image = np.where(distance < 30, rng.integers(70, 110, (size, size)), image)
    image = np.where(np.hypot(rows, columns - 6) < 6, 4, image)
    image[3:6, 3:9] = 255  # a marker
    return image.astype(np.uint8), distance < 34


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_body_is_the_head_with_its_ventricles():
    image, head_mask = phantom()
    body = body_mask(image)
    assert body.dtype == np.bool_
    assert overlap(body, head_mask) > 0.93
    assert not body[:10, :12].any()
    for channels in (1, 3):
        colour = np.repeat(image[..., None], channels, axis=-1)
        assert np.array_equal(body_mask(colour), body)
    volume = np.stack([image] * 5)
    assert overlap(body_mask(volume, np.zeros(volume.shape, bool))[2], body) > 0.95


def test_padding_is_never_body():
    image, head_mask = phantom()
    padding = np.zeros(image.shape, dtype=bool)
    padding[:, :20] = True
    bright = np.where(padding, 255, image).astype(np.uint8)
    body = body_mask(bright, padding)
    assert not body[padding].any()
    assert overlap(body, head_mask & ~padding) > 0.9


@pytest.mark.parametrize("value", [0, 200])
def test_everything_but_the_padding_where_there_is_no_body(value):
    image = np.full((40, 50), value, dtype=np.uint8)
    padding = np.zeros(image.shape, dtype=bool)
    padding[:7] = True
    assert np.array_equal(body_mask(image, padding), ~padding)
    speck = image.copy()
    speck[20, 20] = 255 - value // 2
    if value == 0:
        assert np.array_equal(body_mask(speck, padding), ~padding)
    assert body_mask(image, np.ones_like(padding)).all()
    with pytest.raises(MetricError, match="padding"):
        body_mask(image, padding[:5])


def test_body_of_real_slices_holds_the_tumour(shared_data):
    folder = shared_data / "brain-tumor-mri"
    masks = sorted((folder / "masks").rglob("*.png"))[::100]
    assert len(masks) >= 20
    shares = []
    for path in masks:
        (image,) = [p for p in folder.rglob(path.name) if p.parent.name != "masks"]
        body = body_mask(np.asarray(Image.open(image).convert("L")))
        lesion = np.asarray(Image.open(path).convert("L")) > 0
        assert lesion[body].sum() > 0.97 * lesion.sum()
        shares.append(body.mean())
    assert np.min(shares) > 0.3
    assert np.max(shares) < 0.95
