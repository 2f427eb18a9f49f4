"""Which cases a run has: files, folders and tables become one ordered list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from .dicom import load_stack
from .dicom_series import Scan, Stack, scan
from .formats import is_dicom, kind_of, natural_key
from .labels import Label, LabelFinder, read_rows
from .masks import find_masks
from .opening import load_study, read_contents

__all__ = ["Case", "CaseList", "Skipped", "find_cases", "load_case"]


@dataclass(frozen=True)
class Case:
    """One image or series to be explained; nothing but its header was read.

    Attributes
    ----------
    name : str
        The path relative to INPUT with forward slashes; for DICOM the pseudonym of
        patient and series. Unique within a list.
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
class CaseList:
    """Cases in natural order of their names, and what was passed over."""

    cases: tuple[Case, ...]
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.cases)


def find_cases(
    inputs: Iterable[str | Path] | str | Path,
    *,
    masks: str | Path | None = "auto",
    labels: str | Path | None = None,
) -> CaseList:
    """Find the cases in files, folders and tables, from headers only.

    Parameters
    ----------
    inputs : path or iterable of paths
        Image files; folders, searched recursively, with DICOM grouped by series, and
        without folders named ``masks``, masks by their name, and hidden files; CSV
        tables with the column ``image`` and optionally ``mask``, ``label``,
        ``patient``, whose relative paths start from the table.
    masks : str, Path or None
        As for `load_study`; kept in the cases.
    labels : path, optional
        CSV with ``file``, ``label`` and optionally ``patient``. Without it every
        ``labels.csv`` in a folder applies to the files below it.

    Returns
    -------
    CaseList
        In natural order of the names, so the same whatever the order of `inputs`. A
        damaged file is a case too: it fails later, with its reason.

    Raises
    ------
    StudyError
        Where an input does not exist or holds no image, or a table lacks a column.
    """
    places = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    finder = LabelFinder(None if labels is None else Path(labels).expanduser())
    how = "none" if masks is None else masks
    found: list[tuple[Path, Case]] = []
    skipped: list[Skipped] = []
    for place in places:
        root = Path(place).expanduser()
        if not root.exists():
            raise StudyError(f"{place}: there is no such file or folder.")
        if root.is_dir():
            cases, passed = _in_folder(root, finder)
        elif root.suffix.lower() == ".csv":
            cases, passed = _in_table(root, finder, given=labels is not None)
        else:
            cases, passed = _in_file(root, finder)
        if not cases:
            raise StudyError(
                f"no image found in {root.name}. PNG, JPEG, TIFF, BMP, NIfTI and "
                "DICOM can be read."
            )
        found.extend((root, replace(case, masks=how)) for case in cases)
        skipped.extend(passed)
    return CaseList(_named(found), tuple(skipped))


def load_case(case: Case) -> Study:
    """Open a case: only its own files are read, however large the folder.

    Parameters
    ----------
    case : Case
        From `find_cases`.

    Returns
    -------
    Study
        As `load_study` gives it, with the case's patient where it has one.

    Raises
    ------
    StudyError
        As `load_study`.
    """
    if case.series is None:
        study = load_study(case.path, masks=case.mask or case.masks)
    else:
        study = _load_series(case)
    return replace(study, patient=case.patient or study.patient)


def _load_series(case: Case) -> Study:
    found = scan(case.files)
    # Read without its siblings, a stack can have lost the number after its UID.
    stacks = [stack for stack in found.stacks if stack.key == case.series]
    if not stacks and len(found.stacks) == 1:
        stacks = [replace(found.stacks[0], key=str(case.series))]
    if not stacks:
        raise StudyError(
            f"{case.name}: the files of this series have changed or vanished since "
            "they were listed. List the cases again."
        )
    study = load_stack(stacks[0], case.path, found)
    masks, notes = find_masks(study, case.mask or case.masks)
    return study.with_masks(masks, *notes)


