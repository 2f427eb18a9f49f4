"""Aggregates, exclusions and the choice of what is drawn, on handmade rows."""

from __future__ import annotations

import errno
import itertools
import json

import numpy as np
import pytest

from napari_medxai.errors import OutputError
from napari_medxai.io import Case
from napari_medxai.metrics import InformationCurve, Localization
from napari_medxai.report import Store, publish, summarise
from napari_medxai.report import summary as summary_module
from napari_medxai.report.assembly import _choose, _limits
from napari_medxai.report.content import ModelFacts, RunFacts
from napari_medxai.report.store import Row, StoredCase
from napari_medxai.results import CaseResult, Exported


def curve(metric: str, level: float | None) -> InformationCurve:
    if level is None:
        return InformationCurve.from_knots(metric, excluded="too unsure")
    return InformationCurve.from_knots(metric, [0.0, 0.5], [level, level])


def row(case, patient, method, mass, sic, *, label="a", target="b", **changes) -> Row:
    values = {
        "case": case,
        "patient": patient,
        "method": method,
        "preset": "pair",
        "slice": None,
        "status": "ok",
        "reason": "",
        "predicted_class": target,
        "probability": 0.9,
        "target_class": target,
        "label": label,
        "correct": False,
        "aic": curve("aic", None),
        "sic": curve("sic", sic),
        "knots": None,
        "localization": Localization(
            pointing_hit=1.0,
            relevance_mass=mass,
            relevance_rank=0.5,
            iou_mask_area=0.5,
            average_precision=0.5,
            peak_distance_mm=float("nan"),
            constant=False,
        ),
    }
    return Row(**(values | changes))


def case(name: str, *rows: Row) -> StoredCase:
    return StoredCase(
        name=name,
        key=name,
        rows=rows,
        probabilities={},
        errors=(),
        notes=(),
        seconds={},
        provenance={},
    )


@pytest.fixture
def cases() -> list[StoredCase]:
    """Two patients with three images each, two methods."""
    found = []
    for i, (patient, mass) in enumerate(itertools.product(("p", "q"), (0.1, 0.2, 0.3))):
        shift = 0.5 if patient == "q" else 0.0
        sic = None if i == 0 else 0.2 + 0.1 * i
        found.append(
            case(
                f"c{i}",
                row(f"c{i}", patient, "gradcam", mass + shift, sic),
                row(f"c{i}", patient, "random", 0.0, 0.1),
            )
        )
    return found


def test_interval_resamples_patients_not_images(cases, monkeypatch):
    monkeypatch.setattr(summary_module, "MIN_UNITS", 2)
    summary = summarise(cases, ("gradcam", "random"), ("pair",))
    assert (summary.unit, summary.units) == ("patients", 2)
    line = summary.find("gradcam", "relevance_mass", aggregation="mean")
    assert line.value == pytest.approx(0.45)
    # with two patients a resample holds one of them twice in half of all draws
    assert line.ci_low == pytest.approx(0.2)
    assert line.ci_high == pytest.approx(0.7)


def test_few_units_get_no_interval(cases):
    summary = summarise(cases, ("gradcam",), ("pair",))
    for line in summary.lines:
        assert np.isnan(line.ci_low)
        assert line.curve is None or np.isnan(line.curve.y_low).all()
    facts = RunFacts(model=ModelFacts(name="m"))
    assert any("too few to resample" in text for text in _limits(summary, facts, []))


def test_hits_that_all_fall_the_same_way_get_a_score_interval():
    many = [
        case(f"c{i}", row(f"c{i}", f"p{i}", "gradcam", 0.1, 0.5)) for i in range(12)
    ]
    line = summarise(many, ("gradcam",), ("pair",)).find(
        "gradcam", "pointing_hit", aggregation="mean"
    )
    # Wilson (1927): 12 of 12
    assert (line.value, line.ci_high) == (1.0, 1.0)
    assert line.ci_low == pytest.approx(0.7575, abs=1e-3)


def test_without_patients_the_case_is_the_unit(cases):
    bare = [
        case(c.name, *(row(c.name, None, "gradcam", m, 0.5) for m in (0.1, 0.3)))
        for c in cases
    ]
    summary = summarise(bare, ("gradcam",), ("pair",))
    assert (summary.unit, summary.units) == ("cases", 6)
    line = summary.find("gradcam", "relevance_mass", aggregation="mean")
    assert line.n == 12
    assert line.ci_low == line.ci_high == pytest.approx(0.2)


