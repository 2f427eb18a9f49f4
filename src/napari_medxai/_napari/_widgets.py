"""Small widgets both docks use: the method list, the run row, probability bars."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from .catalogue import FAMILIES, MethodEntry

__all__ = [
    "FolderRow",
    "MethodList",
    "ProbabilityBars",
    "RunRow",
    "fit_width",
    "research_label",
]

NAME = Qt.ItemDataRole.UserRole
STEPS = 1000


def research_label() -> QLabel:
    """Return the line that stands on every result."""
    label = QLabel("For research use only. Not for diagnosis.")
    label.setWordWrap(True)
    label.setStyleSheet("font-style: italic;")
    return label


def fit_width(area: QScrollArea, inner: QWidget) -> None:
    """Put a dock's content into its scroll area, which scrolls downwards only."""
    area.setWidgetResizable(True)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inner)
    bar = area.verticalScrollBar()
    width = bar.sizeHint().width() if bar is not None else 0
    area.setMinimumWidth(max(300, inner.minimumSizeHint().width()) + width)


class FolderRow(QWidget):
    """A folder, and a button to choose it."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.path: Path | None = None
        self._title = title
        self._name = QLabel("not chosen")
        self._button = QPushButton("Choose…")
        self._button.setAccessibleName(title)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._name, 1)
        layout.addWidget(self._button)
        self._button.clicked.connect(self._on_clicked)

    def set_path(self, path: Path) -> None:
        """Choose a folder."""
        self.path = path
        self._name.setText(path.name or str(path))
        self._name.setToolTip(str(path))

    def _on_clicked(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self._title)
        if chosen:
            self.set_path(Path(chosen))


class MethodList(QTreeWidget):
    """Saliency methods by family, to be checked."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setHeaderHidden(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setMinimumHeight(120)
        self.setAccessibleName("Saliency methods")
        self.itemChanged.connect(self._on_item)

    def fill(self, methods: Iterable[MethodEntry], checked: Sequence[str]) -> None:
        """Show these methods, with some of them checked."""
        self.blockSignals(True)
        self.clear()
        families: dict[str, QTreeWidgetItem] = {}
        for method in methods:
            if method.family not in families:
                title = FAMILIES.get(method.family, method.family)
                parent = QTreeWidgetItem(self, [title])
                parent.setFlags(
                    Qt.ItemFlag.ItemIsEnabled
                    | Qt.ItemFlag.ItemIsUserCheckable
                    | Qt.ItemFlag.ItemIsAutoTristate
                )
                families[method.family] = parent
            item = QTreeWidgetItem(families[method.family], [method.label])
            item.setData(0, NAME, method.name)
            item.setToolTip(0, method.tooltip)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            state = method.name in checked
            item.setCheckState(
                0, Qt.CheckState.Checked if state else Qt.CheckState.Unchecked
            )
        self.blockSignals(False)
        self.expandAll()
        self.changed.emit()

    def names(self) -> tuple[str, ...]:
        """Names of the checked methods, in the list's order."""
        return tuple(
            item.data(0, NAME)
            for item in self._items()
            if item.checkState(0) == Qt.CheckState.Checked
        )

    def check(self, names: Sequence[str]) -> None:
        """Check exactly these methods."""
        for item in self._items():
            state = item.data(0, NAME) in names
            item.setCheckState(
                0, Qt.CheckState.Checked if state else Qt.CheckState.Unchecked
            )

    def _items(self) -> list[QTreeWidgetItem]:
        result = []
        for row in range(self.topLevelItemCount()):
            parent = self.topLevelItem(row)
            if parent is not None:
                result += [parent.child(i) for i in range(parent.childCount())]
        return [item for item in result if item is not None]

    def _on_item(self) -> None:
        self.changed.emit()


class RunRow(QWidget):
    """Run and Cancel, a progress bar with the time left, and a line of status."""

    def __init__(self, verb: str = "Run") -> None:
        super().__init__()
        self.run = QPushButton(verb)
        self.cancel = QPushButton("Cancel")
        self.bar = QProgressBar()
        self.bar.setRange(0, STEPS)
        self.bar.setTextVisible(True)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
        )
        self.status.setMinimumHeight(2 * self.status.fontMetrics().lineSpacing())
        self.status.setAlignment(Qt.AlignmentFlag.AlignTop)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run)
        buttons.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        self._began = 0.0
        self.set_running(False)

    def set_running(self, running: bool) -> None:
        """Enable what makes sense, and start the clock."""
        self.run.setEnabled(not running)
        self.cancel.setEnabled(running)
        self._began = time.monotonic()
        self.bar.setRange(0, STEPS)
        self.bar.setValue(0)
        self.bar.setFormat("")

    def show_progress(self, fraction: float, text: str) -> None:
        """Show how far the work is; below zero is a bar that only moves."""
        self.status.setText(text)
        if fraction < 0:
            self.bar.setRange(0, 0)
            self._began = time.monotonic()
            return
        self.bar.setRange(0, STEPS)
        self.bar.setValue(round(STEPS * fraction))
        elapsed = time.monotonic() - self._began
        left = ""
        if fraction > 0.02 and elapsed > 1:
            left = f" · {duration(elapsed * (1 - fraction) / fraction)} left"
        self.bar.setFormat(f"{fraction:.0%}{left}")


def duration(seconds: float) -> str:
    """Return a time for people: 8 s, 3 min, 1 h 05 min."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return (
        f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
    )


class ProbabilityBars(QWidget):
    """The network's answer: a bar for each class."""

    def __init__(self) -> None:
        super().__init__()
        self._title = QLabel("Class probabilities")
        self._title.setWordWrap(True)
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._title)
        layout.addLayout(self._grid)
        self._rows: list[tuple[QLabel, QProgressBar, QLabel]] = []

    def show_probabilities(
        self,
        classes: Sequence[str],
        probabilities: Sequence[float],
        *,
        target: int,
        title: str,
    ) -> None:
        """Show one bar a class, the class explained in bold."""
        self._title.setText(title)
        self._set_rows(len(classes))
        for i, (name, bar, value) in enumerate(self._rows):
            name.setText(classes[i])
            bar.setValue(round(STEPS * float(probabilities[i])))
            value.setText(f"{float(probabilities[i]):.3f}")
            for label in (name, value):
                font = label.font()
                font.setBold(i == target)
                label.setFont(font)

    def show_nothing(self, title: str) -> None:
        """Show no bars, and why."""
        self._title.setText(title)
        self._set_rows(0)

    @property
    def title(self) -> str:
        """What stands over the bars."""
        return self._title.text()

    def texts(self) -> list[tuple[str, str]]:
        """Return what the rows say: class and probability."""
        return [(name.text(), value.text()) for name, _, value in self._rows]

    def _set_rows(self, count: int) -> None:
        while len(self._rows) > count:
            for widget in self._rows.pop():
                self._grid.removeWidget(widget)
                widget.deleteLater()
        while len(self._rows) < count:
            name, bar, value = QLabel(), QProgressBar(), QLabel()
            bar.setRange(0, STEPS)
            bar.setTextVisible(False)
            bar.setFixedHeight(max(8, bar.fontMetrics().height() - 4))
            bar.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            row = len(self._rows)
            self._grid.addWidget(name, row, 0)
            self._grid.addWidget(bar, row, 1)
            self._grid.addWidget(value, row, 2)
            self._rows.append((name, bar, value))
