"""``reproduce --quick``: killed, continued, and every number traced to its file."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, f1_score

from napari_medxai import report
from napari_medxai.reproduce import main
from napari_medxai.reproduction import ReproductionOptions
from napari_medxai.reproduction.classifiers import Trained, best_of, train_all
from napari_medxai.reproduction.material import material
from napari_medxai.reproduction.mosaic import mosaic
from napari_medxai.reproduction.tables import classifier_rows

ARCHITECTURES = ("test_efficientnet", "test_resnet")
METHODS = "vanilla_gradient,guided_ig,gradcam,random"
PRESETS = "pair,brima2024"
CLASSES = ("high", "low")
LIMIT = 4


def command(data: Path, out: Path, *more: str) -> list[str]:
    return [
        *(str(data), "--out", str(out), "--quick", "--size", "48", "--epochs", "3"),
        *("--arch", ",".join(ARCHITECTURES), "--methods", METHODS, "--pic", PRESETS),
        *("--validate", "4", "--test", "3", "--limit", str(LIMIT)),
        *("--device", "cpu", "--precision", "fp32", "--seed", "5", "--quiet", *more),
    ]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def best(out: Path) -> str:
    """Architecture with the best macro F1 on the selection set, of equals the first."""
    scores = {}
    for name in ARCHITECTURES:
        found = json.loads((out / "models" / name / "evaluation.json").read_text())
        scores[name] = found["selection"]["macro_f1"]["value"]
    return max(ARCHITECTURES, key=lambda name: scores[name])


@pytest.fixture(scope="module")
def killed(tmp_path_factory, training_data) -> tuple[Path, dict[str, int]]:
    """A run that was killed after its first architecture, and when files were made."""
    out = tmp_path_factory.mktemp("reproduction") / "out"
    first = out / "models" / ARCHITECTURES[0]
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-m", "napari_medxai.reproduce"),
            *command(training_data, out),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        for _ in range(12_000):
            record = first / "training.json"
            if record.is_file() and "finished" in record.read_text(encoding="utf-8"):
                break
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    made = {path.name: path.stat().st_mtime_ns for path in first.glob("*.*")}
    return out, made


@pytest.fixture(scope="module")
def finished(killed, training_data) -> Path:
    out, _ = killed
    assert not (out / "report.html").exists()
    assert main(command(training_data, out)) == 0
    return out


@pytest.fixture(scope="module")
def options(finished, training_data) -> ReproductionOptions:
    return ReproductionOptions.of(
        quick=True,
        data=training_data,
        out=finished,
        architectures=ARCHITECTURES,
        size=(48, 48),
        epochs=3,
        validation=("4",),
        test=("3",),
        device="cpu",
        precision="fp32",
        seed=5,
        limit=LIMIT,
    )


def test_a_killed_run_goes_on_where_it_was(killed, finished):
    out, made = killed
    first = out / "models" / ARCHITECTURES[0]
    assert "weights.safetensors" in made
    assert made == {path.name: path.stat().st_mtime_ns for path in first.glob("*.*")}
    for name in ARCHITECTURES:
        record = json.loads((out / "models" / name / "training.json").read_text())
        assert record["status"] == "finished"
    assert [path.name for path in (out / "explained").iterdir()] == [best(out)]
    assert not (out / ".work").exists()
    assert (out / ".napari-medxai-output").is_file()


def test_classifiers_stand_in_the_files_that_are_named(finished):
    found = rows(finished / "tables" / "classifiers.csv")
    assert [row["architecture"] for row in found] == list(ARCHITECTURES)
    keys = {"macro_f1": "macro_f1", "accuracy": "accuracy", "auroc": "auroc"}
    keys["ece"] = "ece_after"
    for row in found:
        source = json.loads((finished / row["source"]).read_text())["test"]
        figures = {name: source[key] for name, key in keys.items()}
        figures |= {f"f1_{c}": source["classes"][c]["f1"] for c in CLASSES}
        for name, one in figures.items():
            for end, key in (("", "value"), ("_low", "ci_low"), ("_high", "ci_high")):
                said = row[f"{name}{end}"]
                expected = "" if one[key] is None else f"{one[key]:.6g}"
                assert said == expected, name + end
        assert row["data"] == "test part"
        assert int(row["n"]) == source["n"]


def test_classifiers_agree_with_the_predictions(finished):
    """Computed anew by scikit-learn from what each network answered."""
    for row in rows(finished / "tables" / "classifiers.csv"):
        folder = finished / "models" / row["architecture"]
        answers = [r for r in rows(folder / "predictions.csv") if r["part"] == "test"]
        truth = [r["label"] for r in answers]
        predicted = [max(CLASSES, key=lambda c, r=r: float(r[c])) for r in answers]
        f1 = f1_score(truth, predicted, average="macro", zero_division=0)
        assert float(row["macro_f1"]) == pytest.approx(f1, abs=1e-5)
        assert len(answers) == int(row["n"]) == 16


def test_confusion_is_that_of_the_best_on_the_selection_set(finished):
    chosen = {r["architecture"]: r for r in rows(finished / "tables/classifiers.csv")}
    name = best(finished)
    assert [n for n, r in chosen.items() if r["best"] == "true"] == [name]
    table = rows(finished / "tables" / "confusion.csv")
    answers = rows(finished / "models" / name / "predictions.csv")
    answers = [r for r in answers if r["part"] == "test"]
    counted = confusion_matrix(
        [r["label"] for r in answers],
        [max(CLASSES, key=lambda c, r=r: float(r[c])) for r in answers],
        labels=CLASSES,
    )
    assert [r["truth"] for r in table] == list(CLASSES)
    assert [[int(r[c]) for c in CLASSES] for r in table] == counted.tolist()
    assert {r["source"] for r in table} == {f"models/{name}/evaluation.json"}


def test_curves_stand_in_the_files_that_are_named(finished):
    found = rows(finished / "tables" / "curves.csv")
    assert len(found) == 2 * 2 * 4 * 2
    assert {row["architecture"] for row in found} == {best(finished)}
    keys = ("method", "metric", "preset", "aggregation")
    for row in found:
        lines = [
            line
            for line in rows(finished / row["source"])
            if line["class"] == "all" and all(line[k] == row[k] for k in keys)
        ]
        assert len(lines) == 1
        for name in ("n", "n_excluded", "value", "ci_low", "ci_high"):
            assert row[name] == lines[0][name]
        results = [
            r
            for r in rows(finished / "explained" / row["architecture"] / "results.csv")
            if r["method"] == row["method"] and r["preset"] == row["preset"]
        ]
        kept = sum(bool(r[f"{row['metric']}_auc"]) for r in results)
        assert (int(row["n"]), int(row["n_excluded"])) == (kept, LIMIT - kept)
        assert not row["published"], "these are not the paper's classes"


def test_explained_cases_are_of_the_test_part_and_of_every_class(finished):
    name = best(finished)
    results = rows(finished / "explained" / name / "results.csv")
    cases = {(r["case"], r["label"]) for r in results}
    assert sorted(label for _, label in cases) == ["high", "high", "low", "low"]
    answers = rows(finished / "models" / name / "predictions.csv")
    parts = {Path(r["file"]).stem: r["part"] for r in answers}
    assert {parts[case.split("-")[0]] for case, _ in cases} == {"test"}
    assert {r["pointing_hit"] for r in results} & {"0", "1"}, "masks were used"
    run = json.loads((finished / "explained" / name / "run.json").read_text())
    guided = next(m for m in run["methods"] if m["name"] == "guided_ig")
    said = guided["parameters"]
    assert (said["steps"], said["fraction"], said["max_dist"]) == (25, 0.5, 1.0)


def test_times_stand_in_the_files_that_are_named(finished):
    found = rows(finished / "tables" / "times.csv")
    assert [row["stage"] for row in found] == ["training", "training", "explaining"]
    for row in found:
        source = json.loads((finished / row["source"]).read_text())
        seconds = source.get("stage_seconds")
        total = (
            source["seconds"] if row["stage"] == "training" else sum(seconds.values())
        )
        assert float(row["hours"]) == pytest.approx(total / 3600, rel=1e-5)
        assert float(row["estimated_hours"]) > 0


def test_page_says_the_numbers_and_fetches_nothing(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "For research use only. Not for diagnosis." in page
    assert "a quick run on 64 of 96 images" in page
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    text = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert not re.search(r">\s*(nan|None|inf)\s*<", text)
    for row in rows(finished / "tables" / "classifiers.csv"):
        assert f">{float(row['macro_f1']):.3f}" in text
    for row in rows(finished / "tables" / "curves.csv"):
        if row["aggregation"] == "median_curve" and row["value"]:
            assert f">{float(row['value']):.3f}" in text
    for link in re.findall(r'href="([^"#]+)"', text):
        assert (finished / link).exists(), link


def test_figures_are_written(finished):
    names = {path.name for path in (finished / "figures").iterdir()}
    name = best(finished)
    wanted = {f"mosaic-{name}.{kind}" for kind in ("png", "svg", "pdf")}
    wanted |= {f"confusion-{name}.{kind}" for kind in ("svg", "pdf")}
    for row in rows(finished / "tables" / "curves.csv"):
        if row["n"] != "0":
            metric, preset = row["metric"], row["preset"]
            for stem in (f"{metric}-areas-{name}", f"{metric}-{preset}-{name}"):
                wanted |= {f"{stem}.{kind}" for kind in ("svg", "pdf")}
    assert names == wanted
    with Image.open(finished / "figures" / f"mosaic-{name}.png") as picture:
        assert picture.info["Disclaimer"] == "For research use only. Not for diagnosis."


def stored(out: Path, name: str) -> list[report.StoredCase]:
    folder = out / "explained" / name
    record = json.loads((folder / "run.json").read_text())
    keys = [case["key"] for case in record["cases"].values()]
    return list(report.Store(folder).load_all(keys))


def test_mosaic_shows_what_was_classified_right(finished):
    methods = METHODS.split(",")
    labels = {m: m.upper() for m in methods}
    name = best(finished)
    cases = stored(finished, name)
    found = mosaic(cases, CLASSES, methods, labels, seed=5)
    again = mosaic(cases[::-1], CLASSES, methods, labels, seed=5)
    assert [r.case for r in found.rows] == [r.case for r in again.rows]
    results = rows(finished / "explained" / name / "results.csv")
    right = {r["case"]: r["label"] for r in results if r["correct"] == "true"}
    assert set(found.missing) == set(CLASSES) - set(right.values())
    assert found.outlined
    assert found.titles == ("Image", *labels.values())
    for row in found.rows:
        assert right[row.case] == row.label
        assert len(row.tiles) == 1 + len(methods)
        shapes = {tile.pixels(row.shape).shape for tile in row.tiles}
        assert shapes == {(*row.shape, 3)}
        plain, *maps = (tile.pixels(row.shape).astype(int) for tile in row.tiles)
        assert all(np.abs(one - plain).mean() > 1 for one in maps)


def test_a_failed_architecture_costs_itself_only(options, finished):
    found = material(options, finished / ".work")
    changed = ReproductionOptions.of(
        **{
            **vars(options),
            "architectures": ("no_such_network", *ARCHITECTURES),
        }
    )
    trained = train_all(changed, found, finished / ".work" / "images", quiet=True)
    assert "no_such_network" in trained[0].reason
    assert [one.reason for one in trained[1:]] == ["", ""]
    chosen = best_of(trained)
    table = classifier_rows(trained, found, chosen, finished)
    assert table[0]["status"] == "failed"
    assert table[0]["reason"] == trained[0].reason
    assert [row["status"] for row in table[1:]] == ["ok", "ok"]
    assert chosen.architecture == best(finished)
    nothing = Trained(
        architecture="x", folder=finished, evaluation={}, record={}, reason="broken"
    )
    assert best_of([nothing]) is None


def test_other_settings_are_refused(finished, training_data, capsys):
    before = (finished / "tables" / "classifiers.csv").read_bytes()
    assert main(command(training_data, finished, "--seed", "6")) == 2
    assert "made with other settings" in capsys.readouterr().err
    assert (finished / "tables" / "classifiers.csv").read_bytes() == before