def test_a_case_without_patient_counts_as_its_own(cases):
    mixed = [*cases, case("x", row("x", None, "gradcam", 0.1, 0.5))]
    summary = summarise(mixed, ("gradcam",), ("pair",))
    assert (summary.unit, summary.units, summary.without_patient) == ("patients", 3, 1)
    facts = RunFacts(model=ModelFacts(name="m"))
    limits = _limits(summary, facts, [])
    assert any("1 cases have no patient" in text for text in limits)


def test_classes_are_the_labels(cases):
    lines = summarise(cases, ("gradcam",), ("pair",)).lines
    assert {line.class_ for line in lines} == {"all", "a"}


def test_exclusions_count_an_image_once(cases):
    found = summarise(cases, ("gradcam", "random"), ("pair",)).exclusions
    by_metric = {metric: exclusion for metric, _, exclusion in found}
    assert (by_metric["aic"].n, by_metric["aic"].total) == (6, 6)
    assert (by_metric["sic"].n, by_metric["sic"].total) == (1, 6)
    assert by_metric["sic"].class_ == "a"


def test_excluded_curves_are_counted_and_left_out(cases):
    summary = summarise(cases, ("gradcam",), ("pair",))
    line = summary.find("gradcam", "sic", preset="pair", aggregation="mean")
    assert (line.n, line.n_excluded) == (5, 1)
    areas = [c.rows[0].sic.auc for c in cases[1:]]
    assert line.value == pytest.approx(np.mean(areas))
    nothing = summary.find("gradcam", "aic", preset="pair")
    assert (nothing.n, nothing.n_excluded) == (0, 6)
    assert np.isnan(nothing.value)


def test_failures_are_counted_and_said(cases):
    failed = row("c9", "r", "gradcam", 0.1, 0.5, status="failed", reason="no layer")
    summary = summarise([*cases, case("c9", failed)], ("gradcam",), ("pair",))
    assert summary.failures == {"gradcam": 1}
    facts = RunFacts(model=ModelFacts(name="m"))
    assert any("could not run on 1" in text for text in _limits(summary, facts, []))


def test_best_worst_excluded_and_drawn_by_seed():
    levels = [0.3, 0.9, None, 0.5, 0.1, 0.7, None, 0.4, 0.6, 0.2]
    units = [
        (case(f"c{i}", row(f"c{i}", "p", "gradcam", 0.1, level)), None)
        for i, level in enumerate(levels)
    ]
    chosen = {unit[0].name: why for unit, why in _choose(units, ["gradcam"], 4, 0)}
    assert len(chosen) == 4
    assert chosen["c1"] == ("best: highest mean SIC",)
    assert chosen["c4"] == ("worst: lowest mean SIC",)
    assert chosen["c2"] == ("excluded",)
    (by_seed,) = [n for n, why in chosen.items() if why == ("drawn by seed",)]
    again = {u[0].name for u, _ in _choose(units, ["gradcam"], 4, 0)}
    assert again == set(chosen)
    others = {
        next(u[0].name for u, w in _choose(units, ["gradcam"], 4, s) if "seed" in w[0])
        for s in range(12)
    }
    assert by_seed in others
    assert len(others) > 1
    everything = _choose(units, ["gradcam"], 50, 0)
    assert [u[0].name for u, _ in everything] == [f"c{i}" for i in range(10)]


def result(name="a") -> CaseResult:
    return CaseResult(case=Case(name, None), key="k" * 8)


PNG = Exported("png", "", "a_image.png", b"y")
TOKENS = {"png": "one"}


def test_a_damaged_record_is_computed_again(tmp_path):
    store = Store(tmp_path)
    store.save(result(), {"image.plain.webp": b"x"}, [PNG], TOKENS)
    assert store.has("k" * 8)
    assert store.has("k" * 8, TOKENS)
    assert not store.has("k" * 8, {"png": "another"})
    assert not store.has("k" * 8, {"nifti": "one"})
    record = tmp_path / ".cases" / ("k" * 8) / "case.json"
    record.write_text(json.dumps({"name": "a"}))
    assert not store.has("k" * 8)
    with pytest.raises(OutputError, match="damaged"):
        store.load("k" * 8)


