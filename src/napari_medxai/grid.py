"""Where the network's pixels lie on the native grid, and the way back.

The way from native pixels to the network's goes along the axes: they are exchanged
and turned, cut to a box, padded to a physical square (cube) and resized. Nothing is
rotated or sheared, so that the way back is one small matrix for each axis. A voxel is
a cell around its centre (half-pixel convention, ``align_corners=False``): the first
and the last cell end where the padded box ends, on both grids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .display import OPPOSITE, screen_codes

__all__ = ["INTERPOLATIONS", "Grid", "Turn"]

INTERPOLATIONS = ("linear", "nearest")
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Turn:
    """How native axes are exchanged and turned for the network.

    Attributes
    ----------
    order : tuple of int
        The native axis that becomes the network's first, second and third.
    backwards : tuple of bool
        Whether the network's axis runs against that native axis.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    backwards: tuple[bool, bool, bool] = (False, False, False)

    @classmethod
    def of(cls, codes: tuple[str, str, str] | None, *, volumetric: bool) -> Turn:
        """Work out the turn to radiological convention.

        Parameters
        ----------
        codes : tuple of str or None
            Directions of (slice, row, column), see :attr:`Study.codes`; without
            them nothing is turned.
        volumetric : bool
            A 3-D network gets (superior, posterior, left). A 2-D one keeps the slice
            axis the study has, since that axis is not mixed into the picture.

        Returns
        -------
        Turn
        """
        if codes is None:
            return cls()
        wanted = ("S", "P", "L") if volumetric else (codes[0], *screen_codes(codes))
        a, b, c = (
            next(
                axis for axis, own in enumerate(codes) if own in (code, OPPOSITE[code])
            )
            for code in wanted
        )
        first, second, third = (
            codes[axis] != code for axis, code in zip((a, b, c), wanted, strict=True)
        )
        return cls(order=(a, b, c), backwards=(first, second, third))

    def then(self, axes: Sequence[int], backwards: Sequence[bool]) -> Turn:
        """Exchange and turn the turned axes once more.

        Parameters
        ----------
        axes : sequence of int
            The turned axis that becomes the first, second and third.
        backwards : sequence of bool
            Whether the new axis runs against it.

        Returns
        -------
        Turn
        """
        a, b, c = axes
        first, second, third = (
            self.backwards[axis] != against
            for axis, against in zip(axes, backwards, strict=True)
        )
        return Turn(
            order=(self.order[a], self.order[b], self.order[c]),
            backwards=(first, second, third),
        )

    def there(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array whose last three axes are native."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + a for a in self.order))
        return np.ascontiguousarray(np.flip(turned, self._flipped(lead)))

    def back(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array whose last three axes are the network's."""
        lead = array.ndim - 3
        turned = np.flip(array, self._flipped(lead))
        inverse = np.argsort(self.order)
        turned = turned.transpose(*range(lead), *(lead + int(a) for a in inverse))
        return np.ascontiguousarray(turned)

    def _flipped(self, lead: int) -> tuple[int, ...]:
        return tuple(lead + axis for axis, flip in enumerate(self.backwards) if flip)


@dataclass(frozen=True)
class Grid:
    """A network's grid laid over native voxels.

    All tuples but `turn` have three entries, along the turned axes; a slice under a
    2-D network has one voxel along the first.

    Attributes
    ----------
    turn : Turn
    extent : tuple of int
        Native voxels.
    box : tuple of slice
        Those that the network sees.
    padding : tuple of (int, int)
        Voxels added before and after the box.
    size : tuple of int
        The network's voxels.
    """

    turn: Turn
    extent: tuple[int, ...]
    box: Box
    padding: tuple[tuple[int, int], ...]
    size: tuple[int, ...]

    @classmethod
    def square(
        cls,
        turn: Turn,
        extent: Sequence[int],
        box: Box,
        spacing: Sequence[float],
        size: Sequence[int],
    ) -> Grid:
        """Pad the box to a physical square, or a cube for a 3-D network.

        Parameters
        ----------
        turn : Turn
        extent, box, spacing : sequence
            Along the turned axes; mm.
        size : sequence of int
            The network's (H, W) or (D, H, W).

        Returns
        -------
        Grid
        """
        first = 3 - len(size)
        kept = [part.stop - part.start for part in box]
        lengths = [n * s for n, s in zip(kept, spacing, strict=True)]
        side = max(lengths[first:])
        missing = [
            max(n, round(side / s)) - n if axis >= first else 0
            for axis, (n, s) in enumerate(zip(kept, spacing, strict=True))
        ]
        return cls(
            turn=turn,
            extent=tuple(extent),
            box=box,
            padding=tuple((n // 2, n - n // 2) for n in missing),
            size=(*[1] * first, *size),
        )

    @property
    def padded(self) -> tuple[int, ...]:
        """Voxels of the padded box along the turned axes."""
        return tuple(
            part.stop - part.start + before + after
            for part, (before, after) in zip(self.box, self.padding, strict=True)
        )

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Native voxels (slice, row, column) that the network sees."""
        inside = np.zeros(self.extent, dtype=bool)
        inside[self.box] = True
        return self.turn.back(inside)

    @property
    def added(self) -> NDArray[np.bool_]:
        """Voxels of the network whose centre lies in the padding."""
        outside = np.zeros(self.size, dtype=bool)
        for axis, (m, n, (before, after)) in enumerate(
            zip(self.size, self.padded, self.padding, strict=True)
        ):
            centre = (np.arange(m) + 0.5) * n / m
            alone = (centre < before) | (centre > n - after)
            outside |= np.expand_dims(alone, [a for a in range(3) if a != axis])
        return outside

    def to_native(
        self, values: NDArray[Any], *, interpolation: str = "linear"
    ) -> NDArray[np.float64]:
        """Bring values of the network's grid to the native voxels.

        Parameters
        ----------
        values : ndarray
            The last three axes are the network's.
        interpolation : {"linear", "nearest"}
            Linear: where the network's voxels are the larger ones, linear between
            their centres; where they are the smaller ones, the mean over the native
            voxel. Either way the weights of a voxel add up to 1.

        Returns
        -------
        ndarray of float64
            The last three axes are native. 0 where the network saw nothing.
        """
        native = np.asarray(values, dtype=np.float64)
        for axis, weights in enumerate(self._weights[interpolation]):
            along = native.ndim - 3 + axis
            moved = np.moveaxis(native, along, 0)
            flat = weights @ moved.reshape(len(moved), -1)
            native = np.moveaxis(flat.reshape(-1, *moved.shape[1:]), 0, along)
        return self.turn.back(native)

    @cached_property
    def _weights(self) -> dict[str, tuple[sparse.csr_array, ...]]:
        """For each axis (native voxels, network's voxels), sparse: NaN stays put."""
        rules: dict[str, Callable[..., NDArray[np.float64]]] = {
            "linear": _linear,
            "nearest": _nearest,
        }
        table = {}
        for name in INTERPOLATIONS:
            matrices = []
            for n, part, (before, _), padded, m in zip(
                self.extent, self.box, self.padding, self.padded, self.size, strict=True
            ):
                full = np.zeros((n, m))
                inside = np.arange(part.stop - part.start) + before
                full[part] = rules[name]((inside + 0.5) * m / padded - 0.5, m, padded)
                matrices.append(sparse.csr_array(full))
            table[name] = tuple(matrices)
        return table


def _linear(centres: NDArray[np.float64], m: int, padded: int) -> NDArray[np.float64]:
    """Weights of m voxels for native voxels with these centres, of m / padded width."""
    width = m / padded
    voxels = np.arange(m)
    if width <= 1:
        centres = np.clip(centres, 0, m - 1)[:, None]
        weights = np.clip(1 - np.abs(centres - voxels), 0, None)
    else:
        low, high = centres[:, None] - width / 2, centres[:, None] + width / 2
        overlap = np.minimum(high, voxels + 0.5) - np.maximum(low, voxels - 0.5)
        weights = np.where(overlap > 1e-9, overlap, 0.0)
    result: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return result


def _nearest(centres: NDArray[np.float64], m: int, padded: int) -> NDArray[np.float64]:
    del padded
    index = np.clip(np.floor(centres + 0.5), 0, m - 1).astype(int)
    result: NDArray[np.float64] = np.eye(m)[index]
    return result
