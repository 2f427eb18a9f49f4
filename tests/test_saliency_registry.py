"""The registry: names, groups, parameters, errors and other packages' methods."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest
import torch

from napari_medxai import saliency
from napari_medxai.errors import MethodError
from napari_medxai.saliency import registry

CORE = (
    "vanilla_gradient",
    "smoothgrad",
    "integrated_gradients",
    "guided_ig",
    "xrai",
    "gradcam",
    "gradcam_pp",
    "scorecam",
    "random",
)


@pytest.fixture
def fresh_registry(monkeypatch):
    """A copy of the registry that forgets what a test adds."""
    saliency.methods()
    state = SimpleNamespace(
        methods=dict(registry._state.methods),
        adapted=dict(registry._state.adapted),
        builtin_loaded=True,
        plugins_loaded=True,
    )
    monkeypatch.setattr(registry, "_state", state)
    return state


def test_names_groups_and_order():
    assert saliency.methods()[:11] == (*CORE, "edge", "center")
    assert saliency.groups()["core"] == CORE
    assert saliency.groups()["baselines"] == ("random", "edge", "center")
    assert saliency.groups()["all"] == saliency.methods()
    assert list(saliency.groups())[-2:] == ["captum:all", "gradcam:all"]
    assert not any(":" in name for name in saliency.methods())


def test_order_does_not_depend_on_what_was_imported_first():
    code = (
        "import napari_medxai.saliency.baselines, napari_medxai.saliency.xrai\n"
        "from napari_medxai import saliency\n"
        "print(*saliency.methods()[:9])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert tuple(out.stdout.split()) == CORE


def test_resolve_takes_groups_and_names_once():
    assert saliency.resolve("edge, gradcam,edge") == ("edge", "gradcam")
    assert saliency.resolve("core,edge") == (*CORE, "edge")
    assert saliency.resolve("baselines,core")[:3] == ("random", "edge", "center")
    assert saliency.resolve(["xrai", "random,xrai"]) == ("xrai", "random")
    mixed = "gradcam,captum:Saliency,gradcam:all"
    cams = saliency.groups()["gradcam:all"]
    assert saliency.resolve(mixed) == ("gradcam", "captum:Saliency", *cams)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("captum:Saliencey", "captum:Saliency"),
        ("gradcam:HiresCAM", "gradcam:HiResCAM"),
    ],
)
def test_names_of_other_libraries_are_known(name, near):
    for look in (saliency.get, saliency.resolve):
        with pytest.raises(MethodError, match=f"did you mean '{near}'"):
            look(name)
    assert saliency.get(near).name == near
    assert saliency.get(near) is saliency.get(near)


def test_methods_of_other_libraries_are_described():
    for group in ("captum:all", "gradcam:all"):
        for name in saliency.groups()[group]:
            method = saliency.get(name)
            assert method.name == name
            assert method.needs_network
            assert method.summary.endswith(".")
            assert method.label.startswith(name.partition(":")[2])
            library = "captum 0." if group == "captum:all" else "grad-cam 1."
            assert method.reference.startswith(library)
            with pytest.raises(TypeError):
                method.parameters["new"] = 1


@pytest.mark.parametrize("text", ["", " , ", "gradcan", "core,gradcan"])
def test_resolve_refuses(text):
    with pytest.raises(MethodError, match="vanilla_gradient, smoothgrad"):
        saliency.resolve(text)


def test_unknown_name_says_the_closest_and_lists_all():
    with pytest.raises(MethodError, match="did you mean 'gradcam_pp'") as caught:
        saliency.get("gradcampp")
    for name in saliency.methods():
        assert name in str(caught.value)
    with pytest.raises(MethodError, match="scorecam"):
        saliency.compute("nonsense", torch.nn.Identity(), torch.zeros(1, 1, 2, 2), 0)


def test_every_method_is_described():
    for name in saliency.methods():
        method = saliency.get(name)
        assert method.name == name
        assert method.label
        assert method.reference
        assert method.summary.endswith(".")
        assert method.needs_network == (name not in ("random", "edge", "center"))
        with pytest.raises(dataclasses.FrozenInstanceError):
            method.name = "other"
        with pytest.raises(TypeError):
            method.parameters["new"] = 1


def test_parameters_are_the_published_defaults():
    defaults = {name: dict(saliency.get(name).parameters) for name in CORE}
    gradient = {"score": "logit", "reduce": "abs_sum"}
    path = {"baseline": 0.0, **gradient}
    assert defaults["vanilla_gradient"] == gradient
    assert defaults["smoothgrad"] == {
        "samples": 25,
        "noise": 0.15,
        "magnitude": True,
        **gradient,
    }
    assert defaults["integrated_gradients"] == {"steps": 25, **path}
    assert defaults["guided_ig"] == {
        "steps": 200,
        "fraction": 0.25,
        "max_dist": 0.02,
        **path,
    }
    assert defaults["xrai"]["steps"] == 100
    assert defaults["xrai"]["min_pixel_diff"] == 50
    assert defaults["xrai"]["dilation"] == 5
    assert defaults["gradcam"] == {"target_layer": None}
    assert defaults["scorecam"] == {"variant": "authors", "target_layer": None}
    assert defaults["random"] == {}


def test_unknown_parameter_names_the_accepted_ones():
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(MethodError, match=r"'samples'.*samples, noise, magnitude"):
        saliency.compute("smoothgrad", torch.nn.Identity(), x, 0, sample=3)
    with pytest.raises(MethodError, match="it takes none"):
        saliency.compute("random", None, x, 0, steps=3)


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("smoothgrad", {"samples": 0}, "samples must be a whole number"),
        ("smoothgrad", {"samples": 2.5}, "samples must be a whole number"),
        ("smoothgrad", {"noise": -0.1}, "noise must be a number"),
        ("smoothgrad", {"noise": "much"}, "noise must be a number"),
        ("integrated_gradients", {"steps": True}, "steps must be"),
        ("integrated_gradients", {"baseline": "black"}, "baseline must be"),
        ("integrated_gradients", {"baseline": torch.zeros(7)}, "does not fit"),
        ("integrated_gradients", {"baseline": float("nan")}, "the baseline"),
        ("guided_ig", {"fraction": 1.5}, "fraction must be"),
        ("guided_ig", {"max_dist": -1}, "max_dist must be"),
        ("xrai", {"min_pixel_diff": 0}, "min_pixel_diff must be"),
        ("xrai", {"baseline": []}, "at least one baseline"),
        ("vanilla_gradient", {"reduce": "mean"}, "'abs_sum', 'sum'"),
        ("vanilla_gradient", {"score": "softmax"}, "'logit' or 'probability'"),
        ("scorecam", {"variant": "fast"}, "'authors', 'gradcam'"),
        ("center", {"sigma": 0}, "sigma must be"),
    ],
)
def test_bad_parameters_are_named(name, parameters, said):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    with pytest.raises(MethodError, match=said) as caught:
        saliency.compute(name, network, torch.rand(1, 1, 4, 4), 0, **parameters)
    assert str(caught.value).startswith(name)


def test_decorator_returns_the_function_and_registers_it(fresh_registry):
    @saliency.method("ones", label="Ones", family="other", reference="none")
    def ones(session, x, target, *, scale: float = 1.0):
        """Give the same everywhere."""
        return torch.full((len(x), *x.shape[2:]), scale)

    assert ones.__name__ == "ones"
    assert saliency.get("ones").function is ones
    assert saliency.methods()[-1] == "ones"
    x = torch.zeros(2, 1, 3, 4)
    result = saliency.compute("ones", torch.nn.Identity(), x, 0, scale=2.0)
    assert torch.equal(result, torch.full((2, 3, 4), 2.0))
    with pytest.raises(MethodError, match="already registered"):

        @saliency.method("gradcam", label="x", family="cam", reference="x")
        def other(session, x, target):
            """Take a name."""

    with pytest.raises(MethodError, match="no default"):

        @saliency.method("bad", label="x", family="cam", reference="x")
        def bad(session, x, target, *, steps):
            """Lack a default."""

    with pytest.raises(MethodError, match="cannot name"):

        @saliency.method("core", label="x", family="cam", reference="x")
        def core(session, x, target):
            """Take a group's name."""

    for name in ("gradcam:GradCAM", "gradcam:mine", "captum:all", "a,b", "a=b"):
        with pytest.raises(MethodError, match="cannot name"):
            saliency.method(name, label="x", family="cam", reference="x")(ones)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (torch.zeros(1, 5), "instead of a tensor"),
        (None, "instead of a tensor"),
        (torch.full((1, 2, 2), torch.nan), "the map are NaN"),
    ],
)
def test_what_a_method_returns_is_checked(fresh_registry, returned, said):
    @saliency.method("odd", label="Odd", family="other", reference="none")
    def odd(session, x, target):
        """Return something odd."""
        return returned

    with pytest.raises(MethodError, match=f"odd: .*{said}"):
        saliency.compute("odd", torch.nn.Identity(), torch.zeros(1, 1, 2, 2), 0)