def _in_folder(root: Path, finder: LabelFinder) -> tuple[list[Case], list[Skipped]]:
    contents = read_contents(root)
    cases = _dicom_cases(contents.scan, root, finder)
    for path, _ in contents.scan.broken:
        cases.append(_plain(path, path.relative_to(root).as_posix(), finder, root))
    for path in contents.images:
        cases.append(_plain(path, path.relative_to(root).as_posix(), finder, root))
    skipped = [Skipped(path, "a mask") for path in contents.masks]
    skipped += [Skipped(path, "not an image") for path in contents.others]
    skipped += [
        Skipped(one.path, f"a DICOM {one.modality}") for one in contents.scan.companions
    ]
    return cases, skipped


def _in_file(path: Path, finder: LabelFinder) -> tuple[list[Case], list[Skipped]]:
    kind = kind_of(path)
    if kind is None:
        return [], []
    if kind == "dicom" and is_dicom(path):
        found = scan([path])
        if found.stacks:
            return _dicom_cases(found, path.parent, finder, path=path), []
    return [_plain(path, path.name, finder, path.parent)], []


def _plain(path: Path, name: str, finder: LabelFinder, root: Path) -> Case:
    label = finder.lookup([path], root)
    return Case(name, path, label=label.label, patient=label.patient, files=(path,))


def _dicom_cases(
    found: Scan, root: Path, finder: LabelFinder, path: Path | None = None
) -> list[Case]:
    cases = []
    for stack in found.stacks:
        folder = _common_folder(stack.files)
        label = finder.lookup(stack.files, root)
        cases.append(
            Case(
                stack.identifier,
                path or folder,
                series=stack.key,
                label=label.label,
                patient=label.patient or stack.frames[0].patient,
                mask=_segmentation(found, stack, folder),
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


def _in_table(
    table: Path, finder: LabelFinder, *, given: bool
) -> tuple[list[Case], list[Skipped]]:
    cases = []
    for number, row in enumerate(read_rows(table, ("image",)), start=2):
        if not row["image"]:
            raise StudyError(f"{table.name}: line {number} names no image.")
        path = table.parent / Path(row["image"]).expanduser()
        mask = row.get("mask")
        found = Label(None, None)
        if given:
            found = finder.lookup([path], table.parent)
        case = _table_case(path, row["image"], finder, table.parent)
        cases.append(
            replace(
                case,
                label=row.get("label") or found.label,
                patient=row.get("patient") or found.patient or case.patient,
                mask=(table.parent / Path(mask).expanduser()) if mask else case.mask,
            )
        )
    return cases, []


def _table_case(path: Path, text: str, finder: LabelFinder, root: Path) -> Case:
    """One row is one case; a folder or DICOM file has to hold one series."""
    if path.is_dir() or (path.is_file() and kind_of(path) == "dicom"):
        found = read_contents(path).scan if path.is_dir() else scan([path])
        if len(found.stacks) == 1:
            only = path if path.is_file() else None
            return _dicom_cases(found, root, finder, path=only)[0]
    return Case(Path(text).as_posix(), path, files=(path,))


def _named(found: Sequence[tuple[Path, Case]]) -> tuple[Case, ...]:
    """Drop what was named twice, make names unique, sort."""
    unique: dict[tuple[Path, str | None], tuple[Path, Case]] = {}
    for root, case in found:
        first = case.files[0] if case.series and case.files else case.path
        unique.setdefault((first.resolve(), case.series), (root, case))
    counts = Counter(case.name for _, case in unique.values())
    names: Counter[str] = Counter()
    cases = []
    for root, case in sorted(
        unique.values(), key=lambda pair: natural_key(str(pair[1].path.resolve()))
    ):
        name = case.name
        if counts[name] > 1 and case.series is None:
            name = f"{root.resolve().name}/{name}"
        names[name] += 1
        if names[name] > 1:
            name = f"{name} ({names[name]})"
        cases.append(replace(case, name=name))
    return tuple(sorted(cases, key=lambda case: natural_key(case.name)))
