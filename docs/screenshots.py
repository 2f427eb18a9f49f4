"""Make the documentation's pictures from the project's own sample data.

Usage: ``xvfb-run -a -s '-screen 0 1600x1000x24' python docs/screenshots.py OUTDIR
[--model FOLDER]``. Needs a window; every pixel shown is simulated.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
from imageio.v3 import imwrite
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_medxai.samples import samples

PLUGIN = "napari-medxai"
SIZE = (1280, 800)
METHODS = ("gradcam", "xrai", "smoothgrad")
MEASURED = ("gradcam", "smoothgrad", "random")
TIMEOUT = 900.0


def main() -> None:
    """Take every picture in both themes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, help="a model folder [the bundled one]")
    parser.add_argument("--themes", default="dark,light")
    parser.add_argument("--only", default="explain,curves,folder,planes")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    takes = {
        "explain": explain,
        "curves": curves,
        "folder": folder,
        "planes": planes,
    }
    for theme in a.themes.split(","):
        for name in a.only.split(","):
            takes[name](a.out, theme, a.model)


def explain(out: Path, theme: str, model: Path | None) -> None:
    """Explain the DICOM sample by three methods."""
    viewer = window(theme)
    viewer.open_sample(PLUGIN, "dicom")
    dock = docked(viewer, "Explain", model)
    dock.choices.methods.check(METHODS)
    dock.choices.slices.setCurrentIndex(dock.choices.slices.findData("middle"))
    dock.start()
    wait(lambda: not dock.runner.running)
    dock.shown.setCurrentIndex(
        dock.shown.findText("XRAI", Qt.MatchFlag.MatchStartsWith)
    )
    save(viewer, out / f"explain-{theme}.png")


def curves(out: Path, theme: str, model: Path | None) -> None:
    """Measure a PNG sample."""
    viewer = window(theme)
    viewer.open_sample(PLUGIN, "png-axial")
    dock = docked(viewer, "Information curves", model)
    dock.choices.methods.check(MEASURED)
    dock.start()
    wait(lambda: not dock.runner.running)
    save(viewer, out / f"curves-{theme}.png")


def folder(out: Path, theme: str, model: Path | None) -> None:
    """Measure the folder of PNG samples."""
    viewer = window(theme)
    viewer.open_sample(PLUGIN, "png-axial")
    dock = docked(viewer, "Information curves", model)
    dock.source.setCurrentIndex(1)
    dock.folder.set_path(samples()["png"])
    dock.out.set_path(out / "results")
    dock.choices.methods.check(MEASURED)
    dock.start()
    wait(lambda: not dock.runner.running)
    save(viewer, out / f"folder-{theme}.png")


def planes(out: Path, theme: str, model: Path | None) -> None:
    """Show the NIfTI sample in all three planes."""
    del model
    for name, order in (("axial", (0, 1, 2)), ("coronal", (1, 0, 2))):
        viewer = window(theme)
        viewer.open_sample(PLUGIN, "nifti")
        viewer.dims.order = order
        viewer.reset_view()
        save(viewer, out / f"plane-{name}-{theme}.png")


def window(theme: str) -> napari.Viewer:
    """Open a window of the documentation's size."""
    viewer = napari.Viewer(show=False)
    viewer.theme = theme
    viewer.window.show()
    resize(viewer)
    return viewer


def resize(viewer: napari.Viewer) -> None:
    """Give the window its size; before it is shown, napari would not keep it."""
    QApplication.processEvents()
    viewer.window.resize(*SIZE)
    QApplication.processEvents()


def docked(viewer: napari.Viewer, name: str, model: Path | None) -> Any:
    """Open a dock and wait for its lists."""
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    wait(lambda: dock.choices.methods.topLevelItemCount() > 0)
    wait(dock.run_row.run.isEnabled)
    if model is not None:
        dock.choices.add_model_folder(model)
    return dock


def save(viewer: napari.Viewer, path: Path) -> None:
    """Let everything be drawn, take the picture, close the window."""
    resize(viewer)
    viewer.reset_view()
    end = time.monotonic() + 1.5
    wait(lambda: time.monotonic() > end)
    picture = viewer.screenshot(canvas_only=False, flash=False)
    height, width = picture.shape[:2]
    if (width, height) != SIZE:
        raise RuntimeError(
            f"{path.name}: the picture has {width} x {height} pixels, not "
            f"{SIZE[0]} x {SIZE[1]}. Use a larger screen, at a scale of 1 "
            "(xvfb-run -s '-screen 0 1600x1000x24')."
        )
    imwrite(path, picture)
    print(path.name)
    viewer.close()


def wait(condition: Callable[[], bool]) -> None:
    """Handle events until the condition holds."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the window did not get ready")
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
