"""The command: files, columns, exit statuses, resuming, and clear sentences."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pydicom
import pytest

from napari_medxai import batch, load_model
from napari_medxai.engine import Settings, evaluate
from napari_medxai.io import find_cases
from napari_medxai.report import RESULT_COLUMNS, SUMMARY_COLUMNS

METHODS = "gradcam,vanilla_gradient,random"
TABLES = ("results.csv", "summary.csv", "curves.csv", "errors.csv", "curves.parquet")
# DESIGN's fixed columns, written out here a second time on purpose.
COLUMNS = (
    "case,slice,method,preset,status,reason,patient,label,predicted_class,probability,"
    "target_class,correct,aic_auc,aic_excluded,sic_auc,sic_excluded,null,chance_n,"
    "aic_chance_rank,sic_chance_rank,pointing_hit,relevance_mass,relevance_rank,"
    "iou_mask_area,average_precision,peak_distance_mm"
)


def run(*arguments) -> int:
    return batch.main([*map(str, arguments), "--quiet"])


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, blobs, tiny_model):
    out = tmp_path_factory.mktemp("out") / "run"
    status = run(blobs, "--model", tiny_model, "--methods", METHODS, "--out", out)
    assert status == 0
    return out


def test_every_file_and_column_is_there(finished):
    for name in (*TABLES, "report.html", "run.json"):
        assert (finished / name).is_file(), name
    header = (finished / "results.csv").read_text().splitlines()[0]
    assert header == COLUMNS == ",".join(RESULT_COLUMNS)
    rows = table(finished / "results.csv")
    assert len(rows) == 6 * 3
    assert [r["case"] for r in rows[::3]] == [f"images/{i}.png" for i in range(6)]
    assert [r["method"] for r in rows[:3]] == METHODS.split(",")
    assert {r["status"] for r in rows} == {"ok"}
    assert {r["patient"] for r in rows} == {"p0", "p1", "p2"}
    assert table(finished / "errors.csv") == []
    header = (finished / "summary.csv").read_text().splitlines()[0]
    assert header == ",".join(SUMMARY_COLUMNS)
    assert len(list((finished / "overlays").glob("*.png"))) == 6 * 4
    for stem in ("aic-pair", "sic-pair"):
        assert (finished / "figures" / f"{stem}.svg").stat().st_size > 1000
        assert (finished / "figures" / f"{stem}.pdf").read_bytes()[:4] == b"%PDF"
    hidden = {p.name for p in finished.rglob(".*")}
    assert hidden == {".cases", ".napari-medxai-output"}


def test_rows_equal_the_engine(finished, blobs, tiny_model):
    model = load_model(tiny_model)
    settings = Settings(methods=tuple(METHODS.split(",")))
    rows = iter(table(finished / "results.csv"))
    for result in evaluate(find_cases(blobs).cases, model, settings):
        for outcome in result.outcomes:
            row = next(rows)
            assert row["case"] == result.case.name
            assert float(row["probability"]) == pytest.approx(
                outcome.probability, rel=1e-4
            )
            for name in ("aic", "sic"):
                curve = getattr(outcome.curves, name)
                assert row[f"{name}_excluded"] == (curve.excluded or "")
                if curve.excluded is None:
                    assert float(row[f"{name}_auc"]) == pytest.approx(
                        curve.auc, rel=1e-4
                    )
            assert float(row["relevance_mass"]) == pytest.approx(
                outcome.localization.relevance_mass, rel=1e-3
            )


def test_summary_is_the_aggregate_of_the_rows(finished):
    rows = pd.read_csv(finished / "results.csv")
    summary = pd.read_csv(finished / "summary.csv")
    for method in METHODS.split(","):
        own = rows[rows.method == method]
        line = summary.query(
            f"method == '{method}' and metric == 'sic' and aggregation == 'mean' "
            "and `class` == 'all'"
        ).iloc[0]
        assert line.n == own.sic_auc.notna().sum()
        assert line.n_excluded == own.sic_auc.isna().sum()
        assert line.value == pytest.approx(own.sic_auc.mean(), abs=1e-4)
        mass = summary.query(
            f"method == '{method}' and metric == 'relevance_mass' and `class` == 'all'"
        ).iloc[0]
        assert mass.value == pytest.approx(own.relevance_mass.mean(), abs=1e-4)
        assert np.isnan(mass.ci_low)  # three patients are too few for an interval


def test_parquet_holds_every_curve(finished):
    frame = pd.read_parquet(finished / "curves.parquet")
    rows = pd.read_csv(finished / "results.csv")
    assert len(frame) == 2 * len(rows)
    drawn = frame[frame.excluded.isna()].iloc[0]
    match = rows[(rows.case == drawn.case) & (rows.method == drawn.method)].iloc[0]
    assert match[f"{drawn.metric}_auc"] == pytest.approx(drawn.auc, rel=1e-4)
    assert len(drawn.x) == len(drawn.y) == 13


def test_report_is_self_contained_and_says_what_it_must(finished):
    text = (finished / "report.html").read_text()
    assert "research use only" in text.lower()
    for words in ("images/0.png", "Grad-CAM", "selection set", "data:image/webp"):
        assert words in text
    assert 'src="http' not in text
    assert "<link" not in text


def test_a_rerun_computes_nothing_and_changes_nothing(
    finished, blobs, tiny_model, capsys, monkeypatch
):
    before = {name: (finished / name).read_bytes() for name in TABLES}
    from napari_medxai import saliency

    def forbidden(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(saliency, "compute", forbidden)
    assert (
        run(blobs, "--model", tiny_model, "--methods", METHODS, "--out", finished) == 0
    )
    assert "6 of them from before" in capsys.readouterr().out
    assert before == {name: (finished / name).read_bytes() for name in TABLES}


def test_an_interrupted_run_continues_to_the_same_tables(
    finished, blobs, tiny_model, tmp_path, monkeypatch
):
    from napari_medxai import run as module

    out = tmp_path / "out"
    arguments = (blobs, "--model", tiny_model, "--methods", METHODS, "--out", out)
    keep, kept = module._keep, []

    def stop_at_third(*arguments):
        if len(kept) == 2:
            raise KeyboardInterrupt
        kept.append(1)
        keep(*arguments)

    monkeypatch.setattr(module, "_keep", stop_at_third)
    assert run(*arguments) == 130
    assert not (out / "results.csv").exists()
    assert len(list((out / ".cases").iterdir())) == 2
    monkeypatch.undo()
    assert run(*arguments) == 0
    for name in TABLES:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


def test_other_parameters_are_computed_afresh(blobs, tiny_model, tmp_path):
    out = tmp_path / "out"
    arguments = (blobs, "--model", tiny_model, "--limit", 1, "--out", out)
    assert run(*arguments, "--methods", "random") == 0
    first = (out / "results.csv").read_text()
    assert run(*arguments, "--methods", "random", "--seed", 1) == 0
    assert (out / "results.csv").read_text() != first
    assert len(list((out / ".cases").iterdir())) == 2
    assert run(*arguments, "--methods", "random", "--overwrite") == 0
    assert len(list((out / ".cases").iterdir())) == 1
    assert (out / "results.csv").read_text() == first


def test_a_bad_case_costs_itself_only(blobs, tiny_model, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(blobs, data)
    (data / "images" / "3.png").write_bytes(b"\x89PNG broken")
    (data / "masks" / "4.png").unlink()
    out = tmp_path / "out"
    status = run(data, "--model", tiny_model, "--methods", "random", "--out", out)
    assert status == 1
    rows = table(out / "results.csv")
    assert len(rows) == 5
    (error,) = table(out / "errors.csv")
    assert (error["case"], error["stage"]) == ("images/3.png", "read")
    assert "3.png" in error["detail"]
    without = next(r for r in rows if r["case"] == "images/4.png")
    assert without["pointing_hit"] == ""
    assert without["status"] == "ok"
    assert (out / "report.html").is_file()


def test_labels_masks_and_csv_inputs(blobs, tiny_model, tmp_path):
    listing = tmp_path / "cases.csv"
    listing.write_text(
        "image,mask,label,patient\n"
        f"{blobs}/images/0.png,{blobs}/masks/0.png,high,x\n"
        f"{blobs}/images/1.png,,low,y\n"
    )
    out = tmp_path / "out"
    common = ("--model", tiny_model, "--methods", "random", "--target", "label")
    assert run(listing, *common, "--masks", "none", "--out", out) == 0
    rows = table(out / "results.csv")
    assert [r["label"] for r in rows] == ["high", "low"]
    assert [r["target_class"] for r in rows] == ["high", "low"]
    assert rows[0]["pointing_hit"] != ""
    assert rows[1]["pointing_hit"] == ""
    assert [r["patient"] for r in rows] == ["x", "y"]


def test_volume_rows_name_their_slices(samples, tiny_model, tmp_path):
    out = tmp_path / "out"
    status = run(
        samples / "nifti",
        "--model",
        tiny_model,
        "--methods",
        "random",
        "--labels",
        write(tmp_path / "labels.csv", "file,label\nglioma.nii.gz,high\n"),
        "--slices",
        "9:11",
        "--out",
        out,
    )
    assert status == 0
    rows = table(out / "results.csv")
    assert [r["slice"] for r in rows] == ["9", "10"]
    assert {r["case"] for r in rows} == {"glioma.nii.gz"}


def test_dicom_cases_are_pseudonyms(samples, tiny_model, tmp_path):
    out = tmp_path / "out"
    arguments = ("--model", tiny_model, "--methods", "random", "--slices", "middle")
    assert run(samples / "dicom", *arguments, "--out", out) == 0
    (row,) = table(out / "results.csv")
    assert row["case"].startswith("P-")
    assert row["pointing_hit"] != ""  # the SEG beside it was found
    for path in out.rglob("*"):
        if path.is_file():
            assert b"Simulated^Meningioma" not in path.read_bytes(), path


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--methods": "gradcan"}, "gradcam"),
        ({"--model": "brain-tumour"}, "no model 'brain-tumour'"),
        ({"--pic": "pare"}, "pair"),
        ({"--export": "gif"}, "dicom-seg"),
        ({"--seg-percentile": "100"}, "seg-percentile"),
        ({"--target": "medium"}, "high, low"),
        ({"--slices": "some"}, "A:B"),
        ({"--device": "cuda:9"}, "GPU"),
        ({"--batch-size": "many"}, "batch size"),
        ({"--labels": "nowhere.csv"}, "nowhere.csv"),
        ({"--limit": "0"}, "limit"),
        ({"--pic": ""}, "no presets"),
        ({"--methods": ""}, "no saliency method"),
        ({"--seed": "-1"}, "seed"),
        ({"--masks": "nowhere"}, "auto, none"),
        ({"--report-cases": "-1"}, "report-cases"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(
    blobs, tiny_model, tmp_path, capsys, change, words
):
    options = {"--model": tiny_model, "--methods": "random", "--out": tmp_path / "o"}
    options |= change
    assert run(blobs, *[part for pair in options.items() for part in pair]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert message.count("\n") == 1


def test_no_input_and_no_image_end_with_2(tmp_path, tiny_model, capsys):
    common = ("--model", tiny_model, "--methods", "random", "--out", tmp_path / "o")
    assert run(tmp_path / "nothing", *common) == 2
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", *common) == 2
    assert "no image found" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_full_disk_ends_in_words_and_the_next_run_continues(
    blobs, tiny_model, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "out"
    arguments = (blobs, "--model", tiny_model, "--methods", "random", "--out", out)
    fsync, written = os.fsync, []

    def full(handle):
        if len(written) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(handle)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert run(*arguments) == 1
    message = capsys.readouterr().err
    assert "disk is full" in message
    assert "Traceback" not in message
    kept = list((out / ".cases").iterdir())
    assert kept
    assert all((p / "case.json").is_file() for p in kept)
    json.loads((kept[0] / "case.json").read_text())
    monkeypatch.undo()
    assert run(*arguments) == 0
    assert len(table(out / "results.csv")) == 6


def test_output_where_a_file_stands(blobs, tiny_model, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    status = run(blobs, "--model", tiny_model, "--out", tmp_path / "file")
    assert status == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_failing_method_is_a_row_and_an_error(blobs, tmp_path, tiny_model):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"target_layer": "nowhere"}))
    out = tmp_path / "out"
    arguments = ("--model", folder, "--methods", "gradcam,random", "--limit", 1)
    assert run(blobs, *arguments, "--out", out) == 1
    first, second = table(out / "results.csv")
    assert (first["status"], second["status"]) == ("failed", "ok")
    assert "nowhere" in first["reason"]
    (error,) = table(out / "errors.csv")
    assert error["stage"] == "gradcam"


def test_the_module_runs_as_a_command(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "napari_medxai.batch", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for option in ("--methods", "--slices", "--report-cases", "--overwrite"):
        assert option in result.stdout
    assert "loading" not in result.stderr


def test_order_of_the_input_does_not_matter(blobs, tiny_model, tmp_path):
    paths = [blobs / "images" / f"{i}.png" for i in (2, 0)]
    tables = []
    for name, inputs in (("a", paths), ("b", paths[::-1])):
        out = tmp_path / name
        arguments = ("--model", tiny_model, "--methods", "smoothgrad,random")
        assert run(*inputs, *arguments, "--out", out) == 0
        tables.append((out / "results.csv").read_bytes())
    assert tables[0] == tables[1]
    assert np.frombuffer(tables[0], np.uint8).size > 500


def test_an_output_inside_the_input_is_never_input(blobs, tiny_model, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(blobs, data)
    for out in (data / "out", data):
        for _ in range(2):
            arguments = ("--model", tiny_model, "--methods", "random", "--limit", 9)
            arguments = (*arguments, "--export", "png,nifti")
            assert run(data, *arguments, "--out", out) == 0
            assert len(table(out / "results.csv")) == 6


def test_overlays_are_those_of_this_run(blobs, tiny_model, tmp_path):
    out = tmp_path / "out"
    arguments = (blobs, "--model", tiny_model, "--limit", 1, "--out", out)
    picture = out / "overlays" / "images__0.png_random.png"
    assert run(*arguments, "--methods", "gradcam,random", "--seed", 0) == 0
    first = picture.read_bytes()
    assert run(*arguments, "--methods", "random", "--seed", 1) == 0
    assert picture.read_bytes() != first
    assert len(list((out / "overlays").iterdir())) == 2
    assert run(*arguments, "--methods", "gradcam,random", "--seed", 0) == 0
    assert picture.read_bytes() == first
    page = (out / "report.html").read_text()
    linked = set(re.findall(r'href="(overlays/[^"]+\.png)"', page))
    assert linked == {f"overlays/{p.name}" for p in (out / "overlays").iterdir()}


def test_exports_asked_for_later_are_made(blobs, tiny_model, tmp_path):
    out = tmp_path / "out"
    arguments = (blobs, "--model", tiny_model, "--limit", 1, "--methods", "random")
    assert run(*arguments, "--out", out, "--export", "none") == 0
    assert not (out / "overlays").exists()
    assert run(*arguments, "--out", out) == 0
    assert len(list((out / "overlays").iterdir())) == 2


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_export_is_made_once_and_again_where_its_options_change(
    samples, tiny_model, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "out"
    common = (samples / "dicom", "--model", tiny_model, "--methods", "random")
    common = (*common, "--slices", "8:10", "--out", out)
    assert run(*common, "--export", "nifti,dicom-seg") == 0
    assert "2 files in" in capsys.readouterr().out
    first = contents(out / "exports")
    assert {name.rpartition("/")[2] for name in first} == {
        *("exports.csv", "random.nii.gz", "random-seg.dcm")
    }
    assert not (out / "overlays").exists()
    from napari_medxai import saliency

    with monkeypatch.context() as patch:
        patch.setattr(saliency, "compute", None)  # calling it would fail
        assert run(*common, "--export", "nifti") == 0
        assert len(contents(out / "exports")) == 2
        assert run(*common, "--export", "nifti,dicom-seg") == 0
        assert contents(out / "exports") == first
    assert run(*common, "--export", "nifti,dicom-seg", "--seg-percentile", 80) == 0
    second = contents(out / "exports")
    changed = {name for name in first if first[name] != second[name]}
    assert {name.rpartition("/")[2] for name in changed} == {"random-seg.dcm"}
    command = json.loads((out / "run.json").read_text())["command"]
    assert "--export nifti,dicom-seg --seg-percentile 80" in command


def test_a_case_is_preprocessed_once_for_each_slice(
    samples, tiny_model, tmp_path, monkeypatch
):
    from napari_medxai.preprocess import Preprocessing

    seen, apply = [], Preprocessing.apply

    def counted(self, study, index=None):
        seen.append(index)
        return apply(self, study, index)

    monkeypatch.setattr(Preprocessing, "apply", counted)
    common = (samples / "dicom", "--model", tiny_model, "--out", tmp_path / "out")
    kinds = "png,nifti,dicom-pm,dicom-seg,dicom-sc"
    methods = ("--methods", "random,edge", "--export", kinds)
    assert run(*common, *methods, "--slices", "8:10") == 0
    assert seen == [8, 9]


def test_a_run_without_identify_leaves_no_identified_exports(
    samples, tiny_model, tmp_path
):
    """Not even below .cases, of other settings, or of formats not asked for."""
    out = tmp_path / "out"
    common = (samples / "dicom", "--model", tiny_model, "--methods", "random")
    common = (*common, "--slices", "middle", "--out", out)
    named = "nifti,dicom-pm,dicom-sc"
    assert run(*common, "--export", named, "--identify", "--seed", 1) == 0
    assert run(*common, "--export", named, "--identify") == 0
    (first, *_) = (samples / "dicom").rglob("*.dcm")
    patient = str(pydicom.dcmread(first).PatientID).encode()
    holding = [n for n, c in contents(out).items() if patient in c]
    assert len(holding) == 2 * 2 + 2  # cases of both seeds, and exports/
    assert run(*common, "--export", "png") == 0
    assert not [name for name, c in contents(out).items() if patient in c]
    kept = [name for name in contents(out) if name.endswith("random.nii.gz")]
    assert len(kept) == 2
    assert run(*common, "--export", named, "--identify") == 0
    again = [n for n, c in contents(out).items() if patient in c]
    assert len(again) == 2 + 2


def test_the_command_that_is_shown_can_be_pasted(blobs, tiny_model, tmp_path):
    place = tmp_path / "two words"
    shutil.copytree(blobs / "images", place)
    out = tmp_path / "out"
    inputs = (place / "1.png", place / "2.png")
    common = ("--model", tiny_model, "--methods", "random", "--labels")
    table = write(tmp_path / "my labels.csv", "file,label\n1.png,low\n2.png,high\n")
    assert run(*inputs, *common, table, "--out", out, "--export", "none") == 0
    command = json.loads((out / "run.json").read_text())["command"]
    assert shlex.split(command) == [
        *("python", "-m", "napari_medxai.batch", "1.png", "2.png", "--out", "out"),
        *("--model", tiny_model.name, "--methods", "random", "--labels"),
        *("my labels.csv", "--export", "none"),
    ]


def test_what_cannot_be_exported_is_said_and_is_no_failure(
    blobs, tiny_model, tmp_path, capsys
):
    out = tmp_path / "out"
    arguments = ("--model", tiny_model, "--methods", "random", "--limit", 2)
    kinds = "nifti,dicom-pm"
    assert run(blobs, *arguments, "--export", kinds, "--out", out) == 0
    rows = table(out / "exports" / "exports.csv")
    assert [row["format"] for row in rows] == ["nifti", "dicom-pm"] * 2
    assert [bool(row["file"]) for row in rows] == [True, False] * 2
    assert "not DICOM" in rows[1]["reason"]
    assert "not DICOM" in capsys.readouterr().out
    assert "not DICOM" in (out / "report.html").read_text()
    assert table(out / "errors.csv") == []


def test_an_export_that_fails_is_an_error_of_its_case(
    blobs, tiny_model, tmp_path, monkeypatch
):
    from napari_medxai.export import files

    def broken(*_):
        raise ValueError("text of a library")

    monkeypatch.setattr(files, "nifti_bytes", broken)
    out = tmp_path / "out"
    arguments = ("--model", tiny_model, "--methods", "random", "--limit", 1)
    assert run(blobs, *arguments, "--export", "nifti", "--out", out) == 1
    (error,) = table(out / "errors.csv")
    assert (error["stage"], error["error"]) == ("export random", "ExportError")
    assert "ValueError" in error["detail"]
    assert len(table(out / "results.csv")) == 1


def test_folders_of_masks_are_named_without_their_path(blobs, tiny_model, tmp_path):
    out = tmp_path / "out"
    arguments = ("--model", tiny_model, "--methods", "random", "--limit", 1)
    masks = blobs / "masks"
    assert run(blobs, *arguments, "--masks", masks, "--out", out) == 0
    facts = (out / "run.json").read_text()
    assert json.loads(facts)["settings"]["masks"] == "masks"
    assert str(blobs) not in facts


def test_names_of_patients_in_paths_stay_inside(samples, tiny_model, tmp_path):
    folder = tmp_path / "DOE_JOHN"
    folder.mkdir()
    for path in (samples / "dicom").glob("*.dcm"):
        shutil.copy(path, folder / f"DOE_JOHN_{path.name}")
    (folder / "DOE_JOHN_broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 90)
    out = tmp_path / "out"
    arguments = ("--model", tiny_model, "--methods", "random", "--slices", "middle")
    assert run(folder, *arguments, "--out", out) == 1
    for path in out.rglob("*"):
        assert "DOE" not in path.name
        if path.is_file():
            assert b"DOE_JOHN" not in path.read_bytes(), path


def test_profile_says_where_the_time_went(blobs, tiny_model, tmp_path, capsys):
    arguments = ("--model", tiny_model, "--methods", "random", "--limit", 1)
    assert run(blobs, *arguments, "--out", tmp_path / "o", "--profile") == 0
    out = capsys.readouterr().out
    assert "curves" in out
    assert " %" in out


def test_the_output_must_not_hold_the_images(blobs, tiny_model, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(blobs, data)
    arguments = ("--model", tiny_model, "--methods", "random", "--limit", 1)
    assert run(data, *arguments, "--out", data / "images") == 2
    assert "choose another" in capsys.readouterr().err
    assert not (data / "images" / ".napari-medxai-output").exists()
    assert run(data, *arguments, "--out", tmp_path / "out") == 0


def test_without_labels_and_masks_the_report_says_so(blobs, tiny_model, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for i in range(3):
        shutil.copy(blobs / "images" / f"{i}.png", data)
    out = tmp_path / "out"
    assert run(data, "--model", tiny_model, "--methods", "random", "--out", out) == 0
    assert all("label" not in row["reason"] for row in table(out / "results.csv"))
    page = (out / "report.html").read_text()
    assert "agreement with the class explained" in page
    assert "localisation was not measured" in page
    assert "The outline is the ground-truth mask" not in page
