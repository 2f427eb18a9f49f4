"""Tables of labels: ``labels.csv`` beside images, and lists of cases."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from napari_medxai.errors import StudyError

__all__ = ["Label", "LabelFinder", "read_rows"]

LABEL_FILE = "labels.csv"


@dataclass(frozen=True)
class Label:
    """A row of a label table: class and, optionally, patient."""

    label: str | None
    patient: str | None


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
                    f"{path.name}: has no column {', '.join(map(repr, missing))}; its "
                    f"columns are {', '.join(map(repr, names)) or 'none'}. Add the "
                    "missing one to the header line."
                )
            reader.fieldnames = names
            return [
                {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(
            f"{path.name}: cannot be read as a CSV table ({error}). Save it as UTF-8 "
            "with commas."
        ) from error


class LabelFinder:
    """Find labels for files, from one table or from every ``labels.csv`` above.

    Parameters
    ----------
    table : Path, optional
        Applies to all files. Without it the nearest ``labels.csv`` above a file that
        has a row for it counts, up to the folder given to `lookup`.
    """

    def __init__(self, table: Path | None = None) -> None:
        self._table = table
        self._read: dict[Path, Mapping[str, Label] | None] = {}
        if table is not None and not table.is_file():
            raise StudyError(f"{table}: there is no such file of labels.")

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
        """
        for path in files:
            found = self._one(path, root)
            if found is not None:
                return found
        return Label(None, None)

    def _one(self, path: Path, root: Path) -> Label | None:
        if self._table is not None:
            return self._in(self._table, path, (root, self._table.parent))
        top = root.parent if root.name == "images" else root
        for folder in path.parents:
            found = self._in(folder / LABEL_FILE, path, (folder,))
            if found is not None:
                return found
            if folder == top:
                break
        return None

    def _in(self, table: Path, path: Path, bases: Iterable[Path]) -> Label | None:
        rows = self._rows(table)
        if rows is None:
            return None
        names = []
        for base in bases:
            for start in (base, base / "images"):
                if path.is_relative_to(start):
                    relative = path.relative_to(start)
                    names += [relative.as_posix(), relative.parent.as_posix()]
        names += [path.name, path.parent.name]
        for name in names:
            if name in rows:
                return rows[name]
        return None

    def _rows(self, table: Path) -> Mapping[str, Label] | None:
        if table not in self._read:
            self._read[table] = _table(table) if table.is_file() else None
        return self._read[table]


def _table(path: Path) -> Mapping[str, Label]:
    result: dict[str, Label] = {}
    for number, row in enumerate(read_rows(path, ("file", "label")), start=2):
        if not row["file"]:
            continue
        name = PurePosixPath(row["file"].replace("\\", "/")).as_posix()
        label = Label(row["label"] or None, row.get("patient") or None)
        if result.setdefault(name, label) != label:
            raise StudyError(
                f"{path.name}: line {number} gives {name} another label or patient "
                "than a line before it. Remove one."
            )
    return result
