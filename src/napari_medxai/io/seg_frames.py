"""Where the frames of a DICOM SEG lie, and which slices of a study they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .dicom_access import functional, numbers
from .planes import Planes

__all__ = ["Frames", "frames_of", "same_slices"]

SAME_PIXELS = 0.05
"""A frame is on a slice's grid where no corner is off by more, in pixels."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of a SEG that share orientation and spacing.

    Attributes
    ----------
    indices : ndarray of int, shape (f,)
        Their numbers in the file, from 0.
    planes : Planes
        Where they lie.
    """

    indices: NDArray[np.intp]
    planes: Planes


def frames_of(seg: Dataset, count: int, shape: tuple[int, int]) -> list[Frames] | None:
    """Group frames by orientation and spacing; None where one has no place."""
    groups: dict[tuple[float, ...], list[tuple[int, tuple[float, ...]]]] = {}
    thickness = spacing_between = None
    for index in range(count):
        plane = functional(seg, index, "PlanePositionSequence")
        turn = functional(seg, index, "PlaneOrientationSequence")
        measures = functional(seg, index, "PixelMeasuresSequence")
        if plane is None or turn is None or measures is None:
            return None
        position = numbers(plane, "ImagePositionPatient", 3)
        direction = numbers(turn, "ImageOrientationPatient", 6)
        spacing = numbers(measures, "PixelSpacing", 2)
        if position is None or direction is None or spacing is None:
            return None
        groups.setdefault((*direction, *spacing), []).append((index, position))
        thickness = thickness or numbers(measures, "SliceThickness", 1)
        spacing_between = spacing_between or numbers(
            measures, "SpacingBetweenSlices", 1
        )
    stated = spacing_between or thickness or (1.0,)
    result = []
    for key, members in groups.items():
        planes = Planes(
            np.array([position for _, position in members], dtype=float),
            np.array(key[3:6]) * key[6],
            np.array(key[:3]) * key[7],
            abs(stated[0]),
            shape,
        )
        gaps = np.diff(np.unique(np.round(planes.along, 3)))
        if spacing_between is None and gaps.size:
            # Frames can be missing: the smallest distance is that of neighbours.
            planes = replace(planes, thickness=float(gaps.min()))
        indices = np.array([index for index, _ in members], dtype=np.intp)
        result.append(Frames(indices, planes))
    return result


def same_slices(frames: Planes, target: Planes) -> NDArray[np.intp] | None:
    """Slice of each frame, -1 beyond them; None where one needs resampling."""
    if frames.shape != target.shape:
        return None
    own, other = frames.corners(), target.corners()
    distances = np.linalg.norm(own[:, None, 0] - other[None, :, 0], axis=-1)
    nearest = distances.argmin(axis=1)
    off = own - other[nearest]
    limit = SAME_PIXELS * min(*target.spacing, target.thickness)
    same = np.linalg.norm(off, axis=-1).max(axis=1) <= limit
    depth = off @ target.normal
    beyond = (np.abs(depth).min(axis=1) > target.thickness / 2 + limit) & (
        np.ptp(depth, axis=1) <= limit
    )
    if not (same | beyond).all():
        return None
    return np.where(same, nearest, -1).astype(np.intp)
