"""Ground truth on the study's own grid, from raster, NIfTI and DICOM SEG files.

A mask is taken only where its grid is proved to be the study's: the same shape, and,
where both say how they lie in the patient, the same affine once axes are permuted and
flipped. Nothing is resampled.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import StudyError
from napari_medxai.study import Study, spacing_of

from . import dicom_seg, mask_files, nifti, raster
from .dicom_series import scan
from .formats import KNOWN_EXTENSIONS, entries, exists, kind_of, split_name, walk
from .naming import printable, shown

__all__ = ["find_masks", "onto_grid"]

Masks = dict[str, NDArray[np.bool_]]

AFFINE_TOLERANCE = 1e-3
MAX_LABELS = 256
JPEG_LEVEL = 127


def find_masks(
    study: Study, how: str | Path | None = "auto"
) -> tuple[Masks, tuple[str, ...]]:
    """Find and read the masks of a study.

    Parameters
    ----------
    study : Study
        Its source, files and DICOM references say where to look.
    how : str, Path or None
        ``"auto"``: beside the image (see `mask_files.beside`), and DICOM SEG in the
        same folder that refer to the series; ``"none"`` or None: no masks; else a
        mask file, or a folder of masks.

    Returns
    -------
    masks : dict of str to bool ndarray
        On the study's grid. A raster mask is set where any channel is not zero
        (JPEG: above 127). A NIfTI label map with several labels gives "label 1",
        "label 2"...; a single label is "mask". A SEG gives its segments' labels.
    notes : tuple of str
        What was found and not used, and why; which file was taken where its name
        leaves a doubt. For DICOM without the names of files.

    Raises
    ------
    StudyError
        Where a mask is damaged or lies on another grid, or a named file or folder
        does not exist.
    """
    if how is None or how == "none":
        return {}, ()
    notes: list[str] = []
    if how == "auto":
        return _auto(study, notes), tuple(notes)
    place = Path(how).expanduser()
    if not exists(place):
        raise StudyError(
            f"{shown(place)}: there is no such mask file or folder for "
            f"{study.identifier}."
        )
    if place.is_file():
        return _read_all(study, [place], notes, demanded=True), tuple(notes)
    masks: Masks = {}
    if study.metadata.get("format") == "dicom":
        masks = _segments(study, walk(place), notes)
    if not masks:
        paths = mask_files.inside(_image_path(study), place)
        masks = _read_all(study, paths, notes, demanded=True)
    if not masks:
        notes.append(f"no mask for {study.identifier} in the folder of masks")
    return masks, tuple(notes)


def _image_path(study: Study) -> Path:
    """File whose name a mask would bear; a folder's own name for a DICOM folder."""
    return study.files[0] if len(study.files) == 1 else study.source


def _auto(study: Study, notes: list[str]) -> Masks:
    masks: Masks = {}
    if study.metadata.get("format") == "dicom":
        source = study.source
        files = walk(source) if source.is_dir() else _siblings(source)
        masks = _segments(study, files, notes)
    path = _image_path(study)
    if not masks and path.is_file():
        found = mask_files.beside(path)
        masks = _read_all(study, found.paths, notes)
        if masks and not found.plain:
            notes.extend(f"mask read from {_named(study, p)}" for p in found.paths)
    return masks


def _named(study: Study, path: Path) -> str:
    """Name a mask file in a note; not beside DICOM, where it can name the patient."""
    dicom = study.metadata.get("format") == "dicom"
    return "a file beside the image" if dicom else printable(path.name)


def _siblings(path: Path) -> list[Path]:
    return [other for other in entries(path.parent) if other.is_file()]


def _segments(study: Study, files: Iterable[Path], notes: list[str]) -> Masks:
    masks: Masks = {}
    own = set(study.files)
    candidates = [
        path
        for path in files
        if path not in own
        and (split_name(path)[1] not in KNOWN_EXTENSIONS or kind_of(path) == "dicom")
    ]
    for companion in scan(candidates).companions:
        series_uid = study.metadata["series_uid"]
        if companion.modality == "RTSTRUCT":
            if series_uid in companion.references or not companion.references:
                notes.append("an RTSTRUCT of the series is not read yet")
        elif companion.modality == "SEG" and (
            series_uid in companion.references or not companion.references
        ):
            _merge(masks, dicom_seg.read(companion.path, study, notes))
    return masks


def _read_all(
    study: Study, paths: Iterable[Path], notes: list[str], *, demanded: bool = False
) -> Masks:
    masks: Masks = {}
    several = len(paths := tuple(paths)) > 1
    for path in paths:
        if kind_of(path) == "dicom":
            found = dicom_seg.read(path, study, notes, demanded=demanded)
        else:
            found = _read_file(study, path, notes)
        # Beside DICOM a file's name can name the patient: masks are numbered.
        if several and study.metadata.get("format") != "dicom":
            stem = printable(split_name(path)[0])
            found = {
                stem if name == "mask" else f"{stem} {name}": mask
                for name, mask in found.items()
            }
        _merge(masks, found)
    return masks


