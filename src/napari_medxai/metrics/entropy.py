"""How much information an image holds: file size, histogram, likeness to the original.

The x axis of the information curves. Each measure looks at an image and at the
original it was made from.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "ENTROPIES",
    "Entropy",
    "histogram_entropy",
    "ms_ssim",
    "volume_size",
    "webp_size",
]

Pixels = NDArray[np.uint8]
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
KERNEL = 11


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """One measure of information.

    Attributes
    ----------
    name
        As in ``PRESET:NAME``.
    text
        For the axis of a drawing.
    measure
        ``(image, original) -> information`` of uint8 ``(H, W)`` or ``(H, W, C)``,
        larger for more.
    measure_volume
        The same of uint8 ``(D, H, W)`` or ``(D, H, W, C)``.
    """

    name: str
    text: str
    measure: Callable[[Pixels, Pixels], float]
    measure_volume: Callable[[Pixels, Pixels], float]


def webp_size(image: Pixels) -> int:
    """Bytes of the image as lossless WebP of quality 100.

    The entropy estimate of PAIR's information curves (Kapishnikov et al. 2019,
    section 4; ``saliency/metrics/pic.py``).

    Parameters
    ----------
    image
        uint8, ``(H, W)`` or ``(H, W, C)``. One channel and three are one file; for
        any other number, which WebP cannot hold without giving a meaning of its own
        to the channels, the sizes of the single channels are added.

    Returns
    -------
    int
        Size in bytes.
    """
    if image.ndim == 3 and image.shape[2] != 3:
        return sum(webp_size(image[..., c]) for c in range(image.shape[2]))
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.save(buffer, format="webp", lossless=True, quality=100)
    return buffer.tell()


def volume_size(volume: Pixels) -> int:
    """Bytes of all slices of a volume ``(D, H, W[, C])`` as lossless WebP."""
    return sum(webp_size(image) for image in volume)


def histogram_entropy(image: Pixels) -> float:
    """Shannon's entropy in bits over 256 bins between the minimum and the maximum.

    The default of Brima & Atemkeng's code (``estimate_image_entropy``), there of
    z-scored floats; it does not look at where a value lies, so that a blurred image,
    whose values are interpolated, can have more of it than the original.

    Parameters
    ----------
    image
        uint8, any shape.

    Returns
    -------
    float
        0 for a constant image, at most 8.
    """
    low, high = int(image.min()), int(image.max())
    if low == high:
        return 0.0
    counts, _ = np.histogram(image, bins=256, range=(low, high))
    shares = counts[counts > 0] / image.size
    return float(-(shares * np.log2(shares)).sum())


def ms_ssim(image: Pixels, original: Pixels) -> float:
    """Multi-scale structural similarity of an image to the original.

    Wang, Simoncelli, Bovik 2003, by MONAI: Gaussian window of 11 pixels and sigma
    1.5, at most five scales, as many as the image has room for (weights scaled to add
    up to one). As an axis it is one minus the distance ``1 - MS-SSIM``; normalised
    between blurred and original both are the same.

    Parameters
    ----------
    image, original
        uint8, ``(H, W)`` or ``(H, W, C)``.

    Returns
    -------
    float
        1 for the original itself. Where the image is smaller than the window, the
        window shrinks to its size.
    """
    import torch
    from monai.metrics.regression import compute_ssim_and_cs
    from torch.nn.functional import avg_pool2d

    window = min(KERNEL, *image.shape[:2])
    room = min(image.shape[:2]) // window
    scales = min(len(WEIGHTS), room.bit_length())
    pair = np.stack([image, original]).astype(np.float32) / 255.0
    planes = torch.from_numpy(pair.reshape(*pair.shape[:3], -1)).permute(0, 3, 1, 2)
    result = 1.0
    for scale in range(scales):
        likeness, contrast = compute_ssim_and_cs(
            planes[:1],
            planes[1:],
            spatial_dims=2,
            kernel_size=(window, window),
            kernel_sigma=(1.5, 1.5),
        )
        value = float((likeness if scale == scales - 1 else contrast).mean())
        result *= max(value, 0.0) ** (WEIGHTS[scale] / sum(WEIGHTS[:scales]))
        planes = avg_pool2d(planes, 2)
    return result


def _size(image: Pixels, original: Pixels) -> float:
    return float(webp_size(image))


def _volume_size(volume: Pixels, original: Pixels) -> float:
    return float(volume_size(volume))


def _histogram(image: Pixels, original: Pixels) -> float:
    return histogram_entropy(image)


def _mean_ms_ssim(volume: Pixels, original: Pixels) -> float:
    pairs = zip(volume, original, strict=True)
    return float(np.mean([ms_ssim(image, of) for image, of in pairs]))


ENTROPIES: dict[str, Entropy] = {
    entropy.name: entropy
    for entropy in (
        Entropy(
            name="webp",
            text="size as lossless WebP",
            measure=_size,
            measure_volume=_volume_size,
        ),
        Entropy(
            name="histogram",
            text="entropy of the histogram",
            measure=_histogram,
            measure_volume=_histogram,
        ),
        Entropy(
            name="ms_ssim",
            text="MS-SSIM to the original",
            measure=ms_ssim,
            measure_volume=_mean_ms_ssim,
        ),
    )
}
