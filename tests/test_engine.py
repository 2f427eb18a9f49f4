"""The engine: explanations on the native grid, measured outcomes, seeds, cancelling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_medxai as mx
from napari_medxai import metrics, saliency
from napari_medxai.engine import Settings, evaluate, evaluate_study, select_slices
from napari_medxai.errors import Cancelled, MethodError, ModelError, StudyError
from napari_medxai.io import find_cases
from napari_medxai.provenance import case_key, image_seed
from napari_medxai.results import Step
from napari_medxai.slices import views
from napari_medxai.study import Study

FAST = ("vanilla_gradient", "gradcam", "random")


@pytest.fixture(scope="module")
def model(tiny_model):
    return mx.load_model(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def study(blobs):
    return mx.load_study(blobs / "images" / "2.png")


def volume(blobs: Path) -> Study:
    """Five blob images as an axial stack, with a mask in slices 1 and 3."""
    images = [mx.load_study(blobs / "images" / f"{i}.png") for i in range(5)]
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 1], [0, 1, 0], [3, 0, 0]]
    array = np.stack([s.array for s in images])
    mask = np.zeros(array.shape, bool)
    for i in (1, 3):
        mask[i] = images[i].mask
    return Study(
        array,
        Path("volume"),
        affine_lps=affine,
        spacing=(3.0, 1.0, 1.0),
        masks={"lesion": mask},
        identifier="volume",
    )


def test_explanation_equals_the_steps_done_by_hand(study, model):
    (got,) = mx.explain(study, model, ["gradcam"])
    seen = model.input(study)
    target = int(model.predict(study).probabilities.argmax())
    by_hand = saliency.compute(
        "gradcam", model.module, model.tensor(seen.image[None]), target
    )
    assert np.allclose(got.map, seen.to_native(by_hand[0].numpy()), atol=1e-6)
    assert got.map.shape == study.array.shape
    assert got.map.dtype == np.float32
    assert got.target_class == model.classes[target]
    assert got.provenance["model_sha256"] == model.digest
    assert got.provenance["target_layer"]


@pytest.mark.parametrize("target", ["predicted", "label", "low", 0])
def test_target_is_the_class_asked_for(study, model, target):
    label = "low"
    (got,) = mx.explain(study, model, ["random"], target=target, label=label)
    predicted = model.predict(study).label
    expected = {"predicted": predicted, "label": label, "low": "low", 0: "high"}
    assert got.target_class == expected[target]


def test_unknown_things_are_refused(study, model):
    with pytest.raises(MethodError, match="gradcam"):
        list(mx.explain(study, model, ["gradcan"]))
    with pytest.raises(ModelError, match="no class"):
        list(mx.explain(study, model, ["random"], target="medium"))
    with pytest.raises(ValueError, match="label"):
        list(mx.explain(study, model, ["random"], target="label"))


def test_volume_is_explained_slice_by_slice(blobs, model):
    stack = volume(blobs)
    got = list(mx.explain(stack, model, ["gradcam", "random"]))
    assert [e.method for e in got] == ["gradcam", "random"]
    assert got[0].slices == (1, 3)
    assert got[0].map.shape == stack.shape
    assert np.isnan(got[0].map[[0, 2, 4]]).all()
    flat = Study(stack.array[3], Path("one"), spacing=(1.0, 1.0))
    (alone,) = mx.explain(flat, model, ["gradcam"])
    assert np.allclose(got[0].map[3], alone.map, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (None, (1, 3)),
        ("mask", (1, 3)),
        ("middle", (2,)),
        ("all", (0, 1, 2, 3, 4)),
        ("1:3", (1, 2)),
        ("-2:", (3, 4)),
    ],
)
def test_slices(blobs, how, expected):
    assert select_slices(volume(blobs), how) == expected


def test_slices_that_do_not_exist(blobs):
    stack = volume(blobs)
    with pytest.raises(StudyError, match="empty"):
        select_slices(stack, "7:9")
    with pytest.raises(ValueError, match="A:B"):
        select_slices(stack, "some")
    bare = stack.with_masks({})
    assert select_slices(bare, None) == (2,)
    with pytest.raises(StudyError, match="no mask"):
        select_slices(bare, "mask")


def test_outcomes_equal_the_metrics_called_by_hand(blobs, model):
    settings = Settings(methods=FAST, seed=5)
    drawn = 0
    for name in ("0.png", "2.png", "4.png"):
        study = mx.load_study(blobs / "images" / name)
        outcomes = list(evaluate_study(study, model, settings, label="high"))
        assert [o.method for o in outcomes] == list(FAST)
        seen = model.input(study)
        for outcome in outcomes:
            target = model.classes.index(outcome.target_class)
            network_map = saliency.compute(
                outcome.method,
                model.module,
                model.tensor(seen.image[None]),
                target,
                seed=5,
            )[0].numpy()
            curves = metrics.information_curves(
                seen.image,
                network_map,
                model.probabilities,
                target,
                label=model.classes.index("high"),
                seed=image_seed(5, seen.image),
            )
            for mine, theirs in (
                (outcome.curves.aic, curves.aic),
                (outcome.curves.sic, curves.sic),
            ):
                assert np.array_equal(mine.y, theirs.y, equal_nan=True)
                assert mine.excluded == theirs.excluded
                drawn += mine.excluded is None
            place = metrics.localize(seen.to_native(network_map), study.mask)
            assert outcome.localization.relevance_mass == pytest.approx(
                place.relevance_mass, rel=1e-5
            )
            assert outcome.correct == (outcome.predicted_class == "high")
    assert drawn


def test_a_case_does_not_depend_on_the_run(blobs, model):
    cases = find_cases(blobs).cases
    settings = Settings(methods=("smoothgrad", "random"))
    forth = {r.case.name: r for r in evaluate(cases[:3], model, settings)}
    back = {r.case.name: r for r in evaluate(cases[2:0:-1], model, settings)}
    for name in back:
        for a, b in zip(forth[name].outcomes, back[name].outcomes, strict=True):
            assert np.array_equal(a.map, b.map)
            assert np.array_equal(a.curves.sic.y, b.curves.sic.y, equal_nan=True)
        assert forth[name].key == back[name].key


def test_key_changes_with_what_decides_the_numbers(blobs, model):
    case = find_cases(blobs).cases[0]
    study = mx.load_study(case.path)
    base = Settings(methods=("random",))
    turned = np.diag([1.0, 1.0, -1.0, 1.0])
    keys = [
        case_key(case, study, model, base),
        case_key(case, study, model, Settings(methods=("random",), seed=1)),
        case_key(case, study, model, Settings(methods=("gradcam",))),
        case_key(case, study, model, Settings(methods=("random",), target="low")),
        case_key(case, study.with_masks({}), model, base),
        case_key(case, replace(study, spacing=(2.0, 1.0)), model, base),
        case_key(case, replace(study, affine_lps=turned), model, base),
        case_key(case, replace(study, array=study.array + 1), model, base),
        case_key(replace(case, label="low"), study, model, base),
        case_key(replace(case, patient="someone"), study, model, base),
    ]
    assert len(set(keys)) == len(keys)
    assert case_key(case, study, model, base) == keys[0]


def test_a_turned_anisotropic_volume_is_measured_and_drawn_in_place(blobs, model):
    """Distances in true mm, and image, mask and maps turned alike."""
    stack = volume(blobs)
    spacing = (3.0, 2.0, 0.5)
    affine = np.eye(4)
    # rows grow to the front, columns to the right: both are flipped on screen
    affine[:3, :3] = [[0, 0, -0.5], [0, -2.0, 0], [3.0, 0, 0]]
    turned = replace(stack, affine_lps=affine, spacing=spacing)
    settings = Settings(methods=("gradcam",), slices="3:4")
    (outcome,) = evaluate_study(turned, model, settings)
    mask = turned.mask[3]
    peaks = np.argwhere(outcome.map == outcome.map.max())
    inside = np.argwhere(mask)
    distances = [
        np.sqrt((((inside - peak) * spacing[1:]) ** 2).sum(axis=1)).min()
        for peak in peaks
    ]
    assert outcome.localization.peak_distance_mm == pytest.approx(np.mean(distances))
    (view,) = views(turned, model, [outcome])
    assert np.array_equal(view.mask, mask[::-1, ::-1])
    assert np.array_equal(view.image, turned.array[3][::-1, ::-1])
    assert np.array_equal(view.maps["gradcam"], outcome.map[::-1, ::-1])
    assert view.screen.aspect == pytest.approx(4.0)
    assert view.screen.letters == ("A", "P", "R", "L")


def test_probability_is_that_of_the_class_explained(blobs, model):
    study = mx.load_study(blobs / "images" / "2.png")
    probabilities = model.predict(study).probabilities
    wrong = model.classes[int(probabilities.argmin())]
    settings = Settings(methods=("random",), target="label")
    (outcome,) = evaluate_study(study, model, settings, label=wrong)
    assert outcome.target_class == wrong != outcome.predicted_class
    assert outcome.probability == pytest.approx(probabilities.min(), abs=1e-6)
    assert outcome.correct is False


def test_a_method_that_fails_costs_itself_only(study, model):
    settings = Settings(
        methods=("gradcam", "random"),
        parameters={"gradcam": {"target_layer": "nowhere"}},
    )
    first, second = evaluate_study(study, model, settings)
    assert (first.status, second.status) == ("failed", "ok")
    assert "nowhere" in first.reason


def test_a_label_the_model_does_not_know_costs_only_the_aic(study, model):
    settings = Settings(methods=("random",))
    (outcome,) = evaluate_study(study, model, settings, label="medium")
    assert outcome.correct is False
    assert "not one of the model's classes" in outcome.curves.aic.excluded
    (known,) = evaluate_study(study, model, settings)
    assert np.array_equal(outcome.curves.sic.y, known.curves.sic.y, equal_nan=True)
    with pytest.raises(ModelError, match="no class 'medium'"):
        list(
            evaluate_study(
                study,
                model,
                Settings(methods=("random",), target="label"),
                label="medium",
            )
        )


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("out of memory")])
def test_any_exception_costs_its_method_only(study, model, monkeypatch, error):
    compute = saliency.compute

    def fail(name, *arguments, **keywords):
        if name == "gradcam":
            raise error
        return compute(name, *arguments, **keywords)

    monkeypatch.setattr(saliency, "compute", fail)
    settings = Settings(methods=("gradcam", "random"))
    first, second = evaluate_study(study, model, settings)
    assert (first.status, second.status) == ("failed", "ok")
    assert type(error).__name__ in first.reason


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), PermissionError(13, "Permission denied", "/home/DOE_JOHN/x.png")],
)
def test_any_exception_costs_its_case_only(blobs, model, monkeypatch, error):
    from napari_medxai import engine

    load = engine.load_case

    def fail(case):
        if case.name.endswith("0.png"):
            raise error
        return load(case)

    monkeypatch.setattr(engine, "load_case", fail)
    cases = find_cases(blobs).cases[:2]
    bad, good = evaluate(cases, model, Settings(methods=("random",)))
    assert bad.errors[0].error == type(error).__name__
    assert "DOE_JOHN" not in bad.errors[0].detail
    assert good.outcomes


def test_progress_rises_to_one_and_cancels(study, model):
    steps: list[Step] = []
    settings = Settings(methods=("integrated_gradients", "random"))
    list(evaluate_study(study, model, settings, progress=steps.append))
    fractions = [s.fraction for s in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {s.method for s in steps} >= {"integrated_gradients", "random"}

    def stop(step: Step) -> None:
        if step.method == "integrated_gradients":
            raise Cancelled

    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    with pytest.raises(Cancelled):
        list(evaluate_study(study, model, settings, progress=stop))
    assert not model.module.training
    assert all(torch.equal(v, before[k]) for k, v in model.module.state_dict().items())


def test_a_broken_case_becomes_an_error(tmp_path, blobs, model):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    (result,) = evaluate(find_cases(bad).cases, model, Settings(methods=("random",)))
    assert not result.outcomes
    (error,) = result.errors
    assert error.stage == "read"
    assert "bad.png" in error.detail
