"""Performance information curves: AIC and SIC of one image and its saliency maps.

Kapishnikov et al. 2019 (XRAI, arXiv:1906.02825, section 4), as implemented by PAIR's
``saliency/metrics/pic.py``: starting from a blurred image, the most salient pixels
are revealed step by step; the curve shows what the network makes of each image (the
class's probability: SIC; whether it is classified right: AIC) against the
information the image holds.

What depends on the image alone (blurred image, random mask, sizes and predictions of
both ends) is made once by :func:`prepare` and serves every saliency map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import MetricError
from napari_medxai.metrics._checks import (
    BoolArray,
    Image,
    Predict,
    checked_image,
    checked_mask,
    predicted,
)
from napari_medxai.metrics._work import Progress, report, thread_count
from napari_medxai.metrics.curve import InformationCurves
from napari_medxai.metrics.pixels import Pixels
from napari_medxai.metrics.prepared import PreparedImage
from napari_medxai.metrics.presets import get_preset

__all__ = ["information_curves", "prepare"]


def prepare(
    image: Image,
    predict: Predict,
    *,
    presets: Sequence[str] = ("pair",),
    random_mask: BoolArray | None = None,
    seed: int = 0,
    volume: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> PreparedImage:
    """Do once what the curves of all saliency maps of an image share.

    Parameters
    ----------
    image
        uint8, ``(H, W)`` or ``(H, W, C)``: what the network sees, in 8 bits. Of a
        volume ``(D, H, W)`` or ``(D, H, W, C)``.
    predict
        uint8 ``(B, H, W[, C])`` to probabilities ``(B, K)``; called with two images
        here and once with at most one image a threshold for every map.
    presets
        Names of the definitions, see :func:`.presets.get_preset`.
    random_mask
        bool, of the image's spatial shape: pixels that stay in the blurred image;
        drawn from `seed` where None.
    seed
        Seed of all that is drawn.
    volume
        Whether the image is a volume under a 3-D network. Its slices (along the
        first axis) are interpolated and compressed one by one; what is revealed is
        chosen over the whole volume.
    threads
        Threads that make the images; the processors at hand, at most 4, where None.
        Results do not depend on it.
    progress
        Called as ``progress(done, total)``; what it raises stops the work.

    Returns
    -------
    PreparedImage
        Gives :meth:`PreparedImage.curves` for any number of maps.

    Raises
    ------
    MetricError
        If a preset is unknown, the image is not uint8 of at least 2 x 2 pixels,
        the mask does not fit it, or the predictions are not finite ``(B, K)``.
    """
    if not presets:
        raise MetricError("information curves need at least one preset")
    definitions = {name: get_preset(name) for name in presets}
    image = checked_image(image, volume=volume)
    mask = checked_mask(random_mask, image.shape[: 3 if volume else 2], seed)
    pixels = Pixels.of(image, volume=volume)
    blurred = pixels.blur(mask)
    report(progress, 1, 2)
    full = pixels.expanded([blurred])[0]
    probabilities = predicted(predict, np.stack([image, full]))
    report(progress, 2, 2)
    ends = [pixels.sizes(one, definitions.values()) for one in (blurred, pixels.folded)]
    return PreparedImage(
        image=image,
        blurred=full,
        random_mask=mask,
        sizes={name: (ends[0][name], ends[1][name]) for name in ends[0]},
        original_probabilities=probabilities[0],
        blurred_probabilities=probabilities[1],
        presets=definitions,
        seed=seed,
        _pixels=pixels,
        _predict=predict,
        _threads=thread_count(threads),
    )


def information_curves(
    image: Image,
    saliency_map: NDArray[Any],
    predict: Predict,
    target: int,
    *,
    label: int | None = None,
    preset: str = "pair",
    random_mask: BoolArray | None = None,
    min_probability: float = 0.8,
    seed: int = 0,
) -> InformationCurves:
    """AIC and SIC of one image and one saliency map.

    For several maps of an image use :func:`prepare`.

    Parameters
    ----------
    image
        uint8, ``(H, W)`` or ``(H, W, C)``: what the network sees, in 8 bits.
    saliency_map
        float ``(H, W)``; larger means more important.
    predict
        uint8 ``(B, H, W[, C])`` to probabilities ``(B, K)``.
    target
        Index of the class whose probability SIC follows.
    label
        Index of the class AIC counts as right; `target` where None.
    preset
        Name of the definition: ``"pair"`` is that of Kapishnikov et al. 2019,
        ``"brima2024"`` that of Brima & Atemkeng 2024, ``"corrected"`` that of this
        project; with another entropy ``"corrected:histogram"`` or
        ``"corrected:ms_ssim"``.
    random_mask
        bool ``(H, W)``: pixels that stay in the blurred image; drawn from `seed`
        where None.
    min_probability
        Least score of the original image, in [0, 1].
    seed
        Seed of all that is drawn.

    Returns
    -------
    InformationCurves
        ``.aic`` and ``.sic``, each with ``.x``, ``.y``, ``.auc`` (NaN where
        excluded) and ``.excluded`` (None, or the reason).

    Raises
    ------
    MetricError
        As :func:`prepare` and :meth:`PreparedImage.curves`.
    """
    prepared = prepare(
        image, predict, presets=(preset,), random_mask=random_mask, seed=seed
    )
    found = prepared.curves(
        saliency_map, target, label=label, min_probability=min_probability
    )
    return found[preset]
