"""The DICOM instances a study was read from: headers, references, geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from napari_medxai.errors import ExportError
from napari_medxai.io.dicom_access import BROKEN, functional, quiet
from napari_medxai.study import Study

__all__ = ["Plane", "Reference", "Source", "planes", "read_source", "resampled"]

# Patient, General Study and Patient Study modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2):
# what they require, and what a PACS files by.
PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientNames",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
)
STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "StudyDescription",
    "ProcedureCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientSexNeutered",
    "TimezoneOffsetFromUTC",
)
LOSSY = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
TAGS = (
    *PATIENT,
    *STUDY,
    *LOSSY,
    "SOPClassUID",
    "SOPInstanceUID",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "Modality",
    "ImageType",
    "BurnedInAnnotation",
    "PatientOrientation",
    "Laterality",
    "ImageLaterality",
    "SliceThickness",
    "SharedFunctionalGroupsSequence",
    "ContentDate",
    "ContentTime",
    "SeriesDate",
    "SeriesTime",
)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
NOT_DICOM = "the images are not DICOM, so there is nothing to refer to"
NO_PLACE = (
    "the images' headers do not say where in the patient they lie (position, "
    "orientation or pixel spacing is missing), so a map cannot be placed there; a "
    "Secondary Capture (dicom-sc) can show it"
)
NO_FRAME = (
    "the images have no frame of reference, as is usual for radiographs, so a map "
    "cannot be placed in the patient; a Secondary Capture (dicom-sc) can show it"
)


@dataclass(frozen=True)
class Reference:
    """An instance, or one frame of it.

    Attributes
    ----------
    sop_class, sop_instance : str
    frame : int or None
        From 1; None where the instance has one frame.
    same_grid : bool
        Whether its pixels are the study's, one by one; not those of a mosaic.
    """

    sop_class: str
    sop_instance: str
    frame: int | None
    same_grid: bool


@dataclass(frozen=True)
class Plane:
    """Where a slice lies: DICOM PS3.3 C.7.6.2.

    Attributes
    ----------
    position : tuple of float
        ImagePositionPatient.
    orientation : tuple of float
        ImageOrientationPatient.
    spacing : tuple of float
        PixelSpacing.
    thickness : float
        SliceThickness.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    thickness: float


@dataclass(frozen=True, eq=False)
class Source:
    """What an export must know of the images.

    Attributes
    ----------
    header : Dataset
        Of the first file: the elements in :data:`TAGS`. It names the patient.
    study_uid, series_uid, frame_of_reference : str
        "" where the header has none that is valid.
    references : mapping of int to Reference
        By slice, or by file where the grid is another; without those that have no
        valid SOPInstanceUID.
    own_slices : bool
        Whether each slice is a frame of a file, not computed from several.
    burned_in : bool
        Whether a file says that its pixels identify the patient.
    """

    header: Dataset = field(repr=False)
    study_uid: str
    series_uid: str
    frame_of_reference: str
    references: dict[int, Reference]
    own_slices: bool
    burned_in: bool

    def referred(self, indices: Sequence[int] | None = None) -> tuple[Reference, ...]:
        """Return what slices were made from, each once; by default all that is known.

        Slices of a resampled grid were made from all files.
        """
        if indices is None or not self.own_slices:
            return tuple(dict.fromkeys(self.references.values()))
        found = [self.references[i] for i in indices if i in self.references]
        return tuple(dict.fromkeys(found))


def read_source(study: Study, indices: Sequence[int]) -> Source:
    """Read the headers of the files that these slices came from.

    Parameters
    ----------
    study : Study
        Read from DICOM.
    indices : sequence of int
        Slices; a grid that was resampled refers to all of its files.

    Raises
    ------
    ExportError
        Where the study is not DICOM, or its files are gone or damaged.
    """
    if study.metadata.get("format") != "dicom":
        raise ExportError(NOT_DICOM)
    data = study.metadata
    own = not resampled(study)
    files: Sequence[Path] = data["frame_files"] if own else study.files
    wanted = list(indices) if own else list(range(len(files)))
    headers = {path: _header(path) for path in {files[i] for i in wanted}}
    references = {}
    for i in wanted:
        header = headers[files[i]]
        instance = _uid(header.get("SOPInstanceUID"))
        if not instance:
            continue
        several = own and int(header.get("NumberOfFrames") or 1) > 1
        references[i] = Reference(
            _uid(header.get("SOPClassUID")) or SECONDARY_CAPTURE,
            instance,
            data["frame_indices"][i] + 1 if several else None,
            own and (header.get("Rows"), header.get("Columns")) == study.shape[-2:],
        )
    return Source(
        header=headers[files[wanted[0]]],
        study_uid=_uid(data.get("study_uid")),
        series_uid=_uid(data.get("series_uid")),
        frame_of_reference=_uid(data.get("frame_of_reference_uid")),
        references=references,
        own_slices=own,
        burned_in=any(
            str(h.get("BurnedInAnnotation") or "").upper() == "YES"
            for h in headers.values()
        ),
    )


def resampled(study: Study) -> bool:
    """Whether the study's slices are no longer those of its files."""
    files = study.metadata.get("frame_files", ())
    return bool(study.metadata.get("resampled")) or len(files) != study.slices


def planes(study: Study, source: Source, indices: Sequence[int]) -> list[Plane]:
    """Say where slices lie; uneven and tilted stacks by each file's own position.

    Raises
    ------
    ExportError
        Where there is no frame of reference, or no position.
    """
    affine = study.affine_lps
    if not source.frame_of_reference:
        raise ExportError(NO_FRAME)
    if affine is None:
        raise ExportError(NO_PLACE)
    steps = affine[:3, :3]
    rows, columns = (float(np.linalg.norm(steps[:, a])) for a in (1, 2))
    across = np.cross(steps[:, 2] / columns, steps[:, 1] / rows)
    orientation = tuple(float(v) for v in (*steps[:, 2] / columns, *steps[:, 1] / rows))
    between = abs(float(steps[:, 0] @ across))
    own = () if resampled(study) else study.metadata.get("positions", ())
    result = []
    for index in indices:
        place: Any = own[index] if index < len(own) else None
        if place is None:
            place = affine[:3, 3] + index * steps[:, 0]
        result.append(
            Plane(
                position=tuple(float(v) for v in place),
                orientation=orientation,
                spacing=(rows, columns),
                thickness=_thickness(study, source) or between,
            )
        )
    return result


def _thickness(study: Study, source: Source) -> float | None:
    """SliceThickness of the files; a resampled grid has its own."""
    if resampled(study):
        return None
    measures = functional(source.header, 0, "PixelMeasuresSequence") or source.header
    try:
        value = float(measures.get("SliceThickness") or 0)
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) and value > 0 else None


def _uid(value: object) -> str:
    """Return a UID that the standard allows in a reference, else ""."""
    with quiet():
        uid = UID(str(value or ""))
        return str(uid) if uid.is_valid else ""


def _header(path: Path) -> Dataset:
    try:
        state = path.stat()
        return _read(path, state.st_mtime_ns, state.st_size)
    except BROKEN as error:
        # No path and no value: both can name the patient.
        raise ExportError(
            "the images' headers can no longer be read "
            f"({type(error).__name__}); put the files back and run again"
        ) from error


@lru_cache(maxsize=4096)  # about 11 KiB each
def _read(path: Path, _modified: int, _size: int) -> Dataset:
    """Read what exports use; every method and format asks for the same headers."""
    with quiet():
        header: Dataset = pydicom.dcmread(
            path, stop_before_pixels=True, force=True, specific_tags=list(TAGS)
        )
        header.decode()
    return header
