"""Ribs, clavicles, shoulder blades, upper arms and spine as clouds of bone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator

from .body import SPINE, Body
from .view import Floats, Reals

CORTEX = 1.9
"""Attenuation of compact bone beyond that of water, in multiples of water's."""
SPONGE = 0.34
"""Of spongy bone, likewise."""
STEP = 1.2

Cloud = tuple[Reals, Reals]  # points (3, n), and volume times excess (mm³)
LEVEL = 25.0
"""From one thoracic vertebra to the next, mm."""


def skeleton(body: Body, rng: np.random.Generator) -> Cloud:
    """All bones of a patient.

    Returns
    -------
    points : ndarray of float32, shape (3, n)
        LPS mm.
    volumes : ndarray of float32, shape (n,)
        Volume in mm³ times attenuation beyond water's, relative to water's.
    """
    hard = rng.uniform(0.75, 1.15)
    parts = [*_ribs(body, rng), *_clavicles(body, rng), *_spine(rng)]
    parts += [*_shoulders(body, rng)]
    points = np.concatenate([part[0] for part in parts], axis=1)
    points += rng.uniform(-0.5, 0.5, points.shape) * STEP
    volumes = np.concatenate([part[1] for part in parts]) * hard
    return points.astype(np.float32), volumes.astype(np.float32)


def curve(knots: Sequence[Sequence[float]] | Reals, step: float = STEP) -> Floats:
    """Smooth curve (n, 3) through knots, its points about ``step`` mm apart."""
    fixed = np.asarray(knots, float)
    length = np.linalg.norm(np.diff(fixed, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(length)])
    count = max(2, int(along[-1] / step))
    smooth = PchipInterpolator(along, fixed)(np.linspace(0, along[-1], count))
    return np.asarray(smooth, np.float32)


def tube(
    path: Floats, tall: float | Reals, flat: float | Reals, cortex: float
) -> Cloud:
    """Hollow tube along a path.

    Parameters
    ----------
    path : ndarray, shape (n, 3)
        Its axis.
    tall, flat : float or ndarray, shape (n,)
        Half-axes (mm) of its cross-section, as near to upwards as can be, and across.
    cortex : float
        Thickness of its wall in mm.
    """
    along = np.gradient(path, axis=0)
    ds = np.linalg.norm(along, axis=1)
    along /= ds[:, None]
    across = np.cross(along, [0.0, 0.0, 1.0]) + np.array([0, 1e-3, 0])
    across /= np.linalg.norm(across, axis=1)[:, None]
    up = np.cross(across, along)
    tall, flat = (np.broadcast_to(v, len(path)) for v in (tall, flat))
    # Close enough that the lines along the wall are not seen one by one.
    count = max(20, int(2 * np.pi * max(tall.max(), flat.max()) / STEP))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    points, volumes = [], []
    for a in angle:
        edge = (tall * np.sin(a))[:, None] * up + (flat * np.cos(a))[:, None] * across
        arc = np.hypot(tall * np.cos(a), flat * np.sin(a)) * (2 * np.pi / len(angle))
        points.append(path + edge)
        volumes.append(CORTEX * cortex * arc * ds)
        for share in (0.45, 0.8):
            points.append(path + share * edge)
            volumes.append(SPONGE * np.pi * tall * flat * ds / len(angle) / 2)
    return np.concatenate(points).T, np.concatenate(volumes)


