"""DICOM headers: what a file is, its slices if it is an image, what it refers to."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import UID

from .dicom_access import numbers, quiet
from .dicom_frames import Frame, frames_of, integer, splitters_of
from .dicom_tags import MEDIA_DIRECTORY, NOT_IMAGES, PARAMETRIC_MAPS, SPLITTERS, TAGS

__all__ = ["Companion", "FrameReader", "read_dataset", "read_frames"]

HEADER = [Tag(tag) for keyword in TAGS if (tag := tag_for_keyword(keyword)) is not None]

# In these the slices of a series differ; the rest they have in common. ImageType says
# how a file is to be read.
OWN = frozenset(
    Tag(tag_for_keyword(keyword) or 0)
    for keyword in (
        "SOPInstanceUID",
        "InstanceNumber",
        "ImagePositionPatient",
        *(splitter for splitter in SPLITTERS if splitter != "ImageType"),
    )
)


@dataclass(frozen=True)
class Companion:
    """A DICOM object that is no image.

    Attributes
    ----------
    path : Path
        Its file.
    modality : str
        For example SEG, RTSTRUCT, SR; ``DICOMDIR`` for the directory of a medium.
    references : frozenset of str
        SeriesInstanceUIDs that it refers to.
    frames_of_reference : frozenset of str
        FrameOfReferenceUIDs that it lies in or refers to.
    """

    path: Path
    modality: str
    references: frozenset[str] = frozenset()
    frames_of_reference: frozenset[str] = frozenset()

    def may_belong_to(self, series_uid: str, frame_uid: str) -> bool:
        """Whether it can be of a series: refers to it, or does not say otherwise."""
        if self.references:
            return series_uid in self.references
        known = self.frames_of_reference
        return not known or not frame_uid or frame_uid in known


def read_dataset(path: Path, *, headers: bool = False) -> Dataset:
    """Read a data set, with or without preamble; `headers` leaves the pixels out.

    Raises one of `BROKEN` where that is not possible.
    """
    with quiet():
        options: dict[str, Any] = (
            {"stop_before_pixels": True, "specific_tags": HEADER} if headers else {}
        )
        try:
            return pydicom.dcmread(path, **options)
        except InvalidDicomError:
            dataset = pydicom.dcmread(path, force=True, **options)
            if "SOPClassUID" not in dataset and "Modality" not in dataset:
                raise
            return dataset


class FrameReader:
    """Makes slices of headers; what the headers of a series share is read once."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Frame] = {}

    def known(
        self, path: Path, dataset: Dataset, signature: Hashable
    ) -> tuple[Frame, ...] | None:
        """Return the slice of a header that differs from a known one by its place.

        Parameters
        ----------
        path : Path
            Its file.
        dataset : Dataset
            Its header.
        signature : hashable
            From `_signature`.

        Returns
        -------
        tuple of Frame or None
            None where nothing like it was seen.
        """
        model = self._known.get(signature)
        if model is None:
            return None
        position = model.position and numbers(dataset, "ImagePositionPatient", 3)
        frame = replace(
            model,
            path=path,
            sop_uid=str(dataset.get("SOPInstanceUID") or ""),
            instance=integer(dataset, "InstanceNumber"),
            position=position,
            orientation=position and model.orientation,
            splitters=splitters_of(dataset),
        )
        return (frame,)

    def frames(
        self, path: Path, dataset: Dataset, signature: Hashable
    ) -> tuple[Frame, ...]:
        """Read the slices of an image.

        Parameters
        ----------
        path : Path
            Its file.
        dataset : Dataset
            Its header.
        signature : hashable
            From `_signature`.

        Returns
        -------
        tuple of Frame
            In the order of the file: the frames of a multi-frame object (functional
            groups, DICOM PS3.3 C.7.6.16), the tiles of a mosaic, or the only one.
        """
        frames = tuple(frames_of(path, dataset))
        first = frames[0]
        placed = first.position is not None or "ImagePositionPatient" not in dataset
        plain = first.frames == 1 and first.tile is None and first.problem is None
        if plain and placed:
            self._known[signature] = first
        return frames


def _signature(dataset: Dataset) -> Hashable:
    """Return what a header says apart from `OWN`, as the file has it.

    It is like that of no other header where there are sequences. It has to be taken
    first, as elements that were looked at are no longer the file's bytes.
    """
    said: list[object] = [dataset.original_encoding]
    for tag in dataset.keys():  # noqa: SIM118 - iterating itself would parse all
        element: object = dataset.get_item(tag)
        if tag in OWN:
            said.append(tag)
        elif isinstance(element, RawDataElement):
            said.append((tag, element.VR, element.value))
        else:
            return object()
    return tuple(said)


def read_frames(
    path: Path, *, any_object: bool = False, reader: FrameReader | None = None
) -> tuple[Frame, ...] | Companion | None:
    """Read one file's header.

    Parameters
    ----------
    path : Path
        A file.
    any_object : bool
        Whether segmentations, dose grids and maps count as images too, as they do
        where the user has named the file.
    reader : FrameReader, optional
        One for many files of one `any_object` is faster.

    Returns
    -------
    tuple of Frame, Companion or None
        The slices of an image; a companion for another object; None for a file
        that is not DICOM.

    Raises
    ------
    One of `BROKEN` for a damaged header.
    """
    try:
        dataset = read_dataset(path, headers=True)
    except InvalidDicomError:
        return None
    reader = reader or FrameReader()
    with quiet():
        signature = _signature(dataset)
        known = reader.known(path, dataset, signature)
        if known is not None:
            return known
        meta = getattr(dataset, "file_meta", None) or {}
        if str(meta.get("MediaStorageSOPClassUID", "")) == MEDIA_DIRECTORY:
            return Companion(path, "DICOMDIR")
        modality = str(dataset.get("Modality") or "").upper()
        _check_whole(dataset, modality)
        pictured = bool(dataset.get("Rows") and dataset.get("Columns"))
        other = (
            modality in NOT_IMAGES or str(dataset.get("SOPClassUID")) in PARAMETRIC_MAPS
        )
        if not pictured or (other and not any_object):
            return Companion(path, modality or "object", *_references(dataset))
        return reader.frames(path, dataset, signature)


def _check_whole(dataset: Dataset, modality: str) -> None:
    """Raise ValueError for a header that was cut or is no object at all."""
    sop_class = dataset.get("SOPClassUID")
    if sop_class is None and "Modality" not in dataset:
        raise ValueError("neither SOPClassUID nor Modality")
    # Raw data and reports have an image's modality and rightly no rows.
    whole = dataset.get("Rows") and dataset.get("Columns")
    image = "Image Storage" in UID(str(sop_class)).name and modality not in NOT_IMAGES
    if image and not whole:
        raise ValueError("an image without rows and columns")


def _references(dataset: Dataset) -> tuple[frozenset[str], frozenset[str]]:
    """Series and frames of reference that a SEG or RTSTRUCT names."""
    series = set()
    frames = {str(dataset.get("FrameOfReferenceUID") or "")}
    for item in dataset.get("ReferencedSeriesSequence") or ():
        series.add(str(item.get("SeriesInstanceUID", "")))
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        frames.add(str(frame.get("FrameOfReferenceUID") or ""))
        for study in frame.get("RTReferencedStudySequence") or ():
            for item in study.get("RTReferencedSeriesSequence") or ():
                series.add(str(item.get("SeriesInstanceUID", "")))
    return frozenset(series - {""}), frozenset(frames - {""})
