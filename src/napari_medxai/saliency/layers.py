"""The target layers of class activation maps: found, named and tapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .holding import precise
from .network import Session
from .registry import closest
from .tokens import Layout
from .trace import Call, carries_all, traced

__all__ = [
    "Layer",
    "Layers",
    "Tap",
    "activations_and_gradients",
    "find",
    "located",
    "tapped",
]

Layers = str | Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A target layer.

    Attributes
    ----------
    name
        Its dotted name.
    layout
        How its output is read as a feature map.
    """

    name: str
    layout: Layout


def located(
    session: Session, x: Tensor, target_layer: Layers, *, passes: int = 0
) -> tuple[Layer, ...]:
    """Find the target layer, or look at those that are named.

    Parameters
    ----------
    session, x
        The run and the images (B, C, *spatial); the first image is passed once.
    target_layer
        None to find it; a dotted name; several, as a sequence or with commas.
    passes
        Images that will be passed for each layer, for the progress.

    Raises
    ------
    MethodError
        None is found (see :func:`find`); or a named layer does not exist, does not
        run, or returns no feature map of the image.
    """
    if target_layer is None:
        session.expect(1 + passes)
        found = session.once("layer", lambda: find(session, x), x[:1], passes=1)
        return (found,)
    names = _names(session, target_layer)
    for name in names:
        _submodule(session, name)
    session.expect(1 + passes * len(names))
    calls, _ = traced(session, x, gradient=False)
    return tuple(_named(session, name, calls) for name in names)


def find(session: Session, x: Tensor) -> Layer:
    """Find the last feature map before global pooling.

    The first image is passed once, and every module watched. Among the modules, in
    the order in which they finish, the last one wins

    - whose output is a feature map of more than one position, or tokens of a grid;
    - of which the logits have a gradient at these positions. After the last
      attention of a vision transformer with a class token the patches' tokens have
      none any more, and its input (``blocks.11.norm1``) wins;
    - that is no average pooling at the end of the features (VGG), no fully connected
      layer written as a convolution, no inner part of an attention, and no branch of
      a block that returns a single position.

    Where the logits have no gradient at all (a network under ``no_grad``, an image on
    which every unit is dead) the second condition is left out.

    Raises
    ------
    MethodError
        No module's output is a feature map.
    """
    calls, logits = traced(session, x, gradient=True)
    maps = [call for call in reversed(calls) if call.layout is not None and call.name]
    # Projections such as query, key and value come last, and so do branches.
    maps.sort(key=lambda call: not call.settled or _is_branch(call, calls, logits))
    if not maps and _scripted(session):
        raise session.error(
            "the network is TorchScript, whose layers cannot be tapped; use a method "
            "that needs none, such as integrated_gradients or xrai, or give the "
            "network as weights with its architecture"
        )
    if not maps:
        raise session.error(
            "no module of the network returns a feature map with more than one "
            "position; give a larger image, name a layer with target_layer, or use a "
            "method that needs none, such as integrated_gradients or xrai"
        )
    reached = (call for call in maps if _has_gradient(logits, call))
    call = next(reached, maps[0])
    assert call.layout is not None
    return Layer(name=call.name, layout=call.layout)


def _scripted(session: Session) -> bool:
    return any(isinstance(m, torch.jit.ScriptModule) for m in session.module.modules())


def _is_branch(call: Call, calls: Sequence[Call], logits: Tensor) -> bool:
    """Tell whether a map is inside a block of one position, and does not carry all.

    Such is the last block of a ResNet on a small image: the output of the block
    before is the whole feature map.
    """
    around = [
        other.returned
        for other in calls
        if other.name and call.name.startswith(f"{other.name}.")
    ]
    single = any(
        not isinstance(shape, str)
        and len(shape) == len(call.returned)
        and max(shape[2:]) == 1
        for shape in around
    )
    return single and not carries_all(logits, call.edge)


def _has_gradient(logits: Tensor, call: Call) -> bool:
    if call.edge is None or call.layout is None or not logits.requires_grad:
        return False
    # Unequal weights: probabilities add up to one, whose gradient is zero.
    weights = torch.linspace(
        1.0, 2.0, logits.shape[1], device=logits.device, dtype=logits.dtype
    )
    (gradient,) = torch.autograd.grad(
        (logits * weights).sum(), [call.edge], retain_graph=True, allow_unused=True
    )
    return gradient is not None and bool(call.layout.feature_map(gradient).any())


