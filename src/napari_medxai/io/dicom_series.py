"""From DICOM files to ordered stacks: grouping, order along the normal, geometry.

A series is not yet a volume: it can hold scouts in three directions, several
acquisitions, or slices of several sizes. Frames are grouped by SeriesInstanceUID,
frame of reference, size, spacing and orientation, and sorted by their position along
the slice normal, whatever their names and InstanceNumbers say (DICOM PS3.3 C.7.6.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medxai.privacy import pseudonym
from napari_medxai.study import Series

from .dicom_access import BROKEN
from .dicom_geometry import frame_name, slice_normal, slice_positions
from .dicom_headers import SPLITTERS, Companion, Frame, read_frames
from .formats import DICOM_EXTENSIONS, natural_key, split_name

__all__ = ["Scan", "Stack", "scan"]

SAME_DIRECTION = 1e-3
SAME_POSITION_MM = 1e-2


@dataclass(frozen=True)
class Stack:
    """Frames that make one image or volume, in order.

    Attributes
    ----------
    key : str
        The SeriesInstanceUID, with ``#2`` where the series holds several stacks.
    frames : tuple of Frame
        In the order of the array's slices.
    extra : str
        By what it differs from the other stacks of its series.
    problem : str or None
        Why it cannot be loaded.
    """

    key: str
    frames: tuple[Frame, ...]
    extra: str = ""
    problem: str | None = None

    @property
    def identifier(self) -> str:
        """Pseudonyms of patient and series."""
        patient = self.frames[0].patient or "P-unknown"
        return f"{patient}/{pseudonym(self.key, prefix='S')}"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, each once, in slice order."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))

    def series(self) -> Series:
        """Describe the stack for people."""
        first = self.frames[0]
        size = f"{first.columns} x {first.rows}"
        if len(self.frames) > 1:
            size += f", {len(self.frames)} slices"
        text = " ".join(part for part in (first.modality, first.description) if part)
        parts = [text, size, self.extra, self.problem and "cannot be opened"]
        return Series(
            key=self.key,
            description=", ".join(part for part in parts if part),
            files=self.files,
            modality=first.modality,
            shape=(len(self.frames), first.rows, first.columns),
            patient=first.patient,
        )


@dataclass(frozen=True)
class Scan:
    """What a set of files holds.

    Attributes
    ----------
    stacks : tuple of Stack
        Images and volumes, by series number and UID.
    companions : tuple of Companion
        SEG, RTSTRUCT, SR and so on.
    broken : tuple of (Path, str)
        Files that begin like DICOM and cannot be read, with the reason.
    ignored : int
        How many files are not DICOM.
    """

    stacks: tuple[Stack, ...]
    companions: tuple[Companion, ...]
    broken: tuple[tuple[Path, str], ...]
    ignored: int


def scan(files: Iterable[Path]) -> Scan:
    """Read the headers of files and order their frames into stacks."""
    frames: list[Frame] = []
    companions: list[Companion] = []
    broken: list[tuple[Path, str]] = []
    ignored = 0
    for path in files:
        try:
            found = read_frames(path)
        except BROKEN as error:
            # The text of the error could quote a value; its kind cannot.
            broken.append((path, f"damaged DICOM header ({type(error).__name__})"))
            continue
        if found is None and split_name(path)[1] in DICOM_EXTENSIONS:
            broken.append((path, "not DICOM in spite of its name"))
        elif found is None:
            ignored += 1
        elif isinstance(found, Companion):
            companions.append(found)
        else:
            frames.extend(found)
    return Scan(_stacks(frames), tuple(companions), tuple(broken), ignored)


def _stacks(frames: Sequence[Frame]) -> tuple[Stack, ...]:
    by_series: dict[str, list[Frame]] = {}
    for frame in frames:
        by_series.setdefault(frame.series_uid or str(frame.path), []).append(frame)
    result: list[Stack] = []
    for uid, members in by_series.items():
        parts = [part for group in _groups(members) for part in _separate(group)]
        parts.sort(key=lambda part: _rank(part[0]))
        name = uid if members[0].series_uid else members[0].path.name
        several = len(parts) > 1
        for index, (part, extra) in enumerate(parts, start=1):
            key = f"{name}#{index}" if several else name
            result.append(Stack(key, tuple(part), extra, _problem(part)))
    result.sort(key=lambda stack: _order(stack))
    return tuple(result)


def _order(stack: Stack) -> tuple[int, tuple[tuple[int, int, str], ...]]:
    number = stack.frames[0].number
    return (-1 if number is None else number, natural_key(stack.key))


def _rank(part: Sequence[Frame]) -> tuple[int, tuple[tuple[int, int, str], ...], int]:
    first = min(part, key=lambda f: (f.instance or 0, natural_key(str(f.path))))
    return (first.instance or 0, natural_key(str(first.path)), first.index)


def _groups(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split one series by frame of reference, size, spacing and orientation."""
    groups: dict[tuple[object, ...], list[list[Frame]]] = {}
    for frame in frames:
        spacing = frame.spacing and tuple(round(v, 4) for v in frame.spacing)
        # Frames without a position cannot be ordered with those of other files.
        alone = frame.path if frame.position is None else None
        basis = (frame.frame_uid, frame.rows, frame.columns, frame.samples)
        alike = groups.setdefault((*basis, spacing, alone), [])
        for group in alike:
            if _same_direction(group[0], frame):
                group.append(frame)
                break
        else:
            alike.append([frame])
    return [group for alike in groups.values() for group in alike]


