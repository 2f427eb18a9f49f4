"""Splits by fold and patient, and the leaks that are refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from napari_medxai.errors import UsageError
from napari_medxai.training import Sample, read_samples, split
from napari_medxai.training.splitting import refuse_shared_pixels


def cases(n=60, per_patient=3, *, folds=0):
    """Make images of three classes, several of each patient."""
    made = []
    for i in range(n):
        patient = i // per_patient
        fold = str(patient // 3 % folds + 1) if folds else ""
        label = "abc"[patient % 3]
        made.append(
            Sample(Path(f"{i}.png"), label, fold, f"P{patient}", None, f"{i}.png")
        )
    return made


def test_folds_are_taken_as_they_are(training_data):
    samples = read_samples(training_data)
    found = split(samples, validation=["2"], test=["4"])
    assert {s.fold for s in found.training} == {"1", "3"}
    assert (len(found.selection), len(found.test), found.by) == (24, 24, "fold")
    paths = [{s.path for s in part} for part in found.parts().values()]
    assert not paths[0] & paths[1] | paths[0] & paths[2] | paths[1] & paths[2]
    assert split(samples).validation_folds == ("4",)
    assert split(samples, test=["4"]).validation_folds == ("3",)


def test_patients_stay_together_and_classes_in_proportion():
    samples = cases()
    found = split(samples, by="patient", test=["1"], seed=7)
    patients = [{s.patient for s in part} for part in found.parts().values()]
    assert not patients[0] & patients[1] | patients[0] & patients[2]
    assert sum(map(len, found.parts().values())) == len(samples)
    whole = Counter(s.label for s in samples)
    for fold in "12345":
        part = split(samples, by="patient", validation=[fold], seed=7).selection
        counts = Counter(s.label for s in part)
        # by whole patients of three images, a fifth of each class
        assert all(abs(counts[c] - n / 5) <= 3 for c, n in whole.items())
    again = split(samples, by="patient", test=["1"], seed=7)
    other = split(samples, by="patient", test=["1"], seed=8)
    assert again == found
    assert other.test != found.test


def test_without_folds_patients_are_split_and_images_only_when_said():
    samples = cases()
    assert split(samples).by == "patient"
    nameless = [replace(s, patient=None) for s in samples]
    with pytest.raises(UsageError, match="60 of 60 images have neither fold nor"):
        split(nameless)
    found = split(nameless, by="image", seed=1)
    assert found.by == "image"
    assert "too good" in found.words
    assert len(found.selection) == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"validation": ["9"]}, "fold 9 does not exist; the data has 1, 2, 3, 4"),
        ({"validation": ["1"], "test": ["1"]}, "cannot both choose the epoch and test"),
        ({"by": "patient", "folds": 50}, "50 folds need as many of each class"),
    ],
)
def test_splits_that_cannot_be_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        split(cases(folds=4), **arguments)


def test_missing_folds_and_classes_are_said():
    samples = cases(folds=4)
    with pytest.raises(UsageError, match="1 of 60 images have no fold"):
        split([replace(samples[0], fold=""), *samples[1:]])
    with pytest.raises(UsageError, match="nothing is left for a selection set"):
        split([replace(s, fold="1") for s in samples])
    moved = [replace(s, fold="1" if s.label == "b" else s.fold) for s in samples]
    with pytest.raises(UsageError, match="no b in the selection set"):
        split(moved, validation=["4"])


def test_a_patient_in_two_folds_is_refused():
    samples = cases(folds=4)
    moved = next(i for i, s in enumerate(samples) if s.fold == "1")
    leak = [replace(s, fold="4") if i == moved else s for i, s in enumerate(samples)]
    with pytest.raises(UsageError, match=r"1 patient\(s\) stand both .*P0.*"):
        split(leak, validation=["4"])
    with pytest.raises(UsageError, match="the selection set and in the test part"):
        split(leak, validation=["1"], test=["4"])
    # between folds that train there is nothing to leak
    assert split(leak, validation=["2"]).by == "fold"


def test_the_same_pixels_in_two_parts_are_refused_or_dropped():
    one, two, three = cases(3, 1)
    parts = {"training": (one, two), "selection": (three,), "test": ()}
    apart = {"training": ("d1", "d2"), "selection": ("d3",), "test": ()}
    assert refuse_shared_pixels(parts, apart)["training"] == [0, 1]
    shared = {**apart, "selection": ("d2",)}
    with pytest.raises(UsageError, match=r"1 image\(s\) have the same .*1.png and 2"):
        refuse_shared_pixels(parts, shared)
    assert refuse_shared_pixels(parts, shared, drop=True)["training"] == [0]
    held = {"training": (one,), "selection": (two,), "test": (three,)}
    twice = {"training": ("d1",), "selection": ("d2",), "test": ("d2",)}
    with pytest.raises(UsageError, match=r"remove them from labels\.csv"):
        refuse_shared_pixels(held, twice, drop=True)
