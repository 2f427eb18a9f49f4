"""Between a map's slices and highdicom's multi-frame objects."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from .instance import SHORT_TEXT, long_string, placeholder, source_item
from .sources import Plane, Source
from .subject import Subject

__all__ = ["describe_frames", "templates"]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)


def templates(
    planes: Sequence[Plane], rows: int, columns: int, frame_of_reference: str
) -> list[Dataset]:
    """Describe planes to highdicom as single-frame images that belong to nobody.

    The real images may be multi-frame, mosaics or resampled; what of them an export
    needs is filled in afterwards.
    """
    result = []
    for number, plane in enumerate(planes):
        ds = Dataset()
        ds.SOPClassUID = CT_IMAGE
        ds.SOPInstanceUID = placeholder(number)
        ds.StudyInstanceUID = ds.SeriesInstanceUID = placeholder(len(planes))
        ds.FrameOfReferenceUID = frame_of_reference
        ds.PositionReferenceIndicator = ""
        for keyword in EMPTY:
            setattr(ds, keyword, "")
        ds.Rows, ds.Columns = rows, columns
        ds.ImagePositionPatient = _strings(plane.position)
        ds.ImageOrientationPatient = _strings(plane.orientation)
        ds.PixelSpacing = _strings(plane.spacing)
        ds.SliceThickness = _strings([plane.thickness])[0]
        result.append(ds)
    return result


def describe_frames(ds: Dataset, subject: Subject, source: Source) -> None:
    """Say of each frame what it is and what it came from, in place.

    Frames stand in highdicom's order; each still names the template of its plane.
    """
    if "SourceImageSequence" in ds:
        del ds.SourceImageSequence
    sources = source.referred(subject.indices)
    if sources:
        ds.SourceImageSequence = [source_item(reference) for reference in sources]
    by_template = {placeholder(n): part for n, part in enumerate(subject.parts)}
    for group in ds.PerFrameFunctionalGroupsSequence:
        made = group.DerivationImageSequence[0]
        named = made.SourceImageSequence[0].ReferencedSOPInstanceUID
        part = by_template[str(named)]
        item = Dataset()
        item.DerivationDescription = long_string(subject.says(part), SHORT_TEXT)
        item.DerivationCodeSequence = made.DerivationCodeSequence
        references = source.referred([part.index or 0])
        items = [source_item(reference) for reference in references]
        for one, reference in zip(items, references, strict=True):
            one.SpatialLocationsPreserved = "YES" if reference.same_grid else "NO"
        item.SourceImageSequence = items
        group.DerivationImageSequence = [item]


def _strings(values: Sequence[float]) -> list[DSfloat]:
    """Decimal strings of at most 16 characters (PS3.5 6.2)."""
    return [DSfloat(value, auto_format=True) for value in values]
