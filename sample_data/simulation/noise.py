"""Smooth random fields over the head, evaluated at arbitrary points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]

LOW = np.array([-130.0, -160.0, -200.0], np.float32)
HIGH = np.array([130.0, 150.0, 130.0], np.float32)


@dataclass(frozen=True)
class Field:
    """A random field of zero mean and unit variance on a coarse grid.

    Attributes
    ----------
    grid : ndarray, shape (channels, nx, ny, nz)
        Values.
    step : float
        Spacing of the grid in mm.
    """

    grid: Floats
    step: float

    def __call__(self, points: Floats) -> Floats:
        """Interpolate at points of shape (3, n); returns (channels, n)."""
        index = (points - LOW[:, None]) / np.float32(self.step)
        out = np.empty((len(self.grid), points.shape[1]), np.float32)
        for channel, values in enumerate(self.grid):
            ndimage.map_coordinates(
                values, index, out[channel], order=1, mode="nearest"
            )
        return out


def field(
    rng: np.random.Generator, *, step: float, channels: int, smooth: float = 1.2
) -> Field:
    """Draw a field whose correlation length is about ``smooth * step`` mm."""
    shape = np.ceil((HIGH - LOW) / step).astype(int) + 1
    grid = rng.standard_normal((channels, *shape), dtype=np.float32)
    for values in grid:
        ndimage.gaussian_filter(values, smooth, output=values, mode="wrap")
        values /= values.std()
    return Field(grid=grid, step=step)
