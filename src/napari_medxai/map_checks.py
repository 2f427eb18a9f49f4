"""What else is asked of a map: ties, edges, agreement, insertion, randomised networks.

All of it lives on the network's grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import metrics, saliency
from .metrics.agreement import correlation, standardised_ranks
from .provenance import image_seed
from .saliency.randomised import cascade
from .slices import saliency_map

if TYPE_CHECKING:
    from .measure import SliceContext

__all__ = ["checked"]

Map = NDArray[np.float32]


def checked(
    context: SliceContext,
    name: str,
    network_map: Map,
    progress: Callable[[int, int], None] | None,
) -> dict[str, float]:
    """Measure a method's map beyond curves and localisation.

    Parameters
    ----------
    context : SliceContext
    name : str
        The method.
    network_map : ndarray
        Its map on the network's grid.
    progress : callable, optional

    Returns
    -------
    dict of str to float
        ``tied_share``; ``edge_spearman``; ``spearman:METHOD`` for the methods
        measured before; and what ``Settings.checks`` asks for.
    """
    found = {"tied_share": metrics.tied_share(network_map)}
    ranks = standardised_ranks(network_map)
    found["edge_spearman"] = correlation(ranks, context.edge_ranks)
    for other, others in context.ranks.items():
        found[f"spearman:{other}"] = correlation(ranks, others)
    context.ranks[name] = ranks
    checks = context.settings.checks
    if "insertion" in checks:
        result = metrics.insertion_deletion(
            context.job.input.image,
            network_map,
            context.model.probabilities,
            context.job.target,
            seed=image_seed(context.settings.seed, context.job.input.image),
            volume=context.volume,
            progress=progress,
        )
        found["insertion_auc"] = result.insertion
        found["deletion_auc"] = result.deletion
    if "randomised" in checks and saliency.get(name).needs_network:
        found |= _randomised(context, name, network_map, progress)
    return found


def _randomised(
    context: SliceContext,
    name: str,
    network_map: Map,
    progress: Callable[[int, int], None] | None,
) -> dict[str, float]:
    """Compare the map with those of the network randomised from the head down."""
    found: dict[str, float] = {}
    settings, job = context.settings, context.job
    for stage, module in cascade(
        context.model.module, seed=settings.seed, images=job.tensor
    ):
        other = saliency_map(
            context.model.with_module(module),
            name,
            replace(job, shared=saliency.Shared()),
            settings.parameters.get(name, {}),
            settings.seed,
            None if progress is None else lambda *_: progress(0, 1),
        )
        like = metrics.similarity(network_map, other)
        # the last stage, where all is randomised, is the result
        found["randomised_spearman"] = found[f"randomised_spearman:{stage}"] = (
            like.spearman
        )
        found["randomised_ssim"] = found[f"randomised_ssim:{stage}"] = like.ssim
    return found
