"""What a network's outputs mean, and wrappers that make them two-class logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_medxai.errors import ModelError

__all__ = [
    "HEADS",
    "TwoClasses",
    "Unsquashed",
    "bare",
    "headed",
    "outputs",
    "probabilities",
]

HEADS = {
    "softmax": "one logit for each class, of which one is true",
    "sigmoid": "one logit for two classes: negative, positive",
    "multilabel": "one logit for each class, of which any may be true",
}


class TwoClasses(nn.Module):
    """A single logit z as the two logits (-z/2, z/2).

    Their softmax is (1 - σ(z), σ(z)), so that whatever works on a softmax works on a
    sigmoid, and both classes have a gradient.

    Parameters
    ----------
    network : torch.nn.Module
        Returns logits (B,), (B, 1) or (B, K).
    output : int
        Which of the K is z.
    """

    def __init__(self, network: nn.Module, output: int = 0) -> None:
        super().__init__()
        self.network = network
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 2)."""
        logits: Tensor = self.network(x)
        z = logits.reshape(len(x), -1)[:, self.output]
        return torch.stack([-z / 2, z / 2], dim=1)

    def get_submodule(self, target: str) -> nn.Module:
        """Find a layer by its name in the wrapped network, too."""
        return _found(self, target)


class Unsquashed(nn.Module):
    """Logits of a network that ends in a softmax or a sigmoid.

    Parameters
    ----------
    network : torch.nn.Module
        Returns probabilities (B, K).
    sigmoid : bool
        Whether they are sigmoids, each for itself; else they add up to 1.
    """

    def __init__(self, network: nn.Module, *, sigmoid: bool) -> None:
        super().__init__()
        self.network = network
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K): log p, or log p - log(1 - p) of sigmoids."""
        p: Tensor = self.network(x)
        least = torch.finfo(p.dtype).tiny
        if not self.sigmoid:
            return p.clamp_min(least).log()
        return p.clamp_min(least).log() - (1 - p).clamp_min(least).log()

    def get_submodule(self, target: str) -> nn.Module:
        """Find a layer by its name in the wrapped network, too."""
        return _found(self, target)


def _found(wrapper: TwoClasses | Unsquashed, target: str) -> nn.Module:
    try:
        return nn.Module.get_submodule(wrapper, target)
    except AttributeError:
        if isinstance(wrapper.network, torch.jit.ScriptModule):
            raise
        return wrapper.network.get_submodule(target)


def outputs(head: str, classes: int) -> int:
    """Count the outputs that a network with this head has.

    Parameters
    ----------
    head : str
        One of :data:`HEADS`.
    classes : int

    Returns
    -------
    int

    Raises
    ------
    ModelError
        If the head is unknown, or is a sigmoid and there are not two classes.
    """
    if head not in HEADS:
        raise ModelError(f"head '{head}' is unknown; {', '.join(HEADS)}.")
    if head != "sigmoid":
        return classes
    if classes != 2:
        raise ModelError(
            "a sigmoid head answers for two classes (negative, positive), not "
            f"{classes}; for several independent ones use the head 'multilabel'."
        )
    return 1


def headed(network: nn.Module, head: str) -> nn.Module:
    """Return a network whose outputs are one logit for each class."""
    return TwoClasses(network) if head == "sigmoid" else network


def bare(module: nn.Module) -> nn.Module:
    """Return the network inside :func:`headed`: what a model folder holds."""
    return module.network if isinstance(module, TwoClasses) else module


def probabilities(logits: Tensor, head: str) -> Tensor:
    """Probabilities of the classes.

    Parameters
    ----------
    logits : Tensor, shape (B, K)
        Of a :func:`headed` network.
    head : str

    Returns
    -------
    Tensor, shape (B, K)
        Rows add up to 1, except under ``multilabel``.
    """
    return logits.sigmoid() if head == "multilabel" else logits.softmax(dim=1)
