"""MATLAB 5 to 7 files, read element by element.

SciPy trusts the types, lengths and nesting that such a file states, and a damaged one
can crash the whole process. What is needed here, arrays of numbers and characters and
structures of them, is little ("MAT-File Format", MathWorks, "Level 5 MAT-Files").
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Matrix", "read_fields", "read_matrices", "read_values"]

HEADER = 128
ORDERS = {b"IM": "<", b"MI": ">"}
MATRIX, COMPRESSED, UTF8 = 14, 15, 16
# Types of stored numbers; UTF-16 and UTF-32 are numbers as well.
NUMBERS: Mapping[int, str] = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"},
    **{12: "i8", 13: "u8", UTF8: "u1", 17: "u2", 18: "u4"},
}
STRUCTURE, CHARACTERS = 2, 4
ARRAYS = frozenset({CHARACTERS, *range(6, 16)})
COMPLEX = 1 << 11


@dataclass(frozen=True, eq=False)
class Matrix:
    """A variable or a field: its kind and shape, and where its content lies.

    Attributes
    ----------
    name : str
        "" for a field.
    kind : int
        Its class, for example 2 for a structure.
    shape : tuple of int
        MATLAB's, rows first.
    flat : bool
        Whether it is a real array of numbers or characters.
    dtype : numpy.dtype
        As stored; object where it is not `flat`.
    parts : tuple of (int, memoryview)
        The elements after its name: type and bytes.
    order : str
        Of bytes, as NumPy writes it.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    flat: bool
    dtype: np.dtype[Any]
    parts: tuple[tuple[int, memoryview], ...]
    order: str


def read_matrices(path: Path, limit: int) -> list[Matrix]:
    """Read the variables of a file, not their values.

    Parameters
    ----------
    path : Path
        The file.
    limit : int
        How many bytes it may have in all once inflated.

    Raises
    ------
    ValueError
        Where it is no such file or an element is wrong; the text says how.
    OverflowError
        Where it is larger.
    OSError, zlib.error
        Where it cannot be read or inflated.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER)
        order = ORDERS.get(head[126:128])
        if len(head) < HEADER or order is None:
            raise ValueError("it has no header of MATLAB 5")
        if size > limit:
            raise OverflowError
        content = memoryview(file.read())
    found = []
    for kind, data in _elements(content, order, padded=False):
        inner = iter([(kind, data)])
        if kind == COMPRESSED:
            inflated = _inflated(data, limit - size)
            size += len(inflated)
            inner = _elements(memoryview(inflated), order)
        found += [_matrix(data, order) for kind, data in inner if kind == MATRIX]
    return found


def read_fields(matrix: Matrix) -> dict[str, Matrix]:
    """Read the fields of a structure of one element.

    Raises
    ------
    ValueError
        Where it is none, or damaged.
    """
    if matrix.kind != STRUCTURE or math.prod(matrix.shape) != 1:
        raise ValueError(f"'{matrix.name}' is no structure of one element")
    if len(matrix.parts) < 2:
        raise ValueError("a structure without names of fields")
    (kind, data), (_, names) = matrix.parts[:2]
    length = _integers(kind, data, matrix.order)
    size = length[0] if len(length) == 1 else 0
    if size < 1 or len(names) % size:
        raise ValueError("a structure whose names of fields have no length")
    keys = [
        bytes(names[start : start + size]).split(b"\0")[0].decode("latin-1")
        for start in range(0, len(names), size)
    ]
    fields = matrix.parts[2:]
    if len(fields) != len(keys) or any(kind != MATRIX for kind, _ in fields):
        raise ValueError("a structure whose fields and names differ in number")
    return {
        key: _matrix(data, matrix.order)
        for key, (_, data) in zip(keys, fields, strict=True)
    }


def read_values(matrix: Matrix) -> NDArray[Any]:
    """Read an array of numbers, or of characters as their codes.

    Raises
    ------
    ValueError
        Where it is something else, or does not have the size it says.
    """
    if not matrix.flat:
        raise ValueError("it holds something else than real numbers or characters")
    data = matrix.parts[0][1] if matrix.parts else memoryview(b"")
    if matrix.kind == CHARACTERS and matrix.parts and matrix.parts[0][0] == UTF8:
        text = bytes(data).decode("utf-8")
        values = np.array([ord(one) for one in text], dtype=np.uint32)
    else:
        values = np.frombuffer(data, dtype=matrix.dtype)
    if matrix.kind == CHARACTERS:
        values = values.astype(np.uint16)
    return values.reshape(matrix.shape, order="F")


def _matrix(data: memoryview, order: str) -> Matrix:
    parts = list(_elements(data, order))
    if not parts:
        return Matrix("", 6, (0, 0), True, np.dtype("f8"), (), order)
    if len(parts) < 3 or parts[0][0] != 6 or len(parts[0][1]) != 8:
        raise ValueError("a matrix without array flags, dimensions or name")
    flags = int(np.frombuffer(parts[0][1], order + "u4")[0])
    kind, shape = flags & 0xFF, tuple(_integers(*parts[1], order))
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError("a matrix without dimensions")
    name = bytes(parts[2][1]).split(b"\0")[0].decode("latin-1")
    rest = tuple(parts[3:])
    stored = rest[0][0] if rest else 9
    flat = kind in ARRAYS and not flags & COMPLEX and stored in NUMBERS
    dtype = np.dtype(order + NUMBERS[stored] if flat else object)
    return Matrix(name, kind, shape, flat, dtype, rest, order)


def _elements(
    data: memoryview, order: str, *, padded: bool = True
) -> Iterator[tuple[int, memoryview]]:
    """Yield type and bytes of elements; small ones lie within their tag."""
    place = 0
    while place < len(data):
        if len(data) - place < 8:
            raise ValueError("an element is cut short")
        first, length = map(int, np.frombuffer(data[place : place + 8], order + "u4"))
        start = place + 8
        if first >> 16:
            first, length, start = first & 0xFFFF, first >> 16, place + 4
            if length > 4:
                raise ValueError("a small element is longer than four bytes")
            stop = place + 8
        else:
            # Within a matrix elements begin at multiples of eight bytes.
            stop = start + length + (-length % 8 if padded else 0)
        if start + length > len(data):
            raise ValueError("an element is longer than what holds it")
        yield first, data[start : start + length]
        place = stop


def _integers(kind: int, data: memoryview, order: str) -> list[int]:
    if kind not in NUMBERS or NUMBERS[kind][0] not in "iu":
        raise ValueError("a length or dimension that is no whole number")
    return [int(value) for value in np.frombuffer(data, order + NUMBERS[kind])]


def _inflated(packed: memoryview, limit: int) -> bytes:
    machine = zlib.decompressobj()
    data = machine.decompress(packed, max(1, limit))
    if machine.unconsumed_tail:
        raise OverflowError
    if not machine.eof:
        raise ValueError("a packed element is cut short")
    return data
