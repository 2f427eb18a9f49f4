"""One call of a method of captum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import captum.attr
import torch
from captum._utils.models.linear_model import SkLearnLasso
from torch import Tensor, nn

from . import _checks
from .captum_classes import CaptumClass
from .layers import Layer
from .network import Session
from .patches import MOST_ORDERS, feature_mask, window

__all__ = ["Call", "passes", "require_rules", "target_module"]

BATCHES = ("perturbations_per_eval", "internal_batch_size", "nt_samples_batch_size")
COUNTS = ("n_steps", "n_samples", "nt_samples")
MODIFIES_RELU = (
    captum.attr.GuidedBackprop,
    captum.attr.Deconvolution,
    captum.attr.GuidedGradCam,
)
POOLS_GRADIENT = (captum.attr.LayerGradCam, captum.attr.GuidedGradCam)


def require_rules(
    session: Session, entry: CaptumClass, layers: Sequence[Layer | None]
) -> None:
    """Refuse networks on which captum would return something else without a word."""
    if issubclass(entry.cls, MODIFIES_RELU) and not any(
        isinstance(module, nn.ReLU) for module in session.module.modules()
    ):
        raise session.error(
            "it changes the gradient of nn.ReLU modules, and the network has none, so "
            "that its result would be the plain gradient; use vanilla_gradient"
        )
    if issubclass(entry.cls, POOLS_GRADIENT):
        for layer in layers:
            if layer is not None and layer.layout.kind != "channels_first":
                raise session.error(
                    f"captum takes axis 1 for the channels, but those of the target "
                    f"layer {layer.name!r} come last; use gradcam, or name another "
                    "layer"
                )


def target_module(session: Session, entry: CaptumClass, layer: Layer | None) -> Any:
    """Return the layer; LRP has rules for parts of a sequence that have weights."""
    if layer is None:
        return None
    module = session.module.get_submodule(layer.name)
    if issubclass(entry.cls, captum.attr.LRP):
        while isinstance(module, nn.Sequential):
            weighted = [
                part for part in module if next(part.parameters(), None) is not None
            ]
            if not weighted:
                break
            module = weighted[-1]
        if next(module.children(), None) is not None:
            raise session.error(
                f"captum has rules for single layers, but target layer {layer.name!r} "
                f"is a {type(module).__name__} of several; name one in it with "
                "target_layer"
            )
    return module


def passes(
    session: Session, entry: CaptumClass, options: Mapping[str, Any], x: Tensor
) -> int:
    """Tell about how many images one attribution passes through the network."""
    count = math.prod(
        _checks.count(session, name, options[name])
        for name in COUNTS
        if name in options
    )
    patches = options.get("patches")
    if isinstance(patches, int) and not issubclass(entry.cls, captum.attr.LimeBase):
        features = patches ** (x.ndim - 2)
        orders = math.factorial(min(features, MOST_ORDERS))
        count *= features * (orders if entry.exponential else 1)
    return count


@dataclass(frozen=True)
class Call:
    """One image's attribution.

    Attributes
    ----------
    session
        The run.
    image
        (1, C, *spatial), on the network's device and in its type.
    target
        The class.
    batch
        Images that captum may pass at once.
    layer
        The target layer, None where the method needs none.
    """

    session: Session
    image: Tensor
    target: int
    batch: int
    layer: Any

    def attribute(
        self, entry: CaptumClass, options: Mapping[str, Any], inner: CaptumClass | None
    ) -> Tensor:
        """Return the attribution (1, C, *spatial), or of the layer's shape."""
        method = self._built(entry, options, inner)
        named = self._arguments(entry, options)
        if inner is not None:
            named = {**self._arguments(inner, {}), **named}
        # Required here and not by captum, for layers behind no other gradient.
        result = method.attribute(self.image.requires_grad_(True), **named)
        while isinstance(result, tuple | list) and len(result) == 1:
            result = result[0]
        if not isinstance(result, Tensor):
            raise self.session.error(
                "the layer returns several tensors; name another with target_layer"
            )
        if result.numel() == 0:
            raise self.session.error("captum returned an empty attribution")
        return result.detach()

    def _built(
        self, entry: CaptumClass, options: Mapping[str, Any], inner: CaptumClass | None
    ) -> Any:
        named = {n: options[n] for n in entry.constructor if n in options}
        if inner is not None:
            return entry.cls(self._built(inner, {}, None), **named)
        for name in ("forward_func", "model"):
            if name in entry.constructor:
                named[name] = self.session.module
        if "layer" in entry.constructor:
            named["layer"] = self.layer
        if "interpretable_model" in entry.constructor:
            named["interpretable_model"] = SkLearnLasso(alpha=options["alpha"])
        return entry.cls(**named)

    def _arguments(
        self, entry: CaptumClass, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        takes = entry.attribute
        named = {n: options[n] for n in takes if n in options}
        if "target" in takes:
            named["target"] = self.target
        for name in BATCHES:
            if name in takes:
                named[name] = self.batch
        if "baselines" in takes:
            value = options.get("baselines", None if entry.distribution else 0.0)
            named["baselines"] = self._baselines(value, several=entry.distribution)
        if "feature_mask" in takes:
            mask = feature_mask(
                self.session,
                self.image,
                choice=options.get("features", "grid"),
                patches=options.get("patches", 8),
                most=MOST_ORDERS if entry.exponential else None,
            )
            named["feature_mask"] = mask
        if "layer_mask" in takes:
            named["layer_mask"] = self._positions()
        if "sliding_window_shapes" in takes:
            shapes, strides = window(
                self.session,
                self.image,
                options.get("sliding_window_shapes"),
                options.get("strides"),
            )
            named |= {"sliding_window_shapes": shapes, "strides": strides}
        return named

    def _baselines(self, value: Any, *, several: bool) -> Tensor:
        image = self.image
        if not several:
            return _checks.baseline_like(self.session, value, image).contiguous()
        if isinstance(value, Tensor) and value.ndim == image.ndim:
            return value.detach().to(image.device, image.dtype)
        if value is None:
            ends: Sequence[Any] = (float(image.min()), float(image.max()))
        elif isinstance(value, list | tuple) and value:
            ends = value
        else:
            ends = [value]
        spread = [_checks.baseline_like(self.session, end, image) for end in ends]
        return torch.cat(spread)

    def _positions(self) -> Tensor:
        """Mask that switches off all channels of a layer's position together."""
        with torch.no_grad():
            seen = captum.attr.LayerActivation(
                self.session.module, self.layer
            ).attribute(self.image)
        if not isinstance(seen, Tensor) or seen.ndim != self.image.ndim:
            raise self.session.error(
                "the layer returns no feature map (B, C, *spatial); name another with "
                "target_layer"
            )
        places = torch.arange(seen[0, 0].numel(), device=seen.device)
        return places.reshape(1, 1, *seen.shape[2:])
