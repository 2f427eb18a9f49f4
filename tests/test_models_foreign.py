"""Models that are brought along: each kind, each thing that may not fit."""

from __future__ import annotations

import csv
import json
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import napari_medxai as mx
from napari_medxai import batch, saliency
from napari_medxai.cli import main as cli
from napari_medxai.errors import MethodError, ModelError
from napari_medxai.intensity import Percentiles, Window, ZScore
from napari_medxai.models import ModelCard, build, write_folder
from napari_medxai.models.transforms import Unknown, preprocessing_of
from napari_medxai.models.weights import read_state
from napari_medxai.preprocess import Preprocessing

ROOT = Path(__file__).resolve().parent.parent
SIZE = 32
ARCH = "test_efficientnet"
CLASSES = ("absent", "present")
PREPROCESSING = {
    "size": [SIZE, SIZE],
    "channels": 1,
    "intensity": {"default": {"percentiles": [0, 99.9], "over": "slice"}},
    "crop": None,
    "mean": [0.5],
    "std": [0.5],
}
SPEC = Preprocessing.from_json(PREPROCESSING)
COLOUR = {**PREPROCESSING, "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}


class Small(nn.Module):
    """A plain network with batch normalisation, for every kind of file."""

    def __init__(self, outputs: int = 2, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, outputs)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3))) * 3


def seeded(make, *arguments, **keywords):
    torch.manual_seed(0)
    return make(*arguments, **keywords).eval()


def scripted(network, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit announces its retirement
        torch.jit.save(torch.jit.script(network), str(path))
    return path


def described(folder, **changes):
    data = {"classes": list(CLASSES), "preprocessing": PREPROCESSING, **changes}
    (folder / "model.json").write_text(json.dumps(data))
    return folder / "model.json"


@pytest.fixture
def study(blobs):
    return mx.load_study(blobs / "images" / "1.png")


@pytest.fixture
def script(tmp_path):
    described(tmp_path)
    return scripted(seeded(Small), tmp_path / "network.ts")


def answer(network, study, head="softmax"):
    """What a network says of a study, by hand."""
    x = SPEC.tensor(SPEC.apply(study).image[None])
    with torch.no_grad():
        logits = network(x).double()
    return (logits.softmax(1) if head == "softmax" else logits.sigmoid())[0].numpy()


# Weights


@pytest.mark.parametrize(
    "form", ["plain", "checkpoint", "lightning", "parallel", "legacy", "safetensors"]
)
def test_weights_in_every_wrapping(form, tmp_path, study):
    network = seeded(build, ARCH, classes=2)
    state = network.state_dict()
    path = tmp_path / "w.pt"
    content = {
        "checkpoint": {"model": state, "epoch": 3, "optimizer": {"lr": 1.0}},
        "lightning": {"state_dict": {f"model.net.{k}": v for k, v in state.items()}},
        "parallel": {f"module.{k}": v for k, v in state.items()},
    }.get(form, state)
    if form == "safetensors":
        from safetensors.torch import save_file

        path = tmp_path / "w.safetensors"
        save_file(state, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    described(tmp_path)
    model = mx.load_model(path, arch=ARCH, device="cpu")
    assert model.classes == CLASSES
    assert np.allclose(
        model.predict(study).probabilities, answer(network, study), atol=1e-6
    )


def test_options_win_over_the_file_beside(tmp_path, study):
    torch.save(seeded(build, ARCH, classes=3).state_dict(), tmp_path / "w.pth")
    described(tmp_path, architecture="resnet50")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**PREPROCESSING, "size": [40, 48]}))
    model = mx.load_model(
        tmp_path / "w.pth", arch=ARCH, classes=["x", "y", "z"], preprocessing=other
    )
    assert model.classes == ("x", "y", "z")
    assert model.card.architecture == ARCH
    assert model.input(study).image.shape == (40, 48)


def test_one_output_and_two_classes_is_a_sigmoid(tmp_path, study):
    network = seeded(build, ARCH, classes=1)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    described(tmp_path)
    model = mx.load_model(tmp_path / "w.pt", arch=ARCH, device="cpu")
    positive = answer(network, study, "sigmoid")[0]
    assert np.allclose(
        model.predict(study).probabilities, [1 - positive, positive], atol=1e-6
    )
    assert model.card.head == "sigmoid"
    assert "'present' against 'absent'" in model.notes[0]


def test_several_labels_are_stated_beside_the_file(tmp_path, study):
    network = seeded(build, ARCH, classes=3)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    described(tmp_path, classes=["a", "b", "c"], head="multilabel")
    model = mx.load_model(tmp_path / "w.pt", arch=ARCH, device="cpu")
    expected = answer(network, study, "sigmoid")
    assert np.allclose(model.predict(study).probabilities, expected, atol=1e-6)


