"""Which cases a run has: files, folders and tables become one ordered list."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

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
from .formats import OUTPUT_MARKER, exists
from .labels import LabelFinder
from .masks import find_masks
from .naming import named_as, shown
from .opening import load_study

__all__ = ["Case", "CaseList", "Skipped", "find_cases", "load_case"]


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
        without folders named ``masks``, masks by their name, folders of results and
        hidden files; CSV tables with the column ``image`` and optionally ``mask``,
        ``label``, ``patient``, whose relative paths start from the table. What a
        table says of an image that a folder holds too, wins.
    masks : str, Path or None
        As for `load_study`; kept in the cases. A folder of masks within an input
        holds no cases. A mask that a table names is read in any case, also with
        ``"none"``, which turns off looking for others.
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
        Where an input does not exist or holds no image, a table lacks a column or
        contradicts itself, or a label could be of two files.
    """
    places = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    finder = LabelFinder(None if labels is None else Path(labels).expanduser())
    how = "none" if masks is None else masks
    found: list[Found] = []
    skipped: list[Skipped] = []
    for one in places:
        root = Path(one).expanduser()
        if not exists(root):
            raise StudyError(f"{shown(root)}: there is no such file or folder.")
        if root.is_dir():
            cases, passed = in_folder(root, how)
        elif root.suffix.lower() == ".csv":
            cases, passed = in_table(root, how), []
        else:
            cases, passed = in_file(root), []
        if not cases:
            raise StudyError(
                f"no image found in {shown(root)}{_hidden_results(root)}. PNG, JPEG, "
                "TIFF, BMP, NIfTI and DICOM can be read."
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
    return CaseList(tuple(replace(case, masks=how) for case in result), tuple(skipped))


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
    private = case.series is not None or case.path.is_dir() or is_dicom_name(case.path)
    with named_as(case.name) if private else nullcontext():
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


def _hidden_results(root: Path) -> str:
    """Say that folders of earlier results were left out, where there are any."""
    if root.is_dir() and any(root.rglob(OUTPUT_MARKER)):
        return f" (folders of earlier results, which hold {OUTPUT_MARKER}, left out)"
    return ""
