"""How well a saliency map points at a mask, on the native grid, in 2-D or 3-D.

Ties are never broken by position: every score is its expected value over all orders
of the tied voxels, so that a constant map scores what chance scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from scipy.special import gammaln
from skimage.filters import threshold_otsu

from napari_medxai.errors import MetricError

__all__ = ["Localization", "localize"]

BoolArray = NDArray[np.bool_]
_MANY_PEAKS = 10_000


@dataclass(frozen=True, kw_only=True)
class Localization:
    """Agreement of one saliency map with one mask.

    Attributes
    ----------
    pointing_hit
        1 where the map's maximum lies inside the mask, 0 where not (Zhang et al.
        2018, without tolerance); of several maxima the part inside.
    relevance_mass
        Positive relevance inside the mask over all positive relevance (Arras et
        al. 2022, eq. "relevance mass accuracy"). NaN where a map that varies has no
        positive value; of a constant map the mask's part of the voxels.
    relevance_rank
        Part of the ``|mask|`` most relevant voxels that lies inside the mask
        (Arras et al. 2022, "relevance rank accuracy").
    iou_mask_area
        Intersection over union of the mask with the ``|mask|`` most relevant
        voxels.
    iou_otsu
        Intersection over union of the mask with the voxels above the map's own
        threshold, by Otsu's method over 256 bins of the explained voxels (Otsu
        1979). NaN where the map is constant, and in cases stored without it.
    average_precision
        Step-wise area under precision over recall, tied voxels in one step.
    peak_distance_mm
        Distance of the maximum to the nearest voxel of the mask, 0 inside; the mean
        for several maxima; NaN without spacing.
    constant
        Whether the map has one value only, so that all of the above are chance.

    Notes
    -----
    ``relevance_rank`` and ``iou_mask_area`` know how large the lesion is;
    ``iou_otsu`` does not, and is what a reader who segments the map would get.
    """

    pointing_hit: float
    relevance_mass: float
    relevance_rank: float
    iou_mask_area: float
    average_precision: float
    peak_distance_mm: float
    constant: bool
    iou_otsu: float = math.nan


def localize(
    saliency_map: NDArray[Any],
    mask: NDArray[Any],
    *,
    spacing: Sequence[float] | None = None,
) -> Localization:
    """Compare a saliency map with a mask.

    Parameters
    ----------
    saliency_map
        float, ``(row, column)`` or ``(slice, row, column)``; larger means more
        important. NaN marks voxels that were not explained: they, and the mask
        there, are left out.
    mask
        Of the same shape; what is not zero is inside.
    spacing
        Millimetres along the array's axes; None where unknown.

    Returns
    -------
    Localization
        The scores; see there for their definitions.

    Raises
    ------
    MetricError
        If the shapes differ, nothing is explained, the mask is empty where the map
        is explained, the map is infinite somewhere, or the spacing does not fit.

    References
    ----------
    Arras, Osman, Samek: CLEVR-XAI. Information Fusion 81 (2022).
    Otsu: A threshold selection method from gray-level histograms. IEEE Trans. SMC 9
    (1979).
    Zhang et al.: Top-down neural attention by excitation backprop. IJCV 126 (2018).
    """
    values, inside = _checked(saliency_map, mask)
    explained = ~np.isnan(values)
    inside = inside & explained
    flat = values[explained].astype(np.float64)
    if flat.size == 0:
        raise MetricError("the saliency map explains no voxel: it is NaN throughout")
    if np.isinf(flat).any():
        raise MetricError("the saliency map holds infinite values; it has no order")
    hits = inside[explained]
    area = int(hits.sum())
    if area == 0:
        raise MetricError(
            "the mask is empty where the map is explained; localisation needs a mask"
        )
    highest = flat.max()
    constant = bool(highest == flat.min())
    certain, open_places, tied, tied_inside = _top(flat, hits, area)
    return Localization(
        pointing_hit=float(hits[flat == highest].mean()),
        relevance_mass=area / flat.size if constant else _mass(flat, hits),
        relevance_rank=(certain + open_places * tied_inside / tied) / area,
        iou_mask_area=_expected_iou(certain, open_places, tied, tied_inside, area),
        average_precision=_average_precision(flat, hits),
        peak_distance_mm=_peak_distance(values == highest, inside, spacing),
        constant=constant,
        iou_otsu=math.nan if constant else _iou_otsu(flat, hits),
    )


def _checked(
    saliency_map: NDArray[Any], mask: NDArray[Any]
) -> tuple[NDArray[Any], BoolArray]:
    values, inside = np.asarray(saliency_map), np.asarray(mask) != 0
    if values.shape != inside.shape:
        raise MetricError(
            f"the saliency map has shape {values.shape}, the mask {inside.shape};"
            " bring both to the native grid"
        )
    if values.ndim not in (2, 3):
        raise MetricError(
            f"localisation is defined in 2-D and 3-D, not for shape {values.shape}"
        )
    return values, inside


def _top(flat: NDArray[Any], hits: BoolArray, area: int) -> tuple[int, int, int, int]:
    """Describe the `area` most relevant voxels, ties at their lowest value apart.

    Returns the mask's voxels above that value, the places left for those that have
    it, how many these are, and how many of them lie in the mask.
    """
    cut = np.partition(flat, flat.size - area)[flat.size - area]
    above, tied = flat > cut, flat == cut
    return (
        int(hits[above].sum()),
        area - int(above.sum()),
        int(tied.sum()),
        int(hits[tied].sum()),
    )


def _mass(flat: NDArray[Any], hits: BoolArray) -> float:
    # scaled by the largest value, so that no sum overflows or underflows
    highest = flat.max()
    if highest <= 0.0:
        return math.nan
    positive = np.maximum(flat / highest, 0.0)
    return float(positive[hits].sum() / positive.sum())


def _expected_iou(
    certain: int, open_places: int, tied: int, tied_inside: int, area: int
) -> float:
    """Mean of IoU over the hypergeometric number of tied voxels that hit."""
    lowest = max(0, open_places - (tied - tied_inside))
    hit = np.arange(lowest, min(open_places, tied_inside) + 1, dtype=np.float64)
    log_weight = (
        _log_choose(tied_inside, hit)
        + _log_choose(tied - tied_inside, open_places - hit)
        - _log_choose(tied, np.asarray(float(open_places)))
    )
    weight = np.exp(log_weight - log_weight.max())
    overlap = certain + hit
    iou = overlap / (2 * area - overlap)
    return float((weight * iou).sum() / weight.sum())


def _iou_otsu(flat: NDArray[Any], hits: BoolArray) -> float:
    # scaled, so that no square of a difference overflows or vanishes
    scaled = flat / np.abs(flat).max()
    scaled -= scaled.min()
    scaled /= scaled.max()
    cut = threshold_otsu(scaled, nbins=256)  # type: ignore[no-untyped-call]
    above = scaled > cut
    return float((above & hits).sum() / (above | hits).sum())


def _log_choose(n: int, k: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return result


def _average_precision(flat: NDArray[Any], hits: BoolArray) -> float:
    order = np.argsort(-flat, kind="stable")
    ranked = flat[order]
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    found = np.cumsum(hits[order])[last_of_tie]
    seen = np.flatnonzero(last_of_tie) + 1
    return float((np.diff(found, prepend=0) * (found / seen)).sum() / found[-1])


def _peak_distance(
    peaks: BoolArray, inside: BoolArray, spacing: Sequence[float] | None
) -> float:
    if spacing is None:
        return math.nan
    step = np.asarray(spacing, dtype=np.float64)
    if step.shape != (inside.ndim,) or not np.all(np.isfinite(step) & (step > 0)):
        raise MetricError(
            f"spacing {tuple(spacing)} does not fit a map of {inside.ndim} axes; give"
            " a positive length in mm for each"
        )
    outside = peaks & ~inside
    count = int(outside.sum())
    if count == 0:
        return 0.0
    if count > _MANY_PEAKS:
        distance = distance_transform_edt(~inside, sampling=step)[outside]
    else:
        tree = cKDTree(np.argwhere(inside) * step)
        distance, _ = tree.query(np.argwhere(outside) * step)
    return float(distance.sum() / peaks.sum())
