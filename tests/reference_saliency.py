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
BASELINE_NOISE = 0.008


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
    def black_and_white(self) -> list[torch.Tensor]:
        """XRAI's own baselines, (C, H, W) each, with a little noise.

        On a constant image all maxima of a max-pooling layer are tied, and its
        gradient goes where rounding sends it, also in PAIR alone.
        """
        generator = torch.Generator().manual_seed(2)
        noise = torch.rand(self.image.shape[1:], generator=generator) - 0.5
        ends = self.image.min(), self.image.max()
        return [end + BASELINE_NOISE * noise.expand_as(self.image) for end in ends]

    @property
    def picture(self) -> np.ndarray:
        """The image as PAIR takes it: channels last.

        In float64, because PAIR blurs in the picture's type and then divides the
        difference of two blurs by 0.01.
        """
        return as_picture(self.image)

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


def as_picture(image: torch.Tensor) -> np.ndarray:
    return np.moveaxis(image.numpy(), 0, -1).astype(np.float64)


@dataclass(frozen=True)
class Comparison:
    """How one method is computed on both sides, and how well the maps must agree.

    Attributes
    ----------
    settings
        Parameters of ours, alike on both sides.
    quick
        Those of the short tests.
    fixed
        Parameters of ours that make it what the reference is.
    bounds
        What is demanded, see :data:`MEASURES`.
    baselines
        Baselines of ours, where the reference is given the same.
    precision
        The type of network and image in which it is demanded.
    layered
        Whether it reads a layer of the network.
    """

    method: str
    label: str
    reference: Callable[[Case, Mapping[str, Any]], np.ndarray]
    bounds: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    baselines: Callable[[Case], list[torch.Tensor]] | None = None
    precision: torch.dtype = torch.float64
    layered: bool = False


def both(
    case: Case, comparison: Comparison, settings: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Our map (H, W) and the reference's, neither of them constant."""
    given = {**settings, **comparison.fixed}
    if comparison.baselines is not None:
        given["baseline"] = comparison.baselines(case)
    a = case.ours(comparison.method, **given).astype(np.float64)
    b = comparison.reference(case, settings).astype(np.float64)
    assert a.shape == b.shape == tuple(case.image.shape[1:])
    assert np.ptp(a) > 0
    assert np.ptp(b) > 0
    return a, b


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def total_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(a.sum() - b.sum()) / abs(b.sum()))


RELATIVE = "max relative difference"
RANK = "Spearman"
TOTAL = "relative difference of the sums"
MEASURES = {
    RELATIVE: relative_difference,
    RANK: rank_correlation,
    TOTAL: total_difference,
}


def meets(measure: str, value: float, bound: float) -> bool:
    """Whether a figure is what is demanded; NaN never is."""
    return value >= bound if measure == RANK else value <= bound


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
            baselines=[as_picture(image) for image in case.black_and_white],
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
        {RELATIVE: 1e-3},
        fixed=SIGNED,
    ),
    Comparison(
        "smoothgrad",
        "SmoothGrad²",
        smoothgrad,
        {RELATIVE: 1e-3},
        settings={"samples": 5},
        quick={"samples": 2},
        fixed=SIGNED,
    ),
    Comparison(
        "integrated_gradients",
        "integrated gradients",
        integrated_gradients,
        {RELATIVE: 1e-3},
        settings={"steps": 10},
        quick={"steps": 5},
        fixed=SIGNED,
    ),
    Comparison(
        "blur_ig",
        "blur IG",
        blur_ig,
        {RELATIVE: 1e-3},
        settings={"steps": 20},
        quick={"steps": 6},
        fixed=SIGNED,
    ),
    Comparison(
        "guided_ig",
        "guided IG",
        guided_ig,
        {RANK: 0.99, TOTAL: 1e-3},
        settings={"steps": 25, "fraction": 0.5, "max_dist": 1.0},
        quick={"steps": 8, "fraction": 0.25, "max_dist": 0.1},
        fixed=SIGNED,
    ),
    Comparison(
        "xrai",
        "XRAI",
        xrai,
        {RANK: 0.99},
        settings={"steps": 10},
        quick={"steps": 4},
        baselines=lambda case: case.black_and_white,
    ),
    Comparison(
        "gradcam",
        "Grad-CAM",
        activation_map("GradCAM"),
        {RANK: 0.999},
        precision=torch.float32,
        layered=True,
    ),
    Comparison(
        "scorecam",
        'Score-CAM, `variant="gradcam"`',
        activation_map("ScoreCAM"),
        {RANK: 0.99},
        fixed={"variant": "gradcam"},
        precision=torch.float32,
        layered=True,
    ),
)
