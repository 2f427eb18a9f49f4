"""Exports of a finished case as they lie with it, and what is known of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_medxai.results import Exported

__all__ = [
    "EXPORTS",
    "ExportRecord",
    "forget_identified",
    "link",
    "read_exports",
    "read_tokens",
    "whole",
    "write_durably",
    "write_exports",
]

EXPORTS = "exports"
EXPORT_RECORD = "exports.json"


@dataclass(frozen=True)
class ExportRecord:
    """What became of one export: a file's name, or why there is none."""

    method: str
    name: str = ""
    reason: str = ""
    failed: bool = False


def write_exports(
    folder: Path,
    before: Path,
    exports: Iterable[Exported],
    tokens: Mapping[str, str],
    *,
    identified: Collection[str],
) -> None:
    """Write exports, and keep those of other kinds that an earlier run made.

    Parameters
    ----------
    folder : Path
        Of the case, under its unfinished name.
    before : Path
        Of the case as an earlier run left it; it need not exist.
    exports : iterable of Exported
    tokens : mapping of str to str
        What each kind depends on besides the case's key.
    identified : collection of str
        Kinds that may name the patient.
    """
    known = _record(before)
    record: dict[str, Any] = {
        kind: {"token": token, "identified": kind in identified, "files": []}
        for kind, token in tokens.items()
    }
    for one in exports:
        if one.name:
            (folder / EXPORTS / one.kind).mkdir(parents=True, exist_ok=True)
            write_durably(folder / EXPORTS / one.kind / one.name, one.content)
        entry = ExportRecord(one.method, one.name, one.reason, one.failed)
        record[one.kind]["files"].append(asdict(entry))
    for kind in known.keys() - record.keys():
        kept = before / EXPORTS / kind
        if kept.is_dir():
            shutil.copytree(kept, folder / EXPORTS / kind, copy_function=link)
        record[kind] = known[kind]
    if record:
        write_durably(folder / EXPORT_RECORD, json.dumps(record).encode())


def forget_identified(folder: Path) -> None:
    """Remove a case's exports that may name the patient."""
    record = _record(folder)
    kept = {k: made for k, made in record.items() if not made.get("identified", True)}
    if kept == record:
        return
    # The files first: killed in between, the record tells that they are missing.
    for kind in record.keys() - kept.keys():
        place = folder / EXPORTS / kind
        if place.is_dir():
            shutil.rmtree(place)
    write_durably(folder / EXPORT_RECORD, json.dumps(kept).encode())


def read_exports(folder: Path) -> dict[str, tuple[ExportRecord, ...]]:
    """Return what became of each kind that was asked for."""
    return {
        kind: tuple(ExportRecord(**one) for one in made["files"])
        for kind, made in _record(folder).items()
    }


def read_tokens(folder: Path) -> dict[str, str]:
    """Return what each kind that was made depends on besides the case's key."""
    return {kind: str(made.get("token")) for kind, made in _record(folder).items()}


def whole(folder: Path, kind: str, records: Iterable[ExportRecord]) -> bool:
    """Whether every file that was exported is still there."""
    place = folder / EXPORTS / kind
    return all((place / one.name).is_file() for one in records if one.name)


def link(source: str | Path, target: str | Path) -> None:
    """Link where the file system can, else copy."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file of an unfinished case, to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _record(folder: Path) -> dict[str, dict[str, Any]]:
    """Read ``exports.json``; what is missing or damaged counts as nothing exported."""
    try:
        data = json.loads((folder / EXPORT_RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {kind: made for kind, made in data.items() if isinstance(made, dict)}
