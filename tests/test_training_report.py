"""The report of a training: every number from the predictions, slowly."""

from __future__ import annotations

import csv
import html
import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from napari_medxai import load_model
from napari_medxai.report.wording import interval_text, number
from napari_medxai.training import TrainingSettings, train
from napari_medxai.training.calibration import fit_temperature, with_temperature
from napari_medxai.training.evaluation import Measured

CLASSES = ("left", "middle", "right")


def bars(folder, n=72):
    """Write a bright bar in one of three places, hard to see, two images a patient."""
    rng = np.random.default_rng(8)
    (folder / "images").mkdir(parents=True)
    lines = ["file,label,patient,fold"]
    for i in range(n):
        place = i // 2 % 3
        image = rng.normal(90, 30, (24, 24))
        image[:, 2 + 8 * place : 6 + 8 * place] += 45
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        lines.append(f"{i}.png,{CLASSES[place]},p{i // 2},{i // 6 % 4 + 1}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training with a test part, its page and its predictions by part."""
    folder = tmp_path_factory.mktemp("report")
    settings = TrainingSettings.of(
        "default",
        arch="test_efficientnet",
        size=(24, 24),
        epochs=5,
        batch_size=6,
        learning_rate=5e-3,
        ema_decay=0.5,
        precision="fp32",
        device="cpu",
        augmentation="none",
        validation=("4",),
        test=("3",),
    )
    train(bars(folder / "data"), folder / "m", settings, quiet=True)
    return folder / "m"


@pytest.fixture(scope="module")
def said(run):
    return json.loads((run / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def page(run):
    return (run / "report.html").read_text(encoding="utf-8")


def predictions(run, part):
    with (run / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == part]
    truth = np.array([CLASSES.index(row["label"]) for row in rows])
    table = np.array([[float(row[c]) for c in CLASSES] for row in rows])
    return truth, table, rows


def table_rows(page, part):
    """Cells of the tables of a part's section, by their row's first cell."""
    section = page[page.index(f'<section id="{part}">') :]
    section = section[: section.index("</section>")]
    rows = re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)
    cells = [
        [
            re.sub(r"<[^>]+>", "", c).strip()
            for c in re.findall(r"<t[hd][^>]*>.*?</t[hd]>", row, re.DOTALL)
        ]
        for row in rows
    ]
    return cells, section


@pytest.mark.parametrize("part", ["selection", "test"])
def test_predictions_are_those_of_the_model(run, part):
    model = load_model(run)
    _, table, rows = predictions(run, part)
    assert table.sum(axis=1) == pytest.approx(np.ones(len(rows)), abs=1e-6)
    assert {row["fold"] for row in rows} == {"4" if part == "selection" else "3"}
    assert all(row["patient"] for row in rows)
    from napari_medxai import load_study

    for row, expected in zip(rows[:5], table, strict=False):
        study = load_study(run.parent / "data" / "images" / row["file"], masks="none")
        got = model.predict(study).probabilities
        assert got == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("part", ["selection", "test"])
def test_every_figure_from_the_predictions(run, said, part):
    truth, table, rows = predictions(run, part)
    found = said[part]
    predicted = table.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=range(3), zero_division=0
    )
    areas = [roc_auc_score(truth == c, table[:, c]) for c in range(3)]
    for c, name in enumerate(CLASSES):
        one = found["classes"][name]
        assert one["n"] == support[c]
        assert one["precision"]["value"] == pytest.approx(precision[c])
        assert one["recall"]["value"] == pytest.approx(recall[c])
        assert one["f1"]["value"] == pytest.approx(f1[c])
        # ties can break at the ninth digit
        assert one["auroc"]["value"] == pytest.approx(areas[c], abs=1e-3)
    assert found["macro_f1"]["value"] == pytest.approx(f1.mean())
    assert found["auroc"]["value"] == pytest.approx(np.mean(areas), abs=1e-3)
    assert found["accuracy"]["value"] == pytest.approx((truth == predicted).mean())
    counts = Counter(zip(truth.tolist(), predicted.tolist(), strict=True))
    matrix = np.array(found["confusion_matrix"]["counts"])
    assert all(matrix[i, j] == counts[i, j] for i in range(3) for j in range(3))
    assert (found["unit"], found["units"]) == (
        "patient",
        len({row["patient"] for row in rows}),
    )


def slow_error(probabilities, truth):
    order = sorted(range(len(truth)), key=lambda i: (probabilities[i].max(), i))
    edges = [i * len(order) // 15 for i in range(16)]
    total = 0.0
    for low, high in itertools.pairwise(edges):
        group = order[low:high]
        sure = np.mean([probabilities[i].max() for i in group])
        right = np.mean([probabilities[i].argmax() == truth[i] for i in group])
        total += (high - low) / len(order) * abs(sure - right)
    return total


def test_the_temperature_is_in_the_weights_and_cross_fitted_where_it_was_found(
    run, said
):
    truth, table, rows = predictions(run, "selection")
    logits = np.log(table) * said["temperature"]
    assert fit_temperature(logits, truth) == pytest.approx(
        said["temperature"], rel=0.02
    )
    before = with_temperature(logits, 1.0)
    found = said["selection"]
    assert found["ece_before"]["value"] == pytest.approx(
        slow_error(before, truth), abs=1e-4
    )
    patients = list(dict.fromkeys(row["patient"] for row in rows))
    dealt = np.random.default_rng(0).permutation(len(patients)) % 5
    after = np.empty_like(before)
    for k in range(5):
        inside = np.array([dealt[patients.index(row["patient"])] == k for row in rows])
        t = fit_temperature(logits[~inside], truth[~inside])
        after[inside] = with_temperature(logits[inside], t)
    assert found["ece_after"]["value"] == pytest.approx(
        slow_error(after, truth), abs=1e-3
    )
    chosen = after[np.arange(len(truth)), truth]
    assert found["calibration"]["nll_after"] == pytest.approx(
        -np.log(chosen).mean(), abs=1e-3
    )
    assert sum(b["n"] for b in found["calibration"]["after"]) == len(truth)
    truth, table, _ = predictions(run, "test")
    assert said["test"]["ece_after"]["value"] == pytest.approx(
        slow_error(table, truth), abs=1e-4
    )


@pytest.mark.parametrize("part", ["selection", "test"])
def test_the_page_shows_these_figures(page, said, part):
    cells, section = table_rows(page, part)
    found = said[part]

    def text(one):
        return interval_text(
            Measured(*(np.nan if v is None else v for v in one.values()))
        )

    first = {tuple(row[:2]) for row in cells if row}
    for name, key in (
        ("Accuracy", "accuracy"),
        ("Macro F1", "macro_f1"),
        ("Macro precision", "macro_precision"),
        ("Macro recall", "macro_recall"),
        ("AUROC", "auroc"),
        ("Calibration error", "ece_before"),
        ("Calibration error", "ece_after"),
    ):
        assert (name, text(found[key])) in first
    for i, name in enumerate(CLASSES):
        one = found["classes"][name]
        scores = [text(one[key]) for key in ("precision", "recall", "f1", "auroc")]
        assert [name, str(one["n"]), *scores] in cells
        counts = found["confusion_matrix"]["counts"][i]
        assert [name, *map(str, counts)] in cells
    calibration = found["calibration"]
    assert number(calibration["nll_before"]) in section
    assert number(calibration["nll_after"]) in section
    assert number(said["temperature"], 2) in section
    assert "9 patients" in section
    assert ("not an independent test" in section) == (part == "selection")


def test_history_is_drawn_and_the_kept_epoch_named(run, page):
    record = json.loads((run / "training.json").read_text())
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    scores = [(float(r["macro_f1"]), -float(r["selection_loss"])) for r in rows]
    assert record["kept_epoch"] == 1 + scores.index(max(scores))
    assert f"epoch {record['kept_epoch']} kept" in page
    assert f"{record['kept_epoch']} of 5" in page


def test_the_page_is_self_contained_and_its_files_are_there(run, page):
    assert "default-src 'none'" in html.unescape(page)
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    links = set(re.findall(r'<a [^>]*href="([^"#]+)"', page))
    assert {"model.json", "figures/learning.svg", "predictions.csv"} <= links
    for link in links:
        assert (run / link).is_file(), link
    for path in (run / "figures").glob("*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")
    for path in (run / "figures").glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")
    names = {p.stem for p in (run / "figures").iterdir()}
    assert names == {
        "learning",
        *(
            f"{a}-{b}"
            for a in ("confusion", "reliability")
            for b in ("selection", "test")
        ),
    }
    assert "research use only" in page.lower()
    assert str(run) not in page


def test_the_card_states_performance_with_intervals(run, said):
    card = load_model(run).card.extra
    for key, part in (("performance", "selection"), ("test_performance", "test")):
        figures, found = card[key], said[part]
        assert figures["macro_f1"] == round(found["macro_f1"]["value"], 4)
        assert figures["ece"] == round(found["ece_after"]["value"], 4)
        assert figures["intervals"]["macro_f1"] == [
            round(found["macro_f1"]["ci_low"], 4),
            round(found["macro_f1"]["ci_high"], 4),
        ]
        assert figures["n"] == found["n"]
    assert card["temperature"] == round(said["temperature"], 4)
    assert "36 images (left 12, middle 12, right 12)" in card["training_data"]


def test_without_a_test_part_the_page_warns(tiny_model):
    page = (tiny_model / "report.html").read_text(encoding="utf-8")
    assert "An independent test needs images that had no say" in page
    assert 'id="test"' not in page
    assert "12 patients" in page
