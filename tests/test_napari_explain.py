"""The dock Explain in a real window."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import napari_medxai as mx
from napari_medxai.study import Study
from window import missing_for_a_window

MISSING = missing_for_a_window()
pytestmark = [
    pytest.mark.window,
    pytest.mark.skipif(bool(MISSING), reason=f"no window: {MISSING}"),
    # PySide's own enum and napari's own layers warn on some versions
    pytest.mark.filterwarnings("ignore:::napari"),
    pytest.mark.filterwarnings("ignore:::vispy"),
]
FAST = ("vanilla_gradient", "gradcam", "random")
SLOW = ("smoothgrad", "integrated_gradients", "guided_ig", "xrai", "scorecam")
PATIENCE = 60_000


@pytest.fixture
def viewer(request):
    """A real viewer."""
    return request.getfixturevalue("make_napari_viewer")()


@pytest.fixture
def dock(viewer, qtbot, tiny_model):
    """The dock, with its lists filled and the tiny model chosen."""
    from napari_medxai._napari.explain import ExplainDock

    dock = ExplainDock(viewer)
    viewer.window.add_dock_widget(dock, name="Explain")
    qtbot.waitUntil(lambda: dock.run_row.run.isEnabled(), timeout=PATIENCE)
    dock.choices.add_model_folder(tiny_model)
    return dock


@pytest.fixture
def finish(dock, qtbot):
    """Start the dock and wait for it."""

    def go() -> str:
        dock.start()
        qtbot.waitUntil(lambda: not dock.runner.running, timeout=PATIENCE)
        return dock.run_row.status.text()

    return go


def stack(blobs: Path) -> Study:
    """Coronal slices stored against the display's directions, with one mask slice."""
    slices = [mx.load_study(blobs / "images" / f"{i}.png") for i in range(4)]
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, -1.0], [-3.0, 0, 0], [0, 1.0, 0]]
    affine[:3, 3] = (20, 5, -30)
    mask = np.zeros((4, *slices[0].shape), bool)
    mask[2] = slices[2].mask
    return Study(
        np.stack([s.array for s in slices]),
        Path("stack"),
        affine_lps=affine,
        spacing=(3.0, 1.0, 1.0),
        masks={"lesion": mask},
        identifier="stack",
    )


def open_in(viewer, study: Study):
    from napari_medxai._napari.open_study import add_study

    return add_study(viewer, study)[0]


def test_the_maps_are_the_engines_and_lie_over_the_image(dock, viewer, finish, blobs):
    from napari_medxai._napari.layers import Placement

    study = stack(blobs)
    image = open_in(viewer, study)
    dock.choices.methods.check(FAST)
    dock.choices.slices.setCurrentIndex(dock.choices.slices.findData("mask"))
    assert finish().startswith("Done: 3 maps.")
    model = mx.load_model(dock.choices.current_model().path)
    expected = {e.method: e for e in mx.explain(study, model, FAST, slices="mask")}
    assert len(dock.maps) == 3
    for layer, (_, explanation) in zip(dock.maps, dock._maps, strict=True):
        truth = expected[explanation.method]
        back = Placement.of(study).back(layer.data)
        assert np.array_equal(back, truth.map, equal_nan=True)
        assert np.isnan(back[[0, 1, 3]]).all()
        assert np.allclose(layer.scale, image.scale)
        assert np.allclose(layer.translate, image.translate)
        assert layer.units == image.units
        assert layer.name.endswith("· stack")
        assert truth.target_class in layer.name
        assert f"{truth.probabilities[0, truth.target]:.2f}" in layer.name
        assert layer.colorbar.visible == layer.visible
        assert layer.opacity == pytest.approx(0.55)
    assert [layer.visible for layer in dock.maps] == [True, False, False]
    names = [layer.name for layer in viewer.layers]
    assert names[0] == "stack"
    assert names[-1] == "lesion · stack"  # the outline stays on top
    shown = dock.probabilities.texts()
    (probabilities,) = expected["gradcam"].probabilities
    assert shown == [
        (name, f"{p:.3f}") for name, p in zip(model.classes, probabilities, strict=True)
    ]


