"""Writer of simulated radiographs as DX or CR images with their opacities as SEG."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
)

from simulation.files import replacing
from simulation.identity import (
    COMMENT,
    WHEN,
    decimal,
    made_up,
    segmentation,
    uid,
)

from .radiograph import Radiograph

Modality = Literal["CR", "DX"]
TOP = 4095


def write_radiograph(
    folder: Path, made: Radiograph, *, seed: int, modality: Modality
) -> Dataset:
    """Write a radiograph, and a SEG of its opacities where it has any.

    Parameters
    ----------
    folder : Path
        Exists; receives ``DX0001.dcm`` or ``CR0001.dcm``, and ``SEG0001.dcm``.
    made : Radiograph
        The radiograph.
    seed : int
        What it was simulated with; makes the identifiers.
    modality : str
        ``DX`` is stored as MONOCHROME2, ``CR`` as MONOCHROME1.

    Returns
    -------
    Dataset
        The image.
    """
    image = _image(made, seed, modality)
    with replacing(folder / f"{modality}0001.dcm") as partial:
        image.save_as(partial, enforce_file_format=True)
    if made.mask.any():
        mask = segmentation(
            [image],
            made.mask[None],
            seed,
            label="opacity",
            finding=codes.SCT.Lesion,
            series_number=2,
        )
        with replacing(folder / "SEG0001.dcm") as partial:
            mask.save_as(partial, enforce_file_format=True)
    return image


def _image(made: Radiograph, seed: int, modality: Modality) -> Dataset:
    digital = modality == "DX"
    storage = (
        DigitalXRayImageStorageForPresentation
        if digital
        else ComputedRadiographyImageStorage
    )
    name = {"covid19": "Covid", "normal": "Normal", "pneumonia": "Pneumonia"}
    out = made_up(storage, name[made.kind], seed, uid(seed, "instance"))
    out.Modality = modality
    out.ImageType = ["DERIVED", "SECONDARY"]
    out.ImageComments = COMMENT
    out.SeriesInstanceUID = uid(seed, "series")
    out.SeriesNumber = 1
    out.InstanceNumber = 1
    out.ContentDate, out.ContentTime = WHEN
    out.AcquisitionDate, out.AcquisitionTime = WHEN
    out.StudyDescription = "Simulated chest radiograph, not of any patient"
    out.SeriesDescription = f"Chest {made.frontal} (simulated)"
    out.BodyPartExamined = "CHEST"
    out.ViewPosition = made.frontal
    # To the right of the picture the patient's left, downwards the feet.
    out.PatientOrientation = ["L", "F"]
    out.ImagerPixelSpacing = decimal([made.spacing, made.spacing])
    out.SamplesPerPixel = 1
    out.PhotometricInterpretation = "MONOCHROME2" if digital else "MONOCHROME1"
    out.Rows, out.Columns = made.deep.shape
    out.BitsAllocated = 16
    out.BitsStored = 12
    out.HighBit = 11
    out.PixelRepresentation = 0
    out.WindowCenter = (TOP + 1) // 2
    out.WindowWidth = TOP + 1
    stored = made.deep if digital else TOP - made.deep
    out.PixelData = np.ascontiguousarray(stored, "<u2").tobytes()
    out.BurnedInAnnotation = "NO"
    out.LossyImageCompression = "00"
    if digital:
        _digital(out)
    else:
        out.PlateType = ""
    return out


def _digital(out: Dataset) -> None:
    """Add what the DX modules ask for (PS3.3 C.8.11)."""
    out.PresentationIntentType = "FOR PRESENTATION"
    out.PixelIntensityRelationship = "LOG"
    out.PixelIntensityRelationshipSign = -1
    out.RescaleIntercept = "0"
    out.RescaleSlope = "1"
    out.RescaleType = "US"
    out.PresentationLUTShape = "IDENTITY"
    out.ImageLaterality = "U"
    out.DetectorType = "SCINTILLATOR"
    out.DetectorActiveShape = "RECTANGLE"
    out.AcquisitionContextSequence = []
    out.AnatomicRegionSequence = [_item(codes.SCT.Chest)]
    view = codes.cid4010
    code = view.PosteroAnterior if out.ViewPosition == "PA" else view.AnteroPosterior
    out.ViewCodeSequence = [_item(code)]
    out.PositionerType = ""


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
