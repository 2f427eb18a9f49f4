"""The nine architectures, 2-D and 3-D, any size; weights to start from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medxai import saliency
from napari_medxai.errors import ModelError
from napari_medxai.models import ModelCard, build, load_model, names, write_folder
from napari_medxai.models.architectures import PAPER, VOLUMETRIC, pretrained
from napari_medxai.models.sizes import least_size, require_size
from napari_medxai.preprocess import Preprocessing

# The least size of each that has one, found here by passing real images.
SMALL = {
    "vgg16": 32,
    "vgg19": 32,
    "inception_v3": 75,
    "inception_resnet_v2": 75,
    "densenet121": 32,
}
HEAVY = {"vgg16", "vgg19", "inception_resnet_v2"}
NINE = [
    pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name
    for name in PAPER
]


def test_the_nine_are_the_papers():
    assert names() == (
        "vgg16",
        "vgg19",
        "resnet50",
        "resnet50v2",
        "xception",
        "inception_v3",
        "inception_resnet_v2",
        "densenet121",
        "efficientnet_b0",
    )


@pytest.mark.parametrize("name", NINE)
def test_each_learns_saves_loads_and_explains(name, tmp_path):
    torch.manual_seed(0)
    side = SMALL.get(name, 32)
    spec = Preprocessing(size=(side, side))
    network = build(name, classes=3, size=spec.size)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, side, side), dtype=np.uint8)
    x, y = spec.tensor(images), torch.tensor([0, 1, 2, 0])
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    before = {k: v.clone() for k, v in network.named_parameters()}
    network.train()
    for _ in range(2):
        logits = network(x)
        assert logits.shape == (4, 3)
        loss = torch.nn.functional.cross_entropy(logits, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(v, before[k]) for k, v in network.named_parameters())
    del before
    with torch.no_grad():
        expected = network.eval()(x).softmax(1)
    write_folder(tmp_path / name, network, ModelCard(name, ("a", "b", "c"), spec))
    model = load_model(tmp_path / name, device="cpu")
    got = torch.from_numpy(model.probabilities(images))
    assert torch.allclose(got.float(), expected, atol=0.02)  # float16 weights
    shared = saliency.Shared()
    for method in ("vanilla_gradient", "gradcam"):
        maps = saliency.compute(method, model.module, x[:1], 1, shared=shared)
        assert maps.shape == (1, side, side)
    assert saliency.find_target_layer(model.module, x[:1])
    gradient = saliency.compute("vanilla_gradient", model.module, x[:1], 1)
    assert gradient.std() > 0


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0", "xception"])
def test_grey_and_colour(name):
    for channels in (1, 3):
        network = build(name, classes=2, channels=channels, size=(40, 56)).eval()
        with torch.no_grad():
            assert network(torch.rand(2, channels, 40, 56)).shape == (2, 2)


@pytest.mark.parametrize("name", VOLUMETRIC)
def test_three_have_a_form_in_three_dimensions(name, tmp_path):
    torch.manual_seed(0)
    size = (32, 32, 32)
    spec = Preprocessing(size=size)
    network = build(name, classes=2, spatial_dims=3, size=size).eval()
    card = ModelCard(name, ("a", "b"), spec, spatial_dims=3)
    write_folder(tmp_path, network, card)
    model = load_model(tmp_path, device="cpu")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, *size), dtype=np.uint8)
    with torch.no_grad():
        expected = network(spec.tensor(image)).softmax(1)
    assert np.allclose(model.probabilities(image), expected, atol=0.02)
    for method in ("vanilla_gradient", "gradcam"):
        maps = saliency.compute(method, model.module, model.tensor(image), 0)
        assert maps.shape == (1, *size)


def test_the_others_say_which_have():
    with pytest.raises(ModelError, match="densenet121, resnet50, efficientnet_b0"):
        build("vgg16", classes=2, spatial_dims=3)
    with pytest.raises(ModelError, match="2 axes for 3-D"):
        build("resnet50", classes=2, spatial_dims=3, size=(32, 32))


def brute_force(network, dims, first, last):
    """The least side that works, by passing real images from small to large."""
    for side in range(first, last):
        try:
            with torch.no_grad():
                network(torch.zeros(1, 1, *[side] * dims))
        except (RuntimeError, ValueError):
            continue
        return side
    return None


@pytest.mark.parametrize(
    ("name", "dims", "first"),
    [("densenet121", 2, 26), ("inception_v3", 2, 72), ("efficientnet_b0", 3, 29)],
)
def test_too_small_a_size_names_the_least_that_works(name, dims, first):
    network = build(name, classes=2, spatial_dims=dims).eval()
    least = brute_force(network, dims, first, 80)
    assert least_size(network, channels=1, size=(8,) * dims) == (least,) * dims
    words = " x ".join([str(least)] * dims)
    with pytest.raises(ModelError, match=f"least size that works is {words}"):
        require_size(network, name, channels=1, size=(least - 1,) * dims)
    require_size(network, name, channels=1, size=(least,) * dims)


def test_the_size_is_checked_where_a_network_is_built_and_loaded(tmp_path):
    with pytest.raises(ModelError, match=r"'densenet121' cannot take .* 16 x 16"):
        build("densenet121", classes=2, size=(16, 16))
    network = build("densenet121", classes=2)
    spec = Preprocessing(size=(16, 16))
    write_folder(tmp_path, network, ModelCard("densenet121", ("a", "b"), spec))
    with pytest.raises(ModelError, match="least size"):
        load_model(tmp_path)


def test_a_transformer_is_built_for_its_size():
    network = build("test_vit", classes=2, size=(48, 64)).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 1, 48, 64)).shape == (1, 2)
    with pytest.raises(ModelError, match="divisible by patch size"):
        build("test_vit", classes=2, size=(50, 50))


def test_the_check_of_a_size_leaves_the_network_alone():
    network = build("test_efficientnet", classes=2).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    require_size(network, "test_efficientnet", channels=1, size=(32, 32))
    assert network.training
    for key, value in network.state_dict().items():
        assert value.device.type == "cpu"
        assert torch.equal(value, before[key])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet5O", "Did you mean resnet50"),
        ("monai:Nope", "MONAI has no network 'Nope'"),
        ("monai:UNet", "cannot be built as a classifier"),
    ],
)
def test_unknown_names_are_refused(name, words):
    with pytest.raises(ModelError, match=words):
        build(name, classes=2)


def test_any_network_of_monai_by_its_class():
    # one names its arguments, the other hides them behind **kwargs
    for name in ("monai:DenseNet121", "monai:SEResNet50"):
        network = build(name, classes=4, channels=3, size=(64, 64)).eval()
        with torch.no_grad():
            assert network(torch.rand(1, 3, 64, 64)).shape == (1, 4)


# The hub


@pytest.fixture
def hub(monkeypatch):
    """timm's download, answered by a file that is made here."""
    import timm.models._builder as builder

    torch.manual_seed(7)
    source = build("test_efficientnet", classes=1000, channels=3).state_dict()
    asked = []

    def answer(*arguments, **keywords):
        asked.append(arguments)
        return dict(source)

    monkeypatch.setattr(builder, "load_state_dict_from_hf", answer)
    return source, asked


