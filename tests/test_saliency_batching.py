"""Batches by memory, halved when it runs out; precision; the layer to blame."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from napari_medxai import saliency
from napari_medxai.errors import MethodError
from napari_medxai.saliency.batching import (
    CPU_BUDGET,
    CPU_CAPS,
    batch_size,
    footprint,
    halving,
)

CPU = torch.device("cpu")
ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"
)


class Scarce(nn.Module):
    """A small network on a machine that has room for a few images only."""

    def __init__(self, room, text=ALLOCATOR):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        self.room, self.text, self.seen = room, text, []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.room:
            raise RuntimeError(self.text)
        return self.head(self.conv(x).relu().mean((2, 3)))


@pytest.fixture
def image():
    return torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [1, 3, 8, 100])
@pytest.mark.parametrize("room", [1, 2, 5, 100])
def test_halving_covers_everything_once_and_in_order(size, room):
    def work(part):
        if part.stop - part.start > room:
            raise MemoryError
        return list(range(part.start, part.stop))

    done = [number for _, numbers in halving(23, size, work) for number in numbers]
    assert done == list(range(23))


def test_halving_lets_other_errors_pass():
    def work(part):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(halving(4, 4, work))


@pytest.mark.parametrize("name", ["smoothgrad", "integrated_gradients", "scorecam"])
def test_memory_that_runs_out_halves_the_batch(name, image):
    plenty = saliency.compute(name, Scarce(1000), image, 1)
    scarce = Scarce(3)
    got = saliency.compute(name, scarce, image, 1, batch_size=16)
    torch.testing.assert_close(got, plenty, rtol=1e-5, atol=1e-7)
    assert max(scarce.seen) > 3  # it was tried


@pytest.mark.parametrize("name", ["vanilla_gradient", "scorecam", "gradcam"])
def test_no_room_for_a_single_image_is_said(name, image):
    with pytest.raises(MethodError, match=f"{name}: there is not enough memory on cpu"):
        saliency.compute(name, Scarce(0), image, 1, target_layer=layer_of(name))


def test_other_errors_of_the_network_pass(image):
    with pytest.raises(RuntimeError, match="a bug"):
        saliency.compute("vanilla_gradient", Scarce(0, "a bug"), image, 1)


def layer_of(name):
    return "conv" if name in ("scorecam", "gradcam") else None


def test_footprint_is_that_of_the_activations(image):
    network = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(500, 2)
    )
    calls = []

    def forward(x):
        calls.append(len(x))
        return network(x)

    found = footprint(network, image.expand(7, -1, -1, -1), forward)
    assert calls == [1]
    assert found.largest == 5 * 10 * 10 * 4
    # Two maps, the same flat, two logits; or 50 images where that is more.
    assert found.total == max(4 * (3 * 500 + 2), 50 * 144 * 4)
    assert footprint(network, image, forward) is found
    assert calls == [1]
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("gradient", [True, False])
def test_size_of_a_batch(gradient):
    class One:
        largest, total = 1000, 3000

    assert batch_size(One, CPU, gradient=gradient) == CPU_CAPS[gradient]
    One.largest = int(CPU_BUDGET) // 4 // 3
    One.total = int(CPU_BUDGET) // 3
    assert batch_size(One, CPU, gradient=gradient) == 3
    One.largest = One.total = 10**12
    assert batch_size(One, CPU, gradient=gradient) == 1


class Deep(nn.Module):
    def __init__(self, poison=None):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)
        if poison:
            self.get_submodule(poison).bias.data[0] = torch.nan

    def forward(self, x):
        x = self.second(self.first(x).relu()).relu()
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("layer", ["first", "second", "head"])
def test_error_names_the_layer_that_is_not_finite(layer, image):
    network = Deep(layer)
    with pytest.raises(MethodError, match=f"gradcam: .*from layer '{layer}' on"):
        saliency.compute("gradcam", network, image, 0, target_layer="second")
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    "name", ["vanilla_gradient", "integrated_gradients", "scorecam"]
)
def test_bfloat16_is_near_and_leaves_the_network_alone(name, image):
    network = Deep()
    exact = saliency.compute(name, network, image, 0)
    near = saliency.compute(name, network, image, 0, precision="bf16")
    assert near.dtype == torch.float32
    assert not torch.equal(near, exact)
    assert spearmanr(near.ravel(), exact.ravel()).statistic > 0.98
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    with pytest.raises(MethodError, match="precision must be 'fp32' or 'bf16'"):
        saliency.compute(name, network, image, 0, precision="fp16")


GLIBC = """
import ctypes, sys
from napari_medxai.saliency.allocator import keep_freed_memory
if sys.platform.startswith("linux"):
    print(keep_freed_memory(), keep_freed_memory())
"""


@pytest.mark.parametrize(("name", "expected"), [("OTHER", True), ("TRIM", False)])
def test_allocator_is_asked_unless_the_user_has(name, expected):
    libc = platform.libc_ver()[0]
    if libc != "glibc":
        pytest.skip(f"the C library is {libc or platform.system()}, not glibc")
    settings = {f"MALLOC_{name}_THRESHOLD_": "1000000"}
    done = subprocess.run(
        [sys.executable, "-c", GLIBC],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(expected)] * 2
