"""Polygons to pixels: which pixel centres lie inside closed contours.

The rule is the even-odd one: a pixel is set where a ray from its centre towards
growing columns crosses the contours' edges an odd number of times. So a contour
within another makes a hole, two contours one after the other make two parts, and the
two banks of a keyhole's channel cancel. Edges are half open: a centre exactly on a
left or upper edge is inside, on a right or lower edge outside, so that two
structures that share an edge share no pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["fill"]

DIGITS = 4
"""Vertices are rounded to 1e-4 of a pixel: written coordinates are not more exact,
and a contour that runs through pixel centres must not depend on the last bit."""


def fill(
    polygons: Sequence[NDArray[np.float64]], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Set the pixels whose centres lie inside an odd number of polygons.

    Parameters
    ----------
    polygons : sequence of ndarray, shape (n, 2)
        Vertices as (row, column) in pixels; (0, 0) is the centre of the first pixel.
        The last vertex is joined to the first.
    shape : tuple of int
        (rows, columns). What lies outside is cut off.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        The filled polygons. Each edge is cut with each row of centres it meets
        (scan conversion; Foley et al., Computer Graphics, 1990, section 3.6).
    """
    rows, columns = shape
    row, column = _crossings(polygons, rows)
    if not row.size:
        return np.zeros(shape, dtype=bool)
    # A crossing at x lies beyond the centres 0 ... ceil(x) - 1.
    beyond = np.clip(np.ceil(column), 0, columns).astype(np.intp)
    first, last = int(row.min()), int(row.max()) + 1
    width = int(beyond.max())
    counts = np.bincount(
        (row - first) * (width + 1) + beyond, minlength=(last - first) * (width + 1)
    ).reshape(last - first, width + 1)
    odd = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1][:, 1:] % 2
    mask = np.zeros(shape, dtype=bool)
    mask[first:last, :width] = odd.astype(bool)
    return mask


def _crossings(
    polygons: Sequence[NDArray[np.float64]], rows: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Rows and columns at which edges cross the lines of pixel centres."""
    starts = [np.round(polygon, DIGITS) for polygon in polygons]
    ends = [np.roll(polygon, -1, axis=0) for polygon in starts]
    one, two = np.concatenate(starts), np.concatenate(ends)
    # Every edge points down, so that the same edge run both ways crosses alike.
    swap = one[:, 0] > two[:, 0]
    one[swap], two[swap] = two[swap], one[swap]
    first = np.clip(np.ceil(one[:, 0]), 0, rows).astype(np.intp)
    stop = np.clip(np.ceil(two[:, 0]), 0, rows).astype(np.intp)
    met = stop - first
    edge = np.repeat(np.arange(len(one)), met)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(met) - met, met) + first[edge]
    height = two[edge, 0] - one[edge, 0]
    slope = (two[edge, 1] - one[edge, 1]) / height
    return row, one[edge, 1] + (row - one[edge, 0]) * slope
