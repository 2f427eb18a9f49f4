"""Rank overlapping segments by the attribution they gather: XRAI's two orders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["rank_segments", "rank_segments_fast"]

Segments = Sequence[NDArray[np.int64]]


def rank_segments(
    attribution: NDArray[np.float64],
    segments: Segments,
    min_pixel_diff: int,
    *,
    area_threshold: float = 1.0,
) -> NDArray[np.float64]:
    """Add segments greedily by the mean attribution of the pixels they would add.

    Parameters
    ----------
    attribution
        Attribution of each pixel.
    segments
        Flat pixel indices of each segment; they may overlap.
    min_pixel_diff
        Segments that would add fewer pixels are dropped.
    area_threshold
        Share of the pixels from which on no more segments are added.

    Returns
    -------
    numpy.ndarray
        As ``attribution`` in shape: at each pixel the mean that its segment added;
        pixels that no segment added share their mean attribution.
    """
    values = attribution.ravel()
    sizes = [len(pixels) for pixels in segments]
    owner = np.repeat(np.arange(len(segments), dtype=np.int32), sizes)
    member = np.concatenate([np.zeros(0, np.int32), *segments], dtype=np.int32)
    # Rows are pixels: what a pixel's covering takes from which segments.
    membership = sparse.csr_array(
        (np.ones(len(member), np.int8), (member, owner)),
        shape=(values.size, len(segments)),
    )
    count = np.array(sizes, dtype=np.float64)
    total = np.bincount(owner, weights=values[member], minlength=len(segments))
    result = np.empty(values.size)
    hidden = np.ones(values.size, dtype=bool)
    covered = 0
    while covered <= area_threshold * values.size:
        possible = count >= min_pixel_diff
        if not possible.any():
            break
        gain = np.full(len(segments), -np.inf)
        np.divide(total, count, out=gain, where=possible)
        pixels = segments[int(np.argmax(gain))]
        pixels = pixels[hidden[pixels]]
        result[pixels] = values[pixels].mean()
        hidden[pixels] = False
        covered += len(pixels)
        rows = membership[pixels]
        weights = np.repeat(values[pixels], np.diff(rows.indptr))
        count -= np.bincount(rows.indices, minlength=len(segments))
        total -= np.bincount(rows.indices, weights, minlength=len(segments))
    if hidden.any():
        result[hidden] = values[hidden].mean()
    return result.reshape(attribution.shape)


def rank_segments_fast(
    attribution: NDArray[np.float64], segments: Segments, min_pixel_diff: int
) -> NDArray[np.float64]:
    """Add segments in the order of their mean attribution, whatever they overlap.

    Parameters
    ----------
    attribution, segments, min_pixel_diff
        See :func:`rank_segments`.

    Returns
    -------
    numpy.ndarray
        As of :func:`rank_segments`.
    """
    values = attribution.ravel()
    means = [values[pixels].mean() for pixels in segments]
    result = np.empty(values.size)
    hidden = np.ones(values.size, dtype=bool)
    # A stable sort: equal segments in their own order.
    for index in np.argsort(-np.asarray(means), kind="stable"):
        pixels = segments[index][hidden[segments[index]]]
        if len(pixels) < min_pixel_diff:
            continue
        result[pixels] = values[pixels].mean()
        hidden[pixels] = False
    if hidden.any():
        result[hidden] = values[hidden].mean()
    return result.reshape(attribution.shape)