def test_a_lost_or_unlisted_export_is_made_again(tmp_path):
    store = Store(tmp_path)
    store.save(result(), {}, [PNG], TOKENS)
    folder = tmp_path / ".cases" / ("k" * 8)
    (folder / "exports" / "png" / "a_image.png").unlink()
    assert store.has("k" * 8)
    assert not store.has("k" * 8, TOKENS)
    store.save(result(), {}, [PNG], TOKENS)
    assert store.has("k" * 8, TOKENS)
    (folder / "exports.json").write_text("{")
    assert not store.has("k" * 8, TOKENS)


def test_earlier_exports_of_other_kinds_are_kept(tmp_path):
    store = Store(tmp_path)
    store.save(result(), {}, [PNG], TOKENS)
    nifti = Exported("nifti", "gradcam", "gradcam.nii.gz", b"z")
    none = Exported("dicom-pm", "gradcam", reason="no images")
    tokens = {"nifti": "two", "dicom-pm": "three"}
    store.save(result(), {}, [nifti, none], tokens)
    assert store.has("k" * 8, TOKENS | tokens)
    case = store.load("k" * 8)
    assert {k: [r.name for r in v] for k, v in case.exports.items()} == {
        "png": ["a_image.png"],
        "nifti": ["gradcam.nii.gz"],
        "dicom-pm": [""],
    }
    assert case.exports["dicom-pm"][0].reason == "no images"
    publish(store, [case], tmp_path, ["png", "nifti", "dicom-pm"])
    assert (tmp_path / "overlays" / "a_image.png").read_bytes() == b"y"
    assert (tmp_path / "exports" / "a" / "gradcam.nii.gz").read_bytes() == b"z"
    assert (tmp_path / "exports" / "exports.csv").read_text().splitlines() == [
        "case,method,format,file,reason",
        "a,gradcam,nifti,a/gradcam.nii.gz,",
        "a,gradcam,dicom-pm,,no images",
    ]
    publish(store, [case], tmp_path, ["nifti"])
    assert not (tmp_path / "overlays").exists()
    publish(store, [case], tmp_path, [])
    assert not (tmp_path / "exports").exists()


def test_a_write_that_fails_leaves_the_case_as_it_was(tmp_path):
    store = Store(tmp_path)
    store.save(result(), {}, [PNG], TOKENS)

    def failing():
        yield Exported("nifti", "gradcam", "gradcam.nii.gz", b"z")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OutputError, match="disk is full"):
        store.save(result(), {}, failing(), {"nifti": "two"})
    assert store.has("k" * 8, TOKENS)
    assert not store.has("k" * 8, {"nifti": "two"})
    assert [p.name for p in (tmp_path / ".cases").iterdir()] == ["k" * 8]


def test_published_overlays_are_this_runs_only(tmp_path):
    store = Store(tmp_path)
    store.save(result(), {}, [PNG], TOKENS)
    case = store.load("k" * 8)
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "old.png").write_bytes(b"old")
    publish(store, [case], tmp_path, ["png"])
    assert [p.name for p in (tmp_path / "overlays").iterdir()] == ["a_image.png"]
    publish(store, [], tmp_path, ["png"])
    assert not (tmp_path / "overlays").exists()
    assert [p.name for p in (tmp_path / ".cases").iterdir()] == ["k" * 8]


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path):
    store = Store(tmp_path)
    store.save(result(), {}, [PNG], TOKENS)
    case = store.load("k" * 8)
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "mine.txt").write_text("mine")
    publish(store, [case], tmp_path, ["png"])
    with pytest.raises(OutputError, match="no run made"):
        publish(store, [case], tmp_path, ["nifti"])
    assert (tmp_path / "exports" / "mine.txt").read_text() == "mine"


def test_what_a_killed_run_left_is_swept(tmp_path):
    store = Store(tmp_path)
    store.save(result(), {})
    (tmp_path / ".cases" / ".unfinished-x").mkdir()
    store.sweep()
    assert [p.name for p in (tmp_path / ".cases").iterdir()] == ["k" * 8]
    assert not store.has("k" * 8, TOKENS)
