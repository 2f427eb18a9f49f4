"""Recipro-CAM: the score when a single position of the feature map is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from .cams import averaged, upsampled
from .layers import Layer, Layers, located, tapped
from .network import Session
from .registry import method

__all__ = ["recipro_cam"]

# Weights of a position and its neighbours along one axis; their products are the
# authors' 3 x 3 filter.
FILTER = {-1: 0.25, 0: 0.5, 1: 0.25}


@method(
    "recipro_cam",
    label="Recipro-CAM",
    family="cam",
    reference="Byun & Lee 2022, arXiv:2209.14074",
    approximates="scorecam",
)
def recipro_cam(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    gaussian: bool = True,
    target_layer: Layers = None,
) -> Tensor:
    """Probability of the class when one position of the feature map is left over.

    Asks the same as Score-CAM, of positions instead of channels: only what comes after
    the target layer is passed, once for each position.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    gaussian
        Leave the neighbours too, with weights that fall off as the authors' filter.
    target_layer
        Dotted name of the layer; None for the last feature map. Of several names,
        the maps are averaged, each divided by its maximum.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial), linearly upsampled to the image.
    """
    layers = located(session, x, target_layer, passes=len(x))
    maps = []
    for layer in layers:
        positions = [*product(*map(range, layer.layout.grid))]
        session.expect(len(x) * len(positions))
        rows = [
            _of_image(session, x[i : i + 1], target[i], layer, positions, gaussian)
            for i in range(len(x))
        ]
        scores = torch.stack(rows).reshape(len(x), *layer.layout.grid)
        maps.append(upsampled(scores[:, None], x.shape[2:])[:, 0])
    return averaged(maps)


def _of_image(
    session: Session,
    image: Tensor,
    target: Tensor,
    layer: Layer,
    positions: list[tuple[int, ...]],
    gaussian: bool,
) -> Tensor:
    """Scores (positions,) of one image (1, C, *spatial)."""
    with tapped(session, layer) as tap, torch.no_grad():
        session.call(session.prepare(image), target[None])
        output, _ = tap.read(session, image)
    session.advance(1)
    scores = []
    for part in session.batches(len(positions), gradient=False):
        masked = _masked(output, layer, positions[part], gaussian)
        with _replaced(session.module, layer, masked), torch.no_grad():
            # Before the layer one image is enough: it hands on as many as it is given.
            logits = session.call(
                session.prepare(image), target[None], rows=len(positions[part])
            )
            classes = target.expand(len(logits))
            scores.append(session.score(logits, classes, "probability"))
        session.advance(len(positions[part]))
    return torch.cat(scores)


def _masked(
    output: Tensor, layer: Layer, positions: list[tuple[int, ...]], gaussian: bool
) -> Tensor:
    """Copy a layer's output for one image, all but one position put to zero.

    Tokens that belong to no position stay.
    """
    axis = layer.layout.batch_axis
    many = output.repeat_interleave(len(positions), dim=axis)
    mask = torch.ones_like(many)
    view = layer.layout.feature_map(mask)
    view.zero_()
    grid = layer.layout.grid
    for index, position in enumerate(positions):
        for shift in product(FILTER if gaussian else (0,), repeat=len(grid)):
            place = tuple(p + s for p, s in zip(position, shift, strict=True))
            if all(0 <= p < n for p, n in zip(place, grid, strict=True)):
                weight = 1.0
                for step in shift if gaussian else ():
                    weight *= FILTER[step]
                view[index].movedim(0, -1)[place] = weight
    return many * mask


@contextmanager
def _replaced(network: nn.Module, layer: Layer, output: Tensor) -> Iterator[None]:
    """Make a layer return something else; the hook is removed at the end."""

    def replace(_: nn.Module, __: Any, ___: Any) -> Tensor:
        return output.clone()

    handle = network.get_submodule(layer.name).register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
