"""Saliency methods: one registry, one call.

``import napari_medxai.saliency`` loads no torch; the methods themselves do, when
they are first listed or run.

>>> from napari_medxai import saliency
>>> saliency.resolve("core")[0]
'vanilla_gradient'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .registry import Method, get, groups, method, methods, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from .concerns import class_concern, map_concern
    from .network import Precision
    from .shared import Shared

__all__ = [
    "Method",
    "Shared",
    "class_concern",
    "compute",
    "find_target_layer",
    "get",
    "groups",
    "map_concern",
    "method",
    "methods",
    "resolve",
]


_HOMES = {
    "Shared": ".shared",
    "class_concern": ".concerns",
    "map_concern": ".concerns",
}


def __getattr__(name: str) -> Any:
    """Load what needs torch on first use (PEP 562)."""
    if name in _HOMES:
        module = importlib.import_module(_HOMES[name], __name__)
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def compute(
    name: str,
    module: torch.nn.Module | None,
    x: torch.Tensor,
    target: int | torch.Tensor,
    *,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
    batch_size: int | None = None,
    precision: Precision = "fp32",
    shared: Shared | None = None,
    target_layer: str | Sequence[str] | None = None,
    **parameters: Any,
) -> torch.Tensor:
    """Compute the saliency maps of a batch of images.

    Parameters
    ----------
    name
        A registered method, see :func:`methods`.
    module
        Any network that returns logits (B, K), on any device and in any floating
        type. It runs in evaluation mode and is left exactly as it was found:
        training flags, ``requires_grad``, ``.grad`` and hooks. May be None for
        methods that need no network.
    x
        Float tensor (B, C, H, W) or (B, C, D, H, W), in the network's units.
    target
        The class explained: one for all images, or an integer tensor (B,).
    seed
        Seed of the random methods. Each image's generator is derived from the
        seed, the method and the image's own values, so that its map does not depend
        on the batch it is in.
    progress
        Called with (done, total) after each batch that passed the network. It may
        raise :class:`~napari_medxai.errors.Cancelled`, which is passed on once the
        network is restored.
    batch_size
        Images per pass through the network; chosen by memory where None, and halved
        where memory runs out.
    precision
        ``"fp32"`` computes in the network's own type; ``"bf16"`` under bfloat16
        autocast, faster where the processor has it, and less exact.
    shared
        What several methods of one image need alike (:class:`Shared`): give the same
        one to each call, and integrated gradients, segments and activations are
        computed once. Make a new one when the network's weights have changed.
    target_layer
        Dotted name of the layer that the class activation maps read, or several;
        found automatically where None (:func:`find_target_layer`). Other methods
        take no notice of it.
    **parameters
        The method's own parameters, see :attr:`Method.parameters`.

    Returns
    -------
    torch.Tensor
        float32 (B, *spatial) on the CPU. Larger means more important; the scale is
        the method's own, nothing is rescaled.

    Raises
    ------
    MethodError
        The method or a parameter is unknown, the input does not fit, or something
        in the network is not finite.
    """
    from ._compute import run

    return run(
        get(name),
        module,
        x,
        target,
        seed=seed,
        progress=progress,
        batch_size=batch_size,
        precision=precision,
        shared=shared,
        target_layer=target_layer,
        parameters=parameters,
    )


def find_target_layer(module: torch.nn.Module, x: torch.Tensor) -> str:
    """Name the layer that class activation maps read when none is given.

    Parameters
    ----------
    module
        The network, as for :func:`compute`.
    x
        Float tensor (B, C, *spatial); its first image is passed once.

    Returns
    -------
    str
        Dotted name of the last module, in order of execution and before global
        pooling, whose output is a feature map that the logits depend on. Tokens of a
        transformer are read as the grid of their patches.

    Raises
    ------
    MethodError
        No module returns one.
    """
    from .holding import held
    from .layers import find
    from .network import Session

    with held(module):
        return find(Session("target layer", module), x).name
