"""Linear interpolation of a whole picture over a triangulation of its pixels.

The triangles are drawn row by row in whole numbers. SciPy's interpolator looks up
one point after the other instead; where the triangulation of a regular grid holds
triangles without area its walk fails and every triangle is tried, which was seen to
take minutes for one image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw"]

IntArray = NDArray[np.int64]


def draw(
    vertices: IntArray,
    simplices: IntArray,
    values: IntArray,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Fill the triangles.

    Parameters
    ----------
    vertices
        ``(V, 2)``: row and column of every vertex, within `shape`.
    simplices
        ``(T, 3)``: indices of the vertices of every triangle, either way round.
    values
        ``(V, C)``: whole numbers at the vertices.
    shape
        Rows and columns of the picture.

    Returns
    -------
    numpy.ndarray
        ``(H, W, C)``; NaN where there is no triangle. Every value is one correctly
        rounded division of whole numbers, so that triangles agree on the edge they
        share.
    """
    corner = vertices[simplices]
    # twice the signed area; those without area hold nothing others do not
    (r0, c0), (r1, c1), (r2, c2) = np.moveaxis(corner, 0, 2)
    area = (r1 - r0) * (c2 - c0) - (c1 - c0) * (r2 - r0)
    solid = area != 0
    corner, area, simplices = corner[solid], area[solid], simplices[solid]
    sign = np.sign(area)
    # weight of vertex i at (row, column): column * along + row * down + offset >= 0
    start, end = np.roll(corner, -1, axis=1), np.roll(corner, -2, axis=1)
    along = (end[..., 0] - start[..., 0]) * sign[:, None]
    down = (start[..., 1] - end[..., 1]) * sign[:, None]
    offset = -(start[..., 1] * along + start[..., 0] * down)

    top, bottom = corner[..., 0].min(axis=1), corner[..., 0].max(axis=1)
    owner, step = _ranges(bottom - top + 1)
    row = top[owner] + step
    left = corner[..., 1].min(axis=1)[owner]
    right = corner[..., 1].max(axis=1)[owner]
    for i in range(3):
        slope = along[owner, i]
        rest = down[owner, i] * row + offset[owner, i]
        divisor = np.where(slope == 0, 1, slope)
        bound = -(rest // divisor)  # ceil(-rest / slope)
        left = np.where(slope > 0, np.maximum(left, bound), left)
        bound = rest // -divisor  # floor(rest / -slope)
        right = np.where(slope < 0, np.minimum(right, bound), right)

    span, step = _ranges(np.maximum(right - left + 1, 0))
    column = left[span] + step
    target = row[span] * shape[1] + column
    owner_of = owner[span]
    size = np.abs(area)[owner_of]
    result = np.full((shape[0] * shape[1], values.shape[1]), np.nan)
    for channel in range(values.shape[1]):
        at = values[simplices, channel]
        slope = (at * along).sum(axis=1)
        base = (at * down).sum(axis=1)[owner] * row
        base += (at * offset).sum(axis=1)[owner]
        result[target, channel] = (slope[owner_of] * column + base[span]) / size
    return result.reshape(*shape, -1)


def _ranges(lengths: IntArray) -> tuple[IntArray, IntArray]:
    """Count 0, 1, … up to each length in turn: whose it is, and the count."""
    owner = np.repeat(np.arange(lengths.size), lengths)
    first = np.cumsum(lengths) - lengths
    return owner, np.arange(owner.size) - first[owner]
