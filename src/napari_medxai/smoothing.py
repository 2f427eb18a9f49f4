"""Anti-aliasing before an image is made smaller, true up to the border."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.networks.layers.convutils import gaussian_1d
from monai.transforms.transform import Transform
from scipy.ndimage import convolve1d

__all__ = ["BorderSafeSmooth"]


class BorderSafeSmooth(Transform):  # type: ignore[misc]
    """Gaussian smoothing that divides by the weight that lies inside the image.

    The kernel is that of MONAI's ``GaussianSmooth``, which pads with zeros and so
    darkens the border of an image that is not black there: a radiograph, a cropped
    slice. It is applied along one axis after the other by SciPy: the same to the last
    bit on any number of threads, and for a large radiograph many times faster.

    Parameters
    ----------
    sigma : sequence of float
        Standard deviation along each spatial axis, in pixels; 0 leaves an axis alone.
    """

    def __init__(self, sigma: Sequence[float]) -> None:
        self.sigma = tuple(sigma)

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Smooth a channel-first image (C, *spatial)."""
        smoothed = np.asarray(img)
        for axis, sigma in enumerate(self.sigma, start=1):
            if sigma == 0:
                continue
            kernel = gaussian_1d(torch.tensor(sigma)).numpy().astype(np.float64)
            smoothed = convolve1d(smoothed, kernel, axis, mode="constant")
            inside = convolve1d(np.ones(smoothed.shape[axis]), kernel, mode="constant")
            length = [1] * smoothed.ndim
            length[axis] = -1
            smoothed = smoothed / inside.reshape(length).astype(smoothed.dtype)
        return torch.as_tensor(smoothed)
