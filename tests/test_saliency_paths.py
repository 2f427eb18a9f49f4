"""Blur IG and SmoothGrad IG against slow second implementations and PAIR."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from napari_medxai import saliency
from napari_medxai.saliency.blur_ig import blurred
from napari_medxai.saliency.gradients import noise_of
from napari_medxai.saliency.network import Session


class Square(nn.Module):
    """Logit k is Σ W[k]·x², whose gradient 2·W[k]·x is known."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x):
        return torch.einsum("bc...,kc...->bk", x.square(), self.weights)

    def gradient(self, image, k):
        return 2 * self.weights[k].detach().numpy() * image


@pytest.fixture(params=[(2, 13, 17), (1, 6, 7, 9)], ids=["2-D", "3-D"])
def case(request):
    rng = np.random.default_rng(len(request.param))
    network = Square(torch.from_numpy(rng.normal(size=(3, *request.param))))
    return network, rng.normal(size=(2, *request.param))


def gaussian(image, sigma):
    wide = [0] + [sigma] * (image.ndim - 1)
    return gaussian_filter(image, wide, mode="constant") if sigma else image


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.13, 0.7, 3.0, 50.0])
def test_blur_is_that_of_scipy(case, sigma):
    image = case[1][0]
    got = blurred(torch.from_numpy(image), sigma).numpy()
    np.testing.assert_allclose(got, gaussian(image, sigma), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("sqrt", [False, True])
@pytest.mark.parametrize("reduce", ["sum", "abs_sum"])
def test_blur_ig(case, sqrt, reduce):
    network, images = case
    steps, most, step = 7, 4.0, 0.3
    got = saliency.compute(
        "blur_ig",
        network,
        torch.from_numpy(images),
        torch.tensor([2, 0]),
        steps=steps,
        max_sigma=most,
        grad_step=step,
        sqrt=sqrt,
        reduce=reduce,
        batch_size=3,
    )
    for image, k, result in zip(images, (2, 0), got, strict=True):
        sigmas = [i * most / steps for i in range(steps + 1)]
        if sqrt:
            sigmas = [s**0.5 for s in sigmas]
        total = np.zeros_like(image)
        for i in range(steps):
            point = gaussian(image, sigmas[i])
            change = (gaussian(image, sigmas[i] + step) - point) / step
            slope = network.gradient(point, k)
            total -= (sigmas[i + 1] - sigmas[i]) * change * slope
        expected = total.sum(0) if reduce == "sum" else abs(total).sum(0)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_blur_ig_is_that_of_pair(case):
    core = pytest.importorskip("saliency.core")
    network, images = case
    image = images[0]
    if image.ndim != 3:
        pytest.skip("PAIR blurs images, not volumes")

    def call(batch, call_model_args=None, expected_keys=None):
        slopes = [network.gradient(np.moveaxis(one, -1, 0), 1) for one in batch]
        stacked = np.moveaxis(np.stack(slopes), 1, -1)
        return {core.INPUT_OUTPUT_GRADIENTS: stacked}

    theirs = core.BlurIG().GetMask(
        np.moveaxis(image, 0, -1), call, max_sigma=5, steps=20, grad_step=0.01
    )
    got = saliency.compute(
        "blur_ig",
        network,
        torch.from_numpy(image)[None],
        1,
        steps=20,
        max_sigma=5.0,
        reduce="sum",
    )
    expected = theirs.sum(-1)
    assert abs(got[0].numpy() - expected).max() <= 1e-3 * abs(expected).max()


@pytest.mark.parametrize("magnitude", [True, False])
def test_smoothgrad_ig(case, magnitude):
    network, images = case
    start = 0.25
    got = saliency.compute(
        "smoothgrad_ig",
        network,
        torch.from_numpy(images),
        1,
        samples=3,
        noise=0.2,
        steps=5,
        baseline=start,
        magnitude=magnitude,
        reduce="sum",
        seed=7,
        batch_size=2,
    )
    session = Session("smoothgrad_ig", None, seed=7)
    for image, result in zip(images, got, strict=True):
        total = np.zeros_like(image)
        for draw in noise_of(session, torch.from_numpy(image), 3, 0.2):
            noisy = image + draw.numpy()
            slopes = [
                network.gradient(start + alpha * (noisy - start), 1)
                for alpha in np.linspace(0, 1, 5)
            ]
            attribution = np.mean(slopes, axis=0) * (noisy - start)
            total += attribution**2 if magnitude else attribution
        expected = (total / 3).sum(0)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_methods_are_listed():
    assert {"blur_ig", "smoothgrad_ig", "fast_xrai"} <= set(saliency.methods())
