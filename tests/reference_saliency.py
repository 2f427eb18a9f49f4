"""The same map twice: ours, and that of the package which is the reference.

Used by test_saliency_reference.py. The references are PAIR's ``saliency`` (gradients,
paths, XRAI) and ``grad-cam`` (class activation maps), each called as its documentation
does; only the number of steps or samples is set, and alike on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from napari_medxai import saliency
from napari_medxai.saliency.gradients import noise_of
from napari_medxai.saliency.network import Session

NOISE = 0.15


@dataclass(frozen=True)
class Case:
    """A network, one image (C, H, W) in its units, and the class explained."""

    network: nn.Module
    image: torch.Tensor
    target: int

    def ours(self, name: str, **parameters: Any) -> np.ndarray:
        maps = saliency.compute(
            name, self.network, self.image[None], self.target, **parameters
        )
        return maps[0].numpy()

    @property
    def picture(self) -> np.ndarray:
        """The image as PAIR takes it: channels last.

        In float64, because PAIR blurs in the picture's type and then divides the
        difference of two blurs by 0.01.
        """
        return np.moveaxis(self.image.numpy(), 0, -1).astype(np.float64)

    def call_model(
        self, images: Any, call_model_args: Any = None, expected_keys: Any = None
    ) -> dict[str, np.ndarray]:
        """The network as PAIR calls it; it sees float32, as ours does."""
        core = pair()
        x = torch.from_numpy(np.moveaxis(np.asarray(images), -1, 1).copy())
        x = x.to(self.image.dtype).requires_grad_(True)
        value = self.network(x)[:, self.target].sum()
        (gradient,) = torch.autograd.grad(value, x)
        return {core.INPUT_OUTPUT_GRADIENTS: np.moveaxis(gradient.numpy(), 1, -1)}


@dataclass(frozen=True)
class Comparison:
    """How one method is computed on both sides, and how well the maps must agree.

    ``relative`` bounds max|a - b| / max|b|, ``total`` the same of the two sums,
    ``rank`` is the least Spearman correlation over the pixels. None where nothing is
    demanded. ``settings`` are our parameters, ``quick`` those of the short tests.
    """

    method: str
    label: str
    reference: Callable[[Case, Mapping[str, Any]], np.ndarray]
    settings: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    relative: float | None = None
    rank: float | None = None
    total: float | None = None
    rescaled: bool = False


@dataclass(frozen=True)
class Agreement:
    """What was measured between our map and the reference's."""

    relative: float
    rank: float
    total: float | None

    def meets(self, comparison: Comparison) -> bool:
        """Whether all that is demanded holds; not where a figure is NaN."""
        bounds = (
            (comparison.relative, self.relative),
            (comparison.total, self.total),
        )
        small = all(most is None or value <= most for most, value in bounds)
        return small and (comparison.rank is None or self.rank >= comparison.rank)


def compare(
    case: Case, comparison: Comparison, settings: Mapping[str, Any]
) -> Agreement:
    """Compute a map on both sides and measure how far they agree."""
    a = case.ours(comparison.method, **settings, **comparison.fixed).astype(np.float64)
    b = comparison.reference(case, settings).astype(np.float64)
    assert a.shape == b.shape == tuple(case.image.shape[1:])
    assert np.ptp(a) > 0
    assert np.ptp(b) > 0
    rank = float(spearmanr(a.ravel(), b.ravel()).statistic)
    if comparison.rescaled:
        a = (a - a.min()) / np.ptp(a)
        return Agreement(relative_difference(a, b), rank, None)
    total = abs(a.sum() - b.sum()) / abs(b.sum())
    return Agreement(relative_difference(a, b), rank, float(total))


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


# The reference packages


def pair() -> Any:
    import saliency.core

    return saliency.core