def test_hub_weights_come_with_a_grey_stem_and_a_new_head(hub):
    source, asked = hub
    torch.manual_seed(1)
    network = pretrained("test_efficientnet", classes=2, channels=1, size=(32, 32))
    assert len(asked) == 1
    own = network.state_dict()
    stem = next(iter(own))
    assert torch.allclose(own[stem], source[stem].sum(dim=1, keepdim=True))
    head = {k for k in own if k.startswith("classifier")}
    assert own["classifier.weight"].shape[0] == 2
    for key in set(own) - head - {stem}:
        assert torch.equal(own[key], source[key])


def test_without_internet_the_hub_says_what_to_do(monkeypatch):
    import timm.models._builder as builder

    def offline(*_, **__):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(builder, "load_state_dict_from_hf", offline)
    with pytest.raises(ModelError, match="on another machine") as found:
        pretrained("densenet121", classes=2)
    for words in ("huggingface.co/timm/densenet121", "--initial-weights FILE"):
        assert words in str(found.value)


def test_the_hub_has_none_of_monais():
    with pytest.raises(ModelError, match="hub has no weights"):
        pretrained("monai:DenseNet121", classes=2)
    with pytest.raises(ModelError, match="neither ours nor timm's"):
        pretrained("resnet5O", classes=2)


# The command


def run(*arguments):
    from napari_medxai.cli import main

    return main(["models", *map(str, arguments)])


def test_the_command_lists_bundled_classifiers_and_the_nine(capsys):
    assert run() == 0
    text = capsys.readouterr().out
    assert "brain-tumor-mri" in text
    for word in (
        "glioma, meningioma, pituitary",
        "224 x 224",
        "macro f1",
        "Apache-2.0",
    ):
        assert word in text
    for name in PAPER:
        assert f"  {name} " in text
    assert text.count("3-D (MONAI)") == 3
    assert max(map(len, text.splitlines())) <= 90


def test_the_command_checks_a_model_folder(tmp_path, capsys):
    spec = Preprocessing(size=(32, 32))
    network = build("test_efficientnet", classes=2)
    write_folder(
        tmp_path / "mine", network, ModelCard("test_efficientnet", ("a", "b"), spec)
    )
    assert run("--check", tmp_path / "mine") == 0
    text = capsys.readouterr().out
    for word in (
        "mine: fits",
        "a, b (softmax)",
        "32 x 32",
        "gradcam",
        "gradients    yes",
    ):
        assert word in text
    assert run("--check", tmp_path / "absent") == 1
    assert "no model" in capsys.readouterr().err


def test_options_without_a_model_to_check_are_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--arch", "resnet50")
    assert stopped.value.code == 2
    assert "--check" in capsys.readouterr().err


def test_listing_loads_no_weights(monkeypatch):
    import safetensors.torch

    monkeypatch.setattr(safetensors.torch, "load", None)
    assert run() == 0
