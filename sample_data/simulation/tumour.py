"""The three tumours: where they sit, their exact extent and how they enhance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import noise
from .canvas import Canvas, ellipsoid, union
from .look import Look
from .noise import Field, Floats
from .template import HULL_STEP, Template

Kind = Literal["glioma", "meningioma", "pituitary"]
KINDS: tuple[Kind, ...] = ("glioma", "meningioma", "pituitary")

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Tumour:
    """One tumour in template space.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    lobes : tuple
        Ellipsoids (centre, radii) in mm whose rounded union is the tumour.
    centre, radius
        Of the whole, for placing slices and for mass effect.
    bumps : Field
        What makes the surface irregular (channels 0, 1) and the inside uneven
        (channel 2).
    rough : float
        Amplitude of the surface's irregularity in mm.
    brightness : float
        Of the enhancing part, in multiples of grey matter.
    core : float
        Of the centre, likewise.
    rim : float
        Width of the enhancing rim in mm; where 0 there is none.
    oedema : float
        Reach of oedema beyond the tumour in mm.
    side : int
        For a tumour of the falx -1 or 1, the side it stays on; else 0.
    mass : float
        Strength of mass effect, 0 to 1.
    """

    kind: Kind
    lobes: tuple[tuple[Triple, Triple], ...]
    centre: Triple
    radius: float
    bumps: Field
    rough: float
    brightness: float
    core: float
    rim: float
    oedema: float
    side: int
    mass: float

    def distance(self, points: Floats, hull: Floats) -> Floats:
        """Signed distance (mm) to the tumour at points (3, n), negative inside.

        ``hull`` is the template's hull distance at the points. A meningioma ends
        at the dura, a glioma just below the brain's surface.
        """
        out = self._free(points)
        if self.kind == "glioma":
            out = np.maximum(out, hull + 1.0)
        elif self.kind == "meningioma":
            out = np.maximum(out, hull - 1.8)
            if self.side:
                out = np.maximum(out, 0.3 - self.side * points[0])
        return out

    def _free(self, points: Floats) -> Floats:
        out: Floats | None = None
        for centre, radii in self.lobes:
            local = points - np.asarray(centre, np.float32)[:, None]
            lobe = ellipsoid(local, radii)
            out = lobe if out is None else union(out, lobe, 0.3 * min(radii))
        if out is None:
            raise ValueError("a tumour needs at least one lobe")
        near = np.flatnonzero(out < 3 * self.rough + 1)
        bumps = self.bumps(points[:, near])
        out[near] += self.rough * (0.8 * bumps[0] + 0.35 * np.abs(bumps[1]))
        return out

    def push(self, points: Floats) -> Floats:
        """Where the tissue now at ``points`` lay before the tumour grew."""
        local = points - np.asarray(self.centre, np.float32)[:, None]
        length = np.sqrt(np.einsum("ij,ij->j", local, local)) + 1e-3
        amount = self.mass * self.radius * np.exp(-length / (1.3 * self.radius))
        origin: Floats = points - local / length * np.minimum(amount, 0.9 * length)
        return origin

    def paint(self, canvas: Canvas, hull: Floats, fine: Floats, look: Look) -> Floats:
        """Paint the tumour and what it does to its surroundings.

        Returns
        -------
        ndarray, shape (n,)
            Occupancy, 0 to 1.
        """
        local = canvas.points - np.asarray(self.centre, np.float32)[:, None]
        reach = 1.9 * self.radius + 3 * self.rough + self.oedema + 12
        near = np.flatnonzero((np.abs(local) < reach).all(0))
        occupancy = np.zeros(len(hull), np.float32)
        if not near.size:
            return occupancy
        points, hull, fine = canvas.points[:, near], hull[near], fine[:, near]
        distance = self.distance(points, hull)
        inner = self.bumps(points)[2]
        if self.oedema:
            # It runs along the white matter in fingers and spares the cortex.
            spread = distance - self.oedema * (1 + 0.22 * fine[2] + 0.45 * inner)
            now = canvas.value[near]
            level = (now - look.grey) / (0.5 * (look.white - look.grey) + 1e-3)
            share = np.clip(0.5 - spread / (5 + 0.4 * self.oedema), 0, 1)
            share = share * np.clip(level, 0, 1) * np.clip(-hull - 3, 0, 1)
            swollen = look.grey * (0.74 + 0.03 * fine[0])
            canvas.value[near] += 0.85 * share * (swollen - now)
        if self.kind == "meningioma":
            # A cleft of CSF towards the brain, and a tail along the dura.
            cleft = 0.6 * np.clip(0.6 + 0.5 * fine[1], 0, 1)
            self._local(canvas, near, distance - 1.3, look.csf, cleft, 1.4)
            tail = np.abs(hull - 0.9) - 1.3
            close = np.clip(1.5 - distance / (0.45 * self.radius), 0, 1)
            self._local(canvas, near, tail, look.grey * self.brightness, close)
        bright = look.grey * self.brightness * (1 + 0.05 * fine[2] + 0.06 * inner)
        core = look.grey * self.core * (1 + 0.10 * fine[1] + 0.12 * inner)
        if self.rim:
            # Shaggy inside, thick in places, with nodules and strands in the centre.
            width = self.rim * np.clip(1 + 0.45 * fine[2] + 0.9 * inner, 0.15, 3.5)
            share = np.clip(0.5 + (distance + width) / 2.4, 0, 1)
            strands = np.clip(1.1 * fine[0] + 0.8 * inner - 1.0, 0, 1) * 0.75
            share = np.maximum(share, strands)
            bright = bright * (1 + 0.10 * fine[1])
            inside = core + share * (bright - core)
        elif self.kind == "glioma":
            share = np.clip(0.5 + 0.9 * inner + 0.5 * fine[1], 0, 1)
            inside = core + share * (bright - core)
        else:
            share = np.clip(-distance / self.radius, 0, 1) ** 2
            inside = bright + share * (core - bright)
        soft = 2.8 if self.kind == "glioma" else 1.3
        self._local(canvas, near, distance, inside, 1.0, soft)
        occupancy[near] = np.clip(0.5 - distance, 0, 1)
        return occupancy

    @staticmethod
    def _local(
        canvas: Canvas,
        near: NDArray[np.intp],
        distance: Floats,
        value: float | Floats,
        opacity: float | Floats,
        soft: float = 1.0,
    ) -> None:
        alpha = np.clip(0.5 - distance / soft, 0, 1) * opacity
        canvas.value[near] += alpha * (value - canvas.value[near])


def kind(name: str) -> Kind:
    """Check the name of a tumour.

    Raises
    ------
    ValueError
        If it is none of `KINDS`.
    """
    for known in KINDS:
        if known == name:
            return known
    raise ValueError(f"tumour {name!r} is unknown; take one of {', '.join(KINDS)}")


def draw(kind: Kind, template: Template, rng: np.random.Generator) -> Tumour:
    """Draw a tumour of a kind."""
    makers = {"glioma": _glioma, "meningioma": _meningioma, "pituitary": _pituitary}
    return makers[kind](template, rng)


def _glioma(template: Template, rng: np.random.Generator) -> Tumour:
    radius = float(np.clip(rng.lognormal(np.log(22), 0.33), 9, 34))
    infratentorial = rng.random() < 0.12
    while True:
        index = [int(rng.integers(n)) for n in template.t1.shape]
        point = np.asarray(index, np.float32) + template.origin
        if template.white[tuple(index)] < 140 or (point[2] < -22) != infratentorial:
            continue
        depth = float(template.distance(point[:, None])[0])
        if depth < -(8 if infratentorial else 0.55 * radius + 2):
            break
    if infratentorial:
        radius = min(radius, 19)
    centre = _triple(point)
    lobes = [(centre, _radii(rng, radius, 0.25))]
    for _ in range(int(rng.integers(0, 3))):
        shift = rng.standard_normal(3)
        shift *= radius * rng.uniform(0.5, 0.9) / np.linalg.norm(shift)
        lobes.append(
            (_triple(point + shift), _radii(rng, radius * rng.uniform(0.4, 0.7), 0.25))
        )
    style = rng.choice(["ring", "patchy", "dark"], p=[0.5, 0.25, 0.25])
    brightness, core, rim = {
        "ring": (rng.uniform(1.35, 2.2), rng.uniform(0.5, 0.85), rng.uniform(1.8, 5)),
        "patchy": (rng.uniform(1.2, 1.8), rng.uniform(0.6, 0.9), 0.0),
        "dark": (rng.uniform(0.8, 0.95), rng.uniform(0.5, 0.72), 0.0),
    }[str(style)]
    return Tumour(
        kind="glioma",
        lobes=tuple(lobes),
        centre=centre,
        radius=radius,
        bumps=noise.field(rng, step=max(4.0, radius * 0.3), channels=3),
        rough=radius * float(rng.uniform(0.14, 0.27)),
        brightness=float(brightness),
        core=float(core),
        rim=float(rim),
        oedema=radius * float(rng.uniform(0.4, 1.1)) if style != "dark" else 2.0,
        side=0,
        mass=float(rng.uniform(0, 0.45)),
    )


def _meningioma(template: Template, rng: np.random.Generator) -> Tumour:
    radius = float(np.clip(rng.lognormal(np.log(18), 0.32), 8, 31))
    side = int(rng.choice([-1, 1])) if rng.random() < 0.15 else 0
    if side:
        point = np.array(
            [side * radius * rng.uniform(0.55, 0.8), rng.uniform(-75, 50), 0]
        )
        column = np.stack([np.zeros(70), np.full(70, point[1]), np.arange(70) + 10.0])
        hull = template.distance(column.astype(np.float32))
        crest = 10 + int(np.flatnonzero(hull < 0)[-1])
        point[2] = crest - rng.uniform(0.4, 0.9) * radius
        centre = _triple(point)
    else:
        centre = _convexity(template, rng, radius)
    lobes = [(centre, _radii(rng, radius, 0.2))]
    if rng.random() < 0.5:
        shift = rng.standard_normal(3)
        shift *= radius * 0.6 / np.linalg.norm(shift)
        where = _triple(np.asarray(centre) + shift)
        lobes.append((where, _radii(rng, radius * 0.6, 0.15)))
    brightness = float(rng.uniform(1.55, 2.4))
    return Tumour(
        kind="meningioma",
        lobes=tuple(lobes),
        centre=centre,
        radius=radius,
        bumps=noise.field(rng, step=max(4.0, radius * 0.4), channels=3),
        rough=radius * float(rng.uniform(0.03, 0.09)),
        brightness=brightness,
        core=brightness * float(rng.uniform(0.86, 1.04)),
        rim=0.0,
        oedema=radius * float(rng.uniform(0.1, 0.6)) if rng.random() < 0.5 else 0.0,
        side=side,
        mass=float(rng.uniform(0.3, 0.75)),
    )


def _convexity(template: Template, rng: np.random.Generator, radius: float) -> Triple:
    """Draw a centre from which a tumour of this radius reaches through to the dura."""
    while True:
        origin = np.array([0, -17, 5], np.float32)
        ray = rng.standard_normal(3).astype(np.float32)
        ray /= np.linalg.norm(ray)
        steps = np.arange(5, 120, 0.5, dtype=np.float32)
        points = origin[:, None] + ray[:, None] * steps
        inside = np.flatnonzero(template.distance(points) < 0)
        surface = points[:, inside[-1]]
        if surface[2] < -58 or (surface[2] < -30 and abs(surface[0]) < 18):
            continue  # not in the foramen magnum or at the sella
        offset = np.eye(3, dtype=np.float32) * 2 * np.float32(HULL_STEP)
        ahead = template.distance(surface[:, None] + offset)
        behind = template.distance(surface[:, None] - offset)
        normal = (ahead - behind) / (np.linalg.norm(ahead - behind) + 1e-6)
        return _triple(surface - normal * radius * rng.uniform(0.3, 0.7))


def _pituitary(template: Template, rng: np.random.Generator) -> Tumour:
    radius = float(np.clip(rng.lognormal(np.log(11.5), 0.28), 6.0, 18))
    middle = rng.normal(0, 1.0)
    floor = -42.0 - rng.uniform(0, 0.35) * radius
    low = np.array([middle, rng.uniform(4, 8), floor + radius * rng.uniform(0.75, 1)])
    first = (radius * rng.uniform(0.95, 1.25), radius * rng.uniform(0.85, 1.1), radius)
    lobes = [(_triple(low), _triple(np.asarray(first)))]
    centre = low
    if radius > 8 and rng.random() < 0.45:
        upper = radius * rng.uniform(0.6, 0.95)
        shift = (rng.normal(0, 1), rng.uniform(-3, 2), 0.85 * (radius + upper))
        high = low + np.asarray(shift)
        lobes.append((_triple(high), _radii(rng, upper, 0.12)))
        centre = (low + high) / 2
    brightness = float(rng.uniform(1.25, 1.95))
    return Tumour(
        kind="pituitary",
        lobes=tuple(lobes),
        centre=_triple(centre),
        radius=radius,
        bumps=noise.field(rng, step=max(3.0, radius * 0.4), channels=3),
        rough=radius * float(rng.uniform(0.05, 0.13)),
        brightness=brightness,
        core=brightness * float(rng.uniform(0.78, 1.02)),
        rim=0.0,
        oedema=0.0,
        side=0,
        mass=float(rng.uniform(0.3, 0.7)),
    )


def _radii(rng: np.random.Generator, radius: float, spread: float) -> Triple:
    return _triple(radius * rng.uniform(1 - spread, 1 + spread, 3))


def _triple(values: NDArray[Any]) -> Triple:
    x, y, z = (float(v) for v in values)
    return x, y, z
