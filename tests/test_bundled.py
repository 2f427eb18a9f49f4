"""The bundled classifier: its card, and what it can do."""

from __future__ import annotations

import csv
import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import napari_medxai as mx
from napari_medxai.models.loading import BUNDLED
from napari_medxai.study import Study
from napari_medxai.training import read_samples, split
from napari_medxai.training.metrics import confusion_matrix, macro_f1

NAME = "brain-tumor-mri"
CHEST = "chest-xray-covid"
FRESH_SEED = 950_000  # never used for training (100000 on) or samples (910001 on)


@pytest.fixture(scope="module")
def model():
    return mx.load_model(NAME)


def test_card_states_what_a_user_must_know(model):
    card = model.card
    assert model.classes == ("glioma", "meningioma", "pituitary")
    for key in ("training_data", "intended_use", "limits", "licence", "attribution"):
        assert len(card.extra[key]) > 50, key
    assert "CC BY 4.0" in card.extra["attribution"]
    assert "research use only" in card.extra["intended_use"].lower()
    figures = card.extra["performance"]
    assert "selection set" in figures["data"]
    counts = np.array(figures["confusion_matrix"]["counts"])
    assert counts.sum() == figures["n"]
    assert macro_f1(counts) == pytest.approx(figures["macro_f1"], abs=1e-4)
    size = sum(p.stat().st_size for p in (BUNDLED / NAME).iterdir())
    assert size <= 10e6


def test_the_chest_card_warns_of_the_sources():
    card = mx.load_model(CHEST).card
    assert card.classes == ("covid19", "normal", "pneumonia")
    assert "Hannover" in card.extra["confounding"]
    assert "NIH" in card.extra["attribution"]
    assert "research use only" in card.extra["intended_use"].lower()
    for key in ("performance", "test_performance"):
        figures = card.extra[key]
        counts = np.array(figures["confusion_matrix"]["counts"])
        assert macro_f1(counts) == pytest.approx(figures["macro_f1"], abs=1e-4)
    assert sum(p.stat().st_size for p in (BUNDLED / CHEST).iterdir()) <= 10e6


def test_the_chest_test_part_of_the_real_data(shared_data):
    """Patients that neither trained nor chose anything, as the card states it."""
    model = mx.load_model(CHEST)
    samples = read_samples(shared_data / "chest-xray")
    held = split(samples, by="patient", test=("1",), seed=0).parts()["test"]
    images = np.stack([model.input(s.load()).image for s in held])
    predicted = model.probabilities(images).argmax(axis=1)
    truth = np.array([model.class_index(s.label) for s in held])
    score = macro_f1(confusion_matrix(truth, predicted, 3))
    assert score >= 0.8
    stated = model.card.extra["test_performance"]["macro_f1"]
    assert score == pytest.approx(stated, abs=0.005)


def test_fold_four_of_the_real_data(model, shared_data):
    """The selection set: macro F1 at least 0.95, and as the card states it."""
    root = shared_data / "brain-tumor-mri"
    with (root / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == "4"]
    images = []
    for row in rows:
        study = mx.load_study(root / "images" / row["file"], masks="none")
        images.append(model.input(study).image)
    predicted = model.probabilities(np.stack(images)).argmax(axis=1)
    truth = np.array([model.class_index(row["label"]) for row in rows])
    matrix = confusion_matrix(truth, predicted, 3)
    print("selection set (fold 4):", matrix.tolist(), "macro F1", macro_f1(matrix))
    assert macro_f1(matrix) >= 0.95
    stated = model.card.extra["performance"]["macro_f1"]
    assert macro_f1(matrix) == pytest.approx(stated, abs=0.005)


def test_sixty_fresh_simulated_cases(model, samples, monkeypatch):
    if importlib.util.find_spec("nilearn") is None:
        pytest.skip("nilearn carries the template; pip install nilearn")
    monkeypatch.syspath_prepend(str(samples.parent))
    sys.modules.pop("simulation", None)
    from simulation import KINDS, simulate_slice

    right: Counter[str] = Counter()
    for i in range(60):
        kind = KINDS[i % 3]
        image = simulate_slice(kind, FRESH_SEED + i).image
        right[kind] += model.predict(Study(image, Path(kind))).label == kind
    print("simulated, right of 20 each:", dict(right))
    assert right.total() >= 54


@pytest.mark.parametrize("name", ["png", "nifti", "mat", "dicom", "dicom-rtstruct"])
def test_the_samples_are_classified_right(model, samples, name):
    """The demo shows a classifier that works."""
    from napari_medxai.io import find_cases, load_case
    from napari_medxai.slices import select_slices

    # DICOM series carry no label.
    unnamed = {"dicom": "meningioma", "dicom-rtstruct": "pituitary"}
    for case in find_cases(samples / name).cases:
        study = load_case(case)
        slices = select_slices(study, "middle") if study.is_volume else None
        label = case.label or unnamed[name]
        assert model.predict(study, slices=slices).label == label, case.name


def test_readme_example_runs(samples, monkeypatch, capsys):
    root = samples.parent.parent
    readme = root / "README.md"
    (code,) = re.findall(r"```python\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(root)
    exec(compile(code, str(readme), "exec"), {})
    out = capsys.readouterr().out
    assert "gradcam glioma (256, 256)" in out
