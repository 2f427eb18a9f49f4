"""How many images pass the network at once: by memory, halved when it runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

__all__ = ["Footprint", "batch_size", "footprint", "halving", "out_of_memory"]

Result = TypeVar("Result")

GIB = 2**30
# Larger batches were no faster on a CPU: above some 30 MB the allocator maps each
# activation anew. See benchmarks/batching.py.
CPU_CAPS = {True: 8, False: 16}
CPU_BUDGET = 1.25 * GIB
GPU_CAPS = {True: 64, False: 128}
GPU_SHARE = 0.25

# What one image of a shape takes, by network.
_known: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], Footprint]] = (
    WeakKeyDictionary()
)


class Footprint:
    """Memory of one image in a network.

    Parameters
    ----------
    largest
        Bytes of the largest activation.
    total
        Bytes of all activations, which a gradient keeps until it is taken.
    """

    def __init__(self, largest: int, total: int) -> None:
        self.largest = largest
        self.total = total


def footprint(
    module: nn.Module, x: Tensor, forward: Callable[[Tensor], object]
) -> Footprint:
    """Measure what one image takes; remembered for each network and shape.

    Parameters
    ----------
    module
        The network.
    x
        Images (B, C, *spatial); the first one is passed.
    forward
        Passes a batch through the network without gradients.
    """
    key = (tuple(x.shape[1:]), x.dtype)
    found = _known.setdefault(module, {})
    if key not in found:
        largest = total = 0

        def weigh(_: nn.Module, __: object, output: object) -> None:
            nonlocal largest, total
            if isinstance(output, Tensor):
                size = output.numel() * output.element_size()
                largest, total = max(largest, size), total + size

        leaves = [m for m in module.modules() if not any(m.children())]
        handles = []
        try:
            for leaf in leaves:
                # A TorchScript module takes no hooks that see its output.
                if not isinstance(leaf, torch.jit.ScriptModule):
                    handles.append(leaf.register_forward_hook(weigh))
            forward(x[:1])
        finally:
            for handle in handles:
                handle.remove()
        image = x[0].numel() * x.element_size()
        found[key] = Footprint(max(largest, image), max(total, 50 * image))
    return found[key]


def batch_size(one: Footprint, device: torch.device, *, gradient: bool) -> int:
    """Images for each pass.

    Parameters
    ----------
    one
        What an image takes.
    device
        Where the network is.
    gradient
        Whether activations are kept for a gradient.

    Returns
    -------
    int
        At least one. It depends on the network, the image's shape and the machine
        alone, not on what else is in memory, so that runs repeat to the bit.
    """
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        budget, cap = GPU_SHARE * memory, GPU_CAPS[gradient]
    else:
        budget, cap = CPU_BUDGET, CPU_CAPS[gradient]
    each = one.total if gradient else 4 * one.largest
    return max(1, min(cap, int(budget // each)))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, on CPU or GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in ("can't allocate memory", "not enough memory")
    )


def halving(
    count: int, size: int, work: Callable[[slice], Result]
) -> Iterator[tuple[slice, Result]]:
    """Work on slices of ``range(count)``, of half the size where memory runs out.

    Parameters
    ----------
    count, size
        How many images, and how many at first in a slice.
    work
        Does one slice.

    Yields
    ------
    tuple
        The slice and its result.

    Raises
    ------
    Whatever ``work`` raises; for want of memory only where one image is too much.
    """
    start = 0
    while start < count:
        part = slice(start, min(start + size, count))
        result = _tried(work, part)
        if result is None:
            size = max(1, (part.stop - part.start) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        yield part, result[0]
        start = part.stop


def _tried(work: Callable[[slice], Result], part: slice) -> tuple[Result] | None:
    """Return the result, or None where memory ran out and fewer images may do.

    In a function of its own, since the traceback keeps the batch alive.
    """
    try:
        return (work(part),)
    except (RuntimeError, MemoryError) as error:
        if part.stop - part.start == 1 or not out_of_memory(error):
            raise
        return None
