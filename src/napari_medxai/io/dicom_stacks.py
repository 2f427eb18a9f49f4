"""From slices to ordered stacks: grouping, splitting, order along the normal.

A series is not yet a volume: it can hold scouts in three directions, several
acquisitions, time points, or slices of several sizes; some anonymisers even give the
series of all patients one UID. Frames are grouped by SeriesInstanceUID, patient,
frame of reference, size, spacing, StackID and orientation, and sorted by their position
along the slice normal, whatever their names and InstanceNumbers say (DICOM PS3.3
C.7.6.2).
"""

from __future__ import annotations

import filecmp
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medxai.privacy import pseudonym
from napari_medxai.study import Series

from .dicom_frames import Frame
from .dicom_geometry import evenly_spaced, frame_name, slice_normal, slice_positions
from .dicom_tags import MOMENTS, SPLITTERS
from .formats import natural_key

__all__ = ["Stack", "stacks_of"]

SAME_DIRECTION = 1e-3
SAME_POSITION_MM = 1e-2
# Elements that are tried together where one alone does not tell slices apart.
TOGETHER = 3


@dataclass(frozen=True)
class Stack:
    """Frames that make one image or volume, in order.

    Attributes
    ----------
    key : str
        The SeriesInstanceUID, with ``#2`` where the series holds several stacks; the
        file's name, with its folders where need be, where there is no UID.
    frames : tuple of Frame
        In the order of the array's slices.
    extra : str
        By what it differs from the other stacks of its series.
    problem : str or None
        Why it cannot be loaded.
    notes : tuple of str
        What was done with its files.
    """

    key: str
    frames: tuple[Frame, ...]
    extra: str = ""
    problem: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def identifier(self) -> str:
        """Pseudonyms of patient and series."""
        patient = self.frames[0].patient or "P-unknown"
        return f"{patient}/{pseudonym(self.key, prefix='S')}"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, each once, in slice order."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))

    @property
    def fingerprint(self) -> str:
        """The same for the same frames in the same order, whatever the key."""
        frames = [f"{one.path}\0{one.index}\0{one.tile}" for one in self.frames]
        data = "\n".join(frames).encode("utf-8", "backslashreplace")
        return hashlib.blake2b(data, digest_size=8).hexdigest()

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


def stacks_of(frames: Iterable[Frame]) -> tuple[Stack, ...]:
    """Order frames into stacks, by series number and UID.

    Parameters
    ----------
    frames : iterable of Frame
        Of any number of series.

    Returns
    -------
    tuple of Stack
    """
    by_series: dict[str, list[Frame]] = {}
    for frame in frames:
        by_series.setdefault(frame.series_uid or str(frame.path), []).append(frame)
    names = _file_keys(m[0].path for m in by_series.values() if not m[0].series_uid)
    result: list[Stack] = []
    for uid, members in by_series.items():
        members, notes = _without_copies(members)
        parts = [part for group in _groups(members) for part in _separate(group)]
        parts.sort(key=lambda part: _rank(part[0]))
        name = uid if members[0].series_uid else names[members[0].path]
        several = len(parts) > 1
        for index, (part, extra) in enumerate(parts, start=1):
            key = f"{name}#{index}" if several else name
            result.append(Stack(key, tuple(part), extra, _problem(part), notes))
    result.sort(key=lambda stack: _order(stack))
    return tuple(result)


def _file_keys(paths: Iterable[Path]) -> dict[Path, str]:
    """Name files without a SeriesInstanceUID by as much of their path as is needed."""
    keys: dict[Path, str] = {}
    left, parts = list(paths), 1
    while left:
        counts = Counter(path.parts[-parts:] for path in left)
        for path in left:
            if counts[path.parts[-parts:]] == 1 or parts >= len(path.parts):
                keys[path] = Path(*path.parts[-parts:]).as_posix()
        left = [path for path in left if path not in keys]
        parts += 1
    return keys


def _order(stack: Stack) -> tuple[int, tuple[tuple[int, int, str], ...]]:
    number = stack.frames[0].number
    return (-1 if number is None else number, natural_key(stack.key))


def _rank(part: Sequence[Frame]) -> tuple[int, tuple[tuple[int, int, str], ...], int]:
    least = min(frame.instance or 0 for frame in part)
    first = min(
        (frame for frame in part if (frame.instance or 0) == least),
        key=lambda frame: natural_key(str(frame.path)),
    )
    return (first.instance or 0, natural_key(str(first.path)), first.index)


