"""Check what a method is given, run it, check what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from napari_medxai.errors import MethodError

from .allocator import keep_freed_memory
from .holding import held
from .network import Precision, Session
from .parameters import unknown_parameter
from .registry import Method
from .shared import Shared

__all__ = ["run"]


def run(
    method: Method,
    module: nn.Module | None,
    x: Tensor,
    target: int | Tensor,
    *,
    seed: int,
    progress: Callable[[int, int], object] | None,
    batch_size: int | None,
    precision: Precision,
    shared: Shared | None,
    target_layer: str | Sequence[str] | None,
    parameters: Mapping[str, Any],
) -> Tensor:
    """Run one method; see :func:`napari_medxai.saliency.compute`."""
    chosen = _parameters(method, target_layer, parameters)
    if batch_size is not None and (isinstance(batch_size, bool) or batch_size < 1):
        raise MethodError(f"{method.name}: batch_size must be at least 1")
    if precision not in ("fp32", "bf16"):
        raise MethodError(
            f"{method.name}: precision must be 'fp32' or 'bf16', not {precision!r}"
        )
    if method.needs_network and not isinstance(module, nn.Module):
        raise MethodError(
            f"{method.name}: needs a torch.nn.Module, got {type(module).__name__}"
        )
    keep_freed_memory()
    with held(module if method.needs_network else None):
        session = Session(
            method.name,
            module if method.needs_network else None,
            batch_size=batch_size,
            precision=precision,
            seed=seed,
            progress=progress,
            shared=shared,
        )
        images = _images(session, x)
        session.example = images[:1]
        result = method.function(
            session, images, _targets(session, target, len(images)), **chosen
        )
    expected = (len(images), *images.shape[2:])
    if not isinstance(result, Tensor) or tuple(result.shape) != expected:
        shape = tuple(result.shape) if isinstance(result, Tensor) else type(result)
        raise session.error(f"returned {shape} instead of a tensor {expected}")
    result = result.detach().to("cpu", torch.float32).contiguous()
    session.require_finite(result, "the map")
    return result


def _parameters(
    method: Method,
    target_layer: str | Sequence[str] | None,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    for name in given:
        if name not in method.parameters:
            raise unknown_parameter(method, name)
    chosen = dict(given)
    if "target_layer" in method.parameters and target_layer is not None:
        chosen["target_layer"] = target_layer
    return chosen


def _images(session: Session, x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim not in (4, 5):
        found = (
            f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        )
        raise session.error(
            f"x must be a float tensor (B, C, H, W) or (B, C, D, H, W), but is {found}"
        )
    if x.numel() == 0:
        raise session.error(f"x is empty: {tuple(x.shape)}")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if session.device.type == "mps":
        dtype = torch.float32
    images = x.detach().to(session.device, dtype, copy=True)
    session.require_finite(images, "the image")
    return images


def _targets(session: Session, target: int | Tensor, count: int) -> Tensor:
    if isinstance(target, Tensor):
        if target.is_floating_point() or target.dtype == torch.bool:
            raise session.error(
                f"target must be of an integer type, not {target.dtype}"
            )
        classes = target.detach().to(session.device, torch.long)
        if classes.ndim == 0:
            classes = classes.expand(count)
    else:
        classes = torch.full((count,), int(target), device=session.device)
    if tuple(classes.shape) != (count,):
        raise session.error(
            f"target has the shape {tuple(classes.shape)}, but there are {count} images"
        )
    if int(classes.min()) < 0:
        raise session.error("target must not be negative; classes count from 0")
    return classes
