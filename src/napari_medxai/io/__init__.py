"""Files to studies: raster images, NIfTI, DICOM series, and their masks."""

from __future__ import annotations

from .cases import Case, CaseList, Skipped, find_cases, load_case
from .formats import is_mask_name
from .masks import find_masks
from .opening import load_study, series

__all__ = [
    "Case",
    "CaseList",
    "Skipped",
    "find_cases",
    "find_masks",
    "is_mask_name",
    "load_case",
    "load_study",
    "series",
]
