"""The form both docks share: study, model, class, slices and methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medxai.errors import ModelError, UsageError

from ._widgets import MethodList
from .catalogue import Catalogue, ModelEntry, model_entry
from .studies import OpenStudy, current_slice, is_explainable, open_study_of
from .styling import plain, role_of

__all__ = ["Choices", "Request"]

PREDICTED = "predicted"
SLICES = (
    ("current slice", "current"),
    ("slices with lesion", "mask"),
    ("middle slice", "middle"),
    ("all slices", "all"),
)


@dataclass(frozen=True)
class Request:
    """What the form asks for.

    Attributes
    ----------
    opened : OpenStudy or None
        None where no study is needed.
    model : str
        The model folder's path.
    target : str
        ``predicted`` or a class.
    slices : str, tuple of int or None
        As the engine takes it.
    methods : tuple of str
    """

    opened: OpenStudy | None
    model: str
    target: str
    slices: str | tuple[int, ...] | None
    methods: tuple[str, ...]


class Choices(QWidget):
    """Study, model, class, slices and methods.

    Parameters
    ----------
    viewer : napari.Viewer
    checked : sequence of str
        Methods that are checked at first.

    Signals
    -------
    study_changed()
    problem(str)
        Something the user chose cannot be used.
    """

    study_changed = Signal()
    problem = Signal(str)

    def __init__(self, viewer: Any, checked: Sequence[str]) -> None:
        super().__init__()
        self._viewer = viewer
        self._checked = tuple(checked)
        self._catalogue: Catalogue | None = None
        self._layers: list[Any] = []
        self._of_folder = False
        self.study, self.model = _combo("Study"), _combo("Model")
        self.target, self.slices = _combo("Class to explain"), _combo("Slices")
        self.methods = MethodList()
        self.folder = QPushButton("Folder…")
        self.folder.setToolTip("Choose a model folder: model.json, weights.safetensors")
        for text, value in SLICES:
            self.slices.addItem(text, value)
        self.form = QFormLayout()
        self.form.setContentsMargins(0, 0, 0, 0)
        self.form.setFieldGrowthPolicy(
            QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow
        )
        row = QHBoxLayout()
        row.addWidget(self.model, 1)
        row.addWidget(self.folder)
        self.form.addRow("Study", self.study)
        self.form.addRow("Model", row)
        self.form.addRow("Class", self.target)
        self.form.addRow("Slices", self.slices)
        self._methods_label = QLabel("Methods")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self.form)
        layout.addWidget(self._methods_label)
        layout.addWidget(self.methods, 1)
        self.target.addItem("predicted class", PREDICTED)
        self.study.currentIndexChanged.connect(self._on_study)
        self.model.currentIndexChanged.connect(self._on_model)
        self.folder.clicked.connect(self._on_folder)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        viewer.layers.selection.events.active.connect(self._on_active)
        self._on_layers()

    def set_catalogue(self, catalogue: Catalogue) -> None:
        """Fill the lists."""
        self._catalogue = catalogue
        self.methods.fill(catalogue.methods, self._checked)
        for entry in catalogue.models:
            self._add_model(entry)

    def add_model_folder(self, folder: Path) -> None:
        """Offer a model folder and choose it.

        Raises
        ------
        ModelError
            If it is none.
        """
        entry = model_entry(folder)
        for index in range(self.model.count()):
            if self.model.itemData(index).path == entry.path:
                self.model.setCurrentIndex(index)
                return
        self._add_model(entry)
        self.model.setCurrentIndex(self.model.count() - 1)

    def set_for_folder(self, of_folder: bool) -> None:
        """Offer what makes sense for a folder: no current slice."""
        model: Any = self.slices.model()
        index = self.slices.findData("current")
        model.item(index).setEnabled(not of_folder)
        self._of_folder = of_folder
        if of_folder and self.slices.currentIndex() == index:
            self.slices.setCurrentIndex(self.slices.findData("middle"))
        self._on_study()

    def request(self, *, need_study: bool = True) -> Request:
        """Return what the form asks for now.

        Raises
        ------
        UsageError, StudyError
            If something is missing; the text says what.
        """
        opened = self.current_study() if need_study else None
        if need_study and opened is None:
            raise UsageError(
                "No study is open. Open an image, or take one from File > Open Sample."
            )
        entry = self.current_model()
        if entry is None:
            raise UsageError("No model is chosen. Choose a model folder.")
        methods = self.methods.names()
        if not methods:
            raise UsageError("No method is checked. Check at least one.")
        slices: str | tuple[int, ...] | None = self.slices.currentData()
        image = need_study and (opened is None or not opened.study.is_volume)
        if image or entry.volumetric:
            slices = None
        elif opened is not None and slices == "current":
            slices = (current_slice(self._viewer, opened),)
        return Request(
            opened=opened,
            model=entry.path,
            target=str(self.target.currentData()),
            slices=slices,
            methods=methods,
        )

    def current_study(self) -> OpenStudy | None:
        """Return the study chosen, None where none is open."""
        layer = self._layer()
        return None if layer is None else open_study_of(layer)

    def current_model(self) -> ModelEntry | None:
        """Return the model chosen, None where there is none."""
        entry = self.model.currentData()
        return entry if isinstance(entry, ModelEntry) else None

    def label(self, method: str) -> str:
        """Return the name on screen of a method."""
        return method if self._catalogue is None else self._catalogue.label(method)

    def _layer(self) -> Any:
        index = self.study.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def _on_layers(self, event: Any = None) -> None:
        if not isalive(self):
            return
        before = self._layer()
        self._layers = [one for one in self._viewer.layers if is_explainable(one)]
        for one in self._layers:
            one.events.name.connect(self._on_layers)
        inserted = getattr(event, "type", "") == "inserted"
        wanted = event.value if inserted else before
        if not any(one is wanted for one in self._layers):
            wanted = before
        self.study.blockSignals(True)
        self.study.clear()
        self.study.addItems([one.name for one in self._layers])
        for index, one in enumerate(self._layers):
            if one is wanted:
                self.study.setCurrentIndex(index)
        self.study.blockSignals(False)
        if self._layer() is not before or event is None:
            self._on_study()

    def _on_active(self, event: Any = None) -> None:
        if not isalive(self):
            return
        active = plain(self._viewer.layers.selection.active)
        for index, one in enumerate(self._layers):
            if one is active:
                self.study.setCurrentIndex(index)

    def _on_study(self) -> None:
        layer = self._layer()
        self.study.setToolTip("" if layer is None else layer.name)
        volume = layer is not None and layer.ndim == 3
        self.slices.setEnabled(volume or self._of_folder)
        if volume or self._of_folder:
            self._offer_slices(None if self._of_folder else layer)
        self.study_changed.emit()

    def _offer_slices(self, layer: Any) -> None:
        """Offer the slices with lesion only where a mask may say which these are."""
        study = None if layer is None else role_of(layer).get("study")
        mask = None if study is None else study.mask
        has = layer is None or (mask is not None and bool(mask.any()))
        index = self.slices.findData("mask")
        model: Any = self.slices.model()
        item = model.item(index)
        item.setEnabled(has)
        item.setToolTip("" if has else "This study has no mask.")
        if not has and self.slices.currentIndex() == index:
            self.slices.setCurrentIndex(0)

    def _on_model(self) -> None:
        entry = self.current_model()
        chosen = self.target.currentData()
        self.target.clear()
        self.target.addItem("predicted class", PREDICTED)
        for name in entry.classes if entry is not None else ():
            self.target.addItem(name, name)
        self.target.setCurrentIndex(max(0, self.target.findData(chosen)))
        self.model.setToolTip("" if entry is None else entry.tooltip)

    def _on_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose a model folder")
        if chosen:
            try:
                self.add_model_folder(Path(chosen))
            except ModelError as error:
                self.problem.emit(str(error))

    def _add_model(self, entry: ModelEntry) -> None:
        self.model.addItem(entry.name, entry)


def _combo(name: str) -> QComboBox:
    combo = QComboBox()
    combo.setAccessibleName(name)
    combo.setMinimumContentsLength(8)
    combo.setSizeAdjustPolicy(
        QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    )
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo
