"""What the variants of the performance information curve disagree about.

A :class:`Preset` holds data and four strategies (reveal, entropy, gate, join); the
computation in ``pic.py`` is the same for all. A variant is added by adding a preset
to ``PRESETS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import MetricError
from napari_medxai.metrics.entropy import webp_size

__all__ = ["GateInput", "Metric", "Preset", "get_preset", "preset_names"]

Metric: TypeAlias = Literal["aic", "sic"]
FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]


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
Entropy: TypeAlias = Callable[[NDArray[np.uint8]], float]
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
    mask_fraction
        Part of the pixels kept in the fully blurred image.
    reveal
        ``(map, thresholds, seed) -> masks``: a bool ``(H, W)`` mask a threshold.
    entropy
        ``image -> information``, larger for more.
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
    mask_fraction: float
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


def join_pair(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Append (0, 0) and (1, 1) and sort by x, keeping the order of equal x (PAIR).

    Interpolation takes the last of several points of equal x, so score gained at no
    extra entropy is lost to the appended (0, 0).
    """
    x, y = np.append(x, (0.0, 1.0)), np.append(y, (0.0, 1.0))
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


_PAIR = Preset(
    name="pair",
    thresholds=(
        0.005,
        0.01,
        0.02,
        0.03,
        0.04,
        0.05,
        0.07,
        0.10,
        0.13,
        0.21,
        0.34,
        0.5,
        0.75,
    ),
    mask_fraction=0.01,
    reveal=reveal_by_quantile,
    entropy=webp_size,
    gate=gate_pair,
    join=join_pair,
)

PRESETS: dict[str, Preset] = {_PAIR.name: _PAIR}


def preset_names() -> tuple[str, ...]:
    """Names of the known presets."""
    return tuple(PRESETS)


def get_preset(name: str) -> Preset:
    """Preset of that name.

    Raises
    ------
    MetricError
        If there is none; the text lists those there are.
    """
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(PRESETS)
        raise MetricError(
            f"information curve preset {name!r} is unknown; choose one of: {known}"
        ) from None
