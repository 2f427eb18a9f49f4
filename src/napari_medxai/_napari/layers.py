"""Studies and maps as napari layers: where a native voxel stands on screen.

Volumes with orientation are permuted and flipped, without resampling, to axes that
grow to (inferior, posterior, left), with positive scale in mm. World coordinates are
then ``(-z, y, x)`` of DICOM's patient system (x left, y posterior, z superior), so
that axial, coronal and sagittal views all follow radiological convention and studies
of one patient lie in one place. napari does not slice along oblique axes: a tilted
volume is shown de-obliqued, with its centre in its true place and its true affine in
the layer's metadata. Images with orientation are turned as on a radiologist's screen.
Without orientation the array stays as it is, in mm where the spacing is known and in
pixels where not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai.display import OPPOSITE, screen_codes
from napari_medxai.study import Study, spacing_of

__all__ = ["KEY", "LayerData", "Placement", "map_to_layer", "study_to_layers"]

LayerData = tuple[Any, dict[str, Any], str]

KEY = "medxai"
VOLUME_AXES = ("I", "P", "L")
NAMES = {"I": "inferior", "P": "posterior", "L": "left"}
# World coordinate along each display direction, from LPS millimetres.
WORLD = {"I": (2, -1.0), "P": (1, 1.0), "L": (0, 1.0)}
PERCENTILES = (0.5, 99.8)
SAMPLE = 2_000_000
MASK_COLOURS = ("#00e5ff", "#ffd400", "#7CFC00", "#ff5ac8")


@dataclass(frozen=True)
class Placement:
    """How a study's spatial axes become a layer's, and back.

    Attributes
    ----------
    order : tuple of int
        Native axis shown along each display axis.
    flips : tuple of bool
        Whether the display axis runs against the native one.
    scale, translate : tuple of float
        Of the display axes, in `units`.
    units, axis_labels : tuple of str
    shape : tuple of int
        Spatial shape on display.
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]
    scale: tuple[float, ...]
    translate: tuple[float, ...]
    units: tuple[str, ...]
    axis_labels: tuple[str, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, study: Study) -> Placement:
        """Work out where a study's voxels stand."""
        if study.affine_lps is None or study.codes is None:
            return cls._unoriented(study)
        codes = study.codes
        axes: tuple[str, ...]
        if study.is_volume:
            axes, first = VOLUME_AXES, 0
        else:
            axes, first = screen_codes(study.codes), 1
        order = tuple(_axis_of(codes, axis) - first for axis in axes)
        flips = tuple(
            codes[native + first] != axis
            for native, axis in zip(order, axes, strict=True)
        )
        spacing = spacing_of(study.affine_lps)[first:]
        scale = tuple(spacing[native] for native in order)
        shape = tuple(study.shape[native] for native in order)
        middle = np.zeros(4)
        middle[first:3] = (np.array(study.shape) - 1) / 2
        middle[3] = 1
        centre = study.affine_lps @ middle
        translate = tuple(
            float(WORLD[axis][1] * centre[WORLD[axis][0]] - step * (count - 1) / 2)
            for axis, step, count in zip(axes, scale, shape, strict=True)
        )
        return cls(
            order=order,
            flips=flips,
            scale=scale,
            translate=translate,
            units=("mm",) * len(axes),
            axis_labels=tuple(NAMES[axis] for axis in axes),
            shape=shape,
        )

    @classmethod
    def _unoriented(cls, study: Study) -> Placement:
        ndim = len(study.shape)
        known = study.spacing is not None
        return cls(
            order=tuple(range(ndim)),
            flips=(False,) * ndim,
            scale=study.spacing if study.spacing is not None else (1.0,) * ndim,
            translate=(0.0,) * ndim,
            units=("mm" if known else "pixel",) * ndim,
            axis_labels=("slice", "row", "column")[-ndim:],
            shape=study.shape,
        )

    @property
    def slice_axis(self) -> int | None:
        """Display axis along which the native slices lie; None for an image."""
        return self.order.index(0) if len(self.order) == 3 else None

    @property
    def view_order(self) -> tuple[int, ...]:
        """Order of the display axes that shows the native slices one by one."""
        axis = self.slice_axis
        rest = tuple(a for a in range(len(self.order)) if a != axis)
        return rest if axis is None else (axis, *rest)

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn a native array, colour last if any, for display; a view."""
        extra = tuple(range(len(self.order), array.ndim))
        turned = np.transpose(array, self.order + extra)
        return turned[tuple(slice(None, None, -1 if f else 1) for f in self.flips)]

    def back(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn a displayed array back to the native axes; a view."""
        array = array[tuple(slice(None, None, -1 if f else 1) for f in self.flips)]
        extra = tuple(range(len(self.order), array.ndim))
        return np.transpose(array, tuple(np.argsort(self.order)) + extra)

    def to_display(self, native: Sequence[float]) -> tuple[float, ...]:
        """Display index of a native voxel index."""
        return tuple(
            (count - 1 - native[axis]) if flip else native[axis]
            for axis, flip, count in zip(
                self.order, self.flips, self.shape, strict=True
            )
        )

    def to_native(self, display: Sequence[float]) -> tuple[float, ...]:
        """Native index of a displayed voxel index; the inverse of `to_display`."""
        native = [0.0] * len(self.order)
        for position, flip, count, axis in zip(
            display, self.flips, self.shape, self.order, strict=True
        ):
            native[axis] = count - 1 - position if flip else position
        return tuple(native)

    def arguments(self) -> dict[str, Any]:
        """Return the layer's geometry, as keyword arguments of a napari layer."""
        return {
            "scale": self.scale,
            "translate": self.translate,
            "units": self.units,
            "axis_labels": self.axis_labels,
        }


