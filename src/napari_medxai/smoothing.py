"""Anti-aliasing before an image is made smaller, true up to the border."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.transforms import GaussianSmooth
from monai.transforms.transform import Transform

__all__ = ["BorderSafeSmooth"]


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
        self.sigma = list(sigma)

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Smooth a channel-first image (C, *spatial); its metadata stays."""
        if max(self.sigma) == 0:
            return img
        smooth = GaussianSmooth(sigma=self.sigma)
        inside = smooth(torch.ones_like(torch.as_tensor(img[:1]), dtype=torch.float32))
        smoothed: torch.Tensor = smooth(img) / torch.as_tensor(inside)
        return smoothed
