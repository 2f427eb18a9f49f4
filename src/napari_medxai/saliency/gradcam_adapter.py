"""Every class activation map of pytorch-grad-cam, as ``gradcam:NAME``.

Found are the package's public classes that are built from ``model, target_layers``
and called with ``input_tensor, targets``. The library scales each map to 0…1 by its
minimum and maximum; that is its map, and it is not undone.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import pytorch_grad_cam
import torch
from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerVit
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from . import _checks
from .adapters import adapted, arguments, parameter, writable
from .guard import per_image
from .layers import Layer, Layers, located
from .network import Session
from .registry import Method

__all__ = ["found"]

SUPPLIED = frozenset(
    {
        "ablation_layer",
        "batch_size",
        "compute_input_gradient",
        "detach",
        "input_tensor",
        "model",
        "reshape_transform",
        "target_idx",
        "target_layers",
        "targets",
        "tta_transforms",
        "uses_gradients",
    }
)
CAM = (
    "target_layer: dotted name; None for the last feature map. The library combines "
    "the maps of several layers."
)
ALL_LAYERS = "It reads the biases of all 2-D convolutions and batch norms."
SCALED = (
    "It explains the class's logit. The library scales each map to 0…1 by its minimum "
    "and maximum, so maps of different images cannot be compared in size."
)
BASE = "base_method: the class activation map that it builds on."
# They pass the image once for each channel of the layer.
BY_CHANNEL = ("ScoreCAM", "AblationCAM")


def found() -> dict[str, Method]:
    """Methods by their full names."""
    methods = [_method(cls) for cls in _classes().values()]
    return {method.name: method for method in methods}


def _classes() -> dict[str, type]:
    result = {}
    for name, cls in vars(pytorch_grad_cam).items():
        if not inspect.isclass(cls) or name.startswith("_"):
            continue
        if list(arguments(cls))[:2] == ["model", "target_layers"] and {
            "input_tensor",
            "targets",
        } <= set(_call(cls)):
            result[name] = cls
    return result


def _call(cls: Any) -> dict[str, inspect.Parameter]:
    """Arguments of a class's call, which may hand all of them on to ``forward``."""
    named = arguments(cls.__call__)
    return named or (arguments(cls.forward) if hasattr(cls, "forward") else {})


def _method(cls: Any) -> Method:
    constructor, call = arguments(cls), _call(cls)
    every_layer = cls is getattr(pytorch_grad_cam, "FullGrad", None)
    bases = _bases() if "base_method" in constructor else ()
    notes, parameters = [SCALED], []
    if every_layer:
        notes.append(ALL_LAYERS)
    else:
        notes.append(CAM)
        parameters.append(parameter("target_layer", None, Layers))
    for given in (*constructor.values(), *call.values()):
        if given.name == "base_method":
            default = given.default.__name__
            parameters.append(parameter("base_method", default, Literal[bases]))
            notes.append(BASE)
        elif given.name not in SUPPLIED and (kept := writable(given)) is not None:
            parameters.append(kept)

    def run(
        session: Session, x: Tensor, target: Tensor, options: Mapping[str, Any]
    ) -> Tensor:
        layers: tuple[Layer, ...] = ()
        if not every_layer:
            layers = located(session, x, options["target_layer"])
        built = {name: options[name] for name in constructor if name in options}
        if "base_method" in built:
            base = _checks.choice(
                session, "base_method", built["base_method"], tuple(bases)
            )
            built["base_method"] = getattr(pytorch_grad_cam, base)
        named = {name: options[name] for name in call if name in options}
        compute = partial(_map, session, cls, layers, built, named)
        return per_image(session, x, target, "pytorch_grad_cam", compute, expected=1)

    return adapted(
        "gradcam",
        cls,
        family="cam",
        parameters=parameters,
        notes=" ".join(notes),
        run=run,
    )


def _bases() -> tuple[str, ...]:
    """Methods that another can build on: they need nothing but the layer."""
    return tuple(
        name
        for name, cls in _classes().items()
        if "base_method" not in arguments(cls)
        and cls is not getattr(pytorch_grad_cam, "FullGrad", None)
    )


def _map(
    session: Session,
    cls: Any,
    layers: tuple[Layer, ...],
    built: Mapping[str, Any],
    named: Mapping[str, Any],
    image: Tensor,
    target: int,
    batch: int,
) -> Tensor:
    """Map (*spatial) of one image (1, C, *spatial)."""
    if next(session.module.parameters(), None) is None:
        raise session.error(
            "pytorch_grad_cam takes the device from the network's parameters, and it "
            "has none"
        )
    options, takes = dict(built), arguments(cls)
    if "batch_size" in takes:
        options["batch_size"] = batch
    if layers:
        channels = [cls.__name__ in BY_CHANNEL]
        options["reshape_transform"] = partial(_feature_map, session, layers, channels)
        if "ablation_layer" in takes:
            options["ablation_layer"] = (
                AblationLayer() if _is_first(layers[0]) else AblationLayerVit()
            )
    modules = [session.module.get_submodule(layer.name) for layer in layers]
    cam = cls(session.module, modules, **options)
    if "batch_size" not in takes:
        # Score-CAM reads it here, and has no argument for it.
        cam.batch_size = batch
    inner = (getattr(cam, "base_cam", cam), *getattr(cam, "base_cam_per_layer", ()))
    if not all(getattr(one, "detach", True) for one in inner):
        # Second derivatives, which exist only through the parameters; put back later.
        session.module.requires_grad_(True)
    try:
        if "target_idx" in _call(cls):
            # Finer-CAM itself finds the classes most like this one.
            result = cam(image, None, target_idx=target, **named)
        else:
            result = cam(image, [ClassifierOutputTarget(target)], **named)
    finally:
        for one in inner:
            if hasattr(one, "activations_and_grads"):
                # Its destructor fails on gradients that are views.
                one.activations_and_grads.activations = []
                one.activations_and_grads.gradients = []
    return torch.from_numpy(np.array(result[0], dtype=np.float32))


def _feature_map(
    session: Session, layers: tuple[Layer, ...], announce: list[bool], output: Tensor
) -> Tensor:
    """View a layer's output, or a gradient of its shape, as a feature map.

    A copy, so that nothing after the layer overwrites it. Where ``announce`` holds
    True, the first one says how many passes will follow.
    """
    maps = _viewed(session, layers, output).clone()
    if announce[0]:
        announce[0] = False
        session.expect(maps.shape[1])
    return maps


def _viewed(session: Session, layers: tuple[Layer, ...], output: Tensor) -> Tensor:
    for layer in layers:
        if layer.layout.fits(output, output.shape[layer.layout.batch_axis]):
            return layer.layout.feature_map(output)
    # SESS passes windows of another size than the image's.
    if any(output.ndim == len(one.layout.shape) for one in layers if _is_first(one)):
        return output
    raise session.error(
        f"a target layer returned {tuple(output.shape)}, another shape than for the "
        "first image; name another layer"
    )


def _is_first(layer: Layer) -> bool:
    return layer.layout.kind == "channels_first"
