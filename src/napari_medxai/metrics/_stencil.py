"""What every hidden pixel is mixed from: three revealed pixels and their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoolArray", "Ints", "Stencil", "cross", "mixed", "plane", "stencil_of"]

BoolArray: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stencil:
    """Corners and barycentric weights of the triangles that hold some pixels.

    Attributes
    ----------
    pixels
        int ``(N,)``: flat indices of the pixels.
    corners
        int ``(3, N)``: flat indices of the revealed pixels each lies between.
    weights
        int ``(3, N)``: none negative; their sum is twice the triangle's area.
    """

    pixels: Ints
    corners: Ints
    weights: Ints


def stencil_of(pixels: Ints, corners: Ints, columns: int) -> Stencil:
    """Weigh the corners of the triangles that hold some pixels.

    Parameters
    ----------
    pixels
        int ``(N,)``: flat indices of the pixels.
    corners
        int ``(3, 2, N)``: row and column of the corners, relative to the pixels.
    columns
        Of the image.
    """
    weights = np.stack(_weights(corners))
    return Stencil(
        pixels=pixels,
        corners=pixels + corners[:, 0] * np.int32(columns) + corners[:, 1],
        weights=np.abs(weights, out=weights),
    )


def mixed(stencil: Stencil, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Weighted means of an image ``(H, W[, C])``, as float64 ``(N, C)``.

    Every value is one correctly rounded division of whole numbers, so that triangles
    agree on the edge they share.
    """
    rows, columns = image.shape[:2]
    values = image.reshape(rows * columns, -1).T.astype(np.float64)
    area = stencil.weights.sum(axis=0)
    result = np.empty((stencil.pixels.size, len(values)))
    for channel, value in enumerate(values):
        total = stencil.weights[0] * value[stencil.corners[0]]
        total += stencil.weights[1] * value[stencil.corners[1]]
        total += stencil.weights[2] * value[stencil.corners[2]]
        np.divide(total, area, out=result[:, channel])
    return result


def cross(first: Ints, second: Ints) -> Ints:
    """Cross product of vectors ``(2, N)`` of row and column."""
    product: Ints = first[0] * second[1] - first[1] * second[0]
    return product


def _weights(corners: Ints) -> tuple[Ints, Ints, Ints]:
    """Barycentric weights of the origin in triangles ``(3, 2, N)``.

    Their sum is twice the signed area; none has the other sign where the triangle
    holds the origin.
    """
    a, b, c = corners
    return cross(b, c), cross(c, a), cross(a, b)


def plane(corners: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Lift triangles to the paraboloid ``z = row² + column²``; find their planes.

    Parameters
    ----------
    corners
        Whole numbers ``(3, 2, N)``: row and column of the corners.

    Returns
    -------
    area, down, along, height
        Twice the signed area, and the plane ``area * z = height + down * row + along *
        column``, all whole numbers. Where the area is positive, a point lies strictly
        inside the circumcircle where ``area * z`` falls below the plane.
    """
    a, b, c = corners
    one, two, three = _weights(corners)
    area = one + two + three
    lift_a, lift_b, lift_c = (v[0] * v[0] + v[1] * v[1] for v in corners)
    height = one * lift_a + two * lift_b + three * lift_c
    second, third = b - a, c - a
    up, over = lift_b - lift_a, lift_c - lift_a
    down = up * third[1] - over * second[1]
    along = over * second[0] - up * third[0]
    return area, down, along, height
