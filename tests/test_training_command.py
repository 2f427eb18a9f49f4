"""The command line of training: options become settings."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from napari_medxai.errors import UsageError
from napari_medxai.train import CHOICES, NUMBERS, main, parser, settings_of
from napari_medxai.training import TrainingSettings

BASE = ["data", "--arch", "vgg16", "--out", "m"]


def settings(*options):
    return settings_of(parser().parse_args([*BASE, *options]))


def test_without_options_it_is_the_recipe():
    assert settings() == TrainingSettings(arch="vgg16")
    paper = settings("--recipe", "brima2024")
    assert (paper.optimiser, paper.learning_rate, paper.batch_size) == ("sgd", 1e-3, 64)
    assert paper.momentum == pytest.approx(0.9395, abs=1e-4)
    assert (paper.learning_rate_decay, paper.epochs) == (3e-4, 20)
    assert (paper.size, paper.normalise, paper.augmentation) == (
        (225, 225),
        "data",
        "none",
    )
    assert (paper.initial_weights, paper.ema_decay, paper.mixup) == (None, 0, 0)
    assert settings("--recipe", "brima2024", "--epochs", "40").epochs == 40


def test_the_recipe_of_the_bundled_classifier_can_be_written_as_options():
    got = settings(
        *("--augmentation", "strong", "--mixup", "0.6", "--mixup-alpha", "0.4"),
        *("--label-smoothing", "0.02", "--class-weights", "0.85,1.3,1.0"),
        *("--validate", "4", "--epochs", "22", "--initial-weights", "w.pth"),
    )
    assert got == TrainingSettings(
        arch="vgg16",
        augmentation="strong",
        mixup=0.6,
        mixup_alpha=0.4,
        label_smoothing=0.02,
        class_weights=(0.85, 1.3, 1.0),
        validation=("4",),
        epochs=22,
        initial_weights=Path("w.pth"),
    )


def test_every_setting_has_an_option(tmp_path):
    stated = tmp_path / "p.json"
    stated.write_text('{"crop": null}')
    card = tmp_path / "card.json"
    card.write_text(
        json.dumps({"classes": ["a"], "licence": "L", "performance": {}, "head": "x"})
    )
    got = settings(
        *("--size", "96", "80", "64", "--channels", "3", "--device", "cpu"),
        *("--initial-weights", "hub", "--class-weights", "balanced", "--no-flip"),
        *("--validate", "1, 2", "--test", "3", "--drop-duplicates"),
        *("--deterministic", "--preprocessing", str(stated), "--card", str(card)),
    )
    assert (got.size, got.spatial_dims, got.channels) == ((96, 80, 64), 3, 3)
    assert (got.validation, got.test) == (("1", "2"), ("3",))
    assert (got.flip, got.drop_duplicates, got.deterministic) == (False, True, True)
    assert (got.initial_weights, got.class_weights) == ("hub", "balanced")
    assert (got.preprocessing, got.card) == ({"crop": None}, {"licence": "L"})
    assert settings("--size", "99").size == (99, 99)
    named = {"arch", "size", "channels", "device", "flip", "drop_duplicates", "card"}
    named |= {"deterministic", "validation", "test", "initial_weights"}
    named |= {"class_weights", "preprocessing", *NUMBERS, *CHOICES}
    assert named == {one.name for one in fields(TrainingSettings)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--class-weights", "a,b"], "numbers apart by commas"),
        (["--size", "1", "2", "3", "4"], "one, two or three"),
        (["--card", "none.json"], "cannot be read as JSON"),
        (["--batch-size", "1"], "at least 2"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        settings(*options)


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    arguments = [str(tmp_path), "--arch", "test_efficientnet"]
    assert main([*arguments, "--out", str(tmp_path / "m")]) == 2
    assert "labels.csv" in capsys.readouterr().err


def test_the_command_trains_and_prints_its_performance(training_data, tmp_path, capsys):
    out = tmp_path / "m"
    options = ["--arch", "test_efficientnet", "--out", str(out), "--size", "32"]
    options += ["--epochs", "1", "--batch-size", "72", "--precision", "fp32"]
    options += ["--device", "cpu", "--test", "3"]
    assert main([str(training_data), *options]) == 0
    printed = capsys.readouterr()
    assert '"macro_f1"' in printed.out
    assert printed.out.count('"confusion_matrix"') == 2
    assert str(out / "report.html") in printed.err
    assert "macro F1" in printed.err


def test_every_command_of_the_documentation_is_one():
    folder = Path(__file__).resolve().parent.parent / "docs"
    text = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.md"))
    start = "python -m napari_medxai.train "
    whole = text.replace("\\\n", " ")
    commands = [
        line.removeprefix(start).split("#")[0].split()
        for line in whole.splitlines()
        if line.startswith(start)
    ]
    assert len(commands) >= 6
    for command in commands:
        parsed = parser().parse_args(command)
        assert parsed.arch
        assert parsed.out
