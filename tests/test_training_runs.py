"""Trainings from data to model folder: images, colour, volumes; killed and resumed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from napari_medxai import load_model, load_study, saliency
from napari_medxai.errors import Cancelled, StudyError, UsageError
from napari_medxai.training import TrainingSettings, outcome, train
from napari_medxai.training.augmentation import STRENGTHS, Augmentation, mixed
from napari_medxai.training.batches import batches
from napari_medxai.training.images import read_images
from napari_medxai.training.loop import Run
from napari_medxai.training.optimisation import Average, class_weights, learning_rate
from napari_medxai.training.samples import read_samples

TINY = TrainingSettings(
    arch="test_efficientnet",
    size=(32, 32),
    epochs=3,
    batch_size=24,
    precision="fp32",
    device="cpu",
    validation=("4",),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Images as the network sees them, read once for all trainings here."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _without_pages(monkeypatch):
    """Leave out the pages: test_training_report.py looks at them."""
    monkeypatch.setattr(outcome, "write_report", lambda out, story: None)


def same(a, b):
    return all(
        torch.equal(x, y)
        for x, y in zip(
            a.module.state_dict().values(), b.module.state_dict().values(), strict=True
        )
    )


@pytest.fixture(scope="module")
def whole(training_data, tmp_path_factory, cache):
    """A training that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "model"
    return train(training_data, out, TINY, quiet=True, cache=cache)


def test_training_learns_and_states_its_selection_set(tiny_model):
    model = load_model(tiny_model)
    figures = model.card.extra["performance"]
    assert figures["macro_f1"] > 0.9
    assert figures["n"] == 24
    assert "selection set" in figures["data"]
    with (tiny_model / "history.csv").open() as file:
        epochs = [row["epoch"] for row in csv.DictReader(file)]
    assert epochs == [str(i + 1) for i in range(len(epochs))]
    assert not (tiny_model / ".training").exists()


class Killed(Exception):
    pass


@pytest.mark.parametrize(("epoch", "step"), [(1, 0), (1, 2), (0, 1)])
def test_an_interrupted_training_ends_with_the_same_weights(
    whole, training_data, tmp_path, epoch, step, monkeypatch, cache
):
    one_step = Run._one_step

    def die(self, *batch, **arguments):
        if (self.epoch, self.step) == (epoch, step):
            raise Killed
        one_step(self, *batch, **arguments)

    settings = replace(TINY, checkpoint_minutes=0.0)
    monkeypatch.setattr(Run, "_one_step", die)
    with pytest.raises(Killed):
        train(training_data, tmp_path / "m", settings, quiet=True, cache=cache)
    assert not (tmp_path / "m" / "model.json").exists()
    monkeypatch.setattr(Run, "_one_step", one_step)
    assert same(
        train(training_data, tmp_path / "m", settings, quiet=True, cache=cache), whole
    )


def test_a_killed_process_leaves_what_the_next_needs(training_data, tmp_path, cache):
    settings = replace(
        TINY, epochs=4, batch_size=12, deterministic=True, checkpoint_minutes=0.0,
        augmentation="strong", mixup=0.5,
    )  # fmt: skip
    out = tmp_path / "m"
    command = [sys.executable, "-m", "napari_medxai.train", str(training_data)]
    command += ["--arch", settings.arch, "--out", str(out), "--size", "32"]
    command += ["--epochs", "4", "--batch-size", "12", "--precision", "fp32"]
    command += ["--device", "cpu", "--validate", "4", "--deterministic", "--quiet"]
    command += ["--checkpoint-minutes", "0", "--augmentation", "strong"]
    command += ["--mixup", "0.5"]
    threads = str(torch.get_num_threads())
    process = subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": threads, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
    )
    checkpoint = out / ".training" / "checkpoint.pt"
    reached = (0, 0)
    try:
        while process.poll() is None and reached < (1, 2):
            time.sleep(0.02)
            if checkpoint.is_file():
                state = torch.load(checkpoint, weights_only=True)
                reached = (state["epoch"], state["step"])
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (1, 2) <= reached < (4, 0)
    assert not (out / "model.json").exists()
    resumed = train(training_data, out, settings, quiet=True, cache=cache)
    assert same(
        resumed, train(training_data, tmp_path / "w", settings, quiet=True, cache=cache)
    )
    history = (out / "history.csv").read_text().splitlines()
    assert len(history) == 5


