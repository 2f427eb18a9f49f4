"""Networks with randomised weights: what is kept, what is lost, in which order."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from napari_medxai import saliency
from napari_medxai.errors import MethodError
from napari_medxai.models.architectures import build
from napari_medxai.saliency.randomised import cascade, randomised


class Blocks(nn.Module):
    """Registered from the head to the input, run the other way round."""

    def __init__(self, seed=0):
        super().__init__()
        self.head = nn.Linear(6, 5)
        self.late = nn.Sequential(
            nn.Conv2d(5, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU()
        )
        self.early = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5))
        self.unused = nn.Linear(4, 4)
        generator = torch.Generator().manual_seed(seed)
        for tensor in (*self.parameters(), self.late[1].running_mean):
            tensor.data = torch.randn(tensor.shape, generator=generator)
        self.late[1].running_var.uniform_(0.5, 2.0, generator=generator)

    def forward(self, x):
        x = self.late(torch.relu(self.early(x)))
        return self.head(x.flatten(2).mean(2))


class Attention(nn.Module):
    """A token of its own and PyTorch's attention, whose projection is not called."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.linspace(-1, 1, 8))
        self.embed = nn.Conv2d(1, 8, 4, stride=4)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.token
        x, _ = self.attend(x, x, x)
        return self.head(x.mean(1))


def pictures(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def weights(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def changed(network, before):
    after = network.state_dict()
    return {name for name, value in before.items() if not after[name].equal(value)}


def test_each_tensor_keeps_its_values_and_loses_their_places():
    network = Blocks()
    before = weights(network)
    after = weights(randomised(network, seed=0, images=pictures(2, 2, 8, 8)))
    assert list(after) == list(before)
    for name, value in before.items():
        assert not after[name].equal(value)
        assert sorted(after[name].flatten()) == sorted(value.flatten())


def test_seed_alone_decides():
    network, x = Blocks(), pictures(2, 2, 8, 8)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one = randomised(network, seed=3, images=x).state_dict()
    assert torch.random.get_rng_state().equal(state)
    torch.manual_seed(6)
    two = randomised(network, seed=3, images=x).state_dict()
    other = randomised(network, seed=4, images=x).state_dict()
    # Memory order is no part of the network.
    last = randomised(
        copy.deepcopy(network).to(memory_format=torch.channels_last), seed=3, images=x
    ).state_dict()
    for name, value in one.items():
        assert two[name].equal(value)
        assert last[name].allclose(value, atol=1e-6)
    assert not one["early.0.weight"].equal(other["early.0.weight"])


def test_original_is_left_as_it_was_and_the_copy_is_frozen():
    network = Blocks().train()
    network.early[1].eval()
    network.early[0].weight.requires_grad_(False)
    network.head.bias.grad = torch.ones(5)
    network.late.register_forward_hook(lambda *_: None)

    def snapshot():
        return (
            [m.training for m in network.modules()],
            [p.requires_grad for p in network.parameters()],
            [None if p.grad is None else p.grad.tolist() for p in network.parameters()],
            [tuple(m._forward_hooks) for m in network.modules()],
            [tuple(m._forward_pre_hooks) for m in network.modules()],
            {name: value.tolist() for name, value in network.state_dict().items()},
        )

    before, x = snapshot(), pictures(2, 2, 8, 8)
    kept = x.clone()
    with torch.inference_mode():
        made = randomised(network, seed=0, images=x)
        list(cascade(network, seed=0, images=x))
    assert snapshot() == before
    assert x.equal(kept)
    assert not any(m.training for m in made.modules())
    assert not any(p.requires_grad or p.is_inference() for p in made.parameters())
    assert all(p.grad is None for p in made.parameters())
    assert not any(m._forward_pre_hooks for m in made.modules())


def test_statistics_are_those_of_pytorch_in_training():
    """Batch normalisation in training mode, with all weight on the new batch."""
    x = pictures(3, 2, 8, 8)
    made = randomised(Blocks(), seed=0, images=x)
    slow = copy.deepcopy(made)
    for module in slow.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.momentum = 1.0
    with torch.no_grad():
        torch.testing.assert_close(made(x), slow(x))
    for name, count in (("early", 3 * 8 * 8), ("late", 3 * 4 * 4)):
        ours, theirs = getattr(made, name)[1], getattr(slow, name)[1]
        torch.testing.assert_close(ours.running_mean, theirs.running_mean)
        # PyTorch stores the unbiased variance and normalises by the biased one.
        expected = theirs.running_var * (count - 1) / count
        torch.testing.assert_close(ours.running_var, expected)


def test_a_channel_without_variance_does_not_explode():
    network = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 2)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0] * 6).view(3, 2, 1, 1))
        network[0].weight[:2] = 0.0
    x = pictures(2, 2, 4, 4)
    made = randomised(network, seed=0, images=x)
    dead = (made[0].weight == 0).flatten(1).all(1)
    assert dead.any()
    variance = made[1].running_var
    assert variance[dead].allclose(1e-3 * variance[~dead].sum() / 3, rtol=0.01)
    one = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6)).double()
    single = randomised(one, seed=0, images=pictures(1, 1, 2, 2).double())
    values = single[1](pictures(1, 4).double())
    assert torch.allclose(single[2].running_mean, values.mean())
    assert torch.allclose(single[2].running_var, values.var(correction=0))


