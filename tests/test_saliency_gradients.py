"""Gradient and path methods against slow second implementations.

The second implementations use numpy, plain loops and finite differences in float64;
they share no code with the package.
"""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
import torch
from torch import nn

from napari_medxai import saliency

CHANNELS = 2
SHAPES = {2: (5, 6), 3: (3, 4, 5)}


class Smooth(nn.Module):
    """A smooth network in float64: convolution, tanh, convolution, tanh, linear."""

    def __init__(self, dims):
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.first = conv(CHANNELS, 3, 3, padding=1)
        self.second = conv(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        self.double()
        generator = np.random.default_rng(dims)
        for parameter in self.parameters():
            values = generator.normal(0, 0.5, tuple(parameter.shape))
            parameter.data = torch.from_numpy(values)

    def forward(self, x):
        maps = self.second(self.first(x).tanh()).tanh()
        return self.head(maps.flatten(2).sum(2))


@pytest.fixture(params=[2, 3])
def case(request):
    dims = request.param
    values = np.random.default_rng(10 + dims).normal(size=(2, CHANNELS, *SHAPES[dims]))
    # Few bits, so that float32 holds the images exactly.
    x = np.round(values * 64) / 64
    return Smooth(dims), x, np.array([2, 0])


def score_of(network, target, kind="logit"):
    def score(images):
        with torch.no_grad():
            logits = network(torch.from_numpy(images)).numpy()
        if kind == "probability":
            logits = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return logits[:, target]

    return score


def slow_gradient(score, image, step=1e-5):
    """Central differences, one feature at a time."""
    points = []
    for index in np.ndindex(image.shape):
        for sign in (1, -1):
            moved = image.copy()
            moved[index] += sign * step
            points.append(moved)
    values = score(np.stack(points))
    return ((values[0::2] - values[1::2]) / (2 * step)).reshape(image.shape)


def slow_reduce(attribution, reduce):
    result = np.zeros(attribution.shape[1:])
    for channel in attribution:
        result += np.abs(channel) if reduce == "abs_sum" else channel
    return result


def close(got, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(
        got.numpy(), expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max()
    )


def compute(name, case, **parameters):
    network, x, target = case
    return saliency.compute(
        name, network, torch.from_numpy(x), torch.from_numpy(target), **parameters
    )


@pytest.mark.parametrize("kind", ["logit", "probability"])
@pytest.mark.parametrize("reduce", ["abs_sum", "sum"])
def test_vanilla_gradient(case, kind, reduce):
    network, x, target = case
    expected = [
        slow_reduce(slow_gradient(score_of(network, k, kind), image), reduce)
        for image, k in zip(x, target, strict=True)
    ]
    close(compute("vanilla_gradient", case, score=kind, reduce=reduce), expected)


def slow_noise(image, samples, seed):
    """Gaussian noise seeded by the image's bytes."""
    single = np.ascontiguousarray(image, dtype="<f4")
    text = f"{seed}|smoothgrad|{single.shape}|".encode()
    number = int.from_bytes(sha256(text + single.tobytes()).digest()[:8], "little")
    generator = torch.Generator().manual_seed(number & (2**63 - 1))
    return [
        torch.randn(image.shape, generator=generator).double().numpy()
        for _ in range(samples)
    ]


@pytest.mark.parametrize("magnitude", [True, False])
def test_smoothgrad(case, magnitude):
    network, x, target = case
    expected = []
    for image, k in zip(x, target, strict=True):
        deviation = 0.2 * (image.max() - image.min())
        total = np.zeros(image.shape)
        for draw in slow_noise(image, 5, seed=9):
            g = slow_gradient(score_of(network, k), image + deviation * draw)
            total += g * g if magnitude else g
        expected.append(slow_reduce(total / 5, "sum"))
    got = compute(
        "smoothgrad",
        case,
        samples=5,
        noise=0.2,
        magnitude=magnitude,
        seed=9,
        reduce="sum",
        batch_size=2,
    )
    close(got, expected)


def test_smoothgrad_without_noise_is_the_gradient(case):
    plain = compute("vanilla_gradient", case)
    calm = compute("smoothgrad", case, samples=2, noise=0.0, magnitude=False)
    torch.testing.assert_close(calm, plain)


def slow_integrated_gradients(score, image, baseline, steps):
    total = np.zeros(image.shape)
    for index in range(steps):
        alpha = index / (steps - 1)
        total += slow_gradient(score, baseline + alpha * (image - baseline))
    return total * (image - baseline) / steps


@pytest.mark.parametrize("kind", ["logit", "probability"])
@pytest.mark.parametrize("value", [0.0, -1.25])
def test_integrated_gradients(case, kind, value):
    network, x, target = case
    expected = [
        slow_reduce(
            slow_integrated_gradients(
                score_of(network, k, kind), image, np.full(image.shape, value), 7
            ),
            "abs_sum",
        )
        for image, k in zip(x, target, strict=True)
    ]
    got = compute(
        "integrated_gradients", case, steps=7, baseline=value, score=kind, batch_size=3
    )
    close(got, expected)


def test_integrated_gradients_complete(case):
    """The sum of the attributions is the score's difference, for many steps."""
    network, x, target = case
    got = compute(
        "integrated_gradients", case, steps=2000, reduce="sum", batch_size=500
    )
    for index, k in enumerate(target):
        score = score_of(network, k)
        difference = score(x[index : index + 1])[0] - score(0 * x[index : index + 1])[0]
        assert float(got[index].sum()) == pytest.approx(difference, rel=1e-2)


def test_baseline_images_of_each_shape(case):
    _, x, _ = case
    torch.testing.assert_close(
        compute("integrated_gradients", case, baseline=torch.tensor(0.5)),
        compute("integrated_gradients", case, baseline=0.5),
    )
    channel = torch.tensor([0.25, -0.5]).reshape(-1, *[1] * (x.ndim - 2))
    whole = channel.expand(x.shape)
    for name, more in (("integrated_gradients", {}), ("guided_ig", {"steps": 3})):
        torch.testing.assert_close(
            compute(name, case, baseline=channel, **more),
            compute(name, case, baseline=whole, **more),
        )
    zero = compute("integrated_gradients", case, baseline=torch.from_numpy(x))
    assert zero.abs().max() == 0


def slow_guided_ig(score, image, baseline, steps, fraction, max_dist):
    """Algorithm of Kapishnikov et al. 2021 with bounded deviation, feature lists."""
    shape = image.shape
    end, start = image.ravel(), baseline.ravel()
    x, attribution = start.copy(), np.zeros(end.size)
    whole = sum(abs(e - s) for e, s in zip(end, start, strict=True))
    if whole == 0:
        return attribution.reshape(shape)
    for step in range(1, steps + 1):
        gradient = slow_gradient(score, x.reshape(shape)).ravel()
        low = max(step / steps - max_dist, 0.0)
        high = min(step / steps + max_dist, 1.0)
        frozen = set()
        while True:
            old = x.copy()
            for i in range(end.size):
                way = end[i] - start[i]
                if way != 0 and (x[i] - start[i]) / way < low:
                    x[i] = start[i] + way * low
            distance = np.abs(x - end).sum()
            goal = whole * (1 - step / steps)
            if abs(distance - goal) <= 1e-9 * max(1.0, distance, goal):
                attribution += (x - old) * gradient
                break
            top = start + (end - start) * high
            frozen |= {i for i in range(end.size) if x[i] == top[i]}
            size = [
                np.inf if i in frozen else abs(gradient[i]) for i in range(end.size)
            ]
            limit = sorted(size)[int(np.floor(fraction * (end.size - 1)))]
            moving = [
                i for i in range(end.size) if size[i] <= limit and i not in frozen
            ]
            room = sum(abs(x[i] - top[i]) for i in moving)
            share = (distance - goal) / room if room > 0 else np.inf
            for i in moving:
                x[i] = top[i] if share > 1 else x[i] + (top[i] - x[i]) * share
            attribution += (x - old) * gradient
            if share <= 1:
                break
    return attribution.reshape(shape)


@pytest.mark.parametrize(
    ("steps", "fraction", "max_dist"),
    [(12, 0.25, 0.02), (9, 0.5, 1.0), (8, 0.1, 0.3), (6, 1.0, 0.0), (5, 0.0, 0.2)],
)
def test_guided_ig(case, steps, fraction, max_dist):
    network, x, target = case
    x[0, 0].flat[:4] = 0.0  # features equal to the baseline
    expected = [
        slow_reduce(
            slow_guided_ig(
                score_of(network, k), image, 0 * image, steps, fraction, max_dist
            ),
            "sum",
        )
        for image, k in zip(x, target, strict=True)
    ]
    got = compute(
        "guided_ig",
        case,
        steps=steps,
        fraction=fraction,
        max_dist=max_dist,
        reduce="sum",
    )
    close(got, expected)


def test_guided_ig_completes_and_stays_zero_at_the_baseline(case):
    network, x, target = case
    got = compute("guided_ig", case, steps=500, max_dist=1.0, reduce="sum")
    for index, k in enumerate(target):
        score = score_of(network, k)
        difference = score(x[index : index + 1])[0] - score(0 * x[index : index + 1])[0]
        assert float(got[index].sum()) == pytest.approx(difference, rel=5e-2)
    still = compute("guided_ig", case, steps=3, baseline=torch.from_numpy(x))
    assert still.abs().max() == 0


def test_random_edge_and_center(case):
    _, x, _ = case
    noise = compute("random", case)
    assert noise.min() >= 0
    assert noise.max() < 1
    assert len(noise.unique()) == noise.numel()

    kernels = ([-1, 0, 1], [1, 2, 1])
    for index, image in enumerate(x):
        mean = image.mean(0)
        padded = np.pad(mean, 1, mode="edge")
        total = np.zeros(mean.shape)
        for axis in range(mean.ndim):
            part = np.zeros(mean.shape)
            for position in np.ndindex(mean.shape):
                for offset in np.ndindex(*[3] * mean.ndim):
                    weight = np.prod(
                        [kernels[int(a != axis)][o] for a, o in enumerate(offset)]
                    )
                    place = tuple(p + o for p, o in zip(position, offset, strict=True))
                    part[position] += weight * padded[place]
            total += part**2
        close(compute("edge", case)[index], np.sqrt(total))

    blob = compute("center", case, sigma=0.3)
    for position in np.ndindex(x.shape[2:]):
        exponent = sum(
            ((p - (n - 1) / 2) / (0.3 * n)) ** 2
            for p, n in zip(position, x.shape[2:], strict=True)
        )
        assert float(blob[0][position]) == pytest.approx(np.exp(-exponent / 2))
    assert torch.equal(blob[0], blob[1])


def test_baselines_need_no_network(case):
    _, x, _ = case
    for name in ("random", "edge", "center"):
        assert saliency.compute(name, None, torch.from_numpy(x), 0).shape == (
            2,
            *x.shape[2:],
        )
