from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, griddata
from scipy.ndimage import gaussian_filter
from scipy.spatial import Delaunay

from napari_medxai import metrics
from napari_medxai.errors import MetricError
from napari_medxai.metrics import _nearby, _triangles, interpolation
from napari_medxai.metrics._nearby import stencil_nearby
from napari_medxai.metrics._stencil import Stencil
from napari_medxai.metrics._triangles import draw, stencil_by_triangles
from napari_medxai.metrics.interpolation import support_of, with_corners

SHAPE = (20, 26)
Bools = NDArray[np.bool_]
Longs = NDArray[np.int64]
Pixel = tuple[int, int]


def masks() -> dict[str, NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(size=SHAPE), 2.5)
    sparse = metrics.random_mask(SHAPE, fraction=0.05, seed=1)
    border = np.zeros(SHAPE, bool)
    border[:2] = border[:, -3:] = True
    return {
        "few": sparse,
        "blob": (smooth > np.quantile(smooth, 0.8)) | sparse,
        "holes": (smooth > np.quantile(smooth, 0.15)) | sparse,
        "noise": rng.random(SHAPE) < 0.5,
        "dense": rng.random(SHAPE) < 0.9,
        "border": border,
        "none": np.zeros(SHAPE, bool),
    }


@pytest.mark.parametrize("name", masks())
def test_triangles_over_hidden_pixels_are_delaunay_among_all_revealed(
    name: str,
) -> None:
    """The lemma: what is left out lies in no circumcircle that matters."""
    known = with_corners(masks()[name])
    support = support_of(known)
    assert not (support & ~known).any()
    triangles = Delaunay(np.argwhere(support))
    hidden = np.argwhere(~known)
    found = triangles.find_simplex(hidden)
    assert (found >= 0).all()
    every = np.argwhere(known)
    for simplex in np.unique(found):
        a, b, c = triangles.points[triangles.simplices[simplex]]
        left = 2 * np.array([b - a, c - a])
        right = np.array([b @ b - a @ a, c @ c - a @ a])
        centre = np.linalg.solve(left, right)
        radius = np.linalg.norm(a - centre)
        assert (np.linalg.norm(every - centre, axis=1) >= radius - 1e-6).all()


def test_leaving_out_does_leave_out() -> None:
    known = with_corners(masks()["holes"])
    assert support_of(known).sum() < 0.7 * known.sum()


@pytest.mark.parametrize("name", masks())
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_a_plane_is_restored_exactly(name: str, channels: int) -> None:
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]]
    planes = [20 + 3 * row + 2 * column, 200 - 4 * row, 7 * column]
    image = np.stack(planes[:channels] or planes[:1], axis=-1).astype(np.uint8)
    if channels == 0:
        image = image[..., 0]
    result = metrics.blur(image, masks()[name])
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("name", masks())
@pytest.mark.parametrize("channels", [0, 3])
def test_close_to_interpolation_over_all_revealed(name: str, channels: int) -> None:
    rng = np.random.default_rng(3)
    shape = SHAPE if channels == 0 else (*SHAPE, channels)
    image = gaussian_filter(rng.random(shape) * 255, 1.5).astype(np.uint8)
    known = with_corners(masks()[name])
    result = metrics.blur(image, masks()[name])
    np.testing.assert_array_equal(result[known], image[known])
    expected = griddata(np.argwhere(known), image[known], np.argwhere(~known))
    difference = np.abs(result[~known] - np.round(expected))
    # co-circular points leave a choice: a few pixels, by a few grey values
    assert np.mean(difference > 1) < 0.25
    assert difference.mean() < 1.5


def test_the_image_itself_where_nothing_is_hidden() -> None:
    image = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
    for picture in (image, image[..., None], np.stack([image] * 3, axis=-1)):
        result = metrics.blur(picture, np.ones(SHAPE, bool))
        assert result.shape == picture.shape
        np.testing.assert_array_equal(result, picture)


