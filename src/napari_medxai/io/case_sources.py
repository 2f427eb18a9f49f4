"""Cases from one input, and several inputs put together; see `cases`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_medxai.errors import StudyError
from napari_medxai.privacy import pseudonym

from . import matlab
from .archive import extracted
from .dicom_series import Scan, scan, scan_file
from .formats import (
    expanded,
    is_dicom,
    is_file,
    is_folder,
    kind_of,
    natural_key,
    split_name,
)
from .labels import LabelFinder, place, read_rows
from .media import read_media
from .naming import printable, shown
from .opening import read_contents

__all__ = [
    "Case",
    "Found",
    "Row",
    "Skipped",
    "in_file",
    "in_folder",
    "in_table",
    "is_dicom_name",
    "labelled",
    "merged",
    "named",
]

UNREADABLE = "unreadable-"


@dataclass(frozen=True)
class Case:
    """One image or series to be explained; nothing but its header was read.

    Attributes
    ----------
    name : str
        The path relative to INPUT, or to the table that names it, with forward
        slashes; for DICOM the pseudonym of patient and series, and for a damaged
        DICOM file ``unreadable-`` and a pseudonym of its path. Unique in a list.
    path : Path
        The image file, or the folder in which the DICOM series was found.
    series : str or None
        The key of the DICOM series.
    label : str or None
        The true class.
    patient : str or None
        The research identifier from a table, else DICOM's pseudonym.
    mask : Path or None
        A mask file named by a table.
    files : tuple of Path
        The files to read, in slice order.
    masks : str or Path
        Where else to look for masks, as `load_study` takes it.
    companions : tuple of Path or None
        SEG and RTSTRUCT files that may belong to the series; None where nobody has
        looked for them.
    resample : bool
        As `load_study` takes it.
    frames : str
        `Stack.fingerprint` of the DICOM series.
    """

    name: str
    path: Path
    series: str | None = None
    label: str | None = None
    patient: str | None = None
    mask: Path | None = None
    files: tuple[Path, ...] = ()
    masks: str | Path = "auto"
    companions: tuple[Path, ...] | None = None
    resample: bool = False
    frames: str = ""


@dataclass(frozen=True)
class Skipped:
    """A file that is no case, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Row:
    """What a table says of an image, and where."""

    line: str
    label: str | None
    patient: str | None
    mask: Path | None

    def agrees(self, other: Row) -> bool:
        """Whether both say the same, wherever they stand."""
        return (self.label, self.patient, self.mask) == (
            other.label,
            other.patient,
            other.mask,
        )


@dataclass(frozen=True)
class Found:
    """A case, the folder it was found from, and the row that names it."""

    case: Case
    root: Path
    row: Row | None = None

    @property
    def key(self) -> tuple[Path, str | None]:
        """What is the same for two ways to the same image or series."""
        case = self.case
        first = case.files[0] if case.series and case.files else case.path
        return first.resolve(), case.series


def in_folder(
    root: Path, how: str | Path, *, prefix: str = ""
) -> tuple[list[Found], list[Skipped]]:
    """Find the cases below a folder, and the files that are none.

    `prefix` goes before the paths from the folder, in the names of cases.
    """
    contents = read_contents(root, how)
    cases = _dicom_cases(contents.scan)
    for path in [*(path for path, _ in contents.scan.broken), *contents.images]:
        cases.append(_plain(path, prefix + path.relative_to(root).as_posix()))
    skipped = [Skipped(path, "a mask") for path in contents.masks]
    skipped += [
        Skipped(path, "an archive within a folder; name it itself to open it")
        for path in contents.archives
    ]
    skipped += [Skipped(path, _what(path)) for path in contents.others]
    skipped += _skipped(contents.scan)
    return [Found(case, root) for case in cases], skipped


def _skipped(found: Scan) -> list[Skipped]:
    return [
        Skipped(one.path, f"a DICOM {one.modality}")
        for one in found.companions
        if one.modality != "DICOMDIR"
    ]


def in_file(path: Path) -> tuple[list[Found], list[Skipped]]:
    """Make a file a case, or several where it holds several DICOM series.

    A DICOMDIR stands for the files it refers to.
    """
    kind = kind_of(path)
    if kind is None:
        return [], []
    cases: list[Case] = []
    skipped: list[Skipped] = []
    if kind == "dicom" and is_dicom(path):
        media = read_media(path)
        if media is None:
            cases = _dicom_cases(scan_file(path), path=path)
        else:
            found = scan(media.files)
            cases, skipped = _dicom_cases(found), _skipped(found)
            cases += [_plain(one, one.name) for one, _ in found.broken]
    found_cases = [Found(c, path.parent) for c in cases or [_plain(path, path.name)]]
    return found_cases, skipped


def _plain(path: Path, name: str) -> Case:
    if is_dicom_name(path):
        name = UNREADABLE + pseudonym(name, prefix="F")
    return _of_file(path, name)


