"""Writer of a simulated MR series and of its segmentation.

The patient is visibly made up, identifiers follow from the seed, and dates are
fixed, so that the same seed gives the same files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import DSfloat

from .acquisition import Simulated
from .files import replacing

MAKER = "napari-medxai simulation"
WHEN = ("20240101", "120000")


def write_series(folder: Path, made: Simulated, *, seed: int) -> list[Dataset]:
    """Write a volume as MR Image Storage instances, its mask as a SEG.

    Parameters
    ----------
    folder : Path
        Exists; receives ``IM*.dcm``, whose numbers say nothing about position, and
        ``SEG0001.dcm``.
    made : Simulated
        A volume.
    seed : int
        What it was simulated with; makes the identifiers.

    Returns
    -------
    list of Dataset
        The MR instances in the order of the volume's slices.
    """
    numbers = np.random.default_rng([seed, 4]).permutation(len(made.image)) + 1
    slices = list(_instances(made, seed))
    for number, instance in zip(numbers, slices, strict=True):
        with replacing(folder / f"IM{number:04d}.dcm") as partial:
            instance.save_as(partial, enforce_file_format=True)
    segmentation = _segmentation(slices, made.mask, seed)
    with replacing(folder / "SEG0001.dcm") as partial:
        segmentation.save_as(partial, enforce_file_format=True)
    return slices


def uid(seed: int, *what: object) -> str:
    """Make a unique identifier that follows from the seed and what it is for."""
    return str(generate_uid(entropy_srcs=[MAKER, str(seed), *map(str, what)]))


def _instances(made: Simulated, seed: int) -> Iterator[Dataset]:
    affine = made.affine_lps
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / spacing
    top = float(np.quantile(made.image, 0.998))
    for k, pixels in enumerate(made.image):
        instance = _common(made, seed)
        instance.SOPInstanceUID = uid(seed, "instance", k)
        instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
        instance.InstanceNumber = k + 1
        instance.ImagePositionPatient = _decimal(affine[:3] @ [k, 0, 0, 1])
        # Direction along a row (the column index grows), then along a column.
        instance.ImageOrientationPatient = _decimal(
            np.concatenate([directions[:, 2], directions[:, 1]])
        )
        instance.SliceLocation = _decimal([k * spacing[0]])[0]
        instance.PixelSpacing = _decimal(spacing[1:])
        instance.SliceThickness = _decimal([spacing[0]])[0]
        instance.SpacingBetweenSlices = instance.SliceThickness
        instance.Rows, instance.Columns = pixels.shape
        instance.WindowCenter = round(top / 2)
        instance.WindowWidth = round(top)
        instance.PixelData = pixels.astype("<u2").tobytes()
        yield instance


def _decimal(values: Iterable[float]) -> list[DSfloat]:
    """Decimal strings of at most 16 characters."""
    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]


def _common(made: Simulated, seed: int) -> Dataset:
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.MediaStorageSOPClassUID = MRImageStorage
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.SOPClassUID = MRImageStorage
    instance.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    instance.PatientName = f"Simulated^{made.kind.capitalize()}"
    instance.PatientID = f"SIM-{seed}"
    instance.PatientBirthDate = ""
    instance.PatientSex = "O"
    instance.PatientIdentityRemoved = "YES"
    instance.DeidentificationMethod = "Simulated: there is no patient"
    instance.StudyInstanceUID = uid(seed, "study")
    instance.SeriesInstanceUID = uid(seed, "series")
    instance.FrameOfReferenceUID = uid(seed, "frame of reference")
    instance.PositionReferenceIndicator = ""
    instance.StudyDate = instance.SeriesDate = WHEN[0]
    instance.StudyTime = instance.SeriesTime = WHEN[1]
    instance.ContentDate, instance.ContentTime = WHEN
    instance.StudyID = "SIM"
    instance.SeriesNumber = 1
    instance.AccessionNumber = ""
    instance.ReferringPhysicianName = ""
    instance.Manufacturer = MAKER
    instance.ManufacturerModelName = "simulation"
    instance.StudyDescription = "Simulated head MRI, not of any patient"
    instance.SeriesDescription = f"T1 CE {made.plane} (simulated)"
    instance.Modality = "MR"
    instance.BodyPartExamined = "HEAD"
    instance.PatientPosition = "HFS"
    instance.ScanningSequence = "SE"
    instance.SequenceVariant = "NONE"
    instance.ScanOptions = ""
    instance.MRAcquisitionType = "2D"
    instance.EchoTime = "9"
    instance.RepetitionTime = "500"
    instance.EchoTrainLength = "1"
    instance.ContrastBolusAgent = "simulated"
    instance.SamplesPerPixel = 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.BitsAllocated = 16
    instance.BitsStored = 12
    instance.HighBit = 11
    instance.PixelRepresentation = 0
    return instance


def _segmentation(slices: list[Dataset], mask: NDArray[np.bool_], seed: int) -> Dataset:
    tracked = hd.UID(uid(seed, "segment"))
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="tumour",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=MAKER,
            version="1",
            family=CodedConcept("SIMULATION", "99MEDXAI", "Simulation"),
        ),
        tracking_uid=tracked,
        tracking_id="simulated tumour",
    )
    made = hd.seg.Segmentation(
        source_images=slices,
        pixel_array=mask.astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=uid(seed, "segmentation series"),
        series_number=2,
        sop_instance_uid=uid(seed, "segmentation"),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name="simulation",
        software_versions="1",
        device_serial_number="1",
        series_description="Tumour, exact mask of the simulation",
    )
    _settle(made, seed)
    return made


def _settle(made: Dataset, seed: int) -> None:
    """Replace the random identifiers and the present date that highdicom sets."""
    renamed: dict[str, str] = {}

    def visit(_: Dataset, element: pydicom.DataElement) -> None:
        if element.keyword == "DimensionOrganizationUID":
            old = str(element.value)
            element.value = renamed.setdefault(
                old, uid(seed, "dimensions", len(renamed))
            )
        elif element.VR == "DA" and element.value:
            element.value = WHEN[0]
        elif element.VR == "TM" and element.value:
            element.value = WHEN[1]
        elif element.VR == "DT" and element.value:
            element.value = "".join(WHEN)

    made.walk(visit)
