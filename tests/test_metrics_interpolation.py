from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, griddata
from scipy.ndimage import gaussian_filter
from scipy.spatial import Delaunay

from napari_medxai import metrics
from napari_medxai.errors import MetricError
from napari_medxai.metrics import interpolation
from napari_medxai.metrics._triangles import draw
from napari_medxai.metrics.interpolation import support_of, with_corners

SHAPE = (20, 26)


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


@pytest.mark.parametrize("name", masks())
def test_drawing_equals_scipy_on_the_same_triangles(name: str) -> None:
    rng = np.random.default_rng(4)
    known = with_corners(masks()[name])
    vertices = np.argwhere(known)
    values = rng.integers(0, 256, (len(vertices), 2))
    triangles = Delaunay(vertices)
    turned = triangles.simplices.astype(np.int64)
    turned[::2] = turned[::2, ::-1]  # either way round
    drawn = draw(vertices, turned, values, SHAPE)
    expected = LinearNDInterpolator(triangles, values.astype(float))(
        np.argwhere(~known)
    )
    assert drawn.shape == (*SHAPE, 2)
    np.testing.assert_allclose(drawn[~known], expected, atol=1e-9)
    np.testing.assert_array_equal(drawn[known], values)


def test_drawing_leaves_out_what_no_triangle_holds() -> None:
    vertices = np.array([[0, 0], [0, 4], [4, 0], [2, 2]])
    simplices = np.array([[0, 1, 2], [1, 3, 2]])  # the second has no area
    drawn = draw(vertices, simplices, np.array([[0], [4], [8], [6]]), (5, 5))[..., 0]
    row, column = np.mgrid[:5, :5]
    inside = row + column <= 4
    np.testing.assert_array_equal(drawn[inside], (2 * row + column)[inside])
    assert np.isnan(drawn[~inside]).all()


def test_a_pixel_outside_all_triangles_takes_the_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = np.array([[0, 10, 20], [30, 40, 50], [60, 70, 80]], np.uint8)
    monkeypatch.setattr(interpolation, "draw", lambda *_: np.full((3, 3, 1), np.nan))
    known = np.eye(3, dtype=bool)
    result = metrics.blur(image, known)
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
