"""DICOM headers: one small record per frame, with nothing that names the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from napari_medxai.privacy import pseudonym

from .dicom_access import functional, numbers, quiet

__all__ = [
    "Companion",
    "Frame",
    "read_dataset",
    "read_frames",
]

COMPANIONS = frozenset({"SEG", "RTSTRUCT"})
NOT_IMAGES = COMPANIONS | {
    "ANN",
    "AU",
    "DOC",
    "ECG",
    "EPS",
    "FID",
    "HD",
    "KO",
    "PLAN",
    "PR",
    "REG",
    "RESP",
    "RTDOSE",
    "RTPLAN",
    "RTRECORD",
    "SMR",
    "SR",
    "TEXTUREMAP",
}
PARAMETRIC_MAPS = frozenset({"1.2.840.10008.5.1.4.1.1.30"})

# By what two slices at one position may rightly differ, in the order tried.
SPLITTERS = {
    "AcquisitionNumber": "acquisition",
    "TemporalPositionIdentifier": "time point",
    "TemporalPositionIndex": "time point",
    "EchoTime": "echo time",
    "EffectiveEchoTime": "echo time",
    "DiffusionBValue": "b-value",
    "TriggerTime": "trigger time",
    "NominalCardiacTriggerDelayTime": "trigger delay",
    "ImageType": "image type",
    "FrameType": "frame type",
}
GROUPS = {
    "TemporalPositionIndex": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "NominalCardiacTriggerDelayTime": "CardiacSynchronizationSequence",
    "FrameType": "MRImageFrameTypeSequence",
}
SPACINGS = {
    "PixelSpacing": "",
    "ImagerPixelSpacing": "spacing is that of the detector (ImagerPixelSpacing), not "
    "of the patient: magnification is not corrected",
    "NominalScannedPixelSpacing": "spacing is that of a scanned film "
    "(NominalScannedPixelSpacing)",
}
TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "Modality",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
    *SPLITTERS,
    *SPACINGS,
]


@dataclass(frozen=True)
class Frame:
    """One slice: a single-frame file, or a frame of a multi-frame file.

    Attributes
    ----------
    path, index, frames : Path, int, int
        The file, the frame's index in it from 0, and how many it holds.
    position, orientation : tuple of float or None
        ImagePositionPatient and ImageOrientationPatient; both or neither.
    spacing : tuple of float or None
        (between rows, between columns) in mm.
    splitters : tuple of str
        Values by which slices at one position may be told apart.
    problem : str or None
        Why the pixels cannot be read as slices.
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
    spacing_note: str
    thickness: float | None
    splitters: tuple[str, ...]
    problem: str | None


@dataclass(frozen=True)
class Companion:
    """A DICOM object that is no image.

    Attributes
    ----------
    path : Path
        Its file.
    modality : str
        For example SEG, RTSTRUCT, SR.
    references : frozenset of str
        SeriesInstanceUIDs that it refers to.
    """

    path: Path
    modality: str
    references: frozenset[str] = frozenset()


def read_dataset(path: Path, *, headers: bool = False) -> Dataset:
    """Read a data set, with or without preamble; `headers` leaves the pixels out.

    Raises one of `BROKEN` where that is not possible.
    """
    with quiet():
        options: dict[str, Any] = (
            {"stop_before_pixels": True, "specific_tags": list(TAGS)} if headers else {}
        )
        try:
            return pydicom.dcmread(path, **options)
        except InvalidDicomError:
            dataset = pydicom.dcmread(path, force=True, **options)
            if "SOPClassUID" not in dataset and "Modality" not in dataset:
                raise
            return dataset


def read_frames(path: Path) -> tuple[Frame, ...] | Companion | None:
    """Read one file's header.

    Returns
    -------
    tuple of Frame, Companion or None
        The slices of an image; a companion for another object; None for a file
        that is not DICOM or a directory of a medium.

    Raises
    ------
    One of `BROKEN` for a damaged header.
    """
    try:
        dataset = read_dataset(path, headers=True)
    except InvalidDicomError:
        return None
    with quiet():
        if (
            getattr(dataset, "file_meta", None) is not None
            and str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
            == "1.2.840.10008.1.3.10"
        ):
            return None
        modality = str(dataset.get("Modality") or "").upper()
        _check_whole(dataset, modality)
        if (
            modality in NOT_IMAGES
            or str(dataset.get("SOPClassUID")) in PARAMETRIC_MAPS
            or not dataset.get("Rows")
            or not dataset.get("Columns")
        ):
            return Companion(path, modality or "object", _references(dataset))
        count = int(dataset.get("NumberOfFrames") or 1)
        return tuple(_frame(path, dataset, index, count) for index in range(count))


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