def _merge(masks: Masks, new: Mapping[str, NDArray[np.bool_]]) -> None:
    for name, mask in new.items():
        number, unique = 1, name
        while unique in masks:
            number += 1
            unique = f"{name} {number}"
        masks[unique] = mask


def _read_file(study: Study, path: Path, notes: list[str]) -> Masks:
    kind = kind_of(path)
    if kind == "raster":
        array, _ = raster.read_pixels(path)
        level = JPEG_LEVEL if split_name(path)[1] in {".jpg", ".jpeg"} else 0
        mask: NDArray[np.bool_] = np.asarray(array > level)
        if array.ndim == 3:
            mask = np.asarray(mask.any(axis=-1))
        if mask.shape != study.shape:
            raise _other_grid(study, path, mask.shape, None)
        return {"mask": mask}
    if kind == "nifti":
        volume = nifti.read_volume(path)
        labels = onto_grid(study, path, volume.array, volume.affine_lps)
        if volume.affine_lps is None or study.affine_lps is None:
            notes.append(
                f"{_named(study, path)}: "
                f"mask and image do not both say how they lie in the "
                "patient; their equal shape was trusted"
            )
        return _labels(path, labels)
    raise StudyError(
        f"{shown(path, 'its mask')}: "
        f"is no mask that can be read; PNG, TIFF, NIfTI and DICOM SEG can."
    )


def _labels(path: Path, labels: NDArray[Any]) -> Masks:
    """Split a label map; its values are whole numbers, 0 is background."""
    values = np.unique(labels[np.isfinite(labels)])
    if not (values == np.round(values)).all() or values.size > MAX_LABELS:
        raise StudyError(
            f"{shown(path, 'its mask')}: has {values.size} different values between "
            f"{values.min():g} and {values.max():g}; a mask has whole-numbered labels. "
            "Threshold it first, or open the image without masks (masks='none')."
        )
    values = values[values != 0]
    if values.size <= 1:
        return {"mask": _equal(labels, values[0] if values.size else np.nan)}
    return {f"label {int(value)}": _equal(labels, value) for value in values}


def _equal(labels: NDArray[Any], value: float) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = np.asarray(labels == value)
    return equal


def onto_grid(
    study: Study,
    path: Path,
    labels: NDArray[Any],
    affine: NDArray[np.float64] | None,
) -> NDArray[Any]:
    """Bring a label volume onto the study's grid by permuting and flipping axes.

    Parameters
    ----------
    study : Study
        The grid wanted.
    path : Path
        For error texts.
    labels : ndarray, shape (k, j, i)
        Labels on their own grid.
    affine : ndarray, shape (4, 4), or None
        Of `labels`, (k, j, i, 1) to LPS mm.

    Returns
    -------
    ndarray
        Of the study's spatial shape.

    Raises
    ------
    StudyError
        Where no permutation and flip makes shape and affine equal to 1e-3. The text
        names both grids.
    """
    if labels.ndim != 3:
        raise StudyError(
            f"{shown(path, 'its mask')}: is in colour; a mask holds labels."
        )
    target = study.shape if study.is_volume else (1, *study.shape)
    if affine is None or study.affine_lps is None:
        if labels.shape != target:
            raise _other_grid(study, path, labels.shape, affine)
        return labels.reshape(study.shape)
    for order in itertools.permutations(range(3)):
        if tuple(labels.shape[axis] for axis in order) != target:
            continue
        turned = affine[:, [*order, 3]]
        # Flip each axis that runs against the study's.
        dots = (turned[:3, :3] * study.affine_lps[:3, :3]).sum(axis=0)
        flips = [axis for axis in range(3) if dots[axis] < 0]
        turned = turned.copy()
        for axis in flips:
            turned[:3, 3] += turned[:3, axis] * (target[axis] - 1)
            turned[:3, axis] *= -1
        # The step across a single slice is a thickness, not a distance of voxels.
        compared = [axis for axis in range(3) if target[axis] > 1] + [3]
        if np.allclose(
            turned[:, compared],
            study.affine_lps[:, compared],
            rtol=0,
            atol=AFFINE_TOLERANCE,
        ):
            result: NDArray[Any] = np.flip(labels.transpose(order), axis=tuple(flips))
            return result.reshape(study.shape)
    raise _other_grid(study, path, labels.shape, affine)


def _other_grid(
    study: Study,
    path: Path,
    shape: tuple[int, ...],
    affine: NDArray[np.float64] | None,
) -> StudyError:
    return StudyError(
        f"{shown(path, 'its mask')}: "
        f"the mask lies on another grid, {_grid(shape, affine)}, than the "
        f"image {study.identifier}, {_grid(study.shape, study.affine_lps)}. Resample "
        "the mask onto the image, or open the image with masks='none'."
    )


def _grid(shape: tuple[int, ...], affine: NDArray[np.float64] | None) -> str:
    size = " x ".join(str(n) for n in shape)
    if affine is None:
        return size
    spacing = " x ".join(f"{v:.4g}" for v in spacing_of(affine))
    origin = ", ".join(f"{v:.2f}" for v in affine[:3, 3])
    return f"{size} at {spacing} mm from ({origin}) LPS"
