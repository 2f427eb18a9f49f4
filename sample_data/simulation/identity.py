"""What all simulated DICOM objects share: a patient who is visibly made up.

Identifiers follow from the seed, and dates are fixed, so that the same seed gives the
same files.
"""

from __future__ import annotations

from collections.abc import Iterable

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

MAKER = "napari-medxai simulation"
WHEN = ("20240101", "120000")
COMMENT = "Simulated, not of any patient. For research use only."


def uid(seed: int, *what: object) -> str:
    """Make a unique identifier that follows from the seed and what it is for."""
    return str(generate_uid(entropy_srcs=[MAKER, str(seed), *map(str, what)]))


def decimal(values: Iterable[float]) -> list[DSfloat]:
    """Decimal strings of at most 16 characters."""
    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]


def made_up(storage: str, name: str, seed: int, instance: str) -> Dataset:
    """Begin an object: its file meta header, patient, study and equipment.

    Parameters
    ----------
    storage : str
        SOPClassUID.
    name : str
        Given name of the patient ``Simulated``.
    seed : int
        Makes the identifiers.
    instance : str
        SOPInstanceUID.
    """
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = UID(storage)
    made.file_meta.MediaStorageSOPInstanceUID = UID(instance)
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = storage
    made.SOPInstanceUID = instance
    made.PatientName = f"Simulated^{name}"
    made.PatientID = f"SIM-{seed}"
    made.PatientBirthDate = ""
    made.PatientSex = "O"
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = "Simulated: there is no patient"
    made.StudyInstanceUID = uid(seed, "study")
    made.StudyDate = made.SeriesDate = WHEN[0]
    made.StudyTime = made.SeriesTime = WHEN[1]
    made.StudyID = "SIM"
    made.AccessionNumber = ""
    made.ReferringPhysicianName = ""
    made.Manufacturer = MAKER
    made.ManufacturerModelName = "simulation"
    made.DeviceSerialNumber = "1"
    made.SoftwareVersions = "1"
    return made


def segmentation(
    sources: list[Dataset],
    mask: NDArray[np.bool_],
    seed: int,
    *,
    label: str,
    finding: Code,
    series_number: int,
) -> Dataset:
    """Encode an exact mask as a binary SEG that refers to its source images.

    Parameters
    ----------
    sources : list of Dataset
        In the order of the mask's slices.
    mask : ndarray of bool, shape (slice, row, column)
        The finding.
    seed : int
        Makes the identifiers.
    label : str
        SegmentLabel.
    finding : Code
        SegmentedPropertyType.
    series_number : int
        SeriesNumber.
    """
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=finding,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=MAKER,
            version="1",
            family=CodedConcept("SIMULATION", "99MEDXAI", "Simulation"),
        ),
        tracking_uid=hd.UID(uid(seed, "segment")),
        tracking_id=f"simulated {label}",
    )
    made = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=mask.astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=uid(seed, "segmentation series"),
        series_number=series_number,
        sop_instance_uid=uid(seed, "segmentation"),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name="simulation",
        software_versions="1",
        device_serial_number="1",
        series_description=f"{label.capitalize()}, exact mask of the simulation",
    )
    made.ImageComments = COMMENT
    if "PatientOrientation" in sources[0]:
        made.PatientOrientation = sources[0].PatientOrientation
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