def test_the_current_slice_is_explained_and_then_in_view(dock, viewer, finish, blobs):
    from napari_medxai._napari.studies import current_slice, open_study_of, show_slice

    opened = open_study_of(open_in(viewer, stack(blobs)))
    dock.choices.methods.check(("random",))
    for index in (3, 0):
        show_slice(viewer, opened, index)
        dock.choices.slices.setCurrentIndex(dock.choices.slices.findData("current"))
        finish()
        assert dock._maps[-1][1].slices == (index,)
    dock.choices.slices.setCurrentIndex(dock.choices.slices.findData("mask"))
    finish()
    assert current_slice(viewer, opened) == 2


def test_running_again_replaces_and_another_class_is_added(dock, viewer, finish, blobs):
    viewer.open(str(blobs / "images" / "0.png"), plugin="napari")
    dock.choices.methods.check(("random",))
    finish()
    finish()
    assert len([x for x in viewer.layers if "Random" in x.name]) == 1
    for name in ("high", "low"):
        dock.choices.target.setCurrentIndex(dock.choices.target.findData(name))
        finish()
    assert len([x for x in viewer.layers if "Random" in x.name]) == 2


def test_only_one_map_is_visible_and_every_one_can_be_chosen(
    dock, viewer, finish, blobs
):
    open_in(viewer, mx.load_study(blobs / "images" / "0.png"))

    def visible() -> list:
        maps = [x for x in viewer.layers if x.metadata["medxai"]["role"] == "map"]
        assert [x.colorbar.visible for x in maps] == [x.visible for x in maps]
        return [x for x in maps if x.visible]

    for name, method in (("high", "random"), ("low", "random"), ("low", "gradcam")):
        dock.choices.target.setCurrentIndex(dock.choices.target.findData(name))
        dock.choices.methods.check((method,))
        finish()
        (shown,) = visible()
        assert shown is dock.maps[-1]
        assert dock.shown.currentText().endswith(f"→ {name}")
        assert dock.shown.currentText().startswith(dock.choices.label(method))
    assert len(dock.maps) == 3
    assert dock.shown.count() == 4
    dock.shown.setCurrentIndex(0)
    assert visible() == dock.maps[:1]
    dock.opacity.setValue(20)
    assert dock.maps[0].opacity == pytest.approx(0.2)
    dock.shown.setCurrentIndex(3)
    assert visible() == []
    finish()
    assert visible() == dock.maps[-1:]


def test_slices_are_named_as_the_slider_and_as_the_array_counts_them(
    dock, viewer, finish, blobs
):
    from napari_medxai._napari.studies import open_study_of, show_slice

    opened = open_study_of(open_in(viewer, stack(blobs)))
    dock.choices.methods.check(("random",))
    dock.choices.slices.setCurrentIndex(dock.choices.slices.findData("mask"))
    said: list[str] = []
    dock.runner.progressed.connect(lambda fraction, text: said.append(text))
    finish()
    axis = viewer.dims.order[0]
    shown = viewer.dims.current_step[axis]
    name = f"slice {shown} of 3 on screen (array slice 2)"
    assert shown == 1  # the display runs against the array
    assert name in dock.probabilities.title
    assert name in dock.shown.currentText()
    assert any(name in text for text in said)
    assert dock.probabilities.texts()
    show_slice(viewer, opened, 0)
    assert viewer.dims.current_step[axis] == 3
    assert dock.probabilities.title == (
        "Slice 3 of 3 on screen (array slice 0): this slice was not explained."
    )
    assert not dock.probabilities.texts()
    show_slice(viewer, opened, 2)
    assert dock.probabilities.texts()


def test_sliders_and_choice_work_on_the_maps(dock, viewer, finish, blobs):
    open_in(viewer, mx.load_study(blobs / "images" / "0.png"))
    dock.choices.methods.check(FAST)
    finish()
    dock.opacity.setValue(30)
    dock.threshold.setValue(50)
    for layer in dock.maps:
        assert layer.opacity == pytest.approx(0.3)
        values = np.asarray(layer.data)
        low, high = layer.contrast_limits
        assert low == pytest.approx(np.percentile(values, 50), abs=1e-6)
        assert high == pytest.approx(values.max())
    dock.shown.setCurrentIndex(2)
    assert [layer.visible for layer in dock.maps] == [False, False, True]
    dock.shown.setCurrentIndex(3)
    assert dock.shown.currentText() == "none"
    assert not any(layer.visible for layer in dock.maps)
    viewer.layers.remove(dock.maps[0])
    assert len(dock.maps) == 2
    assert dock.shown.count() == 3


