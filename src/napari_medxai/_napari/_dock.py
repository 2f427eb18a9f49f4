"""What both docks have in common: where things stand, and when a run must stop."""

from __future__ import annotations

from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from ._widgets import RunRow, fit_width, research_label
from .runner import UNKNOWN, Runner
from .studies import OpenStudy
from .styling import plain, watch

__all__ = ["Dock"]

CLOSED = "the study was closed."


class Dock(QWidget):
    """A dock with a form that scrolls, and below it a run row that does not.

    A run ends with what it is for: when its study is closed, when the dock is taken
    away, and with the application.

    Parameters
    ----------
    viewer : napari.Viewer
    verb : str
        On the button that starts a run.
    """

    def __init__(self, viewer: Any, verb: str) -> None:
        super().__init__()
        self._viewer = viewer
        watch(viewer)
        self.run_row = RunRow(verb)
        self._opened: OpenStudy | None = None
        self._why = ""
        self._loader, self.runner = Runner(), Runner()
        self.run_row.cancel.clicked.connect(self._on_cancel)
        self._viewer.layers.events.removed.connect(self._on_removed)

    def cancel(self, why: str = "") -> None:
        """Stop the run as soon as the engine comes up for air.

        Parameters
        ----------
        why : str
            For the status line, where the user did not ask for it.
        """
        if self.runner.running:
            self._why = why
            text = f"Cancelled: {why}" if why else "Cancelling"
            self.run_row.show_progress(UNKNOWN, text)
            self.runner.cancel()

    def changeEvent(self, event: QEvent) -> None:
        """Stop the run when the dock is taken away: napari then unparents it."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.cancel("the dock was closed.")

    def _lay_out(self, inner: QWidget) -> None:
        area = QScrollArea()
        fit_width(area, inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 4)
        layout.addWidget(area, 1)
        below = QVBoxLayout()
        margins = self.fontMetrics().height() // 2
        below.setContentsMargins(margins, 0, margins, 0)
        below.addWidget(self.run_row)
        below.addWidget(research_label())
        layout.addLayout(below)

    def _begin(self, opened: OpenStudy | None) -> None:
        """Get the run row ready for a run on this study."""
        self._opened, self._why = opened, ""
        self.run_row.set_running(True)
        self.run_row.show_progress(UNKNOWN, "Starting")

    def _on_cancel(self) -> None:
        self.cancel()

    def _on_removed(self, event: Any = None) -> None:
        if not isalive(self) or self._opened is None:
            return
        layer = plain(self._opened.layer)
        if not any(one is layer for one in self._viewer.layers):
            self.cancel(CLOSED)
