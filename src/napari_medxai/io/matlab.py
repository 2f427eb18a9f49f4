"""The brain tumour slices of Cheng et al. as published, in MATLAB files.

Cheng, "brain tumor dataset", figshare 1512427, https://doi.org/10.6084/m9.figshare.1512427:
3064 T1-weighted contrast-enhanced slices of 233 patients. Each file holds a structure
``cjdata`` with ``image``, ``label`` (1 meningioma, 2 glioma, 3 pituitary tumour),
``PID``, ``tumorBorder`` and ``tumorMask``. ``cvind.mat`` beside them holds the folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon

from napari_medxai.errors import StudyError
from napari_medxai.study import Series, Study

from .mat_files import Member, structure, text_of, variable, variables
from .naming import printable, shown

__all__ = [
    "CLASSES",
    "Facts",
    "facts",
    "folds",
    "load",
    "mask_from_border",
    "other",
    "series",
]

STRUCTURE = "cjdata"
FOLDS = "cvind"
# As the bundled classifier names them.
CLASSES: Mapping[int, str] = {1: "meningioma", 2: "glioma", 3: "pituitary"}
MASK_NAME = "tumour"
AGREE = 0.5  # Dice below which a border and a mask cannot mean the same tumour


@dataclass(frozen=True)
class Facts:
    """What a file says of its image.

    Attributes
    ----------
    label : str or None
        Class name; None where the file's code is none of 1, 2, 3.
    patient : str or None
        PID, the data set's own research identifier.
    """

    label: str | None
    patient: str | None


def load(path: Path) -> Study:
    """Read a slice with its mask.

    Parameters
    ----------
    path : Path
        A ``.mat`` file with a structure ``cjdata``.

    Returns
    -------
    Study
        (row, column) as MATLAB shows it, upright. ``masks`` holds "tumour", from
        ``tumorMask`` or, where that is missing or empty, filled from
        ``tumorBorder``; ``patient`` is PID, ``metadata["label"]`` the class. The
        files say nothing of spacing or orientation, so both are None.

    Raises
    ------
    StudyError
        Where the file is damaged, points outside itself, or holds something else.
    """
    notes: list[str] = []
    with _cjdata(path) as members:
        array = _image(path, members)
        said = _facts(members)
        mask = _mask(members, array.shape, notes)
    if said.label is None:
        notes.append("the file names no class that is known (1, 2 or 3)")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        notes.append(f"{int((~np.isfinite(array)).sum())} values are not finite")
    return Study(
        array=array,
        source=path,
        masks={} if mask is None else {MASK_NAME: mask},
        patient=said.patient,
        identifier=printable(path.name),
        notes=tuple(notes),
        files=(path,),
        metadata={"format": "matlab", "label": said.label},
    )


def series(path: Path) -> tuple[Series, ...]:
    """Describe a file from its header; a damaged one says so."""
    try:
        with _cjdata(path) as members:
            rows, columns = _image_shape(path, members)
            said = _facts(members)
    except StudyError as error:
        return (Series(key=path.name, description=str(error), files=(path,)),)
    return (
        Series(
            key=path.name,
            description=f"MATLAB {columns} x {rows}, {said.label or 'no class'}",
            files=(path,),
            shape=(1, rows, columns),
            patient=said.patient,
        ),
    )


def facts(path: Path) -> Facts:
    """Read a file's class and patient, not its pixels.

    Returns
    -------
    Facts
        Both None where the file cannot be read: opening it says why.
    """
    try:
        with _cjdata(path) as members:
            return _facts(members)
    except StudyError:
        return Facts(None, None)


def other(path: Path) -> str | None:
    """Say what a ``.mat`` file is that holds no image; None where it may hold one.

    A damaged file gives None, so that it is opened and its damage reported.
    """
    try:
        names = variables(path)
    except StudyError:
        return None
    if STRUCTURE in names:
        return None
    if names == (FOLDS,):
        return "the folds of the data set, no image"
    return "a MATLAB file without an image"


def folds(path: Path) -> tuple[int, ...]:
    """Read ``cvind.mat``: the fold, 1 to 5, of slice 1, 2 and so on.

    Raises
    ------
    StudyError
        Where the file is damaged or holds something else.
    """
    array = variable(path, FOLDS)
    if array.dtype.kind not in "iuf" or (array != np.round(array)).any():
        raise StudyError(f"{shown(path)}: '{FOLDS}' holds no whole numbers.")
    return tuple(int(fold) for fold in array.ravel())


def mask_from_border(
    border: NDArray[Any], shape: tuple[int, ...], *, swapped: bool = False
) -> NDArray[np.bool_] | None:
    """Fill an outlined tumour.

    Parameters
    ----------
    border : ndarray
        ``x1, y1, x2, y2...`` in MATLAB's image coordinates: x counts columns, y
        rows, and the centre of the first pixel is (1, 1).
    shape : tuple of int
        (rows, columns).
    swapped : bool
        Take x for the row, against the data set's description.

    Returns
    -------
    ndarray of bool, shape (rows, columns), or None
        Set where a pixel's centre lies within the outline. None where there are
        fewer than three points, an odd number of values, or some are not finite.
    """
    if border.dtype.kind not in "iuf" or border.size < 6 or border.size % 2:
        return None
    points = border.ravel(order="F").astype(float).reshape(-1, 2) - 1
    if not np.isfinite(points).all():
        return None
    rows, columns = points.T if swapped else points.T[::-1]
    filled = np.zeros(shape, dtype=bool)
    filled[polygon(rows, columns, shape)] = True  # type: ignore[no-untyped-call]
    return filled


def _cjdata(path: Path) -> Any:
    names = variables(path)
    if STRUCTURE not in names:
        what = (
            "the folds of the data set (cvind), no image"
            if names == (FOLDS,)
            else f"the variables {', '.join(map(printable, names[:8])) or '(none)'}"
        )
        raise StudyError(
            f"{shown(path)}: holds {what}; of MATLAB files those with a structure "
            "'cjdata' (image, label, PID, tumorBorder, tumorMask) can be read. Save "
            "the image as NIfTI, TIFF or PNG."
        )
    return structure(path, STRUCTURE)


def _image_shape(path: Path, members: Mapping[str, Member]) -> tuple[int, int]:
    member = members.get("image")
    if member is None:
        raise StudyError(f"{shown(path)}: 'cjdata' has no image.")
    if len(member.shape) != 2 or 0 in member.shape:
        size = " x ".join(map(str, member.shape))
        raise StudyError(
            f"{shown(path)}: its image has the shape {size}; one slice "
            "of rows x columns is needed."
        )
    if member.dtype.kind not in "iufb":
        raise StudyError(f"{shown(path)}: its image holds {member.dtype}, no numbers.")
    return member.shape[0], member.shape[1]


def _image(path: Path, members: Mapping[str, Member]) -> NDArray[Any]:
    _image_shape(path, members)
    array = members["image"].read()
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float64)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _facts(members: Mapping[str, Member]) -> Facts:
    label = None
    number = members.get("label")
    if number is not None and number.dtype.kind in "iuf" and set(number.shape) == {1}:
        code = float(number.read().ravel()[0])
        label = CLASSES.get(int(code)) if code.is_integer() else None
    patient = None
    pid = members.get("PID")
    if pid is not None and not pid.dtype.hasobject and 0 not in pid.shape:
        patient = text_of(pid.read())
    return Facts(label, patient if patient and patient.isprintable() else None)


def _mask(
    members: Mapping[str, Member], shape: tuple[int, ...], notes: list[str]
) -> NDArray[np.bool_] | None:
    outlines = _outlines(members, shape)
    member = members.get("tumorMask")
    missing = "missing"
    if member is not None and 0 not in member.shape:
        if member.shape == shape and member.dtype.kind in "iufb":
            mask: NDArray[np.bool_] = np.ascontiguousarray(member.read() != 0)
            if mask.any():
                if outlines and max(_dice(mask, one) for one in outlines) < AGREE:
                    notes.append(
                        "tumorBorder outlines another place than tumorMask; "
                        "tumorMask is used"
                    )
                return mask
            missing = "empty"
        else:
            missing = "of another shape or type than the image's"
    if not outlines or not outlines[0].any():
        notes.append(f"tumorMask is {missing}, and tumorBorder encloses no pixel")
        return None
    notes.append(f"tumorMask is {missing}; the mask was filled from tumorBorder")
    return outlines[0]


def _outlines(
    members: Mapping[str, Member], shape: tuple[int, ...]
) -> list[NDArray[np.bool_]]:
    """Fill the border as described, and with x and y exchanged; [] where it fails."""
    member = members.get("tumorBorder")
    if member is None or member.dtype.hasobject:
        return []
    border = member.read()
    filled = [mask_from_border(border, shape, swapped=s) for s in (False, True)]
    return [one for one in filled if one is not None]


def _dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 0.0
