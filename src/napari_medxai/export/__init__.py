"""Saliency maps as files for other programs: NIfTI, DICOM, pictures.

Each function takes a study and an :class:`~napari_medxai.results.Explanation` of it;
:func:`explanation_of` makes one of a bare array. Every file says "research use only".
DICOM files carry a pseudonym unless `identify` is true.
"""

from __future__ import annotations

from .files import KINDS, ExportOptions, export_token, exported
from .nifti import nifti_bytes, nifti_image
from .parametric_map import parametric_map
from .saving import (
    save_nifti,
    save_parametric_map,
    save_png,
    save_secondary_captures,
    save_segmentation,
)
from .secondary_capture import secondary_captures
from .segmentation import check_percentile, segmentation, strongest
from .subject import explanation_of, explanations_of

__all__ = [
    "KINDS",
    "ExportOptions",
    "check_percentile",
    "explanation_of",
    "explanations_of",
    "export_token",
    "exported",
    "nifti_bytes",
    "nifti_image",
    "parametric_map",
    "save_nifti",
    "save_parametric_map",
    "save_png",
    "save_secondary_captures",
    "save_segmentation",
    "secondary_captures",
    "segmentation",
    "strongest",
]
