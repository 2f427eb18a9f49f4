"""Methods that read the gradient at the image: vanilla gradient and SmoothGrad."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from . import _checks
from ._checks import Reduce
from .network import Score, Session
from .registry import method

__all__ = ["smoothgrad", "vanilla_gradient"]

GRADIENT_REDUCTIONS = ("abs_sum", "sum")


@method(
    "vanilla_gradient",
    label="Vanilla gradient",
    family="gradient",
    reference="Simonyan et al. 2013, arXiv:1312.6034",
)
def vanilla_gradient(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    score: Score = "logit",
    reduce: Reduce = "abs_sum",
) -> Tensor:
    """Gradient of the class score with respect to the image.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    score
        ``"logit"`` or the softmax ``"probability"``.
    reduce
        Over channels: ``"abs_sum"`` Σ|g|, or the signed ``"sum"`` Σg.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial).
    """
    _checks.choice(session, "reduce", reduce, GRADIENT_REDUCTIONS)
    session.expect(len(x))
    gradient = session.gradient(x, target, score=score)
    return _checks.reduced(session, gradient, reduce)


@method(
    "smoothgrad",
    label="SmoothGrad",
    family="gradient",
    reference="Smilkov et al. 2017, arXiv:1706.03825",
)
def smoothgrad(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    samples: int = 25,
    noise: float = 0.15,
    magnitude: bool = True,
    score: Score = "logit",
    reduce: Reduce = "abs_sum",
) -> Tensor:
    """Gradient averaged over noisy copies of the image.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    samples
        Noisy copies.
    noise
        Standard deviation of the noise, as a share of the image's range (maximum
        minus minimum over all channels).
    magnitude
        True for the mean of g² (PAIR's default), False for the paper's mean of g.
    score
        ``"logit"`` or the softmax ``"probability"``.
    reduce
        Over channels: ``"abs_sum"`` Σ|a|, or the signed ``"sum"`` Σa.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial).
    """
    _checks.choice(session, "reduce", reduce, GRADIENT_REDUCTIONS)
    _checks.count(session, "samples", samples)
    _checks.number(session, "noise", noise)
    session.expect(len(x) * samples)
    total = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
    for index in range(len(x)):
        draws = noise_of(session, x[index], samples, noise)
        for part in session.batches(samples):
            size = part.stop - part.start
            noisy = torch.stack([x[index] + next(draws) for _ in range(size)])
            gradient = session.gradient(noisy, target[index].expand(size), score=score)
            total[index] += (gradient.square() if magnitude else gradient).sum(dim=0)
    return _checks.reduced(session, total / samples, reduce)


def noise_of(
    session: Session, image: Tensor, samples: int, noise: float
) -> Iterator[Tensor]:
    """Draw the noise of one image (C, *spatial), sample by sample.

    Drawn one by one, so that it does not depend on the batch size.
    """
    deviation = noise * (image.max() - image.min())
    generator = session.generator(image)
    for _ in range(samples):
        draw = torch.randn(image.shape, generator=generator, dtype=torch.float32)
        yield draw.to(image.device, image.dtype) * deviation
