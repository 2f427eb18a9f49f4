"""Ground truth on the study's own grid, whichever file it comes from.

A mask is taken where it is proved to show the study: by the images a DICOM object
refers to, by the affines of both, or by the same field of view of two pictures.
Where its grid is another it is resampled, and a note says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from . import dicom_rtstruct, dicom_seg, mask_files, outlines
from .dicom_access import BROKEN
from .dicom_headers import Companion, read_dataset
from .dicom_series import scan
from .dicom_truth import OTHER_IMAGES, Unfit
from .formats import (
    KNOWN_EXTENSIONS,
    entries,
    exists,
    expanded,
    kind_of,
    split_name,
    walk,
)
from .mask_values import Masks, from_nifti, from_raster
from .naming import printable, shown
from .structure_names import unique_name

__all__ = ["find_masks"]

READERS = {"SEG": dicom_seg.read, "RTSTRUCT": dicom_rtstruct.read}


def find_masks(
    study: Study,
    how: str | Path | None = "auto",
    *,
    companions: Sequence[Path] | None = None,
) -> tuple[Masks, tuple[str, ...]]:
    """Find and read the masks of a study.

    Parameters
    ----------
    study : Study
        Its source, files and DICOM references say where to look.
    how : str, Path or None
        ``"auto"``: the masks that the file itself holds (``.mat``), else DICOM SEG
        and RTSTRUCT in the same folder that refer to the series, else what a
        ``structure.csv`` lists (see `outlines`), else what lies beside the image
        (see `mask_files.beside`); ``"none"`` or None: no masks; else a mask file,
        or a folder of masks.
    companions : sequence of Path, optional
        The SEG and RTSTRUCT files that may belong to the study, where a scan has
        found them already: then ``"auto"`` looks at no other DICOM file.

    Returns
    -------
    masks : dict of str to bool ndarray
        On the study's grid. For the names see `mask_values`, `dicom_seg`,
        `dicom_rtstruct` and `outlines`; of several files they begin with the file's
        name, except beside DICOM.
    notes : tuple of str
        What was found and not used, and why; what was resampled; which file was
        taken where its name leaves a doubt. For DICOM without the names of files.

    Raises
    ------
    StudyError
        Where a mask is damaged or shows something else, or a named file or folder
        does not exist. A DICOM object that refers to other images is an error only
        where it was named.
    """
    if how is None or how == "none":
        return {}, ()
    notes: list[str] = []
    if how == "auto":
        return _auto(study, companions, notes), tuple(notes)
    place = expanded(how)
    if not exists(place):
        raise StudyError(
            f"{shown(place)}: there is no such mask file or folder for "
            f"{study.identifier}."
        )
    if place.is_file():
        return _read_all(study, [place], notes), tuple(notes)
    masks = _in_folder(study, place, notes)
    if not masks:
        notes.append(f"no mask for {study.identifier} in the folder of masks")
    return masks, tuple(notes)


def _image_path(study: Study) -> Path:
    """File whose name a mask would bear; a folder's own name for a DICOM folder."""
    return study.files[0] if len(study.files) == 1 else study.source


def _is_dicom(study: Study) -> bool:
    return study.metadata.get("format") == "dicom"


def _auto(study: Study, companions: Sequence[Path] | None, notes: list[str]) -> Masks:
    if study.metadata.get("format") == "matlab":
        return dict(study.masks)
    masks: Masks = {}
    if _is_dicom(study):
        source = study.source
        files: Iterable[Path]
        if companions is not None:
            files = companions
        else:
            files = walk(source) if source.is_dir() else _siblings(source)
        masks = _companions(study, files, notes)
    path = _image_path(study)
    if masks or not path.is_file():
        return masks
    table = outlines.table_of(path)
    if table is not None and (masks := outlines.outlined(study, path, table, notes)):
        return masks
    found = mask_files.beside(path)
    masks = _read_all(study, found.paths, notes)
    if masks and not found.plain:
        notes.extend(f"mask read from {_named(study, p)}" for p in found.paths)
    return masks


def _in_folder(study: Study, folder: Path, notes: list[str]) -> Masks:
    """Find a study's masks in a folder that can hold those of many."""
    if _is_dicom(study):
        masks = _companions(study, walk(folder), notes, others=False)
        if masks:
            return masks
    path = _image_path(study)
    table = folder / outlines.TABLE
    if table.is_file() and (masks := outlines.outlined(study, path, table, notes)):
        return masks
    return _read_all(study, mask_files.inside(path, folder), notes)


