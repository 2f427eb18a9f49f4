"""Results of the information curves, and their way back from stored knots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medxai.errors import MetricError
from napari_medxai.metrics.presets import Metric, Preset, get_preset

__all__ = ["InformationCurve", "InformationCurves", "Knots"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Knots:
    """What was measured on the way from the blurred image to the original.

    All arrays have one entry a threshold, led by 0 (the fully blurred image) and
    closed by 1 (the original). Where both curves are excluded only these two are
    there.

    Attributes
    ----------
    thresholds
        Fraction of the pixels asked to be revealed.
    revealed
        Fraction of the pixels that were, ties and random mask included.
    sizes
        Entropy in the preset's unit (``pair``: bytes of WebP).
    probabilities
        Probability of the target class.
    predicted
        Index of the most probable class.
    """

    thresholds: FloatArray
    revealed: FloatArray
    sizes: FloatArray
    probabilities: FloatArray
    predicted: IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class InformationCurve:
    """One performance information curve.

    Attributes
    ----------
    metric
        ``"aic"`` or ``"sic"``.
    preset
        Name of the definition.
    x, y
        The curve, 1001 points on [0, 1]: normalised entropy and score. y is NaN
        where the image is excluded.
    auc
        Area by the trapezoidal rule; NaN where excluded.
    excluded
        None, or why the image has no curve, in plain words.
    knots_x, knots_y
        Normalised entropy and score, one a threshold in the thresholds' order
        (y monotone where the preset says so), without the ends that the preset
        adds. Empty where excluded. They suffice for :meth:`from_knots`.
    """

    metric: Metric
    preset: str
    x: FloatArray = field(repr=False)
    y: FloatArray = field(repr=False)
    auc: float
    excluded: str | None
    knots_x: FloatArray = field(repr=False)
    knots_y: FloatArray = field(repr=False)

    @classmethod
    def from_knots(
        cls,
        metric: Metric,
        knots_x: ArrayLike = (),
        knots_y: ArrayLike = (),
        *,
        preset: str = "pair",
        excluded: str | None = None,
    ) -> InformationCurve:
        """Rebuild a curve from the few numbers that are stored of it.

        Parameters
        ----------
        metric
            ``"aic"`` or ``"sic"``.
        knots_x, knots_y
            As in the attributes; not looked at where `excluded` is given.
        preset
            Name of the definition the knots were made under.
        excluded
            Why there is no curve, or None.

        Returns
        -------
        InformationCurve
            The same curve, to the last bit.

        Raises
        ------
        MetricError
            If the preset is unknown, or the knots are not two equally long lists
            of numbers in [0, 1].
        """
        return build_curve(
            metric,
            np.asarray(knots_x, dtype=np.float64),
            np.asarray(knots_y, dtype=np.float64),
            get_preset(preset),
            excluded,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class InformationCurves:
    """Both curves of one image and saliency map, read from the same forwards.

    Attributes
    ----------
    aic, sic
        Accuracy and softmax information curve.
    knots
        The raw measurements both were made from.
    preset
        Name of the definition.
    target, label
        Class whose probability SIC follows, class AIC counts as right.
    """

    aic: InformationCurve
    sic: InformationCurve
    knots: Knots = field(repr=False)
    preset: str
    target: int
    label: int


@lru_cache(maxsize=8)
def curve_grid(intervals: int) -> FloatArray:
    """Points of x: `intervals` steps from 0 on, and 1.0; shared and read-only."""
    x = np.append(np.linspace(0.0, 1.0, intervals, endpoint=False), 1.0)
    x.flags.writeable = False
    return x


def build_curve(
    metric: Metric,
    knots_x: FloatArray,
    knots_y: FloatArray,
    preset: Preset,
    excluded: str | None,
) -> InformationCurve:
    """Put the normalised knots on the grid."""
    if metric not in ("aic", "sic"):
        raise MetricError(f"metric {metric!r} is not an information curve: aic or sic")
    x = curve_grid(preset.intervals)
    if excluded is not None:
        nothing = np.empty(0)
        return InformationCurve(
            metric=metric,
            preset=preset.name,
            x=x,
            y=np.full(x.shape, np.nan),
            auc=float("nan"),
            excluded=excluded,
            knots_x=nothing,
            knots_y=nothing,
        )
    _check_knots(knots_x, knots_y)
    joined_x, joined_y = preset.join(knots_x, knots_y)
    y = np.interp(x, joined_x, joined_y)
    y[-1] = 1.0
    return InformationCurve(
        metric=metric,
        preset=preset.name,
        x=x,
        y=y,
        auc=float(np.trapezoid(y, x)),
        excluded=None,
        knots_x=knots_x,
        knots_y=knots_y,
    )


def read_curves(
    knots: Knots,
    preset: Preset,
    reasons: tuple[str | None, str | None],
    target: int,
    label: int,
) -> InformationCurves:
    """Read both curves from what was measured; `reasons` exclude AIC and SIC."""
    scores: tuple[tuple[Metric, NDArray[Any]], ...] = (
        ("aic", knots.predicted == label),
        ("sic", knots.probabilities),
    )
    built = {}
    for (metric, raw), reason in zip(scores, reasons, strict=True):
        x = y = np.empty(0)
        if reason is None:
            x = normalise(knots.sizes, monotone=False)
            y = normalise(raw, monotone=preset.monotone)
        built[metric] = build_curve(metric, x, y, preset, reason)
    return InformationCurves(
        aic=built["aic"],
        sic=built["sic"],
        knots=knots,
        preset=preset.name,
        target=target,
        label=label,
    )


def normalise(values: Sequence[float] | NDArray[Any], *, monotone: bool) -> FloatArray:
    """Scale raw values between the first (0) and the last (1), drop both, clip.

    `values` leads with the blurred image and closes with the original. Where the two
    are equal (a preset that excludes no such image), a value above them counts 1 and
    others 0, as in the paper's code.
    """
    raw = np.asarray(values, dtype=np.float64)
    low, high = raw[0], raw[-1]
    if low == high:
        scaled = (raw[1:-1] > high).astype(np.float64)
    else:
        scaled = np.clip((raw[1:-1] - low) / (high - low), 0.0, 1.0)
    return np.maximum.accumulate(scaled) if monotone else scaled


def _check_knots(x: FloatArray, y: FloatArray) -> None:
    if x.ndim != 1 or x.shape != y.shape:
        raise MetricError(
            f"knots of an information curve: x has shape {x.shape} and y {y.shape};"
            " give two lists of one length"
        )
    for name, values in (("x", x), ("y", y)):
        if not np.all((values >= 0.0) & (values <= 1.0)):
            raise MetricError(
                f"knots of an information curve: {name} leaves [0, 1] or is not a"
                " number; give the normalised knots"
            )
