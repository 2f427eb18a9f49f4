"""What goes into the information curves, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medxai.errors import MetricError
from napari_medxai.metrics.interpolation import random_mask

Image: TypeAlias = NDArray[np.uint8]
BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.float64]
Predict: TypeAlias = Callable[[Image], ArrayLike]
Progress: TypeAlias = Callable[[int, int], object]


def checked_image(image: Image, *, volume: bool = False) -> Image:
    """Image as uint8 array of (H, W) or (H, W, C), (D, ...) of a volume."""
    array = np.asarray(image)
    first = 1 if volume else 0
    wanted = "(D, H, W) or (D, H, W, C)" if volume else "(H, W) or (H, W, C)"
    if array.dtype != np.uint8:
        raise MetricError(
            f"information curves need an image of type uint8, not {array.dtype}; give"
            " the network's 8-bit input image"
        )
    if (
        array.ndim not in (first + 2, first + 3)
        or min(array.shape[first : first + 2]) < 2
        or 0 in array.shape
    ):
        raise MetricError(
            f"information curves need an image of shape {wanted} of at"
            f" least 2 x 2 pixels, not {array.shape}"
        )
    return array


def checked_mask(
    mask: BoolArray | None, shape: tuple[int, ...], seed: int
) -> BoolArray:
    """Mask given, or drawn from the seed where None."""
    if mask is None:
        return random_mask(shape, seed=seed)
    array = np.asarray(mask)
    if array.dtype != np.bool_ or array.shape != shape:
        raise MetricError(
            f"the random mask must be bool of shape {shape}, the image's, not"
            f" {array.dtype} of {array.shape}"
        )
    return array


def checked_map(saliency_map: NDArray[Any], mask: BoolArray) -> NDArray[Any]:
    """Saliency map on the image's grid, all finite, in its own precision."""
    array = np.asarray(saliency_map)
    if array.shape != mask.shape:
        raise MetricError(
            f"the saliency map has shape {array.shape}, the image"
            f" {mask.shape}; information curves need both on one grid"
        )
    if not np.isfinite(array).all():
        raise MetricError(
            "the saliency map holds NaN or infinite values; its pixels cannot be"
            " put in order"
        )
    return array


def predicted(predict: Predict, images: Image) -> FloatArray:
    """Probabilities (B, K) of the images, all finite."""
    probabilities = np.asarray(predict(images), dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[0] != len(images):
        raise MetricError(
            f"predict gave shape {probabilities.shape} for {len(images)} images; it"
            " must return (images, classes)"
        )
    if not np.isfinite(probabilities).all():
        raise MetricError(
            "the network predicts NaN or infinite probabilities; check its weights"
            " and its preprocessing"
        )
    return probabilities
