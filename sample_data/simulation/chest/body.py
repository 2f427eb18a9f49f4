"""The soft parts of the chest as signed distances (mm, negative inside)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from simulation.canvas import capsule, ellipsoid, union

from .view import Floats

Triple = tuple[float, float, float]

# Height, then at each: the lateral wall of the lungs, the middle of the lung's
# cross-section, and half the depth of the cage.
HEIGHTS = (-300.0, -230.0, -170.0, -110.0, -70.0, -40.0, -18.0, -5.0, 1.0)
LATERAL = (134.0, 136.0, 132.0, 123.0, 113.0, 102.0, 88.0, 71.0, 52.0)
MIDDLE = (0.0, 0.0, 0.0, 6.0, 16.0, 28.0, 38.0, 45.0, 48.0)
DEPTH = (92.0, 95.0, 94.0, 87.0, 76.0, 62.0, 44.0, 24.0, 6.0)

# The outline of the trunk without the arms.
BODY_HEIGHTS = (-330.0, -240.0, -150.0, -90.0, -45.0, -15.0, 5.0, 22.0, 42.0, 120.0)
BODY_WIDTHS = (157.0, 160.0, 163.0, 172.0, 188.0, 180.0, 150.0, 100.0, 63.0, 57.0)
BODY_DEPTHS = (116.0, 116.0, 116.0, 108.0, 92.0, 80.0, 72.0, 66.0, 60.0, 58.0)


@dataclass(frozen=True)
class Body:
    """The shape of one simulated patient.

    Attributes
    ----------
    heart : float
        Size of the heart, 1 being a cardiothoracic ratio near 0.45.
    domes : tuple of float
        Heights of the right and the left half of the diaphragm.
    width, depth : float
        Factors of the rib cage.
    padding : float
        Fat under the skin in mm.
    breasts : float
        Their size, 0 for none.
    knob : float
        Radius of the aortic arch in mm.
    stomach : float
        Size of the gas in the stomach, 0 for none.
    arms : float
        Angle of the upper arms to the trunk in degrees.
    lung : float
        Density of aerated lung relative to water.
    """

    heart: float
    domes: tuple[float, float]
    width: float
    depth: float
    padding: float
    breasts: float
    knob: float
    stomach: float
    arms: float
    lung: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, bedside: bool) -> Body:
        """Draw a patient; a bedside one breathes in less."""
        right = rng.normal(-224, 9) + (16 if bedside else 0)
        return cls(
            heart=float(np.clip(rng.normal(1.04, 0.07), 0.88, 1.25)),
            domes=(float(right), float(right - rng.uniform(4, 16))),
            width=float(rng.uniform(0.93, 1.05)),
            depth=float(rng.uniform(0.88, 1.08)),
            padding=float(rng.gamma(2.2, 5.0)),
            breasts=float(rng.uniform(0.7, 1.25)) if rng.random() < 0.45 else 0.0,
            knob=float(rng.uniform(11.5, 16.5)),
            stomach=float(rng.uniform(0.6, 1.2)) if rng.random() < 0.8 else 0.0,
            arms=float(rng.uniform(10, 32)),
            lung=float(rng.uniform(0.2, 0.29)),
        )

    def lateral(self, z: Floats) -> Floats:
        """Half-width of the lungs at heights."""
        return np.asarray(np.interp(z, HEIGHTS, LATERAL) * self.width, np.float32)

    def deep(self, z: Floats) -> Floats:
        """Half-depth of the lungs at heights."""
        return np.asarray(np.interp(z, HEIGHTS, DEPTH) * self.depth, np.float32)

    def cage(self, points: Floats) -> Floats:
        """Distance to the inner surface of the rib cage."""
        x, y, z = points
        middle = (np.interp(z, HEIGHTS, MIDDLE) * self.width).astype(np.float32)
        half, deep = self.lateral(z) - middle, self.deep(z)
        side = np.abs((np.abs(x) - middle) / half)
        front = np.abs(y / deep)
        radius = (side**2.3 + front**2.3) ** (1 / 2.3)
        out: Floats = (radius - 1) * np.minimum(half, deep)
        return np.asarray(np.maximum(out, z - 0.5), np.float32)

    def diaphragm(self, points: Floats) -> Floats:
        """Height below the diaphragm; positive in the abdomen."""
        x, y, z = points
        right = x < 0
        dome = np.where(right, self.domes[0], self.domes[1])
        across = np.abs(x) - 62 * self.width
        drop = 50 * (np.maximum(across, 0) / 72) ** 2.4
        drop += 4 * (np.minimum(across, 0) / 62) ** 2
        along = y + 12
        drop += np.where(along > 0, 62 * (along / 100) ** 2, 20 * (along / 90) ** 2)
        out: Floats = (dome - drop - z).astype(np.float32)
        return out * np.float32(0.8)

    def _heart(self, points: Floats) -> Floats:
        size = self.heart
        rise = 0.5 * (float(np.mean(self.domes)) + 229)
        lean = np.array([0.70, -0.30, -0.65])
        lean /= np.linalg.norm(lean)
        side = np.array([0.0, 1.0, 0.0]) - lean * lean[1]
        side /= np.linalg.norm(side)
        axes = np.stack([lean, side, np.cross(lean, side)]).astype(np.float32)
        local = points - _column((30.0, -26.0, -189.0 + rise))
        ventricles = ellipsoid(axes @ local, (73 * size, 46 * size, 46 * size))
        atrium = ellipsoid(
            points - _column((-14.0, -10.0, -180.0 + rise)),
            (32 * size, 36 * size, 48 * size),
        )
        base = ellipsoid(
            points - _column((4.0, -18.0, -135.0 + rise)),
            (30 * size, 30 * size, 42 * size),
        )
        return union(union(ventricles, atrium, 14.0), base, 22.0)

    def mediastinum(self, points: Floats) -> Floats:
        """Distance to heart, great vessels, spine and what holds them together."""
        out = self._heart(points)
        for (path, radius), blend in zip(self._vessels(), BLENDS, strict=True):
            out = union(out, _tube(points, path, radius), blend)
        out = union(out, _tube(points, SPINE, 15.0), 14.0)
        x, y, z = points
        # The lungs nearly touch before and behind the heart, not above the arch.
        narrow = np.interp(z, (-150, -95, -45, -8), (3, 10, 22, 27))
        narrow = narrow * (0.25 + 0.75 * np.exp(-(((y - 18) / 42) ** 2)))
        # Beside the vertebrae the chest wall comes forward.
        narrow = narrow + 33 * np.clip((y - 50) / 45, 0, 1)
        sheet = np.maximum(np.abs(x + 1) - narrow, -62 - y)
        return union(out, sheet.astype(np.float32), 12.0)

    def _vessels(self) -> tuple[tuple[tuple[Triple, ...], float], ...]:
        knob = self.knob
        return (
            (((-21, -8, -15), (-27, -8, -70), (-26, -10, -150)), 10.5),  # caval vein
            (((-6, -28, -140), (-15, -26, -95), (0, -8, -64)), knob + 2),  # ascending
            (((0, -8, -64), (27, 22, -63)), knob),  # arch
            (((27, 22, -63), (24, 46, -100), (12, 56, -300)), knob - 1),  # descending
            (((22, 8, -58), (27, 5, -20), (26, 12, 30)), 9.0),  # left subclavian
            (((8, -28, -130), (26, -8, -102), (36, 10, -101)), 13.0),  # pulmonary trunk
            (((0, 0, -108), (-30, 4, -110), (-42, 10, -116)), 10.0),  # right artery
        )

    def windpipe(self, points: Floats) -> Floats:
        """Distance to the air of the trachea and main bronchi."""
        out = _tube(points, ((0, -5, 120), (-1, 12, 20), (-4, 28, -86)), 9.5)
        right = _tube(points, ((-4, 28, -86), (-30, 24, -112)), 6.8)
        left = _tube(points, ((-4, 28, -86), (38, 26, -110)), 6.2)
        return np.minimum(out, np.minimum(right, left))

    def lungs(self, points: Floats) -> Floats:
        """Distance to the lungs."""
        out = self.cage(points)
        below = self.diaphragm(points)
        near = np.flatnonzero(np.maximum(out, below) < 3)
        if near.size:
            # The heart lies on the diaphragm without a gap.
            other = union(self.mediastinum(points[:, near]), -below[near], 14.0)
            out[near] = np.maximum(out[near], -other)
        return np.maximum(out, below)

    def gas(self, points: Floats) -> Floats:
        """Distance to the gas in the stomach, flat below where the patient stands."""
        if not self.stomach:
            return np.full(points.shape[1], np.float32(50))
        size = self.stomach
        local = points - _column((58.0, -8.0, self.domes[1] - 13 - 17 * size))
        bubble = ellipsoid(local, (30 * size, 30 * size, 19 * size))
        return np.asarray(np.maximum(bubble, -local[2] - 9 * size), np.float32)

    def outline(self, points: Floats) -> Floats:
        """Distance to the skin of trunk, neck, arms and breasts."""
        x, y, z = points
        wide = np.interp(z, BODY_HEIGHTS, BODY_WIDTHS)
        thin = np.interp(z, BODY_HEIGHTS, BODY_DEPTHS)
        # Fat lies on the trunk more than on the neck.
        fat = self.padding * np.interp(z, (-60, 20), (1.0, 0.25))
        wide = wide * (0.4 + 0.6 * self.width) + fat
        thin = thin * (0.3 + 0.7 * self.depth) + 0.8 * fat
        radius = (np.abs(x / wide) ** 2.6 + np.abs(y / thin) ** 2.6) ** (1 / 2.6)
        out = ((radius - 1) * np.minimum(wide, thin)).astype(np.float32)
        mirrored = points.copy()
        np.abs(x, out=mirrored[0])
        swing = np.radians(self.arms)
        hand = (176 + 260 * np.sin(swing), 0.0, -40 - 260 * np.cos(swing))
        arm = _tube(mirrored, ((168, 8, -38), hand), 37 + 0.5 * self.padding)
        out = union(out, arm, 22.0)
        if self.breasts:
            size = self.breasts
            local = mirrored - _column((78.0, -108.0 * self.depth, -205.0))
            out = union(out, ellipsoid(local, (58 * size, 42 * size, 55 * size)), 14.0)
        return out

    def density(self, points: Floats) -> tuple[Floats, Floats]:
        """Density relative to water, and how far (0 to 1) a point is in the lungs."""
        inside = np.flatnonzero(self.outline(points) < 2)
        out = np.zeros(points.shape[1], np.float32)
        lung = np.zeros_like(out)
        if not inside.size:
            return out, lung
        here = np.ascontiguousarray(points[:, inside])
        skin = np.clip(0.5 - self.outline(here) / 4, 0, 1)
        aerated = np.clip(0.5 - self.lungs(here) / 4, 0, 1)
        # The lower and hinder parts hold more blood.
        loaded = self.lung * (1 + 0.0009 * (here[1] - 0.8 * here[2] - 110))
        value = 1 - aerated * (1 - loaded)
        value *= np.clip(0.5 + self.windpipe(here) / 3, 0, 1)
        value *= np.clip(0.55 + self.gas(here) / 4, 0.05, 1)
        out[inside] = skin * value
        lung[inside] = aerated
        return out, lung


SPINE: tuple[Triple, ...] = ((0, 40, 110), (0, 62, 0), (0, 68, -150), (0, 55, -330))
BLENDS = (6.0, 8.0, 4.0, 4.0, 6.0, 5.0, 5.0)


def _column(values: Triple) -> Floats:
    return np.asarray(values, np.float32)[:, None]


def _tube(points: Floats, path: tuple[Triple, ...], radius: float) -> Floats:
    out: Floats | None = None
    for start, end in pairwise(path):
        part = capsule(points, start, end)
        out = part if out is None else np.minimum(out, part)
    if out is None:
        raise ValueError("a tube needs two points")
    return out - np.float32(radius)
