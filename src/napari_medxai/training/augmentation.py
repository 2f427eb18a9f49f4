"""Augmentation by MONAI in named strengths, and mixup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["STRENGTHS", "Augmentation", "Strength", "mixed"]

REFERENCE = 224  # the size that `translate` is stated for


@dataclass(frozen=True)
class Strength:
    """How far images are changed.

    Attributes
    ----------
    rotate, shear, scale : float
        Radians, and shares, in either direction.
    translate : float
        Pixels at a size of 224.
    gamma : tuple of float
    gamma_share : float
        Share of the images whose contrast is changed.
    smooth, sharpen : float
        Shares of the images that are blurred (0.3 to 1.2 pixels) and sharpened.
    noise_share, noise : float
        Share of the images with noise, and its deviation; white is 1.
    """

    rotate: float
    shear: float
    scale: float
    translate: float
    gamma: tuple[float, float]
    gamma_share: float
    smooth: float
    sharpen: float
    noise_share: float = 0.3
    noise: float = 0.03


STRENGTHS = {
    "none": None,
    "light": Strength(0.25, 0.1, 0.15, 16, (0.6, 1.6), 0.6, 0.0, 0.0),
    "strong": Strength(0.35, 0.12, 0.2, 20, (0.5, 2.0), 0.7, 0.2, 0.1),
}


class Augmentation:
    """Turns network input images into training tensors.

    Parameters
    ----------
    strength : str
        A key of ``STRENGTHS``.
    size : sequence of int
        The network's input size.
    flip : bool
        Whether half of the images are mirrored left to right (the last axis).
    """

    def __init__(self, strength: str, size: Sequence[int], *, flip: bool) -> None:
        self.strength, self.size, self.flip = STRENGTHS[strength], tuple(size), flip
        self._chain: Any = None

    def __call__(self, image: NDArray[np.uint8], seed: int) -> torch.Tensor:
        """Augment one image.

        Parameters
        ----------
        image : ndarray of uint8, (*spatial) or (H, W, 3)
        seed : int
            Decides everything that is drawn.

        Returns
        -------
        Tensor of float32, (C, *spatial), 0 to 1
        """
        channels = (
            image[None] if image.ndim == len(self.size) else np.moveaxis(image, -1, 0)
        )
        tensor = torch.from_numpy(np.array(channels, order="C")).float() / 255
        if self.strength is None:
            return tensor
        from monai.data.meta_obj import get_track_meta, set_track_meta

        if self._chain is None:
            self._chain = _chain(self.strength, self.size, flip=self.flip)
        tracked = get_track_meta()
        set_track_meta(False)  # no affines here, and a third faster
        try:
            self._chain.set_random_state(seed=seed)
            out: torch.Tensor = self._chain(tensor)
        finally:
            set_track_meta(tracked)
        return out.clamp(0, 1)

    def __getstate__(self) -> dict[str, Any]:
        """Leave MONAI's objects behind: every process builds its own."""
        return {**self.__dict__, "_chain": None}


def _chain(strength: Strength, size: Sequence[int], *, flip: bool) -> Any:
    from monai.transforms import (
        Compose,
        RandAdjustContrast,
        RandAffine,
        RandFlip,
        RandGaussianNoise,
        RandGaussianSharpen,
        RandGaussianSmooth,
    )

    dims = len(size)
    turns, shears = (1, 2) if dims == 2 else (3, 6)
    sigma = (0.3, 1.2)
    steps: list[Any] = []
    if flip:
        steps.append(RandFlip(prob=0.5, spatial_axis=dims - 1))
    steps += [
        RandAffine(
            prob=0.9,
            rotate_range=(strength.rotate,) * turns,
            shear_range=(strength.shear,) * shears,
            translate_range=tuple(strength.translate * n / REFERENCE for n in size),
            scale_range=(strength.scale,) * dims,
            mode="bilinear",
            padding_mode="zeros",
        ),
        RandAdjustContrast(prob=strength.gamma_share, gamma=strength.gamma),
    ]
    if strength.smooth:
        steps.append(
            RandGaussianSmooth(
                prob=strength.smooth, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma
            )
        )
    if strength.sharpen:
        steps.append(RandGaussianSharpen(prob=strength.sharpen))
    steps.append(RandGaussianNoise(prob=strength.noise_share, std=strength.noise))
    return Compose(steps)


def mixed(
    images: torch.Tensor,
    targets: torch.Tensor,
    *,
    share: float,
    alpha: float,
    generator: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix a batch with itself in another order, in a share of the batches.

    Zhang et al. 2018, "mixup", arXiv:1710.09412, with one weight for the batch.

    Parameters
    ----------
    images : Tensor, (B, C, *spatial)
    targets : Tensor, (B, K)
        Probabilities.
    share : float
        Of the batches that are mixed.
    alpha : float
        The weight is drawn from Beta(alpha, alpha).
    generator : numpy.random.Generator

    Returns
    -------
    tuple of Tensor
    """
    if generator.random() >= share:
        return images, targets
    weight = float(generator.beta(alpha, alpha))
    other = torch.from_numpy(generator.permutation(len(images))).to(images.device)
    return (
        weight * images + (1 - weight) * images[other],
        weight * targets + (1 - weight) * targets[other],
    )
