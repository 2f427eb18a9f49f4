"""DICOM RT Structure Sets: contours filled on the series they refer to.

A contour (PS3.3 C.8.8.6) is a list of points in millimetres. It goes to the slice
nearest to it along the slices' normal, whatever their orientation, is projected onto
that slice and filled as `contours.fill` says: a pixel is set where its centre lies
inside an odd number of contours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from .contours import fill
from .dicom_access import BROKEN, quiet
from .dicom_truth import OTHER_FRAME, Unfit, check_references, known_words, open_truth
from .naming import shown
from .planes import Planes, planes_of
from .structure_names import safe_name, unique_name

__all__ = ["read"]

CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
SAME_PLANE = 0.05
"""Contours no further apart than this, in slice thicknesses, share a plane."""
IN_PLANE = 0.1
"""So near, in slice thicknesses, a contour lies in the plane of an image."""

Masks = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Contour:
    """One item of ContourSequence.

    Attributes
    ----------
    kind : str
        ContourGeometricType.
    points : ndarray, shape (n, 3)
        ContourData in mm (LPS).
    images : frozenset of str
        SOPInstanceUIDs of its ContourImageSequence.
    """

    kind: str
    points: NDArray[np.float64]
    images: frozenset[str]


def read(path: Path, study: Study, notes: list[str]) -> Masks:
    """Read an RTSTRUCT onto the grid of a study that was read from DICOM.

    Parameters
    ----------
    path : Path
        The structure set.
    study : Study
        The images.
    notes : list of str
        Takes what was left out or is doubtful.

    Returns
    -------
    dict of str to bool ndarray
        By ROIName ("ROI 3" where it is empty or names the patient), on the study's
        grid, for each ROI with closed contours.

    Raises
    ------
    Unfit
        Where it refers to other images or another frame of reference, has no closed
        contour, or none meets the images; where the images have no position.
    StudyError
        Where it is damaged.

    Notes
    -----
    Some programs invent a frame of reference. A ROI in one that is not the images'
    is taken only where each of its contours names an image of this series and lies
    in the plane of that image.
    """
    try:
        rt = open_truth(path, study, "RTSTRUCT")
        with quiet():
            return _read(path, rt, study, notes)
    except StudyError:
        raise
    except (*BROKEN, RuntimeError) as error:
        raise StudyError(
            f"{shown(path, 'its RTSTRUCT')}: "
            f"the structure set cannot be read ({type(error).__name__}). "
            "Check it with dciodvfy, or open the images with masks='none'."
        ) from error


def _read(path: Path, rt: Dataset, study: Study, notes: list[str]) -> Masks:
    rois = {
        int(item.ROINumber): item for item in rt.get("StructureSetROISequence") or ()
    }
    contours: dict[int, list[Contour]] = {}
    for item in rt.get("ROIContourSequence") or ():
        number = int(item.ReferencedROINumber)
        contours.setdefault(number, []).extend(_contours(path, item))
    own = str(study.metadata["frame_of_reference_uid"] or "")
    frames = {
        number: str(rois.get(number, rt).get("ReferencedFrameOfReferenceUID") or "")
        for number in contours
    } or {0: _only_frame(rt)}
    series, instances = _series(rt), _instances(rt, contours)
    # Each ROI has a frame of its own; what names images is looked at below.
    named = bool(series or instances)
    others = "" if named else next(iter(sorted(frames.values())), "")
    check_references(
        path,
        "RTSTRUCT",
        study,
        series=series,
        instances=instances,
        frame_of_reference=own if own in frames.values() else others,
    )
    planes = planes_of(study)
    if planes is None:
        raise Unfit(path, "RTSTRUCT", "the images do not say where they lie")
    said: Counter[str] = Counter()
    words = known_words(rt, study)
    masks: Masks = {}
    elsewhere = 0
    for number in [*rois, *(n for n in contours if n not in rois)]:
        closed = list(_closed(contours.get(number, ()), said))
        if not closed:
            said["ROI without a closed contour"] += 1
            continue
        if own and frames[number] not in {own, ""}:
            if not _in_named_planes(closed, study, planes):
                elsewhere += 1
                continue
            said[
                "ROI in another frame of reference than the images, taken because "
                "its contours name these images and lie in their planes"
            ] += 1
        label = rois[number].get("ROIName") if number in rois else None
        name = unique_name(safe_name(label, words, f"ROI {number}"), masks)
        masks[name] = _filled(closed, study, planes, said).reshape(study.shape)
    if elsewhere and not masks:
        raise Unfit(path, "RTSTRUCT", OTHER_FRAME)
    if elsewhere:
        said["ROI in another frame of reference than the images, left out"] += elsewhere
    if not masks:
        raise Unfit(path, "RTSTRUCT", "it has no closed contour")
    if study.is_volume and not any(mask.any() for mask in masks.values()):
        raise Unfit(path, "RTSTRUCT", "none of its contours lies on the images")
    notes.extend(f"RTSTRUCT: {count} {text}" for text, count in said.items())
    return masks


def _contours(path: Path, item: Dataset) -> Iterator[Contour]:
    for contour in item.get("ContourSequence") or ():
        numbers = _numbers(contour)
        if numbers.size % 3 or not np.isfinite(numbers).all():
            raise StudyError(
                f"{shown(path, 'its RTSTRUCT')}: the ContourData of ROI "
                f"{int(item.ReferencedROINumber)} are no points of three "
                "coordinates. Export it again, or open the images with masks='none'."
            )
        yield Contour(
            kind=str(contour.get("ContourGeometricType") or "CLOSED_PLANAR"),
            points=numbers.reshape(-1, 3),
            images=_referenced(contour.get("ContourImageSequence") or ()),
        )


def _numbers(contour: Dataset) -> NDArray[np.float64]:
    """ContourData as an array; from the bytes, as pydicom is slow at many decimals."""
    value = contour.get_item("ContourData").value if "ContourData" in contour else None
    if isinstance(value, bytes):
        text = value.decode("ascii").strip(" \0")
        return np.array(text.split("\\") if text else [], dtype=np.float64)
    return np.atleast_1d(np.array([] if value is None else value, dtype=np.float64))


def _referenced(items: Sequence[Dataset]) -> frozenset[str]:
    uids = {str(item.get("ReferencedSOPInstanceUID", "")) for item in items}
    return frozenset(uids - {""})


def _listed(rt: Dataset) -> Iterator[Dataset]:
    for frame in rt.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            yield from study.get("RTReferencedSeriesSequence") or ()


def _only_frame(rt: Dataset) -> str:
    for frame in rt.get("ReferencedFrameOfReferenceSequence") or ():
        return str(frame.get("FrameOfReferenceUID") or "")
    return ""


def _series(rt: Dataset) -> frozenset[str]:
    uids = {str(series.get("SeriesInstanceUID", "")) for series in _listed(rt)}
    return frozenset(uids - {""})


def _instances(rt: Dataset, contours: dict[int, list[Contour]]) -> frozenset[str]:
    found: set[str] = set()
    for series in _listed(rt):
        found |= _referenced(series.get("ContourImageSequence") or ())
    for members in contours.values():
        for contour in members:
            found |= contour.images
    return frozenset(found)


def _closed(contours: Sequence[Contour], said: Counter[str]) -> Iterator[Contour]:
    """Yield closed contours, each once: twice the same would cancel."""
    seen: set[bytes] = set()
    for contour in contours:
        if contour.kind not in CLOSED:
            said[f"contour(s) of type {_kind(contour.kind)} were ignored"] += 1
        elif len(contour.points) < 3:
            said["contour(s) of fewer than three points were ignored"] += 1
        elif (data := contour.points.tobytes()) in seen:
            said["contour(s) that were there twice were taken once"] += 1
        else:
            seen.add(data)
            yield contour


def _kind(kind: str) -> str:
    known = {"POINT", "OPEN_PLANAR", "OPEN_NONPLANAR"}
    return kind if kind in known else "unknown to DICOM"


def _in_named_planes(contours: Sequence[Contour], study: Study, planes: Planes) -> bool:
    """Whether every contour names an image of the study and lies in its plane."""
    uids = study.metadata.get("sop_instance_uids", ())
    if len(uids) != study.slices:
        return False
    for contour in contours:
        depth = contour.points @ planes.normal
        near = [
            float(np.abs(depth - planes.along[index]).max())
            for index in range(study.slices)
            if uids[index] in contour.images
        ]
        if not near or min(near) > IN_PLANE * planes.thickness:
            return False
    return True


def _filled(
    contours: Sequence[Contour], study: Study, planes: Planes, said: Counter[str]
) -> NDArray[np.bool_]:
    """Fill one ROI's contours, slice by slice."""
    mask = np.zeros((study.slices, *planes.shape), dtype=bool)
    for index, members in _by_slice(contours, study, planes, said).items():
        polygons = [planes.in_plane(one.points, index) for one in members]
        size = np.array(planes.shape)
        if cut := sum(bool(((p < -0.5) | (p > size - 0.5)).any()) for p in polygons):
            said["contour(s) reach beyond the images and were cut"] += cut
        mask[index] = fill(polygons, planes.shape)
    return mask


