"""The ICBM 152 brain and the closed surface around it, loaded once."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .noise import HIGH, LOW, Floats

HULL_STEP = 2.0


@dataclass(frozen=True)
class Template:
    """The template's maps.

    Attributes
    ----------
    t1 : ndarray of uint8, shape (197, 233, 189)
        T1-weighted intensity, 0 outside the brain.
    white : ndarray of uint8, same shape
        Probability of white matter times 255.
    origin : ndarray, shape (3,)
        RAS mm of voxel (0, 0, 0); voxels are 1 mm.
    hull : ndarray of float32
        Signed distance in mm to the closed surface of the brain, negative
        inside, on a grid of ``HULL_STEP`` mm that starts at ``noise.LOW``.
    vault : ndarray of float32
        The like to a smoother surface, whose shape skull and scalp follow.
    """

    t1: NDArray[np.uint8]
    white: NDArray[np.uint8]
    origin: Floats
    hull: Floats
    vault: Floats

    def brightness(self, points: Floats) -> Floats:
        """T1 intensity (0 to 255) at RAS points of shape (3, n)."""
        return _sample(self.t1, points - self.origin[:, None])

    def distance(self, points: Floats) -> Floats:
        """Signed distance in mm to the brain's hull at points (3, n)."""
        return _surface(self.hull, points)

    def outer(self, points: Floats) -> Floats:
        """Signed distance in mm to the smoother surface at points (3, n)."""
        return _surface(self.vault, points)


def _surface(grid: Floats, points: Floats) -> Floats:
    return _sample(grid, (points - LOW[:, None]) / np.float32(HULL_STEP), "nearest")


def _sample(
    grid: NDArray[np.uint8] | Floats, index: Floats, mode: str = "constant"
) -> Floats:
    out = np.empty(index.shape[1], np.float32)
    ndimage.map_coordinates(grid, index, out, order=1, mode=mode)
    return out


def folder() -> Path:
    """Where nilearn keeps the template.

    Raises
    ------
    ModuleNotFoundError
        If nilearn is not installed.
    """
    # Found without importing nilearn, which would load scikit-learn for nothing.
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the simulation takes the ICBM 152 template from nilearn, which is not "
            "installed: pip install nilearn"
        )
    return Path(spec.origin).parent / "datasets" / "data"


@functools.cache
def load() -> Template:
    """Load the template and compute the hull (about a second or two, once)."""
    name = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
    image: Any = nib.load(folder() / name.format("t1"))
    t1 = np.asarray(image.dataobj).astype(np.uint8)
    matter: Any = nib.load(folder() / name.format("wm"))
    white = np.asarray(matter.dataobj)
    origin = np.asarray(image.affine[:3, 3], np.float32)
    surface = _hull(t1, origin)
    return Template(
        t1=_crisp(t1),
        white=white.astype(np.uint8),
        origin=origin,
        hull=_smooth(surface, 1.2),
        vault=_smooth(surface, 3.0),
    )


def _smooth(surface: Floats, sigma: float) -> Floats:
    scaled: Floats = ndimage.gaussian_filter(surface, sigma) * np.float32(HULL_STEP)
    return scaled


def _crisp(t1: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo some of the blur that averaging many brains left in the sulci."""
    sharp = t1.astype(np.float32)
    sharp += 0.9 * (sharp - ndimage.gaussian_filter(sharp, 1.6))
    return np.where(t1 > 0, np.clip(sharp, 1, 255), 0).astype(np.uint8)


def _hull(t1: NDArray[np.uint8], origin: Floats) -> Floats:
    """Signed distance in steps to the closed surface of the brain, not yet smooth."""
    shape = np.ceil((HIGH - LOW) / HULL_STEP).astype(int) + 1
    axes = [LOW[a] + HULL_STEP * np.arange(shape[a]) - origin[a] for a in range(3)]
    inside = np.zeros(tuple(shape), bool)
    valid = [(a >= 0) & (a < n) for a, n in zip(axes, t1.shape, strict=True)]
    pick = [a[v].astype(int) for a, v in zip(axes, valid, strict=True)]
    inside[np.ix_(*valid)] = t1[np.ix_(*pick)] > 20
    # Closing by distance: grow by 14 mm, shrink by 14 mm, so that fissures and
    # cisterns belong to the hull.
    reach = 14 / HULL_STEP
    grown = ndimage.distance_transform_edt(~inside) <= reach
    closed = ndimage.distance_transform_edt(grown) > reach
    closed |= inside
    out = ndimage.distance_transform_edt(~closed)
    distance = np.where(closed, 0.5 - ndimage.distance_transform_edt(closed), out - 0.5)
    return np.asarray(distance, np.float32)
