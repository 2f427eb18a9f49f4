"""The X-ray tube and its detector: rays, projection, and the laying down of mass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float32]
Reals = NDArray[np.floating[Any]]

DETECTOR = 150.0
"""How far in front of the patient's middle (behind it in AP) the detector is, mm."""


@dataclass(frozen=True)
class View:
    """A cone-beam projection of the patient onto a square detector.

    Attributes
    ----------
    size : int
        Rows and columns.
    pixel : float
        Their spacing on the detector in mm.
    distance : float
        From the tube's focus to the detector in mm.
    frontal : str
        ``PA`` (detector at the chest) or ``AP`` (at the back).
    turn : ndarray, shape (3, 3)
        Patient to room; the room's axes are those of an upright patient.
    scale : float
        Of the patient: room mm for a mm of the model.
    centre : tuple of float
        Room x and z in mm that the detector's middle shows at its own plane.
    """

    size: int
    pixel: float
    distance: float
    frontal: str
    turn: Floats
    scale: float
    centre: tuple[float, float]
    _plane: tuple[Floats, Floats] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        axis = (np.arange(self.size) - (self.size - 1) / 2) * self.pixel
        x, z = np.meshgrid(axis + self.centre[0], self.centre[1] - axis)
        plane = (x.astype(np.float32).ravel(), z.astype(np.float32).ravel())
        object.__setattr__(self, "_plane", plane)

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int) -> View:
        """Draw a view; one in three is a bedside AP."""
        bedside = bool(rng.random() < 0.33)
        spread = np.array([5.0, 3.5, 4.0]) if bedside else np.array([3.0, 1.5, 2.0])
        angles = rng.normal(0, 1, 3) * spread / 1.5
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        middle = rng.normal(0, 9 if bedside else 5, 2)
        field_of_view = float(rng.uniform(345, 425))
        return cls(
            size=size,
            pixel=field_of_view / size,
            distance=float(rng.uniform(1000, 1250) if bedside else 1800),
            frontal="AP" if bedside else "PA",
            turn=turn.astype(np.float32),
            scale=float(rng.uniform(0.92, 1.08)),
            centre=(float(middle[0]), float(middle[1]) - 138.0),
        )

    def _magnified(self, depth: Floats | float) -> Floats | float:
        behind = DETECTOR + depth if self.frontal == "PA" else DETECTOR - depth
        return self.distance / (self.distance - behind)

    def planes(self, step: float) -> Iterator[Floats]:
        """Patient points (3, size²) where all rays cross planes ``step`` mm apart."""
        x, z = self._plane
        back = self.turn.T / np.float32(self.scale)
        for depth in np.arange(-140 + step / 2, 140, step):
            grow = self._magnified(float(depth))
            room = np.stack([x / grow, np.full_like(x, depth), z / grow])
            yield back @ room.astype(np.float32)

    def project(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Row, column and magnification of patient points (3, n)."""
        room = self.turn @ points * np.float32(self.scale)
        grow = np.asarray(self._magnified(room[1]), np.float32)
        middle = (self.size - 1) / 2
        column = (room[0] * grow - self.centre[0]) / self.pixel + middle
        row = (self.centre[1] - room[2] * grow) / self.pixel + middle
        return row, column, grow

    def lay(self, points: Floats, volumes: Floats) -> Floats:
        """Thickness in mm, (size, size), of small volumes (mm³) at points (3, n).

        Each is shared among the four pixels around it.
        """
        row, column, grow = self.project(points)
        share = volumes * (self.scale * grow) ** 2 * self.scale / self.pixel**2
        top, left = np.floor(row).astype(int), np.floor(column).astype(int)
        down, right = row - top, column - left
        out = np.zeros(self.size * self.size)
        for i, part_i in ((0, 1 - down), (1, down)):
            for j, part_j in ((0, 1 - right), (1, right)):
                r, c = top + i, left + j
                seen = (r >= 0) & (r < self.size) & (c >= 0) & (c < self.size)
                where = r[seen] * self.size + c[seen]
                weight = (share * part_i * part_j)[seen]
                out += np.bincount(where, weight, minlength=out.size)
        return out.reshape(self.size, self.size).astype(np.float32)
