"""Overlapping segments of an image at several scales, as XRAI uses them."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import segmentation
from skimage.transform import resize

__all__ = ["dilated_segments", "image_segments", "label_images"]

Labels: TypeAlias = NDArray[np.int64]

FELZENSZWALB_SCALES = (50, 100, 150, 250, 500, 1200)
FELZENSZWALB_SIGMA = 0.8
FELZENSZWALB_MIN_SIZE = 150
FELZENSZWALB_SHAPE = (224, 224)
SUPERVOXEL_COUNTS = (16, 32, 64, 128, 256, 512)
SUPERVOXEL_COMPACTNESS = 0.1


def image_segments(image: NDArray[Any], radius: int) -> list[NDArray[np.int64]]:
    """Overlapping segments of an image at all scales, each grown by a disk (ball).

    Parameters
    ----------
    image
        (C, H, W), or (C, D, H, W).
    radius
        See :func:`dilated_segments`.

    Returns
    -------
    list of numpy.ndarray
        For each segment, from the finest scale on, the sorted flat indices of its
        pixels.
    """

    def grown(segment: Callable[[], Labels]) -> list[NDArray[np.int64]]:
        return dilated_segments(segment(), radius)

    # Felzenszwalb releases the interpreter's lock for most of its time.
    with ThreadPoolExecutor() as pool:
        scales = pool.map(grown, _segmentations(image))
        return [pixels for scale in scales for pixels in scale]


def label_images(image: NDArray[Any]) -> list[Labels]:
    """Segment an image at several scales.

    Parameters
    ----------
    image
        (C, H, W), or (C, D, H, W).

    Returns
    -------
    list of numpy.ndarray
        Label images of the image's spatial shape. In 2-D by Felzenszwalb, with
        PAIR's sizes and settings, on the image resized to 224 x 224 and scaled to
        [-1, 1]. In 3-D, where Felzenszwalb is not defined, SLIC supervoxels.
    """
    return [segment() for segment in _segmentations(image)]


def _segmentations(image: NDArray[Any]) -> list[Callable[[], Labels]]:
    """Make the calls that segment an image at each scale."""
    low, high = float(image.min()), float(image.max())
    # A constant image has no contrast to scale; every segment is then the image.
    span = (high - low) or 1.0
    scaled = (np.moveaxis(image, 0, -1).astype(np.float64) - low) / span * 2 - 1
    if image.ndim == 4:
        return [partial(_supervoxels, scaled, count) for count in SUPERVOXEL_COUNTS]
    small = resize(  # type: ignore[no-untyped-call]
        scaled,
        FELZENSZWALB_SHAPE,
        order=3,
        mode="constant",
        preserve_range=True,
        anti_aliasing=True,
    )
    return [
        partial(_regions, small, scale, scaled.shape[:2])
        for scale in FELZENSZWALB_SCALES
    ]


def _regions(image: NDArray[np.float64], scale: int, shape: tuple[int, ...]) -> Labels:
    labels = segmentation.felzenszwalb(
        image,
        scale=scale,
        sigma=FELZENSZWALB_SIGMA,
        min_size=FELZENSZWALB_MIN_SIZE,
    )
    if shape != FELZENSZWALB_SHAPE:
        labels = resize(  # type: ignore[no-untyped-call]
            labels,
            shape,
            order=0,
            mode="constant",
            preserve_range=True,
            anti_aliasing=False,
        )
    found: Labels = labels.astype(np.int64)
    return found


def _supervoxels(image: NDArray[np.float64], count: int) -> Labels:
    found: Labels = segmentation.slic(
        image,
        n_segments=count,
        compactness=SUPERVOXEL_COMPACTNESS,
        channel_axis=-1,
        start_label=0,
    ).astype(np.int64)
    return found


def dilated_segments(labels: Labels, radius: int) -> list[NDArray[np.int64]]:
    """Pixels of each segment, grown by a disk (ball).

    Parameters
    ----------
    labels
        A label image.
    radius
        Radius of the disk in pixels: all pixels within it are taken in.

    Returns
    -------
    list of numpy.ndarray
        For each segment, by label, the sorted flat indices of its pixels.
    """
    grown = []
    positions = np.arange(labels.size).reshape(labels.shape)
    for label, box in enumerate(ndimage.find_objects(labels + 1)):
        if box is None:
            continue
        window = tuple(
            slice(max(side.start - radius, 0), side.stop + radius) for side in box
        )
        inside = _dilated(labels[window] == label, radius)
        grown.append(positions[window][inside])
    return grown


def _dilated(inside: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Dilate by a disk: along the last axis by counting, along the others by shifts."""
    if radius == 0 or inside.all():
        return inside
    length = inside.shape[-1]
    counted = np.zeros((*inside.shape[:-1], length + 2 * radius + 1), np.int32)
    np.cumsum(inside, axis=-1, out=counted[..., radius + 1 : radius + 1 + length])
    counted[..., radius + 1 + length :] = counted[..., [radius + length]]
    # Whether there is a set pixel within half a chord of each.
    chords = [
        counted[..., radius + 1 + half : radius + 1 + half + length]
        != counted[..., radius - half : radius - half + length]
        for half in range(radius + 1)
    ]
    result = np.zeros_like(inside)
    for shift in product(range(-radius, radius + 1), repeat=inside.ndim - 1):
        left = radius**2 - sum(step**2 for step in shift)
        if left < 0 or any(
            abs(step) >= n for step, n in zip(shift, inside.shape, strict=False)
        ):
            continue
        to = tuple(
            slice(max(s, 0), n + min(s, 0))
            for s, n in zip(shift, inside.shape, strict=False)
        )
        of = tuple(
            slice(max(-s, 0), n + min(-s, 0))
            for s, n in zip(shift, inside.shape, strict=False)
        )
        result[to] |= chords[math.isqrt(left)][of]
    return result