def _same_direction(one: Frame, other: Frame) -> bool:
    if one.orientation is None or other.orientation is None:
        return one.orientation is other.orientation
    return bool(
        np.allclose(one.orientation, other.orientation, rtol=0, atol=SAME_DIRECTION)
    )


def _separate(frames: list[Frame]) -> list[tuple[list[Frame], str]]:
    """Order frames; where positions collide, split by acquisition, time, echo..."""
    if frames[0].position is None:
        return [(sorted(frames, key=lambda f: f.index), "")]
    ordered = _sorted(frames)
    if not _collisions(ordered):
        return [(ordered, "")]
    for number, label in enumerate(SPLITTERS.values()):
        parts: dict[str, list[Frame]] = {}
        for frame in ordered:
            parts.setdefault(frame.splitters[number], []).append(frame)
        if len(parts) > 1 and not any(_collisions(part) for part in parts.values()):
            return [(part, f"{label} {value}") for value, part in parts.items()]
    return [(ordered, "")]


def _sorted(frames: Sequence[Frame]) -> list[Frame]:
    """By position along the normal of the first; ties by file, so that it is stable."""
    along = slice_positions(frames) @ slice_normal(frames[0])
    keys = [
        (float(along[i]), natural_key(str(frame.path)), frame.index)
        for i, frame in enumerate(frames)
    ]
    return [frames[i] for i in sorted(range(len(frames)), key=keys.__getitem__)]


def _collisions(ordered: Sequence[Frame]) -> list[tuple[Frame, Frame]]:
    along = slice_positions(ordered) @ slice_normal(ordered[0])
    return [
        (ordered[i], ordered[i + 1])
        for i in map(int, np.flatnonzero(np.diff(along) < SAME_POSITION_MM))
    ]


def _problem(frames: Sequence[Frame]) -> str | None:
    for frame in frames:
        if frame.problem:
            return f"{frame_name(frame)} {frame.problem}."
    if frames[0].position is None or len(frames) < 2:
        return None
    pairs = _collisions(frames)
    if not pairs:
        return None
    named = "; ".join(f"{frame_name(a)} and {frame_name(b)}" for a, b in pairs[:5])
    more = f" and {len(pairs) - 5} pairs more" if len(pairs) > 5 else ""
    return (
        f"of {len(frames)} slices {len(pairs)} lie at the same position as another: "
        f"{named}{more}. Remove the duplicates, or put each acquisition into a folder "
        "of its own."
    )