def _ribs(body: Body, rng: np.random.Generator) -> Iterator[Cloud]:
    slope = rng.uniform(0.85, 1.2)
    for number in range(1, 13):
        height = 15 - LEVEL * (number - 1)
        drop = slope * np.interp(
            number, (1, 2, 4, 7, 10, 12), (28, 54, 98, 130, 112, 66)
        )
        end = np.interp(number, (1, 6, 8, 10, 11, 12), (2.7, 2.45, 2.3, 2.0, 1.5, 1.0))
        share = np.linspace(0, 1, 60)
        theta = 0.2 + share * (end - 0.2)
        # Level beside the spine, then ever steeper.
        z = height - drop * (theta / 2.6) ** 1.28 + 3 * np.exp(-share * 9)
        wide = body.lateral(z.astype(np.float32)) + 3.5
        deep = body.deep(np.minimum(z, -8).astype(np.float32)) + 3.0
        x = wide * np.sin(theta) ** 0.87
        y = deep * np.sign(np.cos(theta)) * np.abs(np.cos(theta)) ** 0.87
        # From the vertebra outwards.
        x = np.where(share < 0.1, 20 + (x - 20) * (share / 0.1) ** 0.8, x)
        y = np.where(share < 0.1, 62 + (y - 62) * (share / 0.1), y)
        tall = np.interp(share, (0, 0.08, 0.5, 1), (4.0, 5.6, 6.2, 7.2))
        tall = tall * (0.85 if number in (1, 11, 12) else 1.0) * rng.uniform(0.94, 1.06)
        for side in (-1, 1):
            knots = np.stack([side * x, y, z + rng.normal(0, 0.8)], axis=1)
            path = curve(knots)
            grown = np.interp(np.linspace(0, 1, len(path)), share, tall)
            yield tube(path, grown, 3.1, 0.7)


def _clavicles(body: Body, rng: np.random.Generator) -> Iterator[Cloud]:
    for side in (-1, 1):
        lift = rng.normal(0, 4)
        knots = [
            (side * 15, -64 * body.depth, -44),
            (side * 40, -68 * body.depth, -38 + 0.2 * lift),
            (side * 78, -56 * body.depth, -24 + 0.6 * lift),
            (side * 118, -18, -12 + lift),
            (side * 150, 8, -12 + lift),
        ]
        path = curve(knots)
        place = np.linspace(0, 1, len(path))
        thick = np.interp(place, (0, 0.12, 0.5, 1), (9.5, 6.8, 5.6, 6.2))
        yield tube(path, thick, thick, 1.1)


def _spine(rng: np.random.Generator) -> Iterator[Cloud]:
    heights = np.array([p[2] for p in SPINE])[::-1]
    depths = np.array([p[1] for p in SPINE])[::-1]
    for level in range(-3, 14):
        z = 15 - LEVEL * level + (0 if level > -1 else -4 * (level + 1) * -1)
        y = float(np.interp(z, heights, depths))
        size = float(np.interp(level, (-3, 0, 6, 13), (11, 14, 16, 20)))
        tall = 0.37 * LEVEL
        rows = np.arange(-tall, tall, STEP) + z
        path = np.stack([np.zeros_like(rows), np.full_like(rows, y), rows], 1)
        waist = size * (1 - 0.13 * np.cos((rows - z) / tall * np.pi / 2))
        yield _barrel(path.astype(np.float32), waist, 0.8 * waist)
        for end, thick in ((-tall, -0.4), (tall, 0.4)):
            yield _plate((0.0, y, z + end), size * 0.98, 0.8 * size, thick)
        for side in (-1, 1):
            root = (side * size * 0.62, y + 14, z + 3)
            tip = (side * (size + 17), y + 24, z + 8)
            yield tube(curve([root, tip]), 4.2, 3.0, 0.6)
            stub = curve([(root[0], y + 8, z + 3), (root[0], y + 20, z + 3)], 0.5)
            yield tube(stub, 5.2, 3.4, 0.55)
        spinous = [(0, y + 24, z - 2), (rng.normal(0, 1), y + 46, z - 17)]
        yield tube(curve(spinous), 6.0, 3.4, 0.4)


def _barrel(path: Floats, wide: Reals, deep: Reals) -> Cloud:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    points, volumes = [], []
    for a in angle:
        edge = np.stack([wide * np.cos(a), deep * np.sin(a), np.zeros(len(path))], 1)
        arc = np.hypot(wide * np.sin(a), deep * np.cos(a)) * (2 * np.pi / len(angle))
        points.append(path + edge)
        volumes.append(CORTEX * 0.5 * arc * STEP)
        for share in (0.35, 0.6, 0.85):
            points.append(path + share * edge)
            inner = 0.6 * SPONGE * np.pi * wide * deep * STEP / len(angle) / 3
            volumes.append(inner)
    return np.concatenate(points).T, np.concatenate(volumes)