def _references(dataset: Dataset) -> frozenset[str]:
    found = set()
    for item in dataset.get("ReferencedSeriesSequence") or ():
        found.add(str(item.get("SeriesInstanceUID", "")))
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for item in study.get("RTReferencedSeriesSequence") or ():
                found.add(str(item.get("SeriesInstanceUID", "")))
    return frozenset(found - {""})


def _positive(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return values if values is not None and min(values) > 0 else None


def _frame(path: Path, dataset: Dataset, index: int, count: int) -> Frame:
    plane = functional(dataset, index, "PlanePositionSequence") or dataset
    turn = functional(dataset, index, "PlaneOrientationSequence") or dataset
    position = numbers(plane, "ImagePositionPatient", 3)
    orientation = numbers(turn, "ImageOrientationPatient", 6)
    if plane is dataset and count > 1:
        # One position cannot hold for many frames.
        position = None
    if orientation is not None:
        orientation = _orthonormal(orientation)
    if position is None or orientation is None:
        position = orientation = None
    measures = functional(dataset, index, "PixelMeasuresSequence") or dataset
    spacing, note = None, ""
    for keyword, text in SPACINGS.items():
        spacing = _positive(numbers(measures, keyword, 2))
        if spacing is not None:
            note = text
            break
    thickness = _positive(numbers(measures, "SliceThickness", 1)) or _positive(
        numbers(measures, "SpacingBetweenSlices", 1)
    )
    image_type = [str(v).upper() for v in dataset.get("ImageType") or ()]
    problem = None
    if "MOSAIC" in image_type:
        problem = (
            "is a Siemens mosaic, many slices tiled into one picture, which is not "
            "supported; convert it to NIfTI with dcm2niix"
        )
    patient = str(dataset.get("PatientID") or dataset.get("PatientName") or "").strip()
    return Frame(
        path=path,
        index=index,
        frames=count,
        series_uid=str(dataset.get("SeriesInstanceUID") or ""),
        study_uid=str(dataset.get("StudyInstanceUID") or ""),
        sop_uid=str(dataset.get("SOPInstanceUID") or ""),
        frame_uid=str(dataset.get("FrameOfReferenceUID") or ""),
        modality=str(dataset.get("Modality") or "").upper(),
        description=_description(dataset),
        number=_integer(dataset, "SeriesNumber"),
        instance=_integer(dataset, "InstanceNumber"),
        patient=pseudonym(patient) if patient else None,
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        position=position,
        orientation=orientation,
        spacing=spacing,
        spacing_note=note,
        thickness=thickness[0] if thickness else None,
        splitters=tuple(_splitter(dataset, index, name) for name in SPLITTERS),
        problem=problem,
    )


def _orthonormal(orientation: tuple[float, ...]) -> tuple[float, ...] | None:
    """Row and column directions of length one; None where they are degenerate."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.5 or abs(row @ column) > 0.01 * lengths[0] * lengths[1]:
        return None
    row, column = row / lengths[0], column / lengths[1]
    return tuple(float(v) for v in (*row, *column))


def _splitter(dataset: Dataset, index: int, name: str) -> str:
    group = GROUPS.get(name)
    holder = functional(dataset, index, group) if group else None
    value = (holder if holder is not None else dataset).get(name)
    return "" if value is None else str(value)


def _integer(dataset: Dataset, keyword: str) -> int | None:
    value = dataset.get(keyword)
    return None if value is None or value == "" else int(value)


def _description(dataset: Dataset) -> str:
    """SeriesDescription, unless somebody typed the patient's name into it."""
    text = " ".join(str(dataset.get("SeriesDescription") or "").split())
    secrets = str(dataset.get("PatientName") or "").replace("^", " ").split()
    secrets.append(str(dataset.get("PatientID") or "").strip())
    for secret in secrets:
        if len(secret) >= 3 and secret.casefold() in text.casefold():
            return ""
    return text
