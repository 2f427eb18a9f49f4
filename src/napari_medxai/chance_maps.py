"""Where the chance maps of a slice come from: the null hypotheses, drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import metrics, saliency
from .errors import MetricError
from .saliency.randomised import randomised
from .slices import SliceJob, saliency_map

if TYPE_CHECKING:
    from .measure import SliceContext
    from .models import Classifier

__all__ = ["Donors", "chance_seed", "drawer"]

Map = NDArray[np.float32]
KEPT_BYTES = 1_000_000_000


class Donors(Protocol):
    """Maps of other cases: the null ``other_case``."""

    def __call__(self, method: str, shape: tuple[int, ...], member: int) -> Map:
        """Return the method's map of another case, of this shape.

        Raises
        ------
        MetricError
            If there are not enough other cases.
        """


def chance_seed(seed: int, null: str, subject: str, member: int) -> int:
    """Seed of a chance map.

    The same in all slices of a subject: a chance map is as dependent across slices
    as a true one, and a subject counts as one draw.
    """
    text = f"{seed}:{null}:{subject}:{member}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def drawer(
    context: SliceContext, name: str, network_map: Map
) -> Callable[[int], NDArray[np.floating[Any]]]:
    """Return what draws chance map number `member` for a method's map.

    Parameters
    ----------
    context : SliceContext
    name : str
        The method.
    network_map : ndarray
        Its map on the network's grid.

    Returns
    -------
    callable
        ``member -> map``: the map's own values in a chance order.
    """
    settings = context.settings

    def draw(member: int) -> NDArray[np.floating[Any]]:
        seed = chance_seed(settings.seed, settings.null, context.subject, member)
        if settings.null == "surrogate":
            return metrics.surrogate(network_map, context.body, seed=seed)
        if settings.null == "random_pixels":
            return metrics.random_pixels(network_map, seed=seed)
        if settings.null == "other_case":
            if context.donors is None:
                raise MetricError(
                    "the null 'other_case' needs other cases: run a folder of them."
                )
            other = context.donors(name, network_map.shape, member)
            return metrics.ranked_like(network_map, other, seed=seed)
        model, job = _random_network(context, member)
        parameters = settings.parameters.get(name, {})
        other = saliency_map(model, name, job, parameters, settings.seed, None)
        return metrics.ranked_like(network_map, other, seed=seed)

    return draw


def _random_network(context: SliceContext, member: int) -> tuple[Classifier, SliceJob]:
    """Return the classifier with randomised weights, and the slice to show it.

    The weights are the same for all cases: a network is one draw however many cases
    it is shown.
    """
    kept = context.random_networks
    if member in kept:
        return kept[member]
    seed = chance_seed(context.settings.seed, "random_network", "", member)
    module = randomised(context.model.module, seed=seed, images=context.job.tensor)
    found = (
        context.model.with_module(module),
        replace(context.job, shared=saliency.Shared()),
    )
    size = sum(parameter.nbytes for parameter in module.parameters())
    if (len(kept) + 1) * size <= KEPT_BYTES:
        kept[member] = found
    return found