def _plate(
    centre: tuple[float, float, float], wide: float, deep: float, thick: float
) -> Cloud:
    """End plate, hollow downwards where ``thick`` is positive, else upwards."""
    count = 500
    # A sunflower's seeds fill a disc evenly.
    radius = np.sqrt((np.arange(count) + 0.5) / count)
    angle = np.arange(count) * 2.399963
    disc = np.stack([wide * radius * np.cos(angle), deep * radius * np.sin(angle)])
    # Hollowed, so that no ray runs along the whole of it.
    points = np.vstack([disc, -1.5 * np.sign(thick) * (1 - radius**2)])
    points += np.asarray(centre)[:, None]
    volume = CORTEX * abs(thick) * np.pi * wide * deep / count
    return points, np.full(count, volume)


def _shoulders(body: Body, rng: np.random.Generator) -> Iterator[Cloud]:
    # Rolled forwards in PA, the blades leave the lungs; at the bedside they do not.
    out = rng.uniform(0, 22)
    swing = np.radians(body.arms)
    for side in (-1, 1):

        def place(x: float, y: float, z: float, side: int = side) -> list[float]:
            return [side * (x + out), y, z]

        upper, lower = place(88, 84, -22), place(100, 96, -150)
        socket = place(143, 40, -46)
        yield _blade(np.array([upper, lower, socket]))
        yield tube(curve([socket, place(128, 66, -95), lower]), 4.5, 4.0, 1.2)
        yield tube(curve([upper, place(84, 92, -75), lower]), 2.2, 2.2, 0.8)
        yield tube(curve([upper, place(118, 66, -22), socket]), 2.6, 2.6, 0.8)
        ridge = [place(90, 96, -58), place(128, 84, -34), place(160, 36, -20)]
        yield tube(curve(ridge), 5.5, 3.0, 1.0)
        beak = [socket, place(138, 18, -30), place(140, 0, -42)]
        yield tube(curve(beak), 5.0, 5.0, 1.0)
        head = np.array(place(162, 22, -48))
        yield _ball(head, 23.0)
        hand = head + 230 * np.array([side * np.sin(swing), 0, -np.cos(swing)])
        path = curve([head + 0.04 * (hand - head), hand])
        share = np.linspace(0, 1, len(path))
        thick = np.interp(share, (0, 0.16, 0.35, 1), (21, 14.5, 11.5, 10.5))
        yield tube(path, thick, thick, 2.0)


def _blade(corners: Reals) -> Cloud:
    count = 6000
    seeds = np.arange(count) + 0.5
    u, v = (seeds * 0.7548776662) % 1, (seeds * 0.5698402910) % 1
    fold = u + v > 1
    u, v = np.where(fold, 1 - u, u), np.where(fold, 1 - v, v)
    a, b, c = corners
    points = a[:, None] + np.outer(b - a, u) + np.outer(c - a, v)
    area = np.linalg.norm(np.cross(b - a, c - a)) / 2
    # The blade bows backwards and is thinnest in its middle.
    edge = np.minimum(np.minimum(u, v), 1 - u - v)
    points[1] += 14 * edge
    return points, CORTEX * (1.1 + 1.2 * np.exp(-edge * 18)) * area / count


def _ball(centre: Reals, radius: float) -> Cloud:
    count = 5000
    z = 1 - 2 * (np.arange(count) + 0.5) / count
    angle = np.arange(count) * 2.399963
    flat = np.sqrt(1 - z * z)
    unit = np.stack([flat * np.cos(angle), flat * np.sin(angle), z])
    shell = CORTEX * 0.5 * 4 * np.pi * radius**2 / count
    core = SPONGE * 4 / 3 * np.pi * radius**3 / count
    points = np.concatenate([unit * radius, unit * radius * 0.65], axis=1)
    volumes = np.concatenate([np.full(count, shell), np.full(count, core)])
    return points + np.asarray(centre)[:, None], volumes
