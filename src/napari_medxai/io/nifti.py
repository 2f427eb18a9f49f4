"""NIfTI-1, NIfTI-2 and their .hdr/.img pairs by nibabel.

NIfTI stores ``[i, j, k]`` with i running fastest and an affine onto RAS
millimetres. Here the array is turned to ``[k, j, i]`` = (slice, row, column), the
affine's columns are permuted in the same way and its x and y rows negated, which
gives LPS. No voxel moves in the patient.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from napari_medxai.errors import StudyError
from napari_medxai.study import Series, Study, lps_from_ras, spacing_of

from .formats import exists
from .naming import printable, reason, shown

__all__ = ["Volume", "load", "read_volume", "series"]

BROKEN = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    MemoryError,
    OverflowError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    ImageDataError,
    WrapStructError,
)
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}


@dataclass(frozen=True, eq=False)
class Volume:
    """One volume of a NIfTI file on (slice, row, column).

    Attributes
    ----------
    array : ndarray, shape (k, j, i) or (k, j, i, 3)
        Voxels after scaling; integers stay integers where there is no scaling.
    affine_lps : ndarray, shape (4, 4), or None
        None where the header declares no orientation.
    spacing : tuple of float or None
        mm along (k, j, i).
    notes : tuple of str
        What a careful person wants to know.
    """

    array: NDArray[Any]
    affine_lps: NDArray[np.float64] | None
    spacing: tuple[float, float, float] | None
    notes: tuple[str, ...]


def load(path: Path, *, volume: str | None = None) -> Study:
    """Read a NIfTI file.

    Parameters
    ----------
    path : Path
        ``.nii``, ``.nii.gz``, or either file of a ``.hdr``/``.img`` pair.
    volume : str, optional
        Index, from 0, of the volume of a 4-D file.

    Returns
    -------
    Study
        (slice, row, column); a file of one slice, ``(i, j)`` or ``(i, j, 1)``, is
        an image (row, column) that keeps its affine, with slice 0.

    Raises
    ------
    StudyError
        Where the file is damaged, has several volumes and none is chosen, or
        holds something else than numbers or colours.
    """
    data = read_volume(path, volume=volume)
    array, spacing = data.array, data.spacing
    colour = array.ndim == 4
    single = array.shape[0] == 1
    if single:
        array = array[0]
    return Study(
        array=array,
        source=path,
        affine_lps=data.affine_lps,
        spacing=spacing if spacing is None or not single else spacing[1:],
        colour=colour,
        identifier=printable(path.name) + ("" if volume is None else f"#{volume}"),
        notes=data.notes,
        files=(path,),
        metadata={"format": "nifti", "volume": volume},
    )


def series(path: Path) -> tuple[Series, ...]:
    """List a file's volumes from its header; a damaged file says so."""
    try:
        shape = _spatial_shape(path, _open(path).shape)
    except StudyError as error:
        return (Series(key=path.name, description=str(error), files=(path,)),)
    grid = (shape[2], shape[1], shape[0])
    size = f"{shape[0]} x {shape[1]} x {shape[2]}"
    if len(shape) == 3:
        return (
            Series(
                key=path.name, description=f"NIfTI {size}", files=(path,), shape=grid
            ),
        )
    return tuple(
        Series(
            key=str(index),
            description=f"NIfTI {size}, volume {index} of 0 to {shape[3] - 1}",
            files=(path,),
            shape=grid,
        )
        for index in range(shape[3])
    )


def read_volume(path: Path, *, volume: str | None = None) -> Volume:
    """Read one volume, three axes even where the file has one slice."""
    image = _open(path)
    shape = _spatial_shape(path, image.shape)
    index = _volume_index(path, shape, volume)
    notes: list[str] = []
    try:
        array = _voxels(path, image, shape, index)
        affine, spacing = _geometry(image, notes)
    except BROKEN as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(
            f"{shown(path)}: "
            f"is damaged or incomplete ({reason(error, path)}). Copy it again."
        ) from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        notes.append(f"{int((~np.isfinite(array)).sum())} voxels are NaN or infinite")
    return Volume(array, affine, spacing, tuple(notes))


def _open(path: Path) -> Any:
    if not exists(path):
        raise StudyError(f"{shown(path)}: there is no such file.")
    try:
        return nib.load(path, mmap=False)
    except BROKEN as error:
        raise StudyError(
            f"{shown(path)}: "
            f"cannot be read as NIfTI ({reason(error, path)}). Check that the file "
            "is whole, and that a .hdr has its .img beside it."
        ) from error