def test_the_same_command_returns_what_is_there_and_refuses_another(
    whole, training_data, tmp_path, capsys, cache
):
    out = tmp_path / "m"
    train(training_data, out, TINY, quiet=True, cache=cache)
    before = (out / "weights.safetensors").stat().st_mtime_ns
    again = train(training_data, out, replace(TINY, workers=1))
    assert same(again, whole)
    assert (out / "weights.safetensors").stat().st_mtime_ns == before
    assert "already trained" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"learning_rate 0.001 before, 1.0 now"):
        train(
            training_data,
            out,
            replace(TINY, learning_rate=1.0),
            quiet=True,
            cache=cache,
        )
    (out / "training.json").unlink()
    with pytest.raises(UsageError, match="was not trained there"):
        train(training_data, out, TINY, quiet=True, cache=cache)


def test_workers_and_cache_change_nothing(whole, training_data, tmp_path, cache):
    settings = replace(TINY, workers=2)
    own = tmp_path / "cache"
    found = train(training_data, tmp_path / "m", settings, quiet=True, cache=own)
    assert same(found, whole)
    kept = sorted(p.suffix for p in own.iterdir())
    assert kept == [".json", ".json", ".npy", ".npy"]


def test_progress_is_told_and_can_cancel(training_data, tmp_path, cache):
    calls = []

    def progress(done, total):
        calls.append((done, total))
        if total == 9 and done == 5:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        train(training_data, tmp_path / "m", TINY, quiet=True, progress=progress)
    assert calls[:2] == [(1, 72), (2, 72)]
    assert calls[-1] == (5, 9)


