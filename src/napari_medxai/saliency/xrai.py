"""XRAI: attributions gathered over the segments of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import _checks
from ._checks import Baseline, RegionReduce
from .network import Score, Session
from .paths import integrate
from .ranking import rank_segments, rank_segments_fast
from .registry import method
from .segments import image_segments

__all__ = ["fast_xrai", "xrai"]

Ranking = Callable[[NDArray[np.float64], list[NDArray[np.int64]]], NDArray[np.float64]]


@method(
    "xrai",
    label="XRAI",
    family="region",
    reference="Kapishnikov et al. 2019, arXiv:1906.02825",
)
def xrai(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    steps: int = 100,
    baseline: Baseline | Sequence[Baseline] | None = None,
    area_threshold: float = 1.0,
    min_pixel_diff: int = 50,
    dilation: int = 5,
    segments: Tensor | None = None,
    attribution: Tensor | None = None,
    score: Score = "logit",
    reduce: RegionReduce = "max",
) -> Tensor:
    """Mean attribution of segments, taken greedily from the best on.

    Follows PAIR: integrated gradients averaged over a black and a white baseline,
    the maximum over channels, segments at six scales. Volumes are segmented into
    supervoxels (SLIC at six sizes) instead of Felzenszwalb's regions.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    steps
        Points on each path of the integrated gradients.
    baseline
        Baseline image, or several, in the units of ``x``; None for the image's own
        minimum (black) and maximum (white).
    area_threshold
        Share of the image from which on no more segments are added; what is left
        shares its mean.
    min_pixel_diff
        A segment that would add fewer pixels than this is dropped.
    dilation
        Radius in pixels by which segments are grown.
    segments
        Bool (S, *spatial): segments to use instead of the image's own; not grown.
    attribution
        Float (B, C, *spatial): attribution to gather instead of the integrated
        gradients.
    score
        ``"logit"`` or the softmax ``"probability"``.
    reduce
        Over channels: the ``"max"``, ``"sum"`` or ``"abs_sum"`` of the attribution.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial): at each pixel the mean attribution that its segment
        added. Signed.
    """
    _checks.number(session, "area_threshold", area_threshold, most=1.0)
    _checks.count(session, "min_pixel_diff", min_pixel_diff)

    def ranking(
        values: NDArray[np.float64], found: list[NDArray[np.int64]]
    ) -> NDArray[np.float64]:
        return rank_segments(
            values, found, min_pixel_diff, area_threshold=area_threshold
        )

    return _ranked(
        session,
        x,
        _attribution(session, x, target, attribution, baseline, steps, score, reduce),
        _segments(session, x, segments, dilation),
        ranking,
    )


@method(
    "fast_xrai",
    label="XRAI, fast",
    family="region",
    reference="Kapishnikov et al. 2019, arXiv:1906.02825; PAIR algorithm='fast'",
    approximates="xrai",
)
def fast_xrai(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    steps: int = 100,
    baseline: Baseline | Sequence[Baseline] | None = None,
    min_pixel_diff: int = 50,
    dilation: int = 5,
    segments: Tensor | None = None,
    attribution: Tensor | None = None,
    score: Score = "logit",
    reduce: RegionReduce = "max",
) -> Tensor:
    """Mean attribution of segments, ranked once without regard to their overlap.

    PAIR's approximation of XRAI.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    steps, baseline, min_pixel_diff, dilation, segments, attribution, score, reduce
        See :func:`xrai`.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial). Signed.
    """
    _checks.count(session, "min_pixel_diff", min_pixel_diff)

    def ranking(
        values: NDArray[np.float64], found: list[NDArray[np.int64]]
    ) -> NDArray[np.float64]:
        return rank_segments_fast(values, found, min_pixel_diff)

    return _ranked(
        session,
        x,
        _attribution(session, x, target, attribution, baseline, steps, score, reduce),
        _segments(session, x, segments, dilation),
        ranking,
    )


def _ranked(
    session: Session,
    x: Tensor,
    attribution: Tensor,
    segments: list[list[NDArray[np.int64]]],
    ranking: Ranking,
) -> Tensor:
    maps = [
        torch.from_numpy(ranking(values.double().cpu().numpy(), found))
        for values, found in zip(attribution, segments, strict=True)
    ]
    return torch.stack(maps)


def _attribution(
    session: Session,
    x: Tensor,
    target: Tensor,
    given: Tensor | None,
    baseline: Any,
    steps: int,
    score: Score,
    reduce: RegionReduce,
) -> Tensor:
    """Attribution (B, *spatial) that the segments gather."""
    _checks.choice(session, "reduce", reduce, ("max", "sum", "abs_sum"))
    _checks.count(session, "steps", steps)
    if given is not None:
        if not isinstance(given, Tensor) or given.shape != x.shape:
            raise session.error(
                f"attribution must be a tensor of the images' shape {tuple(x.shape)}"
            )
        values = given.detach().to(x.device, x.dtype)
        session.require_finite(values, "the attribution")
        return _checks.reduced(session, values, reduce)
    starts = _baselines(session, baseline, x)
    session.expect(len(x) * len(starts) * steps)
    attribution = [
        torch.stack(
            [
                integrate(session, image, start[i], target[i], steps=steps, score=score)
                for start in starts
            ]
        ).mean(dim=0)
        for i, image in enumerate(x)
    ]
    return _checks.reduced(session, torch.stack(attribution), reduce)


def _segments(
    session: Session, x: Tensor, given: Tensor | None, dilation: int
) -> list[list[NDArray[np.int64]]]:
    """Flat pixel indices of the segments of each image."""
    _checks.count(session, "dilation", dilation, least=0)
    if given is None:
        return [
            session.once(
                "segments",
                partial(image_segments, image.cpu().numpy(), dilation),
                image,
                settings=(dilation,),
            )
            for image in x
        ]
    if not isinstance(given, Tensor) or given.shape[1:] != x.shape[2:]:
        raise session.error(
            f"segments must be a bool tensor (S, *spatial) over {tuple(x.shape[2:])}"
        )
    flat = given.detach().cpu().bool().flatten(1).numpy()
    found = [np.flatnonzero(segment) for segment in flat if segment.any()]
    return [found] * len(x)


def _baselines(session: Session, baseline: Any, x: Tensor) -> list[Tensor]:
    if baseline is None:
        ends = x.flatten(1).amin(dim=1), x.flatten(1).amax(dim=1)
        return [end.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x) for end in ends]
    several = baseline if isinstance(baseline, list | tuple) else [baseline]
    if not several:
        raise session.error("baseline must hold at least one baseline image")
    return [_checks.baseline_like(session, start, x) for start in several]
