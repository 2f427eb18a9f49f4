"""Cases from one input, and several inputs put together; see `cases`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_medxai.errors import StudyError
from napari_medxai.privacy import pseudonym

from .dicom_series import Scan, Stack, scan
from .formats import is_dicom, kind_of, natural_key, split_name
from .labels import LabelFinder, place, read_rows
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
        A mask file named by a table, or a SEG that refers to this series.
    files : tuple of Path
        The files to read, in slice order.
    masks : str or Path
        Where else to look for masks, as `load_study` takes it.
    """

    name: str
    path: Path
    series: str | None = None
    label: str | None = None
    patient: str | None = None
    mask: Path | None = None
    files: tuple[Path, ...] = ()
    masks: str | Path = "auto"


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


def in_folder(root: Path, how: str | Path) -> tuple[list[Found], list[Skipped]]:
    """Find the cases below a folder, and the files that are none."""
    contents = read_contents(root, how)
    cases = _dicom_cases(contents.scan, auto=how == "auto")
    for path in [*(path for path, _ in contents.scan.broken), *contents.images]:
        cases.append(_plain(path, path.relative_to(root).as_posix()))
    skipped = [Skipped(path, "a mask") for path in contents.masks]
    skipped += [Skipped(path, "not an image") for path in contents.others]
    skipped += [
        Skipped(one.path, f"a DICOM {one.modality}") for one in contents.scan.companions
    ]
    return [Found(case, root) for case in cases], skipped


def in_file(path: Path) -> list[Found]:
    """Make a file a case, or several where it holds several DICOM series."""
    kind = kind_of(path)
    if kind is None:
        return []
    cases: list[Case] = []
    if kind == "dicom" and is_dicom(path):
        cases = _dicom_cases(scan([path]), auto=False, path=path)
    return [Found(c, path.parent) for c in cases or [_plain(path, path.name)]]


def _plain(path: Path, name: str) -> Case:
    if is_dicom_name(path):
        name = UNREADABLE + pseudonym(name, prefix="F")
    return Case(name, path, files=(path,))


def is_dicom_name(path: Path) -> bool:
    """Whether a file is DICOM, so that its name can be a patient's."""
    return kind_of(path) == "dicom"


def _dicom_cases(found: Scan, *, auto: bool, path: Path | None = None) -> list[Case]:
    cases = []
    for stack in found.stacks:
        folder = _common_folder(stack.files)
        cases.append(
            Case(
                stack.identifier,
                path or folder,
                series=stack.key,
                patient=stack.frames[0].patient,
                mask=_segmentation(found, stack, folder) if auto else None,
                files=stack.files,
            )
        )
    return cases


def _common_folder(files: Sequence[Path]) -> Path:
    common = files[0].parent
    while not all(path.is_relative_to(common) for path in files):
        common = common.parent
    return common


def _segmentation(found: Scan, stack: Stack, folder: Path) -> Path | None:
    """Find a SEG of the series that `auto` would not see from its folder."""
    paths = [
        one.path
        for one in found.companions
        if one.modality == "SEG" and stack.frames[0].series_uid in one.references
    ]
    if not paths or any(path.is_relative_to(folder) for path in paths):
        return None
    return paths[0] if len(paths) == 1 else _common_folder(paths)


def in_table(table: Path, how: str | Path) -> list[Found]:
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
            mask=place(table.parent / Path(mask).expanduser()) if mask else None,
        )
        path = table.parent / Path(row["image"]).expanduser()
        case = _with_row(_table_case(path, table.parent, auto=how == "auto"), said)
        found.append(Found(case, table.parent, said))
    return found


def _table_case(path: Path, folder: Path, *, auto: bool) -> Case:
    """One row is one case; a folder or DICOM file has to hold one series."""
    name, private = _row_name(path, folder), is_dicom_name(path)
    if path.is_dir() or (path.is_file() and private):
        found = read_contents(path).scan if path.is_dir() else scan([path])
        if len(found.stacks) == 1:
            only = path if path.is_file() else None
            return _dicom_cases(found, auto=auto, path=only)[0]
        private = private or bool(found.stacks or found.broken or found.companions)
    if private:
        name = UNREADABLE + pseudonym(name, prefix="F")
    return Case(name, path, files=(path,))


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
    case = replace(case, label=row.label or label.label, patient=patient)
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