class NumpyShim:
    """numpy as ``saliency`` 0.2.1 knew it: ``quantile(interpolation=)``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def quantile(values: Any, share: float, interpolation: str = "linear") -> Any:
        return np.quantile(values, share, method=interpolation)


def vanilla_gradient(case: Case, settings: Mapping[str, Any]) -> np.ndarray:
    return pair().GradientSaliency().GetMask(case.picture, case.call_model).sum(-1)


def smoothgrad(case: Case, settings: Mapping[str, Any]) -> np.ndarray:
    """SmoothGrad², with the noise that ours draws."""
    samples = settings["samples"]
    draws = noise_of(Session("smoothgrad", None), case.image, samples, NOISE)
    given = []

    def normal(mean: float, deviation: float, shape: tuple[int, ...]) -> np.ndarray:
        given.append(deviation)
        return np.moveaxis(next(draws).numpy(), 0, -1)

    with mock.patch.object(np.random, "normal", normal):
        squares = pair().GradientSaliency()
        result = squares.GetSmoothedMask(
            case.picture, case.call_model, stdev_spread=NOISE, nsamples=samples
        )
    # It asked for as much noise as ours has.
    np.testing.assert_allclose(given, [NOISE * np.ptp(case.picture)] * samples)
    return result.sum(-1)


def integrated_gradients(case: Case, settings: Mapping[str, Any]) -> np.ndarray:
    paths = pair().IntegratedGradients()
    result = paths.GetMask(case.picture, case.call_model, x_steps=settings["steps"])
    return result.sum(-1)


def blur_ig(case: Case, settings: Mapping[str, Any]) -> np.ndarray:
    paths = pair().BlurIG()
    result = paths.GetMask(case.picture, case.call_model, steps=settings["steps"])
    return result.sum(-1)


def guided_ig(case: Case, settings: Mapping[str, Any]) -> np.ndarray:
    import saliency.core.guided_ig

    with mock.patch.object(saliency.core.guided_ig, "np", NumpyShim()):
        result = (
            pair()
            .GuidedIG()
            .GetMask(
                case.picture,
                case.call_model,
                x_steps=settings["steps"],
                fraction=settings["fraction"],
                max_dist=settings["max_dist"],
            )
        )
    return result.sum(-1)


def xrai(case: Case, settings: Mapping[str, Any]) -> np.ndarray:
    return (
        pair()
        .XRAI()
        .GetMask(
            case.picture,
            case.call_model,
            extra_parameters=pair().XRAIParameters(steps=settings["steps"]),
        )
    )


def activation_map(kind: str) -> Callable[[Case, Mapping[str, Any]], np.ndarray]:
    """A map of grad-cam, of the layer that ours names or finds."""

    def computed(case: Case, settings: Mapping[str, Any]) -> np.ndarray:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        x = case.image[None]
        name = settings.get("target_layer")
        name = name or saliency.find_target_layer(case.network, x)
        layer = case.network.get_submodule(name)
        method = getattr(pytorch_grad_cam, kind)
        with method(model=case.network, target_layers=[layer]) as cam:
            return cam(x, [ClassifierOutputTarget(case.target)])[0]

    return computed


SIGNED = {"reduce": "sum"}
COMPARISONS = (
    Comparison(
        "vanilla_gradient",
        "vanilla gradient",
        vanilla_gradient,
        fixed=SIGNED,
        relative=1e-3,
    ),
    Comparison(
        "smoothgrad",
        "SmoothGrad²",
        smoothgrad,
        settings={"samples": 25},
        quick={"samples": 5},
        fixed=SIGNED,
        relative=1e-3,
    ),
    Comparison(
        "integrated_gradients",
        "integrated gradients",
        integrated_gradients,
        settings={"steps": 25},
        quick={"steps": 10},
        fixed=SIGNED,
        relative=1e-3,
    ),
    Comparison(
        "blur_ig",
        "blur IG",
        blur_ig,
        settings={"steps": 100},
        quick={"steps": 20},
        fixed=SIGNED,
        relative=1e-3,
    ),
    Comparison(
        "guided_ig",
        "guided IG",
        guided_ig,
        settings={"steps": 200, "fraction": 0.25, "max_dist": 0.02},
        quick={"steps": 25, "fraction": 0.5, "max_dist": 1.0},
        fixed=SIGNED,
        rank=0.99,
        total=1e-3,
    ),
    Comparison(
        "xrai",
        "XRAI",
        xrai,
        settings={"steps": 100},
        quick={"steps": 10},
        rank=0.99,
    ),
    Comparison(
        "gradcam",
        "Grad-CAM",
        activation_map("GradCAM"),
        rank=0.999,
        rescaled=True,
    ),
    Comparison(
        "scorecam",
        'Score-CAM, `variant="gradcam"`',
        activation_map("ScoreCAM"),
        fixed={"variant": "gradcam"},
        rank=0.99,
        rescaled=True,
    ),
)
