"""DICOM pixels: decoded, inverted where MONOCHROME1, in units, in colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from napari_medxai.errors import StudyError

from .dicom_access import BROKEN, functional, quiet
from .dicom_decoding import Layout, decode, read_layout
from .dicom_headers import read_dataset
from .dicom_rescale import Line, Mapping, invert, padding, read_mapping
from .dicom_tables import colours
from .dicom_window import Range, voi_window
from .naming import reason, shown

__all__ = ["Pixels", "read_pixels"]

COLOURS = frozenset(
    {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420"}
)


@dataclass(frozen=True, eq=False)
class Pixels:
    """Frames of one file after the modality LUT.

    Attributes
    ----------
    array : ndarray, shape (frames, rows, columns) or (frames, rows, columns, 3)
        Integers where slope and intercept are whole numbers, else float64. It can be
        written to.
    window : tuple of float or None
        (low, high) of the middle frame read, in units of `array`.
    inverted : bool
        Whether stored values were MONOCHROME1.
    notes : tuple of str
        What was out of the ordinary.
    padding : tuple of float or None
        Values in this closed range, in units of `array`, stand for "no pixel here".
        They are kept.
    """

    array: NDArray[Any]
    window: Range | None
    inverted: bool
    notes: tuple[str, ...]
    padding: Range | None = None


def read_pixels(
    path: Path,
    indices: Sequence[int],
    *,
    name: str = "",
    dataset: Dataset | None = None,
) -> Pixels:
    """Decode frames of a file. It may be called from several threads at once.

    Parameters
    ----------
    path : Path
        A DICOM image.
    indices : sequence of int
        Which frames, from 0, in which order.
    name : str
        What error texts call the file; its own name by default.
    dataset : Dataset, optional
        The file where it was read already, whole.

    Returns
    -------
    Pixels
        The frames after the modality LUT.

    Raises
    ------
    StudyError
        Where the file is damaged or its compression cannot be decoded.
    """
    name = name or shown(path)
    with quiet():
        try:
            if dataset is None:
                dataset = read_dataset(path)
            layout = _layout(name, dataset)
            stored, notes = decode(dataset, layout, indices, name)
            return _finish(name, dataset, layout, stored, indices, list(notes))
        except (*BROKEN, MemoryError) as error:
            if isinstance(error, StudyError):
                raise
            raise StudyError(
                f"{name}: the DICOM file is damaged or incomplete "
                f"({type(error).__name__}). Copy it again."
            ) from error


def _layout(name: str, dataset: Dataset) -> Layout:
    try:
        return read_layout(dataset)
    except ValueError as error:
        raise StudyError(f"{name}: {reason(error)}.") from error


def _finish(
    name: str,
    dataset: Dataset,
    layout: Layout,
    stored: NDArray[Any],
    indices: Sequence[int],
    notes: list[str],
) -> Pixels:
    notes += _left_out(dataset)
    if layout.samples > 1:
        if layout.photometric not in COLOURS or layout.samples != 3:
            raise StudyError(
                f"{name}: pixels of {layout.samples} samples in "
                f"{layout.photometric or 'no'} colours cannot be shown; RGB and YBR "
                "can. Convert the file to RGB."
            )
        return Pixels(_own(stored), None, False, tuple(notes))
    if layout.photometric == "PALETTE COLOR":
        rgb = colours(stored, dataset, signed=layout.signed, little=layout.little)
        return Pixels(rgb, None, False, tuple(notes))
    top: int | None = None
    if layout.photometric == "MONOCHROME1":
        if not layout.whole:
            raise StudyError(
                f"{name}: MONOCHROME1 is not defined for floating-point pixels."
            )
        stored, top = invert(stored, layout)
    mappings = []
    for frame in indices:
        group = functional(dataset, frame, "PixelValueTransformationSequence")
        mapping, note = read_mapping(dataset if group is None else group, layout)
        mappings.append(mapping)
        notes.append(note)
    middle = len(indices) // 2
    holder = functional(dataset, indices[middle], "FrameVOILUTSequence")
    window, note = _window(
        dataset if holder is None else holder, layout, mappings[middle], top
    )
    notes.append(note)
    absent, note = _padding(dataset, layout, top, mappings)
    notes.append(note)
    array = _mapped(stored, mappings)
    said = tuple(dict.fromkeys(filter(None, notes)))
    return Pixels(_own(array), window, top is not None, said, absent)


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """Copy what is a view of the file's bytes, which cannot be written to."""
    return array if array.flags.writeable else array.copy()


def _mapped(stored: NDArray[Any], mappings: Sequence[Mapping]) -> NDArray[Any]:
    first = mappings[0]
    # Tables compare by identity: each frame has its own.
    if len(mappings) == 1 or all(mapping == first for mapping in mappings):
        return first.look_up(stored)
    # Frames may differ in type where one has a whole-numbered slope and one has not.
    return np.stack(
        [
            mapping.look_up(frame)
            for frame, mapping in zip(stored, mappings, strict=True)
        ]
    )


def _window(
    holder: Dataset, layout: Layout, mapping: Mapping, top: int | None
) -> tuple[Range | None, str]:
    signed = layout.signed or (isinstance(mapping, Line) and mapping.intercept < 0)
    window, note = voi_window(holder, signed=signed, little=layout.little)
    if window is None or top is None:
        return window, note
    if not isinstance(mapping, Line):
        return None, "the window was dropped: MONOCHROME1 with a modality table"
    return mapping.mirror(window, top), note


def _padding(
    dataset: Dataset, layout: Layout, top: int | None, mappings: Sequence[Mapping]
) -> tuple[Range | None, str]:
    found = [padding(dataset, layout, top, mapping) for mapping in mappings]
    if len(set(found)) > 1:
        return None, (
            "the PixelPaddingValue was left out, as it has another value in each "
            "frame's units"
        )
    return found[0]


def _left_out(dataset: Dataset) -> list[str]:
    """List what the header has besides the pixels and is not applied to them."""
    notes = []
    if "RealWorldValueMappingSequence" in dataset or functional(
        dataset, 0, "RealWorldValueMappingSequence"
    ):
        notes.append("a real-world value map in the header was not applied")
    if dataset.get("PixelPresentation") in ("COLOR", "MIXED"):
        notes.append("the supplemental colour palette in the header was not applied")
    if "DoseGridScaling" in dataset:
        notes.append("DoseGridScaling was not applied: values are as stored")
    if (0x6000, 0x3000) in dataset or (0x6000, 0x0102) in dataset:
        notes.append("an overlay in the file was left out")
    return notes
