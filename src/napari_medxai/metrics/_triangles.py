"""Delaunay triangles of revealed pixels, looked up for hidden ones.

The triangles are drawn row by row in whole numbers. SciPy's interpolator looks up
one point after the other instead; where the triangulation of a regular grid holds
triangles without area its walk fails and every triangle is tried, which was seen to
take minutes for one image.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.spatial import Delaunay, cKDTree

from napari_medxai.metrics._stencil import (
    BoolArray,
    Ints,
    Stencil,
    cross,
    plane,
    stencil_of,
)

__all__ = ["draw", "stencil_by_triangles"]

# Revealed pixels this near a wanted one are triangulated first; where their triangles
# turn out not to be empty, those inside are added, so often, and then all.
NEAR = 4
ROUNDS = 3


def stencil_by_triangles(
    known: BoolArray, wanted: BoolArray, *, local: bool
) -> Stencil:
    """Triangulate revealed pixels and find the triangles that hold the wanted ones.

    Parameters
    ----------
    known
        bool ``(H, W)``: the revealed pixels that can be corners; the image's four
        corners among them.
    wanted
        bool ``(H, W)``: hidden pixels.
    local
        Triangulate the revealed pixels near the wanted ones only. A triangle of some
        revealed pixels whose circumcircle holds none of all of them is a triangle of
        all of them: so the circles are looked at, and pixels added until they are
        empty.

    Returns
    -------
    Stencil
        Of the wanted pixels, in order, without any that a hull which rounding left
        open does not hold.
    """
    pixels = np.flatnonzero(wanted).astype(np.int32)
    chosen = known
    if local:
        chosen = known & maximum_filter(wanted, 2 * NEAR + 1)
        chosen[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    for rounds in range(ROUNDS + 1):
        if rounds == ROUNDS or 1.5 * chosen.sum() > known.sum():
            chosen = known
        points = np.argwhere(chosen)
        simplices = Delaunay(points.astype(np.float64)).simplices
        triangles = points.astype(np.int32).T[:, simplices.T].swapaxes(0, 1)
        owner = draw(triangles, known.shape).ravel()[pixels]
        if chosen is known:
            break
        inside = _inside(triangles[..., np.unique(owner)], known & ~chosen)
        if not len(inside):
            break
        chosen[inside[:, 0], inside[:, 1]] = True
    held = owner >= 0
    if not held.all():
        pixels, owner = pixels[held], owner[held]
    columns = known.shape[1]
    corners = triangles.take(owner, axis=2)
    corners -= np.stack(np.divmod(pixels, np.int32(columns)))
    return stencil_of(pixels, corners, columns)


def _inside(triangles: Ints, others: BoolArray) -> Ints:
    """Other points, ``(M, 2)``, in the circumcircles of triangles ``(3, 2, T)``.

    None only where all circles are empty: the point nearest to the centre decides,
    in whole numbers.
    """
    points = np.argwhere(others)
    if not len(points):
        return points
    area, down, along, height = plane(triangles.astype(np.int64))
    tree = cKDTree(points, compact_nodes=False, balanced_tree=False)
    centre = np.stack([down, along], axis=1) / (2 * area[:, None])
    _, nearest = tree.query(centre)
    row, column = points[nearest].T
    depth = area * (row * row + column * column) - down * row - along * column - height
    broken = depth * np.sign(area) < 0
    if not broken.any():
        return points[:0]
    radius = np.hypot(*(triangles[0][:, broken] - centre[broken].T))
    every = tree.query_ball_point(centre[broken], radius)
    found = np.unique(np.concatenate([*every, nearest[broken]]).astype(np.int64))
    inside: Ints = points[found]
    return inside


def draw(triangles: Ints, shape: tuple[int, ...]) -> Ints:
    """Fill triangles with their numbers.

    Parameters
    ----------
    triangles
        ``(3, 2, T)``: row and column of the corners, within `shape`, either way round.
    shape
        Rows and columns of the picture.

    Returns
    -------
    numpy.ndarray
        ``(H, W)``: the number of a triangle that holds the pixel, its edges included;
        -1 where there is none.
    """
    area = cross(triangles[1] - triangles[0], triangles[2] - triangles[0])
    # those without area hold nothing others do not
    solid = np.flatnonzero(area)
    corners, turn = triangles[..., solid], np.sign(area[solid])
    top = corners[:, 0].min(axis=0)
    owner, step = _ranges(corners[:, 0].max(axis=0) - top + 1)
    row = top[owner] + step
    left = corners[:, 1].min(axis=0)[owner]
    right = corners[:, 1].max(axis=0)[owner]
    for i in range(3):
        # column * along + row * down + offset >= 0 on the inner side of an edge
        start, end = corners[i - 2], corners[i - 1]
        along = (end[0] - start[0]) * turn
        down = (start[1] - end[1]) * turn
        offset = -(start[1] * along + start[0] * down)
        slope = along[owner]
        rest = down[owner] * row + offset[owner]
        divisor = np.where(slope == 0, 1, slope)
        np.maximum(left, -(rest // divisor), out=left, where=slope > 0)  # rounded up
        np.minimum(right, rest // -divisor, out=right, where=slope < 0)
    span, step = _ranges(np.maximum(right - left + 1, 0))
    result = np.full(shape[0] * shape[1], -1, np.int32)
    result[(row * np.int32(shape[1]) + left)[span] + step] = solid[owner][span]
    return result.reshape(shape)


def _ranges(lengths: Ints) -> tuple[Ints, Ints]:
    """Count 0, 1, … up to each length in turn: whose it is, and the count."""
    owner = np.repeat(np.arange(lengths.size), lengths)
    first = np.cumsum(lengths, dtype=np.int32) - lengths
    return owner, np.arange(owner.size, dtype=np.int32) - first[owner]
