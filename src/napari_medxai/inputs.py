"""A network input image, and its way back to the native grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .grid import INTERPOLATIONS, Grid

__all__ = ["NetworkInput"]


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """One network input image with its way back.

    Attributes
    ----------
    image : ndarray of uint8, shape (H, W) or (H, W, 3); (D, H, W) for 3-D networks
        The network input image on the network's grid.
    slice : int or None
        Index along the native slice axis; None for an image or a whole volume.
    native_shape : tuple of int
        Shape of the native slice, (rows, columns), or of the native volume.
    grid : Grid
        Where the network's pixels lie on the native grid.
    """

    image: NDArray[np.uint8]
    slice: int | None
    native_shape: tuple[int, ...]
    grid: Grid = field(repr=False)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Native pixels that the network saw; the others were cropped away."""
        return self.grid.seen.reshape(self.native_shape)

    @property
    def padding(self) -> NDArray[np.bool_]:
        """Pixels of the network input image that were added around the native ones."""
        return self.grid.added.reshape(self._spatial)

    def to_native(self, saliency: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Bring a map from the network's grid back onto the native grid.

        Parameters
        ----------
        saliency : ndarray, shape (H, W) or (D, H, W)
            A map on the network's grid.

        Returns
        -------
        ndarray of float32
            The map on the native slice (rows, columns) or volume: linear between the
            network's pixels where they are larger than the native ones, else their
            mean over the native pixel. Values keep their scale. Pixels that were
            cropped away are 0: what the network did not see did not move its answer.
            `seen` tells them apart.

        Raises
        ------
        UsageError
            If the map does not lie on the network's grid.
        """
        return self._to_native(saliency, "linear")

    def native_image(self, *, interpolation: str = "nearest") -> NDArray[np.float32]:
        """Return what the network sees, on the native grid.

        Parameters
        ----------
        interpolation : {"nearest", "linear"}
            ``nearest`` shows the network's own pixels; ``linear`` goes the way of
            :meth:`to_native`.

        Returns
        -------
        ndarray of float32, shape of the native slice or volume, colour last
            0 to 255. Pixels that were cropped away are 0, see `seen`.
        """
        if interpolation not in INTERPOLATIONS:
            raise UsageError(
                f"interpolation '{interpolation}' is unknown; "
                f"{' or '.join(INTERPOLATIONS)}."
            )
        if self.image.ndim == len(self._spatial):
            return self._to_native(self.image, interpolation)
        channels = np.moveaxis(self.image, -1, 0)
        return np.stack([self._to_native(c, interpolation) for c in channels], axis=-1)

    @property
    def _spatial(self) -> tuple[int, ...]:
        return self.grid.size[3 - len(self.native_shape) :]

    def _to_native(
        self, values: NDArray[Any], interpolation: str
    ) -> NDArray[np.float32]:
        if values.shape != self._spatial:
            raise UsageError(
                f"a map of shape {values.shape} does not lie on the network's grid of "
                f"{self._spatial}."
            )
        native = self.grid.to_native(
            values.reshape(self.grid.size), interpolation=interpolation
        )
        result: NDArray[np.float32] = native.reshape(self.native_shape).astype(
            np.float32
        )
        return result
