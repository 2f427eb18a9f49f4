"""What the signatures of captum's classes say."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

import captum.attr

from .adapters import arguments
from .registry import Family

__all__ = ["SUPPLIED", "CaptumClass", "classes_of_captum", "tunnelled"]

# Supplied by the adapter, or of no use to a map.
SUPPLIED = frozenset(
    {
        "additional_forward_args",
        "attribution_method",
        "device_ids",
        "draw_baseline_from_distrib",
        "feature_mask",
        "forward_func",
        "inputs",
        "internal_batch_size",
        "layer",
        "layer_mask",
        "model",
        "nt_samples_batch_size",
        "perturbations_per_eval",
        "return_convergence_delta",
        "return_input_shape",
        "show_progress",
        "target",
        "verbose",
    }
)


@dataclass(frozen=True)
class CaptumClass:
    """What the signatures of one of captum's classes say.

    Attributes
    ----------
    cls
        The class.
    constructor, attribute
        Arguments of its constructor and of its ``attribute``.
    """

    cls: type
    constructor: Mapping[str, inspect.Parameter]
    attribute: Mapping[str, inspect.Parameter]

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.cls.__name__

    def takes(self, *names: str) -> bool:
        """Tell whether one of these is an argument."""
        return any(n in self.constructor or n in self.attribute for n in names)

    @property
    def layered(self) -> bool:
        """Whether the attribution has the layer's shape."""
        return issubclass(self.cls, captum.attr.LayerAttribution)

    @property
    def distribution(self) -> bool:
        """Whether it needs several baselines, for which captum has no default."""
        given = self.attribute.get("baselines")
        return given is not None and given.default is inspect.Parameter.empty

    @property
    def perturbing(self) -> bool:
        """Whether it looks at the logit under changes, not at gradients."""
        return issubclass(self.cls, captum.attr.PerturbationAttribution)

    @property
    def family(self) -> Family:
        """What kind of method it is."""
        if self.layered:
            return "cam"
        if self.perturbing:
            return "other"
        return "path" if self.takes("n_steps") else "gradient"

    @property
    def exponential(self) -> bool:
        """Whether every order of the features is tried, not a sample of them."""
        return self.takes("feature_mask") and self.name == "ShapleyValues"


def classes_of_captum() -> dict[str, CaptumClass]:
    """Classes of ``captum.attr`` that explain an image classifier, by name.

    Their ``attribute`` takes the input, and everything else they need has a default,
    theirs or ours.
    """
    result = {}
    for name in captum.attr.__all__:
        cls = getattr(captum.attr, name)
        if not (
            inspect.isclass(cls)
            and issubclass(cls, captum.attr.Attribution)
            and hasattr(cls, "attribute")
            and not issubclass(cls, captum.attr.FeaturePermutation)
        ):
            continue
        entry = CaptumClass(cls, arguments(cls), arguments(cls.attribute))
        needed = {
            given.name
            for given in (*entry.constructor.values(), *entry.attribute.values())
            if given.default is inspect.Parameter.empty
        }
        ours = SUPPLIED | {"baselines", "sliding_window_shapes"}
        if "inputs" in entry.attribute and needed <= ours:
            result[name] = entry
    return result


def tunnelled(classes: Mapping[str, CaptumClass]) -> tuple[str, ...]:
    """Methods that NoiseTunnel can pool: from gradients, to the image."""
    return tuple(
        name
        for name, entry in classes.items()
        if issubclass(entry.cls, captum.attr.GradientAttribution)
        and not entry.takes("layer")
        and not entry.distribution
    )
