"""Guided integrated gradients: the path moves first where the gradient is small."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import _checks
from ._checks import Baseline, Reduce
from .holding import precise
from .network import Score, Session
from .registry import method

__all__ = ["guided_ig"]

CLOSE = 1e-9


@method(
    "guided_ig",
    label="Guided IG",
    family="path",
    reference="Kapishnikov et al. 2021, arXiv:2106.09788",
)
def guided_ig(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    steps: int = 200,
    fraction: float = 0.25,
    max_dist: float = 0.02,
    baseline: Baseline = 0.0,
    score: Score = "logit",
    reduce: Reduce = "abs_sum",
) -> Tensor:
    """Integrated gradients along a path that avoids large gradients.

    At every step the features with the smallest gradient move towards the image,
    until the L1 distance to it has fallen by 1/steps; no feature may leave the
    straight path by more than ``max_dist``. PAIR's defaults; the paper and its
    notebook use 25, 0.5 and 1.0.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    steps
        Steps of the path.
    fraction
        Share of the features that move at a time.
    max_dist
        Largest way from the straight path, as a share of its length.
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
    _checks.number(session, "fraction", fraction, most=1.0)
    _checks.number(session, "max_dist", max_dist, most=1.0)
    session.expect(len(x) * steps)
    # One row of float64 values for each image; the rows go in lock-step.
    end = precise(x).flatten(1)
    start = precise(_checks.baseline_like(session, baseline, x)).flatten(1)
    position = start.clone()
    attribution = torch.zeros_like(end)
    path = _Path(start, end, fraction)
    for step in range(steps):
        points = position.reshape(x.shape).to(x.device, x.dtype)
        gradient = session.gradient(points, target, score=score)
        position, attribution = path.step(
            position,
            attribution,
            precise(gradient).flatten(1),
            (step + 1) / steps,
            max_dist,
        )
    return _checks.reduced(session, attribution.reshape(x.shape), reduce)


class _Path:
    """The way from the baseline to the image, rows of (B, N) values."""

    def __init__(self, start: Tensor, end: Tensor, fraction: float) -> None:
        self.start = start
        self.end = end
        self.way = end - start
        self.length = self.way.abs().sum(dim=1)
        # The lower quantile: PAIR rounds down.
        self.rank = math.floor(fraction * (end.shape[1] - 1)) + 1

    def step(
        self,
        position: Tensor,
        attribution: Tensor,
        gradient: Tensor,
        alpha: float,
        max_dist: float,
    ) -> tuple[Tensor, Tensor]:
        """Move every row until its distance to the end is (1 - alpha) of the whole."""
        low, high = max(alpha - max_dist, 0.0), min(alpha + max_dist, 1.0)
        floor = self.start + self.way * low
        ceiling = self.start + self.way * high
        goal = self.length * (1 - alpha)
        size = gradient.abs()
        position, attribution = position.clone(), attribution.clone()
        active = torch.nonzero(self.length > 0)[:, 0]
        while len(active):
            before = position[active]
            here = self._raised(active, before, floor[active], low)
            distance = (here - self.end[active]).abs().sum(dim=1)
            reached = _close(goal[active], distance)
            # Features at the ceiling stay: they count as infinitely steep.
            steep = size[active].masked_fill(here == ceiling[active], math.inf)
            limit = steep.kthvalue(self.rank, dim=1, keepdim=True).values
            chosen = (steep <= limit) & (steep != math.inf) & ~reached[:, None]
            room = ((here - ceiling[active]).abs() * chosen).sum(dim=1)
            share = (distance - goal[active]) / room
            stuck = (room == 0) & ((here == before).all(dim=1))
            share = share.clamp(0.0, 1.0).nan_to_num(nan=0.0)[:, None]
            target = torch.where(
                share < 1, here + (ceiling[active] - here) * share, ceiling[active]
            )
            after = torch.where(chosen, target, here)
            attribution[active] += (after - before) * gradient[active]
            position[active] = after
            done = reached | stuck | ((room > 0) & (distance - goal[active] <= room))
            active = active[~done]
        return position, attribution

    def _raised(
        self, active: Tensor, position: Tensor, floor: Tensor, low: float
    ) -> Tensor:
        """Bring the features that fell behind the allowed range up to its floor."""
        way = self.way[active]
        progress = (position - self.start[active]) / way
        return torch.where((way != 0) & (progress < low), floor, position)


def _close(a: Tensor, b: Tensor) -> Tensor:
    """Compare as :func:`math.isclose` does."""
    scale = CLOSE * torch.maximum(a.abs(), b.abs())
    return (a - b).abs() <= scale.clamp(min=CLOSE)
