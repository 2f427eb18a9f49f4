"""Chance, checks and kept maps through the engine and the batch; volumes in 3-D."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import napari_medxai as mx
from napari_medxai import metrics, saliency
from napari_medxai.batch import main
from napari_medxai.chance_maps import chance_seed
from napari_medxai.engine import Settings, evaluate_study
from napari_medxai.errors import Cancelled, MetricError, UsageError
from napari_medxai.io import Case
from napari_medxai.map_pool import MapPool
from napari_medxai.models import Classifier
from napari_medxai.models.folder import ModelCard
from napari_medxai.preprocess import Preprocessing
from napari_medxai.provenance import image_seed
from napari_medxai.run import BatchOptions, run
from napari_medxai.saliency.randomised import randomised
from napari_medxai.study import Study

METHODS = ("gradcam", "center")


@pytest.fixture(scope="module")
def model(tiny_model):
    return mx.load_model(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def study(blobs):
    return mx.load_study(blobs / "images" / "2.png")


def outcomes(study, model, **changes):
    settings = Settings(
        methods=METHODS, presets=("corrected",), min_probability=0.0, chance=4
    )
    return list(evaluate_study(study, model, replace(settings, **changes), subject="p"))


def by_hand(study, model, draw, count=4):
    """Chance areas of Grad-CAM, one map at a time."""
    seen = model.input(study)
    target = int(model.probabilities(seen.image[None])[0].argmax())
    own = saliency.compute(
        "gradcam", model.module, model.tensor(seen.image[None]), target
    )
    prepared = metrics.prepare(
        seen.image,
        model.probabilities,
        presets=("corrected",),
        seed=image_seed(0, seen.image),
    )
    values = own[0].numpy()
    return [
        prepared.curves(draw(values, seen, j), target, min_probability=0.0)[
            "corrected"
        ].sic.auc
        for j in range(count)
    ]


def network_draw(study, model):
    def draw(values, seen, member):
        seed = chance_seed(0, "random_network", "", member)
        x = model.tensor(seen.image[None])
        module = randomised(model.module, seed=seed, images=x)
        target = int(model.probabilities(seen.image[None])[0].argmax())
        other = saliency.compute("gradcam", module, x, target)[0].numpy()
        order = chance_seed(0, "random_network", "p", member)
        return metrics.ranked_like(values, other, seed=order)

    return draw


DRAWS = {
    "surrogate": lambda values, seen, j: metrics.surrogate(
        values,
        metrics.body_mask(seen.image, seen.padding),
        seed=chance_seed(0, "surrogate", "p", j),
    ),
    "random_pixels": lambda values, seen, j: metrics.random_pixels(
        values, seed=chance_seed(0, "random_pixels", "p", j)
    ),
}


@pytest.mark.parametrize("null", ["surrogate", "random_pixels", "random_network"])
def test_chance_areas_are_those_made_by_hand(study, model, null):
    found = outcomes(study, model, null=null)[0]
    assert found.method == "gradcam"
    draw = DRAWS.get(null) or network_draw(study, model)
    expected = by_hand(study, model, draw)
    assert found.chance is not None
    assert (found.chance.null, found.chance.asked, found.chance.n) == (null, 4, 4)
    np.testing.assert_allclose(found.chance.sic.areas, expected, atol=1e-6)
    own = found.curves.sic.auc
    below = sum(a < own - 1e-6 for a in expected)
    equal = sum(abs(a - own) <= 1e-6 for a in expected)
    assert found.chance.sic.rank == below + equal / 2


def test_chance_depends_on_the_subject_and_not_on_the_other_methods(study, model):
    both = outcomes(study, model)
    alone = outcomes(study, model, methods=("center",))
    np.testing.assert_array_equal(both[1].chance.sic.areas, alone[0].chance.sic.areas)
    settings = Settings(
        methods=("center",), presets=("corrected",), min_probability=0.0, chance=4
    )
    (other,) = evaluate_study(study, model, settings, subject="q")
    assert np.any(other.chance.sic.areas != alone[0].chance.sic.areas)


def test_no_chance_is_drawn_where_nothing_was_asked(study, model):
    for found in outcomes(study, model, chance=0, null=""):
        assert found.chance is None
        assert not any("p_value" in name for name in found.measures)


def test_other_cases_are_needed_for_their_null(study, model):
    found = outcomes(study, model, null="other_case")
    assert {o.status for o in found} == {"failed"}
    assert "needs other cases" in found[0].reason


def test_measures_are_those_of_the_functions(study, model):
    found = outcomes(study, model, chance=0, checks=("insertion", "randomised"))
    first, second = found
    seen = model.input(study)
    x = model.tensor(seen.image[None])
    target = int(model.probabilities(seen.image[None])[0].argmax())
    cam = saliency.compute("gradcam", model.module, x, target)[0].numpy()
    blob = saliency.compute("center", model.module, x, target)[0].numpy()
    assert first.measures["tied_share"] == metrics.tied_share(cam)
    edges = metrics.edge_map(seen.image)
    assert first.measures["edge_spearman"] == pytest.approx(
        metrics.spearman(cam, edges)
    )
    assert second.measures["spearman:gradcam"] == pytest.approx(
        metrics.spearman(cam, blob)
    )
    assert "spearman:center" not in first.measures
    assert 0 <= first.measures["deletion_auc"] <= 1
    assert 0 <= first.measures["insertion_auc"] <= 1
    stages = [n for n in first.measures if n.startswith("randomised_spearman:")]
    assert first.measures["randomised_spearman"] == pytest.approx(
        first.measures[stages[-1]], nan_ok=True
    )
    assert not any(n.startswith("randomised") for n in second.measures)
    assert first.measures["iou_otsu"] == first.localization.iou_otsu
    spacing = study.spacing or (1.0, 1.0)
    assert first.lesion_mm2 == pytest.approx(study.mask.sum() * np.prod(spacing))


def test_cancelling_while_chance_is_drawn_stops_the_work(study, model):
    def stop(step):
        if step.stage == "chance":
            raise Cancelled("enough")

    settings = Settings(
        methods=METHODS, presets=("pair",), min_probability=0.0, chance=20
    )
    with pytest.raises(Cancelled):
        list(evaluate_study(study, model, settings, progress=stop))


# --- the batch -------------------------------------------------------------------


def options(blobs: Path, tiny_model: Path, out: Path, **changes) -> BatchOptions:
    asked = {
        "inputs": (blobs,),
        "out": out,
        "model": str(tiny_model),
        "methods": "gradcam,center",
        "presets": ("corrected",),
        "export": (),
        "limit": 6,
        "report_cases": 2,
        "device": "cpu",
    }
    return BatchOptions(**{**asked, **changes})


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_chance_reaches_the_tables(blobs, tiny_model, tmp_path):
    run(options(blobs, tiny_model, tmp_path, chance=3, null="random_pixels"))
    results = rows(tmp_path / "results.csv")
    tested = [r for r in results if r["sic_chance_rank"]]
    assert tested
    for row in tested:
        assert (row["null"], row["chance_n"]) == ("random_pixels", "3")
        assert 0 <= float(row["sic_chance_rank"]) <= 3
    names = {r["metric"] for r in rows(tmp_path / "measures.csv")}
    assert {"tied_share", "edge_spearman", "spearman:gradcam"} <= names
    lines = rows(tmp_path / "summary.csv")
    assert any(r["null"] == "random_pixels" and r["p_value"] for r in lines)
    assert any(r["metric"] == "sic_chance_rank" for r in lines)
    assert (tmp_path / "chance.parquet").is_file()
    facts = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert "chance" in json.dumps(facts)


def test_other_cases_take_part_and_maps_are_made_once(blobs, tiny_model, tmp_path):
    steps: list[str] = []
    asked = options(blobs, tiny_model, tmp_path, chance=2, null="other_case")
    run(asked, progress=lambda at: steps.append(at.step.stage))
    results = rows(tmp_path / "results.csv")
    assert {r["status"] for r in results} == {"ok"}
    assert {r["null"] for r in results if r["sic_chance_rank"]} == {"other_case"}
    first = (tmp_path / "results.csv").read_bytes()
    kept = sorted((tmp_path / ".maps").iterdir())
    assert len(kept) == 6
    before = [p.stat().st_mtime_ns for p in kept]
    again = run(asked)
    assert again.n_resumed == 6
    assert [p.stat().st_mtime_ns for p in kept] == before
    assert (tmp_path / "results.csv").read_bytes() == first


def test_kept_maps_serve_another_run_and_change_nothing(blobs, tiny_model, tmp_path):
    maps = tmp_path / "maps"
    for name, changes in (
        ("plain", {}),
        ("kept", {"maps": maps}),
        ("again", {"maps": maps}),
    ):
        run(options(blobs, tiny_model, tmp_path / name, **changes))
    tables = {
        (tmp_path / name / "results.csv").read_bytes()
        for name in ("plain", "kept", "again")
    }
    assert len(tables) == 1


def test_a_damaged_map_is_made_again(blobs, tiny_model, tmp_path):
    asked = options(blobs, tiny_model, tmp_path, chance=1, null="other_case")
    run(asked)
    first = (tmp_path / "results.csv").read_bytes()
    for path in (tmp_path / ".maps").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    run(replace(asked, overwrite=True))
    assert (tmp_path / "results.csv").read_bytes() == first


def case(name: str, patient: str | None) -> Case:
    return Case(name=name, path=Path(name), patient=patient)


def test_donors_are_other_patients(tmp_path):
    cases = [case(f"{p}{i}", p) for p in "abc" for i in range(3)]
    pool = MapPool(tmp_path, cases, seed=0, donors=6)
    for number, one in enumerate(cases):
        key = f"key{number}"
        pool.keys[one.name] = key
        pool.save(key, {(None, "gradcam"): np.full((2, 2), number, np.float32)})
    draw = pool.donors("a0")
    given = [int(draw("gradcam", (2, 2), member)[0, 0]) for member in range(6)]
    assert sorted(given) == [3, 4, 5, 6, 7, 8]
    with pytest.raises(MetricError, match="only 6"):
        draw("gradcam", (2, 2), 6)
    with pytest.raises(UsageError, match="needs 7 other cases"):
        MapPool(tmp_path, cases, seed=0, donors=7)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--chance", "-1"], "negative"),
        (["--pic", "pair:zip"], "zip"),
        (["--checks", "luck"], "luck"),
        (["--null", "luck"], "invalid choice"),
    ],
)
def test_wrong_options_are_told(blobs, tiny_model, tmp_path, capsys, arguments, text):
    command = [str(blobs), "--out", str(tmp_path), "--model", str(tiny_model)]
    try:
        status = main([*command, *arguments])
    except SystemExit as exit_:
        status = exit_.code
    assert status == 2
    assert text in capsys.readouterr().err


# --- volumes under 3-D networks --------------------------------------------------


class Deep(nn.Module):
    """Says how bright the middle of a volume is."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.convolution = nn.Conv3d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.convolution(x)).mean(dim=(2, 3, 4)) * 9)


