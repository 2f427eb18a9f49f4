"""From a viewer's image layers to studies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from .layers import Placement
from .styling import role_of

__all__ = [
    "OpenStudy",
    "current_slice",
    "on_slider",
    "open_study_of",
    "show_slice",
    "slice_name",
    "transform_of",
]

TRANSFORM = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


@dataclass(frozen=True)
class OpenStudy:
    """An image layer that can be explained.

    Attributes
    ----------
    layer : napari.layers.Image
    study : Study
    foreign : bool
        Whether another reader opened it, so that its orientation is unknown.
    """

    layer: Any
    study: Study
    foreign: bool

    @property
    def placement(self) -> Placement:
        """Where the study's voxels stand in the layer."""
        return Placement.of(self.study)


def is_explainable(layer: Any) -> bool:
    """Whether a layer is an image of two or three dimensions and not a map."""
    return (
        isinstance(layer, Image)
        and not layer.multiscale
        and layer.ndim in (2, 3)
        and role_of(layer).get("role", "study") == "study"
    )


def open_study_of(layer: Any) -> OpenStudy:
    """Return the study behind a layer; one made of its pixels if we didn't open it.

    Raises
    ------
    StudyError
        If there are no pixels.
    """
    study = role_of(layer).get("study")
    if isinstance(study, Study):
        return OpenStudy(layer, study, foreign=False)
    array = np.asarray(layer.data)
    if layer.rgb:
        array = array[..., :3]
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.size == 0 or array.dtype.kind not in "uif":
        raise StudyError(f"{layer.name}: holds no numbers that can be explained.")
    study = Study(
        array=array,
        source=Path(layer.name),
        colour=bool(layer.rgb),
        identifier=layer.name,
        notes=("Not opened by napari-medxai: orientation and spacing are unknown.",),
    )
    return OpenStudy(layer, study, foreign=True)


def transform_of(layer: Any) -> dict[str, Any]:
    """Return where a layer stands now, for a layer to be laid over it."""
    return {name: getattr(layer, name) for name in TRANSFORM}


def current_slice(viewer: Any, opened: OpenStudy) -> int:
    """Index along the study's slice axis of what the viewer shows; 0 for an image."""
    axis = opened.placement.slice_axis
    if axis is None:
        return 0
    ndim = opened.layer.ndim
    point = tuple(viewer.dims.point[-ndim:])
    display = opened.layer.world_to_data(point)
    native = opened.placement.to_native(tuple(display))[0]
    return int(np.clip(round(float(native)), 0, opened.study.slices - 1))


def show_slice(viewer: Any, opened: OpenStudy, index: int) -> None:
    """Move the viewer to a slice of the study."""
    position = _position(viewer, opened)
    if position is not None:
        viewer.dims.set_point(position, _world_of(opened, index))


def on_slider(viewer: Any, opened: OpenStudy) -> bool:
    """Whether the viewer's slider goes through the study's own slices."""
    position = _position(viewer, opened)
    return position is not None and position not in viewer.dims.displayed


def slice_name(viewer: Any, opened: OpenStudy, index: int) -> str:
    """Name a slice for people, by napari's slider and by the array.

    The two differ where the display is flipped; the slider counts from 0 to the
    number it shows behind "of".
    """
    position = _position(viewer, opened)
    if position is None or not on_slider(viewer, opened):
        return f"array slice {index}"
    start, _, step = viewer.dims.range[position]
    shown = round((_world_of(opened, index) - start) / step)
    last = viewer.dims.nsteps[position] - 1
    return f"slice {shown} of {last} on screen (array slice {index})"


def _position(viewer: Any, opened: OpenStudy) -> int | None:
    """Axis of the viewer along which the study's slices lie."""
    axis = opened.placement.slice_axis
    return None if axis is None else viewer.dims.ndim - opened.layer.ndim + axis


def _world_of(opened: OpenStudy, index: int) -> float:
    """World coordinate of a slice along the study's slice axis."""
    middle = [(n - 1) / 2 for n in opened.study.shape]
    middle[0] = index
    world = opened.layer.data_to_world(opened.placement.to_display(middle))
    return float(world[opened.placement.slice_axis])
