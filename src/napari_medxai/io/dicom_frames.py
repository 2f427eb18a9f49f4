"""From one data set to its slices: place, spacing, and what tells slices apart.

Nothing in a `Frame` names the patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from napari_medxai.privacy import pseudonym

from .dicom_access import frame_count, numbers
from .dicom_tags import GROUPS, SPACINGS, SPLITTERS
from .mosaic import read_mosaic
from .structure_names import identity_words, safe_name

__all__ = ["Frame", "frames_of", "integer", "splitters_of"]

SPLITTING = {keyword: Tag(tag_for_keyword(keyword) or 0) for keyword in SPLITTERS}
IDENTIFIABLE = (
    ("BurnedInAnnotation", "text is burned into the picture"),
    ("RecognizableVisualFeatures", "the patient's face can be recognised"),
)


@dataclass(frozen=True)
class Frame:
    """One slice: a single-frame file, a frame of a multi-frame file, a mosaic's tile.

    Attributes
    ----------
    path, index, frames : Path, int, int
        The file, the frame's index in it from 0, and how many it holds.
    rows, columns : int
        Of the slice; for a tile, of the tile.
    position, orientation : tuple of float or None
        ImagePositionPatient and ImageOrientationPatient; both or neither.
    spacing : tuple of float or None
        (between rows, between columns) in mm.
    splitters : tuple of (str, str)
        Elements by which slices at one position may be told apart, with their
        values; the dimension indices of a multi-frame object are among them.
    stack : str
        StackID, "" where there is none.
    remarks : tuple of str
        What a careful person wants to know of the file.
    problem : str or None
        Why the pixels cannot be read as slices.
    tile : int or None
        Which tile of a mosaic this is, from 0.
    """

    path: Path
    index: int
    frames: int
    series_uid: str
    study_uid: str
    sop_uid: str
    frame_uid: str
    modality: str
    description: str
    number: int | None
    instance: int | None
    patient: str | None
    rows: int
    columns: int
    samples: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None
    splitters: tuple[tuple[str, str], ...]
    stack: str
    remarks: tuple[str, ...]
    problem: str | None
    tile: int | None = None


class _Groups:
    """Functional groups of a multi-frame object (PS3.3 C.7.6.16)."""

    def __init__(self, dataset: Dataset) -> None:
        self._frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
        self._shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())[:1]

    def item(self, index: int, sequence: str) -> Dataset | None:
        """Item of a group: the frame's own, else the shared one."""
        for group in (*self._frames[index : index + 1], *self._shared):
            items = group.get(sequence)
            if items:
                item: Dataset = items[0]
                return item
        return None

    def __bool__(self) -> bool:
        return bool(self._frames or self._shared)


def frames_of(path: Path, dataset: Dataset) -> Iterator[Frame]:
    """Yield the slices of an image.

    Parameters
    ----------
    path : Path
        Its file.
    dataset : Dataset
        Its header.

    Yields
    ------
    Frame
        In the order of the file: the frames of a multi-frame object (functional
        groups, DICOM PS3.3 C.7.6.16), the tiles of a mosaic, or the only one.
    """
    whole = _common(path, dataset)
    groups = _Groups(dataset)
    if "MOSAIC" in [str(v).upper() for v in dataset.get("ImageType") or ()]:
        yield from _tiles(whole, dataset)
        return
    offsets = _dose_offsets(dataset, whole.frames)
    for index in range(whole.frames):
        frame = replace(whole, index=index)
        if groups:
            frame = _placed(frame, dataset, groups)
        elif offsets is not None and whole.position and whole.orientation:
            row, column = np.array(whole.orientation).reshape(2, 3)
            place = np.array(whole.position) + offsets[index] * np.cross(row, column)
            frame = replace(frame, position=tuple(float(v) for v in place))
        elif whole.frames > 1:
            # One position cannot hold for many frames.
            frame = replace(frame, position=None, orientation=None)
        yield frame


def _common(path: Path, dataset: Dataset) -> Frame:
    """Read what all frames of a file share, and the place of a single one."""
    patient = str(dataset.get("PatientID") or dataset.get("PatientName") or "").strip()
    position, orientation = _plane(dataset, dataset)
    spacing, remarks = _spacing(dataset)
    for keyword, text in IDENTIFIABLE:
        if str(dataset.get(keyword) or "").strip().upper() == "YES":
            remarks += (
                f"{keyword} is YES, {text}: the pixels may show the patient's name or "
                "face; look before you pass them on",
            )
    aspect = numbers(dataset, "PixelAspectRatio", 2)
    if spacing is None and aspect and aspect[0] != aspect[1] and min(aspect) > 0:
        remarks += (
            f"pixels are not square (PixelAspectRatio {aspect[0]:g}:{aspect[1]:g}) "
            "and have no size in mm: they are shown as if they were",
        )
    return Frame(
        path=path,
        index=0,
        frames=frame_count(dataset),
        series_uid=str(dataset.get("SeriesInstanceUID") or ""),
        study_uid=str(dataset.get("StudyInstanceUID") or ""),
        sop_uid=str(dataset.get("SOPInstanceUID") or ""),
        frame_uid=str(dataset.get("FrameOfReferenceUID") or ""),
        modality=str(dataset.get("Modality") or "").upper(),
        description=_description(dataset),
        number=integer(dataset, "SeriesNumber"),
        instance=integer(dataset, "InstanceNumber"),
        patient=pseudonym(patient) if patient else None,
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        position=position,
        orientation=orientation,
        spacing=spacing,
        thickness=_thickness(dataset),
        splitters=splitters_of(dataset),
        stack="",
        remarks=remarks,
        problem=None,
    )


