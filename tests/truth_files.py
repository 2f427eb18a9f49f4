"""DICOM SEG and RTSTRUCT written for tests, and a structure known by its formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_files import dataset, save, uid


def segmentation(
    files: list[Path],
    masks: dict[str, np.ndarray],
    path: Path,
    *,
    kind: str = "BINARY",
    pixels: np.ndarray | None = None,
    **options: Any,
) -> Path:
    """A SEG of the given files, written by highdicom; masks (slices, rows, columns).

    `pixels` replaces the masks' own, for label maps; `options` go to highdicom.
    """
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type="MANUAL",
        )
        for number, label in enumerate(masks, start=1)
    ]
    sources = [pydicom.dcmread(file) for file in files]
    if pixels is None:
        pixels = np.stack(list(masks.values()), axis=-1).astype(
            np.float32 if kind == "FRACTIONAL" else np.uint8
        )
    seg = hd.seg.Segmentation(
        sources,
        pixels,
        kind,
        descriptions,
        series_instance_uid=uid("segmentation", path.name),
        series_number=9,
        sop_instance_uid=uid("segmentation instance", path.name),
        instance_number=1,
        manufacturer="simulated",
        manufacturer_model_name="simulated",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    seg.save_as(path)
    return path


def two_masks(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    one, two = np.zeros((2, *shape), dtype=bool)
    one[1, 1:4, 2:5] = one[2, 2, 2] = True
    two[-1, 0, -1] = True
    return {"tumour": one, "oedema": two}


@dataclass(frozen=True)
class Drawn:
    """A contour to be written: points (n, 3) in mm, its type, the image it names."""

    points: NDArray[np.float64]
    kind: str = "CLOSED_PLANAR"
    image: str | None = None


def rtstruct(
    files: Sequence[Path],
    rois: dict[str, list[Drawn]],
    path: Path,
    *,
    frame: str | None = None,
    refer: bool = True,
) -> Path:
    """An RTSTRUCT of the given files; `refer`: whether it lists their series."""
    first = pydicom.dcmread(files[0])
    frame = str(first.FrameOfReferenceUID) if frame is None else frame
    ds = dataset(
        np.zeros((1, 1), np.uint8),
        position=None,
        orientation=None,
        spacing=None,
        modality="RTSTRUCT",
        series=f"structures {path.name}",
    )
    for keyword in ("PixelData", "Rows", "Columns", "FrameOfReferenceUID"):
        delattr(ds, keyword)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = (
        "1.2.840.10008.5.1.4.1.1.481.3"
    )
    ds.StructureSetLabel = "simulated"
    if refer:
        series = Dataset()
        series.SeriesInstanceUID = first.SeriesInstanceUID
        series.ContourImageSequence = [
            _image(str(pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID))
            for f in files
        ]
        study = Dataset()
        study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
        study.ReferencedSOPInstanceUID = first.StudyInstanceUID
        study.RTReferencedSeriesSequence = [series]
        listed = Dataset()
        listed.FrameOfReferenceUID = frame
        listed.RTReferencedStudySequence = [study]
        ds.ReferencedFrameOfReferenceSequence = [listed]
    names, drawn = [], []
    for number, (name, contours) in enumerate(rois.items(), start=1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = frame
        roi.ROIGenerationAlgorithm = "MANUAL"
        names.append(roi)
        item = Dataset()
        item.ReferencedROINumber = number
        item.ContourSequence = [_contour(one) for one in contours]
        drawn.append(item)
    ds.StructureSetROISequence, ds.ROIContourSequence = names, drawn
    return save(ds, path)


def _image(instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    item.ReferencedSOPInstanceUID = instance
    return item


def _contour(drawn: Drawn) -> Dataset:
    item = Dataset()
    item.ContourGeometricType = drawn.kind
    item.NumberOfContourPoints = len(drawn.points)
    item.ContourData = [f"{v:.9g}" for v in np.asarray(drawn.points).ravel()]
    if drawn.image is not None:
        item.ContourImageSequence = [_image(drawn.image)]
    return item


@dataclass(frozen=True)
class Ellipsoid:
    """All points with |matrix @ (p - centre)| <= 1, in mm."""

    centre: NDArray[np.float64]
    matrix: NDArray[np.float64]

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        away = (points - self.centre) @ self.matrix.T
        return np.asarray((away**2).sum(axis=-1) <= 1)

    def cut(
        self,
        origin: NDArray[np.float64],
        one: NDArray[np.float64],
        two: NDArray[np.float64],
        count: int = 240,
    ) -> NDArray[np.float64] | None:
        """The ellipse in the plane through `origin` along two unit vectors."""
        across = self.matrix @ np.stack([one, two], axis=1)
        away = self.matrix @ (origin - self.centre)
        form = across.T @ across
        middle = -np.linalg.solve(form, across.T @ away)
        left = 1 - away @ away + middle @ form @ middle
        if left <= 0:
            return None
        values, vectors = np.linalg.eigh(form)
        turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
        circle = np.stack([np.cos(turn), np.sin(turn)])
        flat = vectors @ (np.sqrt(left / values)[:, None] * circle) + middle[:, None]
        return np.asarray(origin + flat.T @ np.stack([one, two]))