def test_cancel_in_the_middle_leaves_no_thread_and_a_usable_dock(
    dock, viewer, finish, qtbot, blobs
):
    from qtpy.QtCore import QThreadPool

    from napari_medxai._napari import catalogue

    open_in(viewer, stack(blobs))
    dock.choices.methods.check(SLOW)
    dock.choices.slices.setCurrentIndex(dock.choices.slices.findData("all"))
    seen: list[float] = []

    def stop(fraction, text):
        if fraction > 0.02:
            seen.append(fraction)
            dock.cancel()

    dock.runner.progressed.connect(stop)
    status = finish()
    dock.runner.progressed.disconnect(stop)
    assert status.startswith("Cancelled.")
    assert seen
    assert seen[0] < 1
    assert len(dock.maps) < len(SLOW)
    pool = QThreadPool.globalInstance()
    qtbot.waitUntil(lambda: pool.activeThreadCount() == 0, timeout=PATIENCE)
    for model in catalogue._models.values():
        assert not model.module.training
        for module in model.module.modules():
            assert not module._forward_hooks
            assert not module._backward_hooks
    assert dock.run_row.run.isEnabled()
    assert not dock.run_row.cancel.isEnabled()
    dock.choices.methods.check(("gradcam",))
    assert finish().startswith("Done: 1 map.")


def test_a_broken_model_is_told_in_words(dock, viewer, finish, blobs, tmp_path):
    open_in(viewer, mx.load_study(blobs / "images" / "0.png"))
    good = Path(dock.choices.current_model().path)
    (tmp_path / "model.json").write_bytes((good / "model.json").read_bytes())
    (tmp_path / "weights.safetensors").write_bytes(b"nonsense")
    dock.choices.add_model_folder(tmp_path)
    dock.choices.methods.check(("gradcam",))
    status = finish()
    assert "safetensors" in status
    assert "Traceback" not in status
    assert dock.run_row.run.isEnabled()
    dock.choices.add_model_folder(good)
    assert finish().startswith("Done")


def test_what_is_missing_is_said(dock, viewer, finish, blobs):
    assert "No study is open" in finish()
    open_in(viewer, mx.load_study(blobs / "images" / "0.png"))
    dock.choices.methods.check(())
    assert "No method is checked" in finish()
    assert not dock.runner.running


def test_a_removed_study_ends_the_run_quietly(dock, viewer, qtbot, blobs):
    open_in(viewer, stack(blobs))
    dock.choices.methods.check(SLOW)
    dock.start()
    viewer.layers.clear()
    qtbot.waitUntil(lambda: not dock.runner.running, timeout=PATIENCE)
    assert not dock.maps
    assert len(viewer.layers) == 0


def endless(report):
    """A job that reports for ever and yields nothing."""
    while True:
        report(0.1, "working")
        time.sleep(0.005)
    yield


@pytest.fixture
def at_work(dock, viewer, qtbot, blobs, monkeypatch):
    """The dock in the middle of such a job."""
    from napari_medxai._napari import explain

    monkeypatch.setattr(explain, "explain_job", lambda *_: endless)
    open_in(viewer, stack(blobs))
    dock.choices.methods.check(("random",))
    dock.start()
    qtbot.waitUntil(lambda: dock.run_row.status.text() == "working", timeout=PATIENCE)
    return dock


def test_closing_the_study_cancels_at_once(at_work, viewer, qtbot):
    viewer.layers.remove("lesion · stack")
    assert at_work.runner.running
    viewer.layers.remove("stack")
    qtbot.waitUntil(lambda: not at_work.runner.running, timeout=5000)
    assert at_work.run_row.status.text() == "Cancelled: the study was closed."


def test_taking_the_dock_away_cancels(at_work, viewer, qtbot):
    viewer.window.remove_dock_widget(at_work)
    qtbot.waitUntil(lambda: not at_work.runner.running, timeout=5000)
    at_work.deleteLater()


def test_leaving_the_application_cancels(at_work, qapp, qtbot):
    qapp.aboutToQuit.emit()
    qtbot.waitUntil(lambda: not at_work.runner.running, timeout=5000)


