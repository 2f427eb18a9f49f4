"""Polygons to pixels, against a slow test of every pixel and against matplotlib."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from napari_medxai.io.contours import fill

SHAPE = (23, 31)


def slow(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """For every pixel, count the edges that a ray to the right crosses."""
    mask = np.zeros(shape, dtype=bool)
    for row in range(shape[0]):
        for column in range(shape[1]):
            crossed = 0
            for polygon in polygons:
                for (y0, x0), (y1, x1) in zip(
                    polygon, [*polygon[1:], polygon[0]], strict=True
                ):
                    if (y0 <= row) == (y1 <= row):
                        continue
                    x = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
                    crossed += x > column
            mask[row, column] = crossed % 2
    return mask


def circle(row: float, column: float, radius: float, count: int = 40) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack(
        [row + radius * np.sin(turn), column + radius * np.cos(turn)], axis=1
    )


@pytest.mark.parametrize("seed", range(12))
def test_random_polygons_equal_the_slow_way(seed) -> None:
    rng = np.random.default_rng(seed)
    polygons = [
        # To 1e-4, as `fill` rounds; crossing themselves and the border.
        np.round(rng.uniform(-6, 36, (rng.integers(3, 12), 2)), 4)
        for _ in range(rng.integers(1, 5))
    ]
    np.testing.assert_array_equal(fill(polygons, SHAPE), slow(polygons, SHAPE))


@pytest.mark.parametrize("seed", range(6))
def test_a_convex_polygon_equals_matplotlib(seed) -> None:
    rng = np.random.default_rng(seed)
    polygon = circle(*rng.uniform(6, 16, 2), rng.uniform(1, 9), 25)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = Outline(polygon).contains_points(
        np.stack([rows.ravel(), columns.ravel()], axis=1)
    )
    np.testing.assert_array_equal(fill([polygon], SHAPE), inside.reshape(SHAPE))


def test_whole_numbers_of_vertices_are_half_open() -> None:
    square = np.array([[2, 3], [2, 7], [5, 7], [5, 3]], dtype=float)
    expected = np.zeros(SHAPE, dtype=bool)
    expected[2:5, 3:7] = True
    np.testing.assert_array_equal(fill([square], SHAPE), expected)
    np.testing.assert_array_equal(fill([square[::-1]], SHAPE), expected)
    # Noise of the last bits moves no edge.
    noise = np.random.default_rng(0).uniform(-1e-6, 1e-6, square.shape)
    np.testing.assert_array_equal(fill([square + noise], SHAPE), expected)


def test_neighbours_share_no_pixel_and_leave_no_gap() -> None:
    cut = np.array([[1.0, 4.0], [6.0, 9.0], [11.0, 6.0], [20.0, 15.0]])
    left = np.array([*cut, [20.0, 1.0], [1.0, 1.0]])
    right = np.array([*cut, [20.0, 29.0], [1.0, 29.0]])
    whole = np.array([[1.0, 1.0], [1.0, 29.0], [20.0, 29.0], [20.0, 1.0]])
    one, two = fill([left], SHAPE), fill([right], SHAPE)
    assert not (one & two).any()
    np.testing.assert_array_equal(one | two, fill([whole], SHAPE))


def test_a_contour_within_another_is_a_hole_and_one_beside_it_a_part() -> None:
    outer, inner, beside = circle(9, 10, 8), circle(9.3, 10.2, 4), circle(17, 26, 4)
    mask = fill([outer, inner, beside], SHAPE)
    ring = fill([outer], SHAPE) & ~fill([inner], SHAPE)
    assert fill([inner], SHAPE).sum() > 40
    np.testing.assert_array_equal(mask, ring | fill([beside], SHAPE))


@pytest.mark.parametrize("at", [0, 7, 23])
def test_a_keyhole_is_a_ring(at) -> None:
    outer, inner = circle(10, 12, 9), np.roll(circle(10, 12, 4), -at, axis=0)[::-1]
    start = np.roll(outer, -at, axis=0)
    keyhole = np.concatenate([start, start[:1], inner, inner[:1]])
    np.testing.assert_array_equal(fill([keyhole], SHAPE), fill([outer, inner], SHAPE))


def test_what_lies_outside_is_cut_off() -> None:
    assert not fill([circle(-20, 5, 6)], SHAPE).any()
    assert not fill([circle(5, 60, 6)], SHAPE).any()
    assert not fill([circle(5, -60, 6)], SHAPE).any()
    assert fill([circle(10, 10, 100)], SHAPE).all()
    thin = np.array([[3.2, 1.0], [3.4, 20.0], [3.8, 9.0]])
    assert not fill([thin], SHAPE).any()  # no centre within


def test_the_area_is_right_to_a_pixel_of_the_rim() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        radius = rng.uniform(3, 9)
        mask = fill([circle(*rng.uniform(10, 12, 2), radius, 400)], SHAPE)
        assert abs(mask.sum() - np.pi * radius**2) < 2 * np.sqrt(np.pi * radius)
