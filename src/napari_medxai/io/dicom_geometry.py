"""Where a stack of DICOM frames lies in the patient: affine, spacing, gaps, tilt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dicom_frames import Frame

__all__ = [
    "TILT_DEGREES",
    "UNEVEN",
    "Geometry",
    "evenly_spaced",
    "frame_name",
    "geometry",
    "slice_normal",
    "slice_positions",
]

UNEVEN = 0.02
GAP = 1.5
TILT_DEGREES = 0.2


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where a stack lies: affine, spacing of (slice, row, column), and notes."""

    affine_lps: NDArray[np.float64] | None
    spacing: tuple[float, ...] | None
    notes: tuple[str, ...]


def slice_normal(frame: Frame) -> NDArray[np.float64]:
    """Return the unit vector across a frame: row times column direction."""
    assert frame.orientation is not None
    cross = np.cross(frame.orientation[:3], frame.orientation[3:])
    normal: NDArray[np.float64] = cross / np.linalg.norm(cross)
    return normal


def slice_positions(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Stack the ImagePositionPatient of each frame, shape (n, 3)."""
    return np.array([frame.position for frame in frames], dtype=float)


def frame_name(frame: Frame) -> str:
    """Name a frame by its number and place; file names often name the patient."""
    parts = []
    if frame.frames > 1:
        parts.append(f"frame {frame.index + 1}")
    elif frame.instance is not None:
        parts.append(f"instance {frame.instance}")
    if frame.position is not None:
        parts.append(f"at {slice_normal(frame) @ np.array(frame.position):.2f} mm")
    return " ".join(parts) or "an image without number and position"


def evenly_spaced(frames: Sequence[Frame]) -> bool:
    """Whether slices in order have one distance along the normal, to 2 %."""
    gaps = np.diff(slice_positions(frames) @ slice_normal(frames[0]))
    usual = float(np.median(gaps)) if gaps.size else 0.0
    return bool(np.abs(gaps - usual).max(initial=0.0) <= UNEVEN * usual)


def geometry(frames: Sequence[Frame]) -> Geometry:
    """Compute a stack's affine from its positions (DICOM PS3.3 C.7.6.2.1.1).

    Parameters
    ----------
    frames : sequence of Frame
        In slice order.

    Returns
    -------
    Geometry
        Columns of the affine: the step from slice to slice, as the positions give
        it, so that a tilted gantry shears; the step from row to row along
        ImageOrientationPatient[3:]; from column to column along [:3]. Spacing has
        three values, the first meaningless where there is a single frame.
    """
    first = frames[0]
    notes: list[str] = []
    if first.spacing is None:
        notes.append("no pixel spacing in the header: nothing can be given in mm")
        return Geometry(None, None, tuple(notes))
    if first.position is None or first.orientation is None:
        if len(frames) > 1:
            notes.append("frames without position: kept in the order of the file")
            return Geometry(None, None, tuple(notes))
        notes.append("no position and orientation in the header")
        return Geometry(None, (1.0, *first.spacing), tuple(notes))
    normal = slice_normal(first)
    step = normal * (first.thickness or 1.0)
    if len(frames) > 1:
        step = _step(frames, normal, notes)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing[0]
    affine[:3, 2] = np.array(first.orientation[:3]) * first.spacing[1]
    affine[:3, 3] = first.position
    spacing = (float(np.linalg.norm(step)), *first.spacing)
    return Geometry(affine, spacing, tuple(notes))


def _step(
    frames: Sequence[Frame], normal: NDArray[np.float64], notes: list[str]
) -> NDArray[np.float64]:
    """Mean step from slice to slice; the regular one where a slice is missing."""
    positions = slice_positions(frames)
    total = positions[-1] - positions[0]
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    # One step per mm along the normal: the direction, tilt included.
    direction = total / float(gaps.sum())
    if float(np.abs(gaps - usual).max()) <= UNEVEN * usual:
        usual = float(gaps.mean())
    else:
        _note_gaps(frames, gaps, usual, notes)
    step: NDArray[np.float64] = direction * usual
    cosine = float(step @ normal) / float(np.linalg.norm(step))
    tilt = float(np.degrees(np.arccos(min(1.0, cosine))))
    if tilt > TILT_DEGREES:
        notes.append(
            f"slices are tilted by {tilt:.1f} degrees against their stacking direction "
            "(gantry tilt): the grid is sheared"
        )
    offsets = (
        positions
        - positions[0]
        - np.outer((positions - positions[0]) @ normal, direction)
    )
    shift = float(np.linalg.norm(offsets, axis=1).max())
    if shift > 0.5 * min(frames[0].spacing or (1.0,)):
        notes.append(
            f"slices are shifted against each other in their plane by up to "
            f"{shift:.1f} mm; the affine follows the mean"
        )
    return step


def _note_gaps(
    frames: Sequence[Frame],
    gaps: NDArray[np.float64],
    usual: float,
    notes: list[str],
) -> None:
    holes = [int(i) for i in np.flatnonzero(gaps > GAP * usual)]
    for i in holes[:5]:
        missing = round(float(gaps[i]) / usual) - 1
        notes.append(
            f"GAP of {gaps[i]:.2f} mm instead of {usual:.2f} mm between "
            f"{frame_name(frames[i])} and {frame_name(frames[i + 1])}: about {missing} "
            "missing; millimetres beyond it are wrong by the gap"
        )
    if len(holes) > 5:
        notes.append(f"and {len(holes) - 5} more gaps")
    regular = np.delete(gaps, holes)
    if float(np.abs(regular - usual).max(initial=0.0)) > UNEVEN * usual:
        notes.append(
            f"slice spacing varies from {regular.min():.2f} to {regular.max():.2f} mm; "
            f"the median, {usual:.2f} mm, is used"
        )
