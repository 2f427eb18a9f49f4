"""The planes of a study's slices in the patient: where each pixel centre lies.

DICOM gives the centre of a slice's first pixel (ImagePositionPatient, PS3.3
C.7.6.2.1.1), so pixel (r, c) of slice k has its centre at
``origin[k] + r * row_step + c * column_step``, and covers half a step to each side.
Each slice keeps its own origin: a missing slice or a tilted gantry moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_medxai.study import Study

__all__ = ["Planes", "planes_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Planes:
    """Where slices lie; millimetres in the patient system LPS.

    Attributes
    ----------
    origins : ndarray, shape (n, 3)
        Centre of the first pixel of each slice.
    row_step, column_step : ndarray, shape (3,)
        From a row to the next, from a column to the next.
    thickness : float
        Distance between neighbouring slices along the normal (the median); for a
        single slice its thickness.
    shape : tuple of int
        (rows, columns).
    """

    origins: Floats
    row_step: Floats
    column_step: Floats
    thickness: float
    shape: tuple[int, int]

    @property
    def normal(self) -> Floats:
        """Unit vector across the slices: column direction times row direction."""
        cross = np.cross(self.column_step, self.row_step)
        normal: Floats = cross / np.linalg.norm(cross)
        return normal

    @property
    def along(self) -> Floats:
        """Position of each slice along the normal in mm, shape (n,)."""
        along: Floats = self.origins @ self.normal
        return along

    @property
    def spacing(self) -> tuple[float, float]:
        """Millimetres from row to row and from column to column."""
        return (
            float(np.linalg.norm(self.row_step)),
            float(np.linalg.norm(self.column_step)),
        )

    def some(self, indices: NDArray[np.intp]) -> Planes:
        """Keep only these slices."""
        return replace(self, origins=self.origins[indices])

    def corners(self) -> Floats:
        """First pixel, last of the first column, last of the first row: (n, 3, 3)."""
        rows, columns = self.shape
        steps = np.stack(
            [
                np.zeros(3),
                self.row_step * (rows - 1),
                self.column_step * (columns - 1),
            ]
        )
        return self.origins[:, None] + steps

    def seen_from(self, index: int, axes: Floats, offset: Floats) -> list[Floats]:
        """Coordinates of a slice's pixel centres in another system.

        Parameters
        ----------
        index : int
            The slice.
        axes : ndarray, shape (3, 3)
            A row for each coordinate: what it grows by along x, y and z, per mm.
        offset : ndarray, shape (3,)
            The coordinates of the patient system's origin.

        Returns
        -------
        list of ndarray, shape (rows, columns)
            One for each coordinate.
        """
        rows, columns = self.shape
        start = axes @ self.origins[index] + offset
        down, across = axes @ self.row_step, axes @ self.column_step
        row, column = np.arange(rows)[:, None], np.arange(columns)
        return [
            start[axis] + down[axis] * row + across[axis] * column for axis in range(3)
        ]

    def in_plane(self, points: Floats, index: int) -> Floats:
        """Project points, shape (n, 3), onto a slice: (row, column), shape (n, 2)."""
        away = points - self.origins[index]
        steps = np.stack([self.row_step, self.column_step])
        pixels: Floats = away @ steps.T / (steps**2).sum(axis=1)
        return pixels


def planes_of(study: Study) -> Planes | None:
    """Planes of a study, None where it does not know how it lies in the patient.

    DICOM's own positions count where there are any, else the affine.
    """
    affine = study.affine_lps
    if affine is None:
        return None
    rows, columns = study.shape[-2:]
    origins = affine[:3, 3] + np.arange(study.slices)[:, None] * affine[:3, 0]
    positions = study.metadata.get("positions") or ()
    if len(positions) == study.slices and all(p is not None for p in positions):
        origins = np.array(positions, dtype=float)
    planes = Planes(origins, affine[:3, 1], affine[:3, 2], 1.0, (rows, columns))
    thickness = abs(float(affine[:3, 0] @ planes.normal))
    return replace(planes, thickness=thickness)
