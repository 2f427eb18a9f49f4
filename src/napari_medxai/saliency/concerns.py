"""What makes a map worth nothing: empty, constant, or the same for every class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .network import Precision
from .registry import Method, get
from .shared import Shared

__all__ = ["class_concern", "map_concern"]

EMPTY = "the map is empty: zero everywhere"
CONSTANT = "the map is constant"
SAME = "the map is the same for another class"
SAME_TO = 1e-6

# A few passes show whether a method looks at the class at all.
CHEAP: Mapping[str, Any] = {"samples": 1, "steps": 2, "channels": 4}
INSTEAD = {"scorecam": "scorecam_topk"}


def map_concern(saliency_map: Tensor) -> str | None:
    """Say whether a map is empty or constant.

    Parameters
    ----------
    saliency_map
        One map (*spatial).

    Returns
    -------
    str or None
        In words; None where values differ.
    """
    low, high = float(saliency_map.min()), float(saliency_map.max())
    if low == high:
        return EMPTY if low == 0 else CONSTANT
    return None


def class_concern(
    name: str,
    module: nn.Module | None,
    x: Tensor,
    target: int,
    other: int,
    *,
    target_layer: str | None = None,
    precision: Precision = "fp32",
    shared: Shared | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> str | None:
    """Say whether a method gives the same map for two classes.

    Such a map explains no decision. Both are computed with a few passes (two points
    of a path, one noisy copy, four channels): a method that looks at the class gives
    different ones then too.

    Parameters
    ----------
    name
        A registered method.
    module
        The network.
    x
        One image (1, C, *spatial).
    target, other
        The class explained and another, best the second most probable.
    target_layer, precision, shared, progress
        As of :func:`napari_medxai.saliency.compute`.

    Returns
    -------
    str or None
        In words; None where the maps differ, are both empty, or the method looks at
        no network and so at no class.
    """
    from . import compute

    method = get(INSTEAD.get(name, name))
    if not method.needs_network:
        return None
    one, two = (
        compute(
            method.name,
            module,
            x,
            chosen,
            target_layer=target_layer,
            precision=precision,
            shared=shared,
            progress=progress,
            **_cheap(method),
        )
        for chosen in (target, other)
    )
    scale = float(torch.maximum(one.abs(), two.abs()).max())
    same = scale > 0 and float((one - two).abs().max()) <= SAME_TO * scale
    return SAME if same else None


def _cheap(method: Method) -> dict[str, Any]:
    return {name: CHEAP[name] for name in method.parameters if name in CHEAP}