def _of_file(path: Path, name: str) -> Case:
    """One file that is no DICOM, with the class and patient that it names itself."""
    said = matlab.facts(path) if kind_of(path) == "matlab" else None
    return Case(
        name,
        path,
        label=said.label if said else None,
        patient=said.patient if said else None,
        files=(path,),
    )


def _what(path: Path) -> str:
    """Say why a file is no image."""
    other = matlab.other(path) if kind_of(path) == "matlab" else None
    return other or "not an image"


def is_dicom_name(path: Path) -> bool:
    """Whether a file is DICOM, so that its name can be a patient's."""
    return kind_of(path) == "dicom"


def _dicom_cases(found: Scan, *, path: Path | None = None) -> list[Case]:
    """Make each stack a case; `path` is the file where only one was looked at."""
    return [
        Case(
            stack.identifier,
            path or _common_folder(stack.files),
            series=stack.key,
            patient=stack.frames[0].patient,
            files=stack.files,
            # Beside a single file nobody has looked yet.
            companions=None if path else found.companions_of(stack),
            frames=stack.fingerprint,
        )
        for stack in found.stacks
    ]


def _common_folder(files: Sequence[Path]) -> Path:
    common = files[0].parent
    while not all(path.is_relative_to(common) for path in files):
        common = common.parent
    return common


def in_table(table: Path) -> list[Found]:
    """Make each row of a table a case."""
    found = []
    for number, row in enumerate(read_rows(table, ("image",)), start=2):
        if not row["image"]:
            raise StudyError(f"{shown(table)}: line {number} names no image.")
        mask = row.get("mask")
        said = Row(
            line=f"{shown(table)} line {number}",
            label=row.get("label") or None,
            patient=row.get("patient") or None,
            mask=place(table.parent / expanded(mask)) if mask else None,
        )
        path = table.parent / expanded(row["image"])
        case = _with_row(_table_case(path, table.parent), said)
        found.append(Found(case, table.parent, said))
    return found


def _table_case(path: Path, folder: Path) -> Case:
    """One row is one case; a folder or DICOM file has to hold one series."""
    name, private = _row_name(path, folder), is_dicom_name(path)
    if is_file(path) and kind_of(path) == "archive":
        path = extracted(path)
    alone = is_file(path)
    if (alone and private) or (not alone and is_folder(path)):
        found = scan_file(path) if alone else read_contents(path).scan
        if len(found.stacks) == 1:
            only = path if alone else None
            return _dicom_cases(found, path=only)[0]
        private = private or bool(found.stacks or found.broken or found.companions)
    if private:
        name = UNREADABLE + pseudonym(name, prefix="F")
    return _of_file(path, name)


def _row_name(path: Path, folder: Path) -> str:
    """Path from the table's folder; elsewhere the file's name and a hash of where."""
    where, base = place(path), folder.resolve()
    if where.is_relative_to(base):
        return where.relative_to(base).as_posix()
    stem, extension = split_name(where)
    digest = hashlib.blake2b(printable(where.as_posix()).encode(), digest_size=4)
    return f"{stem}-{digest.hexdigest()}{extension}"


def _with_row(case: Case, row: Row) -> Case:
    return replace(
        case,
        label=row.label or case.label,
        patient=row.patient or case.patient,
        mask=row.mask or case.mask,
    )


def labelled(found: Found, finder: LabelFinder) -> Found:
    """Add what tables of labels say, where the case's own row says nothing."""
    case = found.case
    label = finder.lookup(case.files, found.root)
    row = found.row or Row("", None, None, None)
    patient = row.patient or label.patient or case.patient
    case = replace(case, label=row.label or label.label or case.label, patient=patient)
    return replace(found, case=case)


def merged(found: Sequence[Found]) -> list[Found]:
    """Make one of what was named twice; rows of tables win, and must not differ."""
    unique: dict[tuple[Path, str | None], Found] = {}
    # The outermost folder names a case, whatever the order of the inputs.
    for one in sorted(
        found,
        key=lambda f: (f.row is not None, len(f.root.resolve().parts), str(f.root)),
    ):
        known = unique.setdefault(one.key, one)
        if known is one or one.row is None:
            continue
        if known.row is not None and not known.row.agrees(one.row):
            raise StudyError(
                f"{known.row.line} and {one.row.line} name the same image, "
                f"{shown(one.case.path)}, with different masks, labels or patients. "
                "Remove one."
            )
        unique[one.key] = replace(
            known, case=_with_row(known.case, one.row), row=one.row
        )
    return list(unique.values())


def named(found: Sequence[Found]) -> tuple[Case, ...]:
    """Make names printable and unique, sort."""
    counts = Counter(printable(one.case.name) for one in found)
    taken: set[str] = set()
    cases = []
    for one in sorted(found, key=lambda f: natural_key(str(f.case.path.resolve()))):
        case, base = one.case, printable(one.case.name)
        private = case.series is not None or base.startswith(UNREADABLE)
        if counts[base] > 1 and not private:
            base = printable(f"{one.root.resolve().name}/{base}")
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base} ({number})"
        taken.add(name)
        cases.append(replace(case, name=name))
    return tuple(sorted(cases, key=lambda case: natural_key(case.name)))
