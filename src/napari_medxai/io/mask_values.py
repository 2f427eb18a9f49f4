"""From the values of a picture or a NIfTI file to named masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from . import nifti, raster
from .formats import split_name
from .mask_grid import onto_grid, onto_raster
from .naming import shown

__all__ = ["Masks", "from_nifti", "from_raster"]

Masks = dict[str, NDArray[np.bool_]]

MAX_LABELS = 256
MAX_GREY_LABELS = 16
JPEG_LEVEL = 127
PROBABILITY = 0.5


def from_raster(study: Study, path: Path) -> tuple[Masks, tuple[str, ...]]:
    """Read a PNG, TIFF, BMP or JPEG mask.

    Returns
    -------
    masks : dict of str to bool ndarray
        "mask", set where any channel is not zero (JPEG: above 127); alpha does not
        count. A grey PNG, TIFF or BMP that is a label map gives "label 1",
        "label 2"...: it has 2 to 16 values beside 0, and each is either at most 16
        or fills a block of 3 x 3 pixels somewhere. The grey rims of a smoothed mask
        are no labels: they fill no block.
    notes : tuple of str
        Whether it was resampled.

    Raises
    ------
    StudyError
        Where it is damaged or shows another field of view.
    """
    array, _ = raster.read_pixels(path)
    lossy = split_name(path)[1] in {".jpg", ".jpeg"}
    labelled = array.ndim == 2 and not lossy and _is_label_map(array)
    if array.ndim == 3:
        array = array.max(axis=-1)
    values, note = onto_raster(study, path, array)
    notes = () if note is None else (note,)
    if labelled:
        return _split(values, np.unique(array[array != 0])), notes
    level = JPEG_LEVEL if lossy else 0
    return {"mask": np.asarray(values > level)}, notes


def _is_label_map(array: NDArray[Any]) -> bool:
    values = np.unique(array)
    values = values[values != 0]
    if not 2 <= values.size <= MAX_GREY_LABELS:
        return False
    if values.max() <= MAX_GREY_LABELS and values.min() > 0:
        return bool((values == np.round(values)).all())
    return all(
        bool(minimum_filter(array == value, size=3, mode="constant").any())
        for value in values
    )


def from_nifti(study: Study, path: Path) -> tuple[Masks, tuple[str, ...]]:
    """Read a NIfTI label or probability map.

    Returns
    -------
    masks : dict of str to bool ndarray
        On the study's grid. A map with several labels gives "label 1", "label 2"...;
        a single label is "mask". A map of fractions between 0 and 1 is "mask" where
        it reaches one half.
    notes : tuple of str
        What was resampled, thresholded, or trusted.

    Raises
    ------
    StudyError
        Where it is damaged, holds neither labels nor probabilities, or does not meet
        the image.
    """
    volume = nifti.read_volume(path)
    finite = volume.array[np.isfinite(volume.array)]
    labels = np.unique(finite)
    fractions = bool((labels != np.round(labels)).any())
    linear = fractions and labels[0] >= 0 and labels[-1] <= 1
    if (fractions and not linear) or (not linear and labels.size > MAX_LABELS):
        raise StudyError(
            f"{shown(path, 'its mask')}: has {labels.size} different values between "
            f"{labels[0]:g} and {labels[-1]:g}; a mask has whole-numbered labels, or "
            "probabilities between 0 and 1. "
            "Threshold it first, or open the image without masks (masks='none')."
        )
    values, note = onto_grid(
        study, path, volume.array, volume.affine_lps, linear=linear
    )
    notes = [] if note is None else [note]
    if volume.affine_lps is None or study.affine_lps is None:
        notes.append(
            "mask and image do not both say how they lie in the patient; their equal "
            "shape was trusted"
        )
    if linear:
        notes.append("a map of probabilities: set where it is at least 0.5")
        return {"mask": np.asarray(values >= PROBABILITY)}, tuple(notes)
    return _split(values, labels[labels != 0]), tuple(notes)


def _split(values: NDArray[Any], labels: NDArray[Any]) -> Masks:
    """One mask for each label of the file, also where it ends outside the image."""
    if labels.size == 0:
        return {"mask": np.zeros(values.shape, dtype=bool)}
    if labels.size == 1:
        return {"mask": np.asarray(values == labels[0])}
    return {f"label {int(value)}": np.asarray(values == value) for value in labels}
