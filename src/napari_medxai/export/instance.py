"""What all exported DICOM instances share: equipment, references, UIDs, bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from napari_medxai import __version__
from napari_medxai.errors import ExportError
from napari_medxai.io.dicom_access import quiet
from napari_medxai.privacy import derived_uid

from .identity import content_moment, identity
from .sources import LOSSY, Reference, Source
from .subject import Subject

__all__ = [
    "DEVICE",
    "NAME",
    "SHORT_TEXT",
    "code",
    "dicom_bytes",
    "finish",
    "long_string",
    "placeholder",
    "source_item",
]

NAME = "napari-medxai"
DEVICE = "software"
EXPORT_VERSION = "1"
SHORT_TEXT = 1024  # of an ST (PS3.5 6.2)
LARGEST = 2**32 - 2  # bytes of one element (PS3.5 7.1)
# Say when something was made, which would differ in every run.
MOMENTS = (
    "InstanceCreationDate",
    "InstanceCreationTime",
    "InstanceCreatorUID",
    "SeriesDate",
    "SeriesTime",
    "ContributingEquipmentSequence",
)


def placeholder(number: int) -> str:
    """Make a UID that stands in for a frame while an object is built."""
    return f"2.25.{number + 1}"


def long_string(text: str, length: int = 64) -> str:
    """Fit text into an LO: no backslash, no control characters, 64 at most.

    Bytes of UTF-8 are counted, since some readers do, though the standard counts
    characters.
    """
    clean = "".join(" " if c == "\\" or not c.isprintable() else c for c in text)
    clean = " ".join(clean.split())
    if len(clean.encode()) <= length:
        return clean
    return clean.encode()[: length - 3].decode(errors="ignore").rstrip() + "..."


def source_item(reference: Reference) -> Dataset:
    """Make an item of a SourceImageSequence."""
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class
    item.ReferencedSOPInstanceUID = reference.sop_instance
    if reference.frame is not None:
        item.ReferencedFrameNumber = reference.frame
    item.PurposeOfReferenceCodeSequence = [
        code("121322", "Source image for image processing operation")
    ]
    return item


def finish(
    ds: Dataset,
    subject: Subject,
    source: Source,
    *,
    kind: str,
    identify: bool,
    indices: Sequence[int],
    variant: str = "",
) -> None:
    """Give an object its patient, study, equipment, references and UIDs, in place.

    Parameters
    ----------
    ds : Dataset
        Whole but for what is filled in here.
    subject : Subject
    source : Source
    kind : str
        As ``--export`` names it; objects of a map and kind make a series.
    identify : bool
    indices : sequence of int
        Slices that the object shows.
    variant : str
        What else the series depends on.
    """
    with quiet():
        # Only now, so that no library that logs ever saw the patient.
        ds.update(identity(source, identify=identify))
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ContentDate, ds.ContentTime = content_moment(source, identify=identify)
        for keyword in MOMENTS:
            if keyword in ds:
                del ds[keyword]
        if str(source.header.get("LossyImageCompression") or "") == "01":
            for keyword in LOSSY:  # once lossy, always lossy (PS3.3 C.7.6.1.1.5)
                if source.header.get(keyword):
                    ds[keyword] = source.header[keyword]
        # Type 2C of General Series; empty where nobody said which side it is.
        if kind != "dicom-seg":
            ds.Laterality = laterality(source)
        ds.Manufacturer = ds.ManufacturerModelName = NAME
        ds.SoftwareVersions = __version__
        ds.DeviceSerialNumber = DEVICE
        ds.SeriesDescription = long_string(
            f"{subject.label} saliency, research use only"
        )
        series = derived_uid(
            "series",
            EXPORT_VERSION,
            kind,
            variant,
            str(identify),
            source.series_uid,
            str(subject.study.metadata.get("series_key", "")),
            subject.digest,
        )
        ds.SeriesInstanceUID = series
        _refer(ds, source, indices, identify=identify)
        _replace_random_uids(ds, series)
        _name_instance(ds, series)


def laterality(source: Source) -> str:
    """Side of a paired body part, as the images say it."""
    said = (source.header.get(name) for name in ("Laterality", "ImageLaterality"))
    sides = [str(side) for side in said if side in ("L", "R")]
    return sides[0] if sides else ""


def dicom_bytes(ds: Dataset) -> bytes:
    """Encode a DICOM file (PS3.10).

    Raises
    ------
    ExportError
        Where it is too large for the format.
    """
    stream = io.BytesIO()
    with quiet():
        for keyword in ("FloatPixelData", "PixelData"):
            if len(ds.get(keyword) or b"") > LARGEST:
                raise ExportError(
                    "a DICOM object holds less than 4 GiB of pixels; explain fewer "
                    "slices"
                )
        pydicom.dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()


def _refer(
    ds: Dataset, source: Source, indices: Sequence[int], *, identify: bool
) -> None:
    """Fill the Common Instance Reference module (PS3.3 C.12.2)."""
    for keyword in (
        "ReferencedSeriesSequence",
        "StudiesContainingOtherReferencedInstancesSequence",
    ):
        if keyword in ds:
            del ds[keyword]
    references = source.referred(indices)
    if not references or not source.series_uid:
        return
    instances = {r.sop_instance: r.sop_class for r in references}
    series = Dataset()
    series.SeriesInstanceUID = source.series_uid
    series.ReferencedInstanceSequence = []
    for sop_instance, sop_class in instances.items():
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = sop_instance
        series.ReferencedInstanceSequence.append(item)
    if identify or not source.study_uid:
        ds.ReferencedSeriesSequence = [series]
        return
    study = Dataset()  # the export's own study is another
    study.StudyInstanceUID = source.study_uid
    study.ReferencedSeriesSequence = [series]
    ds.StudiesContainingOtherReferencedInstancesSequence = [study]


def _replace_random_uids(ds: Dataset, series: str) -> None:
    """Replace the dimension organisation's UID, which highdicom draws at random."""
    for holder in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in ds.get(holder) or ():
            if "DimensionOrganizationUID" in item:
                item.DimensionOrganizationUID = derived_uid("dimensions", series)


def _name_instance(ds: Dataset, series: str) -> None:
    """Derive the SOPInstanceUID from all that the object says."""
    blank = placeholder(0)
    ds.SOPInstanceUID = blank
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = UID(blank)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    content = hashlib.sha256(dicom_bytes(ds)).hexdigest()
    ds.SOPInstanceUID = UID(derived_uid("instance", series, content))
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    """Make an item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item
