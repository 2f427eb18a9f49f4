"""A whole radiograph, from the seed to grey values and mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from . import bones, marks, opacity, tree
from .body import Body
from .exposure import Exposure
from .marks import Extras
from .opacity import KINDS, Kind, Opacity
from .view import Floats, View

__all__ = ["KINDS", "VISIBLE", "Radiograph", "simulate_radiograph"]

STEP = 7.0
"""Of the integration along the rays, mm."""
VISIBLE = 6.0
"""Water in the air spaces along a ray, mm, from which a pixel belongs to the mask."""


@dataclass(frozen=True)
class Radiograph:
    """A simulated radiograph with its opacities.

    Attributes
    ----------
    image : ndarray of uint8, shape (row, column)
        Dense parts bright; the patient's right is on the left.
    deep : ndarray of uint16, same shape
        The same in 12 bits.
    mask : ndarray of bool, same shape
        Where at least `VISIBLE` mm of water stand in the air spaces.
    added : ndarray of float32, same shape
        That water along each ray in mm.
    kind : str
        One of `KINDS`.
    frontal : str
        ``PA`` or ``AP``.
    spacing : float
        Of the pixels on the detector in mm.
    lobe : str
        Of a pneumonia; else "".
    extras : Extras
        What else the picture shows.
    """

    image: NDArray[np.uint8]
    deep: NDArray[np.uint16]
    mask: NDArray[np.bool_]
    added: Floats
    kind: Kind
    frontal: str
    spacing: float
    lobe: str
    extras: Extras


def simulate_radiograph(
    kind: str, seed: int, *, size: int = 512, extras: Extras | None = None
) -> Radiograph:
    """Simulate a frontal chest radiograph.

    Parameters
    ----------
    kind : str
        ``covid19`` (ground-glass opacities of both lungs below the pleura),
        ``normal``, or ``pneumonia`` (consolidation of a lobe with air bronchograms).
    seed : int
        Everything random follows from it and the kind.
    size : int
        Rows and columns.
    extras : Extras, optional
        Marker, frame and wires; where None they are drawn alike for all kinds.

    Returns
    -------
    Radiograph
        With the mask of the opacities; empty where the lungs are normal.

    Raises
    ------
    ValueError
        If the kind is unknown or the size below 32.
    """
    known = _kind(kind)
    if size < 32:
        raise ValueError(f"size={size} must be at least 32")
    rng = np.random.default_rng([seed, 11])
    view = View.draw(rng, size)
    bedside = view.frontal == "AP"
    body = Body.draw(rng, bedside=bedside)
    exposure = Exposure.draw(rng, bedside=bedside)
    shown = Extras.draw(rng, view.frontal) if extras is None else extras
    frame = marks.field(size, shown.frame, np.random.default_rng([seed, 12]))
    sick = np.random.default_rng([seed, 13, KINDS.index(known)])
    disease = opacity.draw(known, body, sick)
    path, added = _paths(view, body, disease, np.random.default_rng([seed, 14]), shown)
    noise = np.random.default_rng([seed, 15])
    signal = exposure.signal(path, view.pixel, noise)
    grey = exposure.shown(signal, view.pixel, frame > 0.5)
    grey = _framed(grey, frame, shown, view)
    deep = np.rint(np.clip(grey, 0, 1) * 4095).astype(np.uint16)
    return Radiograph(
        image=np.rint(deep / 4095 * 255).astype(np.uint8),
        deep=deep,
        mask=(added >= VISIBLE) & (frame > 0.5),
        added=added,
        kind=known,
        frontal=view.frontal,
        spacing=view.pixel,
        lobe=disease.lobe,
        extras=shown,
    )


def _paths(
    view: View,
    body: Body,
    disease: Opacity,
    rng: np.random.Generator,
    extras: Extras,
) -> tuple[Floats, Floats]:
    """Water-equivalent path lengths in mm: of all, and of what fills air spaces."""
    path = np.zeros(view.size * view.size, np.float32)
    added = np.zeros_like(path)
    for points in view.planes(STEP):
        density, lung = body.density(points)
        inside = np.flatnonzero(lung > 0)
        if inside.size and disease.patches:
            share = disease(np.ascontiguousarray(points[:, inside]))
            extra = lung[inside] * share * (1 - body.lung)
            added[inside] += STEP * extra
            density[inside] += extra
        path += STEP * density
    vessels = tree.grow(body, rng, trunks=15, radius=5.6, smallest=0.4)
    bronchi = tree.grow(body, rng, trunks=10, radius=6.0, smallest=0.9)
    # A vessel displaces what is around it, so in filled lung it is not seen; air in
    # a bronchus is seen there only.
    filled = disease(vessels.points)
    air = disease(bronchi.points)
    lungs = (body.lungs(bronchi.points) < 0).astype(np.float32)
    trees = view.lay(vessels.points, vessels.volumes * (1 - body.lung) * (1 - filled))
    trees -= view.lay(bronchi.points, bronchi.volumes * (1 - body.lung) * air * lungs)
    trees += view.lay(*bones.skeleton(body, rng))
    if extras.wires:
        trees += view.lay(*marks.wires(extras.wires, rng))
    # Points stand for small volumes: as wide as the steps between them.
    width = 0.55 / view.pixel
    shape = (view.size, view.size)
    total: Floats = path.reshape(shape) + ndimage.gaussian_filter(trees, width)
    return total, added.reshape(shape)


def _framed(grey: Floats, frame: Floats, extras: Extras, view: View) -> Floats:
    out = grey
    if extras.frame != "none":
        outside = 0.02 if extras.frame == "black" else 0.97
        out = out * frame + outside * (1 - frame)
    if extras.marker:
        ink, plate = marks.letters(view.size, view.pixel, extras)
        out = out + plate * (0.8 - out)
        out = out + ink * ((0.1 if extras.boxed else 0.98) - out)
    return out


def _kind(name: str) -> Kind:
    for kind in KINDS:
        if kind == name:
            return kind
    raise ValueError(f"radiograph {name!r} is unknown; take one of {', '.join(KINDS)}")
