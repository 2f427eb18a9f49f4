"""The reproduction's parts: draws, leaks, estimates, published figures, options."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from napari_medxai import cli
from napari_medxai.errors import UsageError
from napari_medxai.reproduce import main
from napari_medxai.reproduction import ReproductionOptions, plan, published
from napari_medxai.reproduction.counting import work_of_a_case
from napari_medxai.reproduction.estimate import Estimate, Row, hours_text, row_of
from napari_medxai.reproduction.explaining import Explained
from napari_medxai.reproduction.material import (
    draw,
    material,
    network_images,
    network_input,
)
from napari_medxai.reproduction.probe import Probe, Speed, probe
from napari_medxai.reproduction.tables import curve_rows
from napari_medxai.training import Sample, TrainingSettings, read_samples


def some(counts: dict[str, int]) -> list[Sample]:
    return [
        Sample(Path(f"{label}{i}.png"), label, name=f"{label}{i}")
        for label, n in counts.items()
        for i in range(n)
    ]


def test_draw_takes_the_classes_in_turn():
    samples = some({"a": 20, "b": 3, "c": 9})
    six = draw(samples, 6, seed=1)
    assert sorted(s.label for s in six) == list("aabbcc")
    assert [samples.index(s) for s in six] == sorted(samples.index(s) for s in six)
    twelve = draw(samples, 12, seed=1)
    assert set(six) < set(twelve)
    assert sum(s.label == "b" for s in twelve) == 3
    assert draw(samples, None, seed=1) == samples == draw(samples, 99, seed=1)
    assert any(draw(samples, 6, seed=seed) != six for seed in (2, 3))


def options(data: Path, out: Path, **more: object) -> ReproductionOptions:
    given = {"architectures": ("test_efficientnet",), "size": (32, 32), "device": "cpu"}
    return ReproductionOptions.of(quick=True, data=data, out=out, **{**given, **more})


def test_quick_data_keep_their_parts(training_data, tmp_path):
    found = material(
        options(training_data, tmp_path, validation=("2",), test=("3",)), tmp_path
    )
    by_name = {s.path.name: s for s in read_samples(training_data)}
    folds = {"training": {"1", "4"}, "selection": {"2"}, "test": {"3"}}
    for name, part in found.split.parts().items():
        assert {by_name[s.path.name].fold for s in part} <= folds[name]
        assert {s.patient for s in part} == {by_name[s.path.name].patient for s in part}
        for sample in part:
            assert sample.mask.resolve() == by_name[sample.path.name].mask.resolve()
        assert len({s.label for s in part}) == 2
    assert len(found.split.training) == 32
    assert len(found.judged) == 16 == len(found.split.test)
    assert found.n_available == 96


def test_the_same_pixels_on_both_sides_are_refused(training_data, tmp_path):
    found = material(options(training_data, tmp_path, validation=("4",)), tmp_path)
    twin = replace(found.split.training[0], patient="other", name="twin")
    twin = replace(twin, label=found.split.selection[0].label)
    leaking = replace(
        found,
        split=replace(found.split, selection=(*found.split.selection, twin)),
    )
    settings = TrainingSettings.of("default", arch="test_efficientnet", size=(32, 32))
    with pytest.raises(UsageError, match="same pixels"):
        network_images(leaking, settings, tmp_path / "images", quiet=True)
    images = network_images(found, settings, tmp_path / "images", quiet=True)
    assert {name: len(one) for name, one in images.items()} == {
        "training": 32,
        "selection": 16,
    }


def test_masks_beside_images_count_only_where_files_hold_them(tmp_path, training_data):
    found = material(options(training_data, tmp_path), tmp_path)
    assert found.masks == "none"
    for name in ("1.mat", "1.dcm"):
        (tmp_path / name).write_bytes(b"")
        sample = replace(found.judged[0], path=tmp_path / name)
        other = replace(found, split=replace(found.split, selection=(sample,)))
        assert other.masks == "auto"


def test_estimate_stops_there_and_is_taken_again(
    training_data, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "out"
    asked = [
        *(str(training_data), "--out", str(out), "--quick", "--estimate", "--size"),
        *("40", "--arch", "test_efficientnet,no_such_network,resnet10t", "--methods"),
        *("gradcam,random", "--pic", "pair", "--device", "cpu", "--epochs", "2"),
    ]
    assert main(asked) == 0
    text = capsys.readouterr().err
    assert "no_such_network" in text
    assert "Explaining 6 cases" in text
    assert {p.name for p in out.iterdir()} == {
        ".work",
        ".napari-medxai-output",
        "estimate.json",
    }
    found = json.loads((out / "estimate.json").read_text())
    small, unknown, large = found["architectures"]
    assert unknown["reason"].startswith("architecture 'no_such_network'")
    assert unknown["training_hours"] is None
    assert small["parameters"] < 200_000 < 4_000_000 < large["parameters"]
    hours = [row["training_hours"] for row in (small, large)]
    assert min(hours) > 0
    assert found["training_hours"] == pytest.approx(sum(hours), rel=1e-3)
    assert small["seconds_per_case"] > 0
    # weights, gradients, AdamW's two and the average: 20 bytes each
    assert large["training_gib"] > 20 * large["parameters"] / 2**30
    hours = [row["explaining_hours"] for row in (small, large)]
    assert found["explaining_hours"] == sorted(hours)

    def never(*_: object) -> None:
        raise AssertionError("it was measured again")

    monkeypatch.setattr(plan, "probe", never)
    assert main(asked) == 0
    assert "no_such_network" in capsys.readouterr().err


def test_hours_are_passes_times_their_seconds():
    measured = Probe(
        parameters=10,
        step=Speed(0.5, 0.25),
        forward=Speed(0.1, 0.01),
        gradient=Speed(0.2, 0.03),
        channels=100,
        training_bytes=2**31,
        explaining_bytes=2**30,
    )
    work = SimpleNamespace(
        passes=SimpleNamespace(
            forward_calls=3, forward_images=30, gradient_calls=2, gradient_images=16
        ),
        images_per_channel=1.0,
        seconds=2.0,
    )
    settings = TrainingSettings.of("default", arch="x", epochs=4, batch_size=8)
    row = row_of(
        measured,
        settings,
        work,
        training=43,
        judged=10,
        cases=6,
        augmentation=0.002,
    )
    seconds = 0.0
    for _ in range(4):  # epochs
        for _ in range(5):  # full batches of 43 images
            seconds += 0.5 + 8 * 0.25 + 8 * 0.002
        seconds += 10 * 0.01
    assert row.training_hours == pytest.approx(seconds / 3600)
    case = 2.0 + 3 * 0.1 + (30 + 100) * 0.01 + 2 * 0.2 + 16 * 0.03
    assert row.seconds_per_case == pytest.approx(case)
    assert row.explaining_hours == pytest.approx(6 * case / 3600)
    assert (row.training_gib, row.explaining_gib) == (2.0, 1.0)


def test_estimate_of_the_best_is_a_range_and_of_names_a_sum():
    rows = (
        Row(architecture="a", training_hours=1.0, explaining_hours=2.0),
        Row(architecture="b", training_hours=4.0, explaining_hours=0.5),
        Row(architecture="c", reason="broken"),
    )
    best = Estimate(rows=rows, cases=3, explained=(), device="cpu")
    assert best.training_hours == 5.0
    assert best.explaining_hours == (0.5, 2.0)
    every = replace(best, explained=("a", "b", "c"))
    assert every.explaining_hours == (2.5, 2.5)
    assert any("broken" in line for line in every.lines())
    assert [hours_text(h) for h in (0.001, 0.5, 2.25, 250.4, math.nan)] == [
        "1 min",
        "30 min",
        "2.2 h",
        "250 h",
        "not known",
    ]


@pytest.mark.parametrize(
    ("method", "gradients", "per_channel"),
    [
        ("vanilla_gradient", 1, 0),
        ("integrated_gradients", 25, 0),
        ("guided_ig", 25, 0),
        ("scorecam", 0, 1),
        ("random", 0, 0),
    ],
)
def test_passes_of_a_case_are_counted(method, gradients, per_channel):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 48), dtype=np.uint8)
    found = work_of_a_case(
        image,
        network_input(TrainingSettings.of("default", arch="x", size=(48, 48))),
        classes=3,
        methods=[method],
        parameters={"guided_ig": {"steps": 25, "fraction": 0.5, "max_dist": 1.0}},
        presets=["pair"],
    )
    assert not found.failed
    # finding the target layer takes one more pass with a gradient
    assert gradients <= found.passes.gradient_images <= gradients + 2
    assert found.images_per_channel == pytest.approx(per_channel, abs=0.3)
    # two ends, and at most a pass for each of the thirteen thresholds
    assert 2 < found.passes.forward_images + 4 * per_channel <= 2 + 13 + 4
    assert found.seconds > 0


def test_probe_weighs_what_a_gradient_keeps(monkeypatch):
    """Of a network whose activations can be added up by hand."""

    def tiny(*_: object, **__: object) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.Sigmoid(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        )

    monkeypatch.setattr("napari_medxai.reproduction.probe.build", tiny)
    settings = TrainingSettings.of(
        "default", arch="tiny", size=(64, 64), device="cpu", precision="fp32"
    )
    found = probe(settings, 3)
    assert found.parameters == 6 * 9 + 6 + 6 * 3 + 3
    assert found.channels == 6
    # an image: the input, the sigmoid's output (twice: the pool keeps its input too)
    image = 64 * 64 * 4 * (1 + 6)
    weights = 4 * found.parameters
    expected = weights * 5 + image * settings.batch_size
    assert found.training_bytes == pytest.approx(expected, rel=0.02)
    assert found.explaining_bytes == pytest.approx(weights + 8 * image, rel=0.02)
    for speed in (found.step, found.forward, found.gradient):
        assert speed.of(1, 8) > 0


class Lines:
    """A summary with a line of every method that ran."""

    def __init__(self, values: dict[str, float]) -> None:
        self.values = values

    def find(self, method: str, metric: str, *, preset: str, aggregation: str):
        if method not in self.values:
            return None
        return SimpleNamespace(
            n=9,
            n_excluded=1,
            value=self.values[method],
            ci_low=0.1,
            ci_high=0.9,
        )


def test_published_areas_stand_beside_the_medians(tmp_path):
    one = Explained(
        architecture="a",
        folder=tmp_path / "explained" / "a",
        summary=Lines({"xrai": 0.6, "random": math.nan, "gradcam": 0.3}),
    )
    methods, presets = ["xrai", "random", "gradcam"], ["pair", "brima2024"]
    found = curve_rows([one], methods, presets, published.MRI, tmp_path)
    beside = {
        (r["metric"], r["method"]): r
        for r in found
        if (r["preset"], r["aggregation"]) == ("brima2024", "median_curve")
    }
    xrai = beside["sic", "xrai"]
    assert (xrai["value"], xrai["published"]) == (0.6, 0.502)
    assert xrai["difference"] == pytest.approx(0.098)
    assert "BioData Mining" in xrai["published_source"]
    assert xrai["source"] == "explained/a/summary.csv"
    assert beside["sic", "random"]["published"] == 0.654
    assert beside["sic", "random"]["difference"] is None  # all images were excluded
    assert beside["aic", "gradcam"]["published"] is None
    assert beside["aic", "gradcam"]["published_note"] == "about 0"
    assert beside["aic", "gradcam"]["difference"] is None
    assert beside["sic", "scorecam"]["published"] == 0.511  # did not run
    assert "value" not in beside["sic", "scorecam"]
    means = [r for r in found if r["aggregation"] == "mean_curve"]
    assert means
    assert not any("published" in r for r in means)
    plain = curve_rows([one], methods, presets, "", tmp_path)
    assert plain
    assert not any("published" in r for r in plain)


def test_data_sets_are_known_by_their_classes():
    assert published.dataset_of(["Glioma", "meningioma", "pituitary"]) == "mri"
    assert published.dataset_of(["covid19", "normal", "pneumonia"]) == "radiographs"
    assert published.dataset_of(["COVID", "Normal"]) == "radiographs"
    assert published.dataset_of(["high", "low"]) == ""
    assert published.dataset_of(["glioma", "pituitary"]) == ""


def test_recipe_of_the_paper_trains_as_it_did(training_data, tmp_path):
    chosen = ReproductionOptions(data=training_data, out=tmp_path, recipe="brima2024")
    assert len(chosen.architectures) == 9
    settings = chosen.settings("vgg16")
    assert (settings.optimiser, settings.epochs, settings.batch_size) == ("sgd", 20, 64)
    assert settings.size == (225, 225)
    assert settings.augmentation == "none"
    assert chosen.settings("vgg16", epochs=40).epochs == 40
    assert chosen.assignments == (
        "guided_ig.steps=25",
        "guided_ig.fraction=0.5",
        "guided_ig.max_dist=1.0",
    )
    assert replace(chosen, methods="gradcam").assignments == ()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--explain", "vgg19", "--arch", "vgg16"], "vgg19: not among"),
        (["--arch", "vgg16,vgg16"], "given twice"),
        (["--arch", ""], "no architecture"),
        (["--recipe", "mine"], "recipe 'mine' is unknown"),
        (["--initial-weights", "w.pth"], "weights of one architecture"),
        (["--methods", "grad"], "grad"),
        (["--pic", "paris"], "paris"),
        (["--limit", "0"], "limit"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--validate", "9"], "fold 9 does not exist"),
    ],
)
def test_wrong_usage_is_told_before_anything_runs(
    more, text, training_data, tmp_path, capsys
):
    out = tmp_path / "out"
    assert main([str(training_data), "--out", str(out), *more]) == 2
    assert text in capsys.readouterr().err
    assert not (out / "estimate.json").exists()


def test_command_is_registered(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["reproduce", "--help"])
    assert ended.value.code == 0
    assert "--estimate" in capsys.readouterr().out
