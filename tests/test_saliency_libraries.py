"""What the adapters return: what the libraries return, and what our methods do."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import pytorch_grad_cam
import torch
from captum._utils.models.linear_model import SkLearnLasso
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.stats import spearmanr
from torch import nn

from adapter_cases import RUN, Residual, Tokens, images, plain, seed_of, weighted
from napari_medxai import saliency
from napari_medxai.errors import MethodError

# What they return is what the library returns

BASELINES = lambda x: torch.cat(  # noqa: E731
    [torch.full_like(x, float(x.min())), torch.full_like(x, float(x.max()))]
)
GRID = torch.arange(4).reshape(1, 1, 2, 2).repeat_interleave(6, 2)
GRID = GRID.repeat_interleave(5, 3)[:, :, :12, :10]
MASKED = {"feature_mask": GRID}
DIRECT = {
    # name: our parameters, captum's call
    "Saliency": ({}, lambda c, n, x: c(n).attribute(x, target=1)),
    "InputXGradient": ({}, lambda c, n, x: c(n).attribute(x, target=1)),
    "IntegratedGradients": (
        {"n_steps": 7, "baselines": 0.5, "method": "riemann_left"},
        lambda c, n, x: c(n).attribute(
            x, 0.5, target=1, n_steps=7, method="riemann_left"
        ),
    ),
    "DeepLift": (
        {"multiply_by_inputs": False, "baselines": 0.1},
        lambda c, n, x: c(n, multiply_by_inputs=False).attribute(x, 0.1, target=1),
    ),
    "DeepLiftShap": ({}, lambda c, n, x: c(n).attribute(x, BASELINES(x), target=1)),
    "GradientShap": (
        {"n_samples": 4, "stdevs": 0.2},
        lambda c, n, x: c(n).attribute(
            x, BASELINES(x), n_samples=4, stdevs=0.2, target=1
        ),
    ),
    "GuidedBackprop": ({}, lambda c, n, x: c(n).attribute(x, target=1)),
    "Deconvolution": ({}, lambda c, n, x: c(n).attribute(x, target=1)),
    "LRP": ({}, lambda c, n, x: c(n).attribute(x, target=1)),
    "NoiseTunnel": (
        {"nt_type": "vargrad", "nt_samples": 6, "stdevs": 0.3},
        lambda c, n, x: c(captum.attr.Saliency(n)).attribute(
            x, nt_type="vargrad", nt_samples=6, stdevs=0.3, target=1
        ),
    ),
    "Occlusion": (
        {"sliding_window_shapes": (4, 3), "strides": (2, 3), "baselines": 0.3},
        lambda c, n, x: c(n).attribute(
            x,
            sliding_window_shapes=(2, 4, 3),
            strides=(2, 2, 3),
            baselines=0.3,
            target=1,
        ),
    ),
    "FeatureAblation": (
        {"patches": 2},
        lambda c, n, x: c(n).attribute(x, target=1, **MASKED),
    ),
    "ShapleyValues": ({}, lambda c, n, x: c(n).attribute(x, target=1, **MASKED)),
    "ShapleyValueSampling": (
        {"patches": 2, "n_samples": 5},
        lambda c, n, x: c(n).attribute(x, target=1, n_samples=5, **MASKED),
    ),
    "KernelShap": (
        {"patches": (2, 2), "n_samples": 40},
        lambda c, n, x: c(n).attribute(x, target=1, n_samples=40, **MASKED),
    ),
    "Lime": (
        {"patches": 2, "n_samples": 40, "alpha": 1e-4},
        lambda c, n, x: c(n, interpretable_model=SkLearnLasso(alpha=1e-4)).attribute(
            x, target=1, n_samples=40, **MASKED
        ),
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reused", [None, True])
@pytest.mark.parametrize("name", DIRECT)
def test_captum_to_the_input_is_captum(name, reused):
    """Against the library on a twin that it can explain: no reuse, not in place."""
    if reused:
        network = weighted(Residual(reused=True))
        twin = weighted(Residual(reused=False, inplace=False))
    else:
        network, twin = plain(), plain(inplace=False)
    x = images(1, 2, 12, 10)
    parameters, call = DIRECT[name]
    full = f"captum:{name}"
    got = {
        reduce: saliency.compute(
            full, network, x, 1, batch_size=1, reduce=reduce, **parameters
        )
        for reduce in ("abs_sum", "sum")
    }
    torch.manual_seed(seed_of(full, x[0]))
    np.random.seed(seed_of(full, x[0]) % 2**32)  # noqa: NPY002
    expected = call(getattr(captum.attr, name), twin, x.clone()).detach()
    scale = float(expected.abs().max())
    assert scale > 0
    for reduce, value in (("sum", expected), ("abs_sum", expected.abs())):
        torch.testing.assert_close(
            got[reduce], value.sum(dim=1), rtol=1e-4, atol=2e-6 * scale
        )


def test_deep_lift_adds_up_where_a_relu_is_reused():
    network, x = weighted(Residual()), images(1, 2, 12, 10)
    got = saliency.compute("captum:DeepLift", network, x, 2, reduce="sum")
    with torch.no_grad():
        change = network(x)[0, 2] - network(torch.zeros_like(x))[0, 2]
    assert float(got.sum()) == pytest.approx(float(change), rel=1e-4)


LAYERED = {
    "LayerGradCam": ({"relu_attributions": True}, {"relu_attributions": True}),
    "LayerActivation": ({}, None),
    "LayerGradientXActivation": ({}, {}),
    "LayerConductance": ({"n_steps": 6}, {"n_steps": 6}),
    "LayerDeepLift": ({}, {}),
    "InternalInfluence": ({"n_steps": 6}, {"n_steps": 6}),
    "LayerIntegratedGradients": ({"n_steps": 6}, {"n_steps": 6}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LAYERED)
def test_captum_to_a_layer_is_captum(name):
    network, twin, x = plain(), plain(inplace=False), images(1, 2, 12, 10)
    ours, theirs = LAYERED[name]
    got = saliency.compute(
        f"captum:{name}", network, x, 1, target_layer="features.4", **ours
    )
    named = {} if theirs is None else {"target": 1, **theirs}
    method = getattr(captum.attr, name)(twin, twin.features[4])
    expected = method.attribute(x.clone(), **named).detach().sum(dim=1, keepdim=True)
    expected = nn.functional.interpolate(expected, (12, 10), mode="bilinear")[:, 0]
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


CAM_OPTIONS = {
    "AblationCAM": {"ratio_channels_to_ablate": 0.5},
    "EigenCAM": {},
    "FEM": {"k": 1},
    "FinerCAM": {"alpha": 0.6, "comparison_categories": (1, 2)},
    "FullGrad": {},
    "GradCAM": {"eigen_smooth": True},
    "GradCAMPlusPlus": {"aug_smooth": True},
    "HiResCAM": {},
    "KPCA_CAM": {"kernel": "rbf", "gamma": 0.1},
    "LayerCAM": {},
    "RandomCAM": {},
    "ScoreCAM": {},
    "SegEigenCAM": {},
    "ShapleyCAM": {},
    "XGradCAM": {},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", CAM_OPTIONS)
def test_gradcam_is_pytorch_grad_cam(name, dims, capfd):
    full, options = f"gradcam:{name}", CAM_OPTIONS[name]
    if dims == 3 and (full not in RUN[3] or "aug_smooth" in options):
        pytest.skip("the library has no such thing for volumes")
    network, twin = plain(dims), plain(dims, inplace=False)
    x = images(1, 2, *(12, 10) if dims == 2 else (6, 6, 8))
    layer = {} if name == "FullGrad" else {"target_layer": "features.5"}
    got = saliency.compute(full, network, x, 1, batch_size=2, **layer, **options)
    cls = getattr(pytorch_grad_cam, name)
    built = {k: options[k] for k in ("k", "kernel", "gamma") if k in options}
    built |= {k: v for k, v in options.items() if k.startswith("ratio")}
    called = {k: v for k, v in options.items() if k not in built}
    layers = [twin.features[5]] if layer else []
    np.random.seed(seed_of(full, x[0]) % 2**32)  # noqa: NPY002
    if name == "FinerCAM":
        expected = cls(twin, layers)(x.clone(), target_idx=1, **called)
    else:
        targets = [ClassifierOutputTarget(1)]
        expected = cls(twin, layers, **built)(x.clone(), targets, **called)
    assert float(np.max(expected)) > 0.5
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-5)
    capfd.readouterr()


@pytest.mark.filterwarnings("ignore")
def test_gradcam_combines_several_layers():
    network, twin, x = plain(), plain(inplace=False), images(1, 2, 12, 10)
    got = saliency.compute(
        "gradcam:LayerCAM", network, x, 1, target_layer="features.2,features.5"
    )
    layers = [twin.features[2], twin.features[5]]
    cam = pytorch_grad_cam.LayerCAM(twin, layers)
    expected = cam(x.clone(), [ClassifierOutputTarget(1)])
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-5)


# They agree with our own


@pytest.mark.parametrize("make", [plain, lambda: weighted(Residual())])
def test_saliency_is_the_vanilla_gradient(make):
    network, x = make(), images(2, 2, 12, 10)
    ours = saliency.compute("vanilla_gradient", network, x, 1)
    theirs = saliency.compute("captum:Saliency", network, x, 1)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-7)
    signed = {"reduce": "sum"}
    ours = saliency.compute("vanilla_gradient", network, x, 1, **signed)
    theirs = saliency.compute("captum:Saliency", network, x, 1, abs=False, **signed)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-7)


def test_integrated_gradients_with_the_same_rule():
    """PAIR weighs both ends of the path fully, captum's trapezoid by half."""
    network, x, steps = plain().double(), images(1, 2, 12, 10).double(), 9
    given = {"reduce": "sum"}
    ours = saliency.compute("integrated_gradients", network, x, 1, steps=steps, **given)
    theirs = saliency.compute(
        "captum:IntegratedGradients",
        network,
        x,
        1,
        n_steps=steps,
        method="riemann_trapezoid",
        **given,
    )
    ends = 0.0
    for point in (x, torch.zeros_like(x)):
        point = point.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(network(point)[0, 1], point)
        ends = ends + (gradient * x).sum(dim=1) / 2
    ends = ends.float()
    torch.testing.assert_close(steps * (ours - theirs), ends, rtol=1e-3, atol=1e-5)
    assert float(ends.abs().max()) > 1e-3


