"""Delaunay triangles of hidden pixels whose revealed pixels lie close by.

Lifted to the paraboloid ``z = row² + column²``, the Delaunay triangle that holds a
pixel is the face of the lower convex hull below it: of all triangles of revealed
pixels around the pixel the one whose plane lies lowest there. That is a linear
programme in three unknowns, solved here for many pixels at once by the simplex method:
start from a triangle around the pixel, find the revealed pixel of a small window that
lies deepest below its plane (so inside its circumcircle), exchange it for the corner
that leaves the pixel inside, and repeat. Where none lies below the plane and the
circle does not reach beyond the window within the image, no revealed pixel of the whole
image lies inside the circle: the triangle is Delaunay. All numbers are whole.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter

from napari_medxai.metrics._stencil import (
    BoolArray,
    Ints,
    Stencil,
    cross,
    plane,
    stencil_of,
)
from napari_medxai.metrics._ties import fanned

__all__ = ["stencil_nearby"]

# Half widths of the windows, tried in turn; a wider one only where so few pixels are
# left that it costs no more than the narrowest would for all.
WINDOWS = (3, 5, 8, 11)
# A first triangle's greatest reach: with it and the widest window every key lies
# within ±HIDDEN, and HIDDEN plus a key within int32.
REACH = 16
HIDDEN = 1 << 30
STEPS = 40
# A corner that need not be triangulated saves the time of so many pixels' windows.
GAIN = 3.0
CELLS = 1 << 18  # of the windows at work at a time: they stay in the cache


def stencil_nearby(known: BoolArray, support: BoolArray) -> Stencil | None:
    """Find the Delaunay triangles of as many hidden pixels as small windows show.

    Parameters
    ----------
    known
        bool ``(H, W)``: the revealed pixels.
    support
        bool ``(H, W)``: those that can be corners of a triangle around a hidden pixel.

    Returns
    -------
    Stencil or None
        Of the pixels that are solved, in no particular order. None where so few pixels
        have others close by that triangulating all of `support` is faster.
    """
    rows, columns = known.shape
    if GAIN * np.count_nonzero(support) < 0.5 * np.count_nonzero(~known):
        return None
    pixels, corners, solved, depth = _first_triangles(known)
    shallow = depth <= WINDOWS[0] ** 2
    deep = ~known
    deep.ravel()[pixels[shallow]] = False
    spared = support & ~maximum_filter(deep, 3)
    if GAIN * np.count_nonzero(spared) < pixels.size:
        return None
    row, column = np.divmod(pixels, np.int32(columns))
    room = np.stack([row, rows - 1 - row, column, columns - 1 - column])
    for half in WINDOWS:
        padded = np.full((rows + 2 * half, columns + 2 * half), HIDDEN, np.int32)
        padded[half:-half, half:-half][known] = 0
        place = (row + half) * np.int32(padded.shape[1]) + column + half
        # deeper ones seldom have a circle that fits
        left = np.flatnonzero(~solved & (depth <= half * half))
        cells = (2 * half + 1) ** 2
        if left.size * cells > (2 * WINDOWS[0] + 1) ** 2 * known.size:
            break
        count = CELLS // cells
        for begin in range(0, left.size, count):
            part = left[begin : begin + count]
            corners[..., part], solved[part] = _descend(
                padded, place[part], corners[..., part], room[:, part], half
            )
    return stencil_of(pixels[solved], corners[..., solved], columns)


def _first_triangles(known: BoolArray) -> tuple[Ints, Ints, BoolArray, Ints]:
    """Triangles around hidden pixels, of the next revealed pixels in row and column.

    Returns the flat indices of the pixels, the corners ``(3, 2, N)`` relative to
    them, where that is the answer already, and how deep the plane lies below the pixel.
    The pixel lies between the first two corners: where these are its neighbours, the
    circle of radius 1 around it holds nothing; on the image's border they span an edge
    of the hull.
    """
    rows, columns = known.shape
    pixels = np.flatnonzero(~known).astype(np.int32)
    up, down, left, right = _distances(known, pixels)
    row, column = np.divmod(pixels, np.int32(columns))
    on_row = (row == 0) | (row == rows - 1)
    on_column = (column == 0) | (column == columns - 1)
    # ties are broken by a chequered pattern, so as to prefer no direction
    flat = left * right + ((row ^ column) & 1) <= up * down
    flat |= np.maximum(up, down) > REACH
    flat &= np.maximum(left, right) <= REACH
    flat = (flat | on_row) & ~on_column
    back, forth = np.where(flat, left, up), np.where(flat, right, down)
    before, after = np.where(flat, up, left), np.where(flat, down, right)
    third = np.where(before <= after, -before, after)
    near = np.maximum(np.maximum(back, forth), np.abs(third)) <= REACH
    pixels, flat, third = pixels[near], flat[near], third[near]
    back, forth = -back[near], forth[near]
    depth = -back * forth
    turned = (third > 0) == flat
    corners = np.zeros((3, 2, pixels.size), np.int32)
    edge = np.where(turned, forth, back), np.where(turned, back, forth)
    for i, line in enumerate((*edge, third)):
        corners[i, 1] = np.where(flat == (i < 2), line, 0)
        corners[i, 0] = np.where(flat == (i < 2), 0, line)
    return pixels, corners, (depth == 1) | (on_row | on_column)[near], depth


def _distances(known: BoolArray, pixels: Ints) -> list[Ints]:
    """Count the steps up, down, left and right to a revealed pixel; many if none."""
    result: list[Ints] = []
    for axis in (0, 1):
        size = known.shape[axis]
        at = np.arange(size, dtype=np.int32)
        at = at[:, None] if axis == 0 else at[None]
        last = np.where(known, at, np.int32(-REACH - 1))
        np.maximum.accumulate(last, axis=axis, out=last)
        following = np.flip(np.where(known, at, np.int32(size + REACH)), axis)
        following = np.flip(np.minimum.accumulate(following, axis=axis), axis)
        result += [(at - last).ravel()[pixels], (following - at).ravel()[pixels]]
    return result


def _descend(
    padded: Ints, place: Ints, corners: Ints, room: Ints, half: int
) -> tuple[Ints, BoolArray]:
    """Exchange corners until no revealed pixel of the window lies in the circle.

    Parameters
    ----------
    padded
        ``(H + 2 * half, W + 2 * half)``: 0 where revealed, else HIDDEN.
    place
        ``(N,)``: flat index in `padded` of the pixels.
    corners
        ``(3, 2, N)``: of a triangle around each pixel, relative to it.
    room
        ``(4, N)``: pixels of the image above, below, left and right.
    half
        Half the width of the window, without its middle.

    Returns
    -------
    corners, solved
        The last triangle of each pixel, and whether it is Delaunay.
    """
    width = 2 * half + 1
    bits = (width * width - 1).bit_length()
    offset = np.arange(-half, half + 1, dtype=np.int32)
    near = (offset[:, None] * np.int32(padded.shape[1]) + offset).reshape(-1, 1)
    hidden = padded.ravel()[place + near]
    square, offset = (offset * offset)[:, None], offset[:, None]
    # a key orders by depth, then names the pixel of the window
    name = np.arange(width * width, dtype=np.int32)[:, None]
    corners, solved = corners.copy(), np.zeros(place.size, dtype=bool)
    active, now = np.arange(place.size), corners
    for _ in range(STEPS):
        area, down, along, height = plane(now)
        by_row = (area * square - down * offset - height) << bits
        by_column = (area * square - along * offset) << bits
        key = (by_row[:, None] + by_column[None]).reshape(width * width, -1)
        key += hidden
        key += name
        lowest = key.min(axis=0)
        best = (lowest >= 0) & _contained(now, room[:, active], half)
        done = np.flatnonzero(best)
        if done.size:
            corners[..., active[done]] = fanned(
                now[..., done], key[:, done] == name, half
            )
            solved[active[done]] = True
        go = lowest < 0
        if not go.any():
            break
        now, lowest = now[..., go], lowest[go]
        active, hidden = active[go], hidden[:, go]
        row, column = np.divmod(lowest & ((1 << bits) - 1), np.int32(width))
        now = _exchanged(now, np.stack([row - half, column - half]))
        corners[..., active] = now
    return corners, solved


def _exchanged(corners: Ints, new: Ints) -> Ints:
    """Put a new point in the place of the corner that leaves the origin inside."""
    a, b, c = corners
    to_a, to_b, to_c = cross(new, a), cross(new, b), cross(new, c)
    instead_of = (
        (to_b >= 0) & (to_c <= 0) & (to_b - to_c + cross(b, c) > 0),
        (to_c >= 0) & (to_a <= 0) & (to_c - to_a + cross(c, a) > 0),
        (to_a >= 0) & (to_b <= 0) & (to_a - to_b + cross(a, b) > 0),
    )
    which = np.select(instead_of, (0, 1, 2))
    result = corners.copy()
    result[which, :, np.arange(which.size)] = new.T
    return result


def _contained(corners: Ints, room: Ints, half: int) -> BoolArray:
    """Whether closed circles lie in the window, as far as they lie in the image.

    Parameters
    ----------
    corners
        ``(3, 2, N)``, relative to the pixels.
    room
        ``(4, N)``: pixels of the image above, below, left and right.
    half
        Half the width of the window.
    """
    area, down, along, height = (x.astype(np.int64) for x in plane(corners))
    # centre and squared radius, times 2 * area and its square
    middle = -down, down, -along, along
    radius = 4 * area * height + down * down + along * along
    # how far the centre lies outside the image: there the circle is a narrower chord
    pairs = zip(middle, room, strict=True)
    outside = [np.maximum(m - 2 * area * r, 0) for m, r in pairs]
    result = np.ones(area.size, dtype=bool)
    for side in range(4):
        gap = outside[2] + outside[3] if side < 2 else outside[0] + outside[1]
        limit = 2 * area * (half + 1) - middle[side]
        inside = (limit > 0) & (radius - gap * gap < limit * limit)
        result &= inside | (room[side] <= half)
    return result
