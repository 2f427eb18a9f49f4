"""The dock Information curves: AIC, SIC and localisation of a study or a folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QComboBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_medxai.errors import MedXAIError, UsageError
from napari_medxai.results import Outcome

from ._dock import Dock
from ._widgets import FolderRow
from .canvas import CurveCanvas, line_icon, theme_type
from .catalogue import Catalogue, catalogue_job
from .choices import Choices
from .jobs import FolderDone, folder_job, study_job
from .measured import METRICS, Measured, from_outcomes

__all__ = ["CurvesDock"]

CHECKED = ("gradcam", "scorecam", "xrai", "random")
COLUMNS = (
    ("Method", ""),
    ("AIC", "Area under the accuracy information curve"),
    ("SIC", "Area under the softmax information curve"),
    ("Peak", "Whether the map's maximum lies in the mask; of many, the share"),
    ("Mass", "Share of the positive relevance that lies in the mask"),
    ("AP", "Average precision of the map as a detector of the mask's pixels"),
)
EXCLUDED = 4  # lines shown of what was left out; the rest is in the tooltip
STUDY, FOLDER = "the open study", "a folder"


class CurvesDock(Dock):
    """Measure how far the maps of the open study, or of a folder, can be trusted.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer, "Measure")
        self.choices = Choices(napari_viewer, CHECKED)
        self.source = QComboBox()
        self.source.addItems([STUDY, FOLDER])
        self.folder = FolderRow("Choose a folder of studies")
        self.out = FolderRow("Choose a folder for the results")
        self.preset = QComboBox()
        self.canvases = {
            metric: CurveCanvas(napari_viewer, metric.upper()) for metric in METRICS
        }
        self.table = _table()
        self.excluded = QLabel()
        self.excluded.setWordWrap(True)
        self.open_report = QPushButton("Open report")
        self.report: Path | None = None
        self.measured: Measured | None = None
        self.outcomes: list[Outcome] = []
        self._methods: tuple[str, ...] = ()
        self._labels: dict[str, str] = {}
        self._note = ""
        self._build()
        self._connect()
        self.run_row.run.setEnabled(False)
        self._loader.start(catalogue_job, exclusive=False)

    def _build(self) -> None:
        form = self.choices.form
        form.insertRow(0, "Measure", self.source)
        form.insertRow(1, "Folder", self.folder)
        form.insertRow(2, "Results", self.out)
        form.addRow("Preset", self.preset)
        results = QWidget()
        shown = QVBoxLayout(results)
        shown.setContentsMargins(0, 4, 0, 0)
        for metric in METRICS:
            shown.addWidget(self.canvases[metric], 1)
        shown.addWidget(self.table)
        shown.addWidget(self.excluded)
        shown.addWidget(self.open_report)
        self.pages = QTabWidget()
        self.pages.addTab(self.choices, "Settings")
        self.pages.addTab(results, "Results")
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.addWidget(self.pages, 1)
        self._lay_out(inner)
        self.open_report.setVisible(False)
        self.excluded.setVisible(False)
        self._on_source()

    def _connect(self) -> None:
        self._loader.produced.connect(self._on_catalogue)
        self._loader.progressed.connect(self.run_row.show_progress)
        self._loader.ended.connect(self._on_loaded)
        self.runner.progressed.connect(self.run_row.show_progress)
        self.runner.produced.connect(self._on_result)
        self.runner.ended.connect(self._on_ended)
        self.run_row.run.clicked.connect(self.start)
        self.source.currentIndexChanged.connect(self._on_source)
        self.choices.problem.connect(self._fail)
        self.open_report.clicked.connect(self._on_open_report)

    @property
    def of_folder(self) -> bool:
        """Whether a folder is to be measured."""
        return self.source.currentText() == FOLDER

    def start(self) -> None:
        """Measure what the form asks for."""
        if self.runner.running:
            return
        try:
            request = self.choices.request(need_study=not self.of_folder)
            folders = self._folders() if self.of_folder else None
        except MedXAIError as error:
            self._fail(str(error))
            return
        self._methods = request.methods
        self._labels = {name: self.choices.label(name) for name in request.methods}
        self.outcomes, self.report, self._note = [], None, ""
        self.open_report.setVisible(False)
        self._show(from_outcomes([], ()))
        self.pages.setCurrentIndex(1)
        self._begin(request.opened)
        preset = self.preset.currentText()
        if folders is None:
            self.runner.start(study_job(request, preset, self._labels))
        else:
            self.runner.start(folder_job(*folders, request, preset, self._labels))

    def _folders(self) -> tuple[Path, Path]:
        if self.folder.path is None:
            raise UsageError("No folder is chosen. Choose the folder to be measured.")
        if self.out.path is None:
            raise UsageError("Nowhere to write. Choose a folder for the results.")
        return self.folder.path, self.out.path

    def _on_source(self) -> None:
        of_folder = self.of_folder
        form = self.choices.form
        form.setRowVisible(self.folder, of_folder)
        form.setRowVisible(self.out, of_folder)
        form.setRowVisible(self.choices.study, not of_folder)
        self.choices.set_for_folder(of_folder)

    def _on_catalogue(self, catalogue: object) -> None:
        if isinstance(catalogue, Catalogue):
            self.choices.set_catalogue(catalogue)
            self.preset.addItems(list(catalogue.presets))
            self.preset.setCurrentText("pair")

    def _on_loaded(self, how: str, text: str) -> None:
        self.run_row.set_running(False)
        if how == "failed":
            self._fail(text)
            return
        missing = self.choices.current_model() is None
        hint = " No model comes with this installation: choose a model folder."
        self.run_row.status.setText("Ready." + (hint if missing else ""))

    def _on_result(self, result: object) -> None:
        if isinstance(result, Outcome):
            self.outcomes.append(result)
            self._show(from_outcomes(self.outcomes, self._methods))
        elif isinstance(result, str):
            self._note = result
        elif isinstance(result, FolderDone):
            self.report = result.report
            self.open_report.setVisible(True)
            self._show(result.measured)
            failed = f", {result.failed} failed (see the report)" * bool(result.failed)
            kept = f", {result.resumed} kept from before" * bool(result.resumed)
            self._note = f"{result.cases} cases{failed}{kept}."

    def _on_ended(self, how: str, text: str) -> None:
        self.run_row.set_running(False)
        if how == "failed":
            self._fail(text)
        elif how == "cancelled":
            again = " Measure again to go on from there." if self.of_folder else ""
            why = f"Cancelled: {self._why}" if self._why else "Cancelled."
            self.run_row.status.setText(f"{why}{again}")
        else:
            self.run_row.bar.setValue(self.run_row.bar.maximum())
            rows = () if self.measured is None else self.measured.rows
            failed = [f"{self._labels[r.method]}: {r.failed}" for r in rows if r.failed]
            self.run_row.status.setText(" ".join(["Done.", self._note, *failed]))

    def _on_open_report(self) -> None:
        if self.report is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.report.resolve())))

    def _fail(self, text: str) -> None:
        self.run_row.status.setText(text)
        show_error(text)

    def _show(self, measured: Measured) -> None:
        self.measured = measured
        for metric, canvas in self.canvases.items():
            canvas.show_curves(measured.curves[metric], self._labels)
        self.table.setRowCount(len(measured.rows))
        methods = tuple(row.method for row in measured.rows)
        theme = theme_type(self._viewer)
        for number, row in enumerate(measured.rows):
            name = QTableWidgetItem(self._labels.get(row.method, row.method))
            name.setIcon(line_icon(row.method, methods, theme))
            name.setToolTip(row.failed)
            self.table.setItem(number, 0, name)
            values = (
                row.aic,
                row.sic,
                row.pointing_hit,
                row.relevance_mass,
                row.average_precision,
            )
            for column, value in enumerate(values, start=1):
                text = "–" if math.isnan(value) else f"{value:.3f}"
                item = QTableWidgetItem(text)
                item.setTextAlignment(
                    Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                )
                self.table.setItem(number, column, item)
        self._fit_table()
        lines = list(measured.excluded[:EXCLUDED])
        more = len(measured.excluded) - len(lines)
        self.excluded.setText("\n".join(lines + [f"and {more} more"] * bool(more)))
        self.excluded.setToolTip("\n".join(measured.excluded))
        self.excluded.setVisible(bool(measured.excluded))

    def _fit_table(self) -> None:
        header = self.table.horizontalHeader()
        rows = min(6, self.table.rowCount())
        height = self.table.verticalHeader().defaultSectionSize()
        self.table.setFixedHeight(header.height() + rows * height + 4)


def _table() -> QTableWidget:
    table = QTableWidget(0, len(COLUMNS))
    for column, (title, tip) in enumerate(COLUMNS):
        item = QTableWidgetItem(title)
        item.setToolTip(tip)
        table.setHorizontalHeaderItem(column, item)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(22)
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    table.setFixedHeight(28)
    return table