def test_slices_with_lesion_are_offered_only_with_a_mask(dock, viewer, blobs):
    study = stack(blobs)
    index = dock.choices.slices.findData("mask")
    model = dock.choices.slices.model()
    open_in(viewer, study)
    assert dock.choices.slices.isEnabled()
    assert model.item(index).isEnabled()
    open_in(viewer, study.with_masks({}))
    assert not model.item(index).isEnabled()
    open_in(viewer, mx.load_study(blobs / "images" / "0.png"))
    assert not dock.choices.slices.isEnabled()


def test_a_study_of_another_reader_is_explained_in_its_place(
    dock, viewer, finish, blobs
):
    layer = viewer.add_image(
        mx.load_study(blobs / "images" / "0.png").array,
        name="other",
        scale=(2, 3),
        translate=(5, -7),
        rotate=30,
    )
    dock.choices.methods.check(("gradcam",))
    assert finish().startswith("Done")
    (over,) = dock.maps
    place = (11, 17)
    assert np.allclose(over.data_to_world(place), layer.data_to_world(place))


def test_open_study_lists_and_opens(viewer, qtbot, blobs, tmp_path):
    from napari_medxai._napari.open_study import OpenStudyDialog

    dialog = OpenStudyDialog(viewer)
    qtbot.addWidget(dialog)
    dialog.look_into(blobs)
    qtbot.waitUntil(lambda: not dialog.runner.running, timeout=PATIENCE)
    assert [one.key for one in dialog.found] == [f"images/{i}.png" for i in range(6)]
    assert not dialog.run_row.run.isEnabled()
    dialog.list.setCurrentRow(4)
    dialog.open_chosen()
    qtbot.waitUntil(lambda: not dialog.runner.running, timeout=PATIENCE)
    assert [x.name for x in viewer.layers] == ["4.png", "mask · 4.png"]
    assert viewer.layers[1].contour == 1
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG nonsense")
    dialog.look_into(broken)
    qtbot.waitUntil(lambda: not dialog.runner.running, timeout=PATIENCE)
    if dialog.found:
        dialog.open_chosen()
        qtbot.waitUntil(lambda: not dialog.runner.running, timeout=PATIENCE)
    assert "broken.png" in dialog.run_row.status.text()
    assert len(viewer.layers) == 2


def test_from_the_menus_as_a_user_does(viewer, qtbot, tiny_model):
    """Sample, dock and command by the manifest, through napari's proxies."""
    from napari._app_model import get_app_model
    from qtpy.QtWidgets import QApplication

    from napari_medxai._napari.layers import Placement
    from napari_medxai._napari.open_study import OpenStudyDialog

    viewer.open_sample("napari-medxai", "nifti")
    image, mask = viewer.layers
    assert mask.contour == 1
    for name in ("Explain", "Information curves"):
        _, dock = viewer.window.add_plugin_dock_widget("napari-medxai", name)
        qtbot.waitUntil(dock.run_row.run.isEnabled, timeout=PATIENCE)
        dock.choices.add_model_folder(tiny_model)
        dock.choices.methods.check(("random",))
        dock.start()
        qtbot.waitUntil(lambda d=dock: not d.runner.running, timeout=PATIENCE)
        assert dock.run_row.status.text().startswith("Done")
    (over,) = [x for x in viewer.layers if x.name.startswith("Random")]
    assert list(viewer.layers) == [image, over, mask]
    study = image.metadata["medxai"]["study"]
    explained = over.metadata["medxai"]["explanation"]
    back = Placement.of(study).back(over.data)
    assert np.array_equal(back, explained.map, equal_nan=True)
    get_app_model().commands.execute_command("napari-medxai.open_study")
    dialogs = [
        w for w in QApplication.topLevelWidgets() if isinstance(w, OpenStudyDialog)
    ]
    assert len(dialogs) == 1
    dialogs[0].close()


def test_a_file_opened_through_napari_is_a_study(viewer, blobs):
    viewer.open(str(blobs / "images" / "1.png"), plugin="napari-medxai")
    image, mask = viewer.layers
    assert image.metadata["medxai"]["study"].shape == (48, 48)
    assert mask.contour == 1
