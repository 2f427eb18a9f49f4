"""Recipro-CAM and Score-CAM of a few channels: definition, and agreement."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from napari_medxai import saliency


def network(dims=2):
    torch.manual_seed(4)
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    pool = nn.MaxPool2d if dims == 2 else nn.MaxPool3d
    mean = nn.AdaptiveAvgPool2d if dims == 2 else nn.AdaptiveAvgPool3d
    return nn.Sequential(
        conv(2, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        pool(2),
        conv(6, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        mean(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()


def slow_recipro(net, image, target, *, gaussian):
    """Cut the network in two; one position at a time, by loops."""
    with torch.no_grad():
        features = net[:5](image[None])[0]
        grid = features.shape[1:]
        scores = torch.zeros(grid)
        for position in itertools.product(*map(range, grid)):
            kept = torch.zeros_like(features)
            for place in itertools.product(*map(range, grid)):
                steps = [abs(a - b) for a, b in zip(place, position, strict=True)]
                if max(steps) > (1 if gaussian else 0):
                    continue
                weight = 1.0
                for step in steps if gaussian else []:
                    weight *= 0.25 if step else 0.5
                kept[(slice(None), *place)] = weight * features[(slice(None), *place)]
            scores[position] = net[5:](kept[None]).softmax(1)[0, target]
    mode = "bilinear" if image.ndim == 3 else "trilinear"
    return F.interpolate(scores[None, None], image.shape[1:], mode=mode)[0, 0]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("gaussian", [True, False])
def test_recipro_cam(dims, gaussian):
    net = network(dims)
    x = torch.randn(2, 2, *(10, 12, 8)[:dims])
    got = saliency.compute(
        "recipro_cam", net, x, torch.tensor([3, 1]), gaussian=gaussian, batch_size=4
    )
    for image, target, result in zip(x, (3, 1), got, strict=True):
        expected = slow_recipro(net, image, target, gaussian=gaussian)
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-6)
    assert not any(module._forward_hooks for module in net.modules())


def test_recipro_cam_of_tokens_keeps_the_class_token():
    """A transformer of one linear layer over the tokens, class token first."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", img_size=48, num_classes=3).eval()
    x = torch.randn(1, 3, 48, 48)
    layer = saliency.find_target_layer(net, x)
    got = saliency.compute("recipro_cam", net, x, 1, gaussian=False)
    module, scores = net.get_submodule(layer), torch.zeros(3, 3)
    for index in range(9):

        def keep(_, __, output, index=index):
            kept = torch.zeros_like(output)
            kept[:, [0, 1 + index]] = output[:, [0, 1 + index]]
            return kept

        handle = module.register_forward_hook(keep)
        with torch.no_grad():
            scores[index // 3, index % 3] = net(x).softmax(1)[0, 1]
        handle.remove()
    expected = F.interpolate(scores[None, None], (48, 48), mode="bilinear")[0, 0]
    torch.testing.assert_close(got[0], expected, rtol=1e-4, atol=1e-6)


def slow_scorecam(net, image, target, channels):
    """Channel by channel, as the authors do, of the channels that vary most."""
    with torch.no_grad():
        features = net[:5](image[None])[0]
        spread = [float(one.var()) for one in features]
        best = sorted(range(len(features)), key=lambda c: -spread[c])[:channels]
        mode = "bilinear" if image.ndim == 3 else "trilinear"
        total = torch.zeros(image.shape[1:])
        for channel in sorted(best):
            if spread[channel] == 0:
                continue
            shape = image.shape[1:]
            up = F.interpolate(features[channel][None, None], shape, mode=mode)[0, 0]
            mask = (up - up.min()) / (up.max() - up.min())
            total += net((image * mask)[None]).softmax(1)[0, target] * up
    return total.relu()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 3, 100])
def test_scorecam_of_the_strongest_channels(dims, channels):
    net = network(dims)
    x = torch.randn(2, 2, *(10, 12, 8)[:dims])
    target = torch.tensor([3, 1])
    got = saliency.compute("scorecam_topk", net, x, target, channels=channels)
    for image, k, result in zip(x, (3, 1), got, strict=True):
        expected = slow_scorecam(net, image, k, channels)
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-6)
    if channels == 100:
        whole = saliency.compute("scorecam", net, x, target)
        torch.testing.assert_close(got, whole, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("variant", ["authors", "gradcam"])
def test_equal_channels_are_scored_once(variant):
    net = network()
    x = torch.randn(1, 2, 10, 12)
    convolution = net[3]
    # Three channels alike, two that are dead.
    for channel in (4, 6):
        convolution.weight.data[channel] = convolution.weight.data[1]
        convolution.bias.data[channel] = convolution.bias.data[1]
    for channel in (2, 7):
        convolution.bias.data[channel] = -1e3
    seen = []
    handle = net.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    options = {"target_layer": "4", "variant": variant, "batch_size": 1}
    got = saliency.compute("scorecam", net, x, 1, **options)
    handle.remove()
    # The named layer is looked at, the activations read; then 0, 1, 3, 5 and, where
    # no channel is skipped, the dead ones.
    assert len(seen) == 2 + 4 + (variant == "gradcam")
    if variant == "authors":
        expected = slow_scorecam(net, x[0], 1, 8)
        torch.testing.assert_close(got[0], expected, rtol=1e-4, atol=1e-6)


def test_approximations_say_so():
    named = {
        name: saliency.get(name).approximates
        for name in saliency.methods()
        if saliency.get(name).approximates
    }
    assert named == {
        "fast_xrai": "xrai",
        "scorecam_topk": "scorecam",
        "recipro_cam": "scorecam",
    }
