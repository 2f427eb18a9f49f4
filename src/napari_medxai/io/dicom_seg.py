"""DICOM Segmentation objects placed on the series they refer to (PS3.3 A.51, A.94).

BINARY, FRACTIONAL and LABELMAP; frames may be missing, segments may overlap. Each
frame goes to the slice at its position (PlanePositionSequence); where the images have
no position, to the instance and frame that it was derived from
(DerivationImageSequence). Frames on another grid are resampled.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from .dicom_access import BROKEN, functional, quiet
from .dicom_truth import Unfit, check_references, known_words, open_truth
from .mask_grid import sample_frames
from .naming import shown
from .planes import planes_of
from .seg_frames import Frames, frames_of, same_slices
from .structure_names import safe_name, unique_name

__all__ = ["read"]

FRACTIONS = frozenset({"PROBABILITY", "OCCUPANCY"})
Masks = dict[str, NDArray[np.bool_]]


def read(path: Path, study: Study, notes: list[str]) -> Masks:
    """Read a SEG onto the grid of a study that was read from DICOM.

    Parameters
    ----------
    path : Path
        The segmentation object.
    study : Study
        The images.
    notes : list of str
        Takes what was thresholded, resampled or left out.

    Returns
    -------
    dict of str to bool ndarray
        By SegmentLabel ("segment 2" where it is empty or names the patient), on the
        study's grid. A fraction of at least one half is set.

    Raises
    ------
    Unfit
        Where it refers to other images or another frame of reference, is tiled, or
        does not meet the images.
    StudyError
        Where it is damaged.
    """
    try:
        seg = open_truth(path, study, "SEG")
        with quiet():
            _check(path, seg, study)
            return _read(path, seg, study, notes)
    except StudyError:
        raise
    except (*BROKEN, RuntimeError) as error:
        raise StudyError(
            f"{shown(path, 'its SEG')}: "
            f"the segmentation cannot be read ({type(error).__name__}). "
            "Check it with dciodvfy, or open the images with masks='none'."
        ) from error


def _check(path: Path, seg: Dataset, study: Study) -> None:
    if seg.get("DimensionOrganizationType") == "TILED_FULL" or (
        "TotalPixelMatrixColumns" in seg
    ):
        raise Unfit(path, "SEG", "it is a tiled segmentation of a whole slide")
    series = frozenset(
        str(item.get("SeriesInstanceUID", ""))
        for item in seg.get("ReferencedSeriesSequence") or ()
    )
    check_references(
        path,
        "SEG",
        study,
        series=series - {""},
        instances=_referenced(seg),
        frame_of_reference=str(seg.get("FrameOfReferenceUID") or ""),
    )


def _referenced(seg: Dataset) -> frozenset[str]:
    found = set()
    for series in seg.get("ReferencedSeriesSequence") or ():
        for item in series.get("ReferencedInstanceSequence") or ():
            found.add(str(item.get("ReferencedSOPInstanceUID", "")))
    for index in range(int(seg.get("NumberOfFrames") or 1)):
        found |= {uid for uid, _ in _sources(seg, index)}
    return frozenset(found - {""})


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


def _read(path: Path, seg: Dataset, study: Study, notes: list[str]) -> Masks:
    rows, columns = int(seg.Rows), int(seg.Columns)
    pixels = np.asarray(seg.pixel_array).reshape(-1, rows, columns)
    kind = str(seg.get("SegmentationType", "BINARY"))
    numbered = _numbers(path, seg, len(pixels), kind)
    level = 0.5 * int(seg.get("MaximumFractionalValue") or 255)
    if kind == "FRACTIONAL":
        said = str(seg.get("SegmentationFractionalType"))
        meaning = said.lower() if said in FRACTIONS else "fractions"
        notes.append(
            f"a FRACTIONAL SEG ({meaning}): set where it is at least half of its "
            "maximum"
        )
    elif kind not in {"BINARY", "LABELMAP"}:
        raise Unfit(path, "SEG", "its SegmentationType is not known")
    where = _Placing(path, seg, study, len(pixels))
    words = known_words(seg, study)
    masks: Masks = {}
    met = filled = False
    for number, label in _segments(seg, kind):
        if kind == "LABELMAP":
            own, values = np.arange(len(pixels)), pixels == number
        else:
            own = np.flatnonzero(numbered == number)
            chosen = pixels[own]
            values = chosen >= level if kind == "FRACTIONAL" else chosen > 0
        name = unique_name(safe_name(label, words, f"segment {number}"), masks)
        mask = where.put(own, np.asarray(values))
        met, filled = met or bool(mask.any()), filled or bool(values.any())
        masks[name] = mask.reshape(study.shape)
    if filled and not met and (where.resampled or study.is_volume):
        raise Unfit(path, "SEG", "it lies outside the images")
    notes.extend(where.notes())
    return masks


def _segments(seg: Dataset, kind: str) -> Iterator[tuple[int, Any]]:
    """Yield number and label of each segment; of a label map without background."""
    background = {0, seg.get("PixelPaddingValue", 0)} if kind == "LABELMAP" else set()
    for item in seg.SegmentSequence:
        number = int(item.SegmentNumber)
        if number not in background:
            yield number, item.get("SegmentLabel")


def _numbers(path: Path, seg: Dataset, count: int, kind: str) -> NDArray[np.intp]:
    """Which segment each frame shows; zeros for a label map, which shows all."""
    result = np.zeros(count, dtype=np.intp)
    known = {int(item.SegmentNumber) for item in seg.SegmentSequence}
    for index in range(0 if kind == "LABELMAP" else count):
        item = functional(seg, index, "SegmentIdentificationSequence")
        number = None if item is None else int(item.ReferencedSegmentNumber)
        if number not in known:
            raise StudyError(
                f"{shown(path, 'its SEG')}: frame {index + 1} names no segment of it. "
                "Check it with dciodvfy, or open the images with masks='none'."
            )
        result[index] = number
    return result


class _Placing:
    """Where the frames of a SEG go on the slices of a study."""

    def __init__(self, path: Path, seg: Dataset, study: Study, count: int) -> None:
        self.study = study
        self.shape = (int(seg.Rows), int(seg.Columns))
        self.target = planes_of(study)
        self.groups: list[Frames] = []
        self.resampled = False
        # Slice of each frame; -1 where it belongs to none of these images.
        self.slices = np.full(count, -1, dtype=np.intp)
        frames = frames_of(seg, count, self.shape)
        if self.target is None or frames is None:
            self._by_source(path, seg)
            return
        self.groups = frames
        for group in frames:
            places = same_slices(group.planes, self.target)
            if places is None:
                self.resampled = True
            else:
                self.slices[group.indices] = places

    def _by_source(self, path: Path, seg: Dataset) -> None:
        rows, columns = self.study.shape[-2:]
        if self.shape != (rows, columns):
            raise StudyError(
                f"{shown(path, 'its SEG')}: "
                f"the segmentation has {self.shape[0]} rows and {self.shape[1]} "
                f"columns, the series {self.study.identifier} has {rows} and "
                f"{columns}, and they do not both say where they lie. "
                "Resample it, or open the images with masks='none'."
            )
        for index in range(len(self.slices)):
            sources = _sources(seg, index)
            self.slices[index] = _slice_of(sources, self.study)
            if not sources or (self.slices[index] < 0 and len(self.slices) == 1):
                raise StudyError(
                    f"{shown(path, 'its SEG')}: frame {index + 1} does not say to "
                    f"which slice of {self.study.identifier} it belongs. Open the "
                    "images with masks='none'."
                )

    def put(self, own: NDArray[np.intp], values: NDArray[np.bool_]) -> NDArray[Any]:
        """Place frames `own` with pixels `values`; (slices, rows, columns)."""
        rows, columns = self.study.shape[-2:]
        mask = np.zeros((self.study.slices, rows, columns), dtype=bool)
        if not self.resampled:
            for frame, pixels in zip(own, values, strict=True):
                if self.slices[frame] >= 0:
                    mask[self.slices[frame]] |= pixels
            return mask
        assert self.target is not None
        for group in self.groups:
            _, mine, theirs = np.intersect1d(
                own, group.indices, assume_unique=True, return_indices=True
            )
            if mine.size:
                planes = group.planes.some(theirs)
                mask |= sample_frames(self.target, values[mine], planes)
        return mask

    def notes(self) -> Iterator[str]:
        """Say what was resampled or left out."""
        if self.resampled:
            first = self.groups[0].planes
            down, across = first.spacing
            yield (
                f"a SEG on another grid ({first.shape[0]} x {first.shape[1]} at "
                f"{down:.4g} x {across:.4g} mm, frames {first.thickness:.4g} mm "
                "apart) was resampled (nearest) onto the images"
            )
        elif (outside := int((self.slices < 0).sum())) > 0:
            yield (
                f"{outside} of {len(self.slices)} frames of a SEG lie on slices that "
                "are not among these images"
            )


def _slice_of(sources: list[tuple[str, int | None]], study: Study) -> int:
    uids = study.metadata.get("sop_instance_uids", ())
    frames = study.metadata.get("frame_indices", ())
    counts = study.metadata.get("frame_counts", ())
    for uid, frame in sources:
        for place in range(min(study.slices, len(uids))):
            if uids[place] == uid and (
                counts[place] == 1 or (frame is not None and frames[place] == frame)
            ):
                return place
    return -1
