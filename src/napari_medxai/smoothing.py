"""Anti-aliasing before an image is made smaller, true up to the border."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from monai.transforms import GaussianSmooth
from monai.transforms.transform import Transform

__all__ = ["BorderSafeSmooth"]

MOST_KEPT = 2**20  # voxels: 4 MiB for each shape that is remembered


class BorderSafeSmooth(Transform):  # type: ignore[misc]
    """Gaussian smoothing that divides by the weight that lies inside the image.

    MONAI's own anti-aliasing pads with zeros, which darkens the border of an image
    that is not black there: a radiograph, a cropped slice.

    Parameters
    ----------
    sigma : sequence of float
        Standard deviation along each spatial axis, in pixels; 0 leaves an axis alone.
    """

    def __init__(self, sigma: Sequence[float]) -> None:
        self.sigma = tuple(sigma)

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Smooth a channel-first image (C, *spatial); its metadata stays."""
        if max(self.sigma) == 0:
            return img
        shape = tuple(int(n) for n in img.shape[1:])
        small = img[0].numel() <= MOST_KEPT
        inside = (_inside_kept if small else _inside)(shape, self.sigma)
        smoothed: torch.Tensor = GaussianSmooth(sigma=self.sigma)(img) / inside
        return smoothed


def _inside(shape: tuple[int, ...], sigma: tuple[float, ...]) -> torch.Tensor:
    """Weight of the kernel that lies inside, the same for all images of a shape."""
    ones = torch.ones((1, *shape), dtype=torch.float32)
    return torch.as_tensor(GaussianSmooth(sigma=sigma)(ones))


_inside_kept = lru_cache(maxsize=8)(_inside)
