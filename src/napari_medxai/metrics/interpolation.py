"""The random mask, and the image rebuilt from the pixels that are revealed.

Kapishnikov et al. 2019 (XRAI, arXiv:1906.02825, section 4) blur an image by keeping
a few pixels and interpolating the others linearly over the Delaunay triangulation
of those kept. Arrays are ``(row, column)`` or ``(row, column, channel)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from napari_medxai.errors import MetricError
from napari_medxai.metrics._nearby import stencil_nearby
from napari_medxai.metrics._stencil import BoolArray, Stencil, mixed
from napari_medxai.metrics._triangles import stencil_by_triangles

__all__ = ["blur", "random_mask", "support_of", "with_corners"]

Image = NDArray[np.uint8]

_EIGHT = np.ones((3, 3), dtype=bool)


def random_mask(
    shape: tuple[int, ...], *, fraction: float = 0.01, seed: int = 0
) -> BoolArray:
    """Draw the pixels which even the fully blurred image keeps.

    Parameters
    ----------
    shape
        ``(rows, columns)`` of the image, or of a volume with its slices first.
    fraction
        Part of the pixels to keep, in [0, 1]; rounded down to whole pixels.
    seed
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        bool, of `shape`. The corners, which :func:`blur` always keeps, are not
        added here.

    Raises
    ------
    MetricError
        If `fraction` lies outside [0, 1].
    """
    if not 0.0 <= fraction <= 1.0:
        raise MetricError(f"random mask: fraction {fraction} is not between 0 and 1")
    size = int(np.prod(shape))
    kept = np.random.default_rng(seed).choice(
        size, replace=False, size=int(size * fraction)
    )
    mask = np.zeros(size, dtype=bool)
    mask[kept] = True
    return mask.reshape(shape)


def with_corners(mask: BoolArray) -> BoolArray:
    """Copy a ``(row, column)`` mask and set its four corners.

    The corners make the hull of the revealed pixels the whole image, so that no
    hidden pixel has to be extrapolated.
    """
    known = np.array(mask, dtype=bool, copy=True)
    known[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return known


def blur(image: Image, revealed: BoolArray) -> Image:
    """Interpolate the hidden pixels of an image linearly from the revealed ones.

    Parameters
    ----------
    image
        uint8, ``(H, W)`` or ``(H, W, C)``, at least 2 x 2 pixels.
    revealed
        bool, ``(H, W)``; True where the image's own pixel is kept. The corners
        always are.

    Returns
    -------
    numpy.ndarray
        uint8, of the image's shape. The image itself where nothing is hidden.
    """
    known = with_corners(revealed)
    hidden = ~known
    if not hidden.any():
        return image
    support = support_of(known)
    result = image.copy(order="C")
    flat = result.reshape(hidden.size, -1)
    left = hidden.copy()
    near = stencil_nearby(known, support)
    if near is not None:
        _paint(near, image, flat, left)
    if left.any():
        rest = stencil_by_triangles(support, left, local=near is not None)
        _paint(rest, image, flat, left)
    if left.any():  # a hull that rounding left open; the reference does the same
        mean = image.reshape(hidden.size, -1).mean(axis=0)
        flat[left.ravel()] = _rounded(mean)
    return result


def _paint(stencil: Stencil, image: Image, flat: Image, left: BoolArray) -> None:
    flat[stencil.pixels] = _rounded(mixed(stencil, image))
    left.ravel()[stencil.pixels] = False


def _rounded(values: NDArray[np.float64]) -> Image:
    """Round as the reference does, in single precision: 127.4999999 becomes 128."""
    return np.round(values.astype(np.float32)).astype(np.uint8)


def support_of(known: BoolArray) -> BoolArray:
    """Revealed pixels that interpolation needs, as a ``(row, column)`` mask.

    A revealed pixel whose eight neighbours are all revealed cannot be a vertex of a
    Delaunay triangle that holds a hidden pixel: the empty circumcircle of such a
    triangle would have a radius of at most 0.71 pixel (beyond the image's border
    it may be larger, but then holds no pixel). Those are left out. What remains
    free, here as in the reference, is the choice among co-circular points.
    """
    return with_corners(known & binary_dilation(~known, _EIGHT))
