"""From path lengths to the picture: scatter, quantum noise, detector and display."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .view import Floats

WATER = 0.0195
"""Attenuation of water for a filtered chest beam, per mm."""


@dataclass(frozen=True)
class Exposure:
    """How one picture was taken and shown.

    Attributes
    ----------
    scatter : float
        Scattered over primary radiation, averaged over the picture.
    quanta : float
        Quanta for each pixel in the open beam.
    blur : float
        Of the detector, in pixels.
    detail : float
        Strength of the edge enhancement that the processing adds.
    evening : float
        By how much it evens out large differences, 0 to 1.
    gamma : float
        Below 1 the lungs are shown brighter.
    low, high : float
        Percentiles of the signal that become black and white.
    """

    scatter: float
    quanta: float
    blur: float
    detail: float
    evening: float
    gamma: float
    low: float
    high: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, bedside: bool) -> Exposure:
        """Draw an exposure; without a grid, at the bedside, there is more scatter."""
        return cls(
            scatter=float(rng.uniform(0.55, 1.1) if bedside else rng.uniform(0.2, 0.5)),
            quanta=float(rng.uniform(1.5e4, 5e4)),
            blur=float(rng.uniform(0.35, 0.6)),
            detail=float(rng.uniform(0.3, 1.3)),
            evening=float(rng.uniform(0.1, 0.5)),
            gamma=float(rng.uniform(0.8, 1.2)),
            low=float(rng.uniform(1, 5)),
            high=float(rng.uniform(98.5, 99.8)),
        )

    def signal(self, path: Floats, pixel: float, rng: np.random.Generator) -> Floats:
        """Negative logarithm of what the detector counts.

        Parameters
        ----------
        path : ndarray, shape (rows, columns)
            Water-equivalent path length in mm.
        pixel : float
            Spacing in mm.
        rng : numpy.random.Generator
            Of the quantum noise.
        """
        primary = np.exp(-WATER * path)
        body = primary * (path > 20)
        spread = ndimage.gaussian_filter(body, 38 / pixel, mode="nearest")
        amount = self.scatter * body.sum() / max(float(spread.sum()), 1e-9)
        counts = rng.poisson((primary + amount * spread) * self.quanta)
        seen = ndimage.gaussian_filter(counts / self.quanta, self.blur)
        return np.asarray(-np.log(np.maximum(seen, 0.5 / self.quanta)), np.float32)

    def shown(self, signal: Floats, pixel: float, used: NDArray[np.bool_]) -> Floats:
        """Grey values 0 (air) to 1 (bone); ``used`` marks the exposed pixels."""
        wide = ndimage.gaussian_filter(signal, 24 / pixel, mode="nearest")
        out = signal - self.evening * wide
        fine = ndimage.gaussian_filter(out, 2.2 / pixel, mode="nearest")
        coarse = ndimage.gaussian_filter(out, 7 / pixel, mode="nearest")
        out = out + self.detail * (out - fine) + 0.6 * self.detail * (fine - coarse)
        low, high = np.percentile(out[used], [self.low, self.high])
        grey = 0.94 * np.clip((out - low) / (high - low), 0, None) ** self.gamma
        # A shoulder instead of a hard edge at white.
        return np.asarray(np.where(grey < 0.8, grey, 1 - 0.2 * np.exp(4 - 5 * grey)))
