"""Slices, maps and masks brought to the size at which they are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["border", "picture_size", "resized_map", "resized_mask", "resized_slice"]


def picture_size(
    shape: tuple[int, ...], *, aspect: float = 1.0, size: int | None = 320
) -> tuple[int, int]:
    """Rows and columns at which a slice is drawn.

    Parameters
    ----------
    shape : tuple of int
        (row, column, ...) of the slice.
    aspect : float
        Height of a pixel over its width.
    size : int or None
        Pixels along the short side; None draws one pixel for each of the slice, more
        along the axis on which pixels are longer.

    Returns
    -------
    tuple of int
    """
    rows, columns = shape[0] * max(aspect, 1.0), shape[1] * max(1.0 / aspect, 1.0)
    factor = 1.0 if size is None else size / min(rows, columns)
    return max(1, round(rows * factor)), max(1, round(columns * factor))


def resized_slice(image: NDArray[np.uint8], rows: int, columns: int) -> Image.Image:
    """Fit a slice to the picture, smoothly."""
    picture = Image.fromarray(image).convert("RGB")
    if picture.size == (columns, rows):
        return picture
    return picture.resize((columns, rows), Image.Resampling.BICUBIC)


def resized_map(
    values: NDArray[np.float32], rows: int, columns: int
) -> NDArray[np.float32]:
    """Fit a map to the picture: its pixels stay pixels, fewer become their mean."""
    if values.shape == (rows, columns):
        return values
    finer = rows >= values.shape[0] and columns >= values.shape[1]
    how = Image.Resampling.NEAREST if finer else Image.Resampling.BOX
    source = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    return np.asarray(Image.fromarray(source).resize((columns, rows), how))


def resized_mask(mask: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.bool_]:
    """Fit a mask to the picture; a mask of one pixel survives."""
    if mask.shape == (rows, columns):
        return mask
    source = Image.fromarray(mask.astype(np.float32))
    finer = rows >= mask.shape[0] and columns >= mask.shape[1]
    how = Image.Resampling.NEAREST if finer else Image.Resampling.BOX
    fitted: NDArray[np.bool_] = np.asarray(source.resize((columns, rows), how)) > 0
    return fitted


def border(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels of the mask with a 4-neighbour outside; the picture's edge is outside."""
    inner = mask
    for _ in range(width):
        padded = np.pad(inner, 1)
        inner = (
            inner
            & padded[:-2, 1:-1]
            & padded[2:, 1:-1]
            & padded[1:-1, :-2]
            & padded[1:-1, 2:]
        )
    return mask & ~inner