@pytest.mark.parametrize("dims", [2, 3])
def test_gradcam_agrees_with_both_libraries(dims):
    network = plain(dims)
    x = images(1, 2, *(24, 20) if dims == 2 else (8, 8, 8), seed=4)
    layer = {"target_layer": "features.5"}
    ours = saliency.compute("gradcam", network, x, 1, **layer)
    assert float(ours.max()) > 0
    theirs = saliency.compute(
        "captum:LayerGradCam", network, x, 1, relu_attributions=True, **layer
    )
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-6)
    if dims == 2:  # grad-cam upsamples volumes with a spline
        theirs = saliency.compute("gradcam:GradCAM", network, x, 1, **layer)
        assert spearmanr(ours.ravel(), theirs.ravel()).statistic > 0.999


def test_tokens_are_read_as_a_grid():
    network, x = weighted(Tokens()), images(1, 2, 16, 24)
    for layer in ("norm", None):
        ours = saliency.compute("gradcam", network, x, 1, target_layer=layer)
        theirs = saliency.compute("gradcam:GradCAM", network, x, 1, target_layer=layer)
        assert float(ours.max()) > 0
        assert spearmanr(ours.ravel(), theirs.ravel()).statistic > 0.999
    for name in ("gradcam:AblationCAM", "gradcam:EigenCAM", "captum:LayerActivation"):
        maps = saliency.compute(name, network, x, 1, target_layer="norm")
        assert maps.shape == (1, 16, 24)
        assert maps.max() > maps.min()
    with pytest.raises(MethodError, match=r"captum:LayerGradCam: .*come last"):
        saliency.compute("captum:LayerGradCam", network, x, 1, target_layer="norm")
