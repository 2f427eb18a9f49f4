"""What a case asks of a network, counted on a stand-in network.

The passes of the methods and of the curves hardly depend on the architecture, but for
the methods that ask once for each channel of the target layer (Score-CAM); the time
outside the network does not depend on it either. So both are measured once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_medxai import metrics, saliency
from napari_medxai.errors import MedXAIError
from napari_medxai.preprocess import Preprocessing

__all__ = ["Passes", "Work", "work_of_a_case"]

CHANNELS = (4, 12)  # of the stand-in's target layer
FIRST, STRIDE = 8, 4


@dataclass
class Passes:
    """Calls of a network, and images in them.

    Attributes
    ----------
    forward_calls, forward_images : float
        Without a gradient.
    gradient_calls, gradient_images : float
        With one, there and back.
    """

    forward_calls: float = 0
    forward_images: float = 0
    gradient_calls: float = 0
    gradient_images: float = 0

    def add(self, images: int, *, gradient: bool) -> None:
        """Count a call."""
        if gradient:
            self.gradient_calls += 1
            self.gradient_images += images
        else:
            self.forward_calls += 1
            self.forward_images += images


@dataclass(frozen=True, kw_only=True)
class Work:
    """What explaining one case takes.

    Attributes
    ----------
    passes : Passes
        But for those that depend on the target layer's channels.
    images_per_channel : float
        Forward passes for each channel of the target layer.
    seconds : float
        Outside the network.
    failed : tuple of str
        Methods that could not be counted.
    """

    passes: Passes
    images_per_channel: float
    seconds: float
    failed: tuple[str, ...] = ()


@dataclass
class _Watch:
    """Counts the passes of a stand-in and the time that it takes itself."""

    passes: Passes = field(default_factory=Passes)
    seconds: float = 0.0


class _StandIn(nn.Module):
    """A small convolutional network with a feature map of so many channels."""

    def __init__(
        self, dims: int, channels: int, classes: int, width: int, watch: _Watch
    ) -> None:
        super().__init__()
        convolution = nn.Conv2d if dims == 2 else nn.Conv3d
        self.first = convolution(channels, FIRST, 3, stride=STRIDE, padding=1)
        self.second = convolution(FIRST, width, 3, stride=STRIDE, padding=1)
        self.head = nn.Linear(width, classes)
        self.watch = watch

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes)."""
        self.watch.passes.add(len(x), gradient=torch.is_grad_enabled())
        before = time.perf_counter()
        maps = torch.relu(self.second(torch.relu(self.first(x))))
        logits: Tensor = self.head(maps.flatten(2).mean(dim=2))
        self.watch.seconds += time.perf_counter() - before
        return logits


def work_of_a_case(
    image: NDArray[np.uint8],
    preprocessing: Preprocessing,
    *,
    classes: int,
    methods: Sequence[str],
    parameters: Mapping[str, Mapping[str, Any]],
    presets: Sequence[str],
    seed: int = 0,
) -> Work:
    """Explain and measure one image with a stand-in network, and count.

    Parameters
    ----------
    image : ndarray of uint8
        A network input image.
    preprocessing : Preprocessing
    classes : int
    methods, parameters, presets
        As the batch is given them.
    seed : int

    Returns
    -------
    Work
    """
    dims = 3 if preprocessing.volumetric else 2
    x = preprocessing.tensor(image[None])
    own = _Watch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = [
            _StandIn(dims, preprocessing.channels, classes, width, own).eval()
            for width in CHANNELS
        ]
    started = time.perf_counter()
    shared = saliency.Shared()
    maps, failed = {}, []
    grown = 0.0
    for name in methods:
        before = own.passes.forward_images
        try:
            maps[name] = saliency.compute(
                name,
                networks[0],
                x,
                0,
                seed=seed,
                shared=shared,
                **parameters.get(name, {}),
            )[0].numpy()
        except MedXAIError:
            failed.append(name)
            continue
        asked = own.passes.forward_images - before
        if "target_layer" in saliency.get(name).parameters:
            more = _with_width(networks[1], x, name, parameters.get(name, {}), own)
            slope = max(0.0, (more - asked) / (CHANNELS[1] - CHANNELS[0]))
            own.passes.forward_images -= slope * CHANNELS[0]
            grown += slope
    _curves(image, maps.values(), presets, own, volume=dims == 3, seed=seed)
    seconds = time.perf_counter() - started - own.seconds
    return Work(
        passes=own.passes,
        images_per_channel=grown,
        seconds=max(0.0, seconds),
        failed=tuple(failed),
    )


def _with_width(
    network: nn.Module,
    x: Tensor,
    name: str,
    parameters: Mapping[str, Any],
    own: _Watch,
) -> float:
    """Count the forward passes with more channels; the time is not counted."""
    kept, started, spent = own.passes, time.perf_counter(), own.seconds
    own.passes = Passes()
    try:
        saliency.compute(name, network, x, 0, **parameters)
        return own.passes.forward_images
    finally:
        own.passes = kept
        own.seconds = spent + time.perf_counter() - started


def _curves(
    image: NDArray[np.uint8],
    maps: Any,
    presets: Sequence[str],
    own: _Watch,
    *,
    volume: bool,
    seed: int,
) -> None:
    """Measure the maps with answers that exclude nothing."""
    predict = _sure_of(image, own)
    prepared = metrics.prepare(
        image, predict, presets=presets, seed=seed, volume=volume
    )
    for one in maps:
        prepared.curves(one, 0, label=0)


def _sure_of(
    image: NDArray[np.uint8], own: _Watch
) -> Callable[[NDArray[np.uint8]], NDArray[np.float64]]:
    """Return a classifier that is sure of the image, and less the less it sees."""

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        own.passes.add(len(images), gradient=False)
        axes = tuple(range(1, images.ndim))
        difference = np.abs(images.astype(np.float64) - image).mean(axis=axes)
        sure = 1 / (1 + difference)
        return np.stack([sure, 1 - sure], axis=1)

    return predict
