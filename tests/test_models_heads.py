"""Heads: one sigmoid for two classes, several independent sigmoids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import napari_medxai as mx
from napari_medxai import metrics, saliency
from napari_medxai.engine import Settings, evaluate_study
from napari_medxai.errors import ModelError
from napari_medxai.models import (
    Classifier,
    ModelCard,
    build,
    load_model,
    read_folder,
    write_folder,
)
from napari_medxai.models.heads import TwoClasses, Unsquashed, headed
from napari_medxai.preprocess import Preprocessing
from napari_medxai.study import Study

SIZE = 24
SPEC = Preprocessing(size=(SIZE, SIZE))
LABELS = ("effusion", "mass", "nodule")


class Tiny(nn.Module):
    """Two convolutions and a head: enough for every family of methods."""

    def __init__(self, outputs: int, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Linear(6, outputs)

    def forward(self, x):
        return self.head(self.second(self.first(x).tanh()).relu().mean((2, 3)) * 20)


def classifier(module, classes, head) -> Classifier:
    card = ModelCard("Tiny", tuple(classes), SPEC, head=head)
    return Classifier(headed(module, head), card, name="t", digest="0", device="cpu")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture
def study():
    """A blob on a slope: information curves have something to reveal."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    blob = 180 * np.exp(-(((rows - 8) / 3.0) ** 2) - ((columns - 15) / 3.0) ** 2)
    noise = np.random.default_rng(1).normal(0, 6, (SIZE, SIZE))
    return Study((blob + rows + noise).clip(0, 255).astype(np.float32), Path("s"))


@pytest.fixture
def multilabel():
    return classifier(Tiny(3), LABELS, "multilabel")


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, dtype=np.float64)))


def raw(module, images):
    with torch.no_grad():
        x = (torch.from_numpy(images).float() / 255 - 0.5) / 0.5
        return module(x[:, None]).double().numpy()


def test_one_sigmoid_answers_for_two_classes(images):
    network = Tiny(1)
    model = classifier(network, ("absent", "present"), "sigmoid")
    z = raw(network, images)[:, 0]
    expected = np.stack([1 - sigmoid(z), sigmoid(z)], axis=1)
    assert np.allclose(model.probabilities(images), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 1, 1)])
def test_a_single_logit_may_come_in_any_shape(shape, images):
    network = Tiny(1)

    class Shaped(nn.Module):
        def forward(self, x):
            return network(x).reshape(shape)

    x = torch.rand(3, 1, SIZE, SIZE)
    assert torch.equal(TwoClasses(Shaped())(x), TwoClasses(network)(x))
    assert TwoClasses(Shaped())(x[:1]).shape == (1, 2)


def test_both_classes_of_a_sigmoid_have_a_gradient():
    network = Tiny(1)
    x = torch.rand(1, 1, SIZE, SIZE, requires_grad=True)
    (slope,) = torch.autograd.grad(network(x).sum(), x)
    for target, sign in ((0, -0.5), (1, 0.5)):
        got = saliency.compute(
            "vanilla_gradient", TwoClasses(network), x, target, reduce="sum"
        )
        assert torch.allclose(got, sign * slope[:, 0], atol=1e-7)


def test_layers_of_a_wrapped_network_keep_their_names():
    network = Tiny(1)
    x = torch.rand(1, 1, SIZE, SIZE)
    plain = saliency.compute("gradcam", TwoClasses(network), x, 1)
    named = saliency.compute(
        "gradcam", TwoClasses(network), x, 1, target_layer="second"
    )
    assert torch.equal(plain, named)
    for wrapper in (TwoClasses(network), Unsquashed(network, sigmoid=True)):
        assert wrapper.get_submodule("second") is network.second
        assert wrapper.get_submodule("network.second") is network.second
        with pytest.raises(AttributeError):
            wrapper.get_submodule("third")


def test_a_sigmoid_is_saved_bare_and_comes_back(tmp_path, images):
    network = build("test_efficientnet", classes=1).eval()
    card = ModelCard("test_efficientnet", ("no", "yes"), SPEC, head="sigmoid")
    write_folder(tmp_path, headed(network, "sigmoid"), card)
    module, again, _ = read_folder(tmp_path)
    assert again == card
    assert isinstance(module, TwoClasses)
    assert set(module.network.state_dict()) == set(network.state_dict())
    expected = sigmoid(raw(network, images)[:, 0])
    got = load_model(tmp_path, device="cpu").probabilities(images)[:, 1]
    assert np.allclose(got, expected, atol=2e-3)  # float16 weights


@pytest.mark.parametrize(
    ("head", "classes", "words"),
    [
        ("sigmoid", ("a", "b", "c"), "two classes"),
        ("argmax", ("a", "b"), "softmax, sigmoid, multilabel"),
    ],
)
def test_heads_that_cannot_be_are_refused(head, classes, words):
    with pytest.raises(ModelError, match=words):
        ModelCard("Tiny", classes, SPEC, head=head)