def test_saved_as_a_folder_it_is_ours(tmp_path, study):
    torch.save(seeded(build, ARCH, classes=1).state_dict(), tmp_path / "w.pt")
    described(tmp_path)
    model = mx.load_model(tmp_path / "w.pt", arch=ARCH, device="cpu")
    write_folder(tmp_path / "folder", model.module, model.card)
    again = mx.load_model(tmp_path / "folder", device="cpu")
    assert np.allclose(
        again.predict(study).probabilities,
        model.predict(study).probabilities,
        atol=2e-3,
    )


def pickled(folder):
    torch.save(Small(), folder / "w.pt")


def torn(folder):
    torch.save(build(ARCH, classes=2).state_dict(), folder / "w.pt")
    content = (folder / "w.pt").read_bytes()
    (folder / "w.pt").write_bytes(content[: len(content) // 2])


def no_state(folder):
    torch.save({"epoch": 3, "history": [1.0]}, folder / "w.pt")


def two_states(folder):
    state = {"k": torch.zeros(1)}
    torch.save({"student": state, "teacher": state}, folder / "w.pt")


def bad_safetensors(folder):
    (folder / "w.pt").write_bytes(b"nonsense")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pickled, r"could execute code.*state_dict\(\)"),
        (torn, "not a file of weights"),
        (no_state, "no state dict"),
        (two_states, "holds student, teacher"),
        (bad_safetensors, "not a file of weights|could execute"),
    ],
)
def test_files_that_are_no_weights_are_refused(make, words, tmp_path):
    make(tmp_path)
    with pytest.raises(ModelError, match=words):
        read_state(tmp_path / "w.pt")


def test_a_pickle_is_never_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": Trap()}, tmp_path / "w.pt")
    described(tmp_path)
    for trust in (False, True):
        with pytest.raises(ModelError, match="execute"):
            mx.load_model(tmp_path / "w.pt", arch=ARCH, trust=trust)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("changes", "keywords", "words"),
    [
        ({}, {}, "--arch NAME"),
        ({}, {"arch": "resnet5O"}, "Did you mean"),
        ({}, {"arch": "resnet50"}, "tensors missing"),
        ({"classes": ["a", "b", "c"]}, {"arch": ARCH}, "has 2 output.*3 are needed"),
        (
            {
                "preprocessing": PREPROCESSING
                | {"channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
            },
            {"arch": ARCH},
            "takes 1 channel.*gives it 3",
        ),
        ({"classes": None}, {"arch": ARCH}, "at least two different names"),
        ({"head": "argmax"}, {"arch": ARCH}, "head 'argmax' is unknown"),
        ({"preprocessing": {"size": [32, 32]}}, {"arch": ARCH}, "channels"),
    ],
)
def test_weights_that_do_not_fit_say_why(changes, keywords, words, tmp_path):
    torch.save(build(ARCH, classes=2).state_dict(), tmp_path / "w.pt")
    described(tmp_path, **changes)
    with pytest.raises(ModelError, match=words):
        mx.load_model(tmp_path / "w.pt", **keywords)


def test_classes_that_nobody_named_are_asked_for(tmp_path):
    torch.save(build(ARCH, classes=2).state_dict(), tmp_path / "w.pt")
    (tmp_path / "model.json").write_text(json.dumps(PREPROCESSING))
    with pytest.raises(ModelError, match="--classes NAME,NAME"):
        mx.load_model(tmp_path / "w.pt", arch=ARCH)


def test_the_guide_can_be_pasted(tmp_path, study):
    torch.save(build(ARCH, classes=2, channels=3).state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match="--preprocessing FILE") as found:
        mx.load_model(tmp_path / "w.pt", arch=ARCH, classes=CLASSES)
    text = str(found.value)
    pasted = text[text.index("{") : text.index("\n}") + 2]
    assert json.loads(pasted)["preprocessing"]["channels"] == 3  # seen in the weights
    (tmp_path / "model.json").write_text(pasted)
    model = mx.load_model(tmp_path / "w.pt", device="cpu")
    assert model.classes == CLASSES
    assert model.input(study).image.shape == (224, 224)
    for key in ("size", "channels", "intensity", "crop", "mean, std", "head"):
        assert f"\n  {key} " in text


def test_a_model_folder_takes_no_such_options(tmp_path):
    card = ModelCard(ARCH, CLASSES, SPEC)
    write_folder(tmp_path, build(ARCH, classes=2), card)
    with pytest.raises(ModelError, match="leave --arch"):
        mx.load_model(tmp_path, arch=ARCH)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "neither bundled .brain-tumor-mri, chest-xray-covid. nor"),
        ("empty", "MONAI bundle"),
    ],
)
def test_what_is_no_model_is_refused(name, words, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=words):
        mx.load_model(tmp_path / name)


# TorchScript


def test_torchscript_answers_as_the_network(script, study):
    model = mx.load_model(script, trust=True, device="cpu")
    assert np.allclose(
        model.predict(study).probabilities, answer(seeded(Small), study), atol=1e-6
    )
    assert model.card.architecture == "TorchScript"


def test_torchscript_needs_trust(script):
    with pytest.raises(ModelError, match=r"TorchScript is a program.*--trust"):
        mx.load_model(script)


