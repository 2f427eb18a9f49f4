"""Masks from another grid brought onto the study's.

Where permuting and flipping the axes is enough, nothing is interpolated. Else each of
the study's pixel centres looks up the voxel of the mask in which it lies (nearest;
halves go up), or interpolates probabilities linearly. A voxel reaches half a step to
each side of its centre; beyond the outermost voxels there is no mask.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from napari_medxai.errors import StudyError
from napari_medxai.study import Study, spacing_of

from .naming import shown
from .planes import Planes, planes_of

__all__ = ["grid_text", "onto_grid", "onto_raster", "other_grid", "sample_frames"]

SAME_GRID = 0.005
"""Grids are the same where no corner is off by more, in steps of the smallest."""
Floats = NDArray[np.float64]


def onto_grid(
    study: Study,
    path: Path,
    values: NDArray[Any],
    affine: Floats | None,
    *,
    linear: bool = False,
) -> tuple[NDArray[Any], str | None]:
    """Bring a volume of labels or probabilities onto the study's grid.

    Parameters
    ----------
    study : Study
        The grid wanted.
    path : Path
        For error texts.
    values : ndarray, shape (k, j, i)
        Labels or probabilities on their own grid; 0 is no structure.
    affine : ndarray, shape (4, 4), or None
        Of `values`, (k, j, i, 1) to LPS mm.
    linear : bool
        Whether values lie between others (probabilities), and are no labels.

    Returns
    -------
    values : ndarray
        Of the study's spatial shape.
    note : str or None
        What was resampled, and from which grid; None where axes were permuted and
        flipped at most (shape and affine then agree to 1e-3).

    Raises
    ------
    StudyError
        Where the grids have no pixel in common, or one of them does not say how it
        lies in the patient and the shapes differ. The text names both grids.
    """
    if values.ndim != 3:
        raise StudyError(
            f"{shown(path, 'its mask')}: is in colour; a mask holds labels."
        )
    target = study.shape if study.is_volume else (1, *study.shape)
    planes = planes_of(study)
    if affine is None or planes is None:
        if values.shape != target:
            raise other_grid(study, path, values.shape, affine)
        return values.reshape(study.shape), None
    turned = _turned(study, values, affine, target)
    if turned is not None:
        return turned.reshape(study.shape), None
    result, met = _resampled(planes, values, affine, linear=linear)
    if not met:
        raise other_grid(study, path, values.shape, affine, "and does not meet it")
    note = (
        f"resampled ({'linear' if linear else 'nearest'}) onto the image's grid "
        f"from {grid_text(values.shape, affine)}"
    )
    if values.any() and not result.any():
        note += "; none of its structures lies within the image"
    return result.reshape(study.shape), note


def _turned(
    study: Study, values: NDArray[Any], affine: Floats, target: tuple[int, ...]
) -> NDArray[Any] | None:
    """Permute and flip axes; None where that does not make the grids equal."""
    assert study.affine_lps is not None
    for order in itertools.permutations(range(3)):
        if tuple(values.shape[axis] for axis in order) != target:
            continue
        turned = affine[:, [*order, 3]]
        # Flip each axis that runs against the study's.
        dots = (turned[:3, :3] * study.affine_lps[:3, :3]).sum(axis=0)
        flips = [axis for axis in range(3) if dots[axis] < 0]
        turned = turned.copy()
        for axis in flips:
            turned[:3, 3] += turned[:3, axis] * (target[axis] - 1)
            turned[:3, axis] *= -1
        # At the corners, where small differences of the steps add up. The step across
        # a single slice is a thickness and does not count: its index is 0.
        ends = [(0, n - 1) for n in target]
        corners = [(*corner, 1.0) for corner in itertools.product(*ends)]
        apart = np.array(corners) @ (turned - study.affine_lps)[:3].T
        spacing = spacing_of(study.affine_lps)
        if np.linalg.norm(apart, axis=1).max() <= SAME_GRID * min(spacing):
            return np.flip(values.transpose(order), axis=tuple(flips))
    return None


def _resampled(
    planes: Planes, values: NDArray[Any], affine: Floats, *, linear: bool
) -> tuple[NDArray[Any], bool]:
    """Look the study's pixel centres up in another grid, slice by slice."""
    inverse: Floats = np.linalg.inv(affine).astype(np.float64)
    size = values.shape
    if linear:
        values = np.nan_to_num(values.astype(np.float64), nan=0.0)
    result = np.zeros((len(planes.origins), *planes.shape), dtype=values.dtype)
    met = False
    for index, target in enumerate(result):
        places = planes.seen_from(index, inverse[:3, :3], inverse[:3, 3])
        inside = np.logical_and.reduce(
            [(p >= -0.5) & (p < n - 0.5) for p, n in zip(places, size, strict=True)]
        )
        if not inside.any():
            continue
        met = True
        if linear:
            held = [np.clip(p, 0, n - 1) for p, n in zip(places, size, strict=True)]
            target[:] = map_coordinates(values, held, order=1, mode="nearest")
        else:
            target[:] = values[_nearest(places, size)]
        target[~inside] = 0
    return result, met


