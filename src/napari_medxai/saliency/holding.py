"""The network held still while a method runs, and where its numbers live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["held", "place", "precise"]


@contextmanager
def held(module: nn.Module | None) -> Iterator[None]:
    """Hold a network in evaluation mode without parameter gradients.

    Whatever happens inside, the training flag of every submodule and the
    ``requires_grad`` of every parameter are afterwards what they were; ``.grad`` is
    never touched. Gradients may be taken inside even where the caller has switched
    them off.
    """
    modules = [] if module is None else list(module.modules())
    # A frozen TorchScript module has no training flag any more.
    flags = [(m, m.training) for m in modules if hasattr(m, "training")]
    trainable = (
        [] if module is None else [p for p in module.parameters() if p.requires_grad]
    )
    try:
        if module is not None and any(flag for _, flag in flags):
            module.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for submodule, flag in flags:
            submodule.training = flag
        for parameter in trainable:
            parameter.requires_grad_(True)


def place(module: nn.Module | None) -> tuple[torch.device, torch.dtype]:
    """Device and floating type of a network, from its first floating tensor."""
    if module is not None:
        for tensors in (module.parameters(), module.buffers()):
            for tensor in tensors:
                if tensor.is_floating_point():
                    return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def precise(x: Tensor) -> Tensor:
    """Copy to float64, on the CPU where the device has none."""
    return x.to("cpu" if x.device.type == "mps" else x.device, torch.float64)