def _spatial_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape as (i, j, k) or (i, j, k, t): short ones padded, trailing ones cut."""
    full = list(shape) + [1] * (3 - len(shape))
    while len(full) > 3 and full[-1] == 1:
        full.pop()
    if len(full) > 4:
        # A vector or statistic in the fifth axis, with no or some time in the fourth.
        raise StudyError(
            f"{shown(path)}: "
            f"has {len(full)} axes {tuple(shape)}; volumes of three axes "
            "and series of them (four axes) can be read. Split the file first."
        )
    if 0 in full:
        raise StudyError(f"{shown(path)}: has no voxels, its shape is {tuple(shape)}.")
    return tuple(int(n) for n in full)


def _volume_index(path: Path, shape: tuple[int, ...], volume: str | None) -> int | None:
    count = shape[3] if len(shape) == 4 else 1
    if volume is None:
        if count > 1:
            raise StudyError(
                f"{shown(path)}: "
                f"holds {count} volumes; choose one with series= and its "
                f'index, "0" to "{count - 1}".'
            )
        return None
    text = volume.removeprefix(f"{path.name}#")
    if count == 1 and text in {path.name, "0"}:
        return None
    if not text.isdecimal() or int(text) >= count:
        raise StudyError(
            f"{shown(path)}: has no volume '{volume}'; it holds {count}, with the "
            f'indices "0" to "{count - 1}".'
        )
    return int(text)


def _voxels(
    path: Path, image: Any, shape: tuple[int, ...], index: int | None
) -> NDArray[Any]:
    proxy = image.dataobj
    full = (slice(None),) * min(3, len(image.shape))
    # Trailing axes of length one, or the chosen volume: index them away.
    picks = full + tuple(
        (index or 0) if axis == 3 else 0 for axis in range(3, len(image.shape))
    )
    scaled = (float(proxy.slope), float(proxy.inter)) != (1.0, 0.0)
    if scaled:
        array = np.asarray(proxy[picks])
        small = np.dtype(proxy.dtype).itemsize <= 2
        if array.dtype.kind == "f":
            array = array.astype(np.float32 if small else np.float64)
    else:
        array = np.asarray(proxy.get_unscaled())[picks]
    if array.dtype.names:
        array = np.stack([array[name] for name in ("R", "G", "B")], axis=-1)
    elif array.dtype.kind == "c":
        raise StudyError(
            f"{shown(path)}: holds complex numbers; save their magnitude first."
        )
    elif array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float64)
    elif array.dtype.kind not in "iuf":
        raise StudyError(f"{shown(path)}: holds voxels of type {array.dtype}.")
    colour = array.shape[len(full) :]
    array = array.reshape(shape[:3] + colour)
    array = array.transpose((2, 1, 0, 3) if colour else (2, 1, 0))
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _geometry(
    image: Any, notes: list[str]
) -> tuple[NDArray[np.float64] | None, tuple[float, float, float] | None]:
    header: Any = image.header
    known = isinstance(header, nib.Nifti1Header)
    unit, codes = 1.0, (0, 0)
    if known:
        unit = MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
        codes = (int(header["sform_code"]), int(header["qform_code"]))
    else:
        notes.append("an Analyze file, which does not say how the patient lies")
    zooms = [abs(float(z)) * unit for z in header.get_zooms()[:3]]
    zooms += [1.0] * (3 - len(zooms))
    spacing = (zooms[2], zooms[1], zooms[0])
    if codes == (0, 0):
        if known:
            notes.append("no orientation in the header (sform and qform codes are 0)")
        if min(spacing) <= 0 or not np.isfinite(spacing).all():
            return None, None
        return None, spacing
    ras = np.array(image.affine, dtype=float)
    if not np.isfinite(ras).all() or abs(np.linalg.det(ras[:3, :3])) < 1e-12:
        notes.append("the affine in the header is degenerate and was not used")
        return None, None
    ras[:3] *= unit
    if min(codes) > 0:
        qform = image.header.get_qform()
        qform[:3] *= unit
        if not np.allclose(qform, ras, atol=1e-2):
            notes.append("sform and qform disagree; the sform is used")
    affine = lps_from_ras(ras)[:, [2, 1, 0, 3]]
    return affine, spacing_of(affine)