def _nearest(places: Sequence[Floats], size: Sequence[int]) -> tuple[Any, ...]:
    """Find the nearest voxels, held within the grid; halves go up."""
    return tuple(
        np.clip(np.floor(place + 0.5).astype(np.intp), 0, count - 1)
        for place, count in zip(places, size, strict=True)
    )


def sample_frames(
    planes: Planes, pixels: NDArray[np.bool_], source: Planes
) -> NDArray[np.bool_]:
    """Look the study's pixel centres up in frames that lie anywhere.

    Parameters
    ----------
    planes : Planes
        The study's slices.
    pixels : ndarray of bool, shape (f, rows, columns)
        Frames of one structure, in any order; missing ones are empty.
    source : Planes
        Where the frames lie, and how thick they are.

    Returns
    -------
    ndarray of bool, shape (n, rows, columns)
        Set where the nearest frame within half a thickness is set at the nearest
        pixel.
    """
    order = np.argsort(source.along, kind="stable")
    along, pixels = source.along[order], pixels[order]
    steps = np.stack([source.row_step, source.column_step])
    steps /= (steps**2).sum(axis=1, keepdims=True)
    # Row and column of the patient system's origin, seen from each frame.
    offsets = -(source.origins[order] @ steps.T)
    halves = (along[1:] + along[:-1]) / 2
    axes = np.stack([source.normal, *steps])
    size = pixels.shape[1:]
    result = np.zeros((len(planes.origins), *planes.shape), dtype=bool)
    for index, target in enumerate(result):
        depth, *flat = planes.seen_from(index, axes, np.zeros(3))
        frame = np.searchsorted(halves, depth, side="right")
        valid = np.abs(depth - along[frame]) <= source.thickness / 2
        if not valid.any():
            continue
        places = [line + offsets[frame, axis] for axis, line in enumerate(flat)]
        for place, count in zip(places, size, strict=True):
            valid &= (place >= -0.5) & (place < count - 0.5)
        target[:] = pixels[(frame, *_nearest(places, size))] & valid
    return result


def onto_raster(
    study: Study, path: Path, values: NDArray[Any]
) -> tuple[NDArray[Any], str | None]:
    """Bring a picture's mask, (row, column), onto the study's pixels.

    A picture does not say how it lies, so one of another size is taken only where
    both axes were scaled alike, to within a pixel: then it is the same field of view
    at another resolution, and each pixel takes the mask's at its centre.

    Raises
    ------
    StudyError
        Where the mask has another shape; the text names both.
    """
    if values.shape == study.shape:
        return values, None
    if study.is_volume or not _scaled(values.shape, study.shape):
        raise other_grid(study, path, values.shape, None)
    rows, columns = (
        ((2 * np.arange(wanted) + 1) * given) // (2 * wanted)
        for wanted, given in zip(study.shape, values.shape, strict=True)
    )
    note = (
        f"resampled (nearest) from {values.shape[0]} x {values.shape[1]} to the "
        f"image's {study.shape[0]} x {study.shape[1]} pixels, as both show the same "
        "proportions"
    )
    return values[np.ix_(rows, columns)], note


def _scaled(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether one size is the other, scaled and rounded; one equal axis is a crop."""
    if any(a == b for a, b in zip(one, other, strict=True)):
        return False
    small, large = sorted([one, other])
    expected = small[1] * large[0] / small[0]
    back = large[1] * small[0] / large[0]
    return abs(expected - large[1]) < 1 or abs(back - small[1]) < 0.5


def other_grid(
    study: Study,
    path: Path,
    shape: tuple[int, ...],
    affine: Floats | None,
    why: str = "",
) -> StudyError:
    """Say that a mask does not fit, with both grids."""
    return StudyError(
        f"{shown(path, 'its mask')}: "
        f"the mask lies on another grid, {grid_text(shape, affine)}, than the "
        f"image {study.identifier}, {grid_text(study.shape, study.affine_lps)}"
        f"{', ' if why else ''}{why}. Resample "
        "the mask onto the image, or open the image with masks='none'."
    )


def grid_text(shape: tuple[int, ...], affine: Floats | None) -> str:
    """Describe a grid: size, spacing and origin."""
    size = " x ".join(str(n) for n in shape)
    if affine is None:
        return size
    spacing = " x ".join(f"{v:.4g}" for v in spacing_of(affine))
    origin = ", ".join(f"{v:.2f}" for v in affine[:3, 3])
    return f"{size} at {spacing} mm from ({origin}) LPS"
