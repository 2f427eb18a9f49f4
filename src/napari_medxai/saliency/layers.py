"""The target layer of class activation maps: found, named and tapped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .network import Session, precise
from .registry import closest

__all__ = ["Tap", "activations_and_gradients", "find", "tapped"]

# Their output is a summary of a feature map, not one that was learned.
POOLING = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.AvgPool2d,
    nn.AvgPool3d,
)


def find(session: Session, x: Tensor) -> str:
    """Name the last feature map before global pooling.

    One image is passed; among the modules, in the order in which they finish, the
    last whose output is a feature map (1, C', *spatial') with more than one
    position wins. Average pooling at the end of the features (VGG) is passed over.

    Raises
    ------
    MethodError
        There is none, or the network goes on with something else than feature maps
        over positions (the tokens of a vision transformer).
    """
    names = {module: name for name, module in session.module.named_modules()}
    seen: list[tuple[str, Tensor]] = []
    pooled: list[Tensor] = []

    def watch(module: nn.Module, _: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if isinstance(module, POOLING):
            pooled.append(output)
        elif not any(output is other for other in pooled) and names[module]:
            seen.append((names[module], output))

    handles = [module.register_forward_hook(watch) for module in names]
    try:
        with torch.no_grad():
            session.call(session.prepare(x[:1]))
    finally:
        for handle in handles:
            handle.remove()
    session.advance(1)
    for name, output in reversed(seen):
        if _is_feature_map(output, x):
            return name
        if _has_positions(output, x):
            raise session.error(
                f"no target layer can be chosen: module {name!r} returns "
                f"{tuple(output.shape)}, which is no feature map (B, C, *spatial) of "
                "the image, as in vision transformers; name one with target_layer"
            )
    raise session.error(
        "no module of the network returns a feature map with more than one position; "
        "name one with target_layer, or use a method that needs none"
    )


def _is_feature_map(output: Tensor, x: Tensor) -> bool:
    sizes = output.shape[2:]
    return (
        output.ndim == x.ndim
        and max(sizes) > 1
        # Channels-last tokens (B, H, W, C) have "sizes" larger than the image.
        and all(new <= old for new, old in zip(sizes, x.shape[2:], strict=True))
    )


def _has_positions(output: Tensor, x: Tensor) -> bool:
    """Tell whether a tensor that is no feature map still has several positions."""
    if output.ndim == x.ndim:
        return max(output.shape[2:]) > 1
    return output.ndim == 3 and output.shape[1] > 1


class Tap:
    """What a tapped layer returned at its last call.

    Attributes
    ----------
    layer
        Its dotted name.
    output
        The feature map (b, C', *spatial'), a leaf of the graph: gradients with
        respect to it are taken by :func:`torch.autograd.grad`.
    """

    def __init__(self, layer: str) -> None:
        self.layer = layer
        self.output: Tensor | None = None

    def read(self, session: Session, x: Tensor) -> Tensor:
        """Return the feature map, checked."""
        if self.output is None:
            raise session.error(
                f"target layer {self.layer!r} did not run; name one that does"
            )
        if self.output.ndim != x.ndim or len(self.output) != len(x):
            raise session.error(
                f"target layer {self.layer!r} returns {tuple(self.output.shape)}, not "
                f"a feature map (B, C, *spatial) with {x.ndim - 2} spatial axes"
            )
        session.require_finite(self.output, f"the activations of {self.layer!r}")
        return self.output


@contextmanager
def tapped(session: Session, layer: str) -> Iterator[Tap]:
    """Read a layer's output at each pass; the hook is removed at the end.

    The layer hands on a copy of what is kept, so that an in-place ReLU after it
    overwrites neither the kept values nor the graph.
    """
    try:
        module = session.module.get_submodule(layer)
    except AttributeError as error:
        known = tuple(name for name, _ in session.module.named_modules() if name)
        raise session.error(
            f"the network has no layer {layer!r}{closest(layer, known)}; its last "
            f"layers are {', '.join(known[-5:])}"
        ) from error
    tap = Tap(layer)

    def keep(_: nn.Module, __: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise session.error(
                f"target layer {layer!r} returns {type(output).__name__}, not a tensor"
            )
        tap.output = output.detach().clone()
        if not torch.is_grad_enabled():
            return output
        tap.output.requires_grad_(True)
        return tap.output.clone()

    handle = module.register_forward_hook(keep)
    try:
        yield tap
    finally:
        handle.remove()


def activations_and_gradients(
    session: Session, x: Tensor, target: Tensor, layer: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield activations of a layer and the logit's gradient there, batch by batch.

    Parameters
    ----------
    session, x, target
        The run, the images and their classes.
    layer
        Dotted name of the layer.

    Yields
    ------
    tuple of torch.Tensor
        Feature maps (b, C', *spatial') and the gradient of the class's logit with
        respect to them, both in float64.
    """
    with tapped(session, layer) as tap:
        for part in session.batches(len(x)):
            logits = session.call(session.prepare(x[part]), target[part])
            maps = tap.read(session, x[part])
            value = session.score(logits, target[part], "logit").sum()
            gradient = session.differentiate(value, maps)
            session.require_finite(gradient, f"the gradient at {layer!r}")
            session.advance(part.stop - part.start)
            yield precise(maps.detach()), precise(gradient)
