"""How a native slice stands on a screen: radiological convention, window, letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .study import Study

__all__ = ["OPPOSITE", "Screen", "screen_codes", "window_image"]

OPPOSITE = dict(zip("RLAPIS", "LRPASI", strict=True))
# Directions of rows and columns on a radiologist's screen, by slice direction.
SCREEN = {"S": ("P", "L"), "P": ("I", "L"), "L": ("I", "P")}


def screen_codes(codes: tuple[str, str, str]) -> tuple[str, str]:
    """Directions in which rows and columns grow on screen.

    Parameters
    ----------
    codes : tuple of str
        Directions of (slice, row, column), as :attr:`Study.codes` gives them.

    Returns
    -------
    tuple of str
        ``("P", "L")`` for axial, ``("I", "L")`` for coronal and ``("I", "P")`` for
        sagittal slices: the patient's right on the left of the screen.
    """
    return SCREEN[codes[0] if codes[0] in SCREEN else OPPOSITE[codes[0]]]


@dataclass(frozen=True)
class Screen:
    """How to turn a native slice for the screen.

    Attributes
    ----------
    transpose, flip_rows, flip_columns : bool
        Applied in this order.
    letters : tuple of str or None
        What stands at the (top, bottom, left, right) edge; None without orientation.
    aspect : float
        Height of a pixel over its width, as shown.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    letters: tuple[str, str, str, str] | None = None
    aspect: float = 1.0

    @classmethod
    def of(cls, study: Study) -> Screen:
        """Work out the turn for slices of this study."""
        spacing = study.spacing[-2:] if study.spacing is not None else (1.0, 1.0)
        if study.codes is None:
            return cls(aspect=float(spacing[0] / spacing[1]))
        rows, columns = screen_codes(study.codes)
        native = list(study.codes[1:])
        transpose = native[0] not in (rows, OPPOSITE[rows])
        if transpose:
            native.reverse()
            spacing = spacing[::-1]
        return cls(
            transpose=transpose,
            flip_rows=native[0] != rows,
            flip_columns=native[1] != columns,
            letters=(OPPOSITE[rows], rows, OPPOSITE[columns], columns),
            aspect=float(spacing[0] / spacing[1]),
        )

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn a native slice (row, column[, colour]) for the screen."""
        if self.transpose:
            array = np.swapaxes(array, 0, 1)
        if self.flip_rows:
            array = array[::-1]
        if self.flip_columns:
            array = array[:, ::-1]
        return np.ascontiguousarray(array)


def window_image(study: Study, index: int | None = None) -> NDArray[np.uint8]:
    """Return a slice as 8-bit picture: the header's window, or its percentiles.

    Parameters
    ----------
    study : Study
    index : int, optional
        Slice; None for an image.

    Returns
    -------
    ndarray of uint8, shape (row, column) or (row, column, 3)
    """
    array = study.array if index is None else study.array[index]
    if array.dtype == np.uint8 and study.window is None:
        return np.array(array)
    data = np.asarray(array, dtype=np.float32)
    if study.padding is not None:
        first, last = study.padding
        data = np.where((data >= first) & (data <= last), np.nan, data)
    finite = data[np.isfinite(data)]
    if finite.size == 0:
        return np.zeros(data.shape, dtype=np.uint8)
    low, high = study.window or np.percentile(finite, (0.5, 99.8))
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    if high <= low:
        return np.zeros(data.shape, dtype=np.uint8)
    scaled = (np.nan_to_num(data, nan=low) - low) / (high - low) * 255
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