def splitters_of(dataset: Dataset) -> tuple[tuple[str, str], ...]:
    """Return the elements by which slices may be told apart, with their values."""
    return tuple(
        (keyword, str(value))
        for keyword, tag in SPLITTING.items()
        if tag in dataset and (value := dataset[tag].value) is not None
    )


def _placed(frame: Frame, dataset: Dataset, groups: _Groups) -> Frame:
    """Add what the functional groups say of one frame."""
    plane = groups.item(frame.index, "PlanePositionSequence")
    turn = groups.item(frame.index, "PlaneOrientationSequence")
    if plane is None and frame.frames > 1:
        position = orientation = None
    else:
        position, orientation = _plane(plane or dataset, turn or dataset)
    measures = groups.item(frame.index, "PixelMeasuresSequence")
    if measures is not None:
        spacing, remarks = _spacing(measures)
        own = [r for r in frame.remarks if r not in SPACINGS.values()]
        frame = replace(
            frame,
            spacing=spacing,
            remarks=(*own, *remarks),
            thickness=_thickness(measures),
        )
    splitters = dict(frame.splitters)
    for keyword, sequence in GROUPS.items():
        item = groups.item(frame.index, sequence)
        value = None if item is None else item.get(keyword)
        if value is not None:
            splitters[keyword] = str(value)
    content = groups.item(frame.index, "FrameContentSequence")
    for number, value in enumerate(_indices(content)):
        splitters[f"dimension {number + 1}"] = value
    return replace(
        frame,
        position=position,
        orientation=orientation,
        splitters=tuple(splitters.items()),
        stack="" if content is None else str(content.get("StackID") or ""),
    )


def _indices(content: Dataset | None) -> list[str]:
    """DimensionIndexValues of a frame (PS3.3 C.7.6.17)."""
    values = None if content is None else content.get("DimensionIndexValues")
    if values is None:
        return []
    return [str(v) for v in (values if hasattr(values, "__iter__") else [values])]


def _tiles(whole: Frame, dataset: Dataset) -> Iterator[Frame]:
    """Yield the slices of a Siemens mosaic; where that fails, the whole and why."""
    try:
        if whole.frames > 1:
            raise ValueError("of several frames")
        step = _positive(numbers(dataset, "SpacingBetweenSlices", 1))
        mosaic = read_mosaic(
            whole.path,
            rows=whole.rows,
            columns=whole.columns,
            position=whole.position,
            orientation=whole.orientation,
            spacing=whole.spacing,
            step=step[0] if step else None,
        )
    except ValueError as error:
        problem = (
            f"is a Siemens mosaic, many slices tiled into one picture, {error}; "
            "convert it to NIfTI with dcm2niix"
        )
        yield replace(whole, problem=problem)
        return
    remarks = (*whole.remarks, mosaic.remark) if mosaic.remark else whole.remarks
    for tile, position in enumerate(mosaic.positions):
        yield replace(
            whole,
            rows=mosaic.rows,
            columns=mosaic.columns,
            position=position,
            remarks=remarks,
            tile=tile,
        )


def _dose_offsets(dataset: Dataset, count: int) -> tuple[float, ...] | None:
    """Where the frames of a dose grid lie from the first (PS3.3 C.8.8.3.2).

    None where the vector holds positions instead of distances, which an earlier
    edition allowed.
    """
    offsets = numbers(dataset, "GridFrameOffsetVector", count)
    return offsets if offsets and offsets[0] == 0 else None


def _plane(
    plane: Dataset, turn: Dataset
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Position and orientation; both or neither."""
    position = numbers(plane, "ImagePositionPatient", 3)
    orientation = numbers(turn, "ImageOrientationPatient", 6)
    if orientation is not None:
        orientation = _orthonormal(orientation)
    if position is None or orientation is None:
        return None, None
    return position, orientation


def _spacing(measures: Dataset) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    for keyword, text in SPACINGS.items():
        spacing = _positive(numbers(measures, keyword, 2))
        if spacing is not None:
            return spacing, (text,) if text else ()
    return None, ()


def _thickness(measures: Dataset) -> float | None:
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        value = _positive(numbers(measures, keyword, 1))
        if value is not None:
            return value[0]
    return None


def _positive(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return values if values is not None and min(values) > 0 else None


def _orthonormal(orientation: tuple[float, ...]) -> tuple[float, ...] | None:
    """Row and column directions of length one; None where they are degenerate."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.5 or abs(row @ column) > 0.01 * lengths[0] * lengths[1]:
        return None
    row, column = row / lengths[0], column / lengths[1]
    return tuple(float(v) for v in (*row, *column))


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Whole number of an element; None where absent, empty or no number."""
    try:
        return int(dataset.get(keyword))
    except (TypeError, ValueError):
        return None


def _description(dataset: Dataset) -> str:
    """SeriesDescription, unless somebody typed the patient's name into it."""
    return safe_name(dataset.get("SeriesDescription"), identity_words(dataset), "")
