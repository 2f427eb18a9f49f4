"""One DICOM series, in order, as a study."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from .dicom_frames import Frame
from .dicom_geometry import frame_name, geometry
from .dicom_pixels import Pixels, read_pixels
from .dicom_series import Scan, Stack
from .mosaic import cut
from .naming import anonymous, shown

__all__ = ["listing", "load_stack", "pick"]

# More only wait for the interpreter's lock: parsing holds it (benchmarks/reading.py).
THREADS = 2


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
    return "holds no DICOM image."


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
    array, parts = _read(stack)
    spacing = place.spacing
    if len(stack.frames) == 1:
        array = array[0]
        spacing = spacing and spacing[1:]
    remarks = (r for frame in stack.frames for r in frame.remarks)
    decoding = (note for part in parts for note in part.notes)
    paddings = {part.padding for part in parts}
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
        padding=paddings.pop() if len(paddings) == 1 else None,
        notes=(
            *place.notes,
            *dict.fromkeys((*remarks, *decoding)),
            *stack.notes,
            *_leftovers(scan),
        ),
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
            "mosaic": first.tile is not None,
        },
    )


@dataclass(frozen=True)
class _Run:
    """Neighbouring slices of one file: decoded together, into `start` and on."""

    frames: tuple[Frame, ...]
    start: int
    name: str

    def read(self) -> Pixels:
        first = self.frames[0]
        if first.tile is None:
            indices = [frame.index for frame in self.frames]
            return read_pixels(first.path, indices, name=self.name)
        pixels = read_pixels(first.path, [first.index], name=self.name)
        tiles = [
            cut(pixels.array[0], frame.tile or 0, frame.rows, frame.columns)
            for frame in self.frames
        ]
        return replace(pixels, array=np.stack(tiles))


def _runs(stack: Stack) -> list[_Run]:
    runs: list[_Run] = []
    for _, group in itertools.groupby(stack.frames, key=lambda frame: frame.path):
        frames = tuple(group)
        start = runs[-1].start + len(runs[-1].frames) if runs else 0
        # Named here: in another thread the name to be shown is not known.
        name = shown(frames[0].path, frame_name(frames[0]))
        runs.append(_Run(frames, start, name))
    return runs


def _read(stack: Stack) -> tuple[NDArray[Any], list[Pixels]]:
    """Decode a stack's files; return its array, and all but the pixels of each file.

    Files are read ahead by a few threads, never more of them than are soon needed.
    """
    first, *others = _runs(stack)
    part = first.read()
    array = base = _put(None, part, [], first, len(stack.frames))
    parts = [replace(part, array=part.array[:0].copy())]

    def fill(run: _Run) -> tuple[Pixels, bool]:
        """Read a file and, where it is like the first, put it in its place here."""
        found = run.read()
        alike = found.array.shape[1:] == base.shape[1:]
        alike &= (found.array.dtype, found.inverted) == (base.dtype, part.inverted)
        if alike:
            base[run.start : run.start + len(found.array)] = found.array
            found = replace(found, array=found.array[:0].copy())
        return found, alike

    with ThreadPoolExecutor(max_workers=min(THREADS, len(others) or 1)) as pool:
        ahead: deque[Future[tuple[Pixels, bool]]] = deque()
        waiting = iter(others)
        try:
            for run in others:
                ahead.extend(
                    pool.submit(fill, later)
                    for later in itertools.islice(waiting, 2 * THREADS - len(ahead))
                )
                found, placed = ahead.popleft().result()
                if not placed:
                    array = _put(array, found, parts, run, len(stack.frames))
                elif array is not base:
                    own = slice(run.start, run.start + len(run.frames))
                    array[own] = base[own]
                parts.append(replace(found, array=found.array[:0].copy()))
        finally:
            for one in ahead:
                one.cancel()
    return array, parts


def _put(
    array: NDArray[Any] | None,
    part: Pixels,
    parts: list[Pixels],
    run: _Run,
    count: int,
) -> NDArray[Any]:
    """Put slices in their place; the type grows where a file needs it."""
    shape = part.array.shape[1:]
    if array is None:
        if len(part.array) == count:
            return part.array
        array = np.empty((count, *shape), dtype=part.array.dtype)
    if array.shape[1:] != shape:
        raise StudyError(
            f"{run.name} and the others of its series have pixels of different "
            f"shapes: {sorted({array.shape[1:], shape})}. Put colour and grey images "
            "into two folders."
        )
    if parts and parts[0].inverted != part.inverted:
        raise StudyError(
            f"{run.name}: some slices of its series are MONOCHROME1 and some are not; "
            "put them into two folders."
        )
    if array.dtype != part.array.dtype:
        array = array.astype(np.result_type(array, part.array), copy=False)
    array[run.start : run.start + len(part.array)] = part.array
    return array


def _leftovers(scan: Scan) -> tuple[str, ...]:
    notes = list(scan.notes)
    if scan.ignored:
        notes.append(f"{scan.ignored} files that are not DICOM were ignored")
    for reason, count in Counter(reason for _, reason in scan.broken).items():
        notes.append(f"{count} DICOM file(s) left out: {reason}")
    return tuple(notes)
