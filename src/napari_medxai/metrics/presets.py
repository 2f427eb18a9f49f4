"""What the variants of the performance information curve disagree about.

A :class:`Preset` holds data and four strategies (reveal, entropy, gate, join); the
computation in ``prepared.py`` is the same for all. A variant is added by adding a
preset to ``PRESETS``. Any preset may be asked for with another entropy:
``corrected:ms_ssim``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import MetricError
from napari_medxai.metrics.entropy import ENTROPIES, Entropy

__all__ = [
    "GateInput",
    "Metric",
    "Preset",
    "get_preset",
    "preset_names",
    "tied_share",
]

Metric: TypeAlias = Literal["aic", "sic"]
FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

THRESHOLDS = (
    *(0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07),
    *(0.10, 0.13, 0.21, 0.34, 0.5, 0.75),
)


@dataclass(frozen=True, kw_only=True)
class GateInput:
    """What decides whether an image takes part in a curve.

    Attributes
    ----------
    metric
        ``"aic"`` or ``"sic"``.
    original_score, blurred_score
        Of the original and of the fully blurred image: the class's probability
        (SIC), or 1 where the image is classified as the label and 0 else (AIC).
    original_size, blurred_size
        Their entropies, in the preset's unit.
    min_probability
        Least score of the original.
    """

    metric: Metric
    original_score: float
    blurred_score: float
    original_size: float
    blurred_size: float
    min_probability: float


Reveal: TypeAlias = Callable[[NDArray[Any], Sequence[float], int], list[BoolArray]]
Gate: TypeAlias = Callable[[GateInput], str | None]
Join: TypeAlias = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One definition of the performance information curve.

    Attributes
    ----------
    name
        How it is asked for.
    thresholds
        Fractions of the most salient pixels to reveal, ascending.
    reveal
        ``(map, thresholds, seed) -> masks``: a bool mask of the map's shape a
        threshold.
    entropy
        How the information of an image is measured.
    gate
        ``GateInput -> reason`` in plain words where the image is excluded, or None.
    join
        ``(x, y) -> (x, y)``: adds the ends to the normalised knots and settles
        knots of equal x; x comes back ascending.
    monotone
        Whether y may only grow with the threshold.
    intervals
        The curve has ``intervals + 1`` points on [0, 1].
    """

    name: str
    thresholds: tuple[float, ...]
    reveal: Reveal
    entropy: Entropy
    gate: Gate
    join: Join
    monotone: bool = True
    intervals: int = 1000


def reveal_by_quantile(
    saliency_map: NDArray[Any], thresholds: Sequence[float], seed: int
) -> list[BoolArray]:
    """Reveal what reaches the map's quantile ``1 - t`` (PAIR); needs no seed.

    Ties are revealed together: where the quantile is the map's minimum, everything
    is.
    """
    # one by one: NumPy computes a single quantile in the map's own precision
    return [
        np.asarray(saliency_map >= np.quantile(saliency_map, 1.0 - t))
        for t in thresholds
    ]


def reveal_by_rank(
    saliency_map: NDArray[Any], thresholds: Sequence[float], seed: int
) -> list[BoolArray]:
    """Reveal the fraction ``t`` itself, in the map's order.

    Pixels of equal value come in an order drawn from the seed. Nothing is revealed
    of those tied at the minimum: there the map's ranking ends, and what would follow
    are scattered pixels, which interpolate better than any map. Without ties the
    masks are those of :func:`reveal_by_quantile`.
    """
    flat = saliency_map.ravel()
    count = flat.size
    shuffled = np.random.default_rng(seed).permutation(count)
    order = shuffled[np.argsort(-flat[shuffled], kind="stable")]
    lowest = int(np.count_nonzero(flat == flat.min()))
    ranked = count if lowest == 1 else count - lowest
    masks = []
    for t in thresholds:
        wanted = count - int(np.ceil((count - 1) * (1.0 - t)))
        mask = np.zeros(count, dtype=bool)
        mask[order[: min(wanted, ranked)]] = True
        masks.append(mask.reshape(saliency_map.shape))
    return masks


