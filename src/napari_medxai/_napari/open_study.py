"""The command Open study…: choose a file or folder, then one of its series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari.qt import get_stylesheet
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medxai.study import Series, Study

from ._widgets import RunRow
from .layers import study_to_layers
from .runner import Reporter, Runner
from .styling import plain, watch

__all__ = ["OpenStudyDialog", "open_study"]

# Dialogs that are open; Qt alone would not keep those without a parent.
_open: set[QDialog] = set()


def open_study(viewer: Viewer) -> None:
    """Show the dialog; what it opens goes into the viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    """
    dialog = OpenStudyDialog(viewer)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    _open.add(dialog)
    dialog.finished.connect(lambda _: _open.discard(dialog))
    dialog.open()


class OpenStudyDialog(QDialog):
    """Lists what a file or folder holds, and opens what is chosen.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent or QApplication.activeWindow())
        self._viewer = viewer
        self._path: Path | None = None
        self.found: list[Series] = []
        self.setWindowTitle("Open study")
        self.resize(560, 420)
        self.setStyleSheet(get_stylesheet(viewer.theme))
        self.where = QLabel("Choose a file or a folder; nothing is guessed.")
        self.where.setWordWrap(True)
        self.list = QListWidget()
        self.list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.list.setAccessibleName("Images and series")
        file, folder = QPushButton("File…"), QPushButton("Folder…")
        self.run_row = RunRow("Open")
        self.runner = Runner()
        box = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons = QHBoxLayout()
        buttons.addWidget(file)
        buttons.addWidget(folder)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.addLayout(buttons)
        layout.addWidget(self.where)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.run_row)
        layout.addWidget(box)
        self.run_row.run.setEnabled(False)
        file.clicked.connect(self._on_file)
        folder.clicked.connect(self._on_folder)
        box.rejected.connect(self.reject)
        self.list.itemDoubleClicked.connect(self.open_chosen)
        self.list.itemSelectionChanged.connect(self._on_selection)
        self.run_row.run.clicked.connect(self.open_chosen)
        self.run_row.cancel.clicked.connect(self.runner.cancel)
        self.runner.progressed.connect(self.run_row.show_progress)
        self.runner.produced.connect(self._on_result)
        self.runner.ended.connect(self._on_ended)
        self.destroyed.connect(self.runner.cancel)

    def look_into(self, path: Path) -> None:
        """List what a path holds, in a worker."""
        if self.runner.running:
            return
        self._path = path
        self.where.setText(path.name)
        self.list.clear()
        self.found = []

        def job(report: Reporter) -> Iterator[Series]:
            report(None, "Reading headers")
            from napari_medxai.io import series

            yield from series(path)

        self._start(job)

    def open_chosen(self) -> None:
        """Load the chosen series, in a worker."""
        rows = sorted(index.row() for index in self.list.selectedIndexes())
        chosen = [self.found[row] for row in rows]
        path = self._path
        if self.runner.running or path is None or not chosen:
            return

        def job(report: Reporter) -> Iterator[Study]:
            from napari_medxai.io import load_study

            for number, one in enumerate(chosen):
                report(number / len(chosen), f"Loading {one.description}")
                yield load_study(path, series=one.key)

        self._start(job)

    def _start(self, job: Any) -> None:
        self.run_row.set_running(True)
        self.runner.start(job, exclusive=False)

    def _on_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Choose a file")
        if name:
            self.look_into(Path(name))

    def _on_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a folder")
        if name:
            self.look_into(Path(name))

    def _on_selection(self) -> None:
        ready = bool(self.list.selectedIndexes()) and not self.runner.running
        self.run_row.run.setEnabled(ready)

    def _on_result(self, result: object) -> None:
        if isinstance(result, Series):
            self.found.append(result)
            self.list.addItem(_line(result))
        elif isinstance(result, Study):
            add_study(self._viewer, result)

    def _on_ended(self, how: str, text: str) -> None:
        self.run_row.set_running(False)
        if len(self.found) == 1:
            self.list.setCurrentRow(0)
        self._on_selection()
        done = f"{len(self.found)} image(s) or series." if self.found else ""
        self.run_row.status.setText(text or done)
        if how == "failed":
            show_error(text)


def add_study(viewer: Any, study: Study) -> list[Any]:
    """Add a study's layers to a viewer and return them."""
    from napari.layers import Layer

    watch(viewer)
    layers = [Layer.create(*data) for data in study_to_layers(study)]
    viewer.layers.extend(layers)
    return [plain(layer) for layer in layers]


def _line(one: Series) -> str:
    # A file goes by its name; a series by its pseudonym, its key is a long number.
    parts = [one.patient or one.key, one.description]
    return " · ".join(part for part in parts if part)
