"""Which colour a saliency value gets, and from where on it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from .wording import significant

__all__ = ["MASK_COLOUR", "ColourScale"]

MASK_COLOUR = (0, 229, 255)
TOP_PERCENTILE = 99.5


@lru_cache(maxsize=2)
def lookup(signed: bool) -> NDArray[np.uint8]:
    """256 colours: inferno, or berlin for signed maps, each without its black.

    Black would darken the slice instead of colouring it. Berlin's lies in the middle,
    around zero, where maps are transparent.
    """
    places = np.linspace(0.22, 1.0, 256)
    if signed:
        half = np.linspace(0.0, 0.37, 128)
        places = np.concatenate([half, 1.0 - half[::-1]])
    colours = matplotlib.colormaps["berlin" if signed else "inferno"](places)
    table: NDArray[np.uint8] = np.rint(colours[:, :3] * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


@dataclass(frozen=True)
class ColourScale:
    """How the values of one map become colours.

    Attributes
    ----------
    low, high : float
        Values of the first and the last colour; of a signed map -high and high, so
        that zero has the middle colour.
    cut : float
        What is weaker is transparent; of a signed map by its absolute value.
    floor : float
        What is not stronger is transparent: the map's minimum.
    signed : bool
    beyond_low, beyond_high : bool
        Whether there are values beyond the ends.
    """

    low: float
    high: float
    cut: float
    floor: float
    signed: bool
    beyond_low: bool = False
    beyond_high: bool = False

    @classmethod
    def of(cls, values: NDArray[Any], *, percentile: float = 80.0) -> ColourScale:
        """Fit a scale to the finite values of a map that is not constant.

        Parameters
        ----------
        values : ndarray
            Finite, at least two different ones.
        percentile : float
            See :func:`napari_medxai.report.overlay.overlay_picture`; 0 shows all.
        """
        lowest, highest = float(values.min()), float(values.max())
        signed = lowest < 0
        strength = np.abs(values) if signed else values
        cut, top = (
            float(v) for v in np.percentile(strength, [percentile, TOP_PERCENTILE])
        )
        floor = float(strength.min())
        strongest = float(strength.max())
        if top <= max(floor, cut):
            top = strongest
        if percentile == 0 or floor == strongest:
            cut, floor = floor, -np.inf
        return cls(
            low=-top if signed else lowest,
            high=top,
            cut=cut,
            floor=floor,
            signed=signed,
            beyond_low=signed and lowest < -top,
            beyond_high=highest > top,
        )

    def shown(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Where values are strong enough to be coloured; not where they are NaN."""
        strength = np.abs(values) if self.signed else values
        strong = (strength >= self.cut) & (strength > self.floor)
        result: NDArray[np.bool_] = strong & np.isfinite(values)
        return result

    def colours(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Colours (..., 3) of finite values (...)."""
        part = (values - self.low) / (self.high - self.low)
        index = np.clip(np.rint(part * 255), 0, 255).astype(np.intp)
        return lookup(self.signed)[index]

    def ends(self) -> tuple[str, str]:
        """Return what stands at the ends of the bar."""
        low, high = significant(self.low), significant(self.high)
        return (
            f"≤ {low}" if self.beyond_low else low,
            f"≥ {high}" if self.beyond_high else high,
        )
