"""The pixels that curves are made of: one channel where all are equal, 2-D or 3-D.

Volumes are stacks of slices: the hidden voxels of a slice are interpolated from that
slice's revealed ones, and its size is added to the others'. A volume of one slice
gives what the slice gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_medxai.metrics.interpolation import blur, with_corners
from napari_medxai.metrics.presets import Preset

__all__ = ["Pixels"]

Image = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Pixels:
    """An image or volume, its channels folded where they are equal.

    Attributes
    ----------
    folded
        uint8 ``(H, W[, C])`` or ``(D, H, W[, C])``; without the channels where all
        are equal: they interpolate alike, and WebP makes the same file of them.
    channels
        Channels that were folded away; 0 where none were.
    volume
        Whether the first axis is that of the slices.
    """

    folded: Image = field(repr=False)
    channels: int
    volume: bool

    @classmethod
    def of(cls, image: Image, *, volume: bool) -> Pixels:
        """Fold an image's channels where they are equal."""
        coloured = image.ndim == (4 if volume else 3)
        if coloured and np.all(image == image[..., :1]):
            grey = np.ascontiguousarray(image[..., 0])
            return cls(grey, image.shape[-1], volume)
        return cls(image, 0, volume)

    def blur(self, revealed: BoolArray) -> Image:
        """Interpolate what is hidden; see :func:`.interpolation.blur`."""
        if not self.volume:
            return blur(self.folded, revealed)
        pairs = zip(self.folded, revealed, strict=True)
        return np.stack([blur(image, mask) for image, mask in pairs])

    def with_corners(self, mask: BoolArray) -> BoolArray:
        """Copy a mask and set its corners, in a volume those of every slice."""
        if not self.volume:
            return with_corners(mask)
        return np.stack([with_corners(part) for part in mask])

    def sizes(self, image: Image, presets: Iterable[Preset]) -> dict[str, float]:
        """Measure a folded image by the entropies of the presets."""
        found: dict[str, float] = {}
        for entropy in (preset.entropy for preset in presets):
            if entropy.name not in found:
                measure = entropy.measure_volume if self.volume else entropy.measure
                found[entropy.name] = measure(image, self.folded)
        return found

    def expanded(self, images: Sequence[Image]) -> Image:
        """Stack folded images and give them their channels again."""
        if not images:
            shape = self.folded.shape + ((self.channels,) if self.channels else ())
            return np.empty((0, *shape), dtype=np.uint8)
        stack = np.stack(images)
        if not self.channels:
            return stack
        return np.repeat(stack[..., None], self.channels, axis=-1)
