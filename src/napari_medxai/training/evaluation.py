"""What a trained classifier is worth on one part of the data."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibration import BINS, Reliability, reliability
from .metrics import (
    auroc,
    bootstrap_weights,
    class_scores,
    confusion_matrix,
    negative_log_likelihood,
)

__all__ = ["Evaluation", "Measured", "evaluate", "performance"]

FloatArray = NDArray[np.float64]
DRAWS = 1000
LEAST_UNITS = 5  # below, an interval would pretend to know
CHUNK = 2_000_000  # numbers in a table of resamples


@dataclass(frozen=True)
class Measured:
    """A figure with its 95 % interval; NaN where it cannot be had.

    Attributes
    ----------
    value, ci_low, ci_high : float
    """

    value: float
    ci_low: float = float("nan")
    ci_high: float = float("nan")

    def to_json(self) -> dict[str, float | None]:
        """Return value and interval, null where there is none."""
        return {
            name: None if np.isnan(number) else float(number)
            for name, number in vars(self).items()
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures of one part.

    Attributes
    ----------
    classes : tuple of str
    n : int
        Images.
    units : int
    unit : str
        ``patient`` or ``image``: what the bootstrap draws.
    matrix : ndarray of int, (classes, classes)
        Rows the truth, columns the prediction.
    figures : dict of str to Measured
        ``accuracy``, ``macro_precision``, ``macro_recall``, ``macro_f1``, ``auroc``
        (one against the rest, mean over the classes), ``ece_before``, ``ece_after``.
    by_class : dict of str to dict of str to Measured
        ``precision``, ``recall``, ``f1``, ``auroc`` of each class.
    nll_before, nll_after : float
        Negative log-likelihood.
    before, after : Reliability
        Without and with the temperature.
    """

    classes: tuple[str, ...]
    n: int
    units: int
    unit: str
    matrix: NDArray[np.int64]
    figures: dict[str, Measured]
    by_class: dict[str, dict[str, Measured]]
    nll_before: float
    nll_after: float
    before: Reliability
    after: Reliability

    def to_json(self) -> dict[str, Any]:
        """Return everything for ``evaluation.json``."""
        return {
            "n": self.n,
            "units": self.units,
            "unit": self.unit,
            "bootstrap_draws": DRAWS if self.units >= LEAST_UNITS else 0,
            **{name: one.to_json() for name, one in self.figures.items()},
            "classes": {
                name: {
                    "n": int(self.matrix[i].sum()),
                    **{key: one.to_json() for key, one in self.by_class[name].items()},
                }
                for i, name in enumerate(self.classes)
            },
            "confusion_matrix": _matrix(self.matrix, self.classes),
            "calibration": {
                "bins": BINS,
                "nll_before": self.nll_before,
                "nll_after": self.nll_after,
                "before": _bins(self.before),
                "after": _bins(self.after),
            },
        }


