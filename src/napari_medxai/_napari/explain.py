"""The dock Explain: runs the engine and lays its maps over the study."""

from __future__ import annotations

from typing import Any

from napari.layers import Image
from napari.utils.notifications import show_error, show_info
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledSlider

from napari_medxai.errors import MedXAIError
from napari_medxai.results import Explanation

from ._widgets import ProbabilityBars, RunRow, fit_width, research_label
from .catalogue import Catalogue, catalogue_job
from .choices import Choices
from .jobs import explain_job
from .layers import KEY, map_to_layer
from .overlays import apply_look, layer_name, look
from .runner import UNKNOWN, Runner
from .studies import OpenStudy, current_slice, show_slice, transform_of
from .styling import plain, role_of, show_plane, watch

__all__ = ["ExplainDock"]

CHECKED = ("gradcam", "scorecam", "xrai")
PERCENTILE, OPACITY = 90, 55
COLOURBAR = (14, 150)
COLOURBAR_FONT = 7


class ExplainDock(QScrollArea):
    """Explain the open study.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = napari_viewer
        watch(napari_viewer)
        self.choices = Choices(napari_viewer, CHECKED)
        self.run_row = RunRow("Explain")
        self.probabilities = ProbabilityBars()
        self.shown = QComboBox()
        self.shown.setMinimumContentsLength(8)
        self.shown.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.threshold = _slider("Hide this share of the pixels, in %", PERCENTILE)
        self.opacity = _slider("Opacity", OPACITY)
        self._build()
        self._opened: OpenStudy | None = None
        self._classes: tuple[str, ...] = ()
        self._maps: list[tuple[Any, Explanation]] = []
        self._loader, self.runner = Runner(), Runner()
        self._connect()
        self.run_row.run.setEnabled(False)
        self._loader.start(catalogue_job, exclusive=False)

    def _build(self) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.addWidget(self.choices, 1)
        layout.addWidget(self.run_row)
        layout.addWidget(self.probabilities)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Map shown", self.shown)
        form.addRow("Hide lowest %", self.threshold)
        form.addRow("Opacity %", self.opacity)
        layout.addLayout(form)
        layout.addWidget(research_label())
        fit_width(self, inner)
        self.probabilities.setVisible(False)
        self._set_maps_enabled(False)

    def _connect(self) -> None:
        self._loader.produced.connect(self._on_catalogue)
        self._loader.progressed.connect(self.run_row.show_progress)
        self._loader.ended.connect(self._on_loaded)
        self.runner.progressed.connect(self.run_row.show_progress)
        self.runner.produced.connect(self._on_explanation)
        self.runner.ended.connect(self._on_ended)
        self.run_row.run.clicked.connect(self.start)
        self.run_row.cancel.clicked.connect(self.cancel)
        self.choices.problem.connect(self._fail)
        self.shown.currentIndexChanged.connect(self._on_shown)
        self.threshold.valueChanged.connect(self._on_threshold)
        self.opacity.valueChanged.connect(self._on_opacity)
        self.destroyed.connect(self.runner.cancel)
        self.destroyed.connect(self._loader.cancel)
        self._viewer.dims.events.current_step.connect(self._on_step)
        self._viewer.layers.events.removed.connect(self._on_removed)

    @property
    def maps(self) -> list[Any]:
        """The layers of the last run's maps."""
        return [layer for layer, _ in self._maps]

    def start(self) -> None:
        """Run what the form asks for."""
        if self.runner.running:
            return
        try:
            request = self.choices.request()
        except MedXAIError as error:
            self._fail(str(error))
            return
        model = self.choices.current_model()
        self._classes = () if model is None else model.classes
        self._opened = request.opened
        self._maps = []
        self._fill_shown()
        if request.opened is not None and request.opened.foreign:
            show_info(request.opened.study.notes[0])
        labels = {name: self.choices.label(name) for name in request.methods}
        self.run_row.set_running(True)
        self.run_row.show_progress(UNKNOWN, "Starting")
        self.runner.start(explain_job(request, labels))

    def cancel(self) -> None:
        """Stop the run as soon as the engine comes up for air."""
        if self.runner.running:
            self.run_row.show_progress(UNKNOWN, "Cancelling")
            self.runner.cancel()

    def _on_catalogue(self, catalogue: object) -> None:
        if isinstance(catalogue, Catalogue):
            self.choices.set_catalogue(catalogue)

    def _on_loaded(self, how: str, text: str) -> None:
        self.run_row.set_running(False)
        if how == "failed":
            self._fail(text)
            return
        missing = self.choices.current_model() is None
        hint = " No model comes with this installation: choose a model folder."
        self.run_row.status.setText("Ready." + (hint if missing else ""))

    def _on_explanation(self, explanation: object) -> None:
        opened = self._opened
        if not isinstance(explanation, Explanation) or opened is None:
            return
        if not any(one is plain(opened.layer) for one in self._viewer.layers):
            self.cancel()  # the study was closed meanwhile
            return
        label = self.choices.label(explanation.method)
        case = opened.study.identifier or plain(opened.layer).name
        name = layer_name(explanation, label, case)
        data, arguments, _ = map_to_layer(opened.study, explanation.map, name)
        arguments |= transform_of(opened.layer)
        arguments["metadata"] = {
            KEY: {
                "role": "map",
                "explanation": explanation,
                "identifier": case,
                "label": label,
            }
        }
        first = not self._maps
        self._remove_old(explanation, case)
        layer = Image(
            data, visible=first, opacity=self.opacity.value() / 100, **arguments
        )
        self._viewer.layers.insert(self._place(case), layer)
        layer.colorbar.size = COLOURBAR
        layer.colorbar.font_size = COLOURBAR_FONT
        layer.colorbar.visible = True
        apply_look(layer, look(explanation.map, self.threshold.value()))
        self._keep_study_active(opened)
        self._maps.append((layer, explanation))
        if first:
            self._bring_into_view(opened, explanation)
        self._fill_shown()
        self._show_probabilities()

    def _on_ended(self, how: str, text: str) -> None:
        self.run_row.set_running(False)
        if how == "failed":
            self._fail(text)
        elif how == "cancelled":
            done = len(self._maps)
            kept = f" {done} finished map{'s' * (done != 1)} kept." if done else ""
            self.run_row.status.setText(f"Cancelled.{kept}")
        else:
            self.run_row.bar.setValue(self.run_row.bar.maximum())
            self.run_row.status.setText(self._summary())

    def _summary(self) -> str:
        constant = [
            self.choices.label(e.method)
            for _, e in self._maps
            if look(e.map, self.threshold.value()).constant
        ]
        count = len(self._maps)
        text = f"Done: {count} map{'s' * (count != 1)}."
        if constant:
            text += f" Constant, so it says nothing: {', '.join(constant)}."
        return text

    def _fail(self, text: str) -> None:
        self.run_row.status.setText(text)
        show_error(text)

    def _place(self, case: str) -> int:
        """Index for a new map: over the study and its maps, under its outlines."""
        for index, layer in enumerate(self._viewer.layers):
            entry = role_of(layer)
            if (entry.get("role"), entry.get("identifier")) == ("mask", case):
                return index
        return len(self._viewer.layers)

    def _remove_old(self, explanation: Explanation, case: str) -> None:
        """Drop the map of an earlier run that this one replaces."""
        for layer in list(self._viewer.layers):
            entry = role_of(layer)
            before = entry.get("explanation")
            if (
                isinstance(before, Explanation)
                and entry.get("identifier") == case
                and (before.method, before.target_class, before.slices)
                == (explanation.method, explanation.target_class, explanation.slices)
            ):
                self._viewer.layers.remove(layer)

    def _keep_study_active(self, opened: OpenStudy) -> None:
        self._viewer.layers.selection.active = plain(opened.layer)

    def _bring_into_view(self, opened: OpenStudy, explanation: Explanation) -> None:
        """Show a slice that was explained, if another one is on screen."""
        if not explanation.slices:
            return
        axis = opened.placement.slice_axis
        shift = self._viewer.dims.ndim - opened.layer.ndim
        if axis is not None and axis + shift in self._viewer.dims.displayed:
            show_plane(self._viewer, opened.layer, opened.placement)
        if current_slice(self._viewer, opened) not in explanation.slices:
            show_slice(
                self._viewer, opened, explanation.slices[len(explanation.slices) // 2]
            )

    def _fill_shown(self) -> None:
        index = max(0, self.shown.currentIndex())
        self.shown.blockSignals(True)
        self.shown.clear()
        for _, explanation in self._maps:
            self.shown.addItem(self.choices.label(explanation.method))
        if self._maps:
            self.shown.addItem("none")
            self.shown.setCurrentIndex(min(index, len(self._maps)))
        self.shown.blockSignals(False)
        self._set_maps_enabled(bool(self._maps))

    def _set_maps_enabled(self, enabled: bool) -> None:
        for widget in (self.shown, self.threshold, self.opacity):
            widget.setEnabled(enabled)

    def _on_shown(self, index: int) -> None:
        for i, (layer, _) in enumerate(self._maps):
            layer.visible = i == index
        self._show_probabilities()

    def _on_threshold(self, value: int) -> None:
        for layer, explanation in self._maps:
            apply_look(layer, look(explanation.map, value))

    def _on_opacity(self, value: int) -> None:
        for layer, _ in self._maps:
            layer.opacity = value / 100

    def _on_removed(self, event: Any = None) -> None:
        if not isalive(self):
            return
        there = [id(layer) for layer in self._viewer.layers]
        kept = [entry for entry in self._maps if id(entry[0]) in there]
        if len(kept) != len(self._maps):
            self._maps = kept
            self._fill_shown()

    def _on_step(self, event: Any = None) -> None:
        if isalive(self):
            self._show_probabilities()

    def _show_probabilities(self) -> None:
        """Show the network's answer for the slice on screen, if it was asked."""
        if not self._maps or self._opened is None or self._opened.layer is None:
            return
        index = min(max(0, self.shown.currentIndex()), len(self._maps) - 1)
        explanation = self._maps[index][1]
        row, where = 0, ""
        if explanation.slices:
            current = current_slice(self._viewer, self._opened)
            if current in explanation.slices:
                row = explanation.slices.index(current)
            where = f", array slice {explanation.slices[row]}"
        self.probabilities.setVisible(True)
        self.probabilities.show_probabilities(
            self._classes,
            [float(p) for p in explanation.probabilities[row]],
            target=explanation.targets[row],
            title=f"The network's answer{where} (bold: class explained)",
        )


def _slider(name: str, value: int) -> QLabeledSlider:
    slider = QLabeledSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, 99 if name.startswith("Hide") else 100)
    slider.setValue(value)
    slider.setAccessibleName(name)
    slider.setToolTip(name)
    return slider
