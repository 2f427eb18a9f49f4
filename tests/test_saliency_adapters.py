"""Methods of captum and pytorch-grad-cam: found, run or refused, nothing left over."""

from __future__ import annotations

import subprocess
import sys

import captum.attr
import pytest
import pytorch_grad_cam
import torch
from torch import nn

from adapter_cases import NAMES, QUICK, RUN, everything, images, plain, weighted
from napari_medxai import saliency
from napari_medxai.errors import Cancelled, MethodError

# What is found, and when


def test_every_method_of_the_libraries_is_found():
    assert RUN[2] <= set(NAMES)
    cams = {
        f"gradcam:{name}"
        for name, cls in vars(pytorch_grad_cam).items()
        if isinstance(cls, type) and issubclass(cls, pytorch_grad_cam.base_cam.BaseCAM)
    }
    assert cams <= set(NAMES)
    assert "gradcam:FinerCAM" in NAMES  # not a subclass of BaseCAM
    left = {name for name in captum.attr.__all__ if f"captum:{name}" not in NAMES}
    explained = {
        name
        for name in left
        if isinstance(cls := getattr(captum.attr, name), type)
        and issubclass(cls, captum.attr.Attribution)
        and hasattr(cls, "attribute")
        and not issubclass(cls, captum.attr.NeuronAttribution)
        and "LLM" not in name
    }
    assert explained == {
        "DataLoaderAttribution",
        "FeaturePermutation",
        "LayerFeaturePermutation",
        "LimeBase",
    }


def test_a_new_class_is_found_without_a_change(monkeypatch):
    class NewCAM(pytorch_grad_cam.GradCAM):
        """A method of a version to come."""

        def __init__(self, model, target_layers, reshape_transform=None, power=2.0):
            super().__init__(model, target_layers, reshape_transform)
            self.power = power

        def get_cam_weights(self, *given):
            return super().get_cam_weights(*given) ** self.power

    from napari_medxai.saliency import gradcam_adapter

    monkeypatch.setattr(pytorch_grad_cam, "NewCAM", NewCAM, raising=False)
    method = gradcam_adapter.found()["gradcam:NewCAM"]
    assert method.parameters["power"] == 2.0


