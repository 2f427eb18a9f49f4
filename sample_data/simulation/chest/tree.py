"""Vessels and bronchi of the lungs: trees that branch and taper from the hilum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .body import Body
from .view import Floats, Reals

HILA = ((-40.0, 14.0, -114.0), (38.0, 16.0, -104.0))


@dataclass(frozen=True)
class Tree:
    """Points along branches.

    Attributes
    ----------
    points : ndarray of float32, shape (3, n)
        LPS mm.
    volumes : ndarray of float32, shape (n,)
        Volume of the branch around each point in mm³.
    """

    points: Floats
    volumes: Floats


def grow(
    body: Body,
    rng: np.random.Generator,
    *,
    trunks: int,
    radius: float,
    smallest: float,
) -> Tree:
    """Grow a tree into both lungs.

    Parameters
    ----------
    body : Body
        Whose lungs bound it.
    rng : numpy.random.Generator
        Draws directions and lengths.
    trunks : int
        Branches that leave each hilum.
    radius, smallest : float
        Of the thickest trunk and of the last branches, mm.
    """
    points: list[Reals] = []
    volumes: list[Reals] = []
    for side, hilum in zip((-1, 1), HILA, strict=True):
        start = np.repeat(np.array([hilum]), trunks, axis=0)
        start = start + rng.normal(0, 1, start.shape) * [2, 5, 9]
        # Fan out in the coronal plane, more of them and thicker ones downwards.
        fan = np.linspace(-1.25, 1.3, trunks) + rng.normal(0, 0.12, trunks)
        tilt = rng.normal(0.1, 0.5, trunks)
        heading = np.stack(
            [side * np.cos(fan) * np.cos(tilt), np.sin(tilt), -np.sin(fan)], axis=1
        )
        heading /= np.linalg.norm(heading, axis=1)[:, None]
        thick = radius * np.interp(fan, (-1.2, 0, 1.2), (0.62, 0.72, 1.0))
        thick = thick * rng.uniform(0.75, 1.05, trunks)
        reach = rng.uniform(20, 34, trunks)
        _branches(body, rng, start, heading, thick, reach, smallest, points, volumes)
    return Tree(
        np.concatenate(points, axis=0).T.astype(np.float32),
        np.concatenate(volumes).astype(np.float32),
    )


def _branches(
    body: Body,
    rng: np.random.Generator,
    start: Reals,
    heading: Reals,
    thick: Reals,
    reach: Reals,
    smallest: float,
    points: list[Reals],
    volumes: list[Reals],
) -> None:
    while len(start):
        share = np.linspace(0, 1, 40)[None, :, None]
        bend = rng.normal(0, 0.11, start.shape)[:, None]
        along = heading[:, None] * share + bend * np.sin(np.pi * share)
        path = start[:, None] + reach[:, None, None] * along
        taper = thick[:, None] * (1 - 0.16 * share[..., 0])
        ds = reach[:, None] / share.shape[1]
        # Spread over the cross-section of the branch: two vectors across it.
        first = np.cross(heading, rng.normal(0, 1, heading.shape))
        first /= np.linalg.norm(first, axis=1)[:, None]
        second = np.cross(heading, first)
        seeds = 7 if thick.max() < 1.5 else 31
        for n in range(seeds):
            wide, a = np.sqrt((n + 0.5) / seeds), 2.399963 * n
            across = wide * (np.cos(a) * first + np.sin(a) * second)
            points.append((path + taper[..., None] * across[:, None]).reshape(-1, 3))
            volumes.append((np.pi * taper**2 * ds / seeds).ravel())
        end = path[:, -1]
        inside = body.lungs(end.T.astype(np.float32)) < -4
        # The first branches may still lie in the hilum.
        inside |= thick > 3.2
        keep = np.flatnonzero(inside)
        count = len(keep)
        if not count:
            return
        parents = np.repeat(keep, 2)
        major = np.tile([True, False], count)
        angle = np.where(major, rng.uniform(0.1, 0.4, 2 * count), 0.0)
        angle += np.where(~major, rng.uniform(0.45, 0.95, 2 * count), 0.0)
        away = rng.normal(0, 1, (2 * count, 3))
        away[1::2] = -away[::2]
        old = heading[parents]
        away -= (away * old).sum(1)[:, None] * old
        away /= np.linalg.norm(away, axis=1)[:, None]
        heading = np.cos(angle)[:, None] * old + np.sin(angle)[:, None] * away
        thick = thick[parents] * 0.84 * np.where(major, 0.93, 0.68)
        reach = np.clip(9 + 5.2 * thick, 9, 30) * rng.uniform(0.7, 1.3, 2 * count)
        start = end[parents]
        alive = thick > smallest
        start, heading = start[alive], heading[alive]
        thick, reach = thick[alive], reach[alive]
