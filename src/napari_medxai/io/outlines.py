"""Structures outlined on a radiograph, listed in a table ``structure.csv``.

The layout is that of the COVID-19 chest X-ray segmentations (General Blockchain,
2020)::

    structure.csv        Filename, Class, Mask, Top, Left, ...
    images/NAME          the radiographs
    masks/HASH_ID.png    one crop for each structure

Lesions are read. Organs and devices, which the table lists as well, are nothing that a
map should lie on; a note names them. A mask is cropped to its structure; ``Top`` and
``Left`` place it on the image. A pixel is set where any of red, green and blue is not
zero; alpha means nothing.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from . import raster
from .formats import is_file
from .mask_files import IMAGE_FOLDER
from .naming import printable, reason, shown
from .structure_names import unique_name

__all__ = ["TABLE", "outlined", "table_of"]

TABLE = "structure.csv"
# Words of classes that are no lesion.
ANATOMY = frozenset({"airways", "cardiomediastinum", "lung"})
DEVICES = frozenset({"line", "tube", "tubings"})
NEEDED = frozenset({"Filename", "Class", "Mask", "Top", "Left"})
Rows = list[dict[str, str]]


def table_of(image: Path) -> Path | None:
    """Find the table beside an image, or beside the folder ``images`` it lies in."""
    places = [image.parent]
    if image.parent.name == IMAGE_FOLDER:
        places.append(image.parent.parent)
    for folder in places:
        if (folder / TABLE).is_file():
            return folder / TABLE
    return None


def outlined(
    study: Study, image: Path, table: Path, notes: list[str]
) -> dict[str, NDArray[np.bool_]]:
    """Read the outlined lesions of an image.

    Parameters
    ----------
    study : Study
        An image (row, column).
    image : Path
        Its file, whose name the column ``Filename`` holds.
    table : Path
        The ``structure.csv``; one with other columns lists no outlines.
    notes : list of str
        Takes which structures were left out.

    Returns
    -------
    dict of str to bool ndarray
        By ``Class``, on the image's grid; empty where the table lists nothing of
        this image.

    Raises
    ------
    StudyError
        Where the table or a mask is damaged or missing, or a crop does not fit into
        the image.
    """
    masks: dict[str, NDArray[np.bool_]] = {}
    others: dict[str, None] = {}
    for row in _rows(table):
        if row.get("Filename") != image.name:
            continue
        name = " ".join(printable(row["Class"] or "").split()) or "structure"
        if set(name.casefold().split()) & (ANATOMY | DEVICES):
            others[name] = None
        else:
            masks[unique_name(name, masks)] = _placed(study, table, row)
    if others:
        notes.append(f"outlined, and no lesion: {', '.join(others)}")
    return masks


def _rows(table: Path) -> Rows:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not set(reader.fieldnames or ()) >= NEEDED:
                return []
            return list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise StudyError(
            f"{shown(table)}: the table of outlines cannot be read "
            f"({reason(error, table)})."
        ) from error


def _placed(study: Study, table: Path, row: dict[str, str]) -> NDArray[np.bool_]:
    root = table.parent
    path = root / (row["Mask"] or "")
    if not is_file(path) or not path.resolve().is_relative_to(root.resolve()):
        raise StudyError(
            f"{shown(table)}: names a mask of {study.identifier} that is not in its "
            "folder. Copy the data set again, or open the image with masks='none'."
        )
    crop, _ = raster.read_pixels(path)
    set_pixels: NDArray[np.bool_] = np.asarray(crop > 0)
    if set_pixels.ndim == 3:
        set_pixels = np.asarray(set_pixels.any(axis=-1))
    size = f"{study.shape[-1]}x{study.shape[0]}"
    try:
        top, left = int(row["Top"]), int(row["Left"])
    except (TypeError, ValueError) as error:
        raise StudyError(
            f"{shown(table)}: Top and Left of a mask of {study.identifier} are no "
            "whole numbers."
        ) from error
    rows, columns = set_pixels.shape
    stated = row.get("Resolution") or size
    fits = min(top, left) >= 0 and (
        top + rows <= study.shape[0] and left + columns <= study.shape[-1]
    )
    if study.is_volume or stated != size or not fits:
        raise StudyError(
            f"{shown(path)}: a structure of {columns}x{rows} pixels at column {left}, "
            f"row {top} of a {stated} image does not fit {study.identifier}, {size}. "
            "Use the image at its own size, or open it with masks='none'."
        )
    mask = np.zeros(study.shape, dtype=bool)
    mask[top : top + rows, left : left + columns] = set_pixels
    return mask