def test_libraries_are_loaded_when_named_and_not_before():
    code = (
        "import sys\n"
        "from napari_medxai import saliency\n"
        "loaded = lambda: {'captum', 'pytorch_grad_cam'} & set(sys.modules)\n"
        "saliency.methods(), saliency.resolve('all'), saliency.get('xrai')\n"
        "assert not loaded(), loaded()\n"
        "saliency.get('captum:Saliency')\n"
        "assert loaded() == {'captum'}, loaded()\n"
        "saliency.resolve('gradcam:all')\n"
        "assert loaded() == {'captum', 'pytorch_grad_cam'}\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_a_library_that_is_missing_is_named(monkeypatch):
    from napari_medxai.saliency import adapters

    def missing(name):
        raise ImportError("no module named captum")

    monkeypatch.setattr(adapters.importlib, "import_module", missing)
    with pytest.raises(MethodError, match="pip install captum"):
        adapters.load("captum")


# They run


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_map_or_a_reason(name, dims, capfd):
    """Shape, type, seeds, batch = one by one, progress, silence; nothing left over."""
    network, x = plain(dims), images(2, 2, *(12, 10) if dims == 2 else (6, 6, 8))
    target, quick = torch.tensor([2, 0]), QUICK.get(name, {})
    calls, before = [], everything(network)

    def run(images, target, **more):
        return saliency.compute(name, network, images, target, **quick, **more)

    refusal = ""
    try:
        maps = run(x, target, progress=lambda *at: calls.append(at))
    except MethodError as error:
        refusal = str(error)
    assert everything(network) == before
    if refusal:
        assert name not in RUN[dims]
        assert refusal.startswith(f"{name}: ")
        assert len(refusal) > len(name) + 20
        assert "\n" not in refusal
        return
    assert maps.shape == (2, *x.shape[2:])
    assert maps.dtype == torch.float32
    assert torch.isfinite(maps).all()
    # Before global average pooling the gradient is the same everywhere.
    assert maps[0].max() > maps[0].min() or name == "captum:InternalInfluence"
    assert calls[-1][0] == calls[-1][1] > 0
    alone = torch.cat([run(x[i : i + 1], int(target[i])) for i in range(2)])
    torch.testing.assert_close(maps, alone, rtol=1e-4, atol=1e-6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_cancel_or_a_failure_leaves_nothing(name):
    network, x, quick = plain(), images(1, 2, 12, 10), QUICK.get(name, {})
    network.train()
    network.features[1].eval()
    network.features[0].weight.requires_grad_(False)
    network.head.bias.grad = torch.full_like(network.head.bias, 7.0)
    heard = []
    handle = network.features[4].register_forward_hook(lambda *_: heard.append(1))
    before = everything(network)
    total = []
    saliency.compute(
        name, network, x, 1, progress=lambda done, _: total.append(done), **quick
    )
    assert everything(network) == before
    for when in {total[0], total[len(total) // 2], total[-1]}:

        def cancel(done, _, when=when):
            if done >= when:
                raise Cancelled("stopped by the user")

        with pytest.raises(Cancelled, match="stopped by the user"):
            saliency.compute(name, network, x, 1, progress=cancel, **quick)
        assert everything(network) == before

    passes = []

    def fail(*_):
        passes.append(1)
        if len(passes) > fail.after:
            raise ZeroDivisionError("deep inside")

    failing = network.head.register_forward_hook(fail)
    with_it = everything(network)
    for fail.after in (1, 2):
        passes.clear()
        try:
            saliency.compute(name, network, x, 1, **quick)
        except MethodError as error:
            assert "ZeroDivisionError: deep inside" in str(error)  # noqa: PT017
        except ZeroDivisionError:
            pass  # in a pass of our own
        else:
            assert len(passes) <= fail.after
        assert everything(network) == with_it
    failing.remove()
    heard.clear()
    network(x)
    assert heard == [1]
    handle.remove()
    network(x)
    assert heard == [1]


def test_an_error_of_the_progress_is_not_the_library_s():
    def broken(done, total):
        raise KeyError("bar")

    with pytest.raises(KeyError, match="bar"):
        saliency.compute(
            "captum:Saliency", plain(), images(1, 2, 8, 8), 0, progress=broken
        )


# Parameters


def test_features_can_be_segments():
    x = images(1, 2, 32, 32) * 0.01
    x[..., :16] += 1
    parts = saliency.compute(
        "captum:FeatureAblation", plain(), x, 1, features="segments", patches=(2, 1)
    )
    assert len(torch.unique(parts[0, :, :12])) < 20
    left, right = parts[0, 16, 2], parts[0, 16, 30]
    assert float(left) != float(right)


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("captum:Occlusion", {"sliding_window_shapes": (2, 3, 4)}, "one number or 2"),
        ("captum:Occlusion", {"sliding_window_shapes": 40}, "larger than the image"),
        ("captum:Occlusion", {"strides": 0}, "strides must be a whole number"),
        ("captum:Occlusion", {"baselines": "black"}, "baseline must be"),
        ("captum:FeatureAblation", {"features": "faces"}, "'grid', 'segments'"),
        ("captum:FeatureAblation", {"patches": 0}, "patches must be"),
        ("captum:ShapleyValues", {"patches": 3}, "9 features, whose 9! orders"),
        ("captum:IntegratedGradients", {"n_steps": "many"}, "n_steps must be"),
        ("captum:IntegratedGradients", {"method": "simpson"}, "captum cannot run"),
        ("captum:NoiseTunnel", {"attribution_method": "Occlusion"}, "one of 'Integr"),
        ("captum:Saliency", {"reduce": "max"}, "'abs_sum', 'sum'"),
        ("captum:LayerGradCam", {"target_layer": "feature.4"}, "no layer 'feature.4'"),
        ("gradcam:FinerCAM", {"base_method": "NoCAM"}, "base_method must be one of"),
        ("gradcam:KPCA_CAM", {"kernel": "square"}, "pytorch_grad_cam cannot run"),
        ("gradcam:GradCAM", {"inputs": 3}, "no parameter 'inputs'"),
    ],
)
def test_bad_parameters_are_named(name, parameters, said):
    network = plain()
    before = everything(network)
    with pytest.raises(MethodError, match=said) as caught:
        saliency.compute(name, network, images(1, 2, 12, 10), 1, **parameters)
    assert str(caught.value).startswith(name)
    assert everything(network) == before


def test_networks_that_cannot_be_explained_are_refused():
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.SiLU(), nn.Linear(4, 2))
    x = images(1, 2, 2, 2)
    with pytest.raises(MethodError, match=r"GuidedBackprop: .*network has none"):
        saliency.compute("captum:GuidedBackprop", smooth, x, 1)
    with pytest.raises(MethodError, match=r"LRP: captum cannot run .*no rule"):
        saliency.compute("captum:LRP", smooth, x, 1)
    block = {"target_layer": "features"}
    nested = nn.Sequential()
    nested.add_module("features", nn.Sequential(plain()))
    with pytest.raises(MethodError, match=r"'features' .*returns"):
        saliency.compute("gradcam:GradCAM", nested, images(1, 2, 8, 8), 1, **block)
    with pytest.raises(MethodError, match="class 2 does not exist"):
        saliency.compute("captum:Saliency", smooth, x, 2)
    with pytest.raises(MethodError, match="NaN or infinite"):
        saliency.compute("captum:Saliency", smooth, x + torch.nan, 1)
    dead = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    dead[1].bias.data[:] = torch.inf
    with pytest.raises(MethodError, match="NaN or infinite"):
        saliency.compute("captum:Occlusion", dead, x, 1, sliding_window_shapes=1)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_traced_network_runs():
    x = images(1, 2, 12, 10)
    traced = torch.jit.trace(plain(inplace=False), x)
    got = saliency.compute("captum:Saliency", traced, x, 1)
    expected = saliency.compute("captum:Saliency", plain(), x, 1)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


class Overwriting(nn.Module):
    """Overwrites its feature map in place by a function, as DenseNet does."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 5, 3, padding=1)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        maps = nn.functional.relu(self.conv(x), inplace=True)
        return self.head(maps.mean(dim=(2, 3)))


class Keeping(Overwriting):
    """The same, beside its feature map."""

    def forward(self, x):
        return self.head(nn.functional.relu(self.conv(x)).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    "name",
    [
        "captum:LayerActivation",
        "captum:LayerIntegratedGradients",
        "captum:LayerDeepLift",
        "gradcam:AblationCAM",
        "gradcam:EigenCAM",
        "gradcam:ShapleyCAM",
    ],
)
def test_a_feature_map_that_is_overwritten_is_read_before(name):
    x = images(1, 2, 12, 10)
    got, expected = (
        saliency.compute(name, weighted(network), x, 1, target_layer="conv")
        for network in (Overwriting(), Keeping())
    )
    torch.testing.assert_close(got, expected)


def test_less_memory_means_smaller_batches():
    network, x = plain(), images(1, 2, 12, 10)
    sizes = []

    def limit(_, inputs):
        sizes.append(len(inputs[0]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    expected = saliency.compute("captum:FeatureAblation", network, x, 1, patches=3)
    handle = network.register_forward_pre_hook(limit)
    got = saliency.compute(
        "captum:FeatureAblation", network, x, 1, patches=3, batch_size=8
    )
    handle.remove()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)
    assert max(sizes) == 8
    assert sizes[-1] <= 3
