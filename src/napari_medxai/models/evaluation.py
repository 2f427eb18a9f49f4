"""Classification figures from predictions: confusion matrix, F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["confusion_matrix", "macro_f1", "performance"]


def confusion_matrix(
    truth: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.int64]:
    """Count pairs, rows the truth, columns the prediction, shape (classes, classes)."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def f1_scores(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 of each class, 2TP / (2TP + FP + FN); 0 where a class never occurs."""
    hits = np.diag(matrix).astype(float)
    total = matrix.sum(axis=0) + matrix.sum(axis=1)
    scores: NDArray[np.float64] = np.divide(
        2 * hits, total, out=np.zeros_like(hits), where=total > 0
    )
    return scores


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Unweighted mean of the classes' F1."""
    return float(f1_scores(matrix).mean())


def performance(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """Figures of a confusion matrix, ready for ``model.json``."""
    scores = f1_scores(matrix)
    return {
        "n": int(matrix.sum()),
        "macro_f1": round(float(scores.mean()), 4),
        "accuracy": round(float(np.diag(matrix).sum() / matrix.sum()), 4),
        "f1": {c: round(float(s), 4) for c, s in zip(classes, scores, strict=True)},
        "confusion_matrix": {
            "rows": "truth",
            "columns": "prediction",
            "classes": list(classes),
            "counts": matrix.tolist(),
        },
    }
