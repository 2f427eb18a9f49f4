"""Figures of a classifier: confusion matrix, F1, AUROC, and their intervals.

They take weights of the images, so that a bootstrap is the same computation.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "auroc",
    "bootstrap_weights",
    "class_scores",
    "confusion_matrix",
    "f1_scores",
    "macro_f1",
    "negative_log_likelihood",
]

FloatArray = NDArray[np.float64]
LEAST = 1e-12  # probability below which the logarithm is cut


def confusion_matrix(
    truth: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.int64]:
    """Count pairs, rows the truth, columns the prediction, shape (classes, classes)."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def class_scores(matrix: NDArray[Any]) -> dict[str, FloatArray]:
    """Precision, recall and F1 of each class.

    Parameters
    ----------
    matrix : ndarray, (..., classes, classes)
        Rows the truth, columns the prediction.

    Returns
    -------
    dict of str to ndarray, (..., classes)
        0 where a denominator is: a class that is never predicted, never there.
    """
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    truth = matrix.sum(axis=-1).astype(np.float64)
    predicted = matrix.sum(axis=-2).astype(np.float64)
    return {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, truth),
        "f1": _ratio(2 * hits, truth + predicted),
    }


def _ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def f1_scores(matrix: NDArray[Any]) -> FloatArray:
    """F1 of each class, 2TP / (2TP + FP + FN); 0 where a class never occurs."""
    return class_scores(matrix)["f1"]


def macro_f1(matrix: NDArray[Any]) -> float:
    """Unweighted mean of the classes' F1."""
    return float(f1_scores(matrix).mean())


def auroc(
    scores: FloatArray, positive: NDArray[np.bool_], weights: FloatArray | None = None
) -> FloatArray:
    """Area under the ROC curve: how often a positive scores above a negative.

    Parameters
    ----------
    scores : ndarray, (N,)
    positive : ndarray of bool, (N,)
    weights : ndarray, (B, N), optional
        How often each image counts in each of B resamples; once where None.

    Returns
    -------
    ndarray, (B,)
        Ties count half. NaN where positives or negatives are missing.
    """
    table = np.ones((1, len(scores))) if weights is None else weights
    groups, group = np.unique(scores, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(groups)))
    sign = positive[order]
    ups = np.add.reduceat(table[:, order] * sign, starts, axis=1)
    downs = np.add.reduceat(table[:, order] * ~sign, starts, axis=1)
    below = np.cumsum(downs, axis=1) - downs / 2
    area = (ups * below).sum(axis=1)
    pairs = ups.sum(axis=1) * downs.sum(axis=1)
    areas: FloatArray = np.divide(
        area, pairs, out=np.full(len(table), np.nan), where=pairs > 0
    )
    return areas


def negative_log_likelihood(
    probabilities: FloatArray, truth: NDArray[np.integer[Any]]
) -> float:
    """Mean of -log of the true class's probability, cut at 1e-12."""
    chosen = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, LEAST)).mean())


def bootstrap_weights(
    units: Sequence[Hashable], draws: int, seed: int
) -> NDArray[np.int64]:
    """Draw whole units with replacement.

    Parameters
    ----------
    units : sequence
        The unit, a patient or an image, of each of N images.
    draws, seed : int

    Returns
    -------
    ndarray of int, (draws, N)
        How often each image counts.
    """
    number = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
    index = np.array([number[unit] for unit in units])
    n = len(number)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    drawn: NDArray[np.int64] = counts[:, index]
    return drawn
