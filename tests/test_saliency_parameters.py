"""``METHOD.PARAMETER=VALUE``: read by the types of the signatures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_medxai import saliency
from napari_medxai.errors import MethodError, UsageError
from napari_medxai.provenance import case_key
from napari_medxai.saliency import parameters
from napari_medxai.settings import Settings
from napari_medxai.study import Study


def test_values_get_the_type_of_the_signature():
    found = parameters.parse(
        [
            "smoothgrad.samples=50",
            "smoothgrad.noise=1e-1",
            "smoothgrad.magnitude=No",
            "vanilla_gradient.score=probability",
            "xrai.baseline=0,1.5",
            "integrated_gradients.baseline = -2",
            "gradcam.target_layer=layer3,layer4",
            "gradcam_pp.target_layer=layer4.2=odd",
            "scorecam.target_layer=none",
            "captum:Occlusion.strides=8,8",
            "captum:Occlusion.sliding_window_shapes=(16, 16)",
            "captum:FeatureAblation.patches=4",
            "captum:NoiseTunnel.attribution_method=DeepLift",
            "gradcam:FinerCAM.comparison_categories=1,2",
            "gradcam:KPCA_CAM.gamma=0.5",
        ]
    )
    assert found == {
        "captum:FeatureAblation": {"patches": 4},
        "captum:NoiseTunnel": {"attribution_method": "DeepLift"},
        "captum:Occlusion": {"sliding_window_shapes": (16, 16), "strides": (8, 8)},
        "gradcam": {"target_layer": ("layer3", "layer4")},
        "gradcam:FinerCAM": {"comparison_categories": (1, 2)},
        "gradcam:KPCA_CAM": {"gamma": 0.5},
        "gradcam_pp": {"target_layer": "layer4.2=odd"},
        "integrated_gradients": {"baseline": -2.0},
        "scorecam": {"target_layer": None},
        "smoothgrad": {"magnitude": False, "noise": 0.1, "samples": 50},
        "vanilla_gradient": {"score": "probability"},
        "xrai": {"baseline": (0.0, 1.5)},
    }
    assert list(found) == sorted(found)
    assert list(found["smoothgrad"]) == ["magnitude", "noise", "samples"]
    assert isinstance(found["integrated_gradients"]["baseline"], float)
    assert isinstance(found["smoothgrad"]["samples"], int)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("xrai", UsageError, "'xrai' is not of the form METHOD.PARAMETER=VALUE"),
        ("steps=3", UsageError, "not of the form"),
        ("xrai.=3", UsageError, "not of the form"),
        ("xria.steps=3", MethodError, "did you mean 'xrai'"),
        ("captum:Oclusion.strides=3", MethodError, "did you mean 'captum:Occlusion'"),
        ("xrai.step=3", MethodError, "did you mean 'steps'.*it takes steps, baseline"),
        ("random.steps=3", MethodError, "it takes none"),
        ("xrai.steps=ten", UsageError, "steps must be a whole number"),
        ("xrai.steps=2.5", UsageError, "steps must be a whole number"),
        ("smoothgrad.noise=nan", UsageError, "noise must be a number"),
        ("smoothgrad.noise=inf", UsageError, "noise must be a number"),
        ("smoothgrad.magnitude=maybe", UsageError, "must be true or false"),
        ("xrai.score=soft", UsageError, "must be one of logit, probability"),
        ("captum:Saliency.reduce=max", UsageError, "one of abs_sum, sum"),
        ("xrai.baseline=a,b", UsageError, "a number or several with commas or none"),
        ("captum:Occlusion.strides=", UsageError, "a whole number or several"),
        ("gradcam.target_layer", UsageError, "not of the form"),
    ],
)
def test_what_is_wrong_is_said(text, error, said):
    with pytest.raises(error, match=said):
        parameters.parse([text])


def test_twice_and_for_nothing():
    with pytest.raises(UsageError, match=r"xrai\.steps is given twice"):
        parameters.parse(["xrai.steps=3", "xrai.steps=4"])
    with pytest.raises(
        UsageError, match="xrai is not among the methods that run: gradcam, edge"
    ):
        parameters.parse(["xrai.steps=3"], ["gradcam", "edge"])
    assert parameters.parse(["xrai.steps=3"], ("xrai",)) == {"xrai": {"steps": 3}}
    assert parameters.parse([]) == {}


def default_text(value):
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def test_every_default_that_can_be_written_is_read_back():
    """All methods there are: ours and the libraries'."""
    groups = saliency.groups()
    names = (*groups["all"], *groups["captum:all"], *groups["gradcam:all"])
    count = 0
    for name in names:
        method = saliency.get(name)
        for key, kind in parameters.kinds(method).items():
            default = method.parameters[key]
            got = parameters.parse([f"{name}.{key}={default_text(default)}"])
            assert got == {name: {key: default}}
            assert parameters.parse_value(default_text(default), kind) == default
            count += 1
    assert count > 150


def test_described():
    lines = parameters.described(saliency.get("smoothgrad"))
    assert lines[0] == "samples=25 (a whole number)"
    assert "magnitude=true (true or false)" in lines
    assert "score=logit (one of logit, probability)" in lines
    occlusion = parameters.described(saliency.get("captum:Occlusion"))
    assert "strides=none (a whole number or several with commas or none)" in occlusion


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int | float, "3", 3),
        (int | float, "3.0", 3.0),
        (float | Tensor | Sequence[float | Tensor] | None, "1,2", (1.0, 2.0)),
        (tuple[int, ...], "7", (7,)),
        (Literal[1, 2], "2", 2),
        (str | None, "None", None),
        (bool | None, "off", False),
        (str, "none", "none"),
    ],
)
def test_the_narrowest_type_wins(kind, text, value):
    got = parameters.parse_value(text, kind)
    assert got == value
    assert type(got) is type(value)


def test_what_cannot_be_written_is_refused():
    with pytest.raises(ValueError, match="given from Python"):
        parameters.parse_value("0", Tensor)


def test_parsed_parameters_are_what_compute_takes():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    x = torch.rand(1, 1, 4, 4)
    name = "captum:IntegratedGradients"
    given = parameters.parse([f"{name}.n_steps=3", f"{name}.reduce=sum"])
    got = saliency.compute(name, network, x, 1, **given[name])
    expected = saliency.compute(name, network, x, 1, n_steps=3, reduce="sum")
    assert torch.equal(got, expected)


def test_a_third_party_s_signature():
    def odd(session, x, target, *, steps: NotImported = 4, word=None):  # noqa: F821
        """Annotations that cannot be resolved."""

    method = saliency.Method(
        name="odd",
        label="Odd",
        family="other",
        reference="none",
        function=odd,
        parameters={"steps": 4, "word": None},
        needs_network=False,
    )
    assert parameters.kinds(method) == {"steps": int, "word": str | None}


def test_parameters_enter_the_key_of_a_case():
    case = SimpleNamespace(name="a", label=None, patient=None)
    study = Study(array=np.zeros((4, 4), np.uint8), source=Path("a.png"))
    model = SimpleNamespace(digest="d", precision="fp32", batch_size=8, device="cpu")

    def key(*given):
        chosen = parameters.parse(given)
        settings = Settings(methods=("xrai",), parameters=chosen)
        return case_key(case, study, model, settings)

    keys = [key(), key("xrai.steps=3"), key("xrai.steps=4"), key("xrai.baseline=0,1")]
    assert len(set(keys)) == 4
    assert key("xrai.steps=3", "xrai.score=logit") == key(
        "xrai.score=logit", "xrai.steps=3"
    )
