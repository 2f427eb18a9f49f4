"""Whether two maps of one image put its pixels in the same order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import sobel
from scipy.stats import rankdata

from napari_medxai.errors import MetricError

__all__ = ["agreement", "correlation", "edge_map", "spearman", "standardised_ranks"]

FloatArray = NDArray[np.float64]


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Rank correlation of two maps; tied pixels share their mean rank.

    Parameters
    ----------
    first, second
        Maps of one shape, all finite.

    Returns
    -------
    float
        In [-1, 1]; NaN where a map is constant.

    Raises
    ------
    MetricError
        If the shapes differ, or a map is empty or holds NaN or infinite values.
    """
    return agreement({"first": first, "second": second})["first", "second"]


def agreement(maps: Mapping[str, NDArray[Any]]) -> dict[tuple[str, str], float]:
    """Rank correlation of each two of several maps, each map ranked once.

    Parameters
    ----------
    maps
        Maps of one shape, all finite, by name.

    Returns
    -------
    dict
        By the two names, in their order in `maps`, each pair once; see
        :func:`spearman`.

    Raises
    ------
    MetricError
        As :func:`spearman`.
    """
    shape = None
    ranked: dict[str, FloatArray | None] = {}
    for name, values in maps.items():
        array = np.asarray(values)
        if shape is not None and array.shape != shape:
            raise MetricError(
                f"the maps to compare have shapes {shape} and {array.shape}; bring"
                " them to one grid"
            )
        shape = array.shape
        ranked[name] = standardised_ranks(array)
    return {
        (a, b): correlation(ranked[a], ranked[b]) for a, b in combinations(ranked, 2)
    }


def edge_map(image: NDArray[Any], *, volume: bool = False) -> FloatArray:
    """Magnitude of the Sobel gradient of the mean over channels.

    The same as the saliency method ``edge``, but of the 8-bit image: a map that
    agrees with it may have seen edges only (Adebayo et al. 2018, section 5).

    Parameters
    ----------
    image
        ``(H, W[, C])``, or ``(D, H, W[, C])`` where `volume`.
    volume
        Whether the image has three spatial axes.

    Returns
    -------
    ndarray of float64, shape (H, W) or (D, H, W)

    Raises
    ------
    MetricError
        If the image has another number of axes, or nothing in it.
    """
    array = np.asarray(image)
    axes = 3 if volume else 2
    if array.ndim not in (axes, axes + 1) or array.size == 0:
        raise MetricError(
            f"edges are defined for images of {axes} axes and perhaps colour, not for"
            f" shape {array.shape}"
        )
    grey = array.astype(np.float64)
    if grey.ndim > axes:
        grey = grey.mean(axis=-1)
    squares = [sobel(grey, axis=axis, mode="nearest") ** 2 for axis in range(axes)]
    result: FloatArray = np.sqrt(np.sum(squares, axis=0))
    return result


def standardised_ranks(values: NDArray[Any]) -> FloatArray | None:
    """Ranks of a map, of mean 0 and length 1, for :func:`correlation`.

    Parameters
    ----------
    values
        A map, all finite.

    Returns
    -------
    numpy.ndarray or None
        One entry a pixel; None of a constant map.

    Raises
    ------
    MetricError
        If the map is empty or holds NaN or infinite values.
    """
    if values.size == 0:
        raise MetricError("a map to compare has no pixels")
    if not np.isfinite(values).all():
        raise MetricError(
            "a map to compare holds NaN or infinite values; it has no order"
        )
    if values.min() == values.max():
        return None
    ranks: FloatArray = rankdata(values.ravel()) - (values.size + 1) / 2
    return ranks / np.linalg.norm(ranks)


def correlation(first: FloatArray | None, second: FloatArray | None) -> float:
    """Spearman's correlation of two maps by their :func:`standardised_ranks`."""
    if first is None or second is None:
        return math.nan
    return float(np.clip(first @ second, -1.0, 1.0))
