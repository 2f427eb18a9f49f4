"""Whose an exported object is: a pseudonym, or with `identify` the patient."""

from __future__ import annotations

import copy
import re

from pydicom.dataset import Dataset

from napari_medxai.io.dicom_access import quiet
from napari_medxai.privacy import derived_uid, pseudonym

from .sources import PATIENT, STUDY, Source

__all__ = ["content_moment", "identity"]

REQUIRED = (  # type 2: present, also where empty
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
DEIDENTIFIED = (
    "napari-medxai: patient by a pseudonym, a study UID of its own,",
    "no dates; the source images' UIDs are kept as references",
)
FIXED_DATE, FIXED_TIME = "19000101", "000000"


def identity(source: Source, *, identify: bool) -> Dataset:
    """Collect the patient and study attributes of an export.

    Parameters
    ----------
    source : Source
    identify : bool
        Whether they are the source's own, so that a PACS files the export with the
        patient. Else PatientID and PatientName are the pseudonym that the case has
        everywhere, StudyInstanceUID is derived from the source's by the same salt,
        and every other attribute of these modules is empty.

    Returns
    -------
    Dataset
    """
    header, result = source.header, Dataset()
    with quiet():
        if identify:
            for keyword in (*PATIENT, *STUDY):
                if keyword in header:
                    result[keyword] = copy.deepcopy(header[keyword])
            for keyword in REQUIRED:
                if keyword not in result:
                    setattr(result, keyword, "")
            if not result.get("StudyInstanceUID"):
                result.StudyInstanceUID = _own_study(source)
            return result
        for keyword in REQUIRED:
            setattr(result, keyword, "")
        result.PatientID = result.PatientName = _pseudonym(source)
        result.StudyInstanceUID = _own_study(source)
        result.PatientIdentityRemoved = "YES"
        result.DeidentificationMethod = list(DEIDENTIFIED)
        result.LongitudinalTemporalInformationModified = "REMOVED"
    return result


def content_moment(source: Source, *, identify: bool) -> tuple[str, str]:
    """ContentDate and ContentTime: the standard wants them, a rerun must not differ.

    Returns
    -------
    tuple of str
        With `identify` the images' own ContentDate, SeriesDate or StudyDate with its
        time; else, and where there is none, 19000101 and 000000.
    """
    if identify:
        for kind in ("Content", "Series", "Study"):
            date = str(source.header.get(f"{kind}Date") or "")
            if re.fullmatch(r"\d{8}", date):
                time = str(source.header.get(f"{kind}Time") or "")
                whole = re.match(r"\d{6}", time)
                return date, whole.group() if whole else FIXED_TIME
    return FIXED_DATE, FIXED_TIME


def _pseudonym(source: Source) -> str:
    """Name the patient by the same rule as the reader."""
    header = source.header
    patient = str(header.get("PatientID") or header.get("PatientName") or "").strip()
    if patient:
        return pseudonym(patient)
    # Two unknown patients must not become one in a PACS.
    return pseudonym(source.study_uid or source.series_uid, prefix="U")


def _own_study(source: Source) -> str:
    return derived_uid("study", source.study_uid or source.series_uid)
