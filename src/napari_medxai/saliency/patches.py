"""What perturbation methods switch off together: patches, segments, windows."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from . import _checks
from .network import Session
from .segments import label_images

__all__ = ["MOST_ORDERS", "MaskChoice", "feature_mask", "window"]

MaskChoice = Literal["grid", "segments"]
# Features whose every order can be tried: 7! is 5040.
MOST_ORDERS = 7


def feature_mask(
    session: Session,
    image: Tensor,
    *,
    choice: str,
    patches: Any,
    most: int | None = None,
) -> Tensor:
    """Give the features of one image their numbers.

    Parameters
    ----------
    session, image
        The run and the image (1, C, *spatial).
    choice
        ``"grid"`` for patches of a regular grid, ``"segments"`` for the image's own
        segments at the scale whose number is nearest to the grid's.
    patches
        Patches along each spatial axis: one number, or one for each axis.
    most
        More features are refused.

    Returns
    -------
    torch.Tensor
        Integers (1, 1, *spatial), counted from 0.

    Raises
    ------
    MethodError
        A parameter is wrong, or there are too many features.
    """
    _checks.choice(session, "features", choice, ("grid", "segments"))
    sizes = tuple(image.shape[2:])
    counts = _each_axis(session, "patches", patches, sizes)
    if choice == "grid":
        labels = np.zeros(sizes, dtype=np.int64)
        for axis, (size, count) in enumerate(zip(sizes, counts, strict=True)):
            count = min(size, count)
            place = np.arange(size) * count // size
            shape = [1] * len(sizes)
            shape[axis] = size
            labels = labels * count + place.reshape(shape)
    else:
        wanted = math.prod(counts)
        scales = label_images(image[0].to("cpu", torch.float32).numpy())
        labels = min(scales, key=lambda found: abs(len(np.unique(found)) - wanted))
        labels = np.unique(labels, return_inverse=True)[1].reshape(sizes)
    features = int(labels.max()) + 1
    if most is not None and features > most:
        raise session.error(
            f"there are {features} features, whose {features}! orders are too many "
            f"to try; choose patches with at most {most} in all"
        )
    return torch.from_numpy(labels.astype(np.int64)).to(image.device)[None, None]


def window(
    session: Session, image: Tensor, shape: Any, strides: Any
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Size and stride of an occluding window over all channels.

    Parameters
    ----------
    session, image
        The run and the image (1, C, *spatial).
    shape
        In pixels, one number or one for each spatial axis; None for an eighth of the
        image.
    strides
        Likewise; None for half the window.

    Returns
    -------
    tuple of tuple of int
        (C, *window) and (C, *strides).

    Raises
    ------
    MethodError
        A parameter is wrong, or the window is larger than the image.
    """
    channels, sizes = image.shape[1], tuple(image.shape[2:])
    if shape is None:
        shape = tuple(max(1, round(size / 8)) for size in sizes)
    sides = _each_axis(session, "sliding_window_shapes", shape, sizes)
    if strides is None:
        strides = tuple(max(1, side // 2) for side in sides)
    steps = _each_axis(session, "strides", strides, sizes)
    for side, size in zip(sides, sizes, strict=True):
        if side > size:
            raise session.error(
                f"sliding_window_shapes {sides} is larger than the image {sizes}"
            )
    return (channels, *sides), (channels, *steps)


def _each_axis(
    session: Session, name: str, value: Any, sizes: tuple[int, ...]
) -> tuple[int, ...]:
    values = value if isinstance(value, list | tuple) else (value,) * len(sizes)
    if len(values) != len(sizes):
        raise session.error(
            f"{name} must be one number or {len(sizes)}, one for each spatial axis, "
            f"not {value!r}"
        )
    return tuple(_checks.count(session, name, one) for one in values)
