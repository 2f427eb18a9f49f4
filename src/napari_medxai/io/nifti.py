"""NIfTI-1, NIfTI-2 and their .hdr/.img pairs by nibabel.

NIfTI stores ``[i, j, k]`` with i running fastest and an affine onto RAS
millimetres. Here the array is turned to ``[k, j, i]`` = (slice, row, column), the
affine's columns are permuted in the same way and its x and y rows negated, which
gives LPS. No voxel moves in the patient. See `nifti_geometry` for the affine.
"""

from __future__ import annotations

import gzip
import itertools
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from napari_medxai.errors import StudyError
from napari_medxai.study import Series, Study

from .formats import exists
from .naming import printable, reason, shown
from .nifti_geometry import geometry

__all__ = ["Volume", "load", "read_volume", "series"]

BROKEN = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    ImageDataError,
    WrapStructError,
    MatReadError,  # of the .mat that SPM puts beside an Analyze pair
)
COLOURS = ("R", "G", "B")
CHUNK = 2**20
MAX_VOLUMES = 100_000


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
        Index, from 0, of the volume of a 4-D file; of a file with more axes longer
        than one the indices with commas between them, "3,0".

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
        shape = _shape(path, _open(path).shape)
    except StudyError as error:
        return (Series(key=path.name, description=str(error), files=(path,)),)
    size = f"{shape[0]} x {shape[1]} x {shape[2]}"
    keys = _keys(shape)
    return tuple(
        Series(
            key=path.name if len(keys) == 1 else key,
            description=f"NIfTI {size}"
            + (f", volume {key} of 0 to {keys[-1]}" if len(keys) > 1 else ""),
            files=(path,),
            shape=(shape[2], shape[1], shape[0]),
        )
        for key in keys
    )


def read_volume(path: Path, *, volume: str | None = None) -> Volume:
    """Read one volume, three axes even where the file has one slice."""
    header = _open(path)
    shape = _shape(path, header.shape)
    picks = _picks(path, shape, volume)
    notes: list[str] = []
    try:
        with _whole(path, header) as image:
            array = _voxels(path, image, shape, picks, notes)
        affine, spacing = geometry(header, notes)
    except BROKEN as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(
            f"{shown(path)}: "
            f"is damaged or incomplete ({reason(error, path)}). Copy it again."
            + _pair(path)
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
            "is whole." + _pair(path)
        ) from error


def _pair(path: Path) -> str:
    pair = path.suffix.lower() in {".hdr", ".img"}
    return " A .hdr needs its .img beside it, and an .img its .hdr." if pair else ""


@contextmanager
def _whole(path: Path, image: Any) -> Iterator[Any]:
    """Give the image; a packed one is read to its end, where its checksum is."""
    if not path.name.lower().endswith(".gz"):
        yield image
        return
    with gzip.open(path) as stream:
        holder = nib.FileHolder(filename=str(path), fileobj=stream)
        yield type(image).from_file_map({"image": holder}, mmap=False)
        while stream.read(CHUNK):
            pass


def _shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Lengths of the axes, at least three; trailing ones beyond them cut."""
    full = [int(n) for n in shape] + [1] * (3 - len(shape))
    while len(full) > 3 and full[-1] == 1:
        full.pop()
    if min(full) < 1:
        raise StudyError(f"{shown(path)}: has no voxels, its shape is {tuple(shape)}.")
    if math.prod(full[3:]) > MAX_VOLUMES:
        raise StudyError(
            f"{shown(path)}: its header names {math.prod(full[3:])} volumes, more than "
            f"the {MAX_VOLUMES} that are listed. Check that the file is whole."
        )
    return tuple(full)


def _keys(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Name each volume by its indices along the further axes longer than one."""
    ranges = [range(n) for n in shape[3:] if n > 1]
    return tuple(
        ",".join(str(index) for index in indices) or "0"
        for indices in itertools.product(*ranges)
    )


def _picks(path: Path, shape: tuple[int, ...], volume: str | None) -> tuple[int, ...]:
    """Index along each axis beyond the third."""
    keys = _keys(shape)
    if volume is None and len(keys) > 1:
        raise StudyError(
            f"{shown(path)}: "
            f"holds {len(keys)} volumes; choose one with series= and its "
            f'index, "{keys[0]}" to "{keys[-1]}".'
        )
    key = "0" if volume is None else volume.removeprefix(f"{path.name}#")
    if len(keys) == 1 and key == path.name:
        key = "0"
    if key not in keys:
        raise StudyError(
            f"{shown(path)}: has no volume '{volume}'; it holds {len(keys)}, with the "
            f'indices "{keys[0]}" to "{keys[-1]}".'
        )
    indices = iter(key.split(","))
    return tuple(int(next(indices)) if n > 1 else 0 for n in shape[3:])


def _voxels(
    path: Path,
    image: Any,
    shape: tuple[int, ...],
    indices: tuple[int, ...],
    notes: list[str],
) -> NDArray[Any]:
    proxy = image.dataobj
    axes = len(image.shape)
    space = min(3, axes)
    # Trailing axes of length one, and the chosen volume, are indexed away.
    further = (*indices, *[0] * axes)[: axes - space]
    picks = (slice(None),) * space + further
    stored = np.dtype(proxy.dtype)
    scaled = (float(proxy.slope), float(proxy.inter)) != (1.0, 0.0)
    # Colours have no scale: NIfTI leaves scl_slope out of account for them.
    if scaled and stored.names is None:
        array = np.asarray(proxy[picks])
        if array.dtype.kind == "f":
            array = array.astype(np.float32 if stored.itemsize <= 2 else np.float64)
    else:
        array = np.asarray(_unscaled(proxy)[picks])
    if array.dtype.names:
        alpha = array["A"] if "A" in array.dtype.names else None
        if alpha is not None and (alpha < np.iinfo(alpha.dtype).max).any():
            notes.append("transparency was ignored; the stored colours are shown")
        array = np.stack([array[name] for name in COLOURS], axis=-1)
    elif array.dtype.kind == "c":
        raise StudyError(
            f"{shown(path)}: holds complex numbers; save their magnitude first."
        )
    elif array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float64)
    elif array.dtype.kind not in "iuf":
        raise StudyError(f"{shown(path)}: holds voxels of type {array.dtype}.")
    colour = array.shape[space:]
    array = array.reshape(shape[:3] + colour)
    array = array.transpose((2, 1, 0, 3) if colour else (2, 1, 0))
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _unscaled(proxy: Any) -> Any:
    """Something that reads, once indexed, no more than what is asked for."""
    return nib.arrayproxy.ArrayProxy(  # type: ignore[no-untyped-call]
        proxy.file_like,
        (proxy.shape, proxy.dtype, proxy.offset, 1.0, 0.0),
        mmap=False,
        order=proxy.order,
    )
