"""Blur integrated gradients: the path goes from a blurred image to the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import _checks
from ._checks import Reduce
from .holding import precise
from .network import Score, Session
from .registry import method

__all__ = ["blur_ig", "blurred"]

# As scipy.ndimage.gaussian_filter cuts its kernel.
TRUNCATE = 4.0


@method(
    "blur_ig",
    label="Blur IG",
    family="path",
    reference="Xu, Venugopalan & Sundararajan 2020, arXiv:2004.03383",
)
def blur_ig(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    steps: int = 100,
    max_sigma: float = 50.0,
    grad_step: float = 0.01,
    sqrt: bool = False,
    score: Score = "logit",
    reduce: Reduce = "abs_sum",
) -> Tensor:
    """Gradient integrated along ever stronger blurring, times the change it makes.

    Follows PAIR; it needs no baseline image. With ``sqrt`` each point is weighted
    with its own step, where PAIR takes that of the last point of a batch.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    steps
        Points on the path.
    max_sigma
        Standard deviation in pixels of the strongest blur.
    grad_step
        Step in the standard deviation by which the blurring is differentiated.
    sqrt
        Space the variance evenly instead of the standard deviation.
    score
        ``"logit"`` or the softmax ``"probability"``.
    reduce
        Over channels: ``"abs_sum"`` Σ|a|, or the signed ``"sum"`` Σa.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial).
    """
    _checks.choice(session, "reduce", reduce, ("abs_sum", "sum"))
    _checks.count(session, "steps", steps)
    _checks.number(session, "max_sigma", max_sigma, above=True)
    _checks.number(session, "grad_step", grad_step, above=True)
    ends = [index / steps for index in range(steps + 1)]
    sigmas = [math.sqrt(end * max_sigma) if sqrt else end * max_sigma for end in ends]
    session.expect(len(x) * steps)
    maps = []
    for image, label in zip(x, target, strict=True):
        total = torch.zeros_like(precise(image))
        for part in session.batches(steps):
            widths = range(part.start, part.stop)
            points = [blurred(image, sigmas[i]) for i in widths]
            changes = [
                (blurred(image, sigmas[i] + grad_step) - point) / grad_step
                for i, point in zip(widths, points, strict=True)
            ]
            batch = torch.stack(points).to(x.device, x.dtype)
            gradient = session.gradient(batch, label.expand(len(batch)), score=score)
            for i, change, slope in zip(widths, changes, gradient, strict=True):
                total -= (sigmas[i + 1] - sigmas[i]) * change * precise(slope)
        maps.append(total)
    return _checks.reduced(session, torch.stack(maps), reduce)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Blur an image (C, *spatial) by a Gaussian, zero outside, in float64.

    A product with a band matrix along each axis, which for wide Gaussians is much
    faster than sliding the kernel. Float64, since differences of two blurs are taken.
    """
    result = precise(image)
    radius = int(TRUNCATE * sigma + 0.5)
    if radius == 0:
        return result
    for axis in range(1, image.ndim):
        positions = torch.arange(
            image.shape[axis], dtype=torch.float64, device=result.device
        )
        distance = (positions[:, None] - positions[None, :]).abs()
        steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
        weight = torch.exp(-0.5 * (steps / sigma) ** 2).sum().item()
        kernel = torch.exp(-0.5 * (distance / sigma) ** 2) / weight
        kernel[distance > radius] = 0
        result = torch.tensordot(result, kernel, dims=([axis], [1])).movedim(-1, axis)
    return result
