"""What a run does to the network and how it feeds it: state, batches, errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_medxai import saliency
from napari_medxai.errors import Cancelled, MethodError
from napari_medxai.saliency.network import Session

NETWORK_METHODS = tuple(
    name for name in saliency.methods() if saliency.get(name).needs_network
)
QUICK = {
    "smoothgrad": {"samples": 3},
    "smoothgrad_ig": {"samples": 2, "steps": 3},
    "integrated_gradients": {"steps": 4},
    "guided_ig": {"steps": 5},
    "blur_ig": {"steps": 4, "max_sigma": 3.0},
    "xrai": {"steps": 3, "min_pixel_diff": 5, "dilation": 1},
    "fast_xrai": {"steps": 3, "min_pixel_diff": 5, "dilation": 1},
}


class Small(nn.Module):
    """Two convolutions with in-place ReLU, batch norm and dropout, then a mean."""

    def __init__(self, channels=2, classes=3, dims=2, seed=0):
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
        self.features = nn.Sequential(
            conv(channels, 4, 3, padding=1),
            norm(4),
            nn.ReLU(inplace=True),
            conv(4, 5, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, classes)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5

    def forward(self, x):
        return self.head(self.drop(self.features(x).flatten(2).mean(2)))


def images(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def odd_state(network):
    """Set flags, requires_grad, .grad and a hook to a mixture; return what is held."""
    network.train()
    network.features[1].eval()
    network.features[0].weight.requires_grad_(False)
    network.head.bias.grad = torch.full_like(network.head.bias, 7.0)
    network.features[3].register_forward_hook(lambda *_: None)
    return snapshot(network)


def snapshot(network):
    return (
        [module.training for module in network.modules()],
        [p.requires_grad for p in network.parameters()],
        [None if p.grad is None else p.grad.tolist() for p in network.parameters()],
        [tuple(m._forward_hooks) for m in network.modules()],
        [tuple(m._backward_hooks) for m in network.modules()],
        {key: value.tolist() for key, value in network.state_dict().items()},
    )


@pytest.mark.parametrize("name", NETWORK_METHODS)
def test_state_after_success_cancel_and_failure(name):
    network = Small()
    before = odd_state(network)
    x = images(2, 2, 12, 12)
    kept = x.clone()
    saliency.compute(name, network, x, 1, **QUICK.get(name, {}))
    assert snapshot(network) == before
    assert torch.equal(x, kept)

    def cancel(done, total):
        if done * 2 >= total:
            raise Cancelled("stopped by the user")

    with pytest.raises(Cancelled, match="stopped by the user"):
        saliency.compute(name, network, x, 1, progress=cancel, **QUICK.get(name, {}))
    assert snapshot(network) == before

    def fail(*_):
        raise ZeroDivisionError

    handle = network.head.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        saliency.compute(name, network, x, 1, **QUICK.get(name, {}))
    handle.remove()
    assert snapshot(network) == before


@pytest.mark.parametrize("name", saliency.methods())
@pytest.mark.parametrize("dims", [2, 3])
def test_contract(name, dims):
    """Shape, type, device; batch = one by one; batch size and seeds; progress."""
    shape = (10, 12) if dims == 2 else (6, 8, 7)
    network = Small(dims=dims).double()
    x = images(3, 2, *shape).double()
    target = torch.tensor([2, 0, 1])
    quick = QUICK.get(name, {})
    calls = []
    together = saliency.compute(
        name,
        network,
        x,
        target,
        batch_size=2,
        progress=lambda done, total: calls.append((done, total)),
        **quick,
    )
    assert together.shape == (3, *shape)
    assert together.dtype == torch.float32
    assert together.device.type == "cpu"
    assert not together.requires_grad
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1][0] == calls[-1][1]
    alone = torch.cat(
        [
            saliency.compute(name, network, x[i : i + 1], int(target[i]), **quick)
            for i in range(3)
        ]
    )
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-7)
    again = saliency.compute(name, network, x, target, batch_size=2, **quick)
    assert torch.equal(together, again)
    if name in ("random", "smoothgrad", "smoothgrad_ig"):
        other = saliency.compute(name, network, x, target, seed=1, **quick)
        assert not torch.allclose(together, other)


def test_the_caller_may_have_gradients_off():
    network, x = Small(), images(1, 2, 12, 12)
    expected = saliency.compute("gradcam", network, x, 1)
    with torch.no_grad():
        assert torch.equal(saliency.compute("gradcam", network, x, 1), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        inside = saliency.compute("vanilla_gradient", network, x.clone(), 1)
    assert torch.equal(inside, saliency.compute("vanilla_gradient", network, x, 1))


def test_half_precision_network():
    network, x = Small(), images(1, 2, 12, 12)
    exact = saliency.compute("gradcam", network, x, 1)
    rough = saliency.compute("gradcam", network.bfloat16(), x, 1)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.05 * float(exact.max()))


def test_network_that_needs_contiguous_maps():
    class Viewing(Small):
        def forward(self, x):
            maps = self.features(x)
            return self.head(maps.view(len(x), 5, -1).mean(2))

    x = images(2, 2, 12, 12)
    for name in ("vanilla_gradient", "gradcam", "scorecam"):
        torch.testing.assert_close(
            saliency.compute(name, Viewing(), x, 1),
            saliency.compute(name, Small(), x, 1),
        )


def test_network_that_overwrites_its_input():
    class Overwriting(Small):
        def forward(self, x):
            return super().forward(x.mul_(2.0))

    class Twin(Small):
        def forward(self, x):
            return super().forward(x * 2.0)

    x = images(2, 2, 12, 12)
    kept = x.clone()
    for name in sorted({*NETWORK_METHODS} - {"xrai"}):
        quick = QUICK.get(name, {})
        torch.testing.assert_close(
            saliency.compute(name, Overwriting(), x, 1, **quick),
            saliency.compute(name, Twin(), x, 1, **quick),
        )
    assert torch.equal(x, kept)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_network():
    network, x = Small().eval(), images(1, 2, 12, 12)
    scripted = torch.jit.trace(network, x)
    torch.testing.assert_close(
        saliency.compute("vanilla_gradient", scripted, x, 1),
        saliency.compute("vanilla_gradient", network, x, 1),
    )
    frozen = torch.jit.freeze(scripted)
    torch.testing.assert_close(
        saliency.compute("vanilla_gradient", frozen, x, 1),
        saliency.compute("vanilla_gradient", network, x, 1),
    )


def test_probability_is_the_gradient_of_the_softmax():
    network, x = Small().double(), images(1, 2, 6, 6).double()
    got = saliency.compute(
        "vanilla_gradient", network, x, 2, score="probability", reduce="sum"
    )
    network.eval()
    leaf = x.clone().requires_grad_(True)
    logits = network(leaf)[0]
    probability = logits[2].exp() / logits.exp().sum()
    (gradient,) = torch.autograd.grad(probability, leaf)
    torch.testing.assert_close(got[0], gradient[0].sum(0).float())


@pytest.mark.parametrize(
    ("x", "target", "said"),
    [
        (torch.zeros(2, 12, 12), 0, "x must be a float tensor"),
        (torch.zeros(1, 2, 12, 12, dtype=torch.uint8), 0, "x must be a float tensor"),
        (torch.zeros(0, 2, 12, 12), 0, "empty"),
        (torch.full((1, 2, 12, 12), torch.inf), 0, "288 of 288 values of the image"),
        (torch.zeros(1, 2, 12, 12), 3, "class 3 does not exist"),
        (torch.zeros(1, 2, 12, 12), -1, "must not be negative"),
        (torch.zeros(2, 2, 12, 12), torch.tensor([0, 1, 2]), "there are 2 images"),
        (torch.zeros(1, 2, 12, 12), torch.tensor([0.0]), "integer type"),
    ],
)
def test_bad_input(x, target, said):
    for name in ("vanilla_gradient", "gradcam"):
        with pytest.raises(MethodError, match=f"{name}: .*{said}"):
            saliency.compute(name, Small(), x, target)


def test_bad_batch_size_and_module():
    x = torch.zeros(1, 2, 12, 12)
    with pytest.raises(MethodError, match="batch_size"):
        saliency.compute("gradcam", Small(), x, 0, batch_size=0)
    with pytest.raises(MethodError, match=r"needs a torch\.nn\.Module, got NoneType"):
        saliency.compute("gradcam", None, x, 0)


class Returning(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.layer = nn.Identity()

    def forward(self, x):
        return self.function(self.layer(x))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: (x.mean((2, 3)),), "but returned tuple"),
        (lambda x: x, r"but returned a tensor \(1, 2, 4, 4\)"),
        (lambda x: x.mean((2, 3)).repeat(2, 1), "2 rows for 1 images"),
        (lambda x: x.mean((2, 3)) / 0.0, "network's logits are NaN"),
        (lambda x: x.detach().mean((2, 3)), "carries no gradient"),
        (lambda x: (x - x).pow(0.5).mean((2, 3)), "gradient of the input"),
    ],
)
def test_bad_networks(function, said):
    with pytest.raises(MethodError, match=f"vanilla_gradient: .*{said}"):
        saliency.compute(
            "vanilla_gradient", Returning(function), torch.ones(1, 2, 4, 4), 0
        )


def test_single_output_has_no_softmax():
    network = Returning(lambda x: x.mean((2, 3)))
    x = torch.rand(1, 1, 4, 4)
    assert saliency.compute("vanilla_gradient", network, x, 0).shape == (1, 4, 4)
    for name, more in (
        ("vanilla_gradient", {"score": "probability"}),
        ("scorecam", {}),
    ):
        with pytest.raises(MethodError, match="single output"):
            saliency.compute(name, network, x, 0, **more)


def test_a_class_that_ignores_the_image_has_a_zero_gradient():
    network = Returning(lambda x: torch.stack([x.sum((1, 2, 3)), 0 * x[:, 0, 0, 0]], 1))
    got = saliency.compute("vanilla_gradient", network, torch.rand(1, 1, 4, 4), 1)
    assert got.abs().sum() == 0


def test_generator_follows_the_image_alone():
    x = images(2, 1, 4, 4)
    session = Session("random", None, seed=3)
    first = torch.rand(5, generator=session.generator(x[1]))
    again = torch.rand(5, generator=Session("random", None, seed=3).generator(x[1]))
    assert torch.equal(first, again)
    for other in (
        session.generator(x[0]),
        Session("random", None, seed=4).generator(x[1]),
        Session("smoothgrad", None, seed=3).generator(x[1]),
        session.generator(x[1].reshape(1, 2, 8)),
    ):
        assert not torch.equal(first, torch.rand(5, generator=other))
