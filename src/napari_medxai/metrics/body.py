"""What of an image is body: where a chance map may lie."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_medxai.errors import MetricError

__all__ = ["body_mask"]

BoolArray: TypeAlias = NDArray[np.bool_]

SMOOTHING = 0.01  # standard deviation, of the image's mean length
FRACTION = 0.5  # of Otsu's threshold
SMALLEST_PART = 0.1  # of the largest connected part
SMALLEST_BODY = 0.05  # of the image without its padding
CHANNELS = 4


def body_mask(image: NDArray[np.uint8], padding: BoolArray | None = None) -> BoolArray:
    """Tell the body from the background and the padding.

    The smoothed image above half of Otsu's threshold (Otsu 1979,
    doi:10.1109/TSMC.1979.4310076), without its small parts, holes filled. Half,
    because the threshold itself lies between dark tissue and bright: it cuts the lungs
    out of a radiograph and the jaw out of a head. The background must be dark, as
    that of MR, CT and radiographs is (MONOCHROME1 after its inversion).

    Parameters
    ----------
    image
        uint8, ``(H, W)`` or ``(H, W, C)``; for volumes ``(D, H, W[, C])``. Without
        `padding` a last axis of at most four is taken for channels.
    padding
        bool, of the spatial shape: pixels that were added around the image.

    Returns
    -------
    numpy.ndarray
        bool, of the spatial shape, never empty. Everything but the padding where no
        body is found: a constant image, or one whose body would be less than 5 % of
        it; everything where all is padding.

    Raises
    ------
    MetricError
        If the padding does not fit the image.
    """
    grey = _grey(image, padding)
    inside = np.ones(grey.shape, np.bool_) if padding is None else ~padding
    if not inside.any():
        return np.ones(grey.shape, dtype=np.bool_)
    values = grey[inside]
    if values.min() == values.max():
        return inside
    smooth = _smoothed(grey, inside)
    otsu = threshold_otsu(smooth[inside])  # type: ignore[no-untyped-call]
    parts, count = ndimage.label((smooth > FRACTION * otsu) & inside)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = (sizes >= SMALLEST_PART * sizes.max()) & (sizes > 0)
    body: BoolArray = _filled(kept[parts]) & inside
    if np.count_nonzero(body) < SMALLEST_BODY * np.count_nonzero(inside):
        return inside
    return body


def _grey(image: NDArray[np.uint8], padding: BoolArray | None) -> NDArray[np.float64]:
    array: NDArray[Any] = np.asarray(image)
    axes = array.ndim - 1 if array.shape[-1] <= CHANNELS else array.ndim
    if padding is not None:
        axes = padding.ndim
        if padding.dtype != np.bool_ or array.shape[:axes] != padding.shape:
            raise MetricError(
                f"the padding must be bool of the image's shape {array.shape}, its"
                f" channels left out, not {padding.dtype} of {padding.shape}"
            )
    grey = array.astype(np.float64)
    return grey if axes == array.ndim else grey.mean(axis=-1)


def _smoothed(grey: NDArray[np.float64], inside: BoolArray) -> NDArray[np.float64]:
    """Smooth without letting the padding in."""
    sigma = SMOOTHING * float(np.mean(grey.shape))
    weight = ndimage.gaussian_filter(inside.astype(np.float64), sigma)
    total = ndimage.gaussian_filter(np.where(inside, grey, 0.0), sigma)
    smooth: NDArray[np.float64] = total / np.maximum(weight, 1e-9)
    return smooth


def _filled(body: BoolArray) -> BoolArray:
    """Fill holes; in a volume those of each slice."""
    if body.ndim == 2:
        return np.asarray(ndimage.binary_fill_holes(body))
    return np.stack([np.asarray(ndimage.binary_fill_holes(part)) for part in body])
