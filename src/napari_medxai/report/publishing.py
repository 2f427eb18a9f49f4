"""What a run shows of its exports: ``overlays/`` and ``exports/``.

Both are made anew from the finished cases of the run, so that they never hold
another run's files, and replaced as a whole.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_medxai.errors import OutputError
from napari_medxai.files import output_errors

from .exports import EXPORTS, ExportRecord, link
from .naming import safe_name
from .store import UNFINISHED, Store, StoredCase
from .tables import EXPORT_COLUMNS, write_exports

__all__ = ["OVERLAYS", "publish"]

OVERLAYS = "overlays"
INDEX = "exports.csv"


def publish(
    store: Store, cases: Sequence[StoredCase], out: Path, kinds: Sequence[str]
) -> None:
    """Make ``overlays/`` and ``exports/`` of a run.

    Parameters
    ----------
    store : Store
        In the output folder.
    cases : sequence of StoredCase
    out : Path
        The output folder.
    kinds : sequence of str
        What was asked for: ``png`` goes to ``overlays/``, each other kind to
        ``exports/CASE/``; ``exports/exports.csv`` has a line for each file, and for
        each that could not be made, with the reason.

    Raises
    ------
    OutputError
        Where it cannot be written, or ``exports`` is a folder of somebody else.
    """
    others = [kind for kind in kinds if kind != "png"]
    pictures = [
        (case.folder / EXPORTS / "png" / one.name, one.name)
        for case, _, one in _records(cases, ["png"] if "png" in kinds else [])
        if one.name
    ]
    _replace(store, out / OVERLAYS, pictures)
    place = out / EXPORTS
    if place.exists() and not _is_ours(place):
        if not others:
            return
        raise OutputError(
            f"cannot write {place}: there is a folder 'exports' that no run made; "
            "choose another output folder or rename it."
        )
    files = [
        (case.folder / EXPORTS / kind / one.name, f"{folder}/{one.name}")
        for folder, case in zip(_folders(cases), cases, strict=True)
        for _, kind, one in _records([case], others)
        if one.name
    ]
    _replace(store, place, files, index=cases if others else None, kinds=others)


def _records(
    cases: Sequence[StoredCase], kinds: Sequence[str]
) -> Iterator[tuple[StoredCase, str, ExportRecord]]:
    for case in cases:
        for kind in kinds:
            for one in case.exports.get(kind, ()):
                yield case, kind, one


def _folders(cases: Sequence[StoredCase]) -> list[str]:
    return [safe_name(case.name) for case in cases]


def _is_ours(place: Path) -> bool:
    try:
        first = (place / INDEX).read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError, ValueError):
        return False
    return first == ",".join(EXPORT_COLUMNS)


def _replace(
    store: Store,
    place: Path,
    files: Sequence[tuple[Path, str]],
    *,
    index: Sequence[StoredCase] | None = None,
    kinds: Sequence[str] = (),
) -> None:
    with output_errors(place):
        store.root.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=store.root))
        fresh.chmod(0o755)
        for source, name in files:
            (fresh / name).parent.mkdir(exist_ok=True)
            link(source, fresh / name)
        if index is not None:
            rows = (
                {
                    "case": case.name,
                    "method": one.method,
                    "format": kind,
                    "file": one.name and f"{safe_name(case.name)}/{one.name}",
                    "reason": one.reason,
                }
                for case, kind, one in _records(index, kinds)
            )
            write_exports(fresh / INDEX, rows)
        if place.is_dir():
            shutil.rmtree(place)
        if files or index is not None:
            fresh.replace(place)
        else:
            fresh.rmdir()
