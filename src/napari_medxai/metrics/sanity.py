"""How much of a map is left when the network's weights are randomised."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from napari_medxai.errors import MetricError
from napari_medxai.metrics.agreement import spearman

__all__ = ["Similarity", "similarity"]

# Wang et al. 2004: a Gaussian window 11 pixels wide; scikit-image cuts it off at 3.5
# standard deviations.
SIGMA = 1.5
RADIUS = 5
CUT_OFF = 3.5


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Likeness of the maps of a network and of its randomised copy.

    Near 1 the map does not depend on what the network learned. Both are NaN where a
    map is constant.

    Attributes
    ----------
    spearman
        Rank correlation of the values as they are: in a map with signs, evidence for
        and against the class are different.
    ssim
        Mean structural similarity of the maps, each scaled to [0, 1]. NaN too where
        an axis is shorter than 3.
    """

    spearman: float
    ssim: float


def similarity(original_map: NDArray[Any], randomised_map: NDArray[Any]) -> Similarity:
    """Compare the map of a network with that of its randomised copy.

    As Adebayo et al. 2018, section 4.1, for maps without signs. For maps with signs
    they also correlate the absolute values: give ``abs(map)`` to do so.

    Parameters
    ----------
    original_map, randomised_map
        ``(H, W)`` or ``(D, H, W)``, all finite, of the same image and class.

    Returns
    -------
    Similarity
        SSIM is scikit-image's with the Gaussian window of Wang et al. 2004, 11
        pixels wide; narrower, with the same cut-off, where the map is.

    Raises
    ------
    MetricError
        If the shapes differ, are not 2-D or 3-D, or a map is not finite.

    References
    ----------
    Adebayo et al.: Sanity checks for saliency maps. NeurIPS 2018.
    Wang et al.: Image quality assessment: from error visibility to structural
    similarity. IEEE Trans. Image Processing 13 (2004).
    """
    first, second = np.asarray(original_map), np.asarray(randomised_map)
    if first.ndim not in (2, 3):
        raise MetricError(
            f"maps are compared in 2-D and 3-D, not for shape {first.shape}"
        )
    rank = spearman(first, second)
    radius = (min(first.shape) - 1) // 2
    if math.isnan(rank) or radius < 1:
        return Similarity(spearman=rank, ssim=math.nan)
    ssim = structural_similarity(  # type: ignore[no-untyped-call]
        _scaled(first),
        _scaled(second),
        data_range=1.0,
        gaussian_weights=True,
        use_sample_covariance=False,
        sigma=SIGMA if radius >= RADIUS else radius / CUT_OFF,
    )
    return Similarity(spearman=rank, ssim=float(ssim))


def _scaled(values: NDArray[Any]) -> NDArray[np.float64]:
    # first by the largest value, so that no difference overflows
    scaled = values / np.float64(np.abs(values).max())
    scaled -= scaled.min()
    result: NDArray[np.float64] = scaled / scaled.max()
    return result
