"""Insertion and deletion: does the class come and go with the salient pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_medxai.errors import MetricError
from napari_medxai.metrics._checks import (
    FloatArray,
    Image,
    Predict,
    Progress,
    predicted,
)
from napari_medxai.metrics._work import report

__all__ = ["Baseline", "Faithfulness", "insertion_deletion"]

Baseline: TypeAlias = Literal["rise", "blurred", "black"]

BLUR = 0.05
BATCH = 64
BATCH_BYTES = 2**26


@dataclass(frozen=True, kw_only=True, eq=False)
class Faithfulness:
    """Insertion and deletion curve of one map.

    Attributes
    ----------
    insertion, deletion
        Areas under the curves, in [0, 1], by the trapezoidal rule. Of insertion large
        is good, of deletion small is.
    fractions
        ``(steps + 1,)``: part of the pixels that is inserted or deleted, from 0 to 1.
    insertion_curve, deletion_curve
        ``(steps + 1,)``: probability of the target class there.
    """

    insertion: float
    deletion: float
    fractions: FloatArray = field(repr=False)
    insertion_curve: FloatArray = field(repr=False)
    deletion_curve: FloatArray = field(repr=False)


def insertion_deletion(
    image: Image,
    saliency_map: NDArray[Any],
    predict: Predict,
    target: int,
    *,
    steps: int = 32,
    baseline: Baseline = "rise",
    seed: int = 0,
    volume: bool = False,
    progress: Progress | None = None,
) -> Faithfulness:
    """Put in and take out the most salient pixels, and watch the probability.

    Deletion starts at the image and replaces its pixels by those of a baseline image,
    the most salient first, in `steps` equal steps. Insertion starts at the baseline
    image and puts the pixels back in the same order. Each step reveals exactly its
    share: pixels of equal value come in an order drawn from the seed.

    The images between are none that the network was trained on: sharp holes or sharp
    islands are a sight of their own, and a probability may change because of them and
    not because of what is missing (Hooker et al. 2019). Scattered pixels hide an
    image less than a patch does. So compare methods by these areas on one network,
    and read no single one as a verdict.

    Parameters
    ----------
    image
        uint8 ``(H, W[, C])``, or ``(D, H, W[, C])`` where `volume`.
    saliency_map
        float ``(H, W)`` or ``(D, H, W)``; larger is more important. Only its order
        counts.
    predict
        uint8 ``(B, *image.shape)`` -> probabilities ``(B, K)``. Called with up to 64
        images at a time.
    target
        Index of the class.
    steps
        How many steps from the image to the baseline. On brain MRI slices the areas
        of 32 steps were within 0.01 of those of the paper's 224.
    baseline
        ``"black"``: 0; ``"blurred"``: a Gaussian of which the standard deviation is
        5 % of each spatial axis (11 pixels of 224; the paper's 11 x 11 window leaves
        lesions in sight); ``"rise"``, as the paper: black in deletion, blurred in
        insertion.
    seed
        Of the order of tied pixels.
    volume
        Whether the image has three spatial axes.
    progress
        Called as ``progress(done, total)`` in images passed; what it raises stops
        the work.

    Returns
    -------
    Faithfulness

    Raises
    ------
    MetricError
        If image, map, class or a setting does not fit, the map is not finite, or the
        predictions are not finite ``(B, K)``.

    References
    ----------
    Petsiuk, Das, Saenko: RISE: randomized input sampling for explanation of
    black-box models. BMVC 2018, section 4.3.
    Hooker et al.: A benchmark for interpretability methods in deep neural networks.
    NeurIPS 2019.
    """
    axes = 3 if volume else 2
    pixels = _checked_image(image, axes)
    order = _order(_checked_map(saliency_map, pixels.shape[:axes]), seed)
    if steps < 1:
        raise MetricError(f"steps must be a positive number, not {steps!r}")
    if baseline not in get_args(Baseline):
        known = ", ".join(get_args(Baseline))
        raise MetricError(f"baseline {baseline!r} is unknown; choose one of: {known}")
    black = np.zeros_like(pixels)
    blurred = black if baseline == "black" else _blurred(pixels, axes)
    empty = blurred if baseline == "blurred" else black

    counts = np.rint(np.arange(steps + 1) * order.size / steps).astype(np.int64)
    places = np.empty(order.size, dtype=np.int64)
    places[order] = np.arange(order.size)
    rank = places.reshape(pixels.shape[:axes] + (1,) * (pixels.ndim - axes))
    # One image after the other: insertion at every count, then deletion.
    ways = [(blurred, pixels, n) for n in counts] + [(pixels, empty, n) for n in counts]
    size = max(1, min(BATCH, BATCH_BYTES // pixels.nbytes))
    scores = []
    for start in range(0, len(ways), size):
        part = ways[start : start + size]
        stack = np.stack([np.where(rank < n, new, old) for old, new, n in part])
        probabilities = predicted(predict, stack)
        if not 0 <= target < probabilities.shape[1]:
            raise MetricError(
                f"target {target} is not one of the network's"
                f" {probabilities.shape[1]} classes"
            )
        scores.append(probabilities[:, target])
        report(progress, start + len(part), len(ways))
    inserted, deleted = np.split(np.concatenate(scores), 2)
    fractions = counts / order.size
    return Faithfulness(
        insertion=float(np.trapezoid(inserted, fractions)),
        deletion=float(np.trapezoid(deleted, fractions)),
        fractions=fractions,
        insertion_curve=inserted,
        deletion_curve=deleted,
    )


def _order(saliency_map: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """Places of the pixels from the most to the least salient, ties shuffled."""
    flat = saliency_map.ravel()
    shuffled = np.random.default_rng(seed).permutation(flat.size)
    order: NDArray[np.int64] = shuffled[np.argsort(-flat[shuffled], kind="stable")]
    return order


def _blurred(image: Image, axes: int) -> Image:
    sigma = [BLUR * size for size in image.shape[:axes]]
    sigma += [0.0] * (image.ndim - axes)
    smooth = gaussian_filter(image.astype(np.float32), sigma, mode="nearest")
    result: Image = np.rint(smooth).clip(0, 255).astype(np.uint8)
    return result


def _checked_image(image: Image, axes: int) -> Image:
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (axes, axes + 1) or not array.size:
        raise MetricError(
            f"insertion and deletion need an image of type uint8 with {axes} axes and"
            f" perhaps colour, not {array.dtype} of shape {array.shape}; give the"
            " network's 8-bit input image"
        )
    return array


def _checked_map(saliency_map: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(saliency_map)
    if array.shape != shape:
        raise MetricError(
            f"the saliency map has shape {array.shape}, the image {shape}; insertion"
            " and deletion need both on one grid"
        )
    if not np.isfinite(array).all():
        raise MetricError(
            "the saliency map holds NaN or infinite values; its pixels cannot be"
            " put in order"
        )
    return array
