"""What every module of a network returns for one image, in the order it finishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from .network import Session
from .tokens import Grid, Layout, prefix_tokens, read_layout

__all__ = ["Call", "carries_all", "traced"]

# Their output is a summary of a feature map, or a map with a border.
POOLING = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.AvgPool2d,
    nn.AvgPool3d,
)
PADDING = (
    nn.ConstantPad2d,
    nn.ConstantPad3d,
    nn.ReflectionPad2d,
    nn.ReflectionPad3d,
    nn.ReplicationPad2d,
    nn.ReplicationPad3d,
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """The last call of one module.

    Attributes
    ----------
    module, name
        The module and its dotted name, empty for the network itself.
    returned
        The shape of the tensor it returned, or the type of anything else.
    readable
        How its output is read as a feature map of more than one position; None
        where it cannot be.
    layout
        The same; None also for what is no candidate: pooled or padded maps, fully
        connected layers written as convolutions.
    settled
        Whether it is a map of channels first, or tokens that came in in the same
        shape and were not just projected.
    edge
        Where its output stands in the graph of the logits.
    """

    module: nn.Module
    name: str
    returned: tuple[int, ...] | str
    readable: Layout | None = None
    layout: Layout | None = None
    settled: bool = False
    edge: GradientEdge | None = None


def traced(session: Session, x: Tensor, *, gradient: bool) -> tuple[list[Call], Tensor]:
    """Pass the first image (C, *spatial) of a batch and watch every module.

    Parameters
    ----------
    session, x
        The run and the images (B, C, *spatial).
    gradient
        Whether to keep the graph of the logits.

    Returns
    -------
    list of Call
        The last call of each module, in the order of finishing.
    torch.Tensor
        The logits (1, K).
    """
    trace = _Trace(session.module, tuple(x.shape[2:]))
    handles = []
    try:
        for module in trace.names:
            if isinstance(module, torch.jit.ScriptModule):
                continue  # takes no hooks
            handles.append(module.register_forward_pre_hook(trace.before))
            handles.append(module.register_forward_hook(trace.after))
        with torch.set_grad_enabled(gradient):
            batch = session.prepare(x[:1]).requires_grad_(gradient)
            # The copy lets a network overwrite its input in place.
            logits = session.call(batch.clone())
    finally:
        for handle in handles:
            handle.remove()
    session.advance(1)
    return list(trace.calls.values()), logits


def carries_all(logits: Tensor, edge: GradientEdge | None) -> bool:
    """Tell whether every path from the image to the logits goes through an output.

    Also where the graph is not known. The parameters must need no gradient: the
    image is then the only leaf.
    """
    if edge is None or logits.grad_fn is None:
        return True
    seen = {edge.node}
    waiting = [logits.grad_fn]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        following = [after for after, _ in node.next_functions if after is not None]
        if not following and hasattr(node, "variable"):
            return False
        waiting.extend(following)
    return True


class _Trace:
    def __init__(self, network: nn.Module, sizes: tuple[int, ...]) -> None:
        self.network = network
        self.sizes = sizes
        self.names = {module: name for name, module in network.named_modules()}
        self.prefix = prefix_tokens(network)
        self.start()

    def start(self) -> None:
        self.calls: dict[nn.Module, Call] = {}
        self.given: dict[str, tuple[int, ...] | None] = {}
        self.grids: list[Grid] = []
        self.dense: set[Grid] = set()
        self.passed_over: list[Tensor] = []

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if module is self.network:
            self.start()  # the session may call it twice
        first = args[0] if args else None
        self.given[self.names[module]] = (
            tuple(first.shape) if isinstance(first, Tensor) else None
        )

    def after(self, module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        self.calls.pop(module, None)
        self.calls[module] = self._call(module, output)

    def _call(self, module: nn.Module, output: Any) -> Call:
        name = self.names[module]
        if not isinstance(output, Tensor):
            kind = type(output).__name__
            return Call(module=module, name=name, returned=kind)
        shape, given = tuple(output.shape), self.given.get(name)
        if isinstance(module, (*POOLING, *PADDING)):
            self.passed_over.append(output)
        layout = read_layout(
            shape, self.sizes, module=module, grids=self.grids, prefix=self.prefix
        )
        if layout is None or max(layout.grid) == 1:
            return Call(module=module, name=name, returned=shape)
        if layout.kind != "tokens" and self._inside_tokens(name):
            # Heads (B, heads, L, d) and weights (B, heads, L, L) of an attention.
            return Call(module=module, name=name, returned=shape)
        # A grid seen before is restored here, after a padding.
        if layout.grid not in self.grids and _is_dense(module, given, shape):
            self.dense.add(layout.grid)
        if layout.kind != "tokens":
            self.grids.append(layout.grid)
        summary = any(output is other for other in self.passed_over)
        return Call(
            module=module,
            name=name,
            returned=shape,
            readable=layout,
            layout=None if summary or layout.grid in self.dense else layout,
            settled=layout.kind == "channels_first"
            or (given == shape and not isinstance(module, nn.Linear)),
            edge=get_gradient_edge(output) if output.requires_grad else None,
        )

    def _inside_tokens(self, name: str) -> bool:
        """Tell whether the module around this one was given tokens."""
        while name:
            name = name.rpartition(".")[0]
            if name in self.given:
                given = self.given[name]
                return given is not None and len(given) == 3
        return False


def _is_dense(
    module: nn.Module, given: tuple[int, ...] | None, shape: tuple[int, ...]
) -> bool:
    """Tell a fully connected layer written as a convolution (VGG in timm).

    Its kernel covers more than half of its input along each axis, without padding.
    """
    if given is None or not isinstance(module, nn.Conv2d | nn.Conv3d):
        return False
    return all(
        kernel > 3 and 2 * kernel > old and new == old - kernel + 1
        for kernel, old, new in zip(
            module.kernel_size, given[2:], shape[2:], strict=True
        )
    )
