"""Plots in napari's colours, drawn by the report's own builder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medxai.report.figures import curve_figure
from napari_medxai.report.styles import line_styles

__all__ = ["CurveCanvas", "line_icon"]

ICON = (26, 12)


class CurveCanvas(QWidget):
    """The curves of one metric.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme is followed.
    metric : str
        ``"AIC"`` or ``"SIC"``.
    """

    def __init__(self, viewer: Any, metric: str) -> None:
        super().__init__()
        self._viewer, self._metric = viewer, metric
        self._curves: Mapping[str, Any] = {}
        self._labels: Mapping[str, str] = {}
        self.figure = Figure(figsize=(3.4, 2.0), dpi=100)
        self._canvas = FigureCanvasQTAgg(self.figure)
        self.setMinimumHeight(160)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._canvas)
        viewer.events.theme.connect(self._on_theme)
        self._draw()

    def show_curves(self, curves: Mapping[str, Any], labels: Mapping[str, str]) -> None:
        """Draw these curves; none clears the plot."""
        self._curves, self._labels = dict(curves), dict(labels)
        self._draw()

    def _on_theme(self, event: Any = None) -> None:
        if isalive(self):
            self._draw()

    def _draw(self) -> None:
        theme = theme_type(self._viewer)
        curve_figure(
            self._curves,
            metric=self._metric,  # type: ignore[arg-type]
            labels=self._labels,
            theme=theme,  # type: ignore[arg-type]
            title=self._metric,
            legend="none",
            figure=self.figure,
        )
        background = get_theme(self._viewer.theme).background.as_hex()
        self.figure.set_facecolor(background)
        axes = self.figure.axes[0]
        axes.set_xlabel("Information revealed (normalised)", fontsize=8)
        axes.set_ylabel("Accuracy" if self._metric == "AIC" else "Softmax", fontsize=8)
        for text in list(axes.texts):
            text.set_fontsize(8)
            if not self._curves:
                text.remove()
        self._canvas.draw_idle()


def theme_type(viewer: Any) -> str:
    """Return ``dark`` or ``light``, whichever napari's theme is."""
    return "light" if get_theme(viewer.theme).type == "light" else "dark"


def line_icon(method: str, methods: tuple[str, ...], theme: str) -> QIcon:
    """Draw a method's line, as the plot draws it, for a table."""
    style = line_styles(methods, theme=theme)[method]  # type: ignore[arg-type]
    pixmap = QPixmap(*ICON)
    pixmap.fill(Qt.GlobalColor.transparent)
    pen = QPen(QColor(style.colour), 2)
    if style.dashes[1]:
        pen.setDashPattern([float(v) for v in style.dashes[1]])
        pen.setCapStyle(Qt.PenCapStyle.FlatCap)
    painter = QPainter(pixmap)
    painter.setPen(pen)
    painter.drawLine(0, ICON[1] // 2, ICON[0], ICON[1] // 2)
    painter.end()
    return QIcon(pixmap)