def _plugin(session, x, target):
    """Give zeros."""
    return torch.zeros(len(x), *x.shape[2:])


plugin_method = dataclasses.replace(
    saliency.get("random"), name="from_plugin", function=_plugin
)


shadowing_method = dataclasses.replace(plugin_method, name="captum:Saliency")


def undecorated(session, x, target):
    """Not registered."""


def test_entry_points(fresh_registry, monkeypatch):
    group = registry.ENTRY_POINT_GROUP
    here = __name__
    points = [
        EntryPoint("good", f"{here}:plugin_method", group),
        EntryPoint("missing", "no_such_package_at_all:f", group),
        EntryPoint("plain", f"{here}:undecorated", group),
        EntryPoint("shadow", f"{here}:shadowing_method", group),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    fresh_registry.plugins_loaded = False
    with pytest.warns(RuntimeWarning) as caught:
        names = saliency.methods()
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 3
    assert "'shadow'" in texts[2]
    assert "begins with captum:" in texts[2]
    assert saliency.get("captum:Saliency").function is not _plugin
    assert "'missing'" in texts[0]
    assert "no_such_package_at_all" in texts[0]
    assert "'plain'" in texts[1]
    assert "decorated" in texts[1]
    assert names[-1] == "from_plugin"
    assert saliency.compute("from_plugin", None, torch.ones(1, 1, 2, 2), 0).sum() == 0


def test_importing_the_package_loads_no_torch():
    code = (
        "import sys, napari_medxai.saliency\n"
        "bad = {'torch', 'napari', 'qtpy'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
