"""How fast an architecture is here, and how much memory it takes: a small trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_medxai import saliency
from napari_medxai.errors import MethodError
from napari_medxai.models import build
from napari_medxai.models.classifier import pick_device
from napari_medxai.training import TrainingSettings
from napari_medxai.training.optimisation import optimiser

__all__ = ["Probe", "Speed", "probe"]

SECONDS = 1.0  # for each trial; one pass is made in any case
MOST = 4  # passes
LARGER = {"cpu": 8, "cuda": 32}  # images in the larger of two passes
EXPLAINED = 8  # images in one pass with a gradient, on a CPU


@dataclass(frozen=True)
class Speed:
    """Seconds of a pass: `first` + `each` times its images."""

    first: float
    each: float

    def of(self, calls: float, images: float) -> float:
        """Seconds of so many passes with so many images in all."""
        return self.first * calls + self.each * images


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What was measured of an architecture.

    Attributes
    ----------
    parameters : int
    step, forward, gradient : Speed
        A step of training, a forward pass, and one there and back in evaluation mode.
    channels : int
        Of the layer that class activation maps read; 0 where there is none.
    training_bytes, explaining_bytes : int
        Weights, gradients, the optimiser's and averaged weights, and activations that
        are kept for the gradient; without what the program itself takes.
    """

    parameters: int
    step: Speed
    forward: Speed
    gradient: Speed
    channels: int
    training_bytes: int
    explaining_bytes: int


def probe(settings: TrainingSettings, classes: int) -> Probe:
    """Train, ask and differentiate an untrained network for a few seconds.

    Parameters
    ----------
    settings : TrainingSettings
    classes : int

    Returns
    -------
    Probe

    Raises
    ------
    ModelError
        If the architecture is unknown or does not take images of this size.
    RuntimeError, ValueError
        Whatever the network raises of them.
    """
    device = pick_device(settings.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build(
            settings.arch,
            classes=classes,
            channels=settings.channels,
            spatial_dims=settings.spatial_dims,
            size=settings.size,
        ).to(device)
        if settings.spatial_dims == 2:
            network = network.to(memory_format=torch.channels_last)
        shape = (LARGER[device.type], settings.channels, *settings.size)
        images = torch.rand(shape, device=device)
    bf16 = settings.precision == "bf16"
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    train, update, kept = _training(network, settings, classes, bf16=bf16)
    network.train()
    step = _speed(train, images, most=settings.batch_size, least=2)
    step = Speed(step.first + _seconds(update, images), step.each)
    training_activations = kept[0] / 2
    network.eval()
    forward = _speed(_forward(network), images, most=len(images))
    channels = _channels(network, images[:1])
    activations = _kept_for_gradient(network, images[:1])
    gradient = _speed(_gradient(network), images, most=len(images))
    states = {"adamw": 2, "sgd": 1}[settings.optimiser] + bool(settings.ema_decay)
    return Probe(
        parameters=sum(p.numel() for p in network.parameters()),
        step=step,
        forward=forward,
        gradient=gradient,
        channels=channels,
        training_bytes=round(
            weights * (2 + states) + training_activations * settings.batch_size
        ),
        explaining_bytes=round(weights + activations * EXPLAINED),
    )


def _training(
    network: nn.Module, settings: TrainingSettings, classes: int, *, bf16: bool
) -> tuple[Callable[[Tensor], None], Callable[[Tensor], None], list[float]]:
    """Return the two parts of a step: gradients, and the update of the weights.

    The list holds what the first pass kept for its gradient.
    """
    stepper = optimiser(network, settings)
    loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    kept: list[float] = []

    def differentiate(x: Tensor) -> None:
        target = torch.arange(len(x), device=x.device) % classes
        with _Kept(network) as seen:
            with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=bf16):
                logits = network(x)
            value = loss(logits.float(), target)
        if not kept:
            kept.append(seen.bytes)
        stepper.zero_grad(set_to_none=True)
        value.backward()

    def update(_: Tensor) -> None:
        stepper.step()

    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    stepper.step()  # makes what it remembers, which is no part of a step
    return differentiate, update, kept


def _forward(network: nn.Module) -> Callable[[Tensor], None]:
    def forward(x: Tensor) -> None:
        with torch.inference_mode():
            network(x)

    return forward


def _gradient(network: nn.Module) -> Callable[[Tensor], None]:
    def gradient(x: Tensor) -> None:
        inputs = x.clone().requires_grad_()
        torch.autograd.grad(network(inputs)[:, 0].sum(), inputs)

    for parameter in network.parameters():
        parameter.requires_grad = False
    return gradient


def _speed(
    run: Callable[[Tensor], None], images: Tensor, *, most: int, least: int = 1
) -> Speed:
    """Time a small and a larger pass.

    Where that takes long, images are what takes the time, and the quicker pass says
    how much. Else passes are repeated, and what a pass costs whatever its images is
    told apart: much, on a GPU.
    """
    larger = min(most, len(images))
    small = _seconds(run, images[:least])
    if larger <= least:
        return Speed(0.0, small / least)
    if small * larger / least > SECONDS:
        twice = min(larger, 2 * least)
        return Speed(0.0, min(small / least, _seconds(run, images[:twice]) / twice))
    large = _seconds(run, images[:larger])
    each = (large - small) / (larger - least)
    if each <= 0:  # too small a network for the clock
        return Speed(0.0, large / larger)
    return Speed(max(0.0, small - each * least), each)


def _seconds(run: Callable[[Tensor], None], x: Tensor) -> float:
    """Return the shortest of some passes; where one is slow, it is enough."""
    started = time.perf_counter()
    found: list[float] = []
    while not found or (len(found) < MOST and time.perf_counter() - started < SECONDS):
        _wait(x)
        before = time.perf_counter()
        run(x)
        _wait(x)
        found.append(time.perf_counter() - before)
    return min(found)


def _wait(x: Tensor) -> None:
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)


def _channels(network: nn.Module, x: Tensor) -> int:
    """Channels of the layer that class activation maps read."""
    try:
        layer = network.get_submodule(saliency.find_target_layer(network, x))
    except MethodError:
        return 0
    seen: list[int] = []

    def look(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor):
            axis = 1 if output.ndim == x.ndim else -1
            seen.append(output.shape[axis])

    handle = layer.register_forward_hook(look)
    try:
        with torch.inference_mode():
            network(x)
    finally:
        handle.remove()
    return seen[0] if seen else 0


def _kept_for_gradient(network: nn.Module, x: Tensor) -> float:
    with _Kept(network) as seen:
        network(x.clone().requires_grad_())
    return seen.bytes


class _Kept:
    """Weighs what autograd keeps while it is entered, without the weights.

    Parameters
    ----------
    network : torch.nn.Module
    """

    def __init__(self, network: nn.Module) -> None:
        self.bytes = 0.0
        self._known = {p.data_ptr() for p in network.parameters()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._weigh, lambda t: t)

    def _weigh(self, tensor: Tensor) -> Tensor:
        place = tensor.data_ptr()
        if place not in self._known:
            self._known.add(place)
            self.bytes += tensor.numel() * tensor.element_size()
        return tensor

    def __enter__(self) -> _Kept:
        """Begin to weigh."""
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Let go."""
        self._hooks.__exit__(*error)
