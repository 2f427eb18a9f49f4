"""Calibration: how far a probability is the share of right answers, and temperature.

Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

__all__ = [
    "BINS",
    "Reliability",
    "cross_fitted",
    "expected_calibration_error",
    "fit_temperature",
    "fold_temperature",
    "reliability",
    "with_temperature",
]

FloatArray = NDArray[np.float64]
BINS = 15
LIMITS = (0.05, 20.0)  # between which a temperature is looked for
PARTS = 5
HEADS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Answers in bins of equal size, from the least to the most confident.

    Attributes
    ----------
    confidence, accuracy : ndarray, (bins,)
        Mean probability of the predicted class, and share of right answers.
    n : ndarray of int, (bins,)
    """

    confidence: FloatArray
    accuracy: FloatArray
    n: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap, weighted by the bins' sizes."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((gaps * self.n).sum() / self.n.sum())


def reliability(
    probabilities: FloatArray,
    truth: NDArray[np.integer[Any]],
    *,
    bins: int = BINS,
    counts: NDArray[np.int64] | None = None,
) -> Reliability:
    """Compare confidence and accuracy in bins of equal mass.

    Parameters
    ----------
    probabilities : ndarray, (N, K)
    truth : ndarray of int, (N,)
    bins : int
        At most; there are never more than images.
    counts : ndarray of int, (N,), optional
        How often each image counts; once where None.

    Returns
    -------
    Reliability
        The images in order of their confidence are cut into bins whose sizes differ
        by one at most; equally confident images keep the order they came in.
    """
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    order = np.argsort(confidence, kind="stable")
    if counts is not None:
        order = np.repeat(order, counts[order])
    edges = np.arange(min(bins, len(order)) + 1) * len(order) // min(bins, len(order))
    n = np.diff(edges)
    return Reliability(
        np.add.reduceat(confidence[order], edges[:-1]) / n,
        np.add.reduceat(right[order], edges[:-1]) / n,
        n,
    )


def expected_calibration_error(
    probabilities: FloatArray, truth: NDArray[np.integer[Any]], *, bins: int = BINS
) -> float:
    """Mean gap between confidence and accuracy over bins of equal mass."""
    return reliability(probabilities, truth, bins=bins).error


def with_temperature(logits: FloatArray, temperature: float) -> FloatArray:
    """Softmax of logits, or of log-probabilities, divided by a temperature."""
    scaled: FloatArray = np.exp(log_softmax(logits / temperature, axis=1))
    return scaled


def fit_temperature(logits: FloatArray, truth: NDArray[np.integer[Any]]) -> float:
    """Find the temperature with the least negative log-likelihood.

    Parameters
    ----------
    logits : ndarray, (N, K)
        Log-probabilities serve as well.
    truth : ndarray of int, (N,)

    Returns
    -------
    float
        Between 0.05 and 20. Above 1 the classifier was too sure. 1 where every answer
        is right: the likelihood then grows without end towards certainty, which a
        finite set does not prove.
    """
    if (logits.argmax(axis=1) == truth).all():
        return 1.0
    rows = np.arange(len(truth))

    def loss(beta: float) -> float:  # convex in 1/temperature
        return float(-log_softmax(logits * beta, axis=1)[rows, truth].mean())

    found = minimize_scalar(
        loss,
        bounds=(1 / LIMITS[1], 1 / LIMITS[0]),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(1 / found.x)


def cross_fitted(
    logits: FloatArray,
    truth: NDArray[np.integer[Any]],
    units: Sequence[Hashable],
    *,
    seed: int = 0,
    parts: int = PARTS,
) -> FloatArray:
    """Give each image the temperature that the other parts suggest.

    Parameters
    ----------
    logits : ndarray, (N, K)
    truth : ndarray of int, (N,)
    units : sequence
        Patient of each image, or the image; a unit stays in one part.
    seed : int
        Of the deal into parts.
    parts : int

    Returns
    -------
    ndarray, (N, K)
        Probabilities; no image had a say in its own temperature.
    """
    number = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
    parts = min(parts, len(number))
    if parts < 2:
        return with_temperature(logits, 1.0)
    dealt = np.random.default_rng(seed).permutation(len(number)) % parts
    part = np.array([dealt[number[unit]] for unit in units])
    result = np.empty_like(logits)
    for k in range(parts):
        inside = part == k
        temperature = fit_temperature(logits[~inside], truth[~inside])
        result[inside] = with_temperature(logits[inside], temperature)
    return result


def fold_temperature(
    network: nn.Module, temperature: float, example: torch.Tensor
) -> bool:
    """Divide the last linear layer by a temperature, so that the logits are.

    Parameters
    ----------
    network : torch.nn.Module
        Returns logits (B, K); changed in place.
    temperature : float
    example : Tensor, (B, C, *spatial)
        To see which layer comes last, and to check the result.

    Returns
    -------
    bool
        False where the logits are not one layer's output; the network is then as it
        was.
    """
    called: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda m, *_: called.append(m))
        for module in network.modules()
        if isinstance(module, HEADS)
    ]
    try:
        with torch.no_grad():
            before = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        return False
    head = called[-1]
    tensors = [p for p in (head.weight, head.bias) if isinstance(p, torch.Tensor)]
    kept = [p.detach().clone() for p in tensors]
    with torch.no_grad():
        for tensor in tensors:
            tensor.div_(temperature)
        after = network(example)
        scale = float(before.abs().max()) + 1e-6
        if bool(((after * temperature - before).abs() <= 1e-4 * scale).all()):
            return True
        for tensor, value in zip(tensors, kept, strict=True):
            tensor.copy_(value)
    return False
