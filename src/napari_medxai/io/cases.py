"""Which cases a run has: files, folders and tables become one ordered list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from .archive import extracted
from .case_sources import (
    Case,
    Found,
    Skipped,
    in_file,
    in_folder,
    in_table,
    is_dicom_name,
    labelled,
    merged,
    named,
)
from .dicom import load_stack
from .dicom_series import scan
from .formats import OUTPUT_MARKER, READABLE, exists, expanded, is_folder, kind_of
from .labels import LabelFinder
from .naming import named_as, shown
from .opening import finished, load_study

__all__ = ["Case", "CaseList", "Skipped", "find_cases", "load_case"]


@dataclass(frozen=True)
class CaseList:
    """Cases in natural order of their names, what was passed over, and notes."""

    cases: tuple[Case, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cases)


def find_cases(
    inputs: Iterable[str | Path] | str | Path,
    *,
    masks: str | Path | None = "auto",
    labels: str | Path | None = None,
    resample: bool = False,
) -> CaseList:
    """Find the cases in files, folders and tables, from headers only.

    Parameters
    ----------
    inputs : path or iterable of paths
        Image files; folders and ``.zip``, searched recursively, with DICOM grouped
        by series, and without folders named ``masks``, masks by their name, folders
        of results, hidden files and archives; DICOMDIR files; CSV tables with the
        column ``image`` and optionally ``mask``, ``label``, ``patient``, whose
        relative paths start from the table. What a table says of an image that a
        folder holds too, wins.
    masks : str, Path or None
        As for `load_study`; kept in the cases. A folder of masks within an input
        holds no cases. A mask that a table names is read in any case, also with
        ``"none"``, which turns off looking for others.
    labels : path, optional
        CSV with ``file``, ``label`` and optionally ``patient``. Without it every
        ``labels.csv`` in a folder applies to the files below it.
    resample : bool
        As for `load_study`; kept in the cases.

    Returns
    -------
    CaseList
        In natural order of the names, so the same whatever the order of `inputs`. A
        damaged file is a case too: it fails later, with its reason. Every series of
        a study is a case, and a note says how many there are.

    Raises
    ------
    StudyError
        Where an input does not exist or holds no image, a table lacks a column or
        contradicts itself, or a label could be of two files.
    """
    places = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    finder = LabelFinder(None if labels is None else expanded(labels))
    how = "none" if masks is None else masks
    found: list[Found] = []
    skipped: list[Skipped] = []
    for one in places:
        root = expanded(one)
        if not exists(root):
            raise StudyError(f"{shown(root)}: there is no such file or folder.")
        if root.is_dir():
            cases, passed = in_folder(root, how)
        elif root.suffix.lower() == ".csv":
            cases, passed = in_table(root), []
        elif kind_of(root) == "archive":
            cases, passed = in_folder(extracted(root), how, prefix=f"{root.name}/")
        else:
            cases, passed = in_file(root)
        if not cases:
            raise StudyError(
                f"no image found in {shown(root)}{_hidden_results(root)}. {READABLE} "
                f"can be read{_archives(passed)}."
            )
        finder.add([each.case.files for each in cases], cases[0].root)
        found.extend(cases)
        skipped.extend(passed)
    known = [
        # Beside a table of cases only a table of labels that was named counts.
        each if each.row and labels is None else labelled(each, finder)
        for each in found
    ]
    result = named(merged(known))
    final = [replace(case, masks=how, resample=resample) for case in result]
    return CaseList(tuple(final), tuple(skipped), _notes(result))


def _notes(cases: Sequence[Case]) -> tuple[str, ...]:
    """Say where several series of one patient became cases."""
    patients = Counter(case.name.split("/")[0] for case in cases if case.series)
    several = [n for n in patients.values() if n > 1]
    if not several:
        return ()
    return (
        f"{sum(several)} DICOM series of {len(several)} patient(s) were taken, each as "
        "a case of its own; name single folders, or list cases in a table, to choose.",
    )


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
        As `load_study`; for DICOM the text has the case's name, not those of files.
    """
    private = (
        case.series is not None or is_folder(case.path) or is_dicom_name(case.path)
    )
    with named_as(case.name) if private else nullcontext():
        if case.series is None:
            study = load_study(
                case.path, masks=case.mask or case.masks, resample=case.resample
            )
        else:
            study = _load_series(case)
    return replace(study, patient=case.patient or study.patient)


def _load_series(case: Case) -> Study:
    found = scan(case.files, any_object=case.path.is_file())
    # Read without its siblings, a stack can have another number after its UID.
    stacks = [
        replace(stack, key=str(case.series))
        for stack in found.stacks
        if stack.fingerprint == case.frames
    ]
    if not stacks:
        raise StudyError(
            f"{case.name}: the files of this series have changed or vanished since "
            "they were listed. List the cases again."
        )
    study = load_stack(stacks[0], case.path, found)
    return finished(
        study, case.mask or case.masks, case.companions, resample=case.resample
    )


def _archives(passed: Sequence[Skipped]) -> str:
    """Say where the images may be."""
    within = any(kind_of(one.path) == "archive" for one in passed)
    return "; a .zip within a folder where it is named itself" if within else ""


def _hidden_results(root: Path) -> str:
    """Say that folders of earlier results were left out, where there are any."""
    if root.is_dir() and any(root.rglob(OUTPUT_MARKER)):
        return f" (folders of earlier results, which hold {OUTPUT_MARKER}, left out)"
    return ""
