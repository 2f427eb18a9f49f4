"""The overlay as DICOM Secondary Capture: what every PACS shows (PS3.3 A.8.1).

One object for each explained slice, in one new series: viewers that show multi-frame
true colour objects are few.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset

from napari_medxai import __version__
from napari_medxai.display import Screen
from napari_medxai.errors import ExportError
from napari_medxai.results import Explanation
from napari_medxai.study import Study

from .instance import NAME, SHORT_TEXT, finish, long_string, source_item
from .picture import BANNER, burned_in_picture
from .sources import SECONDARY_CAPTURE, Source, read_source
from .subject import Part, Subject

__all__ = ["secondary_captures"]

SERIES_NUMBER = 9003
TOMOGRAPHIC = frozenset({"CT", "MR", "PT"})


def secondary_captures(
    study: Study, explanation: Explanation, *, identify: bool = False
) -> Iterator[Dataset]:
    """Make a Secondary Capture of each explained slice.

    Parameters
    ----------
    study : Study
        Read from DICOM.
    explanation : Explanation
        Of this study.
    identify : bool
        As for :func:`parametric_map`.

    Yields
    ------
    Dataset
        8-bit RGB, "NOT FOR DIAGNOSIS - RESEARCH USE ONLY" burned in.

    Raises
    ------
    ExportError
        Where the study is not DICOM; and without `identify` where the images say
        that their pixels show who the patient is (BurnedInAnnotation YES).
    """
    subject = Subject.of(study, explanation)
    source = read_source(study, subject.indices)
    if source.burned_in and not identify:
        raise ExportError(
            "the images say that their pixels show who the patient is "
            "(BurnedInAnnotation YES), so a Secondary Capture would not be "
            "pseudonymous; --identify writes it with the patient's name"
        )
    for number, part in enumerate(subject.parts, start=1):
        yield _capture(subject, source, part, number, identify=identify)


def _capture(
    subject: Subject, source: Source, part: Part, number: int, *, identify: bool
) -> Dataset:
    pixels = burned_in_picture(subject, part)
    ds = Dataset()
    ds.SOPClassUID = SECONDARY_CAPTURE
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.Modality = "OT"
    ds.SeriesNumber = SERIES_NUMBER
    ds.InstanceNumber = number
    ds.PatientOrientation = _orientation(subject.study, source)
    ds.ConversionType = "WSD"
    ds.SecondaryCaptureDeviceManufacturer = NAME
    ds.SecondaryCaptureDeviceManufacturerModelName = NAME
    ds.SecondaryCaptureDeviceSoftwareVersions = __version__
    annotation = _burned_in(source)
    if annotation:
        ds.BurnedInAnnotation = annotation
    said = long_string(subject.says(part), SHORT_TEXT)
    ds.ImageComments = f"{BANNER}. {said}"
    ds.DerivationDescription = said
    index = part.index or 0
    references = source.referred([index])
    if references:
        ds.SourceImageSequence = [source_item(r) for r in references]
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    content = np.ascontiguousarray(pixels).tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB"
    finish(
        ds,
        subject,
        source,
        kind="dicom-sc",
        identify=identify,
        indices=[index],
    )
    return ds


def _orientation(study: Study, source: Source) -> list[str] | str:
    """PatientOrientation: where rows and columns run on the picture."""
    letters = Screen.of(study).letters
    if letters is not None:
        _, bottom, _, right = letters
        # PS3.3 C.7.6.1.1.1: feet and head, where the screen says I and S.
        return [{"I": "F", "S": "H"}.get(c, c) for c in (right, bottom)]
    own = source.header.get("PatientOrientation")
    return list(own) if own else ""


def _burned_in(source: Source) -> str:
    """BurnedInAnnotation: as the images say it; what is added identifies nobody.

    Images that do not say it are NO where a scanner computed their pixels; else
    nothing is said, which the standard reads as "may or may not".
    """
    if source.burned_in:
        return "YES"
    said = str(source.header.get("BurnedInAnnotation") or "").upper()
    if said == "NO":
        return "NO"
    original = "ORIGINAL" in [str(v) for v in source.header.get("ImageType") or ()]
    tomographic = str(source.header.get("Modality") or "") in TOMOGRAPHIC
    return "NO" if original and tomographic else ""
