"""Writer of a simulated tumour's outline as RT Structure Set Storage."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage
from skimage import measure

from .acquisition import Simulated
from .identity import WHEN, decimal, made_up, uid

STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, which RT objects name as the class of a study."""


def structure_set(
    slices: list[Dataset], made: Simulated, seed: int, *, name: str, series_number: int
) -> Dataset:
    """Outline a mask slice by slice (PS3.3 A.19).

    Filled where pixel centres lie inside an odd number of outlines, it is the mask
    again: the outlines run half-way between the centres of pixels in and out of it.

    Parameters
    ----------
    slices : list of Dataset
        The MR instances, in the order of the mask's slices.
    made : Simulated
        The volume.
    seed : int
        Makes the identifiers.
    name : str
        ROIName.
    series_number : int
        SeriesNumber.
    """
    out = made_up(
        RTStructureSetStorage, made.kind.capitalize(), seed, uid(seed, "structure set")
    )
    out.Modality = "RTSTRUCT"
    out.SeriesInstanceUID = uid(seed, "structure set series")
    out.SeriesNumber = series_number
    out.StudyDescription = slices[0].StudyDescription
    out.SeriesDescription = f"{name.capitalize()}, exact outline of the simulation"
    out.OperatorsName = ""
    out.InstanceNumber = 1
    out.FrameOfReferenceUID = slices[0].FrameOfReferenceUID
    out.PositionReferenceIndicator = ""
    out.StructureSetLabel = "SIMULATED"
    out.StructureSetDescription = "Simulated, not of any patient"
    out.StructureSetDate, out.StructureSetTime = WHEN
    out.ReferencedFrameOfReferenceSequence = [_references(slices)]
    roi = Dataset()
    roi.ROINumber = 1
    roi.ReferencedFrameOfReferenceUID = out.FrameOfReferenceUID
    roi.ROIName = name
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    out.StructureSetROISequence = [roi]
    outlined = Dataset()
    outlined.ROIDisplayColor = [255, 64, 64]
    outlined.ReferencedROINumber = 1
    outlined.ContourSequence = [
        _contour(instance, points @ made.affine_lps[:3].T)
        for k, instance in enumerate(slices)
        for points in _outlines(made.mask[k], k)
    ]
    out.ROIContourSequence = [outlined]
    observed = Dataset()
    observed.ObservationNumber = 1
    observed.ReferencedROINumber = 1
    observed.RTROIInterpretedType = ""
    observed.ROIInterpreter = ""
    out.RTROIObservationsSequence = [observed]
    out.ApprovalStatus = "UNAPPROVED"
    return out


def _outlines(mask: NDArray[np.bool_], k: int) -> list[NDArray[np.float64]]:
    """Find a slice's closed outlines: (slice, row, column, 1) of each corner."""
    padded = np.pad(mask, 1).astype(float)
    skimage: Any = measure  # its functions are not annotated
    found = []
    for line in skimage.find_contours(padded, 0.5):
        # The last corner repeats the first; padding moved all by one.
        corners = line[:-1] - 1
        ones = np.ones((len(corners), 1))
        found.append(np.hstack([ones * k, corners, ones]))
    return found


def _contour(instance: Dataset, points: NDArray[np.float64]) -> Dataset:
    contour = Dataset()
    contour.ContourImageSequence = [_image(instance)]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = decimal(np.round(points, 4).ravel())
    return contour


def _references(slices: list[Dataset]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = slices[0].SeriesInstanceUID
    series.ContourImageSequence = [_image(instance) for instance in slices]
    study = Dataset()
    study.ReferencedSOPClassUID = STUDY_CLASS
    study.ReferencedSOPInstanceUID = slices[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = slices[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(instance: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = instance.SOPClassUID
    item.ReferencedSOPInstanceUID = instance.SOPInstanceUID
    return item
