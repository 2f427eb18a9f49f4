"""How a saliency map is drawn: colours, limits, threshold. Display only.

The map's values stay what they are. What lies below the percentile is transparent,
everything above has the same opacity. A map with negative values is drawn on a
diverging colormap centred on zero, by absolute value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from napari_medxai.results import Explanation

__all__ = ["Look", "apply_look", "layer_name", "look"]

COLOURS = 512
SEQUENTIAL = "inferno"
DIVERGING = "RdBu_r"


@dataclass(frozen=True)
class Look:
    """Colormap and limits of a map.

    Attributes
    ----------
    colors : ndarray, shape (n, 4)
        RGBA over the limits.
    limits : tuple of float
    threshold : float
        Values (of a signed map: absolute values) up to this are transparent.
    signed, constant : bool
        A constant map shows nothing about the image and is drawn nowhere.
    """

    colors: NDArray[np.float64]
    limits: tuple[float, float]
    threshold: float
    signed: bool
    constant: bool


def look(values: NDArray[np.floating[Any]], percentile: float) -> Look:
    """Choose colours and limits for a map.

    Parameters
    ----------
    values : ndarray
        The map; NaN is left out.
    percentile : float
        Values up to this percentile are transparent.
    """
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0, 0)
    signed = low < 0
    name = DIVERGING if signed else SEQUENTIAL
    # Black would darken the image where the map is weak, as if it were part of it.
    start = 0.0 if signed else 0.2
    colors = np.asarray(mpl.colormaps[name](np.linspace(start, 1, COLOURS)))
    if low == high:
        colors[:, 3] = 0
        return Look(colors, (low, low + 1.0), high, signed, constant=True)
    if signed:
        top = max(-low, high)
        threshold = float(np.percentile(np.abs(finite), percentile))
        distance = np.abs(np.linspace(-top, top, COLOURS))
        colors[distance <= threshold, 3] = 0
        return Look(colors, (-top, top), threshold, signed, constant=False)
    threshold = float(np.percentile(finite, percentile))
    if threshold >= high:  # more than that share has the highest value
        below = finite[finite < high]
        threshold = float(below.max())
    return Look(colors, (threshold, high), threshold, signed, constant=False)


def apply_look(layer: Any, chosen: Look) -> None:
    """Draw an image layer so."""
    from napari.utils.colormaps import Colormap

    low, high = chosen.limits
    layer.contrast_limits_range = _range_of(layer, low, high)
    layer.contrast_limits = (low, high)
    layer.colormap = Colormap(
        chosen.colors,
        name="saliency (signed)" if chosen.signed else "saliency",
        low_color=None if chosen.signed else "transparent",
        nan_color="transparent",
    )


def _range_of(layer: Any, low: float, high: float) -> tuple[float, float]:
    """Range of the contrast slider: wide enough for every threshold."""
    before = layer.contrast_limits_range
    return (min(low, before[0]), max(high, before[1]))


def layer_name(explanation: Explanation, label: str, case: str) -> str:
    """Name of a map's layer: method, class and probability, case."""
    classes = set(explanation.targets)
    if len(explanation.targets) == 1:
        chance = float(explanation.probabilities[0, explanation.target])
        what = f"{explanation.target_class} {chance:.2f}"
    elif len(classes) == 1:
        what = f"{explanation.target_class}, {len(explanation.targets)} slices"
    else:
        what = f"predicted class, {len(explanation.targets)} slices"
    return f"{label} → {what} · {case}"
