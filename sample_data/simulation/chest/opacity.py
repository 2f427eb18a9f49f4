"""What fills the air spaces: consolidation of a lobe, and ground glass at the edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulation import noise
from simulation.noise import Field

from .body import Body
from .view import Floats, Reals

Kind = Literal["covid19", "normal", "pneumonia"]
KINDS: tuple[Kind, ...] = ("covid19", "normal", "pneumonia")

LOBES = ("right upper", "right middle", "right lower", "left upper", "left lower")
# Where a pneumonia of the lobe is centred, and how far that varies.
CENTRES = {
    "right upper": (-70.0, -10.0, -72.0),
    "right middle": (-62.0, -45.0, -168.0),
    "right lower": (-76.0, 45.0, -190.0),
    "left upper": (70.0, -25.0, -85.0),
    "left lower": (78.0, 48.0, -188.0),
}


@dataclass(frozen=True)
class Patch:
    """One opacity: centre and radii in mm, and the share of air it replaces."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    share: float


@dataclass(frozen=True)
class Opacity:
    """All opacities of a patient.

    Attributes
    ----------
    body : Body
        In whose lungs they lie.
    patches : tuple of Patch
        Empty where the lungs are normal.
    lobe : str
        The one lobe that they keep to, or "".
    rim : float
        Depth below the pleura in mm at which they have faded; 0 where they do not.
    rough : float
        How uneven their edges are, in multiples of their radius.
    mesh : float
        Strength of a fine pattern within, 0 to 1.
    field : Field
        What makes edge and inside uneven.
    """

    body: Body
    patches: tuple[Patch, ...]
    lobe: str
    rim: float
    rough: float
    mesh: float
    field: Field

    def __call__(self, points: Floats) -> Floats:
        """Share of the air that is replaced, 0 to 1, at points (3, n) in the lungs."""
        out = np.zeros(points.shape[1], np.float32)
        if not self.patches:
            return out
        uneven = self.field(points + np.array([[0], [0], [120]], np.float32))
        for patch in self.patches:
            local = points - np.asarray(patch.centre, np.float32)[:, None]
            local /= np.asarray(patch.radii, np.float32)[:, None]
            length = np.sqrt(np.einsum("ij,ij->j", local, local))
            edge = 1 - length + self.rough * uneven[0]
            inside = np.clip(0.5 + edge / 0.34, 0, 1) * patch.share
            out = np.maximum(out, inside)
        out *= np.clip(1 + self.mesh * (uneven[1] - 0.1), 0, 1.35)
        if self.lobe:
            out *= np.clip(0.5 - _outside(self.lobe, points) / 2.5, 0, 1)
        if self.rim:
            out *= np.exp(-np.maximum(-self.body.cage(points) - 8, 0) / self.rim)
        return np.clip(out, 0, 0.97)


def _outside(lobe: str, points: Floats) -> Floats:
    """Signed distance (mm) to a lobe's fissures, negative in the lobe."""
    x, y, z = points
    # The oblique fissure falls from the back of the apex to the front of the base.
    fissure = (z + 62 + (70 - y) * 1.17) / np.float32(1.54)
    out = fissure if "lower" in lobe else -fissure
    if lobe == "right upper":
        out = np.maximum(out, -118 - z)
    elif lobe == "right middle":
        out = np.maximum(out, z + 118)
    side = x if lobe.startswith("right") else -x
    return np.asarray(np.maximum(out, side), np.float32)


def draw(kind: Kind, body: Body, rng: np.random.Generator) -> Opacity:
    """Draw the opacities of a kind of radiograph."""
    if kind == "pneumonia":
        return _pneumonia(body, rng)
    patches = _covid19(body, rng) if kind == "covid19" else ()
    return Opacity(
        body=body,
        patches=patches,
        lobe="",
        rim=float(rng.uniform(22, 38)),
        rough=float(rng.uniform(0.2, 0.32)),
        mesh=float(rng.uniform(0.35, 0.65)),
        field=noise.field(rng, step=float(rng.uniform(4.5, 7)), channels=2),
    )


def _pneumonia(body: Body, rng: np.random.Generator) -> Opacity:
    lobe = str(rng.choice(LOBES, p=[0.18, 0.2, 0.26, 0.12, 0.24]))
    middle = np.asarray(CENTRES[lobe]) * [body.width, body.depth, 1]
    middle = middle + rng.normal(0, 1, 3) * [10, 10, 12]
    size = rng.uniform(34, 62)
    patches = []
    for _ in range(int(rng.integers(2, 5))):
        centre = middle + rng.normal(0, 0.45 * size, 3)
        radii = size * rng.uniform(0.55, 1.0) * rng.uniform(0.8, 1.25, 3)
        patches.append(Patch(_triple(centre), _triple(radii), rng.uniform(0.6, 0.95)))
    return Opacity(
        body=body,
        patches=tuple(patches),
        lobe=lobe,
        rim=0.0,
        rough=float(rng.uniform(0.16, 0.3)),
        mesh=float(rng.uniform(0.1, 0.3)),
        field=noise.field(rng, step=float(rng.uniform(8, 12)), channels=2),
    )


def _covid19(body: Body, rng: np.random.Generator) -> tuple[Patch, ...]:
    patches = []
    for side in (-1, 1):
        for _ in range(int(rng.integers(3, 7))):
            # Near the pleura, more often low and at the back.
            height = float(np.clip(rng.normal(-165, 42), -225, -55))
            angle = float(np.clip(rng.normal(1.15, 0.5), 0.3, 2.3))
            z = np.array([height], np.float32)
            wide, deep = float(body.lateral(z)[0]), float(body.deep(z)[0])
            under = rng.uniform(0.80, 0.98)
            centre = (
                side * under * wide * np.sin(angle),
                under * deep * np.cos(angle),
                height,
            )
            radii = rng.uniform(20, 40) * rng.uniform(0.75, 1.3, 3)
            share = float(rng.uniform(0.42, 0.8))
            patches.append(Patch(_triple(np.asarray(centre)), _triple(radii), share))
    return tuple(patches)


def _triple(values: Reals) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