def _named(study: Study, path: Path) -> str:
    """Name a mask file in a note; not beside DICOM, where it can name the patient."""
    return "a file beside the image" if _is_dicom(study) else printable(path.name)


def _siblings(path: Path) -> list[Path]:
    return [other for other in entries(path.parent) if other.is_file()]


def _companions(
    study: Study, files: Iterable[Path], notes: list[str], *, others: bool = True
) -> Masks:
    """Read the SEG and RTSTRUCT among files; `others`: say which are of others."""
    masks: Masks = {}
    own = set(study.files)
    refused: Counter[tuple[str, str]] = Counter()
    for path in files:
        companion = None if path in own else _truth_in(path)
        if companion is None:
            continue
        try:
            found = _companion(study, companion, notes)
        except Unfit as error:
            refused[companion.modality, error.reason] += 1
            continue
        new = {
            name: mask
            for name, mask in found.items()
            if name not in masks or not np.array_equal(masks[name], mask)
        }
        if len(new) < len(found):
            notes.append(
                f"{len(found) - len(new)} structure(s) that two {companion.modality} "
                "hold alike were taken once"
            )
        _merge(masks, new)
    for (kind, why), count in refused.items():
        if others or why != OTHER_IMAGES:
            notes.append(f"{count} {kind} not used: {why}")
    return masks


def _truth_in(path: Path) -> Companion | None:
    """Read a file's header, if it may be DICOM; None where it is no SEG or RTSTRUCT."""
    if split_name(path)[1] in KNOWN_EXTENSIONS and kind_of(path) != "dicom":
        return None
    try:
        facts = path.stat()
    except OSError:
        return None
    return _known_truth(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _known_truth(path: Path, size: int, changed: int) -> Companion | None:
    """As `_truth_in`, once for each file: every image of a folder asks for all."""
    del size, changed  # only so that a file that was written anew is read anew
    found = scan([path]).companions
    return found[0] if found and found[0].modality in READERS else None


def _companion(study: Study, companion: Companion, notes: list[str]) -> Masks:
    kind = companion.modality
    known = companion.references
    # The header is enough: a folder can hold the masks of many series.
    if known and study.metadata["series_uid"] not in known:
        raise Unfit(companion.path, kind, OTHER_IMAGES)
    return READERS[kind](companion.path, study, notes)


def _read_all(study: Study, paths: Iterable[Path], notes: list[str]) -> Masks:
    masks: Masks = {}
    several = len(paths := tuple(paths)) > 1
    for path in paths:
        found = _read_file(study, path, notes)
        # Beside DICOM a file's name can name the patient: masks are numbered.
        if several and not _is_dicom(study):
            stem = printable(split_name(path)[0])
            found = {
                stem if name == "mask" else f"{stem} {name}": mask
                for name, mask in found.items()
            }
        _merge(masks, found)
    return masks


def _read_file(study: Study, path: Path, notes: list[str]) -> Masks:
    kind = kind_of(path)
    if kind == "dicom":
        return READERS[_modality(path)](path, study, notes)
    if kind == "raster":
        masks, said = from_raster(study, path)
    elif kind == "nifti":
        masks, said = from_nifti(study, path)
    else:
        raise StudyError(
            f"{shown(path, 'its mask')}: is no mask that can be read; PNG, TIFF, "
            "NIfTI, DICOM SEG and RTSTRUCT can."
        )
    notes.extend(f"{_named(study, path)}: {text}" for text in said)
    return masks


def _modality(path: Path) -> str:
    """RTSTRUCT where a DICOM file is one; SEG, whose reader says what it is, else."""
    try:
        found = str(read_dataset(path, headers=True).get("Modality"))
    except BROKEN as error:
        raise StudyError(
            f"{shown(path, 'its mask')}: damaged DICOM header "
            f"({type(error).__name__}). Copy it again."
        ) from error
    return found if found in READERS else "SEG"


def _merge(masks: Masks, new: Mapping[str, NDArray[np.bool_]]) -> None:
    for name, mask in new.items():
        masks[unique_name(name, masks)] = mask
