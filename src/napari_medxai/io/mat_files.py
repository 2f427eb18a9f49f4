"""Variables of MATLAB files, read as data and nothing else.

MATLAB 7.3 files are HDF5 and are read by h5py, older ones (MATLAB 5 to 7) by `mat5`.
HDF5 lists an array's axes in the reverse of MATLAB's order; here they are always
MATLAB's, rows first. Links, external storage and virtual data sets, by which an HDF5
file can point at other files, are refused, and sizes are checked before reading.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import StudyError

from .formats import exists
from .mat5 import Matrix, read_fields, read_matrices, read_values
from .naming import reason, shown

__all__ = ["Member", "structure", "text_of", "variable", "variables"]

MAX_BYTES = 2**29  # of one array, and of a whole MATLAB 5 file once inflated
BROKEN = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    RuntimeError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    zlib.error,
)


@dataclass(frozen=True)
class Member:
    """One array of a structure, not read yet.

    Attributes
    ----------
    shape : tuple of int
        MATLAB's: (rows, columns). Empty arrays have a 0 in it.
    dtype : numpy.dtype
        As stored.
    read : callable
        Returns the array, of `shape`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], NDArray[Any]]


def variables(path: Path) -> tuple[str, ...]:
    """Name the variables of a MATLAB file from its header, in alphabetical order.

    Raises
    ------
    StudyError
        Where it is no MATLAB file that can be read.
    """
    with _errors(path):
        if _is_hdf5(path):
            with _hdf5(path) as file:
                # MATLAB keeps what references point at under names such as "#refs#".
                # A name that is no UTF-8 comes as bytes.
                names = (os.fsdecode(name) for name in file)
                return tuple(sorted(name for name in names if name[:1] != "#"))
        return tuple(sorted(matrix.name for matrix in _old_matrices(path)))


def variable(path: Path, name: str) -> NDArray[Any]:
    """Read one variable, an array, in MATLAB's order of axes.

    Raises
    ------
    StudyError
        As `structure`.
    """
    with _errors(path):
        if not _is_hdf5(path):
            return read_values(_old_variable(path, name))
        with _hdf5(path) as file:
            item = _inside(path, file, name)
            if not isinstance(item, h5py.Dataset):
                raise StudyError(f"{shown(path)}: '{name}' is no array.")
            return _hdf5_member(path, name, item).read()


@contextmanager
def structure(path: Path, name: str) -> Iterator[Mapping[str, Member]]:
    """Open a file and give the arrays of one structure, to be read within.

    Parameters
    ----------
    path : Path
        A MATLAB file, 5 to 7.3.
    name : str
        The variable, a structure of one element.

    Yields
    ------
    mapping of str to Member

    Raises
    ------
    StudyError
        Where the file is damaged, is no MATLAB file, has no such structure, points
        outside itself, or an array is too large.
    """
    with _errors(path):
        if not _is_hdf5(path):
            fields = read_fields(_old_variable(path, name))
            yield {key: _old_member(matrix) for key, matrix in fields.items()}
            return
        with _hdf5(path) as file:
            group = _inside(path, file, name)
            if not isinstance(group, h5py.Group):
                raise StudyError(f"{shown(path)}: '{name}' is no structure.")
            yield {
                key: _hdf5_member(path, key, item)
                for key in group
                if isinstance(item := _inside(path, group, key), h5py.Dataset)
            }


def text_of(array: NDArray[Any]) -> str:
    """Read a MATLAB character array, or a whole number, as text.

    Both kinds of files give characters as unsigned 16-bit codes.
    """
    if array.dtype == np.uint16 or (array.dtype.kind in "iu" and array.size > 1):
        # A row of characters; MATLAB's order runs down the columns first.
        return "".join(chr(int(code)) for code in array.ravel(order="F")).strip("\0 ")
    if array.size == 1 and float(array.ravel()[0]).is_integer():
        return str(int(array.ravel()[0]))
    return ""


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except StudyError:
        raise
    except BROKEN as error:
        raise StudyError(
            f"{shown(path)}: is damaged or no MATLAB file ({reason(error, path)}). "
            "Copy it again."
        ) from error


def _is_hdf5(path: Path) -> bool:
    if not exists(path):
        raise StudyError(f"{shown(path)}: there is no such file.")
    return bool(h5py.is_hdf5(path))


def _hdf5(path: Path) -> h5py.File:
    # A network drive without locks is no reason not to read.
    return h5py.File(path, "r", locking="best-effort")


def _inside(path: Path, group: h5py.Group, key: str) -> Any:
    """Get a member that lies in this file; a link is refused unopened."""
    link = group.get(key, getlink=True)
    if link is None:
        raise StudyError(f"{shown(path)}: has no variable '{key}'.")
    if not isinstance(link, h5py.HardLink):
        raise StudyError(
            f"{shown(path)}: '{key}' is a link to another place, which is not "
            "followed. Save the data itself with MATLAB's save -v7.3."
        )
    return group[key]


def _hdf5_member(path: Path, key: str, item: h5py.Dataset) -> Member:
    if item.external or item.is_virtual:
        raise StudyError(
            f"{shown(path)}: '{key}' is stored in another file, which is not opened."
        )
    shape = tuple(int(n) for n in reversed(item.shape or ()))
    if item.attrs.get("MATLAB_empty", 0):
        shape = (0, 0)  # the data set holds the shape of nothing
    return Member(shape, item.dtype, lambda: _read_hdf5(path, key, item, shape))


def _read_hdf5(
    path: Path, key: str, item: h5py.Dataset, shape: tuple[int, ...]
) -> NDArray[Any]:
    if item.dtype.hasobject:
        raise StudyError(
            f"{shown(path)}: '{key}' holds references, as cells and arrays of "
            "structures do; one array is needed."
        )
    _check_size(path, f"'{key}'", math.prod(shape) * item.dtype.itemsize)
    if 0 in shape:
        return np.zeros(shape, dtype=item.dtype)
    with _errors(path):
        array: NDArray[Any] = np.asarray(item[()]).T
    return array


def _check_size(path: Path, what: str, size: int) -> None:
    if size > MAX_BYTES:
        raise StudyError(
            f"{shown(path)}: {what} takes {size / 2**20:.0f} MiB, more than the "
            f"{MAX_BYTES / 2**20:.0f} MiB that are read."
        )


def _old_matrices(path: Path) -> list[Matrix]:
    """List the variables of a sound MATLAB 5 file that stays small once inflated."""
    try:
        return read_matrices(path, MAX_BYTES)
    except OverflowError as error:
        raise StudyError(
            f"{shown(path)}: its content takes more than the "
            f"{MAX_BYTES / 2**20:.0f} MiB that are read."
        ) from error
    except ValueError as error:
        raise StudyError(
            f"{shown(path)}: is no MATLAB file of version 5 to 7.3, or damaged "
            f"({error}). Copy it again, or save it again with MATLAB's save -v7.3."
        ) from error


def _old_variable(path: Path, name: str) -> Matrix:
    for matrix in _old_matrices(path):
        if matrix.name == name:
            return matrix
    raise StudyError(f"{shown(path)}: has no variable '{name}'.")


def _old_member(matrix: Matrix) -> Member:
    return Member(matrix.shape, matrix.dtype, lambda: read_values(matrix))