@pytest.mark.parametrize("squash", ["softmax", "sigmoid"])
def test_logits_come_back_from_probabilities(squash):
    network = Tiny(3)

    class Squashed(nn.Module):
        def forward(self, x):
            return (
                network(x).softmax(1) if squash == "softmax" else network(x).sigmoid()
            )

    x = torch.rand(4, 1, SIZE, SIZE)
    back = Unsquashed(Squashed(), sigmoid=squash == "sigmoid")(x)
    if squash == "softmax":
        assert torch.allclose(back.softmax(1), network(x).softmax(1), atol=1e-6)
    else:
        assert torch.allclose(back, network(x), atol=1e-4)


def test_logits_of_certain_probabilities_are_finite():
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    for sigmoids in (True, False):
        assert torch.isfinite(
            Unsquashed(nn.Identity(), sigmoid=sigmoids)(certain)
        ).all()


# Several labels


def test_multilabel_probabilities_are_sigmoids(multilabel, images):
    got = multilabel.probabilities(images)
    assert np.allclose(got, sigmoid(raw(multilabel.module, images)), atol=1e-6)
    assert not np.allclose(got.sum(axis=1), 1, atol=0.05)
    assert "curves" in multilabel.notes[0]


def test_predicted_is_the_most_probable_label(multilabel, study):
    (got,) = mx.explain(study, multilabel, ["vanilla_gradient"])
    best = int(multilabel.predict(study).probabilities.argmax())
    assert got.target == best
    assert got.target_class == LABELS[best]


@pytest.mark.parametrize("name", ["vanilla_gradient", "gradcam", "scorecam"])
def test_maps_explain_one_label_against_its_absence(name, multilabel, study):
    (got,) = mx.explain(study, multilabel, [name], target="mass")

    class Alone(nn.Module):
        """The label's own two logits, the slow way."""

        def __init__(self):
            super().__init__()
            self.inner = multilabel.module

        def forward(self, x):
            z = self.inner(x)[:, 1:2]
            return torch.cat([-z, z], dim=1) / 2

    seen = multilabel.input(study)
    x = multilabel.tensor(seen.image[None])
    expected = seen.to_native(saliency.compute(name, Alone(), x, 1)[0].numpy())
    assert np.allclose(got.map, expected, atol=1e-6)
    assert got.map.any()


@pytest.mark.parametrize(
    ("label", "true"), [("mass", 1), ("effusion|mass", 1), ("nodule", 0), (None, None)]
)
def test_curves_are_one_against_the_rest(label, true, multilabel, study):
    settings = Settings(
        methods=("gradcam",), target="mass", min_probability=0.0, presets=("pair",)
    )
    (outcome,) = evaluate_study(study, multilabel, settings, label=label)
    job_map = next(iter(mx.explain(study, multilabel, ["gradcam"], target="mass")))
    seen = multilabel.input(study)

    def predict(batch):
        p = sigmoid(raw(multilabel.module, batch)[:, 1])
        return np.stack([1 - p, p], axis=1)

    # the study has the network's size, so that the map is the network's own
    assert seen.image.shape == job_map.map.shape
    from napari_medxai.provenance import image_seed

    expected = metrics.information_curves(
        seen.image,
        job_map.map,
        predict,
        1,
        label=true,
        min_probability=0.0,
        seed=image_seed(settings.seed, seen.image),
    )
    for metric in ("aic", "sic"):
        ours, theirs = getattr(outcome.curves, metric), getattr(expected, metric)
        assert (ours.excluded is None) == (theirs.excluded is None)
        assert ours.auc == pytest.approx(theirs.auc, abs=1e-4, nan_ok=True)


def test_correct_asks_whether_the_label_is_there(multilabel):
    found = np.array([0.7, 0.5, 0.2])
    assert multilabel.correct(found, 0, "effusion|nodule") is True
    assert multilabel.correct(found, 1, "effusion") is False
    assert multilabel.correct(found, 2, "effusion") is True
    assert multilabel.correct(found, 2, "nodule") is False
    assert multilabel.correct(found, 2, None) is None
    plain = classifier(Tiny(3), LABELS, "softmax")
    assert plain.correct(found, 2, "effusion") is True
    assert plain.correct(found, 2, "nodule") is False


def test_target_label_takes_the_surest_of_several(multilabel, study):
    found = multilabel.predict(study).probabilities
    pair = max((0, 2), key=lambda k: found[k])
    (got,) = mx.explain(
        study, multilabel, ["random"], target="label", label="effusion|nodule"
    )
    assert got.target == pair
    with pytest.raises(ModelError, match="it knows effusion, mass, nodule"):
        list(mx.explain(study, multilabel, ["random"], target="label", label="x|y"))


def test_an_unknown_label_has_no_accuracy_curve(multilabel, study):
    settings = Settings(methods=("random",), target="mass", min_probability=0.0)
    (outcome,) = evaluate_study(study, multilabel, settings, label="fracture")
    assert "not one of the model's classes" in outcome.curves.aic.excluded


def test_another_network_is_asked_anew(multilabel):
    first, _ = multilabel.explained(1)
    assert multilabel.explained(1)[0] is first  # what methods share stays shared
    other = multilabel.with_module(Tiny(3, seed=5).eval())
    assert other.explained(1)[0].network is other.module
    assert multilabel.explained(1)[0] is first
