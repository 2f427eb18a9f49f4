"""XRAI: attributions gathered over the segments of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from . import _checks
from ._checks import Baseline, Reduce
from .network import Score, Session
from .paths import integrate
from .registry import method
from .segments import dilated_segments, label_images

__all__ = ["rank_segments", "xrai"]


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
    min_pixel_diff: int = 50,
    dilation: int = 5,
    score: Score = "logit",
    reduce: Reduce = "max",
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
    min_pixel_diff
        A segment that would add fewer pixels than this is dropped.
    dilation
        Radius in pixels by which segments are grown.
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
    _checks.choice(session, "reduce", reduce, ("max", "sum", "abs_sum"))
    _checks.count(session, "steps", steps)
    _checks.count(session, "min_pixel_diff", min_pixel_diff)
    _checks.count(session, "dilation", dilation, least=0)
    starts = _baselines(session, baseline, x)
    session.expect(len(x) * len(starts) * steps)
    maps = []
    for index, image in enumerate(x):
        attribution = torch.stack(
            [
                integrate(
                    session,
                    image,
                    start[index],
                    target[index],
                    steps=steps,
                    score=score,
                )
                for start in starts
            ]
        ).mean(dim=0)
        flat = _checks.reduced(session, attribution[None], reduce)[0]
        segments = [
            pixels
            for labels in label_images(image.cpu().numpy())
            for pixels in dilated_segments(labels, dilation)
        ]
        ranked = rank_segments(flat.double().cpu().numpy(), segments, min_pixel_diff)
        maps.append(torch.from_numpy(ranked))
    return torch.stack(maps)


def _baselines(session: Session, baseline: Any, x: Tensor) -> list[Tensor]:
    if baseline is None:
        ends = x.flatten(1).amin(dim=1), x.flatten(1).amax(dim=1)
        return [end.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x) for end in ends]
    several = baseline if isinstance(baseline, list | tuple) else [baseline]
    if not several:
        raise session.error("baseline must hold at least one baseline image")
    return [_checks.baseline_like(session, start, x) for start in several]


def rank_segments(
    attribution: NDArray[np.float64],
    segments: Sequence[NDArray[np.int64]],
    min_pixel_diff: int,
) -> NDArray[np.float64]:
    """Add segments greedily by the mean attribution of the pixels they would add.

    Parameters
    ----------
    attribution
        Attribution of each pixel.
    segments
        Flat pixel indices of each segment; they may overlap.
    min_pixel_diff
        Segments that would add fewer pixels are dropped.

    Returns
    -------
    numpy.ndarray
        As ``attribution`` in shape: at each pixel the mean that its segment added;
        pixels that no segment added share their mean attribution.
    """
    values = attribution.ravel()
    sizes = [len(pixels) for pixels in segments]
    owner = np.repeat(np.arange(len(segments)), sizes)
    member = np.concatenate([np.zeros(0, np.int64), *segments])
    # Rows are pixels: what a pixel's covering takes from which segments.
    membership = sparse.csr_array(
        (np.ones(len(member)), (member, owner)), shape=(values.size, len(segments))
    )
    count = membership.sum(axis=0)
    total = membership.T @ values
    result = np.empty(values.size)
    hidden = np.ones(values.size, dtype=bool)
    while True:
        possible = count >= min_pixel_diff
        if not possible.any():
            break
        gain = np.full(len(segments), -np.inf)
        np.divide(total, count, out=gain, where=possible)
        pixels = segments[int(np.argmax(gain))]
        pixels = pixels[hidden[pixels]]
        result[pixels] = values[pixels].mean()
        hidden[pixels] = False
        rows = membership[pixels]
        count -= rows.sum(axis=0)
        total -= rows.T @ values[pixels]
    if hidden.any():
        result[hidden] = values[hidden].mean()
    return result.reshape(attribution.shape)
