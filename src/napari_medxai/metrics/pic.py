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

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai.metrics._checks import (
    BoolArray,
    Image,
    Predict,
    checked_image,
    checked_mask,
    collapse,
    expand,
    predicted,
)
from napari_medxai.metrics._work import Progress, report, thread_count
from napari_medxai.metrics.curve import InformationCurves
from napari_medxai.metrics.interpolation import blur
from napari_medxai.metrics.prepared import PreparedImage
from napari_medxai.metrics.presets import get_preset

__all__ = ["information_curves", "prepare"]


def prepare(
    image: Image,
    predict: Predict,
    *,
    preset: str = "pair",
    random_mask: BoolArray | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> PreparedImage:
    """Do once what the curves of all saliency maps of an image share.

    Parameters
    ----------
    image
        uint8, ``(H, W)`` or ``(H, W, C)``: what the network sees, in 8 bits.
    predict
        uint8 ``(B, H, W[, C])`` to probabilities ``(B, K)``; called with two images
        here and once with at most one image a threshold for every map.
    preset
        Name of the definition.
    random_mask
        bool ``(H, W)``: pixels that stay in the blurred image; drawn from `seed`
        where None.
    seed
        Seed of all that is drawn.
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
        If the preset is unknown, the image is not uint8 of at least 2 x 2 pixels,
        the mask does not fit it, or the predictions are not finite ``(B, K)``.
    """
    definition = get_preset(preset)
    image = checked_image(image)
    mask = checked_mask(random_mask, image, definition, seed)
    pixels = collapse(image)
    blurred = blur(pixels, mask)
    report(progress, 1, 2)
    full = expand(blurred[None], image)[0]
    probabilities = predicted(predict, np.stack([image, full]))
    report(progress, 2, 2)
    return PreparedImage(
        image=image,
        blurred=full,
        random_mask=mask,
        original_size=float(definition.entropy(pixels)),
        blurred_size=float(definition.entropy(blurred)),
        original_probabilities=probabilities[0],
        blurred_probabilities=probabilities[1],
        preset=definition,
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
        Name of the definition; ``"pair"`` is that of Kapishnikov et al. 2019.
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
        image, predict, preset=preset, random_mask=random_mask, seed=seed
    )
    return prepared.curves(
        saliency_map, target, label=label, min_probability=min_probability
    )