def study_to_layers(study: Study) -> list[LayerData]:
    """Turn a study into layers: its pixels, then its masks in the same place.

    Parameters
    ----------
    study : Study

    Returns
    -------
    list of LayerData
        An image layer named after the study's identifier, with the study in
        ``metadata["medxai"]["study"]``, and a labels layer for each mask.
    """
    placement = Placement.of(study)
    role = {
        "role": "study",
        "study": study,
        "placement": placement,
        "affine_lps": study.affine_lps,
    }
    image: dict[str, Any] = {
        "name": study.identifier or study.source.name,
        "metadata": {KEY: role},
        "rgb": study.colour,
        **placement.arguments(),
    }
    if not study.colour:
        image |= {"colormap": "gray", "contrast_limits": contrast_limits(study)}
    layers: list[LayerData] = [(placement.turn(study.array), image, "image")]
    for number, (name, mask) in enumerate(study.masks.items()):
        colour = MASK_COLOURS[number % len(MASK_COLOURS)]
        layers.append(
            (
                placement.turn(mask.astype(np.uint8)),
                {
                    "name": f"{name} · {image['name']}",
                    "metadata": {KEY: {"role": "mask", "identifier": image["name"]}},
                    "colormap": {0: "transparent", 1: colour, None: "transparent"},
                    "opacity": 1.0,
                    **placement.arguments(),
                },
                "labels",
            )
        )
    return layers


def map_to_layer(
    study: Study, saliency_map: NDArray[np.float32], name: str
) -> LayerData:
    """Turn a saliency map on the native grid into an image layer over its study.

    Parameters
    ----------
    study : Study
    saliency_map : ndarray of float32, shape of the study
        NaN where nothing was explained; stays NaN, which napari draws transparent.
    name : str
    """
    placement = Placement.of(study)
    return (
        placement.turn(saliency_map),
        {
            "name": name,
            "metadata": {KEY: {"role": "map"}},
            "blending": "translucent",
            "rgb": False,
            **placement.arguments(),
        },
        "image",
    )


def contrast_limits(study: Study) -> tuple[float, float]:
    """Return the header's window, or percentiles of the pixels."""
    if study.window is not None and study.window[1] > study.window[0]:
        return study.window
    if study.array.dtype == np.uint8:
        return (0.0, 255.0)
    flat = study.array.reshape(-1)
    sample = np.asarray(flat[:: max(1, flat.size // SAMPLE)], dtype=np.float64)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return (0.0, 1.0)
    low, high = (float(v) for v in np.percentile(sample, PERCENTILES))
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    return (low, high) if high > low else (low, low + 1.0)


def _axis_of(codes: Sequence[str], axis: str) -> int:
    return next(i for i, code in enumerate(codes) if code in (axis, OPPOSITE[axis]))
