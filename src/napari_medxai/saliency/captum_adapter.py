"""Every method of captum that explains an image classifier, as ``captum:NAME``.

Found are the classes of ``captum.attr`` whose ``attribute`` takes the input and whose
other arguments have defaults here or there. Left out are those that explain one
neuron (they need it named), language models, and feature permutation, which
exchanges pixels between the images of a batch, so that a map would depend on what
else is in it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import captum.attr
from torch import Tensor

from . import _checks
from .adapters import adapted, parameter, writable
from .cams import averaged, upsampled
from .captum_call import MODIFIES_RELU, Call, passes, require_rules, target_module
from .captum_classes import SUPPLIED, CaptumClass, classes_of_captum, tunnelled
from .guard import per_image, unshared
from .layers import Layer, Layers, located
from .network import Session
from .patches import MaskChoice
from .registry import Method

__all__ = ["found"]

INTERPRETABLE_SAMPLES = 200
LASSO = 0.01
NOTES = {
    "general": "It explains the class's logit, in the network's own type, never under "
    "autocast.",
    "rules": "It has rules for modules such as nn.ReLU; what the network calls as a "
    "function, and activations without a rule, keep their plain gradient.",
    "reduce": "reduce: over channels, the signed 'sum' or 'abs_sum'.",
    "baselines": "baselines: the image that stands for nothing, in the units of x; "
    "0 is captum's default.",
    "distribution": "baselines: images that stand for nothing, as values in the units "
    "of x; None for the image's own minimum (black) and maximum (white).",
    "layer": "target_layer: dotted name; None for the last feature map. The layer's "
    "attribution is reduced over its channels and upsampled linearly; of several "
    "layers the maps are averaged, each divided by its maximum.",
    "mask": "features: what is switched off together, patches of a regular grid or "
    "the image's segments, about as many. patches: patches along each axis, one "
    "number or one for each axis.",
    "sliding_window_shapes": "sliding_window_shapes, strides: in pixels, one number "
    "or one for each spatial axis; None for an eighth of the image and half the "
    "window. The window covers all channels.",
    "attribution_method": "attribution_method: the captum method whose attributions "
    "of noisy images are pooled, with its defaults. stdevs: in the units of x.",
    "lasso": "alpha: weight of the Lasso's penalty; where it is large against the "
    "logit's changes, the map is zero.",
    "samples": f"n_samples is {INTERPRETABLE_SAMPLES} here: captum's 25 are fewer "
    "than the features.",
}


def found() -> dict[str, Method]:
    """Methods by their full names."""
    classes = classes_of_captum()
    methods = [_method(entry, classes) for entry in classes.values()]
    return {method.name: method for method in methods}


def _method(entry: CaptumClass, classes: Mapping[str, CaptumClass]) -> Method:
    parameters, notes = _parameters(entry, classes)

    def run(
        session: Session, x: Tensor, target: Tensor, given: Mapping[str, Any]
    ) -> Tensor:
        options = dict(given)
        reduce = _checks.choice(
            session, "reduce", options.pop("reduce"), ("abs_sum", "sum")
        )
        layers: Sequence[Layer | None] = (None,)
        if entry.takes("layer"):
            layers = located(session, x, options.pop("target_layer"))
        require_rules(session, entry, layers)
        inner = options.pop("attribution_method", None)
        if inner is not None:
            _checks.choice(session, "attribution_method", inner, tunnelled(classes))

        def compute(
            layer: Layer | None, image: Tensor, chosen: int, batch: int
        ) -> Tensor:
            if issubclass(entry.cls, captum.attr.DeepLift | captum.attr.LRP):
                unshared(session, image)
            call = Call(
                session, image, chosen, batch, target_module(session, entry, layer)
            )
            attribution = call.attribute(entry, options, inner and classes[inner])
            if layer is None or not entry.layered:
                return _checks.reduced(session, attribution, reduce)[0]
            attribution = layer.layout.feature_map(attribution)
            maps = _checks.reduced(session, attribution, reduce)
            return upsampled(maps[:, None], image.shape[2:])[0, 0]

        expected = passes(session, entry, options, x)
        return averaged(
            [
                per_image(
                    session,
                    x,
                    target,
                    "captum",
                    partial(compute, layer),
                    expected=expected,
                )
                for layer in layers
            ]
        )

    return adapted(
        "captum",
        entry.cls,
        family=entry.family,
        parameters=parameters,
        notes=" ".join(notes),
        run=run,
    )


def _parameters(
    entry: CaptumClass, classes: Mapping[str, CaptumClass]
) -> tuple[list[inspect.Parameter], list[str]]:
    """Parameters of a class and what is said of them."""
    parameters, notes = [], [NOTES["general"]]
    if issubclass(entry.cls, (*MODIFIES_RELU, captum.attr.DeepLift)):
        notes.append(NOTES["rules"])
    if entry.takes("layer"):
        parameters.append(parameter("target_layer", None, Layers))
        notes.append(NOTES["layer"])
    if entry.takes("attribution_method"):
        names = tunnelled(classes)
        parameters.append(parameter("attribution_method", "Saliency", Literal[names]))
        notes.append(NOTES["attribution_method"])
    for given in (*entry.constructor.values(), *entry.attribute.values()):
        if given.name == "baselines":
            several = entry.distribution
            parameters.append(
                parameter("baselines", None, float | tuple[float, ...] | None)
                if several
                else parameter("baselines", 0.0, float)
            )
            notes.append(NOTES["distribution" if several else "baselines"])
        elif given.name in ("sliding_window_shapes", "strides"):
            pixels = int | tuple[int, ...] | None
            parameters.append(parameter(given.name, None, pixels))
            notes += [NOTES[given.name]] if given.name in NOTES else []
        elif given.name == "feature_mask":
            parameters.append(parameter("features", "grid", MaskChoice))
            parameters.append(
                parameter(
                    "patches", 2 if entry.exponential else 8, int | tuple[int, ...]
                )
            )
            notes.append(NOTES["mask"])
        elif given.name not in SUPPLIED and (kept := writable(given)) is not None:
            if kept.name == "n_samples" and issubclass(entry.cls, captum.attr.LimeBase):
                kept = kept.replace(default=INTERPRETABLE_SAMPLES)
                notes.append(NOTES["samples"])
            parameters.append(kept)
    if entry.takes("interpretable_model"):
        parameters.append(parameter("alpha", LASSO, float))
        notes.append(NOTES["lasso"])
    # The sign of a switched-off feature or of a layer says for or against.
    signed = entry.layered or entry.perturbing
    parameters.append(
        parameter("reduce", "sum" if signed else "abs_sum", Literal["abs_sum", "sum"])
    )
    notes.append(NOTES["reduce"])
    return parameters, notes
