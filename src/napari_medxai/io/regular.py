"""Tilted or unevenly spaced slices, resampled onto a regular orthogonal grid.

Only when asked: values between slices are computed, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from .dicom_geometry import TILT_DEGREES, UNEVEN
from .naming import shown

__all__ = ["regularised"]

MAX_VOXELS = 2**31
# Per-slice metadata that no longer holds for slices that were computed.
PER_SLICE = (
    "sop_instance_uids",
    "frame_files",
    "frame_indices",
    "frame_counts",
    "positions",
)


@dataclass(frozen=True, eq=False)
class _Grid:
    """The slices as they lie, and the regular grid that holds them all.

    Attributes
    ----------
    heights : ndarray, shape (n,)
        Of the old slices along the normal, in mm, rising from 0.
    levels : ndarray, shape (m,)
        Of the new slices.
    shifts : ndarray, shape (n, 2)
        Where each old slice's first pixel lies on the new slice, in (rows, columns).
    shape : tuple of int
        (rows, columns) of the new slices.
    affine_lps : ndarray, shape (4, 4)
        Of the new grid.
    tilt : float
        In degrees.
    """

    heights: NDArray[np.float64]
    levels: NDArray[np.float64]
    shifts: NDArray[np.float64]
    shape: tuple[int, int]
    affine_lps: NDArray[np.float64]
    tilt: float

    @property
    def uneven(self) -> bool:
        gaps = np.diff(self.heights)
        return bool(np.abs(gaps - np.median(gaps)).max() > UNEVEN * np.median(gaps))

    @property
    def regular(self) -> bool:
        moved = float(np.abs(self.shifts - self.shifts[0]).max()) > 0.01
        return not (self.uneven or (self.tilt > TILT_DEGREES and moved))


def regularised(study: Study) -> Study:
    """Resample a study whose slices are tilted or unevenly spaced.

    The new slices keep the old ones' orientation and pixel spacing, and follow each
    other along their normal at the old slices' median distance. They are as large as
    is needed to hold all of the old ones; what no old slice covers takes the padding
    value where the study has one, else its smallest value.

    Parameters
    ----------
    study : Study
        With its masks.

    Returns
    -------
    Study
        The same where it is an image, has no place in the patient, or is regular. Else
        pixels are interpolated linearly, in float32, and masks take the nearest
        voxel. `Study.notes` says what was done, and the metadata has ``resampled``
        instead of what it had of each slice.

    Raises
    ------
    StudyError
        Where the new grid would have more than 2^31 voxels.
    """
    grid = _grid(study)
    if grid is None or grid.regular:
        return study
    if len(grid.levels) * grid.shape[0] * grid.shape[1] > MAX_VOXELS:
        raise StudyError(
            f"{shown(study.source)}: a regular grid for these slices would have more "
            "than 2^31 voxels. Open the study without resampling."
        )
    fill = study.padding[0] if study.padding else float(np.nanmin(study.array))
    why = [f"a tilt of {grid.tilt:.1f} degrees"] if grid.tilt > TILT_DEGREES else []
    why += ["uneven slice spacing"] if grid.uneven else []
    note = (
        f"resampled for {' and '.join(why) or 'shifted slices'}: {study.slices} slices "
        f"became {len(grid.levels)}, linearly interpolated, masks by the nearest voxel"
    )
    metadata = {k: v for k, v in study.metadata.items() if k not in PER_SLICE}
    spacing = tuple(float(v) for v in np.linalg.norm(grid.affine_lps[:3, :3], axis=0))
    return replace(
        study,
        array=_linear(study.array, grid, fill),
        affine_lps=grid.affine_lps,
        spacing=spacing,
        masks={name: _nearest(mask, grid) for name, mask in study.masks.items()},
        notes=(*study.notes, note),
        metadata={**metadata, "resampled": True},
    )


def _grid(study: Study) -> _Grid | None:
    affine = study.affine_lps
    if affine is None or not study.is_volume or study.slices < 2:
        return None
    spacing = np.linalg.norm(affine[:3, 1:3], axis=0)
    down, right = affine[:3, 1] / spacing[0], affine[:3, 2] / spacing[1]
    if abs(float(down @ right)) > 1e-3:
        return None  # sheared within the slice: not what a tilted gantry does
    across = np.cross(right, down)
    across *= np.sign(across @ affine[:3, 0]) / np.linalg.norm(across)
    known = study.metadata.get("positions")
    if known is None:
        known = [affine[:3, 3] + k * affine[:3, 0] for k in range(study.slices)]
    places = np.array(known, dtype=float) - np.array(known[0], dtype=float)
    heights = places @ across
    if np.diff(heights).min() <= 0:
        return None
    offsets = np.stack([places @ down, places @ right], axis=1) / spacing
    least = offsets.min(axis=0)
    extent = np.ceil(np.ptp(offsets, axis=0) - 1e-3).astype(int)
    step = float(np.median(np.diff(heights)))
    count = int(np.floor(heights[-1] / step + 1e-3)) + 1
    regular = affine.copy()
    regular[:3, 0] = across * step
    regular[:3, 3] = np.array(known[0], dtype=float) + (
        least[0] * affine[:3, 1] + least[1] * affine[:3, 2]
    )
    way = places[-1] / np.linalg.norm(places[-1])
    return _Grid(
        heights=heights,
        levels=np.minimum(np.arange(count) * step, heights[-1]),
        shifts=offsets - least,
        shape=(study.shape[1] + int(extent[0]), study.shape[2] + int(extent[1])),
        affine_lps=regular,
        tilt=float(np.degrees(np.arccos(np.clip(way @ across, -1, 1)))),
    )


def _linear(array: NDArray[Any], grid: _Grid, fill: float) -> NDArray[np.float32]:
    """Between the two slices around each level; `fill` where either has no pixel."""
    result = np.full(
        (len(grid.levels), *grid.shape, *array.shape[3:]), fill, np.float32
    )
    below = np.clip(
        np.searchsorted(grid.heights, grid.levels, side="right") - 1,
        0,
        len(grid.heights) - 2,
    )
    moved: dict[int, NDArray[np.float32]] = {}
    for level, first in enumerate(map(int, below)):
        moved = {
            k: moved[k] if k in moved else _moved(array[k], grid.shifts[k], grid.shape)
            for k in (first, first + 1)
        }
        gap = grid.heights[first + 1] - grid.heights[first]
        weight = np.float32((grid.levels[level] - grid.heights[first]) / gap)
        if weight < 1e-6 or weight > 1 - 1e-6:
            values = moved[first + round(float(weight))]
        else:
            values = (1 - weight) * moved[first] + weight * moved[first + 1]
        np.copyto(result[level], values, where=~np.isnan(values))
    return result


def _moved(
    pixels: NDArray[Any], shift: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Lay a slice onto a larger one, by a part of a pixel; NaN where it is not."""
    values = pixels.astype(np.float32)
    start = np.floor(shift + 1e-3).astype(int)
    for axis, part in enumerate(shift - start):
        if part > 1e-3:
            # Between pixels only: beyond the last one there is nothing to mix with.
            one = values.take(range(values.shape[axis] - 1), axis)
            other = values.take(range(1, values.shape[axis]), axis)
            values = np.float32(part) * one + np.float32(1 - part) * other
            start[axis] += 1
    result = np.full((*shape, *pixels.shape[2:]), np.nan, np.float32)
    rows, columns = values.shape[:2]
    result[start[0] : start[0] + rows, start[1] : start[1] + columns] = values
    return result


def _nearest(mask: NDArray[np.bool_], grid: _Grid) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = np.zeros((len(grid.levels), *grid.shape), bool)
    rows, columns = mask.shape[1:]
    for level, height in enumerate(grid.levels):
        nearest = int(np.abs(grid.heights - height).argmin())
        top, left = np.rint(grid.shifts[nearest]).astype(int)
        result[level, top : top + rows, left : left + columns] = mask[nearest]
    return result
