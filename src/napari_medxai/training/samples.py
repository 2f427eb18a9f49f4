"""Labelled images and volumes, from the layouts in which data sets come."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from napari_medxai.errors import StudyError, UsageError
from napari_medxai.io import Case, find_cases, load_case, load_study, matlab, series
from napari_medxai.io.class_folders import PARTS
from napari_medxai.io.formats import kind_of, walk
from napari_medxai.io.labels import read_rows
from napari_medxai.io.naming import named_as
from napari_medxai.privacy import pseudonym
from napari_medxai.study import Study

__all__ = ["Sample", "read_samples"]

TABLE = "labels.csv"
FOLDS = "cvind.mat"
LAYOUTS = (
    "It can be a folder with labels.csv (file, label, and optionally fold, patient, "
    "mask), a folder with a folder for each class (also CLASS/images/FILE as in the "
    "COVID-19 Radiography Database, and within train, val and test), or the .mat files "
    "of Cheng's brain tumor dataset."
)


@dataclass(frozen=True)
class Sample:
    """One labelled image or volume.

    Attributes
    ----------
    path : Path
        Its file, or the folder of its DICOM series.
    label : str
    fold : str
        "" where nothing names one.
    patient : str or None
        The research identifier of a table or ``.mat`` file; DICOM's pseudonym.
    mask : Path or None
        A mask of the lesion in a file of its own. None for ``.mat`` files, which hold
        theirs, and for the COVID-19 Radiography Database, whose masks are lungs.
    name : str
        For tables: the path from the data folder; of DICOM a pseudonym.
    """

    path: Path
    label: str
    fold: str = ""
    patient: str | None = None
    mask: Path | None = None
    name: str = ""
    case: Case | None = field(default=None, repr=False, compare=False)

    def load(self) -> Study:
        """Read it, without its mask."""
        if self.case is not None:
            return load_case(self.case)
        # names of DICOM files often hold a patient's
        with named_as(self.name) if _is_private(self.path) else nullcontext():
            return load_study(self.path, masks="none")


def read_samples(data: Path) -> list[Sample]:
    """Find the labelled images of a data folder.

    Parameters
    ----------
    data : Path
        One of

        - a folder with ``labels.csv``: ``file``, ``label``, optionally ``fold``,
          ``patient`` and ``mask``. Files lie in ``images`` or beside the table; a row
          may name the folder of a DICOM series. Masks lie in ``masks`` or beside the
          table, and are found by the file's name where no column names them;
        - a folder for each class, ``CLASS/FILE`` or ``CLASS/images/FILE`` (the COVID-19
          Radiography Database). Within folders called train, val, test and the like,
          these are the folds;
        - the ``.mat`` files of Cheng's brain tumor dataset, which name class and
          patient; ``cvind.mat`` among them gives the folds.

    Returns
    -------
    list of Sample
        In the order of the table, else of the names.

    Raises
    ------
    UsageError
        If the folder is laid out in another way, or a row or file has no label.
    StudyError
        If the table cannot be read.
    """
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder. {LAYOUTS}")
    if (data / TABLE).is_file():
        samples = _from_table(data)
    else:
        try:
            cases = find_cases(data, masks="none").cases
        except StudyError as error:
            raise UsageError(f"{error} {LAYOUTS}") from error
        if all(kind_of(case.path) == "matlab" for case in cases):
            samples = _from_matlab(data, cases)
        else:
            samples = _from_folders(data, cases)
    if len({s.label for s in samples}) < 2:
        found = ", ".join(sorted({s.label for s in samples})) or "none"
        raise UsageError(f"{data}: two classes are needed; found: {found}. {LAYOUTS}")
    return samples


def _from_table(data: Path) -> list[Sample]:
    table = data / TABLE
    rows = [row for row in read_rows(table, ("file", "label")) if any(row.values())]
    twice = [name for name, n in Counter(r["file"] for r in rows).items() if n > 1]
    if twice:
        raise UsageError(f"{table}: {twice[0]} stands in more than one row.")
    samples = []
    for row in rows:
        name = PurePosixPath(row["file"].replace("\\", "/")).as_posix()
        path = _within(data, "images", name)
        if path is None or not row["file"]:
            raise UsageError(f"{table}: '{row['file']}' is not in {data}.")
        if not row["label"]:
            raise UsageError(f"{table}: {row['file']} has no label.")
        samples.append(
            Sample(
                path,
                row["label"],
                row.get("fold") or "",
                row.get("patient") or _patient(path),
                _mask(data, name, row.get("mask") or ""),
                pseudonym(name, prefix="F") if _is_private(path) else name,
            )
        )
    return samples


def _is_private(path: Path) -> bool:
    return path.is_dir() or kind_of(path) == "dicom"


def _within(data: Path, folder: str, name: str) -> Path | None:
    found = (p for p in (data / folder / name, data / name) if p.exists())
    return next(found, None)


def _mask(data: Path, image: str, named: str) -> Path | None:
    if not named:
        beside = data / "masks" / image
        return beside if beside.is_file() else None
    mask = _within(data, "masks", named)
    if mask is None:
        raise UsageError(f"{data / TABLE}: the mask '{named}' is not in {data}.")
    return mask


def _patient(path: Path) -> str | None:
    """Ask the file itself whose it is."""
    kind = "dicom" if path.is_dir() else kind_of(path)
    if kind == "matlab":
        return matlab.facts(path).patient
    if kind == "dicom":
        return next((one.patient for one in series(path)), None)
    return None


def _from_matlab(data: Path, cases: Sequence[Case]) -> list[Sample]:
    unknown = [case.name for case in cases if case.label is None]
    if unknown:
        raise UsageError(
            f"{data}: {len(unknown)} of {len(cases)} .mat files name none of the "
            f"classes {', '.join(matlab.CLASSES.values())}, the first {unknown[0]}."
        )
    table = next((path for path in walk(data) if path.name == FOLDS), None)
    folds = matlab.folds(table) if table is not None else ()
    samples = []
    for case in cases:
        number = int(case.path.stem) if case.path.stem.isdecimal() else 0
        fold = str(folds[number - 1]) if 0 < number <= len(folds) else ""
        samples.append(
            Sample(
                case.path, str(case.label), fold, case.patient, None, case.name, case
            )
        )
    return samples


def _from_folders(data: Path, cases: Sequence[Case]) -> list[Sample]:
    """Take the first folder as the class; parts of a split before it as the fold."""
    places = [(case, _folders(case, data)) for case in cases]
    outside = [case.name for case, folders in places if not folders]
    if outside:
        raise UsageError(
            f"{data}: {outside[0]} lies in no folder that names its class. {LAYOUTS}"
        )
    parts = all(_is_part(folders[0]) and len(folders) > 1 for _, folders in places)
    samples = []
    for case, folders in places:
        fold, label = folders[:2] if parts else ("", folders[0])
        samples.append(
            Sample(
                case.path,
                case.label or label,
                fold,
                case.patient,
                None,
                case.name,
                case,
            )
        )
    return samples


def _folders(case: Case, data: Path) -> tuple[str, ...]:
    first = case.files[0] if case.files else case.path
    return first.relative_to(data).parts[:-1]


def _is_part(name: str) -> bool:
    return re.sub(r"[\W\d_]+", "", name).casefold() in PARTS
