"""Integrated gradients, straight from a baseline image to the image."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _checks
from ._checks import Baseline, Reduce
from .gradients import noise_of
from .network import Score, Session
from .registry import method

__all__ = ["integrate", "integrated_gradients", "smoothgrad_ig"]


@method(
    "integrated_gradients",
    label="Integrated gradients",
    family="path",
    reference="Sundararajan et al. 2017, arXiv:1703.01365",
)
def integrated_gradients(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    steps: int = 25,
    baseline: Baseline = 0.0,
    score: Score = "logit",
    reduce: Reduce = "abs_sum",
) -> Tensor:
    """Gradient averaged along the straight path from a baseline, times the way.

    Follows PAIR: points at ``linspace(0, 1, steps)`` with both ends, their plain
    mean. On z-scored images the default baseline 0 is the mean image, not black.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    steps
        Points on the path.
    baseline
        Baseline image in the units of ``x``: a value, or a tensor that spreads over
        (B, C, *spatial).
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
    start = _checks.baseline_like(session, baseline, x)
    session.expect(len(x) * steps)
    attribution = torch.stack(
        [
            integrate(session, x[i], start[i], target[i], steps=steps, score=score)
            for i in range(len(x))
        ]
    )
    return _checks.reduced(session, attribution, reduce)


@method(
    "smoothgrad_ig",
    label="SmoothGrad IG",
    family="path",
    reference="Smilkov et al. 2017, arXiv:1706.03825; PAIR GetSmoothedMask of IG",
)
def smoothgrad_ig(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    samples: int = 25,
    noise: float = 0.15,
    magnitude: bool = True,
    steps: int = 25,
    baseline: Baseline = 0.0,
    score: Score = "logit",
    reduce: Reduce = "abs_sum",
) -> Tensor:
    """Integrated gradients averaged over noisy copies of the image.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    samples, noise, magnitude
        As of ``smoothgrad``: copies, their noise as a share of the image's range, and
        whether squares are averaged (PAIR's default).
    steps, baseline
        As of ``integrated_gradients``.
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
    _checks.count(session, "samples", samples)
    _checks.number(session, "noise", noise)
    _checks.count(session, "steps", steps)
    start = _checks.baseline_like(session, baseline, x)
    session.expect(len(x) * samples * steps)
    total = torch.zeros_like(x)
    for index, image in enumerate(x):
        for draw in noise_of(session, image, samples, noise):
            attribution = _integrate(
                session, image + draw, start[index], target[index], steps, score
            )
            total[index] += attribution.square() if magnitude else attribution
    return _checks.reduced(session, total / samples, reduce)


def integrate(
    session: Session,
    image: Tensor,
    baseline: Tensor,
    target: Tensor,
    *,
    steps: int,
    score: Score,
) -> Tensor:
    """Integrated gradients (C, *spatial) of one image.

    The batches hold points of this image's path alone, so that its result does not
    depend on other images.
    """
    return session.once(
        "integrated gradients",
        lambda: _integrate(session, image, baseline, target, steps, score),
        image,
        baseline,
        target,
        settings=(steps, score),
        passes=steps,
    )


def _integrate(
    session: Session,
    image: Tensor,
    baseline: Tensor,
    target: Tensor,
    steps: int,
    score: Score,
) -> Tensor:
    way = image - baseline
    alphas = torch.linspace(0, 1, steps, dtype=torch.float64)
    alphas = alphas.to(image.dtype).to(image.device)
    alphas = alphas.reshape(-1, *[1] * image.ndim)
    total = torch.zeros_like(image)
    for part in session.batches(steps):
        points = baseline + alphas[part] * way
        gradient = session.gradient(points, target.expand(len(points)), score=score)
        total += gradient.sum(dim=0)
    return total * way / steps
