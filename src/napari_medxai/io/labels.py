"""Tables of labels: ``labels.csv`` beside images, and lists of cases.

Where no table names a file, the folders it lies in can; see `class_folders`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from napari_medxai.errors import StudyError

from .class_folders import ClassFolders
from .formats import exists, kind_of
from .naming import reason, shown

__all__ = ["Label", "LabelFinder", "place", "read_rows"]

LABEL_FILE = "labels.csv"
IMAGE_FOLDER = "images"


@dataclass(frozen=True)
class Label:
    """A row of a label table: class and, optionally, patient."""

    label: str | None
    patient: str | None


def place(path: Path) -> Path:
    """Where a file lies: its folder without links and dots, its own name as it is."""
    return path.parent.resolve() / path.name


def read_rows(path: Path, required: Iterable[str]) -> list[dict[str, str]]:
    """Read a CSV file with a header line.

    Parameters
    ----------
    path : Path
        UTF-8, with or without byte-order mark.
    required : iterable of str
        Columns that must be there; more are allowed.

    Returns
    -------
    list of dict
        One for each row; values stripped, absent ones "".

    Raises
    ------
    StudyError
        Where the file cannot be read, is empty, or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            missing = [name for name in required if name not in names]
            if missing:
                raise StudyError(
                    f"{shown(path)}: has no column {', '.join(map(repr, missing))}; "
                    f"its columns are {', '.join(map(repr, names)) or 'none'}. Add the "
                    "missing one to the header line."
                )
            reader.fieldnames = names
            return [
                {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(
            f"{shown(path)}: cannot be read as a CSV table ({reason(error)}). Save it "
            "as UTF-8 with commas."
        ) from error


class LabelFinder:
    """Find labels for files, from one table or from every ``labels.csv`` above.

    A row names a file by its path from the table's folder, or from ``images`` beside
    the table; one that the user named by its path from the input counts too. A bare
    file name without such a file stands for the only case below the table with this
    name. For DICOM a row may also name the folder of the files, in the same ways.

    Parameters
    ----------
    table : Path, optional
        Applies to all files. Without it the nearest ``labels.csv`` above a file that
        has a row for it counts, up to the folder given to `lookup`; where none has,
        folders laid out as ``CLASS/images`` name the class.
    """

    def __init__(self, table: Path | None = None) -> None:
        self._table = table
        self._known = _Known()
        self._folders = ClassFolders()
        self._assigned: dict[Path, Mapping[Path, Label]] = {}
        self._rows: dict[Path, Mapping[str, Label]] = {}
        if table is not None and not table.is_file():
            raise StudyError(f"{shown(table)}: there is no such file of labels.")

    def add(self, cases: Iterable[Sequence[Path]], root: Path) -> None:
        """Tell of cases, so that a bare name can be seen to be of one or of several.

        Parameters
        ----------
        cases : iterable of sequence of Path
            The files of each case.
        root : Path
            The folder the user gave.
        """
        self._known.add(cases, root)
        self._assigned.clear()

    def lookup(self, files: Iterable[Path], root: Path) -> Label:
        """Find the label of a case.

        Parameters
        ----------
        files : iterable of Path
            The case's files. For a DICOM series a row may name any of them, or the
            folder they lie in.
        root : Path
            The folder the user gave; where it is called ``images``, a
            ``labels.csv`` beside it counts too.

        Returns
        -------
        Label
            Both fields None where no row fits.

        Raises
        ------
        StudyError
            Where a table cannot be read, gives a file two labels, or a bare name in
            it fits several cases.
        """
        files = tuple(files)
        if not all(self._known.has(path) for path in files):
            self.add([files], root)
        top = root.parent if root.name == IMAGE_FOLDER else root
        for path in files:
            for table in self._tables(path, top):
                found = self._in(table, path)
                if found is not None:
                    return found
        if self._table is None and len(files) == 1:
            return Label(self._folders.class_of(files[0], root), None)
        return Label(None, None)

    def _tables(self, path: Path, top: Path) -> list[Path]:
        if self._table is not None:
            return [self._table]
        folders = [f for f in path.parents if f == top or f.is_relative_to(top)]
        return [folder / LABEL_FILE for folder in folders or [path.parent]]

    def _in(self, table: Path, path: Path) -> Label | None:
        if table not in self._rows:
            self._rows[table] = _table(table) if table.is_file() else {}
        rows = self._rows[table]
        if not rows:
            return None
        if table not in self._assigned:
            self._assigned[table] = _assign(
                table, rows, self._known, anywhere=self._table is not None
            )
        owners = self._assigned[table]
        where = self._known.where(path)
        return owners.get(where) or (
            owners.get(where.parent) if self._known.in_folder(where) else None
        )


class _Known:
    """Files and DICOM folders of the cases, by place and by bare name."""

    def __init__(self) -> None:
        self.roots: dict[Path, None] = {}
        self.places: dict[Path, set[int]] = {}
        self.by_name: dict[str, list[Path]] = {}
        self._where: dict[Path, Path] = {}
        self._folders: dict[Path, Path] = {}
        self._cases = 0

    def where(self, path: Path) -> Path:
        """As `place`, with each folder resolved once."""
        if path not in self._where:
            if path.parent not in self._folders:
                self._folders[path.parent] = path.parent.resolve()
            self._where[path] = self._folders[path.parent] / path.name
        return self._where[path]

    def has(self, path: Path) -> bool:
        return self.where(path) in self.places

    def in_folder(self, where: Path) -> bool:
        """Whether this file is of a DICOM case, to which its folder's label goes."""
        folder = self.places.get(where.parent, set())
        return not folder.isdisjoint(self.places[where])

    def add(self, cases: Iterable[Sequence[Path]], root: Path) -> None:
        self.roots[root.resolve()] = None
        for files in cases:
            self._cases += 1
            dicom = len(files) > 0 and kind_of(files[0]) == "dicom"
            for path in files:
                where = self.where(path)
                for one in (where, where.parent) if dicom else (where,):
                    if one not in self.places:
                        self.by_name.setdefault(one.name, []).append(one)
                    self.places.setdefault(one, set()).add(self._cases)


def _assign(
    table: Path, rows: Mapping[str, Label], known: _Known, *, anywhere: bool
) -> Mapping[Path, Label]:
    """Give each row of a table the file or DICOM folder that it names."""
    folder = table.parent.resolve()
    bases = [folder, folder / IMAGE_FOLDER]
    more = [r / s for r in known.roots for s in ("", IMAGE_FOLDER)] if anywhere else []
    assigned: dict[Path, Label] = {}
    left: dict[str, Label] = {}
    for name, label in rows.items():
        exact = next((w for b in bases if (w := _join(b, name)) in known.places), None)
        if exact is not None:
            # Of a.png and images/a.png, both named, the full name is meant.
            if exact not in assigned or exact == _join(folder, name):
                assigned[exact] = label
        else:
            left[name] = label
    for name, label in left.items():
        fits = [w for b in more if (w := _join(b, name)) in known.places]
        if not (fits or "/" in name or any(exists(b / name) for b in bases)):
            fits = [
                where
                for where in known.by_name.get(name, ())
                if anywhere or where.is_relative_to(folder)
            ]
        fits = list(dict.fromkeys(fits))
        free = [where for where in fits if where not in assigned]
        if len(fits) > 1 and free and not _of_one_case(fits, known):
            first, second = (_relative(where, folder) for where in fits[:2])
            raise StudyError(
                f"{shown(table)}: '{name}' could be {first} or {second}. Write the "
                "path from the folder of the table."
            )
        assigned.update(dict.fromkeys(free, label))
    return assigned


def _join(base: Path, name: str) -> Path:
    joined = base / name
    return place(joined) if ".." in PurePosixPath(name).parts else joined


def _of_one_case(fits: Sequence[Path], known: _Known) -> bool:
    common = known.places[fits[0]].intersection(*(known.places[w] for w in fits))
    return bool(common)


def _relative(where: Path, folder: Path) -> str:
    inside = where.is_relative_to(folder)
    short = where.relative_to(folder) if inside else Path(*where.parts[-2:])
    return short.as_posix()


def _table(path: Path) -> Mapping[str, Label]:
    result: dict[str, Label] = {}
    for number, row in enumerate(read_rows(path, ("file", "label")), start=2):
        if not row["file"]:
            continue
        name = PurePosixPath(row["file"].replace("\\", "/")).as_posix()
        label = Label(row["label"] or None, row.get("patient") or None)
        if result.setdefault(name, label) != label:
            raise StudyError(
                f"{shown(path)}: line {number} gives {name} another label or patient "
                "than a line before it. Remove one."
            )
    return result
