"""The dock Explain: runs the engine and lays its maps over the study."""

from __future__ import annotations

from typing import Any

from napari.layers import Image
from napari.utils.notifications import show_error, show_info
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget
from superqt import QLabeledSlider

from napari_medxai.errors import MedXAIError
from napari_medxai.results import Explanation

from ._dock import Dock
from ._widgets import ProbabilityBars
from .catalogue import Catalogue, catalogue_job
from .choices import Choices
from .jobs import explain_job
from .layers import KEY, map_to_layer
from .overlays import apply_look, layer_name, look
from .studies import (
    OpenStudy,
    current_slice,
    on_slider,
    show_slice,
    slice_name,
    transform_of,
)
from .styling import plain, role_of, show_plane

__all__ = ["ExplainDock"]

CHECKED = ("gradcam", "scorecam", "xrai")
PERCENTILE, OPACITY = 90, 55
COLOURBAR = (14, 150)
COLOURBAR_FONT = 7


class ExplainDock(Dock):
    """Explain the open study.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer, "Explain")
        self.choices = Choices(napari_viewer, CHECKED)
        self.probabilities = ProbabilityBars()
        self.shown = QComboBox()
        self.shown.setMinimumContentsLength(8)
        self.shown.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.threshold = _slider("Hide this share of the pixels, in %", PERCENTILE)
        self.opacity = _slider("Opacity", OPACITY)
        self._build()
        self._classes: tuple[str, ...] = ()
        self._maps: list[tuple[Any, Explanation]] = []
        self._run: list[Explanation] = []
        self._connect()
        self.run_row.run.setEnabled(False)
        self._loader.start(catalogue_job, exclusive=False)

    def _build(self) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.addWidget(self.choices, 1)
        layout.addWidget(self.probabilities)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Map shown", self.shown)
        form.addRow("Hide lowest %", self.threshold)
        form.addRow("Opacity %", self.opacity)
        layout.addLayout(form)
        self._lay_out(inner)
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
        self.choices.problem.connect(self._fail)
        self.shown.currentIndexChanged.connect(self._on_shown)
        self.threshold.valueChanged.connect(self._on_threshold)
        self.opacity.valueChanged.connect(self._on_opacity)
        self._viewer.dims.events.current_step.connect(self._on_step)
        self._viewer.dims.events.order.connect(self._on_step)

    @property
    def maps(self) -> list[Any]:
        """The layers of the study's maps, those of earlier runs first."""
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
        opened = request.opened
        assert opened is not None  # the form asks for one
        self._run = []
        self._begin(opened)
        self._fill_shown()
        if opened.foreign:
            show_info(opened.study.notes[0])
        labels = {name: self.choices.label(name) for name in request.methods}
        count = opened.study.slices if opened.study.is_volume else 0
        slices = {i: slice_name(self._viewer, opened, i) for i in range(count)}
        self.runner.start(explain_job(request, labels, slices))

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
        label = self.choices.label(explanation.method)
        case = _case(opened)
        name = layer_name(explanation, label, case)
        data, arguments, _ = map_to_layer(opened.study, explanation.map, name)
        arguments |= transform_of(opened.layer)
        arguments["metadata"] = {
            KEY: {
                "role": "map",
                "explanation": explanation,
                "identifier": case,
                "label": label,
                "classes": self._classes,
            }
        }
        first = not self._run
        if first:
            for earlier in self.maps:
                earlier.visible = False
        was_shown = self._remove_old(explanation, case)
        layer = Image(
            data,
            visible=first or was_shown,
            opacity=self.opacity.value() / 100,
            **arguments,
        )
        self._viewer.layers.insert(self._place(case), layer)
        layer.colorbar.size = COLOURBAR
        layer.colorbar.font_size = COLOURBAR_FONT
        layer.colorbar.visible = layer.visible
        layer.events.visible.connect(_colorbar_follows)
        apply_look(layer, look(explanation.map, self.threshold.value()))
        self._keep_study_active(opened)
        self._run.append(explanation)
        if first:
            self._bring_into_view(opened, explanation)
        self._fill_shown()
        self._show_probabilities()

    def _on_ended(self, how: str, text: str) -> None:
        self.run_row.set_running(False)
        if how == "failed":
            self._fail(text)
        elif how == "cancelled" and self._why:
            self.run_row.status.setText(f"Cancelled: {self._why}")
        elif how == "cancelled":
            done = len(self._run)
            kept = f" {done} finished map{'s' * (done != 1)} kept." if done else ""
            self.run_row.status.setText(f"Cancelled.{kept}")
        else:
            self.run_row.bar.setValue(self.run_row.bar.maximum())
            self.run_row.status.setText(self._summary())

    def _summary(self) -> str:
        constant = [
            self.choices.label(e.method)
            for e in self._run
            if look(e.map, self.threshold.value()).constant
        ]
        count = len(self._run)
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

    def _remove_old(self, explanation: Explanation, case: str) -> bool:
        """Drop the map that this one replaces; return whether it was visible."""
        was_shown = False
        for layer in list(self._viewer.layers):
            entry = role_of(layer)
            before = entry.get("explanation")
            if (
                isinstance(before, Explanation)
                and entry.get("identifier") == case
                and (before.method, before.target_class, before.slices)
                == (explanation.method, explanation.target_class, explanation.slices)
            ):
                was_shown = was_shown or layer.visible
                self._viewer.layers.remove(layer)
        return was_shown

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
        """Offer every map of the study, chosen the one that is visible."""
        self._maps = [] if self._opened is None else self._maps_of(self._opened)
        visible = [layer.visible for layer in self.maps] + [True]
        self.shown.blockSignals(True)
        self.shown.clear()
        for number, (_, explanation) in enumerate(self._maps):
            text = self._describe(explanation)
            self.shown.addItem(text)
            self.shown.setItemData(number, text, Qt.ItemDataRole.ToolTipRole)
        if self._maps:
            self.shown.addItem("none")
            self.shown.setCurrentIndex(visible.index(True))
        self.shown.blockSignals(False)
        self._set_maps_enabled(bool(self._maps))

    def _maps_of(self, opened: OpenStudy) -> list[tuple[Any, Explanation]]:
        found = []
        for layer in self._viewer.layers:
            entry = role_of(layer)
            explanation = entry.get("explanation")
            if isinstance(explanation, Explanation) and (
                entry.get("identifier") == _case(opened)
            ):
                found.append((layer, explanation))
        return found

    def _describe(self, explanation: Explanation) -> str:
        """Say of a map: method, class, slice."""
        text = f"{self.choices.label(explanation.method)} → "
        same = len(set(explanation.targets)) == 1
        text += explanation.target_class if same else "predicted class"
        if self._opened is not None and len(explanation.slices) == 1:
            where = slice_name(self._viewer, self._opened, explanation.slices[0])
            return f"{text}, {where}"
        return text + f", {len(explanation.slices)} slices" * bool(explanation.slices)

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
        super()._on_removed(event)
        if isalive(self):
            self._fill_shown()

    def _on_step(self, event: Any = None) -> None:
        if isalive(self):
            self._show_probabilities()

    def _show_probabilities(self) -> None:
        """Show the network's answer for the slice on screen, if it was asked."""
        if not self._maps or self._opened is None or self._opened.layer is None:
            return
        index = min(max(0, self.shown.currentIndex()), len(self._maps) - 1)
        layer, explanation = self._maps[index]
        row, where = 0, ""
        self.probabilities.setVisible(True)
        if explanation.slices:
            current = current_slice(self._viewer, self._opened)
            if current in explanation.slices:
                row = explanation.slices.index(current)
            elif on_slider(self._viewer, self._opened):
                name = slice_name(self._viewer, self._opened, current)
                self.probabilities.show_nothing(
                    f"{name[0].upper()}{name[1:]}: this slice was not explained."
                )
                return
            shown = slice_name(self._viewer, self._opened, explanation.slices[row])
            where = f", {shown}"
        self.probabilities.show_probabilities(
            role_of(layer)["classes"],
            [float(p) for p in explanation.probabilities[row]],
            target=explanation.targets[row],
            title=f"The network's answer{where} (bold: class explained)",
        )


def _case(opened: OpenStudy) -> str:
    """Name of the study that its maps carry."""
    return opened.study.identifier or str(plain(opened.layer).name)


def _colorbar_follows(event: Any) -> None:
    event.source.colorbar.visible = event.source.visible


def _slider(name: str, value: int) -> QLabeledSlider:
    slider = QLabeledSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, 99 if name.startswith("Hide") else 100)
    slider.setValue(value)
    slider.setAccessibleName(name)
    slider.setToolTip(name)
    return slider
