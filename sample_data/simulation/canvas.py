"""Painting of soft-edged shapes at sample points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .noise import Floats


class Canvas:
    """Values at points, painted over in order.

    Parameters
    ----------
    points : ndarray of float32, shape (3, n)
        RAS mm in template space.
    value : float
        What all points start with.
    """

    def __init__(self, points: Floats, value: float = 0.0) -> None:
        self.points = points
        self.mirrored = points.copy()
        np.abs(points[0], out=self.mirrored[0])
        self.value = np.full(points.shape[1], value, np.float32)

    def paint(
        self,
        distance: Floats,
        value: float | Floats,
        *,
        soft: float = 1.0,
        opacity: float | Floats = 1.0,
        where: NDArray[np.intp] | None = None,
    ) -> None:
        """Paint where a signed distance (mm) is negative, over a ``soft`` mm edge."""
        alpha = np.clip(0.5 - distance / np.float32(soft), 0, 1) * opacity
        if where is None:
            self.value += alpha * (value - self.value)
        else:
            if isinstance(value, np.ndarray):
                value = value[where]
            self.value[where] += alpha * (value - self.value[where])

    def ellipsoid(
        self,
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        value: float | Floats,
        *,
        soft: float = 1.0,
        pair: bool = False,
        rim: float | None = None,
        rim_width: float = 1.5,
    ) -> None:
        """Paint an ellipsoid, on both sides where ``pair``, with a ``rim`` around."""
        points = self.mirrored if pair else self.points
        reach = np.asarray(radii, np.float32) + np.float32(rim_width + soft)
        near = np.abs(points[0] - centre[0]) < reach[0]
        for axis in (1, 2):
            near &= np.abs(points[axis] - centre[axis]) < reach[axis]
        where = np.flatnonzero(near)
        if not where.size:
            return
        local = points[:, where] - np.asarray(centre, np.float32)[:, None]
        distance = ellipsoid(local, radii)
        if rim is not None:
            self.paint(distance - rim_width, rim, soft=soft, where=where)
        self.paint(distance, value, soft=soft, where=where)

    def capsule(
        self,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        radius: float,
        value: float | Floats,
        *,
        soft: float = 1.0,
        pair: bool = False,
        rim: float | None = None,
        rim_width: float = 1.5,
    ) -> None:
        """Paint a tube with round ends between two points."""
        points = self.mirrored if pair else self.points
        reach = radius + rim_width + soft
        near = np.ones(points.shape[1], bool)
        for axis in range(3):
            low, high = sorted((start[axis], end[axis]))
            near &= (points[axis] > low - reach) & (points[axis] < high + reach)
        where = np.flatnonzero(near)
        if not where.size:
            return
        distance = capsule(points[:, where], start, end) - np.float32(radius)
        if rim is not None:
            self.paint(distance - rim_width, rim, soft=soft, where=where)
        self.paint(distance, value, soft=soft, where=where)


def ellipsoid(local: Floats, radii: tuple[float, float, float]) -> Floats:
    """Approximate signed distance of centred points (3, n) to an ellipsoid."""
    scaled = local / np.asarray(radii, np.float32)[:, None]
    length = np.sqrt(np.einsum("ij,ij->j", scaled, scaled))
    gradient = scaled / np.asarray(radii, np.float32)[:, None]
    slope = np.sqrt(np.einsum("ij,ij->j", gradient, gradient)) + 1e-6
    # First-order distance |f| / |grad f|, kept finite at the centre.
    distance: Floats = (length - 1) * np.minimum(length / slope, max(radii))
    return np.where(length < 0.05, np.float32(-min(radii)), distance)


def capsule(
    points: Floats, start: tuple[float, float, float], end: tuple[float, float, float]
) -> Floats:
    """Distance of points (3, n) to a line segment."""
    origin = np.asarray(start, np.float32)[:, None]
    along = np.asarray(end, np.float32)[:, None] - origin
    offset = points - origin
    share = np.clip((along / (along * along).sum()).T @ offset, 0, 1)
    rest = offset - along * share
    return np.asarray(np.sqrt(np.einsum("ij,ij->j", rest, rest)), np.float32)


def union(a: Floats, b: Floats, blend: float) -> Floats:
    """Union of two signed distances, rounded over ``blend`` mm."""
    share = np.clip(0.5 + 0.5 * (b - a) / np.float32(blend), 0, 1)
    joined: Floats = b + share * (a - b) - np.float32(blend) * share * (1 - share)
    return joined
