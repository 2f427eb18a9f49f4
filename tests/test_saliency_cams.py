"""Class activation maps on networks whose answer can be computed on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_medxai import saliency
from napari_medxai.errors import MethodError


class Crafted(nn.Module):
    """Feature maps are the image; logit k is Σ G[k]·A: its gradient is G[k]."""

    def __init__(self, gradients, bias=0.0):
        super().__init__()
        self.layer = nn.Identity()
        self.gradients = nn.Parameter(gradients)
        self.bias = bias

    def forward(self, x):
        maps = self.layer(x)
        logits = torch.einsum("bc...,kc...->bk", maps, self.gradients)
        return logits + self.bias


def crafted(batch, classes, channels, shape, *, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(batch, channels, *shape)))
    g = torch.from_numpy(rng.normal(0, scale, size=(classes, channels, *shape)))
    return x, g


def slow_gradcam(maps, gradient):
    cam = np.zeros(maps.shape[1:])
    for a, g in zip(maps, gradient, strict=True):
        cam += g.mean() * a
    return np.maximum(cam, 0)


def slow_gradcam_pp(maps, gradient):
    """Eq. 19, position by position."""
    cam = np.zeros(maps.shape[1:])
    for a, g in zip(maps, gradient, strict=True):
        weight = 0.0
        for position in np.ndindex(g.shape):
            slope = float(g[position])
            denominator = 2 * slope**2 + float(a.sum()) * slope**3
            if slope != 0 and denominator != 0:
                weight += slope**2 / denominator * max(slope, 0.0)
        cam += weight * a
    return np.maximum(cam, 0)


SLOW = {"gradcam": slow_gradcam, "gradcam_pp": slow_gradcam_pp}


def close(got, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(
        got.numpy(), expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", ["gradcam", "gradcam_pp"])
@pytest.mark.parametrize(
    ("batch", "shape", "scale", "bias"),
    [
        (1, (4, 5), 1.0, 0.0),
        (5, (4, 5), 1.0, 0.0),  # as many images as the map is wide
        (3, (2, 3, 4), 1.0, 0.0),
        (4, (2, 3, 4), 1.0, 0.0),
        (2, (4, 4), 1e-4, 0.0),  # a saturated classifier
        (2, (4, 4), 1e-12, 0.0),
        (2, (4, 4), 50.0, 1e4),  # logits whose exponential overflows
    ],
)
def test_crafted_maps_and_gradients(name, batch, shape, scale, bias):
    x, g = crafted(batch, 3, 4, shape, scale=scale)
    g[1, 2].flatten()[:3] = 0.0
    target = torch.arange(batch) % 3
    got = saliency.compute(
        name, Crafted(g, bias), x, target, target_layer="layer", batch_size=3
    )
    expected = [
        SLOW[name](x[i].numpy(), g[int(target[i])].numpy()) for i in range(batch)
    ]
    assert max(e.max() for e in expected) > 0
    close(got, expected)


def test_gradcam_pp_weight_at_a_tiny_gradient():
    """One position, |g| = 1e-4, A = 1: α = 1 / (2 + 1e-4), not 0.0098."""
    g = torch.zeros(2, 1, 1, 2, dtype=torch.float64)
    g[1, 0, 0, 0] = 1e-4
    x = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    got = saliency.compute("gradcam_pp", Crafted(g), x, 1, target_layer="layer")
    assert float(got[0, 0, 0]) == pytest.approx(1e-4 / (2 + 1e-4), rel=1e-5)
    assert float(got[0, 0, 1]) == 0.0


def test_gradcam_pp_where_the_denominator_vanishes():
    """ΣA·g = -2 makes it 0; that position counts nothing."""
    g = torch.tensor([[[[1.0, 2.0]]], [[[0.0, 0.0]]]], dtype=torch.float64)
    x = torch.tensor([[[[-3.0, 1.0]]]], dtype=torch.float64)
    got = saliency.compute("gradcam_pp", Crafted(g), x, 0, target_layer="layer")
    # ΣA = -2: α(1) is 0 / 0, α(2) = 1 / (2 - 4) = -1/2, the weight -1/2 · 2 = -1.
    assert got[0].tolist() == [[3.0, 0.0]]


def slow_resize(image, shape, *, align_corners=False):
    """Linear interpolation, pixel by pixel, axis by axis."""
    result = np.zeros(shape)
    for position in np.ndindex(*shape):
        corners = [((), 1.0)]
        for p, new, old in zip(position, shape, image.shape, strict=True):
            if align_corners:
                place = p * (old - 1) / (new - 1) if new > 1 else 0.0
            else:
                place = max((p + 0.5) * old / new - 0.5, 0.0)
            low = min(int(np.floor(place)), old - 1)
            high, share = min(low + 1, old - 1), place - low
            corners = [
                ((*index, at), weight * part)
                for index, weight in corners
                for at, part in ((low, 1 - share), (high, share))
            ]
        result[position] = sum(weight * image[index] for index, weight in corners)
    return result


class Pooled(nn.Module):
    """Average pooling by 2, a 1x1 convolution and ReLU, then a mean and a linear."""

    def __init__(self, dims, *, inplace=False, channels=2, features=4):
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.pool = (nn.AvgPool2d if dims == 2 else nn.AvgPool3d)(2)
        self.conv = conv(channels, features, 1)
        self.act = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(features, 3)
        self.double()
        rng = np.random.default_rng(dims)
        for parameter in self.parameters():
            parameter.data = torch.from_numpy(rng.normal(size=tuple(parameter.shape)))

    def forward(self, x):
        maps = self.act(self.conv(self.pool(x)))
        return self.head(maps.flatten(2).mean(2))

    def slow_maps(self, image):
        """Feature maps (C', *spatial') after the ReLU."""
        half = tuple(size // 2 for size in image.shape[1:])
        pooled = np.zeros((len(image), *half))
        for position in np.ndindex(*half):
            window = tuple(slice(2 * p, 2 * p + 2) for p in position)
            for channel in range(len(image)):
                pooled[(channel, *position)] = image[channel][window].mean()
        weight = self.conv.weight.detach().numpy().reshape(4, -1)
        maps = np.tensordot(weight, pooled, axes=1)
        bias = self.conv.bias.detach().numpy().reshape(-1, *[1] * len(half))
        return np.maximum(maps + bias, 0)

    def slow_logits(self, image):
        means = self.slow_maps(image).reshape(4, -1).mean(1)
        return (
            self.head.weight.detach().numpy() @ means + self.head.bias.detach().numpy()
        )


SHAPES = {2: (6, 8), 3: (4, 6, 4)}


def pooled_case(dims, batch=2):
    x = np.random.default_rng(dims).normal(size=(batch, 2, *SHAPES[dims]))
    return Pooled(dims), x


@pytest.mark.parametrize("dims", [2, 3])
def test_gradcam_upsampled(dims):
    network, x = pooled_case(dims)
    got = saliency.compute(
        "gradcam", network, torch.from_numpy(x), torch.tensor([1, 2])
    )
    for index, k in enumerate((1, 2)):
        maps = network.slow_maps(x[index])
        positions = maps[0].size
        weights = network.head.weight.detach().numpy()[k] / positions
        gradient = np.ones(maps.shape) * weights.reshape(-1, *[1] * dims)
        close(got[index], slow_resize(slow_gradcam(maps, gradient), x.shape[2:]))


def slow_scorecam(network, image, k, maps, variant):
    corners = variant == "gradcam"
    shape = image.shape[1:]
    weights, kept = [], []
    for a in maps:
        if variant == "authors" and a.max() == a.min():
            continue
        mask = slow_resize(a, shape, align_corners=corners)
        if corners:
            mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
        else:
            mask = (mask - mask.min()) / (mask.max() - mask.min())
        logits = network.slow_logits(image * mask)
        if corners:
            weights.append(logits[k])
        else:
            weights.append(np.exp(logits[k]) / np.exp(logits).sum())
        kept.append(a)
    weights = np.array(weights)
    if corners:
        weights = np.exp(weights) / np.exp(weights).sum()
        cam = np.maximum(np.tensordot(weights, np.array(kept), axes=1), 0)
        return slow_resize(cam, shape)
    cam = np.zeros(shape)
    for weight, a in zip(weights, kept, strict=True):
        cam += weight * slow_resize(a, shape)
    return np.maximum(cam, 0)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("variant", ["authors", "gradcam"])
def test_scorecam(dims, variant):
    network, x = pooled_case(dims)
    network.conv.weight.data[2] = 0.0  # a flat channel that is not zero
    network.conv.bias.data[2] = 1.5
    network.conv.weight.data[3] = 0.0  # and one that is
    network.conv.bias.data[3] = -1.0
    calls = []
    got = saliency.compute(
        "scorecam",
        network,
        torch.from_numpy(x),
        torch.tensor([0, 2]),
        variant=variant,
        batch_size=3,
        progress=lambda *call: calls.append(call),
    )
    # Constant channels are skipped, or scored once.
    live = 2 if variant == "authors" else 3
    assert calls[-1] == (1 + 2 + 2 * live, 1 + 2 + 2 * live)
    for index, k in enumerate((0, 2)):
        expected = slow_scorecam(
            network, x[index], k, network.slow_maps(x[index]), variant
        )
        close(got[index], expected)


def test_scorecam_without_a_live_channel_is_zero():
    network, x = pooled_case(2)
    network.conv.weight.data.zero_()
    got = saliency.compute("scorecam", network, torch.from_numpy(x), 0)
    assert got.abs().max() == 0


@pytest.mark.parametrize("name", ["gradcam", "gradcam_pp", "scorecam"])
@pytest.mark.parametrize("layer", ["conv", "act", None])
def test_in_place_relu_changes_nothing(name, layer):
    plain, inplace = Pooled(2), Pooled(2, inplace=True)
    _, x = pooled_case(2)
    results = [
        saliency.compute(name, network, torch.from_numpy(x), 1, target_layer=layer)
        for network in (plain, inplace)
    ]
    assert torch.equal(*results)
    assert results[0].max() > 0
    if layer == "conv":  # before the ReLU there are negative activations
        after = saliency.compute(
            name, plain, torch.from_numpy(x), 1, target_layer="act"
        )
        assert not torch.allclose(results[0], after)


# The target layer


def test_found_layer_is_the_last_map_before_pooling():
    x = torch.rand(2, 2, 16, 16)
    assert saliency.find_target_layer(Pooled(2).float(), x) == "act"
    layers = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d((2, 2)),
        nn.Identity(),
        nn.Flatten(),
        nn.Linear(12, 2),
    )
    assert saliency.find_target_layer(layers, x) == "2"
    nested = nn.Sequential(nn.Sequential(layers[0], layers[3]), *layers[5:])
    assert saliency.find_target_layer(nested, x) == "0.0"
    to_one = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()),
        nn.Conv2d(3, 4, 14),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    assert saliency.find_target_layer(to_one, x) == "0"


def test_found_layer_follows_execution_not_definition():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Conv2d(3, 4, 1)
            self.first = nn.Conv2d(2, 3, 1)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.last(self.first(x)).mean((2, 3)))

    assert saliency.find_target_layer(Backwards(), torch.rand(1, 2, 4, 4)) == "last"


class Tokens(nn.Module):
    """A patch embedding followed by tokens, as in a vision transformer."""

    def __init__(self, channels_last):
        super().__init__()
        self.patches = nn.Conv2d(2, 32, 4, stride=4)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 2)
        self.channels_last = channels_last

    def forward(self, x):
        maps = self.patches(x).movedim(1, -1)
        if not self.channels_last:
            maps = maps.flatten(1, 2)
        return self.head(self.norm(maps).flatten(1, -2).mean(1))


@pytest.mark.parametrize("channels_last", [False, True])
def test_tokens_are_read_as_the_grid_of_their_patches(channels_last):
    network, x = Tokens(channels_last), torch.rand(1, 2, 16, 16)
    assert saliency.find_target_layer(network, x) == "norm"
    for name in ("gradcam", "gradcam_pp", "scorecam"):
        found = saliency.compute(name, network, x, 0)
        assert found.shape == (1, 16, 16)
        again = saliency.compute(name, network, x, 0, target_layer="norm")
        assert torch.equal(found, again)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("convv", "no layer 'convv' .*did you mean 'conv'"),
        ("head", "not a feature map"),
        ("spare", "'spare' did not run"),
        ("", "not a feature map"),
    ],
)
def test_unfit_target_layers(layer, said):
    network, x = pooled_case(2)
    network.spare = nn.Identity()
    for name in ("gradcam", "gradcam_pp", "scorecam"):
        with pytest.raises(MethodError, match=f"{name}: .*{said}"):
            saliency.compute(name, network, torch.from_numpy(x), 0, target_layer=layer)


def test_no_feature_map_at_all():
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    for name in ("gradcam", "scorecam"):
        with pytest.raises(MethodError, match=f"{name}: no module"):
            saliency.compute(name, network, torch.rand(1, 2, 2, 2), 0)


def test_other_methods_take_no_notice_of_the_layer():
    network, x = pooled_case(2)
    got = saliency.compute(
        "vanilla_gradient", network, torch.from_numpy(x), 0, target_layer="nowhere"
    )
    assert torch.equal(
        got, saliency.compute("vanilla_gradient", network, torch.from_numpy(x), 0)
    )


def test_not_finite_activations_and_gradients_name_the_layer():
    class Root(nn.Module):
        def __init__(self, offset):
            super().__init__()
            self.layer = nn.Identity()
            self.offset = offset

        def forward(self, x):
            maps = self.layer(x - self.offset)
            return maps.sqrt().nan_to_num(0.0, 0.0, 0.0).flatten(2).mean(2)

    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Hardtanh()

        def forward(self, x):
            maps = self.layer(x) * 1.0
            return maps.nan_to_num(0.0).flatten(2).mean(2)

    x = torch.ones(1, 2, 4, 4)
    with pytest.raises(MethodError, match=r"gradcam: .*gradient at 'layer'"):
        saliency.compute("gradcam", Root(1.0), x, 0, target_layer="layer")
    broken = Broken()
    broken.layer.register_forward_hook(lambda *_: torch.full((1, 2, 4, 4), torch.nan))
    for name in ("gradcam", "gradcam_pp", "scorecam"):
        with pytest.raises(MethodError, match=f"{name}: .*activations of 'layer'"):
            saliency.compute(name, broken, x, 0, target_layer="layer")


def test_a_layer_called_twice_counts_its_last_call():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU(inplace=True)
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return self.act(self.conv(self.act(x.clone()))).mean((2, 3))

    network = Shared().double()
    x = torch.rand(1, 2, 4, 4, dtype=torch.float64)
    network.conv.weight.data = torch.tensor([[1.0, 0.5], [0.2, 2.0]]).double()[
        ..., None, None
    ]
    got = saliency.compute("gradcam", network, x, 0)
    expected = network.act(network.conv(x))[0, 0] / 16
    torch.testing.assert_close(got[0], expected.detach().float())