def evaluate(
    answers: FloatArray,
    truth: NDArray[np.int64],
    classes: Sequence[str],
    units: Sequence[Hashable],
    *,
    unit: str,
    before: FloatArray | None = None,
    after: FloatArray | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure a classifier's answers.

    Parameters
    ----------
    answers : ndarray, (N, K)
        The classifier's probabilities.
    truth : ndarray of int, (N,)
    classes : sequence of str
    units : sequence
        Patient of each image, or the image.
    unit : str
        What `units` are, ``patient`` or ``image``.
    before, after : ndarray, (N, K), optional
        What calibration is measured on: probabilities without the temperature, and
        with one that the image had no say in. `answers` where None.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Evaluation
        Intervals are percentiles 2.5 and 97.5 of 1000 resamples of whole units, those
        left out in which a class has no image; none below five units. Those of the
        calibration error are shifted by what resampling adds to it.
    """
    before = answers if before is None else before
    after = answers if after is None else after
    predicted = answers.argmax(axis=1)
    k = len(classes)
    matrix = confusion_matrix(truth, predicted, k)
    bins = {
        "ece_before": reliability(before, truth),
        "ece_after": reliability(after, truth),
    }
    point = _figures(matrix[None], _areas(answers, truth, None), None)
    point |= {name: np.array([one.error]) for name, one in bins.items()}
    drawn: dict[str, FloatArray] = {}
    n_units = len(set(units))
    if n_units >= LEAST_UNITS:
        drawn = _resampled(answers, before, after, truth, units, k, seed)
    measured = {
        name: _measured(name, value[0], drawn.get(name))
        for name, value in point.items()
    }
    return Evaluation(
        classes=tuple(classes),
        n=len(truth),
        units=n_units,
        unit=unit,
        matrix=matrix,
        figures={name: one for name, one in measured.items() if "/" not in name},
        by_class={
            name: {
                key: measured[f"{key}/{i}"]
                for key in ("precision", "recall", "f1", "auroc")
            }
            for i, name in enumerate(classes)
        },
        nll_before=negative_log_likelihood(before, truth),
        nll_after=negative_log_likelihood(after, truth),
        before=bins["ece_before"],
        after=bins["ece_after"],
    )


def performance(found: Evaluation) -> dict[str, Any]:
    """Figures for ``model.json``, rounded to four decimals."""

    def rounded(value: float) -> float | None:
        return None if np.isnan(value) else round(float(value), 4)

    named = {"macro_f1": "macro_f1", "accuracy": "accuracy", "auroc": "auroc"}
    named["ece"] = "ece_after"
    return {
        "n": found.n,
        **{key: rounded(found.figures[name].value) for key, name in named.items()},
        "f1": {c: rounded(found.by_class[c]["f1"].value) for c in found.classes},
        "auroc_by_class": {
            c: rounded(found.by_class[c]["auroc"].value) for c in found.classes
        },
        "intervals": {
            "level": 0.95,
            "unit": found.unit,
            **{
                key: [
                    rounded(found.figures[name].ci_low),
                    rounded(found.figures[name].ci_high),
                ]
                for key, name in named.items()
            },
        },
        "confusion_matrix": _matrix(found.matrix, found.classes),
    }


def _figures(
    matrices: NDArray[Any], areas: FloatArray, complete: NDArray[np.bool_] | None
) -> dict[str, FloatArray]:
    """All figures of B confusion matrices and their areas (B, K); see `Evaluation`."""
    scores = class_scores(matrices)
    total = matrices.sum(axis=(-2, -1))
    hits = np.trace(matrices, axis1=-2, axis2=-1)
    result = {"accuracy": hits / np.maximum(total, 1)}
    result |= {f"macro_{key}": value.mean(axis=-1) for key, value in scores.items()}
    result["auroc"] = areas.mean(axis=-1)
    for key, value in {**scores, "auroc": areas}.items():
        result |= {f"{key}/{i}": value[:, i] for i in range(value.shape[1])}
    if complete is not None:
        result = {
            key: np.where(complete, value, np.nan) for key, value in result.items()
        }
    return result


def _areas(
    scores: FloatArray, truth: NDArray[np.int64], weights: NDArray[np.int64] | None
) -> FloatArray:
    columns = [
        auroc(
            scores[:, c], truth == c, None if weights is None else weights.astype(float)
        )
        for c in range(scores.shape[1])
    ]
    return np.stack(columns, axis=1)


def _resampled(
    answers: FloatArray,
    before: FloatArray,
    after: FloatArray,
    truth: NDArray[np.int64],
    units: Sequence[Hashable],
    k: int,
    seed: int,
) -> dict[str, FloatArray]:
    counts = bootstrap_weights(units, DRAWS, seed)
    cells = np.zeros((len(truth), k * k))
    cells[np.arange(len(truth)), truth * k + answers.argmax(axis=1)] = 1
    found: list[dict[str, FloatArray]] = []
    step = max(1, CHUNK // len(truth))
    for start in range(0, DRAWS, step):
        drawn = counts[start : start + step]
        matrices = (drawn @ cells).reshape(-1, k, k)
        complete = (matrices.sum(axis=-1) > 0).all(axis=-1)
        part = _figures(matrices, _areas(answers, truth, drawn), complete)
        for name, shown in (("ece_before", before), ("ece_after", after)):
            part[name] = np.array(
                [reliability(shown, truth, counts=row).error for row in drawn]
            )
        found.append(part)
    return {key: np.concatenate([part[key] for part in found]) for key in found[0]}


def _measured(name: str, value: float, drawn: FloatArray | None) -> Measured:
    if drawn is None or np.isnan(value) or not np.isfinite(drawn).any():
        return Measured(float(value))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    if name.startswith("ece"):
        # a mean of absolute gaps grows with every resampling: take that bias away
        bias = float(np.mean(drawn)) - value
        low, high = max(0.0, low - bias), high - bias
    return Measured(float(value), float(low), float(high))


def _matrix(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    return {
        "rows": "truth",
        "columns": "prediction",
        "classes": list(classes),
        "counts": matrix.tolist(),
    }


def _bins(one: Reliability) -> list[dict[str, float]]:
    return [
        {"confidence": float(c), "accuracy": float(a), "n": int(n)}
        for c, a, n in zip(one.confidence, one.accuracy, one.n, strict=True)
    ]
