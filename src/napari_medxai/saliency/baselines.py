"""Maps that know nothing of the network: chance and two negative controls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from . import _checks
from .network import Session
from .registry import method

__all__ = ["center", "edge", "random"]


@method(
    "random",
    label="Random",
    family="baseline",
    reference="Brima & Atemkeng 2024, doi:10.1186/s13040-024-00370-4",
    needs_network=False,
)
def random(session: Session, x: Tensor, target: Tensor) -> Tensor:
    """Uniform noise in [0, 1), pixel by pixel, seeded for each image."""
    return _each(
        session,
        x,
        lambda image: torch.rand(
            image.shape[1:], generator=session.generator(image), dtype=torch.float32
        ),
    )


@method(
    "edge",
    label="Edges",
    family="baseline",
    reference="Sobel & Feldman 1968; as a control: Adebayo et al. 2018",
    needs_network=False,
)
def edge(session: Session, x: Tensor, target: Tensor) -> Tensor:
    """Magnitude of the Sobel gradient of the mean over channels."""
    return _each(session, x, _sobel)


@method(
    "center",
    label="Centre",
    family="baseline",
    reference="Centred Gaussian, a control for the place of the object",
    needs_network=False,
)
def center(
    session: Session, x: Tensor, target: Tensor, *, sigma: float = 0.25
) -> Tensor:
    """Gaussian blob in the middle of the image.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    sigma
        Standard deviation along each axis, as a share of the image's size.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial), at most 1.
    """
    _checks.number(session, "sigma", sigma, above=True)
    blob = torch.ones((), dtype=torch.float64)
    for size in x.shape[2:]:
        place = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / size
        blob = blob[..., None] * torch.exp(-0.5 * (place / sigma) ** 2)
    return _each(session, x, lambda image: blob)


def _sobel(image: Tensor) -> Tensor:
    mean = image.to("cpu", torch.float64).mean(dim=0).numpy()
    squares = [
        ndimage.sobel(mean, axis=axis, mode="nearest") ** 2 for axis in range(mean.ndim)
    ]
    return torch.from_numpy(np.sqrt(np.sum(squares, axis=0)))


def _each(session: Session, x: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
    session.expect(len(x))
    maps = []
    for image in x:
        maps.append(draw(image))
        session.advance(1)
    return torch.stack(maps)