def _names(session: Session, target_layer: Any) -> tuple[str, ...]:
    parts = [target_layer] if isinstance(target_layer, str) else target_layer
    if not isinstance(parts, Sequence) or not all(isinstance(p, str) for p in parts):
        raise session.error(
            "target_layer must be the name of a layer, or several, not "
            f"{target_layer!r}"
        )
    names = dict.fromkeys(name.strip() for part in parts for name in part.split(","))
    if not names:
        raise session.error("target_layer names no layer; None finds one")
    return tuple(names)


def _submodule(session: Session, name: str) -> nn.Module:
    try:
        return session.module.get_submodule(name)
    except (AttributeError, RuntimeError) as error:
        # TorchScript has names, but no such function.
        known_modules: dict[str, nn.Module] = dict(session.module.named_modules())
        scripted = known_modules.get(name)
        if scripted is not None:
            return scripted
        known = tuple(name for name, _ in session.module.named_modules() if name)
        raise session.error(
            f"the network has no layer {name!r}{closest(name, known)}; its last "
            f"layers are {', '.join(known[-5:])}"
        ) from error


def _named(session: Session, name: str, calls: Sequence[Call]) -> Layer:
    module = _submodule(session, name)
    call = next((call for call in calls if call.module is module), None)
    if call is None and isinstance(module, torch.jit.ScriptModule):
        raise session.error(
            f"target layer {name!r} is TorchScript, whose layers cannot be tapped"
        )
    if call is None:
        raise session.error(f"target layer {name!r} did not run; name one that does")
    if call.readable is not None:
        return Layer(name=name, layout=call.readable)
    if isinstance(call.returned, str):
        what = f"returns {call.returned}, not a tensor"
    elif call.returned[:1] != (1,):
        what = (
            f"returns {call.returned} for one image, not a feature map: its first "
            "axis is not the batch, as inside windowed attention"
        )
    else:
        what = (
            f"returns {call.returned} for one image, not a feature map with more than "
            "one position: (B, C, *spatial), (B, *spatial, C) or the tokens (B, L, C) "
            "of a grid"
        )
    fit = [call.name for call in calls if call.layout is not None and call.name]
    advice = f"; layers that do: {', '.join(fit[-5:])}" if fit else ""
    raise session.error(f"target layer {name!r} {what}{advice}")


class Tap:
    """What a tapped layer returned at its last call.

    Attributes
    ----------
    layer
        The layer.
    output
        What it returned, a leaf of the graph: gradients with respect to it are taken
        by :func:`torch.autograd.grad`. None before the first pass.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.output: Tensor | None = None

    def read(self, session: Session, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output as it is and as a feature map (b, C', *spatial')."""
        name, layout = self.layer.name, self.layer.layout
        if self.output is None:
            raise session.error(
                f"target layer {name!r} did not run; name one that does"
            )
        if not layout.fits(self.output, len(x)):
            raise session.error(
                f"target layer {name!r} returned {tuple(self.output.shape)} for "
                f"{len(x)} images, but {layout.shape} for one; name a layer whose "
                "output has the same shape for every image"
            )
        session.require_finite(self.output, f"the activations of {name!r}")
        return self.output, layout.feature_map(self.output)


@contextmanager
def tapped(session: Session, layer: Layer) -> Iterator[Tap]:
    """Read a layer's output at each pass; the hook is removed at the end.

    The layer hands on a copy of what is kept, so that an in-place ReLU after it
    overwrites neither the kept values nor the graph.
    """
    tap = Tap(layer)

    def keep(_: nn.Module, __: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise session.error(
                f"target layer {layer.name!r} returns {type(output).__name__}, not a "
                "tensor"
            )
        tap.output = output.detach().clone()
        if not torch.is_grad_enabled():
            return output
        tap.output.requires_grad_(True)
        return tap.output.clone()

    handle = _submodule(session, layer.name).register_forward_hook(keep)
    try:
        yield tap
    finally:
        handle.remove()


def activations_and_gradients(
    session: Session, x: Tensor, target: Tensor, layer: Layer
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield activations of a layer and the logit's gradient there, batch by batch.

    Parameters
    ----------
    session, x, target
        The run, the images and their classes.
    layer
        The layer, from :func:`located`.

    Yields
    ------
    tuple of torch.Tensor
        Feature maps (b, C', *spatial') and the gradient of the class's logit with
        respect to them, both in float64.
    """
    with tapped(session, layer) as tap:

        def work(part: slice) -> tuple[Tensor, Tensor]:
            logits = session.call(session.prepare(x[part]), target[part])
            output, maps = tap.read(session, x[part])
            value = session.score(logits, target[part], "logit").sum()
            gradient = layer.layout.feature_map(session.differentiate(value, output))
            session.require_finite(gradient, f"the gradient at {layer.name!r}")
            return precise(maps.detach()), precise(gradient)

        for _, found in session.in_batches(x, work):
            yield found
