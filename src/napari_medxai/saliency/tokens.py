"""How a layer's output is read as a feature map over the image.

Convolutions return (B, C, *spatial'), Swin transformers (B, *spatial', C), vision
transformers a sequence of tokens (B, L, C) or (L, B, C): class, distillation and
register tokens first, then those of the image's patches in row-major order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

__all__ = ["Layout", "prefix_tokens", "read_layout"]

# Class, distillation and register tokens, where the patches' grid is known and where
# it is not: four registers and a class token are common.
MOST_PREFIX_TOKENS = 16
MOST_PREFIX_TOKENS_GUESSED = 5
Grid = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where batch, channels and positions are in a layer's output.

    Attributes
    ----------
    kind
        ``"channels_first"``, ``"channels_last"`` or ``"tokens"``.
    shape
        Of the output for one image.
    grid
        Positions along each spatial axis.
    prefix
        Tokens before those of the grid, which are dropped.
    batch_axis
        0, or 1 for tokens (L, B, C).
    """

    kind: Literal["channels_first", "channels_last", "tokens"]
    shape: tuple[int, ...]
    grid: Grid
    prefix: int = 0
    batch_axis: int = 0

    def feature_map(self, output: Tensor) -> Tensor:
        """View an output, or a gradient of its shape, as (B, C, *spatial').

        Only axes are moved and prefix tokens left out, so that a gradient is carried
        over exactly as the activations are. This is what pytorch-grad-cam calls
        ``reshape_transform``.
        """
        if self.kind == "channels_first":
            return output
        if self.kind == "channels_last":
            return output.movedim(-1, 1)
        tokens = output.transpose(0, 1) if self.batch_axis else output
        patches = tokens[:, self.prefix :].transpose(1, 2)
        return patches.reshape(*patches.shape[:2], *self.grid)

    def fits(self, output: Tensor, count: int) -> bool:
        """Tell whether an output for ``count`` images has this layout."""
        expected = list(self.shape)
        expected[self.batch_axis] = count
        return list(output.shape) == expected


def read_layout(
    shape: Sequence[int],
    sizes: Sequence[int],
    *,
    module: nn.Module,
    grids: Sequence[Grid] = (),
    prefix: int | None = None,
) -> Layout | None:
    """Read the shape of a layer's output for one image.

    Parameters
    ----------
    shape
        The output's shape.
    sizes
        The image's spatial sizes.
    module
        The layer: where the shape fits twice, it tells which axis it works on.
    grids
        Grids of the feature maps that came before, the latest last: the tokens'
        grid is that of the patch embedding where it is a convolution.
    prefix
        Tokens that belong to no patch, where the network says so; None to take the
        smallest count that leaves a grid.

    Returns
    -------
    Layout or None
        None where the output is no map of the image, such as a vector, windows or
        attention weights.
    """
    found = tuple(shape)
    if len(found) == len(sizes) + 2 and found[0] == 1:
        return _map_layout(found, sizes, module)
    if len(found) != 3:
        return None
    if found[0] == 1:
        axis = 0
    elif found[1] == 1:
        axis = 1
    else:
        return None
    count = found[1 - axis]
    tokens = _seen_grid(count, grids, prefix)
    # Otherwise (1, C, L): a feature map flattened, its channels first.
    if tokens is None and found[2] not in map(math.prod, grids):
        tokens = _even_grid(count, sizes, prefix)
    if tokens is None:
        return None
    grid, before = tokens
    return Layout(kind="tokens", shape=found, grid=grid, prefix=before, batch_axis=axis)


def prefix_tokens(network: nn.Module) -> int | None:
    """Count of prefix tokens that a network states (timm), None if it does not."""
    for module in network.modules():
        count = getattr(module, "num_prefix_tokens", None)
        if isinstance(count, int):
            return count
    return None


def _map_layout(
    shape: tuple[int, ...], sizes: Sequence[int], module: nn.Module
) -> Layout | None:
    first, last = shape[2:], shape[1:-1]
    first_fits, last_fits = _fits(first, sizes), _fits(last, sizes)
    if first_fits and last_fits:
        evenly = _is_even(first, sizes), _is_even(last, sizes)
        last_fits = evenly[1] and (not evenly[0] or _works_on_last_axis(module))
        first_fits = not last_fits
    if first_fits:
        return Layout(kind="channels_first", shape=shape, grid=first)
    if last_fits:
        return Layout(kind="channels_last", shape=shape, grid=last)
    return None


def _fits(grid: Sequence[int], sizes: Sequence[int]) -> bool:
    return all(new <= old for new, old in zip(grid, sizes, strict=True))


def _is_even(grid: Sequence[int], sizes: Sequence[int]) -> bool:
    """Tell whether one stride, rounded down or up, leads from the sizes to the grid."""
    pairs = list(zip(grid, sizes, strict=True))
    down = max(n / (g + 1) for g, n in pairs) < min(n / g for g, n in pairs)
    up = max(n / g for g, n in pairs) < min(
        n / (g - 1) if g > 1 else math.inf for g, n in pairs
    )
    return down or up


def _works_on_last_axis(module: nn.Module) -> bool:
    parts = list(module.modules())
    return any(isinstance(part, nn.Linear | nn.LayerNorm) for part in parts) and not (
        any(isinstance(part, _ConvNd) for part in parts)
    )


def _seen_grid(
    count: int, grids: Sequence[Grid], stated: int | None
) -> tuple[Grid, int] | None:
    """Find the latest grid that leaves few of ``count`` tokens before it."""
    for before in _prefixes(stated, MOST_PREFIX_TOKENS):
        for grid in reversed(grids):
            if math.prod(grid) == count - before > 1:
                return grid, before
    return None


def _even_grid(
    count: int, sizes: Sequence[int], stated: int | None
) -> tuple[Grid, int] | None:
    """Find a grid of square patches that leaves few of ``count`` tokens before it."""
    for before in _prefixes(stated, MOST_PREFIX_TOKENS_GUESSED):
        for grid in _factors(count - before, len(sizes)):
            if max(grid) > 1 and _fits(grid, sizes) and _is_even(grid, sizes):
                return grid, before
    return None


def _prefixes(stated: int | None, most: int) -> Iterator[int]:
    return chain([] if stated is None else [stated], range(most + 1))


def _factors(number: int, parts: int) -> Iterator[Grid]:
    """Yield the ordered factorisations of a number into ``parts`` factors."""
    if parts == 1:
        yield (number,)
        return
    for factor in range(1, number + 1):
        if number % factor == 0:
            for rest in _factors(number // factor, parts - 1):
                yield factor, *rest
