"""Optimisers with their learning rates, averaged weights and the loss."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from napari_medxai.errors import UsageError

from .settings import TrainingSettings

__all__ = ["Average", "class_weights", "learning_rate", "optimiser"]

WARM_UP = 0.15


def optimiser(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW or SGD, with weight decay on kernels and matrices only."""
    parameters: list[dict[str, Any]] = [
        {
            "params": [p for p in network.parameters() if p.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {
            "params": [p for p in network.parameters() if p.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, lr=settings.learning_rate, momentum=settings.momentum
        )
    return torch.optim.AdamW(parameters, lr=settings.learning_rate)


def learning_rate(settings: TrainingSettings, step: int, total: int) -> float:
    """Rate of a step.

    With AdamW one cycle: a linear warm-up over 15 % of the steps, then a cosine to 0.
    With SGD ``learning_rate / (1 + learning_rate_decay * step)``, the ``decay`` of
    Keras' optimisers.
    """
    if settings.optimiser == "sgd":
        return settings.learning_rate / (1 + settings.learning_rate_decay * step)
    share = step / total
    if share < WARM_UP:
        return settings.learning_rate * min(1.0, (share + 1e-3) / WARM_UP)
    angle = math.pi * (share - WARM_UP) / (1 - WARM_UP)
    return settings.learning_rate * 0.5 * (1 + math.cos(angle))


def class_weights(
    settings: TrainingSettings, labels: Sequence[str], classes: Sequence[str]
) -> torch.Tensor | None:
    """Weight of each class in the loss; None where all are alike.

    Raises
    ------
    UsageError
        If weights were given for another number of classes.
    """
    chosen = settings.class_weights
    if chosen == "none":
        return None
    if chosen == "balanced":
        counts = Counter(labels)
        return torch.tensor([len(labels) / (len(classes) * counts[c]) for c in classes])
    if len(chosen) != len(classes):
        raise UsageError(
            f"{len(chosen)} class weights for {len(classes)} classes: "
            f"{', '.join(classes)}."
        )
    return torch.tensor([float(w) for w in chosen])


class Average:
    """Exponential moving average of a network's weights and buffers.

    The decay grows with the steps as ``(1 + n) / (10 + n)`` until it reaches the one
    given, so that a short training is not an average with the random beginning. With
    a decay of 0 it is the network itself.

    Parameters
    ----------
    network : torch.nn.Module
    decay : float
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.network = network
        self.module = copy.deepcopy(network) if decay else network

    @torch.no_grad()
    def update(self) -> None:
        """Take a step of the network in."""
        self.steps += 1
        if not self.decay:
            return
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        own = list(self.module.state_dict().values())
        new = list(self.network.state_dict().values())
        smooth = [
            (a, b) for a, b in zip(own, new, strict=True) if a.is_floating_point()
        ]
        torch._foreach_lerp_([a for a, _ in smooth], [b for _, b in smooth], 1 - decay)
        for a, b in zip(own, new, strict=True):
            if not a.is_floating_point():
                a.copy_(b)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and its steps."""
        weights = self.module.state_dict() if self.decay else {}
        return {"steps": self.steps, "weights": weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the average and its steps back."""
        self.steps = state["steps"]
        if self.decay:
            self.module.load_state_dict(state["weights"])