def test_early_stopping_and_the_last_epoch(training_data, tmp_path, monkeypatch, cache):
    scores = iter([0.5, 0.7, 0.7, 0.6, 0.9, 0.9])
    losses = iter([1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    from napari_medxai.training import loop

    monkeypatch.setattr(loop, "macro_f1", lambda matrix: next(scores))
    monkeypatch.setattr(
        loop, "negative_log_likelihood", lambda answers, truth: next(losses)
    )
    settings = replace(TINY, epochs=6, patience=2, batch_size=72)
    train(training_data, tmp_path / "m", settings, quiet=True, cache=cache)
    record = json.loads((tmp_path / "m" / "training.json").read_text())
    assert (record["epochs"], record["kept_epoch"]) == (4, 2)
    scores, losses = iter([0.9, 0.1]), iter([1.0, 1.0])
    last = replace(TINY, epochs=2, keep="last", batch_size=72)
    model = train(training_data, tmp_path / "l", last, quiet=True, cache=cache)
    record = json.loads((tmp_path / "l" / "training.json").read_text())
    assert record["kept_epoch"] == 2
    assert "which chose the temperature" in model.card.extra["performance"]["data"]


def test_extra_data_trains_and_must_not_leak(training_data, tmp_path, cache):
    extra = tmp_path / "extra"
    extra.mkdir()
    source = training_data / "images"
    held = next(s for s in read_samples(training_data) if s.fold == "4")
    (extra / "labels.csv").write_text(f"file,label\nc.png,{held.label}\nd.png,high\n")
    (extra / "c.png").write_bytes(held.path.read_bytes())
    Image.fromarray(np.eye(48, dtype=np.uint8) * 255).save(extra / "d.png")
    (extra / "labels.csv").write_text("file,label\nc.png,high\nd.png,low\n")
    with pytest.raises(UsageError, match=r"1 image\(s\) have the same pixels"):
        train(
            training_data, tmp_path / "m", TINY, extra=[extra], quiet=True, cache=cache
        )
    settings = replace(TINY, epochs=1, drop_duplicates=True)
    model = train(
        training_data, tmp_path / "n", settings, extra=[extra], quiet=True, cache=cache
    )
    assert model.card.extra["training_data"].startswith("73 images (high 36, low 37)")
    assert json.loads((tmp_path / "n" / "training.json").read_text())["left_out"] == 1
    (extra / "labels.csv").write_text(
        f"file,label,patient\nd.png,low,{held.patient}\nc.png,high,Q\n"
    )
    with pytest.raises(UsageError, match=r"1 patient\(s\) stand both"):
        train(
            training_data, tmp_path / "p", TINY, extra=[extra], quiet=True, cache=cache
        )
    (extra / "labels.csv").write_text("file,label\nd.png,dog\nc.png,high\n")
    with pytest.raises(UsageError, match="unknown classes: dog"):
        train(
            training_data, tmp_path / "q", TINY, extra=[extra], quiet=True, cache=cache
        )
    assert source.is_dir()


def colour_data(folder, n=24):
    """Red and green squares of patients without folds."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = ["file,label,patient"]
    for i in range(n):
        image = rng.integers(60, size=(20, 24, 3), dtype=np.uint8)
        image[4:12, 4:12, i % 2] = 250
        Image.fromarray(image).save(folder / "images" / f"{i}.png")
        lines.append(f"{i}.png,{['red', 'green'][i % 2]},p{i}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_colour_is_split_by_patient_and_normalised_by_the_data(tmp_path):
    data = colour_data(tmp_path / "d")
    settings = replace(
        TINY, channels=3, validation=(), normalise="data", batch_size=8, epochs=2,
        folds=3, flip=False, class_weights="balanced", precision="bf16",
    )  # fmt: skip
    model = train(data, tmp_path / "m", settings, quiet=True)
    assert model.preprocessing.channels == 3
    used = read_samples(data)
    with (tmp_path / "m" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    held = {row["file"] for row in rows}
    images = np.stack([model.input(s.load()).image for s in used if s.name not in held])
    values = images.reshape(-1, 3) / 255
    assert model.preprocessing.mean == pytest.approx(
        tuple(values.mean(axis=0)), abs=1e-5
    )
    assert model.preprocessing.std == pytest.approx(tuple(values.std(axis=0)), abs=1e-5)
    assert {row["fold"] for row in rows} == {"3"}
    for row in rows:
        study = load_study(data / "images" / row["file"], masks="none")
        p = model.predict(study).probabilities
        assert [float(row[c]) for c in model.classes] == pytest.approx(p, abs=1e-4)


def test_volumes_train_save_load_and_explain(tmp_path):
    rng = np.random.default_rng(0)
    data = tmp_path / "d"
    for part in ("train", "val"):
        for label in ("big", "small"):
            (data / part / label).mkdir(parents=True)
            for i in range(4):
                volume = rng.normal(50, 5, (18, 20, 16)).astype(np.float32)
                half = 7 if label == "big" else 2
                volume[
                    9 - half : 9 + half, 10 - half : 10 + half, 8 - half : 8 + half
                ] += 90
                image = nibabel.Nifti1Image(volume, np.diag([1.0, 1.0, 1.5, 1.0]))
                nibabel.save(image, data / part / label / f"{i}.nii.gz")
    settings = TrainingSettings(
        arch="monai:resnet10",
        size=(16, 20, 20),
        epochs=2,
        batch_size=4,
        augmentation="strong",
        precision="fp32",
        device="cpu",
        validation=("val",),
    )
    model = train(data, tmp_path / "m", settings, quiet=True)
    assert (model.card.spatial_dims, model.classes) == (3, ("big", "small"))
    study = load_study(data / "val" / "big" / "0.nii.gz", masks="none")
    image = model.input(study).image
    assert image.shape == (16, 20, 20)
    x = model.tensor(image[None])
    for method in ("vanilla_gradient", "gradcam"):
        map_ = saliency.compute(method, model.module, x, 0)
        assert np.isfinite(np.asarray(map_)).all()
    with pytest.raises(StudyError, match="the network takes images"):
        train(data, tmp_path / "n", replace(TINY, validation=("val",)), quiet=True)
    with pytest.raises(UsageError, match="from scratch"):
        train(
            data, tmp_path / "o", replace(settings, initial_weights="hub"), quiet=True
        )


def test_grey_and_colour_do_not_mix(tmp_path):
    data = colour_data(tmp_path / "d", 8)
    Image.fromarray(np.zeros((20, 24), dtype=np.uint8)).save(data / "images" / "1.png")
    settings = replace(TINY, channels=3, validation=(), folds=2)
    with pytest.raises(StudyError, match="grey and colour mixed"):
        train(data, tmp_path / "m", settings, quiet=True)
    assert not list((tmp_path / "m").rglob("*.partial"))


def test_hub_weights_are_asked_for_and_files_are_read(
    training_data, tmp_path, monkeypatch, cache
):
    from napari_medxai.models import build
    from napari_medxai.training import trainer

    asked = []

    def hub(name, **arguments):
        asked.append((name, arguments))
        return build(name, **arguments)

    monkeypatch.setattr(trainer, "pretrained", hub)
    one = replace(TINY, epochs=1, batch_size=72)
    settings = replace(one, initial_weights="hub")
    train(training_data, tmp_path / "h", settings, quiet=True, cache=cache)
    assert asked == [
        ("test_efficientnet", {"classes": 2, "channels": 1, "size": (32, 32)})
    ]
    torch.manual_seed(5)
    source = build("test_efficientnet", classes=1000, channels=3)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    started = trainer._network(replace(one, initial_weights=tmp_path / "w.pth"), 2)
    scratch = trainer._network(one, 2)
    key = "blocks.1.0.conv_exp.weight"
    assert torch.equal(started.state_dict()[key], source.state_dict()[key])
    assert not torch.equal(scratch.state_dict()[key], source.state_dict()[key])


def test_a_loss_that_is_not_finite_ends_the_training_in_words(
    training_data, tmp_path, cache
):
    settings = replace(TINY, optimiser="sgd", learning_rate=1e30, clip=0.0)
    with pytest.raises(UsageError, match="the loss is not finite"):
        train(training_data, tmp_path / "m", settings, quiet=True, cache=cache)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3), (8, 10, 12)])
def test_augmentation_is_decided_by_its_seed(strength, shape):
    image = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    size = shape[:2] if shape[-1] == 3 else shape
    one, two = (Augmentation(strength, size, flip=True) for _ in range(2))
    out = one(image, 5)
    assert out.shape == ((3, 20, 24) if shape[-1] == 3 else (1, *shape))
    assert out.dtype == torch.float32
    assert 0 <= out.min() <= out.max() <= 1
    one(image, 6)
    assert torch.equal(two(image, 5), one(image, 5))
    plain = torch.from_numpy(image).float() / 255
    plain = plain.movedim(-1, 0) if shape[-1] == 3 else plain[None]
    assert torch.equal(out, plain) == (strength == "none")


def test_mirroring_is_left_to_right_alone():
    image = np.zeros((8, 10), dtype=np.uint8)
    image[2, 1] = 255
    image[5, 2] = 255
    augment = Augmentation("light", (8, 10), flip=True)
    augment(image, 0)
    flip = augment._chain.transforms[0]
    flip.set_random_state(seed=0)
    seen = {tuple(map(tuple, np.argwhere(flip(image[None])[0] > 0))) for _ in range(20)}
    assert seen == {((2, 1), (5, 2)), ((2, 8), (5, 7))}
    without = Augmentation("light", (8, 10), flip=False)
    without(image, 0)
    assert type(without._chain.transforms[0]).__name__ == "RandAffine"


def test_mixup_has_one_weight_for_a_batch():
    images = torch.arange(4.0).reshape(4, 1, 1, 1)
    targets = torch.eye(4)
    generator = np.random.default_rng(3)
    again = np.random.default_rng(3)
    got, labels = mixed(images, targets, share=1.0, alpha=0.4, generator=generator)
    again.random()
    weight = again.beta(0.4, 0.4)
    other = again.permutation(4)
    for i in range(4):
        assert float(got[i]) == pytest.approx(weight * i + (1 - weight) * other[i])
        expected = weight * np.eye(4)[i] + (1 - weight) * np.eye(4)[other[i]]
        assert labels[i].numpy() == pytest.approx(expected)
    kept, _ = mixed(images, targets, share=0.0, alpha=0.4, generator=generator)
    assert kept is images


def test_every_image_is_seen_once_an_epoch_and_order_is_kept(training_data, tmp_path):
    from napari_medxai.preprocess import Preprocessing

    samples = read_samples(training_data)[:10]
    images = read_images(
        samples, Preprocessing(size=(8, 8)), tmp_path / "c", quiet=True
    )
    arguments = {"size": 5, "epochs": 2, "seed": 1}
    labels, chosen = np.arange(10), np.arange(10)
    augment = Augmentation("none", (8, 8), flip=False)
    seen = [y for _, y in batches(images, labels, chosen, augment, **arguments)]
    for epoch in (seen[:2], seen[2:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert seen[0].tolist() != seen[2].tolist()
    rest = [
        y
        for _, y in batches(images, labels, chosen, augment, start=(0, 1), **arguments)
    ]
    assert all(torch.equal(a, b) for a, b in zip(rest, seen[1:], strict=True))
    few = [y for _, y in batches(images, labels, chosen[:3], augment, **arguments)]
    assert [sorted(y.tolist()) for y in few] == [[0, 1, 2]] * 2


def test_learning_rates():
    one = TrainingSettings(arch="x", learning_rate=0.2)
    rates = [learning_rate(one, step, 1000) for step in range(1000)]
    assert max(rates) == pytest.approx(0.2, rel=1e-4)
    assert int(np.argmax(rates)) in range(145, 152)
    assert rates[0] < 0.01
    assert rates[575] == pytest.approx(0.1, rel=1e-3)
    assert rates[-1] < 1e-5
    paper = TrainingSettings.of("brima2024", arch="x")
    assert learning_rate(paper, 0, 10) == 1e-3
    assert learning_rate(paper, 500, 10) == pytest.approx(1e-3 / (1 + 3e-4 * 500))


def test_averaged_weights_follow_the_definition():
    network = torch.nn.BatchNorm1d(2)
    average = Average(network, 0.9)
    expected = network.weight.detach().clone()
    for n in range(1, 200):
        with torch.no_grad():
            network.weight.fill_(n)
        network.num_batches_tracked.fill_(n)
        average.update()
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert torch.allclose(average.module.weight, expected)
    assert int(average.module.num_batches_tracked) == 199
    assert Average(network, 0.0).module is network


def test_class_weights():
    labels = ["a"] * 6 + ["b"] * 2
    one = TrainingSettings(arch="x")
    assert class_weights(one, labels, "ab") is None
    balanced = class_weights(replace(one, class_weights="balanced"), labels, "ab")
    assert balanced.tolist() == pytest.approx([8 / 12, 2.0])
    given = replace(one, class_weights=(0.5, 1.5))
    assert class_weights(given, labels, "ab").tolist() == [0.5, 1.5]
    with pytest.raises(UsageError, match="2 class weights for 3 classes: a, b, c"):
        class_weights(given, labels, "abc")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"augmentation": "huge"}, "augmentation is 'huge'; it can be none, light"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"mixup": 2.0}, "mixup must lie between 0 and 1"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"class_weights": "equal"}, "none, balanced or a number"),
        ({"class_weights": (1.0, 0.0)}, "must all be above 0"),
        ({"preprocessing": {"mean": [0.5]}}, "intensity and crop, not mean"),
    ],
)
def test_wrong_settings_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        TrainingSettings(arch="x", **arguments)
    with pytest.raises(UsageError, match="recipe 'mine' is unknown"):
        TrainingSettings.of("mine", arch="x")


def test_stated_preprocessing_is_used(training_data, tmp_path, cache):
    rule = {"default": {"window": [100, 200]}}
    settings = replace(TINY, epochs=1, batch_size=72, preprocessing={"intensity": rule})
    model = train(training_data, tmp_path / "m", settings, quiet=True, cache=cache)
    said = json.loads((tmp_path / "m" / "model.json").read_text())
    assert said["preprocessing"]["intensity"] == rule
    assert model.preprocessing.mean == (0.5,)
