"""The dock Information curves in a real window: the same numbers as everywhere."""

from __future__ import annotations

import csv
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import napari_medxai as mx
from window import missing_for_a_window

MISSING = missing_for_a_window()
pytestmark = [
    pytest.mark.window,
    pytest.mark.skipif(bool(MISSING), reason=f"no window: {MISSING}"),
    pytest.mark.filterwarnings("ignore:::napari"),
    pytest.mark.filterwarnings("ignore:::vispy"),
]
METHODS = ("vanilla_gradient", "gradcam", "random")
PATIENCE = 120_000


@pytest.fixture
def viewer(request):
    """A real viewer."""
    return request.getfixturevalue("make_napari_viewer")()


@pytest.fixture
def dock(viewer, qtbot, tiny_model):
    """The dock, with its lists filled and the tiny model chosen."""
    from napari_medxai._napari.curves import CurvesDock

    dock = CurvesDock(viewer)
    viewer.window.add_dock_widget(dock, name="Information curves")
    qtbot.waitUntil(lambda: dock.run_row.run.isEnabled(), timeout=PATIENCE)
    dock.choices.add_model_folder(tiny_model)
    dock.choices.methods.check(METHODS)
    return dock


@pytest.fixture
def finish(dock, qtbot):
    """Start the dock and wait for it."""

    def go() -> str:
        dock.start()
        qtbot.waitUntil(lambda: not dock.runner.running, timeout=PATIENCE)
        return dock.run_row.status.text()

    return go


@pytest.fixture(scope="module")
def three(tmp_path_factory, blobs) -> Path:
    """Three of the cases, so that a batch is short."""
    folder = tmp_path_factory.mktemp("three")
    for name in ("images", "masks"):
        (folder / name).mkdir()
        for i in range(1, 4):
            shutil.copy(blobs / name / f"{i}.png", folder / name)
    shutil.copy(blobs / "labels.csv", folder)
    return folder


def open_in(viewer, path: Path):
    from napari_medxai._napari.open_study import add_study

    return add_study(viewer, mx.load_study(path))[0]


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def test_the_numbers_are_the_engines(dock, viewer, finish, blobs, tiny_model):
    path = blobs / "images" / "2.png"
    open_in(viewer, path)
    status = finish()
    assert status.startswith("Done. True class: high")
    model = mx.load_model(tiny_model)
    settings = mx.Settings(methods=METHODS)
    direct = list(mx.evaluate_study(mx.load_study(path), model, settings, label="high"))
    assert [o.method for o in dock.outcomes] == [o.method for o in direct]
    for got, truth in zip(dock.outcomes, direct, strict=True):
        for metric in ("aic", "sic"):
            a, b = getattr(got.curves, metric), getattr(truth.curves, metric)
            assert same(a.auc, b.auc)
            assert np.array_equal(a.y, b.y, equal_nan=True)
        assert got.localization == truth.localization
    for row, truth in zip(dock.measured.rows, direct, strict=True):
        assert same(row.aic, truth.curves.aic.auc)
        assert same(row.sic, truth.curves.sic.auc)
        assert row.relevance_mass == truth.localization.relevance_mass
    assert dock.table.rowCount() == len(METHODS)
    drawn = dock.canvases["sic"].figure.axes[0].lines
    expected = [o for o in direct if np.isfinite(o.curves.sic.auc)]
    assert len(drawn) >= len(expected) > 0


