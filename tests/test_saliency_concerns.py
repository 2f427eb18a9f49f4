"""Empty and constant maps, and maps that do not depend on the class, are noticed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_medxai import saliency

METHODS = tuple(n for n in saliency.methods() if saliency.get(n).needs_network)


class Net(nn.Module):
    """A small network; where `alike` all classes have the same weights."""

    def __init__(self, *, alike):
        super().__init__()
        torch.manual_seed(2)
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)
        self.head.weight.data.abs_()
        if alike:
            self.head.weight.data[:] = self.head.weight.data[0]

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))


@pytest.fixture
def image():
    return torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_cannot_tell_the_classes_is_noticed(name, image):
    same = saliency.class_concern(name, Net(alike=True), image, 0, 2)
    differs = saliency.class_concern(name, Net(alike=False), image, 0, 2)
    assert differs is None
    if name in ("scorecam", "scorecam_topk", "recipro_cam"):
        # Their weights are probabilities, which differ by the bias.
        assert same is None
        net = Net(alike=True)
        net.head.bias.data[:] = 0.0
        same = saliency.class_concern(name, net, image, 0, 2)
    assert same == "the map is the same for another class"


@pytest.mark.parametrize("name", ["random", "edge", "center"])
def test_methods_that_look_at_no_network_are_not_asked(name, image):
    assert saliency.class_concern(name, None, image, 0, 1) is None


def test_empty_and_constant_maps(image):
    net = Net(alike=False)
    net.conv.bias.data[:] = -100.0
    dead = saliency.compute("gradcam", net, image, 0)[0]
    assert saliency.map_concern(dead) == "the map is empty: zero everywhere"
    assert saliency.class_concern("gradcam", net, image, 0, 1) is None
    assert saliency.map_concern(torch.full((3, 4), 2.0)) == "the map is constant"
    assert saliency.map_concern(image[0, 0]) is None


def test_it_costs_a_few_passes(image):
    net, seen = Net(alike=False), []
    net.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    for name in METHODS:
        seen.clear()
        saliency.class_concern(name, net, image, 0, 1)
        # Recipro-CAM has one for each position: 16 x 16 here.
        assert sum(seen) <= (2 * 16 if name != "recipro_cam" else 2 * 270), name
