"""Model folders, loading, predicting."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from napari_medxai import load_model, load_study
from napari_medxai.errors import ModelError
from napari_medxai.models import ModelCard, build, names, read_folder, write_folder
from napari_medxai.models.architectures import load_initial_weights
from napari_medxai.preprocess import Preprocessing

SPEC = Preprocessing(size=(32, 32))


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    module = build("test_efficientnet", classes=2)
    card = ModelCard("test_efficientnet", ("a", "b"), SPEC, extra={"limits": "none"})
    write_folder(tmp_path / "model", module, card)
    return tmp_path / "model"


def test_round_trip_keeps_weights_and_card(folder):
    module, card, digest = read_folder(folder)
    assert (card.classes, card.extra["limits"]) == (("a", "b"), "none")
    torch.manual_seed(0)
    fresh = build("test_efficientnet", classes=2).state_dict()
    for key, value in module.state_dict().items():
        assert torch.allclose(value.float(), fresh[key].float(), rtol=1e-3, atol=1e-6)
    assert len(digest) == 64
    assert not list(folder.glob(".*"))


def test_prediction_is_the_softmax_of_the_network_input(folder, blobs):
    model = load_model(folder)
    study = load_study(blobs / "images" / "0.png")
    got = model.predict(study).probabilities
    image = model.input(study).image.astype(np.float32) / 255
    with torch.no_grad():
        logits = model.module(torch.from_numpy((image - 0.5) / 0.5)[None, None])[0]
    exp = np.exp(logits.double().numpy())
    assert np.allclose(got, exp / exp.sum(), atol=1e-5)
    assert model.predict(study).label == model.classes[int(got.argmax())]


def test_volume_prediction_has_a_row_per_slice(folder, samples):
    model = load_model(folder)
    study = load_study(samples / "nifti" / "glioma.nii.gz")
    got = model.predict(study, slices=[3, 5]).probabilities
    assert got.shape == (study.slices, 2)
    assert np.isfinite(got).all(axis=1).nonzero()[0].tolist() == [3, 5]


@pytest.mark.parametrize("name", names())
def test_the_nine_are_known_to_timm(name):
    import timm

    from napari_medxai.models.architectures import PAPER

    assert timm.is_model(PAPER[name])


def test_unknown_architecture_suggests():
    with pytest.raises(ModelError, match="resnet50"):
        build("resnet5O", classes=2)
    with pytest.raises(ModelError, match="2-D only"):
        build("vgg16", classes=2, spatial_dims=3)


def damage_weights(folder):
    (folder / "weights.safetensors").write_bytes(b"not weights")


def damage_card(folder):
    (folder / "model.json").write_text("{")


def change_classes(folder):
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"classes": ["a", "b", "c"]}))


def repeat_classes(folder):
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"classes": ["a", "a"]}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_weights, "not a safetensors file"),
        (damage_card, "not valid JSON"),
        (change_classes, "does not fit"),
        (repeat_classes, "different names"),
        (lambda f: (f / "weights.safetensors").unlink(), "no weights.safetensors"),
        (shutil.rmtree, "no model"),
    ],
)
def test_damaged_folders_are_refused_in_words(folder, damage, words):
    damage(folder)
    with pytest.raises(ModelError, match=words):
        load_model(folder)


def test_wrong_settings_are_refused(folder):
    with pytest.raises(ModelError, match="precision"):
        load_model(folder, precision="fp8")
    with pytest.raises(ModelError, match="batch size"):
        load_model(folder, batch_size=0)
    with pytest.raises(ModelError, match="device"):
        load_model(folder, device="abacus")
    with pytest.raises(ModelError, match="it knows a, b"):
        load_model(folder).class_index("c")


def test_initial_weights_by_order_and_grey_stem(tmp_path):
    torch.manual_seed(1)
    source = build("test_efficientnet", classes=1000, channels=3).eval()
    renamed = {f"k{i}": v for i, v in enumerate(source.state_dict().values())}
    torch.save(renamed, tmp_path / "w.pth")
    target = build("test_efficientnet", classes=2, channels=1).eval()
    load_initial_weights(target, "test_efficientnet", tmp_path / "w.pth")
    grey = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        expected = source.forward_features(grey.expand(-1, 3, -1, -1))
        assert torch.allclose(target.forward_features(grey), expected, atol=1e-5)
    del renamed["k0"]
    torch.save(renamed, tmp_path / "short.pth")
    with pytest.raises(ModelError, match="do not fit"):
        load_initial_weights(target, "test_efficientnet", tmp_path / "short.pth")