def test_a_folder_gives_the_batchs_numbers(dock, finish, three, tiny_model, tmp_path):
    """Dock, table on disk and the single study say the same."""
    dock.source.setCurrentIndex(1)
    dock.folder.set_path(three)
    dock.out.set_path(tmp_path / "out")
    assert finish().startswith("Done. 3 cases")
    assert dock.report is not None
    assert dock.report.is_file()
    assert not dock.open_report.isHidden()
    with (tmp_path / "out" / "summary.csv").open() as file:
        lines = {
            (r["method"], r["metric"]): r
            for r in csv.DictReader(file)
            if r["aggregation"] == "median_curve" and r["class"] in ("all", "")
        }
    for row in dock.measured.rows:
        for metric in ("aic", "sic"):
            text = next(
                r["value"]
                for (method, name), r in lines.items()
                if method == row.method and name.startswith(metric)
            )
            value = float(text) if text else math.nan
            assert np.isclose(getattr(row, metric), value, rtol=1e-5, equal_nan=True)
    model = mx.load_model(tiny_model)
    with (tmp_path / "out" / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    study = mx.load_study(three / "images" / "3.png")
    settings = mx.Settings(methods=METHODS)
    for truth in mx.evaluate_study(study, model, settings, label="low"):
        (row,) = [
            r
            for r in table
            if r["case"] == "images/3.png" and r["method"] == truth.method
        ]
        for metric in ("aic", "sic"):
            text = row[f"{metric}_auc"]
            value = float(text) if text else math.nan
            auc = getattr(truth.curves, metric).auc
            assert np.isclose(value, auc, rtol=1e-5, equal_nan=True)


def test_a_study_in_the_dock_equals_its_row_of_the_batch(
    dock, viewer, finish, blobs, tiny_model, tmp_path
):
    from napari_medxai.run import BatchOptions, run

    path = blobs / "images" / "2.png"
    open_in(viewer, path)
    finish()
    run(
        BatchOptions(
            inputs=(path,),
            out=tmp_path,
            model=str(tiny_model),
            methods=",".join(METHODS),
        )
    )
    with (tmp_path / "results.csv").open() as file:
        table = {row["method"]: row for row in csv.DictReader(file)}
    for row in dock.measured.rows:
        for metric in ("aic", "sic"):
            text = table[row.method][f"{metric}_auc"]
            value = float(text) if text else math.nan
            assert np.isclose(getattr(row, metric), value, rtol=1e-5, equal_nan=True)


def test_cancel_and_go_on(dock, finish, three, tmp_path):
    dock.source.setCurrentIndex(1)
    dock.choices.methods.check(("gradcam",))
    dock.folder.set_path(three)
    dock.out.set_path(tmp_path / "out")

    def stop(fraction, text):
        if "Case 3" in text:
            dock.cancel()

    dock.runner.progressed.connect(stop)
    assert finish().startswith("Cancelled.")
    dock.runner.progressed.disconnect(stop)
    assert dock.report is None
    status = finish()
    assert status.startswith("Done. 3 cases")
    assert "kept from before" in status


def test_closing_the_study_cancels_at_once(dock, viewer, qtbot, blobs, monkeypatch):
    from napari_medxai._napari import curves

    def endless(report):
        while True:
            report(0.1, "working")
            time.sleep(0.005)
        yield

    monkeypatch.setattr(curves, "study_job", lambda *_: endless)
    open_in(viewer, blobs / "images" / "1.png")
    dock.start()
    qtbot.waitUntil(lambda: dock.run_row.status.text() == "working", timeout=PATIENCE)
    viewer.layers.clear()
    qtbot.waitUntil(lambda: not dock.runner.running, timeout=5000)
    assert dock.run_row.status.text() == "Cancelled: the study was closed."


def test_what_is_missing_is_said(dock, viewer, finish, blobs, tmp_path):
    assert "No study is open" in finish()
    dock.source.setCurrentIndex(1)
    assert "No folder is chosen" in finish()
    dock.folder.set_path(tmp_path)
    assert "Nowhere to write" in finish()
    dock.out.set_path(tmp_path / "out")
    assert "no image found" in finish()


def test_the_plot_follows_the_theme(dock, viewer):
    faces = {}
    for theme in ("dark", "light"):
        viewer.theme = theme
        faces[theme] = dock.canvases["aic"].figure.get_facecolor()
    assert sum(faces["light"][:3]) > sum(faces["dark"][:3])