def allowed_values(known: Bools, image: NDArray[np.uint8]) -> dict[Pixel, set[int]]:
    """Interpolate in every triangle of revealed pixels with an empty circle.

    Slow and simple, in whole numbers: all triples are held against all pixels.
    """
    points = np.argwhere(known)
    a, b, c = points[np.array(list(combinations(range(len(points)), 3)))].swapaxes(0, 1)
    turn = np.sign(cross(b - a, c - a))
    empty = turn != 0
    for point in points:
        pa, pb, pc = a - point, b - point, c - point
        inside = (pa * pa).sum(axis=1) * cross(pb, pc)
        inside += (pb * pb).sum(axis=1) * cross(pc, pa)
        inside += (pc * pc).sum(axis=1) * cross(pa, pb)
        empty &= inside * turn <= 0
    a, b, c = a[empty], b[empty], c[empty]
    values = np.stack([image[v[:, 0], v[:, 1]].astype(int) for v in (a, b, c)])
    result = {}
    for row, column in np.argwhere(~known):
        pa, pb, pc = (v - [row, column] for v in (a, b, c))
        weights = np.stack([cross(pb, pc), cross(pc, pa), cross(pa, pb)])
        holds = (weights >= 0).all(axis=0) | (weights <= 0).all(axis=0)
        exact = (weights * values).sum(axis=0)[holds] / weights.sum(axis=0)[holds]
        rounded = np.round(exact.astype(np.float32))
        result[int(row), int(column)] = {int(value) for value in rounded}
    return result


def cross(first: Longs, second: Longs) -> Longs:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def small_masks() -> dict[str, Bools]:
    rng = np.random.default_rng(5)
    shape = (7, 9)
    row, column = np.mgrid[: shape[0], : shape[1]]
    found = {
        f"{share:.0%}, {i}": rng.random(shape) < share
        for share in (0.05, 0.15, 0.3, 0.5, 0.7, 0.9)
        for i in range(5)
    }
    for i, width in enumerate((0.7, 1.0, 1.5)):
        field = gaussian_filter(rng.normal(size=shape), width)
        found[f"smooth {i}"] = field > np.quantile(field, 0.4)
    border = (row == 0) | (row == 6) | (column == 0) | (column == 8)
    return found | {
        "chequered": (row + column) % 2 == 0,
        "rows": row % 3 == 0,
        "columns": column % 2 == 1,
        "lattice": (row % 2 == 0) & (column % 3 == 0),
        "diagonals": (row + 2 * column) % 5 == 0,
        "row": row == 3,
        "column": column == 7,
        "border": border,
        "inside": ~border,
        "all but the middle": ~((abs(row - 3) < 3) & (abs(column - 4) < 3)),
        "half": column < 5,
    }


