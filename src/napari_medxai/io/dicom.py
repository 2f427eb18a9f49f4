"""One DICOM series, in order, as a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from .dicom_geometry import frame_name, geometry
from .dicom_headers import Frame
from .dicom_pixels import Pixels, read_pixels
from .dicom_series import Scan, Stack
from .naming import anonymous, shown

__all__ = ["listing", "load_stack", "pick"]


def pick(scan: Scan, source: Path, series: str | None) -> Stack:
    """Choose a stack by its key or pseudonym; never guess among several.

    Raises
    ------
    StudyError
        Where there is none, or several and none is chosen, or no such key. The
        text lists the keys with their descriptions.
    """
    stacks = scan.stacks
    if not stacks:
        raise StudyError(f"{shown(source)}: {_why_nothing(scan)}")
    if series is None:
        if len(stacks) == 1:
            return stacks[0]
        raise StudyError(
            f"{shown(source)}: holds {len(stacks)} series; choose one with series=:\n"
            + listing(stacks)
        )
    for stack in stacks:
        if series in {stack.key, stack.identifier}:
            return stack
    raise StudyError(
        f"{shown(source)}: has no series '{series}'; it holds:\n" + listing(stacks)
    )


def listing(stacks: Sequence[Stack]) -> str:
    """One line per stack: key and description."""
    # A key can be a file's name.
    keys = [stack.identifier if anonymous() else stack.key for stack in stacks]
    return "\n".join(
        f"  {key}: {stack.series().description}"
        for key, stack in zip(keys, stacks, strict=True)
    )


def _why_nothing(scan: Scan) -> str:
    if scan.broken:
        return f"cannot be read: {scan.broken[0][1]}. Copy it again."
    if scan.companions:
        kinds = ", ".join(sorted({c.modality for c in scan.companions}))
        return f"holds no DICOM image, only {kinds}. Open the images it refers to."
    return (
        "holds no DICOM image. If it is the directory (DICOMDIR) of a medium, open "
        "the folder instead."
    )


def load_stack(stack: Stack, source: Path, scan: Scan) -> Study:
    """Read a stack's pixels.

    Parameters
    ----------
    stack : Stack
        Ordered frames.
    source : Path
        What the user opened.
    scan : Scan
        Of the same files: what else was found goes into the notes.

    Returns
    -------
    Study
        A volume (slice, row, column), or an image where there is one frame; the
        affine of an image has the slice's thickness (or 1 mm) along the normal.

    Raises
    ------
    StudyError
        For duplicate positions, unsupported objects and damaged pixels.
    """
    if stack.problem:
        raise StudyError(f"{shown(source)}: cannot be opened: {stack.problem}")
    first = stack.frames[0]
    place = geometry(stack.frames)
    parts, notes = _read(stack)
    array = np.concatenate([part.array for part in parts])
    spacing = place.spacing
    if len(stack.frames) == 1:
        array = array[0]
        spacing = spacing and spacing[1:]
    return Study(
        array=array,
        source=source,
        affine_lps=place.affine_lps,
        spacing=spacing,
        colour=array.ndim == (4 if len(stack.frames) > 1 else 3),
        modality=first.modality,
        patient=first.patient,
        identifier=stack.identifier,
        inverted=parts[0].inverted,
        window=parts[len(parts) // 2].window,
        notes=(*place.notes, *notes, *_leftovers(scan)),
        files=stack.files,
        metadata={
            "format": "dicom",
            "series_key": stack.key,
            "series_uid": first.series_uid,
            "study_uid": first.study_uid,
            "frame_of_reference_uid": first.frame_uid,
            "sop_instance_uids": tuple(frame.sop_uid for frame in stack.frames),
            "frame_files": tuple(frame.path for frame in stack.frames),
            "frame_indices": tuple(frame.index for frame in stack.frames),
            "frame_counts": tuple(frame.frames for frame in stack.frames),
            "positions": tuple(frame.position for frame in stack.frames),
            "orientation": first.orientation,
            "pixel_spacing": first.spacing,
        },
    )


def _read(stack: Stack) -> tuple[list[Pixels], tuple[str, ...]]:
    """Decode each run of frames of one file, in slice order."""
    runs: list[tuple[Frame, list[int]]] = []
    for frame in stack.frames:
        if runs and runs[-1][0].path == frame.path:
            runs[-1][1].append(frame.index)
        else:
            runs.append((frame, [frame.index]))
    parts = [
        read_pixels(first.path, indices, name=shown(first.path, frame_name(first)))
        for first, indices in runs
    ]
    first = runs[0][0]
    shapes = {part.array.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise StudyError(
            f"{shown(first.path, frame_name(first))} "
            f"and the others of its series have pixels of different "
            f"shapes: {sorted(shapes)}. Put colour and grey images into two folders."
        )
    if len({part.inverted for part in parts}) > 1:
        raise StudyError(
            f"{shown(first.path, frame_name(first))}: "
            f"some slices of its series are MONOCHROME1 and some "
            "are not; put them into two folders."
        )
    return parts, tuple(dict.fromkeys(n for part in parts for n in part.notes))


def _leftovers(scan: Scan) -> tuple[str, ...]:
    notes = []
    if scan.ignored:
        notes.append(f"{scan.ignored} files that are not DICOM were ignored")
    for reason, count in Counter(reason for _, reason in scan.broken).items():
        notes.append(f"{count} DICOM file(s) left out: {reason}")
    return tuple(notes)