def tied_share(saliency_map: NDArray[Any]) -> float:
    """Share of the pixels that are tied at the map's minimum.

    From the threshold ``1 - tied_share`` on, ``pair`` shows the whole image at once;
    ``corrected`` reveals no more.
    """
    lowest = int(np.count_nonzero(saliency_map == saliency_map.min()))
    return 0.0 if lowest == 1 else lowest / saliency_map.size


def gate_pair(case: GateInput) -> str | None:
    """Exclude an image as PAIR's ``compute_pic_metric`` does, in its order."""
    if case.original_score < case.min_probability:
        if case.metric == "aic":
            return "the original image is not classified as the label"
        return (
            f"the network is less sure than {case.min_probability:g} of the class"
            " on the original image"
        )
    if case.blurred_size >= case.original_size:
        return "the blurred image is no smaller than the original"
    if case.blurred_score >= case.original_score:
        if case.metric == "sic":
            return "the class is predicted as surely from the blurred image"
        if case.original_score > 0:
            return "the blurred image is still classified as the label"
        return "the original image is not classified as the label"
    return None


def gate_brima(case: GateInput) -> str | None:
    """Keep an image where neither score nor entropy grows by blurring.

    As ``compute_pic_metric_flag`` of the paper's code. An image that stays right (or
    wrong) when blurred passes; its scores are divided by zero and give a flat curve.
    Where the entropies are equal the paper's code has no number either.
    """
    if case.blurred_size >= case.original_size:
        return "the blurred image has no less entropy than the original"
    if case.blurred_score > case.original_score:
        if case.metric == "aic":
            return "only the blurred image is classified as the label"
        return "the class is predicted more surely from the blurred image"
    return None


def join_pair(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Append (0, 0) and (1, 1) and sort by x, keeping the order of equal x (PAIR).

    Interpolation takes the last of several points of equal x, so score gained at no
    extra entropy is lost to the appended (0, 0).
    """
    x, y = np.append(x, (0.0, 1.0)), np.append(y, (0.0, 1.0))
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def join_corrected(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Append (0, 0) and (1, 1), sort by x, let y only grow, one point for each x."""
    x, y = join_pair(x, y)
    y = np.maximum.accumulate(y)
    last = np.append(np.diff(x) > 0, True)
    return x[last], y[last]


_PAIR = Preset(
    name="pair",
    thresholds=THRESHOLDS,
    reveal=reveal_by_quantile,
    entropy=ENTROPIES["webp"],
    gate=gate_pair,
    join=join_pair,
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _PAIR,
        replace(
            _PAIR,
            name="brima2024",
            entropy=ENTROPIES["histogram"],
            gate=gate_brima,
        ),
        replace(_PAIR, name="corrected", reveal=reveal_by_rank, join=join_corrected),
    )
}


def preset_names() -> tuple[str, ...]:
    """Names of the known presets."""
    return tuple(PRESETS)


@lru_cache(maxsize=64)
def get_preset(name: str) -> Preset:
    """Preset of that name, or of ``NAME:ENTROPY``.

    Raises
    ------
    MetricError
        If there is none; the text lists those there are.
    """
    base, colon, entropy = name.partition(":")
    if base not in PRESETS:
        known = ", ".join(PRESETS)
        raise MetricError(
            f"information curve preset {base!r} is unknown; choose one of: {known}"
        )
    if not colon:
        return PRESETS[base]
    if entropy not in ENTROPIES:
        known = ", ".join(ENTROPIES)
        raise MetricError(
            f"entropy {entropy!r} of preset {name!r} is unknown; choose one of: {known}"
        )
    return replace(PRESETS[base], name=name, entropy=ENTROPIES[entropy])
