"""Which image sizes a network takes, found by trying."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from napari_medxai.errors import ModelError

__all__ = ["in_words", "least_size", "require_size"]

LARGEST = 1024
# What networks raise of sizes that they cannot take.
REFUSALS = (RuntimeError, ValueError, IndexError, AssertionError, ZeroDivisionError)


def require_size(
    network: nn.Module,
    name: str,
    *,
    channels: int,
    size: Sequence[int],
    search: bool = True,
) -> None:
    """Check that a network takes images of a size.

    Shapes are passed through it without numbers (PyTorch's meta device), which takes
    a moment even for large volumes.

    Parameters
    ----------
    network : torch.nn.Module
    name : str
        The architecture, for the error.
    channels : int
    size : sequence of int
        (H, W), or (D, H, W).
    search : bool
        Whether all larger sizes work where one does, so that the least can be found.

    Raises
    ------
    ModelError
        If it does not; the text names the least size that works.
    """
    refusal = _refusal(network, channels, size)
    if refusal is None:
        return
    asked = f"'{name}' cannot take images of {in_words(size)}"
    least = least_size(network, channels=channels, size=size) if search else None
    if least is None:
        raise ModelError(f"{asked}: {_first_line(refusal)}.") from refusal
    raise ModelError(
        f"{asked}; the least size that works is {in_words(least)}."
    ) from refusal


def least_size(
    network: nn.Module, *, channels: int, size: Sequence[int]
) -> tuple[int, ...] | None:
    """Find the least square (cube) above a size that does not work.

    Parameters
    ----------
    network : torch.nn.Module
    channels : int
    size : sequence of int
        One that does not work.

    Returns
    -------
    tuple of int or None
        None where nothing up to 1024 works.
    """
    dims = len(size)

    def works(side: int) -> bool:
        return _refusal(network, channels, (side,) * dims) is None

    low = high = min(size)
    while not works(high):
        if high >= LARGEST:
            return None
        low, high = high, min(LARGEST, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return (high,) * dims


def in_words(size: Sequence[int]) -> str:
    """Write a size as in '224 x 224'."""
    return " x ".join(str(n) for n in size)


def _refusal(
    network: nn.Module, channels: int, size: Sequence[int]
) -> Exception | None:
    """Return what the network raises for images of a size; None where nothing."""
    refusal = _tried(network, channels, size, device="meta")
    if refusal is None:
        return None
    # Some networks make tensors of their own, which are real.
    own = next(iter(network.parameters()), torch.empty(0)).device
    return _tried(network, channels, size, device=str(own))


def _tried(
    network: nn.Module, channels: int, size: Sequence[int], *, device: str
) -> Exception | None:
    image = torch.empty(1, channels, *size, device=device)
    state = dict(network.named_parameters()) | dict(network.named_buffers())
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            if device != "meta":
                network(image.zero_())
            else:
                shapes = {key: value.to("meta") for key, value in state.items()}
                torch.func.functional_call(network, shapes, (image,))
    except REFUSALS as error:
        return error
    finally:
        network.train(training)
    return None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0].rstrip(".")
