"""DICOM Segmentation objects: binary segments placed on the series they refer to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from .dicom_access import BROKEN, functional, numbers, quiet
from .naming import shown

__all__ = ["read"]

POSITION_MM = 1e-2
DIRECTION = 1e-3
SPACING_MM = 1e-3


def read(
    path: Path, study: Study, notes: list[str], *, demanded: bool = False
) -> dict[str, NDArray[np.bool_]]:
    """Read a SEG onto the grid of a study that was read from DICOM.

    Each frame goes to the slice at its position (PlanePositionSequence); where the
    images have no position, to the instance and frame that it was derived from
    (DICOM PS3.3 A.51, C.8.20).

    Parameters
    ----------
    path : Path
        The segmentation object.
    study : Study
        The images.
    notes : list of str
        Takes what was left out and why.
    demanded : bool
        Whether the user named this file: then what would be left out is an error.

    Returns
    -------
    dict of str to bool ndarray
        By SegmentLabel, on the study's grid; empty where the object refers to other
        images, or is fractional.

    Raises
    ------
    StudyError
        Where it is damaged, or refers to this series on another grid.
    """
    import highdicom as hd

    if study.metadata.get("format") != "dicom":
        raise StudyError(
            f"{shown(path, 'its SEG')}: "
            f"a DICOM SEG needs the DICOM images it refers to, and "
            f"{shown(study.source)} is none."
        )
    try:
        with quiet():
            seg = hd.seg.segread(str(path))
            reason = _unfit(seg, study)
            if reason is None:
                return _place(path, seg, study)
    except StudyError:
        raise
    except (*BROKEN, RuntimeError) as error:
        raise StudyError(
            f"{shown(path, 'its SEG')}: "
            f"the segmentation cannot be read ({type(error).__name__}). "
            "Check it with dciodvfy, or open the images with masks='none'."
        ) from error
    if demanded:
        raise StudyError(f"{shown(path, 'its SEG')}: {reason}.")
    notes.append(f"a SEG was not used: {reason}")
    return {}


def _unfit(seg: Any, study: Study) -> str | None:
    kind = str(getattr(seg.segmentation_type, "value", seg.segmentation_type))
    if kind != "BINARY":
        return f"a segmentation of type {kind}, and only BINARY is read"
    frame_of_reference = str(seg.get("FrameOfReferenceUID") or "")
    own = study.metadata["frame_of_reference_uid"]
    if frame_of_reference and own and frame_of_reference != own:
        return "it lies in another frame of reference than the images"
    referenced = _referenced(seg)
    if referenced and not referenced & set(study.metadata["sop_instance_uids"]):
        return "it refers to other images"
    return None


def _referenced(seg: Dataset) -> set[str]:
    found = set()
    for series in seg.get("ReferencedSeriesSequence") or ():
        for item in series.get("ReferencedInstanceSequence") or ():
            found.add(str(item.get("ReferencedSOPInstanceUID", "")))
    for index in range(int(seg.get("NumberOfFrames") or 1)):
        for uid, _ in _sources(seg, index):
            found.add(uid)
    return found - {""}


def _sources(seg: Dataset, index: int) -> list[tuple[str, int | None]]:
    """Return (SOPInstanceUID, frame index from 0 or None) it was derived from."""
    derivation = functional(seg, index, "DerivationImageSequence")
    result: list[tuple[str, int | None]] = []
    if derivation is None:
        return result
    for item in derivation.get("SourceImageSequence") or ():
        numbered = item.get("ReferencedFrameNumber")
        frame = None
        if numbered is not None:
            frame = int(numbered[0] if hasattr(numbered, "__iter__") else numbered) - 1
        result.append((str(item.get("ReferencedSOPInstanceUID", "")), frame))
    return result


def _place(path: Path, seg: Any, study: Study) -> dict[str, NDArray[np.bool_]]:
    rows, columns = study.shape[-2:]
    if (int(seg.Rows), int(seg.Columns)) != (rows, columns):
        raise StudyError(
            f"{shown(path, 'its SEG')}: "
            f"the segmentation has {seg.Rows} rows and {seg.Columns} "
            f"columns, the series {study.identifier} has {rows} and {columns}. "
            "Resample it, or open the images with masks='none'."
        )
    pixels = np.asarray(seg.pixel_array).reshape(-1, rows, columns)
    names: dict[int, str] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for item in seg.SegmentSequence:
        label = str(item.get("SegmentLabel") or "").strip()
        number = int(item.SegmentNumber)
        name = label or f"segment {number}"
        if name in masks:
            name = f"{name} {number}"
        names[number] = name
        masks[name] = np.zeros((study.slices, rows, columns), dtype=bool)
    for index in range(len(pixels)):
        segment = functional(seg, index, "SegmentIdentificationSequence")
        if segment is None:
            raise StudyError(
                f"{shown(path, 'its SEG')}: frame {index + 1} names no segment."
            )
        place = _slice_of(path, seg, index, study)
        name = names[int(segment.ReferencedSegmentNumber)]
        masks[name][place] |= pixels[index] > 0
    return {name: mask.reshape(study.shape) for name, mask in masks.items()}


def _slice_of(path: Path, seg: Any, index: int, study: Study) -> int:
    plane = functional(seg, index, "PlanePositionSequence")
    position = None if plane is None else numbers(plane, "ImagePositionPatient", 3)
    if position is not None and study.metadata["positions"][0] is not None:
        _check_plane(path, seg, index, study)
        places = np.array(study.metadata["positions"])
        distances = np.linalg.norm(places - np.array(position), axis=1)
        nearest = int(distances.argmin())
        if distances[nearest] > POSITION_MM:
            raise StudyError(
                f"{shown(path, 'its SEG')}: "
                f"frame {index + 1} lies at {_text(position)}, "
                f"{distances[nearest]:.2f} mm from the nearest slice of "
                f"{study.identifier} at {_text(places[nearest])}. Resample it onto "
                "the series, or open the images with masks='none'."
            )
        return nearest
    uids = study.metadata["sop_instance_uids"]
    frames = study.metadata["frame_indices"]
    counts = study.metadata["frame_counts"]
    for uid, frame in _sources(seg, index):
        for place in range(study.slices):
            if uids[place] == uid and (
                counts[place] == 1 or frame is None or frames[place] == frame
            ):
                if frame is None and counts[place] > 1:
                    break
                return place
    raise StudyError(
        f"{shown(path, 'its SEG')}: frame {index + 1} does not say to which slice of "
        f"{study.identifier} it belongs. Open the images with masks='none'."
    )


def _check_plane(path: Path, seg: Any, index: int, study: Study) -> None:
    """Refuse another orientation or spacing; absent values are taken as equal."""
    turn = functional(seg, index, "PlaneOrientationSequence")
    measures = functional(seg, index, "PixelMeasuresSequence")
    checks = (
        (turn, "ImageOrientationPatient", 6, "orientation", DIRECTION),
        (measures, "PixelSpacing", 2, "pixel_spacing", SPACING_MM),
    )
    for group, keyword, count, name, tolerance in checks:
        value = None if group is None else numbers(group, keyword, count)
        own = study.metadata[name]
        if (
            value is not None
            and own is not None
            and not np.allclose(value, own, rtol=0, atol=tolerance)
        ):
            raise StudyError(
                f"{shown(path, 'its SEG')}: "
                f"its {keyword} {_text(value)} is not that of the series "
                f"{study.identifier}, {_text(own)}. Resample it onto the series, or "
                "open the images with masks='none'."
            )


def _text(values: Any) -> str:
    return "(" + ", ".join(f"{float(v):.4g}" for v in values) + ")"