@pytest.mark.parametrize("name", ["vanilla_gradient", "integrated_gradients", "xrai"])
def test_gradients_go_through_torchscript(name, script, study):
    model = mx.load_model(script, trust=True, device="cpu")
    x = model.tensor(model.input(study).image[None])
    got = saliency.compute(name, model.module, x, 1)
    expected = saliency.compute(name, seeded(Small), x, 1)
    assert torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["gradcam", "gradcam_pp", "scorecam"])
@pytest.mark.parametrize("layer", [None, "conv"])
def test_layers_of_torchscript_cannot_be_tapped(name, layer, script, study):
    model = mx.load_model(script, trust=True, device="cpu")
    x = model.tensor(model.input(study).image[None])
    with pytest.raises(MethodError, match="whose layers cannot be tapped"):
        saliency.compute(name, model.module, x, 1, target_layer=layer)


def test_frozen_torchscript_stays_on_the_processor(tmp_path, study):
    described(tmp_path)
    network = seeded(Small)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit announces its retirement
        frozen = torch.jit.freeze(torch.jit.script(network))
        torch.jit.save(frozen, str(tmp_path / "frozen.ts"))
    model = mx.load_model(tmp_path / "frozen.ts", trust=True)
    assert model.device.type == "cpu"
    assert np.allclose(
        model.predict(study).probabilities, answer(network, study), atol=1e-6
    )
    with pytest.raises(ModelError, match="frozen TorchScript cannot be moved"):
        mx.load_model(tmp_path / "frozen.ts", trust=True, device="cuda:0")


def test_damaged_torchscript_is_refused(script):
    import zipfile

    with zipfile.ZipFile(script) as source:
        content = {n: source.read(n) for n in source.namelist()}
    with zipfile.ZipFile(script, "w") as target:
        for name, data in content.items():
            target.writestr(name, data[: len(data) // 2] if "code" in name else data)
    with pytest.raises(ModelError, match=r"network\.ts: TorchScript that cannot"):
        mx.load_model(script, trust=True)


# Factories

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.head = nn.Linear(3, 2)
    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))

def network():
    torch.manual_seed(4)
    return Net()

def classifier():
    from napari_medxai.models import Classifier, ModelCard
    from napari_medxai.preprocess import Preprocessing
    card = ModelCard("mine", ("n", "p"), Preprocessing(size=(20, 20)))
    return Classifier(network(), card, name="x", digest="", device="cpu")

def asks(for_more):
    return None

def number():
    return 3

def broken():
    raise RuntimeError("no weights here")

constant = 5
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    name = f"factory_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    described(tmp_path)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_factory_returns_a_network(factory, tmp_path, study):
    model = mx.load_model(
        f"{factory}:network", trust=True, preprocessing="model.json", device="cpu"
    )
    import importlib

    made = importlib.import_module(factory).network()
    assert np.allclose(
        model.predict(study).probabilities, answer(made, study), atol=1e-6
    )
    assert model.name == f"{factory}:network"
    again = mx.load_model(
        f"{factory}:network", trust=True, preprocessing="model.json", device="cpu"
    )
    assert again.digest == model.digest


def test_a_factory_returns_a_classifier(factory, study):
    model = mx.load_model(f"{factory}:classifier", trust=True, batch_size=3)
    assert model.classes == ("n", "p")
    assert model.input(study).image.shape == (20, 20)
    assert (model.batch_size, len(model.digest)) == (3, 64)


@pytest.mark.parametrize(
    ("function", "trust", "words"),
    [
        ("network", False, "Python code.*--trust"),
        ("asks", True, "called without arguments"),
        ("number", True, "returned a int"),
        ("broken", True, "RuntimeError: no weights here"),
        ("constant", True, "no such function"),
        ("absent", True, "no such function"),
    ],
)
def test_factories_that_make_no_network_are_refused(function, trust, words, factory):
    with pytest.raises(ModelError, match=words):
        mx.load_model(f"{factory}:{function}", trust=trust, preprocessing="model.json")


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ModelError, match="'no_such_module' cannot be imported"):
        mx.load_model("no_such_module:make", trust=True)


def test_digests_tell_models_apart(tmp_path):
    described(tmp_path)
    digests = set()
    for seed in range(2):
        torch.manual_seed(seed)
        torch.save(build(ARCH, classes=2).state_dict(), tmp_path / "w.pt")
        for classes in (CLASSES, ("x", "y")):
            digests.add(
                mx.load_model(tmp_path / "w.pt", arch=ARCH, classes=classes).digest
            )
    assert len(digests) == 4


# What does not fit