@pytest.mark.parametrize("name", small_masks())
def test_every_value_is_one_of_a_triangle_with_an_empty_circle(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = with_corners(small_masks()[name])
    image = np.random.default_rng(6).integers(0, 256, known.shape, dtype=np.uint8)
    allowed = allowed_values(known, image)
    assert len(allowed) == (~known).sum() > 0
    for gain in (1e9, 0.0):  # pixel by pixel first, and by triangles only
        monkeypatch.setattr(_nearby, "GAIN", gain)
        result = metrics.blur(image, known)
        np.testing.assert_array_equal(result[known], image[known])
        wrong = {p: (v, result[p]) for p, v in allowed.items() if result[p] not in v}
        assert not wrong


@pytest.mark.parametrize("share", [0.15, 0.3, 0.45])
def test_equals_scipy_where_no_circle_leaves_a_choice(share: float) -> None:
    """SciPy needs a mask whose triangulation is the only one: few pixels have it."""
    compared = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        known = with_corners(rng.random((5, 6)) < share)
        image = rng.integers(0, 256, known.shape, dtype=np.uint8)
        allowed = allowed_values(known, image)
        points = np.argwhere(known).astype(float)
        expected = np.round(
            LinearNDInterpolator(points, image[known].astype(float))(
                np.argwhere(~known)
            ).astype(np.float32)
        )
        result = metrics.blur(image, known)
        for pixel, value in zip(np.argwhere(~known), expected, strict=True):
            if len(allowed[tuple(pixel)]) == 1:
                assert result[tuple(pixel)] == value
                compared += 1
    assert compared > 100


def large_masks() -> dict[str, Bools]:
    rng = np.random.default_rng(7)
    shape = (64, 75)
    envelope = np.exp(-((np.mgrid[:64, :75] - 35) ** 2).sum(axis=0) / 400.0)
    speckle = envelope * rng.random(shape)
    found = {f"{share:.0%}": rng.random(shape) < share for share in (0.2, 0.35, 0.6)}
    return {name: with_corners(known) for name, known in found.items()} | {
        "speckled": with_corners(
            (speckle > np.quantile(speckle, 0.6)) | (rng.random(shape) < 0.01)
        ),
        "blobs": with_corners(gaussian_filter(rng.normal(size=shape), 1.0) > 0.2),
    }


def assert_delaunay(stencil: Stencil, known: Bools) -> None:
    """Each pixel lies between revealed corners, on whose circle none lies inside."""
    points = np.argwhere(known)
    weights = stencil.weights.astype(int)
    assert (weights >= 0).all()
    assert (weights.sum(axis=0) > 0).all()
    assert known.ravel()[stencil.corners].all()
    corners = np.stack(np.divmod(stencil.corners, known.shape[1]), axis=-1).astype(int)
    pixels = np.stack(np.divmod(stencil.pixels, known.shape[1]), axis=-1).astype(int)
    balanced = (weights[..., None] * (corners - pixels)).sum(axis=0)
    assert not balanced.any()
    for pixel, weight, triangle in zip(
        pixels, weights.T, corners.swapaxes(0, 1), strict=True
    ):
        away = points - pixel
        if (weight > 0).all():
            # the power of a point, zero on the circle, is the lift less its plane
            a, b, c = triangle - pixel
            lift = np.array([v @ v for v in (a, b, c)])
            area = weight.sum()
            matrix = np.array([[*a, 1.0], [*b, 1.0], [*c, 1.0]])
            down, along, height = np.linalg.solve(matrix, lift)
            power = (away * away).sum(axis=1) - away @ [down, along] - height
            assert (power * area > -1e-6).all()
        else:
            # on an edge: of the circles through its ends one is empty
            a, b = triangle[weight > 0] - pixel
            lift = ((away - a) * (away - b)).sum(axis=1)
            side = cross(b - a, away - a)
            lowest = (-lift[side > 0] / side[side > 0]).max(initial=-np.inf)
            highest = (-lift[side < 0] / side[side < 0]).min(initial=np.inf)
            assert lowest <= highest + 1e-9
            assert (lift[side == 0] >= 0).all()


@pytest.mark.parametrize("name", large_masks())
def test_triangles_found_nearby_are_delaunay(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_nearby, "GAIN", 1e9)
    known = large_masks()[name]
    stencil = stencil_nearby(known, support_of(known))
    assert stencil is not None
    assert np.unique(stencil.pixels).size == stencil.pixels.size
    assert not known.ravel()[stencil.pixels].any()
    assert_delaunay(stencil, known)
    if name.endswith("%"):
        assert stencil.pixels.size > 0.9 * (~known).sum()
    left = ~known
    left.ravel()[stencil.pixels[5:]] = False
    rest = stencil_by_triangles(support_of(known), left, local=True)
    np.testing.assert_array_equal(rest.pixels, np.flatnonzero(left))
    assert_delaunay(rest, known)


def test_few_pixels_and_smooth_blobs_are_left_to_the_triangulation() -> None:
    rng = np.random.default_rng(10)
    noise = rng.random((90, 100))
    blob = gaussian_filter(noise, 12)
    for known, dense in (
        (noise < 0.5, True),
        (noise < 0.1, False),
        ((blob > np.quantile(blob, 0.5)) | (noise < 0.01), False),
    ):
        whole = with_corners(known)
        assert (stencil_nearby(whole, support_of(whole)) is not None) == dense


@pytest.mark.parametrize("near", [0, 4])
def test_the_circles_of_too_few_pixels_are_seen_not_to_be_empty(
    near: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_triangles, "NEAR", near)
    rng = np.random.default_rng(8)
    known = with_corners(rng.random((50, 60)) < 0.3)
    known[20:32, 25:40] = False
    wanted = np.zeros_like(known)
    wanted[25:28, 31:34] = True
    stencil = stencil_by_triangles(known, wanted, local=True)
    np.testing.assert_array_equal(stencil.pixels, np.flatnonzero(wanted))
    assert_delaunay(stencil, known)


def test_keys_of_the_widest_window_fit_their_integers() -> None:
    """The bound of the module: four areas of a box, each times a squared length."""
    half, reach = max(_nearby.WINDOWS), _nearby.REACH
    assert half <= reach
    area = (2 * reach) ** 2
    largest = area * (2 * half**2 + 3 * max(reach**2, 2 * half**2))
    bits = ((2 * half + 1) ** 2 - 1).bit_length()
    assert (largest + 1) << bits <= _nearby.HIDDEN
    assert 2 * _nearby.HIDDEN <= 2**31


def test_a_polygon_is_cut_the_same_way_for_all_its_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight co-circular pixels around hidden ones: one fan, so a continuous image."""
    monkeypatch.setattr(_nearby, "GAIN", 1e9)
    row, column = np.mgrid[:31, :31] - 15
    known = (row**2 + column**2 >= 13) & (row**2 + column**2 != 16)
    known = with_corners(known)
    stencil = stencil_nearby(known, support_of(known))
    assert stencil is not None
    inner = (row**2 + column**2 < 10).ravel()[stencil.pixels]
    assert inner.sum() > 25
    proper = (stencil.weights > 0).all(axis=0)
    triangles = np.sort(stencil.corners[:, inner & proper], axis=0)
    first = np.flatnonzero(known & (row**2 + column**2 == 13))[0]
    assert (triangles == first).any(axis=0).all()


@pytest.mark.parametrize("name", masks())
def test_drawing_finds_a_triangle_for_every_pixel(name: str) -> None:
    known = with_corners(masks()[name])
    vertices = np.argwhere(known)
    simplices = Delaunay(vertices).simplices
    simplices[::2] = simplices[::2, ::-1]  # either way round
    triangles = np.moveaxis(vertices[simplices], 0, 2).astype(np.int32)
    drawn = draw(triangles, SHAPE)
    assert (drawn >= 0).all()
    pixels = np.stack(np.mgrid[: SHAPE[0], : SHAPE[1]], axis=-1)
    a, b, c = np.moveaxis(triangles[..., drawn], 1, -1) - pixels
    weights = np.stack([cross(b, c), cross(c, a), cross(a, b)])
    assert ((weights >= 0).all(axis=0) | (weights <= 0).all(axis=0)).all()
    assert weights.sum(axis=0).all()


def test_drawing_leaves_out_what_no_triangle_holds() -> None:
    corners = np.array([[[0, 0], [0, 4], [4, 0]], [[0, 4], [2, 2], [4, 0]]])
    drawn = draw(np.moveaxis(corners, 0, 2), (5, 5))  # the second has no area
    row, column = np.mgrid[:5, :5]
    np.testing.assert_array_equal(drawn, np.where(row + column <= 4, 0, -1))


def test_a_pixel_outside_all_triangles_takes_the_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    none = Stencil(
        pixels=np.empty(0, int),
        corners=np.empty((3, 0), int),
        weights=np.empty((3, 0), int),
    )
    for name in ("stencil_nearby", "stencil_by_triangles"):
        monkeypatch.setattr(interpolation, name, lambda *_, **__: none)
    image = np.array([[0, 10, 20], [30, 40, 50], [60, 70, 80]], np.uint8)
    result = metrics.blur(image, np.eye(3, dtype=bool))
    assert result.tolist() == [[0, 40, 20], [40, 40, 40], [60, 40, 80]]


def test_random_mask() -> None:
    mask = metrics.random_mask((30, 41), seed=2)
    assert mask.dtype == np.bool_
    assert mask.shape == (30, 41)
    assert mask.sum() == int(30 * 41 * 0.01)
    np.testing.assert_array_equal(mask, metrics.random_mask((30, 41), seed=2))
    assert np.any(mask != metrics.random_mask((30, 41), seed=3))
    with pytest.raises(MetricError, match="between 0 and 1"):
        metrics.random_mask((4, 4), fraction=1.2)


def test_webp_size_of_other_channel_counts_is_the_sum() -> None:
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 4), dtype=np.uint8)
    each = [metrics.webp_size(np.ascontiguousarray(image[..., c])) for c in range(4)]
    assert metrics.webp_size(image) == sum(each)
    assert metrics.webp_size(image[..., :1]) == each[0]
