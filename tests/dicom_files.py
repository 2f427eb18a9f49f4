"""DICOM files written by hand, small and with a patient whose name must not leak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SECRETS = ("Doe", "Jane", "4711-ID", "19700102", "ACC-0815")
CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def uid(*words: object) -> str:
    return str(generate_uid(entropy_srcs=[str(word) for word in words]))


def dataset(
    pixels: NDArray[Any],
    *,
    series: str = "one",
    instance: int | None = 1,
    position: tuple[float, ...] | None = (0.0, 0.0, 0.0),
    orientation: tuple[float, ...] | None = AXIAL,
    spacing: tuple[float, float] | None = (0.75, 0.5),
    photometric: str = "MONOCHROME2",
    bits: int | None = None,
    sop: object = None,
    modality: str = "CT",
    **elements: Any,
) -> FileDataset:
    """One image; `pixels` are stored values, (rows, columns) or with colour last."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT
    meta.MediaStorageSOPInstanceUID = uid(series, sop if sop is not None else position)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = uid("study")
    ds.SeriesInstanceUID = uid(series)
    ds.FrameOfReferenceUID = uid("frame of reference")
    ds.Modality = modality
    ds.SeriesDescription = f"series {series}"
    ds.SeriesNumber = 1
    ds.InstanceNumber = instance
    ds.StudyID = "1"
    ds.StudyDate = "20200101"
    ds.StudyTime = "120000"
    ds.PatientName = "Doe^Jane"
    ds.PatientID = "4711-ID"
    ds.PatientBirthDate = "19700102"
    ds.PatientSex = "F"
    ds.AccessionNumber = "ACC-0815"
    ds.ReferringPhysicianName = ""
    ds.Manufacturer = "simulated"
    if position is not None:
        ds.ImagePositionPatient = [f"{v:.10g}" for v in position]
    if orientation is not None:
        ds.ImageOrientationPatient = [f"{v:.10g}" for v in orientation]
    if spacing is not None:
        ds.PixelSpacing = list(spacing)
    ds.SliceThickness = 2.0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes()
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def normal(orientation: tuple[float, ...]) -> NDArray[np.float64]:
    return np.cross(orientation[:3], orientation[3:])


def volume(slices: int = 5, rows: int = 6, columns: int = 7) -> NDArray[np.int16]:
    """Every voxel has its own value."""
    count = slices * rows * columns
    return np.arange(count, dtype=np.int16).reshape(slices, rows, columns)


def write_stack(
    folder: Path,
    voxels: NDArray[Any],
    *,
    origin: tuple[float, float, float] = (-20.0, 10.0, 30.0),
    orientation: tuple[float, ...] = AXIAL,
    step: NDArray[np.float64] | None = None,
    order: list[int] | None = None,
    reverse_numbers: bool = False,
    **options: Any,
) -> list[Path]:
    """A stack whose slice k lies at origin + k * step; returns files by slice.

    `order` says which slice gets which file name, so that names say nothing.
    """
    count = len(voxels)
    step = 2.5 * normal(orientation) if step is None else step
    order = order or list(range(count))
    paths = []
    for k in range(count):
        number = count - k if reverse_numbers else k + 1
        ds = dataset(
            voxels[k],
            position=tuple(np.array(origin) + k * step),
            orientation=orientation,
            instance=number,
            **options,
        )
        paths.append(save(ds, folder / f"IM{order[k]:03d}.dcm"))
    return paths


def enhanced(
    voxels: NDArray[Any],
    positions: list[tuple[float, float, float]],
    *,
    slopes: list[float] | None = None,
    indices: list[int] | None = None,
) -> FileDataset:
    """An enhanced multi-frame object; frame n lies at positions[n]."""
    ds = dataset(voxels[0], position=None, orientation=None, spacing=None)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ENHANCED_CT
    ds.NumberOfFrames = len(voxels)
    ds.PixelData = voxels.tobytes()
    shared = Dataset()
    measures, turn = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 2.0
    turn.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([turn])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for n, position in enumerate(positions):
        group, plane, values, content = Dataset(), Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = list(position)
        group.PlanePositionSequence = Sequence([plane])
        values.RescaleSlope = 1 if slopes is None else slopes[n]
        values.RescaleIntercept, values.RescaleType = -1000, "HU"
        group.PixelValueTransformationSequence = Sequence([values])
        if indices is not None:
            content.TemporalPositionIndex = indices[n]
            group.FrameContentSequence = Sequence([content])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return ds