def test_networks_without_statistics_need_no_images():
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Linear(4, 2))
    made = randomised(network, seed=0)
    assert changed(made, network.state_dict()) >= {"1.weight", "2.weight"}
    names = [name for name, _ in cascade(network, seed=0)]
    assert names == ["2", "1"]


def test_shared_weights_stay_shared():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4))
    network[2].weight = network[1].weight
    made = randomised(network, seed=0)
    assert made[2].weight is made[1].weight
    assert sorted(made[1].weight.flatten()) == sorted(network[1].weight.flatten())


@pytest.mark.parametrize(
    ("name", "shape", "dims"),
    [
        ("test_efficientnet", (1, 64, 64), 2),
        ("test_vit", (1, 160, 160), 2),
        ("test_resnet", (1, 64, 64), 2),
        ("monai:DenseNet", (1, 24, 24, 24), 3),
    ],
)
def test_signals_reach_the_logits_and_maps_are_not_empty(name, shape, dims):
    torch.manual_seed(0)
    if dims == 3:
        densenet = pytest.importorskip("monai.networks.nets").DenseNet
        network = densenet(3, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2))
    else:
        network = build(name, classes=3)
    x = pictures(4, *shape)
    filled = 0
    for seed in range(4):
        made = randomised(network, seed=seed, images=x)
        with torch.no_grad():
            logits = made(x)
        assert torch.isfinite(logits).all()
        assert logits.std(dim=0).min() > 1e-6
        assert logits.abs().max() < 1e3
        maps = saliency.compute("gradcam", made, x[:2], 0)
        filled += sum(saliency.map_concern(one) is None for one in maps)
    assert filled >= 6


# Cascade


def test_cascade_runs_from_the_head_to_the_input():
    network, x = Blocks(), pictures(2, 2, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seen, networks = [], []
    for name, made in cascade(network, seed=0, images=x, stages=9):
        seen.append((name, changed(made, before)))
        networks.append(made)
        with torch.no_grad():
            assert torch.isfinite(made(x)).all()
    names = [name for name, _ in seen]
    # The module that never runs changes nothing, and comes last.
    assert names == ["head", "late.1", "late.0", "early.1", "early.0", "unused"]
    assert seen[0][1] == {"head.weight", "head.bias"}
    # Below the part that is randomised, statistics stay as learned.
    assert not any(name.startswith("early") for name in seen[2][1])
    assert {"late.1.running_mean", "late.1.running_var"} <= seen[1][1]
    for (_, fewer), (_, more) in itertools.pairwise(seen):
        assert fewer <= more
    assert all(made is networks[0] for made in networks)
    whole = randomised(network, seed=0, images=x).state_dict()
    for name, value in networks[-1].state_dict().items():
        assert value.equal(whole[name]), name


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_number_of_stages(stages):
    network, x = Blocks(), pictures(2, 2, 8, 8)
    names = [name for name, _ in cascade(network, seed=0, images=x, stages=stages)]
    assert len(names) == stages
    assert names[0] == ("head" if stages > 1 else "early.0")
    assert names[-1] == "early.0"


def test_a_module_that_is_not_called_has_the_place_of_the_one_around_it():
    network = Attention()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = pictures(2, 1, 8, 8)
    stages = [
        (name, changed(made, before))
        for name, made in cascade(network, seed=0, images=x, stages=9)
    ]
    assert [name for name, _ in stages] == [
        "head",
        "attend.out_proj",
        "attend",
        "embed",
        "",
    ]
    assert stages[0][1] == {"head.weight", "head.bias"}
    assert "token" in stages[-1][1]
    assert "token" not in stages[-2][1]


def test_misuse_is_told_in_words():
    x = pictures(2, 2, 8, 8)
    with pytest.raises(MethodError, match="give a few images"):
        randomised(Blocks(), seed=0)
    with pytest.raises(MethodError, match="no weights"):
        randomised(nn.Flatten(), seed=0, images=x)
    with pytest.raises(MethodError, match="stages must be"):
        next(cascade(Blocks(), seed=0, images=x, stages=0))
    broken = Blocks()
    broken.head.weight.data[0, 0] = float("nan")
    with pytest.raises(MethodError, match="NaN or infinite"):
        randomised(broken, seed=0, images=x)
    locked = Blocks()
    locked.noise = torch.Generator()
    locked.lock = (i for i in range(3))
    with pytest.raises(MethodError, match="cannot be copied"):
        randomised(locked, seed=0, images=x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_works_unless_it_hides_its_statistics():
    x = pictures(2, 2, 8, 8)
    with pytest.raises(MethodError, match="TorchScript"):
        randomised(torch.jit.trace(Blocks().eval(), x), seed=0, images=x)
    plain = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(144, 3)).eval()
    scripted = torch.jit.trace(plain, x)
    stages = [
        (name, made(x).detach())
        for name, made in cascade(scripted, seed=0, images=x, stages=9)
    ]
    assert [name for name, _ in stages] == ["2", "0"]
    for (_, ours), (_, theirs) in zip(
        stages,
        [(name, made(x)) for name, made in cascade(plain, seed=0, images=x, stages=9)],
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
