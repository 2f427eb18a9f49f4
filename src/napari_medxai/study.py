"""A study: native pixels, their place in the patient, masks and provenance.

Pure data, no reading. Array axes are ``(slice, row, column)`` for a volume and
``(row, column)`` for an image; a colour axis, where there is one, comes last.
Affines name their frame: ``affine_lps`` maps homogeneous voxel indices
``(slice, row, column, 1)`` to millimetres in DICOM's patient system, in which x
grows to the patient's Left, y to the Posterior and z to the Superior (head).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import StudyError

__all__ = ["Series", "Study", "axis_codes", "lps_from_ras", "spacing_of"]

LPS_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))


def lps_from_ras(affine_ras: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn an affine onto RAS millimetres into one onto LPS millimetres.

    Parameters
    ----------
    affine_ras : ndarray, shape (4, 4)
        Voxel indices to RAS millimetres, as NIfTI defines it.

    Returns
    -------
    ndarray, shape (4, 4)
        The same voxel axes, onto LPS millimetres.
    """
    flip: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine_lps: NDArray[np.float64] = flip @ np.asarray(affine_ras, dtype=float)
    return affine_lps


def spacing_of(affine_lps: NDArray[np.float64]) -> tuple[float, float, float]:
    """Spacing in mm along (slice, row, column): the norms of the columns."""
    norms = np.linalg.norm(np.asarray(affine_lps, dtype=float)[:3, :3], axis=0)
    return (float(norms[0]), float(norms[1]), float(norms[2]))


def axis_codes(affine_lps: NDArray[np.float64]) -> tuple[str, str, str]:
    """Name the patient direction in which each array axis grows.

    Parameters
    ----------
    affine_lps : ndarray, shape (4, 4)
        (slice, row, column, 1) to LPS millimetres.

    Returns
    -------
    tuple of str
        For example ``("S", "P", "L")`` for an axial stack in radiological
        convention. Each patient axis is used once: the assignment is the one
        with the largest total alignment, so that oblique stacks get the nearest.
    """
    directions = np.asarray(affine_lps, dtype=float)[:3, :3]
    directions = directions / np.linalg.norm(directions, axis=0, keepdims=True)
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    best = max(
        orders, key=lambda order: sum(abs(directions[order[a], a]) for a in range(3))
    )
    codes = [LPS_LETTERS[best[a]][int(directions[best[a], a] > 0)] for a in range(3)]
    return (codes[0], codes[1], codes[2])


@dataclass(frozen=True)
class Series:
    """One readable thing inside a file or folder, before its pixels are loaded.

    Attributes
    ----------
    key : str
        What ``load_study(path, series=key)`` takes: a SeriesInstanceUID (with a
        suffix where one series splits into several stacks), or a file's name.
    description : str
        For people: modality, description, size. Never a patient's name.
    files : tuple of Path
        The files in the order of their position along the slice normal.
    modality : str
        DICOM's Modality, or "" where the file has none.
    shape : tuple of int
        (slices, rows, columns); one slice for an image.
    patient : str or None
        A pseudonym, never the identity.
    """

    key: str
    description: str
    files: tuple[Path, ...]
    modality: str = ""
    shape: tuple[int, ...] = ()
    patient: str | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """Native pixels with geometry, ground truth and where they came from.

    Attributes
    ----------
    array : ndarray
        Pixels after rescale, (slice, row, column) or (row, column), colour last.
    source : Path
        The file or folder that was opened.
    affine_lps : ndarray, shape (4, 4), or None
        (slice, row, column, 1) to LPS millimetres; for an image slice is 0.
        None where the file has no orientation.
    spacing : tuple of float or None
        Millimetres along the array's spatial axes; None where unknown.
    masks : mapping of str to bool ndarray
        Ground truth on the same grid, by name.
    colour : bool
        Whether the last axis of `array` is colour.
    modality : str
        DICOM's Modality, "" where the file has none.
    patient : str or None
        A pseudonym or a research identifier, never the identity.
    identifier : str
        A name fit for tables and layers: a file's name, or for DICOM the
        pseudonym of patient and series.
    inverted : bool
        True where stored MONOCHROME1 values were inverted.
    window : tuple of float or None
        The header's VOI window as (low, high) in units of `array`.
    padding : tuple of float or None
        Values in this closed range, in units of `array`, stand for "no pixel here"
        (DICOM's PixelPaddingValue and PixelPaddingRangeLimit). They are kept.
    notes : tuple of str
        What the reader found or did that a careful person wants to know.
    files : tuple of Path
        The files the pixels came from, in slice order.
    metadata : mapping
        What exporters need; not for display.
    """

    array: NDArray[Any]
    source: Path
    affine_lps: NDArray[np.float64] | None = None
    spacing: tuple[float, ...] | None = None
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    colour: bool = False
    modality: str = ""
    patient: str | None = None
    identifier: str = ""
    inverted: bool = False
    window: tuple[float, float] | None = None
    padding: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that pixels, affine, spacing and masks agree."""
        if len(self.shape) not in (2, 3) or 0 in self.array.shape:
            raise StudyError(
                f"{self.source.name}: the pixels have shape {self.array.shape}; an "
                "image (row, column) or a volume (slice, row, column) is needed."
            )
        if self.affine_lps is not None and self.affine_lps.shape != (4, 4):
            raise StudyError(f"{self.source.name}: the affine is not 4x4.")
        if self.spacing is not None and len(self.spacing) != len(self.shape):
            raise StudyError(
                f"{self.source.name}: {len(self.spacing)} spacings for "
                f"{len(self.shape)} axes."
            )
        for name, mask in self.masks.items():
            if mask.shape != self.shape or mask.dtype != np.bool_:
                raise StudyError(
                    f"{self.source.name}: mask '{name}' is {mask.dtype} of shape "
                    f"{mask.shape}; bool of shape {self.shape} is needed."
                )

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape, without colour."""
        return self.array.shape[:-1] if self.colour else self.array.shape

    @property
    def is_volume(self) -> bool:
        """Whether there is a slice axis."""
        return len(self.shape) == 3

    @property
    def slices(self) -> int:
        """How many slices there are; 1 for an image."""
        return self.shape[0] if self.is_volume else 1

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """The union of all masks, or None where there is no mask."""
        if not self.masks:
            return None
        union: NDArray[np.bool_] = np.logical_or.reduce(list(self.masks.values()))
        return union

    @property
    def codes(self) -> tuple[str, str, str] | None:
        """Patient direction of each array axis, None without orientation."""
        return None if self.affine_lps is None else axis_codes(self.affine_lps)

    def with_masks(self, masks: Mapping[str, NDArray[np.bool_]], *notes: str) -> Study:
        """Return the same study with these masks, and notes on them added."""
        return replace(self, masks=dict(masks), notes=self.notes + notes)