class Fails(nn.Module):
    """A network that is wrong in one way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.inner = Small()
        self.flat = nn.Linear(48 * 48, 2)

    def forward(self, x):
        logits = self.inner(x) if self.how != "size" else self.flat(x.flatten(1))
        if self.how == "dict":
            return {"logits": logits, "features": x}
        if self.how == "tuple":
            return logits, x
        if self.how == "list":
            return logits.tolist()
        if self.how == "nan":
            return logits / 0 * 0
        if self.how == "map":
            return x.expand(-1, 2, -1, -1)
        if self.how == "pooled":
            return logits.mean(0, keepdim=True)
        if self.how == "random":
            return nn.functional.dropout(logits, 0.5)
        if self.how == "batch":
            return logits - logits.mean(0) if len(x) > 1 else logits
        if self.how == "constant":
            return logits * 0 + torch.tensor([1.0, 2.0])
        if self.how == "no_grad":
            return logits.detach()
        if self.how == "sigmoid":
            return logits.sigmoid()
        if self.how == "softmax":
            return logits.softmax(1)
        if self.how == "raises":
            raise KeyError("unheard of")
        return logits


def loaded(network, tmp_path, monkeypatch, *, classes=CLASSES, **changes):
    """Load a network through a factory."""
    import sys
    from types import ModuleType

    module = ModuleType("foreign_networks")
    module.make = lambda: network
    monkeypatch.setitem(sys.modules, "foreign_networks", module)
    path = described(tmp_path, classes=list(classes), **changes)
    return mx.load_model(
        "foreign_networks:make", trust=True, preprocessing=path, device="cpu"
    )


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("dict", "returns a dict .logits, features.*factory"),
        ("tuple", "returns 2 things.*factory"),
        ("list", "not one tensor"),
        ("nan", "answers NaN or infinity"),
        ("map", r"returns \(2, 2, 32, 32\) for 2 image"),
        ("pooled", "1 rows for 2 images"),
        ("random", "two answers to the same image.*dropout"),
        ("batch", "depends on the other images"),
        ("size", "does not take images of 32 x 32; it does of 48 x 48"),
        ("raises", r"fails on an image of 1 channel.s. of 32 x 32: 'unheard of'"),
        ("sigmoid", "state the head 'multilabel'"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(how, words, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=words) as found:
        loaded(seeded(Fails, how), tmp_path, monkeypatch)
    assert str(found.value).startswith("foreign_networks:make: ")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("network", "changes", "words"),
    [
        (
            Small(2, channels=3),
            {},
            "takes 3 channel.s., but the preprocessing gives it 1",
        ),
        (Small(4), {}, r"has 4 output.s., but 2 classes are named .absent, present"),
        (Small(1), {"head": "softmax"}, "has 1 output"),
        (Small(2), {"head": "sigmoid"}, "sigmoid head has one output, but it has 2"),
    ],
)
def test_counts_that_differ_are_said(network, changes, words, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=words):
        loaded(network.eval(), tmp_path, monkeypatch, **changes)


def test_size_and_channels_may_both_be_wrong(tmp_path, monkeypatch):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2))
    with pytest.raises(ModelError, match=r"64 x 64 and with 3 channel"):
        loaded(network, tmp_path, monkeypatch)


@pytest.mark.parametrize("how", ["constant", "no_grad"])
def test_suspicions_are_noted(how, tmp_path, monkeypatch):
    model = loaded(seeded(Fails, how), tmp_path, monkeypatch)
    words = {"constant": "the same to a black image", "no_grad": "no gradient"}
    assert words[how] in " ".join(model.notes)


def test_a_softmax_is_not_applied_twice(tmp_path, monkeypatch, study):
    network = seeded(Fails, "softmax")
    model = loaded(network, tmp_path, monkeypatch)
    once = answer(network.inner, study)
    assert np.allclose(model.predict(study).probabilities, once, atol=1e-6)
    assert "probabilities already" in model.notes[0]
    assert saliency.find_target_layer(
        model.module, model.tensor(model.input(study).image[None])
    )


def test_a_sigmoid_is_not_applied_twice(tmp_path, monkeypatch, study):
    network = seeded(Fails, "sigmoid")
    model = loaded(network, tmp_path, monkeypatch, head="multilabel")
    once = answer(network.inner, study, "sigmoid")
    assert np.allclose(model.predict(study).probabilities, once, atol=1e-6)
    assert "ends in a sigmoid" in model.notes[0]


def test_logits_between_0_and_1_stay_logits(tmp_path, monkeypatch, study):
    class Timid(nn.Module):
        """Logits that look like probabilities and are none."""

        def __init__(self):
            super().__init__()
            self.inner = seeded(Small)

        def forward(self, x):
            return self.inner(x).clamp(0.2, 0.4)

    for head in ("softmax", "multilabel"):
        network = Timid()
        model = loaded(network.eval(), tmp_path, monkeypatch, head=head)
        kind = "softmax" if head == "softmax" else "sigmoid"
        expected = answer(network, study, kind)
        assert np.allclose(model.predict(study).probabilities, expected, atol=1e-6)


# MONAI bundles

TRANSFORMS = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": ["image"]},
    {"_target_": "ScaleIntensityd", "keys": "image", "minv": -1, "maxv": 1},
    {"_target_": "Resized", "keys": "image", "spatial_size": "$[@side, @side]"},
    {"_target_": "EnsureTyped", "keys": "image"},
]
STRANGE = {"_target_": "CropForegroundd", "keys": "image"}


def write_bundle(folder, network, *, transforms=TRANSFORMS, form="json", **changes):
    """A bundle as MONAI specifies it, of a network of MONAI's own."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    metadata = {
        "version": "0.1.0",
        "description": "A bundle made by a test",
        "data_source": "noise",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1, "spatial_shape": [SIZE, SIZE]}},
            "outputs": {
                "pred": {
                    "num_channels": 2,
                    "channel_def": {"0": "absent", "1": "present"},
                }
            },
        },
        **changes.pop("metadata", {}),
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    config = {
        "imports": ["$import torch"],
        "side": SIZE,
        "network_def": {
            "_target_": "DenseNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 2,
            "init_features": 4,
            "growth_rate": 4,
            "block_config": [2, 2],
        },
        "device": "$torch.device('cpu')",
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True}
            ],
        },
        **changes,
    }
    if form == "json":
        (folder / "configs" / "inference.json").write_text(json.dumps(config))
    else:
        import yaml

        (folder / "configs" / "inference.yaml").write_text(yaml.safe_dump(config))
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder


def dense(outputs=2):
    from monai.networks.nets import DenseNet

    return seeded(
        DenseNet,
        spatial_dims=2,
        in_channels=1,
        out_channels=outputs,
        init_features=4,
        growth_rate=4,
        block_config=[2, 2],
    )


def through_monai(path, transforms, **names):
    """What MONAI gives the network of an image file, by MONAI alone."""
    from monai.bundle import ConfigParser

    parser = ConfigParser(
        {**names, "chain": {"_target_": "Compose", "transforms": transforms}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = {"image": str(path)} if "keys" in transforms[0] else str(path)
        result = parser.get_parsed_content("chain")(given)
    if "keys" in transforms[0]:
        result = result["image"]
    return torch.as_tensor(np.asarray(result)).float()


@pytest.fixture
def picture(tmp_path):
    """A square picture of the network's size: nothing is resized, nothing is alike."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    image = (rows * 5 + columns * 2 + 40 * (columns > 20)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_bundle_answers_as_monai_does(form, tmp_path, picture):
    network = dense()
    folder = write_bundle(tmp_path / "bundle", network, form=form)
    model = mx.load_model(folder, trust=True, device="cpu")
    x = through_monai(picture, TRANSFORMS, side=SIZE)
    with torch.no_grad():
        expected = network(x[None]).softmax(1)[0].double().numpy()
    got = model.predict(mx.load_study(picture)).probabilities
    assert np.allclose(got, expected, atol=2e-3)
    assert model.classes == CLASSES
    assert model.card.extra["training_data"] == "noise"
    assert any("padded to a square" in note for note in model.notes)


def test_maps_of_a_bundle_lie_upright_on_the_picture(tmp_path, picture):
    """MONAI shows its networks transposed pictures; the map must come back."""
    network = dense()
    folder = write_bundle(tmp_path / "bundle", network)
    model = mx.load_model(folder, trust=True, device="cpu")
    (got,) = mx.explain(
        mx.load_study(picture), model, ["vanilla_gradient"], target="present"
    )
    x = through_monai(picture, TRANSFORMS, side=SIZE)[None].requires_grad_(True)
    (slope,) = torch.autograd.grad(network(x)[0, 1], x)
    expected = slope.abs()[0, 0].T.numpy()
    assert np.corrcoef(got.map.ravel(), expected.ravel())[0, 1] > 0.99
    assert np.corrcoef(got.map.T.ravel(), expected.ravel())[0, 1] < 0.9


def test_a_bundle_of_torchscript_alone(tmp_path, picture):
    network = dense()
    folder = write_bundle(tmp_path / "bundle", network)
    (folder / "models" / "model.pt").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, torch.rand(1, 1, SIZE, SIZE))
        torch.jit.save(traced, str(folder / "models" / "model.ts"))
    model = mx.load_model(folder, trust=True, device="cpu")
    x = through_monai(picture, TRANSFORMS, side=SIZE)
    with torch.no_grad():
        expected = network(x[None]).softmax(1)[0].double().numpy()
    got = model.predict(mx.load_study(picture)).probabilities
    assert np.allclose(got, expected, atol=2e-3)


def test_a_bundle_needs_trust_and_runs_nothing_without(tmp_path):
    touch = f"$__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
    folder = write_bundle(tmp_path / "bundle", dense(), network_def=touch)
    with pytest.raises(ModelError, match=r"executes code.*--trust"):
        mx.load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_each_bundle_runs_its_own_scripts(tmp_path):
    """All bundles call their package `scripts`."""
    for width in (2, 3):
        code = f"""
from torch import nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, {width}, 3), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear({width}, 2))
"""
        space: dict = {}
        exec(code, space)
        folder = write_bundle(
            tmp_path / str(width),
            seeded(space["Net"]),
            network_def={"_target_": "scripts.net.Net"},
        )
        (folder / "scripts").mkdir()
        (folder / "scripts" / "__init__.py").touch()
        (folder / "scripts" / "net.py").write_text(code)
        model = mx.load_model(folder, trust=True)
        assert model.module[0].out_channels == width


def test_a_sigmoid_after_the_network_is_a_head(tmp_path):
    after = {
        "_target_": "Compose",
        "transforms": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}],
    }
    folder = write_bundle(tmp_path / "bundle", dense(), postprocessing=after)
    assert mx.load_model(folder, trust=True).card.head == "multilabel"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {
                "transforms": [
                    *TRANSFORMS,
                    {"_target_": "CropForegroundd", "keys": "image"},
                ]
            },
            "Its transform CropForeground has no equal here",
        ),
        ({"preprocessing": {}}, "lists no preprocessing"),
        ({"network_def": {"_target_": "DenseNet"}}, "'network_def' cannot be built"),
        ({"network_def": "$3"}, "is a int, not a network"),
        (
            {"metadata": {"network_data_format": {}}},
            "Its metadata state None channels",
        ),
    ],
)
def test_bundles_that_say_too_little_are_guided(changes, words, tmp_path):
    folder = write_bundle(tmp_path / "bundle", dense(), **changes)
    with pytest.raises(ModelError, match=f"(?s){words}"):
        mx.load_model(folder, trust=True)


def test_preprocessing_of_the_user_decides(tmp_path, study):
    strange = [*TRANSFORMS, STRANGE]
    folder = write_bundle(tmp_path / "bundle", dense(), transforms=strange)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(PREPROCESSING))
    model = mx.load_model(folder, trust=True, preprocessing=path, device="cpu")
    assert model.preprocessing == SPEC
    assert np.allclose(
        model.predict(study).probabilities, answer(dense(), study), atol=1e-6
    )


def test_damaged_bundles_are_refused(tmp_path):
    folder = write_bundle(tmp_path / "a", dense())
    (folder / "configs" / "metadata.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        mx.load_model(folder, trust=True)
    folder = write_bundle(tmp_path / "b", dense(outputs=3))
    with pytest.raises(ModelError, match="has 3 output"):
        mx.load_model(folder, trust=True)
    folder = write_bundle(tmp_path / "c", dense())
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(ModelError, match=r"models/model\.ts"):
        mx.load_model(folder, trust=True)


# MONAI's transforms, one by one

SCALE = {"_target_": "ScaleIntensity"}
LOAD = [{"_target_": "LoadImage"}, {"_target_": "EnsureChannelFirst"}]
CHAINS = {
    "minimum and maximum": [{"_target_": "ScaleIntensity", "minv": 0.0, "maxv": 2.0}],
    "window": [
        {
            "_target_": "ScaleIntensityRange",
            "a_min": 20,
            "a_max": 150,
            "b_min": 0.0,
            "b_max": 1.0,
            "clip": True,
        },
        {"_target_": "NormalizeIntensity", "subtrahend": 0.4, "divisor": 0.2},
    ],
    "percentiles": [
        {
            "_target_": "ScaleIntensityRangePercentiles",
            "lower": 5,
            "upper": 95,
            "b_min": -1.0,
            "b_max": 1.0,
            "clip": True,
        },
    ],
    "z": [{"_target_": "NormalizeIntensity"}],
    "z after scaling": [
        {"_target_": "ScaleIntensity"},
        {"_target_": "NormalizeIntensity"},
    ],
    "transposed": [
        {"_target_": "Transpose", "indices": [0, 2, 1]},
        {"_target_": "ScaleIntensity"},
    ],
    "flipped": [
        {"_target_": "Flip", "spatial_axis": 1},
        {"_target_": "ScaleIntensity"},
    ],
    "turned": [{"_target_": "Rotate90", "k": 1}, {"_target_": "ScaleIntensity"}],
    "turned thrice": [{"_target_": "Rotate90", "k": 3}, {"_target_": "ScaleIntensity"}],
    "three channels": [
        {"_target_": "RepeatChannel", "repeats": 3},
        {"_target_": "ScaleIntensity"},
        {
            "_target_": "NormalizeIntensity",
            "channel_wise": True,
            "subtrahend": [0.4, 0.5, 0.6],
            "divisor": [0.2, 0.3, 0.4],
        },
    ],
}


@pytest.mark.parametrize("name", CHAINS)
def test_each_transform_gives_what_monai_gives(name, picture):
    chain = [*LOAD, *CHAINS[name]]
    expected = through_monai(picture, chain).numpy()
    spec, _ = preprocessing_of(
        chain,
        channels=len(expected),
        size=(SIZE, SIZE),
        value_range=None,
        dims=2,
    )
    got = spec.tensor(spec.apply(mx.load_study(picture)).image[None])[0].numpy()
    assert got.shape == expected.shape
    step = 1 / min(spec.std) / 255  # of 8 bit, in the network's units
    assert np.abs(got - expected).max() <= 0.51 * step + 1e-5


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "PIL", "SAR"])
@pytest.mark.parametrize("stored", ["RAS", "LAS", "PSL"])
def test_volumes_are_turned_as_monai_turns_them(axcodes, stored, tmp_path):
    import nibabel as nib
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation

    shape = (6, 7, 8)
    values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    values.flat[:2] = 0, 255
    plain = nib.Nifti1Image(values, np.eye(4))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(stored)
    )
    path = tmp_path / "v.nii.gz"
    nib.save(plain.as_reoriented(turn), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI on the labels' default
        made = Compose([LoadImage(), EnsureChannelFirst(), Orientation(axcodes)])
        expected = np.asarray(made(str(path)))[0]
    spec, notes = preprocessing_of(
        [
            {"_target_": "LoadImage"},
            {"_target_": "Orientation", "axcodes": axcodes},
            {"_target_": "ScaleIntensity"},
        ],
        channels=1,
        size=(8, 8, 8),
        value_range=None,
        dims=3,
    )
    assert not notes
    study = mx.load_study(path)
    seen = spec.apply(study)
    # padded to a cube of 8: cut the padding away
    cut = tuple(slice(before, 8 - after) for before, after in seen.grid.padding)
    assert np.array_equal(seen.image[cut], expected)
    back = seen.to_native(seen.image.astype(np.float32))
    assert np.allclose(back, study.array)


def test_axes_go_there_and_back_in_two_dimensions():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    study = mx.Study(array, Path("s"))
    for axes, seen in {
        "xy": array.T,
        "-xy": array.T[::-1],
        "y-x": array[:, ::-1],
        "-y-x": array[::-1, ::-1],
    }.items():
        spec = Preprocessing(size=(4, 4), axes=axes)
        data = spec.apply(study)
        rows, columns = (slice(b, 4 - a) for b, a in data.grid.padding[1:])
        scaled = np.rint(seen / array.max() * 255)
        assert np.abs(data.image[rows, columns].astype(float) - scaled).max() <= 1
        assert np.allclose(
            data.to_native(data.image.astype(float)) * 11 / 255, array, atol=0.05
        )
        again = Preprocessing.from_json(spec.to_json())
        assert again == spec
    assert "axes" not in Preprocessing(size=(4, 4)).to_json()


@pytest.mark.parametrize("axes", ["x", "xx", "zy", "xyz", "x y", "+x-y"])
def test_axes_that_cannot_be_are_refused(axes):
    with pytest.raises(ModelError, match="must name each of"):
        Preprocessing(size=(4, 4), axes=axes)


def test_metadata_say_the_range_where_no_transform_does():
    spec, _ = preprocessing_of(
        LOAD, channels=1, size=(8, 8), value_range=[0, 255], dims=2
    )
    assert spec.intensity.default == Window(127.5, 255.0)
    assert np.allclose([spec.mean[0], 1 / spec.std[0]], [0, 255])
    spec, _ = preprocessing_of(
        [*LOAD, {"_target_": "NormalizeIntensity", "subtrahend": 10, "divisor": 2}],
        channels=1,
        size=(8, 8),
        value_range=[0, 255],
        dims=2,
    )
    raw = np.array([0, 51, 255], dtype=np.uint8)
    given = (raw / 255 - spec.mean[0]) / spec.std[0]
    assert np.allclose(given, (raw - 10.0) / 2)


@pytest.mark.parametrize(
    ("transforms", "rule"),
    [
        ([{"_target_": "monai.transforms.ScaleIntensityD"}], Percentiles(0, 100)),
        (
            [{"_target_": "NormalizeIntensityDict", "keys": "image", "nonzero": True}],
            ZScore(4, True),
        ),
        (
            [
                {"_target_": "ScaleIntensityd", "keys": "image"},
                {"_target_": "Spacingd", "keys": "label"},
            ],
            Percentiles(0, 100),
        ),
    ],
)
def test_names_and_keys_of_transforms(transforms, rule):
    spec, _ = preprocessing_of(
        transforms, channels=1, size=(8, 8), value_range=None, dims=2
    )
    assert spec.intensity.default == rule


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([{"_target_": "Spacing", "pixdim": 1}], "Spacing has no equal"),
        ([{"_target_": "ScaleIntensity", "factor": 0.1}], "by a factor"),
        ([{"_target_": "ScaleIntensityRange", "a_min": 0}], "cannot be read"),
        (
            [{"_target_": "Resize", "spatial_size": 8, "size_mode": "longest"}],
            "longest",
        ),
        ([{"_target_": "RepeatChannel", "repeats": 2}], "repeats the channel 2 times"),
        ([{"_target_": "Orientation", "axcodes": "RAS"}], "the network is 2-D"),
        ([{"_target_": "Transpose", "indices": [1, 0, 2]}], "moves the channels"),
        ([{"_target_": "NormalizeIntensity", "subtrahend": 1}], "half of what"),
        ([], "which intensities"),
    ],
)
def test_transforms_without_an_equal_are_named(transforms, words):
    with pytest.raises(Unknown, match=words):
        preprocessing_of(transforms, channels=1, size=(8, 8), value_range=None, dims=2)


# Commands


def test_the_batch_takes_torchscript_and_says_what_was_noted(script, blobs, tmp_path):
    out = tmp_path / "out"
    status = batch.main(
        [
            *(str(blobs), "--model", str(script), "--trust", "--classes", "high,low"),
            *(
                "--methods",
                "vanilla_gradient,gradcam",
                "--limit",
                "2",
                "--export",
                "none",
            ),
            *("--out", str(out), "--quiet"),
        ]
    )
    assert status == 1  # gradcam cannot run
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["status"] for r in rows] == ["ok", "failed"] * 2
    assert "cannot be tapped" in rows[1]["reason"]
    study = mx.load_study(blobs / "images" / "0.png")
    expected = answer(seeded(Small), study)
    assert float(rows[0]["probability"]) == pytest.approx(expected.max(), abs=1e-4)
    facts = json.loads((out / "run.json").read_text())
    command = shlex.split(facts["command"])
    assert "--trust" in command
    assert command[command.index("--classes") + 1] == "high,low"
    assert command[command.index("--model") + 1] == "network.ts"


def test_notes_of_the_model_stand_in_the_report(blobs, tmp_path):
    torch.save(build(ARCH, classes=1).state_dict(), tmp_path / "w.pt")
    path = described(tmp_path, classes=["high", "low"])
    out = tmp_path / "out"
    status = batch.main(
        [
            *(str(blobs), "--model", str(tmp_path / "w.pt"), "--arch", ARCH),
            *("--preprocessing", str(path), "--methods", "random", "--limit", "1"),
            *("--export", "none", "--out", str(out), "--quiet"),
        ]
    )
    assert status == 0
    page = (out / "report.html").read_text()
    assert "taken as the logit of" in page
    assert (
        "--preprocessing model.json"
        in json.loads((out / "run.json").read_text())["command"]
    )


def test_a_model_without_trust_is_wrong_usage(script, blobs, tmp_path, capsys):
    status = batch.main(
        [str(blobs), "--model", str(script), "--out", str(tmp_path / "out"), "--quiet"]
    )
    assert status == 2
    assert "--trust" in capsys.readouterr().err


def fences(language):
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def workplace(tmp_path, monkeypatch, blobs):
    """A folder with the files that the documentation's examples name."""
    torch.save(
        seeded(build, "efficientnet_b0", classes=2).state_dict(),
        tmp_path / "weights.pt",
    )
    scripted(seeded(Small), tmp_path / "network.ts")
    write_bundle(tmp_path / "bundle", dense())
    (tmp_path / "my_networks.py").write_text(
        SOURCE.replace("def network()", "def chest()")
    )
    (tmp_path / "model.json").write_text(fences("json")[0])
    (tmp_path / "mine.json").write_text(fences("json")[0])
    (tmp_path / "images").mkdir()
    Image.open(blobs / "images" / "0.png").save(tmp_path / "images" / "0.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_example_of_the_documentation_runs(workplace, capsys):
    commands = [
        shlex.split(line)
        for block in fences("sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    assert len(commands) == 7
    for words in commands:
        if words[0] == "napari-medxai":
            assert cli(words[1:]) == 0, words
        else:
            assert words[:3] == ["python", "-m", "napari_medxai.batch"]
            assert batch.main([*words[3:], "--quiet"]) == 0, words
    out = capsys.readouterr().out
    assert out.count(": fits (") == 4
    for kind in ("weights", "TorchScript", "MONAI bundle", "factory"):
        assert f"fits ({kind}" in out
    (code,) = fences("python")
    exec(compile(code, "models.md", "exec"), {})
    assert re.search(r"\[0\.\d+ +0\.\d+\]", capsys.readouterr().out)


# Whole


def test_weights_of_the_bundled_classifier_answer_as_it_does(study):
    from napari_medxai.models.loading import BUNDLED

    ours = mx.load_model("brain-tumor-mri", device="cpu")
    path = BUNDLED / "brain-tumor-mri" / "weights.safetensors"
    foreign = mx.load_model(path, device="cpu")  # model.json lies beside it
    assert foreign.classes == ours.classes
    assert np.array_equal(
        foreign.predict(study).probabilities, ours.predict(study).probabilities
    )


def test_a_volume_under_torchscript(tmp_path):
    network = seeded(
        nn.Sequential,
        nn.Conv3d(1, 3, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(3, 2),
    )
    described(tmp_path, preprocessing={**PREPROCESSING, "size": [8, 10, 12]})
    model = mx.load_model(
        scripted(network, tmp_path / "v.ts"), trust=True, device="cpu"
    )
    assert model.card.spatial_dims == 3
    array = np.random.default_rng(0).random((8, 10, 12)).astype(np.float32)
    study = mx.Study(array, Path("v"), spacing=(3.0, 2.4, 2.0))
    seen = model.input(study)
    with torch.no_grad():
        expected = network(model.tensor(seen.image[None])).softmax(1)[0]
    assert np.allclose(model.predict(study).probabilities, expected, atol=1e-6)
    (got,) = mx.explain(study, model, ["vanilla_gradient"])
    assert got.map.shape == array.shape
    assert got.map.std() > 0