def _without_copies(frames: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Leave out files that are copies of another, byte for byte."""
    files: dict[str, dict[Path, Frame]] = {}
    for frame in frames:
        files.setdefault(frame.sop_uid, {}).setdefault(frame.path, frame)
    copies: dict[Path, Frame] = {}
    for uid, same in files.items():
        kept: list[Path] = []
        if len(same) < 2 or not uid:
            continue
        for path in sorted(same, key=lambda p: natural_key(str(p))):
            if any(_equal(path, one) for one in kept):
                copies[path] = same[path]
            else:
                kept.append(path)
    if not copies:
        return frames, ()
    named = ", ".join(frame_name(frame) for frame in list(copies.values())[:5])
    more = f" and {len(copies) - 5} more" if len(copies) > 5 else ""
    note = f"{len(copies)} file(s) left out, copies byte for byte: {named}{more}"
    return [frame for frame in frames if frame.path not in copies], (note,)


def _equal(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False  # what cannot be compared is no copy; reading it says why


def _groups(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split one series by all but what tells slices at one position apart."""
    groups: dict[tuple[object, ...], list[list[Frame]]] = {}
    for frame in frames:
        spacing = frame.spacing and tuple(round(v, 4) for v in frame.spacing)
        # Frames without a position cannot be ordered with those of other files, and
        # a mosaic is a volume of its own.
        single = frame.position is None or frame.tile is not None
        alone = frame.path if single else None
        # Not the StudyInstanceUID: some writers make a new one for each slice.
        owner = (frame.patient, frame.frame_uid)
        basis = (*owner, frame.rows, frame.columns, frame.samples)
        alike = groups.setdefault((*basis, frame.stack, spacing, alone), [])
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
    pairs = zip(one.orientation, other.orientation, strict=True)
    return all(abs(a - b) <= SAME_DIRECTION for a, b in pairs)


def _separate(frames: list[Frame]) -> list[tuple[list[Frame], str]]:
    """Order frames; where positions collide, split by acquisition, time, echo..."""
    first = frames[0]
    if first.position is None:
        return [(sorted(frames, key=lambda f: f.index), "")]
    ordered = _sorted(frames)
    if first.tile is not None:
        number = "" if first.instance is None else f"volume {first.instance}"
        return [(ordered, number)]
    if not _collisions(ordered):
        return _by_acquisition(ordered)
    best: list[tuple[list[Frame], str]] = [(ordered, "")]
    crowd = _crowd(ordered)
    values = [dict(frame.splitters) for frame in ordered]
    names = [name for name in _names(values) if len({v.get(name) for v in values}) > 1]
    for size in range(1, TOGETHER + 1):
        for chosen in itertools.combinations(names, size):
            parts: dict[tuple[str, ...], list[Frame]] = {}
            for frame, value in zip(ordered, values, strict=True):
                key = tuple(value.get(name, "") for name in chosen)
                parts.setdefault(key, []).append(frame)
            if MOMENTS.intersection(chosen) and len(parts) > crowd:
                continue
            if len(best) > 1 and len(parts) >= len(best):
                continue
            if not any(_collisions(part) for part in parts.values()):
                best = [
                    (part, _said(chosen, key, number))
                    for number, (key, part) in enumerate(parts.items(), start=1)
                ]
        if len(best) > 1:
            break
    if len(best) < 2:
        return best
    # Each part as it would be split if it were alone, so that reading its files again
    # finds the same.
    return [
        (slab, ", ".join(filter(None, (said, more))))
        for part, said in best
        for slab, more in _by_acquisition(part)
    ]


def _names(values: Sequence[dict[str, str]]) -> list[str]:
    """List the splitting elements that occur, the most telling ones first."""
    found = set().union(*values)
    known = [name for name in SPLITTERS if name in found]
    return known + sorted(found.difference(SPLITTERS), key=natural_key)


def _said(names: Sequence[str], key: Sequence[str], number: int) -> str:
    return ", ".join(
        f"{SPLITTERS.get(name, name)} {number if name in MOMENTS else value}"
        for name, value in zip(names, key, strict=True)
    )


def _crowd(ordered: Sequence[Frame]) -> int:
    """How many frames lie at the position that has the most."""
    along = slice_positions(ordered) @ slice_normal(ordered[0])
    steps = np.concatenate([[0], np.cumsum(np.diff(along) >= SAME_POSITION_MM)])
    return max(Counter(steps.tolist()).values())


def _by_acquisition(ordered: list[Frame]) -> list[tuple[list[Frame], str]]:
    """Split slabs that were acquired one after the other, each evenly spaced.

    A head CT can have fine slices at its base and coarse ones above. Acquisition
    numbers alone prove nothing: some scanners count every slice.
    """
    parts: dict[str, list[Frame]] = {}
    for frame in ordered:
        parts.setdefault(dict(frame.splitters).get("AcquisitionNumber", ""), []).append(
            frame
        )
    slabs = list(parts.values())
    runs = 1 + sum(
        dict(a.splitters).get("AcquisitionNumber", "")
        != dict(b.splitters).get("AcquisitionNumber", "")
        for a, b in itertools.pairwise(ordered)
    )
    if (
        len(slabs) < 2
        or runs != len(slabs)
        or evenly_spaced(ordered)
        or not all(len(slab) > 1 and evenly_spaced(slab) for slab in slabs)
    ):
        return [(ordered, "")]
    return [(slab, f"acquisition {number}") for number, slab in parts.items()]


def _sorted(frames: Sequence[Frame]) -> list[Frame]:
    """By position along the normal of the first; ties by file, so that it is stable."""
    along = slice_positions(frames) @ slice_normal(frames[0])
    keys = [
        (float(along[i]), str(frame.path), frame.index)
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
