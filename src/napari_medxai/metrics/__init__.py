"""How far a saliency map can be trusted: information curves and localisation."""

from __future__ import annotations

from napari_medxai.metrics.aggregation import (
    Aggregate,
    Exclusion,
    aggregate,
    exclusions,
)
from napari_medxai.metrics.curve import InformationCurve, InformationCurves, Knots
from napari_medxai.metrics.entropy import webp_size
from napari_medxai.metrics.interpolation import blur, random_mask
from napari_medxai.metrics.localization import Localization, localize
from napari_medxai.metrics.pic import information_curves, prepare
from napari_medxai.metrics.prepared import PreparedImage, Revealed
from napari_medxai.metrics.presets import Preset, preset_names

__all__ = [
    "Aggregate",
    "Exclusion",
    "InformationCurve",
    "InformationCurves",
    "Knots",
    "Localization",
    "PreparedImage",
    "Preset",
    "Revealed",
    "aggregate",
    "blur",
    "exclusions",
    "information_curves",
    "localize",
    "prepare",
    "preset_names",
    "random_mask",
    "webp_size",
]
