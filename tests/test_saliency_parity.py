"""Agreement with the reference packages: PAIR's ``saliency`` and ``grad-cam``."""

from __future__ import annotations

import inspect
from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from napari_medxai import saliency
from napari_medxai.saliency.gradients import noise_of
from napari_medxai.saliency.network import Session

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

TARGET = 2


class NumpyShim:
    """numpy as ``saliency`` 0.2.1 knew it: ``quantile(interpolation=)``."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def quantile(values, share, interpolation="linear"):
        return np.quantile(values, share, method=interpolation)


@pytest.fixture(scope="module")
def network():
    generator = torch.Generator().manual_seed(5)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    for parameter in layers.parameters():
        spread = 1.4 / np.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 0.1
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread
    return layers.eval()


@pytest.fixture(scope="module")
def image():
    """A smooth image (3, 64, 64) with a few areas."""
    generator = torch.Generator().manual_seed(6)
    coarse = torch.randn((1, 3, 7, 7), generator=generator)
    return nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic")[0]


@pytest.fixture(scope="module")
def call_model(network):
    """The network as PAIR wants it: channels last, numpy, gradients of the logit."""
    core = pytest.importorskip("saliency.core")

    def call(images, call_model_args=None, expected_keys=None):
        x = torch.from_numpy(np.moveaxis(np.asarray(images), -1, 1)).float()
        x.requires_grad_(True)
        value = network(x)[:, TARGET].sum()
        (gradient,) = torch.autograd.grad(value, x)
        return {core.INPUT_OUTPUT_GRADIENTS: np.moveaxis(gradient.numpy(), 1, -1)}

    return call


def channels_last(image):
    return np.moveaxis(image.numpy(), 0, -1)


def ours(name, network, image, **parameters):
    result = saliency.compute(name, network, image[None], TARGET, **parameters)
    return result[0].numpy()


def rank_correlation(a, b):
    return spearmanr(a.ravel(), b.ravel()).statistic


def test_vanilla_gradient(network, image, call_model):
    core = pytest.importorskip("saliency.core")
    theirs = core.GradientSaliency().GetMask(channels_last(image), call_model)
    got = ours("vanilla_gradient", network, image, reduce="sum")
    np.testing.assert_allclose(got, theirs.sum(-1), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("magnitude", [True, False])
def test_smoothgrad(network, image, call_model, monkeypatch, magnitude):
    core = pytest.importorskip("saliency.core")
    session = Session("smoothgrad", None, seed=4)
    draws = noise_of(session, image, 25, 0.15)
    deviations = []

    def normal(mean, deviation, shape):
        deviations.append(deviation)
        return channels_last(next(draws))

    monkeypatch.setattr(np.random, "normal", normal)
    theirs = core.GradientSaliency().GetSmoothedMask(
        channels_last(image), call_model, magnitude=magnitude
    )
    spread = float(image.max() - image.min())
    assert deviations == [pytest.approx(0.15 * spread)] * 25
    got = ours("smoothgrad", network, image, seed=4, magnitude=magnitude, reduce="sum")
    expected = theirs.sum(-1)
    np.testing.assert_allclose(
        got, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
    )


@pytest.mark.parametrize("start", [0.0, -1.5])
def test_integrated_gradients(network, image, call_model, start):
    core = pytest.importorskip("saliency.core")
    flat = channels_last(image)
    theirs = core.IntegratedGradients().GetMask(
        flat, call_model, x_baseline=np.full_like(flat, start), batch_size=5
    )
    got = ours("integrated_gradients", network, image, baseline=start, reduce="sum")
    expected = theirs.sum(-1)
    assert np.abs(got - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 50, "fraction": 0.25, "max_dist": 0.02},
        {"steps": 25, "fraction": 0.5, "max_dist": 1.0},
    ],
)
def test_guided_ig(network, image, call_model, monkeypatch, settings):
    core = pytest.importorskip("saliency.core")
    module = pytest.importorskip("saliency.core.guided_ig")
    monkeypatch.setattr(module, "np", NumpyShim())
    theirs = core.GuidedIG().GetMask(
        channels_last(image),
        call_model,
        x_steps=settings["steps"],
        fraction=settings["fraction"],
        max_dist=settings["max_dist"],
    )
    got = ours("guided_ig", network, image, **settings)
    assert rank_correlation(got, np.abs(theirs).sum(-1)) >= 0.99


def test_guided_ig_defaults_are_theirs():
    core = pytest.importorskip("saliency.core")
    signature = inspect.signature(core.GuidedIG.GetMask).parameters
    here = saliency.get("guided_ig").parameters
    assert here["steps"] == signature["x_steps"].default
    assert here["fraction"] == signature["fraction"].default
    assert here["max_dist"] == signature["max_dist"].default


def test_xrai(network, image, call_model):
    core = pytest.importorskip("saliency.core")
    theirs = core.XRAI().GetMask(
        channels_last(image),
        call_model,
        batch_size=50,
        extra_parameters=core.XRAIParameters(steps=20),
    )
    got = ours("xrai", network, image, steps=20)
    assert len(np.unique(got)) > 3
    assert rank_correlation(got, theirs) >= 0.99
    np.testing.assert_allclose(got, theirs, rtol=1e-2, atol=1e-4 * theirs.max())


def their_cam(name, network, image):
    package = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    with getattr(package, name)(model=network, target_layers=[network[7]]) as cam:
        return cam(image[None], [targets.ClassifierOutputTarget(TARGET)])[0]


@pytest.mark.parametrize(
    ("name", "theirs", "parameters"),
    [
        ("gradcam", "GradCAM", {}),
        ("gradcam_pp", "GradCAMPlusPlus", {}),
        ("scorecam", "ScoreCAM", {"variant": "gradcam"}),
    ],
)
def test_class_activation_maps(network, image, name, theirs, parameters):
    if name == "gradcam_pp":
        # Their 1e-6 in the denominator shows at the gradients of a mean (1/256).
        network = deepcopy(network)
        network[-1].weight.data *= 1000
    got = ours(name, network, image, target_layer="7", **parameters)
    assert np.array_equal(got, ours(name, network, image, **parameters))
    expected = their_cam(theirs, network, image)
    assert rank_correlation(got, expected) >= 0.999
    # They scale the map to [0, 1], before and after upsampling.
    scaled = (got - got.min()) / (got.max() - got.min())
    np.testing.assert_allclose(scaled, expected, atol=1e-3)


def test_integrated_gradients_agree_with_captum_in_the_limit(network, image):
    attr = pytest.importorskip("captum.attr")
    theirs = attr.IntegratedGradients(network).attribute(
        image[None], target=TARGET, n_steps=200
    )
    got = ours("integrated_gradients", network, image, steps=400)
    expected = theirs[0].abs().sum(0).detach().numpy()
    assert rank_correlation(got, expected) >= 0.995
