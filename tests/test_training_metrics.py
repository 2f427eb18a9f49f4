"""F1, AUROC, calibration and intervals against scikit-learn and slow definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import (
    confusion_matrix as reference_matrix,
)
from sklearn.metrics import (
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)
from torch import nn

from napari_medxai.models import build
from napari_medxai.training.calibration import (
    cross_fitted,
    expected_calibration_error,
    fit_temperature,
    fold_temperature,
    reliability,
    with_temperature,
)
from napari_medxai.training.evaluation import evaluate, performance
from napari_medxai.training.metrics import (
    auroc,
    bootstrap_weights,
    class_scores,
    confusion_matrix,
    macro_f1,
    negative_log_likelihood,
)


def answers(n=160, k=3, seed=0, sharp=1.0):
    """Logits that are right more often than not, and too sure by `sharp`."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k)) + 1.2 * np.eye(k)[truth]
    return sharp * logits, truth


def test_scores_are_those_of_scikit_learn():
    logits, truth = answers()
    predicted = logits.argmax(axis=1)
    predicted[predicted == 2] = 1  # a class that is never predicted
    matrix = confusion_matrix(truth, predicted, 3)
    assert np.array_equal(matrix, reference_matrix(truth, predicted))
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, zero_division=0
    )
    got = class_scores(matrix)
    assert np.allclose(got["precision"], precision)
    assert np.allclose(got["recall"], recall)
    assert np.allclose(got["f1"], f1)
    assert macro_f1(matrix) == pytest.approx(f1.mean())


def test_f1_from_its_definition():
    truth = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 2, 2])
    scores = []
    for c in range(3):
        tp = sum(t == c == p for t, p in zip(truth, predicted, strict=True))
        precision = tp / (predicted == c).sum()
        recall = tp / (truth == c).sum()
        scores.append(2 * precision * recall / (precision + recall))
    got = macro_f1(confusion_matrix(truth, predicted, 3))
    assert got == pytest.approx(np.mean(scores))


def test_auroc_counts_pairs_with_ties_and_weights():
    rng = np.random.default_rng(1)
    scores = rng.integers(6, size=40) / 6  # many ties
    positive = rng.random(40) < 0.4
    assert auroc(scores, positive)[0] == pytest.approx(roc_auc_score(positive, scores))
    weights = rng.integers(4, size=(3, 40))
    for row, got in zip(weights, auroc(scores, positive, weights), strict=True):
        up = down = 0.0
        for i in np.flatnonzero(positive):
            for j in np.flatnonzero(~positive):
                pair = row[i] * row[j]
                down += pair
                up += pair * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
        assert got == pytest.approx(up / down)
    assert np.isnan(auroc(scores, np.ones(40, bool))[0])


def slow_calibration_error(probabilities, truth, bins):
    """One image at a time, filling bins of equal size in order of confidence."""
    rows = sorted(range(len(truth)), key=lambda i: (probabilities[i].max(), i))
    groups = np.array_split(rows, bins)
    total = 0.0
    for group in groups:
        sure = sum(probabilities[i].max() for i in group) / len(group)
        right = sum(probabilities[i].argmax() == truth[i] for i in group) / len(group)
        total += len(group) / len(rows) * abs(sure - right)
    return total


def test_calibration_error_from_its_definition():
    logits, truth = answers(150)  # 15 bins of ten
    probabilities = softmax(logits, axis=1)
    got = expected_calibration_error(probabilities, truth)
    assert got == pytest.approx(slow_calibration_error(probabilities, truth, 15))
    assert expected_calibration_error(probabilities[:4], truth[:4]) == pytest.approx(
        slow_calibration_error(probabilities[:4], truth[:4], 4)
    )
    found = reliability(probabilities, truth, bins=7)
    assert found.n.sum() == 150
    assert found.n.max() - found.n.min() <= 1
    assert (np.diff(found.confidence) >= 0).all()


def test_repeated_images_weigh_as_often_as_they_are_drawn():
    logits, truth = answers(40)
    probabilities = softmax(logits, axis=1)
    counts = np.random.default_rng(0).integers(4, size=40)
    drawn = reliability(probabilities, truth, counts=counts).error
    order = np.argsort(probabilities.max(axis=1), kind="stable")
    rows = [i for i in order for _ in range(counts[i])]
    assert drawn == pytest.approx(reliability(probabilities[rows], truth[rows]).error)


def test_a_set_without_errors_proves_no_certainty() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
    assert fit_temperature(logits, np.array([0, 1, 0])) == 1.0


