"""DICOMDIR: the files that the directory of a medium refers to (PS3.10, PS3.3 F)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pydicom

from napari_medxai.errors import StudyError

from .dicom_access import BROKEN, quiet
from .dicom_tags import MEDIA_DIRECTORY
from .formats import entries, is_file, is_folder, natural_key
from .naming import shown

__all__ = ["Media", "read_media"]

TAGS = ["DirectoryRecordSequence"]


@dataclass(frozen=True)
class Media:
    """What a DICOMDIR refers to.

    Attributes
    ----------
    files : tuple of Path
        Those that exist, in natural order.
    notes : tuple of str
        How many are missing or were refused.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def read_media(path: Path) -> Media | None:
    """Read a DICOMDIR.

    Parameters
    ----------
    path : Path
        Any DICOM file.

    Returns
    -------
    Media or None
        None where the file is no directory of a medium. Files are looked for below
        the DICOMDIR's own folder only, whatever case their names are written in;
        components that lead elsewhere, and links out of the folder, are refused.

    Raises
    ------
    StudyError
        Where it is damaged.
    """
    try:
        with quiet():
            dataset = pydicom.dcmread(path, specific_tags=TAGS)
            meta = getattr(dataset, "file_meta", None) or {}
            if str(meta.get("MediaStorageSOPClassUID", "")) != MEDIA_DIRECTORY:
                return None
            wanted = [
                _parts(record.get("ReferencedFileID"))
                for record in dataset.get("DirectoryRecordSequence") or ()
                if record.get("ReferencedFileID")
            ]
    except BROKEN as error:
        # Any file may come here: only a whole directory is one.
        if path.name.upper() != "DICOMDIR":
            return None
        raise StudyError(
            f"{shown(path)}: the directory is damaged ({type(error).__name__}). Open "
            "its folder instead."
        ) from error
    listed: dict[Path, dict[str, Path]] = {}
    root = path.parent
    files: set[Path] = set()
    missing = outside = 0
    for parts in wanted:
        if parts is None:
            outside += 1
            continue
        place = _below(root, parts, listed)
        if place is None:
            missing += 1
        elif not place.resolve().is_relative_to(root.resolve()):
            outside += 1
        else:
            files.add(place)
    notes = []
    if missing:
        notes.append(f"{missing} file(s) that the DICOMDIR refers to are missing")
    if outside:
        notes.append(
            f"{outside} file(s) that the DICOMDIR refers to lie outside its folder "
            "and were left out"
        )
    return Media(
        tuple(sorted(files, key=lambda file: natural_key(str(file)))), tuple(notes)
    )


def _parts(value: str | Iterable[str]) -> tuple[str, ...] | None:
    """Split a ReferencedFileID into names; None where one of them is no name."""
    names = [value] if isinstance(value, str) else list(value)
    # The standard separates by backslash only; some writers use a slash.
    parts = tuple(
        part.strip() for name in names for part in str(name).split("/") if part.strip()
    )
    wrong = any(part in {".", ".."} or ":" in part or "\0" in part for part in parts)
    return None if wrong or not parts or str(names[0]).startswith("/") else parts


def _below(
    root: Path, parts: tuple[str, ...], listed: dict[Path, dict[str, Path]]
) -> Path | None:
    """Find a file by its components; on other media names can be lower case."""
    place = root
    for part in parts:
        exact = place / part
        if not (is_file(exact) or is_folder(exact)):
            if place not in listed:
                inside = entries(place) if is_folder(place) else []
                listed[place] = {one.name.casefold(): one for one in inside}
            found = listed[place].get(part.casefold())
            if found is None:
                return None
            exact = found
        place = exact
    return place if is_file(place) else None
