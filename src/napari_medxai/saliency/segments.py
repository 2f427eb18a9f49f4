"""Overlapping segments of an image at several scales, as XRAI uses them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import segmentation
from skimage.transform import resize

__all__ = ["dilated_segments", "label_images"]

Labels: TypeAlias = NDArray[np.int64]

FELZENSZWALB_SCALES = (50, 100, 150, 250, 500, 1200)
FELZENSZWALB_SIGMA = 0.8
FELZENSZWALB_MIN_SIZE = 150
FELZENSZWALB_SHAPE = (224, 224)
SUPERVOXEL_COUNTS = (16, 32, 64, 128, 256, 512)
SUPERVOXEL_COMPACTNESS = 0.1


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
    low, high = float(image.min()), float(image.max())
    # A constant image has no contrast to scale; every segment is then the image.
    span = (high - low) or 1.0
    scaled = (np.moveaxis(image, 0, -1).astype(np.float64) - low) / span * 2 - 1
    return _flat(scaled) if image.ndim == 3 else _volume(scaled)


def _flat(image: NDArray[np.float64]) -> list[Labels]:
    shape = image.shape[:2]
    small = resize(  # type: ignore[no-untyped-call]
        image,
        FELZENSZWALB_SHAPE,
        order=3,
        mode="constant",
        preserve_range=True,
        anti_aliasing=True,
    )
    found = []
    for scale in FELZENSZWALB_SCALES:
        labels = segmentation.felzenszwalb(
            small,
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
        found.append(labels.astype(np.int64))
    return found


def _volume(image: NDArray[np.float64]) -> list[Labels]:
    return [
        segmentation.slic(
            image,
            n_segments=count,
            compactness=SUPERVOXEL_COMPACTNESS,
            channel_axis=-1,
            start_label=0,
        ).astype(np.int64)
        for count in SUPERVOXEL_COUNTS
    ]


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
        inside = labels[window] == label
        if radius and not inside.all():
            inside = ndimage.distance_transform_edt(~inside) <= radius
        grown.append(positions[window][inside])
    return grown