def test_temperature_has_the_least_loss_on_a_grid():
    logits, truth = answers(400, sharp=3.0)
    grid = np.exp(np.linspace(np.log(0.2), np.log(10), 1000))
    shown = [softmax(logits / t, axis=1)[range(400), truth] for t in grid]
    losses = [-np.log(p).mean() for p in shown]
    assert losses[-1] == pytest.approx(log_loss(truth, softmax(logits / 10, axis=1)))
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.01)
    assert found > 1.5
    scaled = with_temperature(logits, found)
    assert negative_log_likelihood(scaled, truth) == pytest.approx(
        min(losses), rel=1e-4
    )
    # log-probabilities are logits but for a constant
    known = np.log(softmax(logits, axis=1))
    assert fit_temperature(known, truth) == pytest.approx(found, rel=1e-4)


def test_no_image_has_a_say_in_its_own_temperature():
    logits, truth = answers(60, sharp=2.0)
    units = [i // 3 for i in range(60)]
    found = cross_fitted(logits, truth, units, seed=4)
    used = np.array(
        [
            (logits[i, 0] - logits[i, 1]) / np.log(found[i, 0] / found[i, 1])
            for i in range(60)
        ]
    )
    assert all(np.ptp(used[3 * u : 3 * u + 3]) < 1e-6 for u in range(20))
    assert len({round(t, 6) for t in used}) == 5
    for t in {round(t, 6) for t in used}:
        others = np.abs(used - t) > 1e-5
        assert fit_temperature(logits[others], truth[others]) == pytest.approx(
            t, abs=1e-5
        )
    assert np.allclose(cross_fitted(logits, truth, [0] * 60), softmax(logits, axis=1))


class Tail(nn.Module):
    """Ends in something other than its last linear layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return torch.tanh(self.layer(x.flatten(1)))


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        ("test_efficientnet", 2),
        ("test_resnet", 2),
        ("test_vit", 2),
        ("monai:resnet10", 3),
    ],
)
def test_a_temperature_in_the_head_divides_the_logits(name, dims):
    torch.manual_seed(0)
    size = (32,) * dims if name != "test_vit" else (160, 160)
    network = build(name, classes=3, spatial_dims=dims).eval()
    x = torch.randn(2, 1, *size)
    with torch.no_grad():
        before = network(x)
        assert fold_temperature(network, 2.5, x)
        assert torch.allclose(network(x) * 2.5, before, atol=1e-5)


def test_a_network_without_such_a_head_stays_as_it_was():
    network = Tail()
    weights = network.layer.weight.clone()
    x = torch.randn(2, 1, 2, 2)
    assert not fold_temperature(network, 2.0, x)
    assert torch.equal(network.layer.weight, weights)
    assert not fold_temperature(nn.Flatten(), 2.0, x)


def test_intervals_come_from_whole_patients():
    logits, truth = answers(60)
    probabilities = softmax(logits, axis=1)
    units = [f"P{i // 4}" for i in range(60)]
    found = evaluate(probabilities, truth, "abc", units, unit="patient")
    assert found.units == 15
    weights = bootstrap_weights(units, 1000, 0)
    assert (weights.reshape(1000, 15, 4) == weights[:, ::4, None]).all()
    assert (weights[:, ::4].sum(axis=1) == 15).all()
    predicted = probabilities.argmax(axis=1)
    drawn = {"macro_f1": [], "accuracy": [], "auroc": [], "recall": []}
    for row in weights:
        rows = np.repeat(np.arange(60), row)
        if len(set(truth[rows])) < 3:
            continue
        found_, there = predicted[rows], truth[rows]
        hits = [((found_ == c) & (there == c)).sum() for c in range(3)]
        both = [(found_ == c).sum() + (there == c).sum() for c in range(3)]
        drawn["macro_f1"].append(
            np.mean([2 * h / b for h, b in zip(hits, both, strict=True)])
        )
        drawn["recall"].append(hits[1] / (there == 1).sum())
        drawn["accuracy"].append((truth[rows] == predicted[rows]).mean())
        drawn["auroc"].append(
            np.mean(
                [auroc(probabilities[rows, c], truth[rows] == c)[0] for c in range(3)]
            )
        )
    for name in ("macro_f1", "accuracy", "auroc"):
        one = found.figures[name]
        low, high = np.percentile(drawn[name], [2.5, 97.5])
        assert (one.ci_low, one.ci_high) == pytest.approx((low, high))
    one = found.by_class["b"]["recall"]
    assert (one.ci_low, one.ci_high) == pytest.approx(
        tuple(np.percentile(drawn["recall"], [2.5, 97.5]))
    )
    ece = found.figures["ece_after"]
    assert 0 <= ece.ci_low <= ece.value <= ece.ci_high


def test_few_patients_give_no_interval_and_a_missing_class_no_auroc():
    logits, truth = answers(12)
    truth[truth == 2] = 0
    probabilities = softmax(logits, axis=1)
    found = evaluate(probabilities, truth, "abc", [0] * 12, unit="patient")
    assert np.isnan(found.figures["macro_f1"].ci_low)
    assert found.to_json()["auroc"]["value"] is None
    assert performance(found)["auroc"] is None
    assert performance(found)["confusion_matrix"]["counts"] == found.matrix.tolist()