def _by_slice(
    contours: Sequence[Contour], study: Study, planes: Planes, said: Counter[str]
) -> dict[int, list[Contour]]:
    """Find each contour's slice; of several planes within one the nearest counts."""
    uids = study.metadata.get("sop_instance_uids", ())
    half = planes.thickness * (0.5 + 1e-6)
    depths = [one.points @ planes.normal for one in contours]
    middle = np.array([(d.min() + d.max()) / 2 for d in depths])
    spread = np.array([np.ptp(d) / 2 for d in depths])
    nearest = np.abs(middle[:, None] - planes.along).argmin(axis=1)
    off = np.abs(middle - planes.along[nearest])
    found: dict[int, list[int]] = {}
    for number, contour in enumerate(contours):
        index = int(nearest[number])
        if spread[number] > half:
            said["contour(s) do not run parallel to the slices and were ignored"] += 1
        elif off[number] > half:
            said["contour(s) lie on no slice of these images"] += 1
        else:
            found.setdefault(index, []).append(number)
            others = contour.images & set(uids)
            if len(uids) == study.slices and others and uids[index] not in others:
                said[
                    "contour(s) name another image than the slice they lie on; "
                    "their position was followed"
                ] += 1
    result: dict[int, list[Contour]] = {}
    for index, numbers in sorted(found.items()):
        best = middle[min(numbers, key=lambda n: (off[n], middle[n]))]
        taken = [
            n for n in numbers if abs(middle[n] - best) <= SAME_PLANE * planes.thickness
        ]
        if len(taken) < len(numbers):
            said["contour(s) lie between slices, where a nearer one was taken"] += len(
                numbers
            ) - len(taken)
        if off[taken[0]] > SAME_PLANE * planes.thickness:
            said["contour(s) lie between slices and were put on the nearest"] += len(
                taken
            )
        result[index] = [contours[n] for n in taken]
    return result