def test_a_volume_under_a_3d_network_is_measured_whole():
    rng = np.random.default_rng(0)
    array = (rng.random((6, 16, 16)) * 90).astype(np.uint8)
    mask = np.zeros(array.shape, bool)
    mask[2:4, 5:9, 6:11] = True
    array[mask] += 120
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 1], [0, 1, 0], [2, 0, 0]]
    study = Study(
        array,
        Path("deep"),
        affine_lps=affine,
        spacing=(2.0, 1.0, 1.0),
        masks={"lesion": mask},
        identifier="deep",
    )
    card = ModelCard(
        architecture="deep",
        classes=("a", "b"),
        spatial_dims=3,
        preprocessing=Preprocessing(size=(6, 16, 16), channels=1),
    )
    model = Classifier(Deep(), card, name="deep", digest="d", device="cpu")
    settings = Settings(
        methods=("vanilla_gradient", "random"),
        presets=("pair", "corrected"),
        min_probability=0.0,
        chance=2,
    )
    found = list(evaluate_study(study, model, settings))
    assert [o.status for o in found] == ["ok"] * 4, found[0].reason
    for one in found:
        assert one.slice is None
        assert one.map.shape == array.shape
        assert one.lesion_mm2 == mask.sum() * 2
        assert one.localization is not None
        assert one.curves.knots.sizes[-1] == metrics.webp_size(
            model.input(study).image[0]
        ) + sum(metrics.webp_size(s) for s in model.input(study).image[1:])
