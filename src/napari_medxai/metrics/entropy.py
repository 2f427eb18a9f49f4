"""How much information an image holds, as the size of its compressed file."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["webp_size"]


def webp_size(image: NDArray[np.uint8]) -> int:
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
