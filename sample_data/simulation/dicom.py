"""Writer of a simulated MR series with its tumour as SEG or RTSTRUCT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage

from .acquisition import Simulated
from .files import replacing
from .identity import COMMENT, WHEN, decimal, made_up, segmentation, uid
from .rtstruct import structure_set

Truth = Literal["SEG", "RTSTRUCT"]


def write_series(
    folder: Path, made: Simulated, *, seed: int, truth: Truth = "SEG"
) -> list[Dataset]:
    """Write a volume as MR Image Storage instances, and its mask.

    Parameters
    ----------
    folder : Path
        Exists; receives ``IM*.dcm``, whose numbers say nothing about position, and
        ``SEG0001.dcm`` or ``RTSTRUCT0001.dcm``.
    made : Simulated
        A volume.
    seed : int
        What it was simulated with; makes the identifiers.
    truth : str
        ``SEG`` or ``RTSTRUCT``.

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
    if truth == "SEG":
        mask = segmentation(
            slices,
            made.mask,
            seed,
            label="tumour",
            finding=codes.SCT.Neoplasm,
            series_number=2,
        )
    else:
        mask = structure_set(slices, made, seed, name="tumour", series_number=2)
    with replacing(folder / f"{truth}0001.dcm") as partial:
        mask.save_as(partial, enforce_file_format=True)
    return slices


def _instances(made: Simulated, seed: int) -> Iterator[Dataset]:
    affine = made.affine_lps
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / spacing
    top = float(np.quantile(made.image, 0.998))
    for k, pixels in enumerate(made.image):
        instance = _common(made, seed, uid(seed, "instance", k))
        instance.InstanceNumber = k + 1
        instance.ImagePositionPatient = decimal(affine[:3] @ [k, 0, 0, 1])
        # Direction along a row (the column index grows), then along a column.
        instance.ImageOrientationPatient = decimal(
            np.concatenate([directions[:, 2], directions[:, 1]])
        )
        instance.SliceLocation = decimal([k * spacing[0]])[0]
        instance.PixelSpacing = decimal(spacing[1:])
        instance.SliceThickness = decimal([spacing[0]])[0]
        instance.SpacingBetweenSlices = instance.SliceThickness
        instance.Rows, instance.Columns = pixels.shape
        instance.WindowCenter = round(top / 2)
        instance.WindowWidth = round(top)
        instance.PixelData = pixels.astype("<u2").tobytes()
        yield instance


def _common(made: Simulated, seed: int, instance_uid: str) -> Dataset:
    instance = made_up(MRImageStorage, made.kind.capitalize(), seed, instance_uid)
    instance.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    instance.ImageComments = COMMENT
    instance.SeriesInstanceUID = uid(seed, "series")
    instance.FrameOfReferenceUID = uid(seed, "frame of reference")
    instance.PositionReferenceIndicator = ""
    instance.ContentDate, instance.ContentTime = WHEN
    instance.SeriesNumber = 1
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
