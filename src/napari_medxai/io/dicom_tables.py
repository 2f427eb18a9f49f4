"""Lookup tables of DICOM: modality, VOI and palette (PS3.3 C.11.1, C.11.2, C.7.9)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

__all__ = ["Table", "colours", "read_table"]

CHANNELS = ("Red", "Green", "Blue")
ENTRIES, LINE, REFERENCE = 0, 1, 2

# Place, kind, length, content.
_Segment = tuple[int, int, int, list[int]]


@dataclass(frozen=True, eq=False)
class Table:
    """A lookup table.

    Attributes
    ----------
    first : int
        The input that `values[0]` stands for; smaller ones get it too, and what lies
        beyond the end gets the last value.
    values : ndarray of uint8 or uint16, shape (n,)
        The outputs.
    """

    first: int
    values: NDArray[Any]

    def look_up(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Map each input, of any shape and integer type."""
        places = np.clip(inputs.astype(np.int64) - self.first, 0, len(self.values) - 1)
        return self.values[places]


def read_table(item: Dataset, *, signed: bool, little: bool) -> Table:
    """Read an item of ModalityLUTSequence or VOILUTSequence.

    Parameters
    ----------
    item : Dataset
        Holds LUTDescriptor and LUTData.
    signed : bool
        Whether the table's inputs can be negative.
    little : bool
        Byte order of the file.

    Raises
    ------
    ValueError
        Where the table is incomplete.
    """
    count, first, bits = _descriptor(item.LUTDescriptor, signed=signed)
    values = _entries(item.LUTData, count, bits, little=little)
    return Table(first, values)


def colours(
    stored: NDArray[Any], dataset: Dataset, *, signed: bool, little: bool
) -> NDArray[np.uint8]:
    """Apply the palette of a PALETTE COLOR image.

    Parameters
    ----------
    stored : ndarray of int
        Stored values, of any shape.
    dataset : Dataset
        Holds the Palette Color Lookup Table module, plain or segmented.
    signed : bool
        Whether the stored values are.
    little : bool
        Byte order of the file.

    Returns
    -------
    ndarray of uint8, shape (*stored.shape, 3)
        Red, green and blue. Of 16-bit entries the upper byte, unless all fit in the
        lower: some writers put 8-bit colours into 16-bit entries.

    Raises
    ------
    ValueError
        Where the palette is missing or damaged.

    Notes
    -----
    `pydicom.pixels.apply_color_lut` takes the type of the entries for the indices, so
    that 8-bit palettes of more than 256 entries come out wrong, and does not turn the
    bytes of big-endian files.
    """
    tables = []
    for channel in CHANNELS:
        name = f"{channel}PaletteColorLookupTable"
        count, first, bits = _descriptor(
            dataset.get(f"{name}Descriptor"), signed=signed
        )
        data = dataset.get(f"{name}Data")
        if data is not None:
            values = _entries(data, count, bits, little=little)
        else:
            segments = dataset.get(f"Segmented{name}Data")
            if segments is None:
                raise ValueError("the palette has no entries")
            words = _words(segments, 2 if bits > 8 else 1, little=little)
            expanded = _expand(words.tolist(), wide=bits > 8)
            if not expanded:
                raise ValueError("the palette has no entries")
            values = np.array(expanded, dtype=words.dtype)
        tables.append(Table(first, values))
    if max(int(table.values.max()) for table in tables) > 255:
        tables = [Table(table.first, table.values >> 8) for table in tables]
    result = np.empty((*stored.shape, 3), dtype=np.uint8)
    for number, table in enumerate(tables):
        result[..., number] = table.look_up(stored)
    return result


def _descriptor(value: Any, *, signed: bool) -> tuple[int, int, int]:
    """Split a descriptor into number of entries, first input, bits of an entry."""
    if value is None or len(value) != 3:
        raise ValueError("a lookup table's descriptor does not have three values")
    count, first, bits = (int(v) for v in value)
    # The first input is written as the pixels are, but often read as unsigned, and
    # the number of entries as signed.
    count %= 2**16
    first %= 2**16
    if signed and first >= 2**15:
        first -= 2**16
    if not 0 < bits <= 16:
        raise ValueError(f"a lookup table's entries cannot have {bits} bits")
    return count or 2**16, first, bits


def _entries(data: Any, count: int, bits: int, *, little: bool) -> NDArray[Any]:
    if isinstance(data, bytes | bytearray):
        # Eight-bit entries may lie in a byte or in a word each.
        packed = bits <= 8 and len(data) <= count + 1
        values = _words(data, 1 if packed else 2, little=little)
    else:
        listed = data if isinstance(data, Iterable) else [data]
        values = np.array([int(v) % 2**16 for v in listed], dtype=np.uint16)
        if bits <= 8 and len(values) < count:
            # Two to a word, and read as words.
            values = np.stack([values & 255, values >> 8], axis=-1).ravel()
    values = values[:count]
    if not len(values):
        raise ValueError("a lookup table has no entries")
    return values.astype(np.uint8) if bits <= 8 and values.max() < 256 else values


def _words(data: Any, size: int, *, little: bool) -> NDArray[Any]:
    """Read unsigned integers of `size` bytes."""
    raw = bytes(data) + b"\0" * (len(data) % 2)
    words: NDArray[Any] = np.frombuffer(raw, dtype="<u2" if little else ">u2")
    if size == 2:
        return words.astype(np.uint16)
    # Bytes lie in words as well, the first in the lower half.
    return np.stack([words & 255, words >> 8], axis=-1).ravel().astype(np.uint8)


def _expand(words: Sequence[int], *, wide: bool) -> list[int]:
    """Expand the segments of a palette (PS3.3 C.7.9.2)."""
    segments = list(_segments(words, wide=wide))
    places = {segment[0]: number for number, segment in enumerate(segments)}
    direct: list[_Segment] = []
    for segment in segments:
        _, kind, length, content = segment
        if kind < REFERENCE:
            direct.append(segment)
            continue
        start = places.get(content[0])
        copied = [] if start is None else segments[start : start + length]
        if len(copied) < length or any(s[1] == REFERENCE for s in copied):
            raise ValueError("the segmented palette refers to no segment of its own")
        direct.extend(copied)
    values: list[int] = []
    for _, kind, length, content in direct:
        if kind == LINE and values:
            ramp = np.linspace(values[-1], content[0], length + 1)[1:]
            values.extend(int(v) for v in np.rint(ramp))
        elif kind == LINE:
            raise ValueError("the segmented palette begins with a line")
        else:
            values.extend(content)
    return values


def _segments(words: Sequence[int], *, wide: bool) -> Iterator[_Segment]:
    """Yield place, kind, length and content; of a reference the place it points at."""
    place = 0
    # A palette of odd length has a byte of padding.
    while place + 1 < len(words):
        kind, length = words[place : place + 2]
        if kind not in (ENTRIES, LINE, REFERENCE):
            raise ValueError("the segmented palette has a segment of an unknown kind")
        size = {ENTRIES: length, LINE: 1, REFERENCE: 2 if wide else 4}[kind]
        content = list(words[place + 2 : place + 2 + size])
        if len(content) < size:
            raise ValueError("the segmented palette is cut short")
        if kind == REFERENCE:
            # An offset in bytes, the lowest part first.
            offset = sum(v << (16 if wide else 8) * i for i, v in enumerate(content))
            content = [offset // 2 if wide else offset]
        yield place, kind, length, content
        place += 2 + size
