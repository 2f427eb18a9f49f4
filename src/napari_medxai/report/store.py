"""Finished cases on disk: each durable on its own, tables are made from them.

A finished case is a folder ``.cases/KEY/`` with ``case.json`` (rows, knots of the
curves, errors), its small pictures, and its exports, a folder for each kind, with
``exports.json``. It is written under another name and renamed, so that it is there
whole or not at all. See `publishing` for what a run shows of the exports.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napari_medxai.errors import OutputError
from napari_medxai.files import output_errors
from napari_medxai.metrics import InformationCurve, Localization
from napari_medxai.results import CaseError, CaseResult, Exported, Outcome

from .exports import (
    ExportRecord,
    forget_identified,
    read_exports,
    read_tokens,
    whole,
    write_durably,
    write_exports,
)
from .network import NETWORK_PICTURE

__all__ = ["UNFINISHED", "Row", "Store", "StoredCase"]

FOLDER = ".cases"
RECORD = "case.json"
UNFINISHED = ".unfinished-"


@dataclass(frozen=True, eq=False)
class Row:
    """One row of ``results.csv`` with its curves."""

    case: str
    patient: str | None
    method: str
    preset: str
    slice: int | None
    status: str
    reason: str
    predicted_class: str
    probability: float
    target_class: str
    label: str | None
    correct: bool | None
    aic: InformationCurve | None
    sic: InformationCurve | None
    knots: Mapping[str, Sequence[float]] | None
    localization: Localization | None

    @property
    def stratum(self) -> str:
        """The class a row counts for: its label, else the class explained."""
        return self.label or self.target_class


@dataclass(frozen=True, eq=False)
class StoredCase:
    """A finished case as it was stored.

    Attributes
    ----------
    name, key : str
    rows : tuple of Row
    probabilities : mapping of slice to mapping of class to probability
    errors : tuple of CaseError
    notes : tuple of str
    seconds : mapping of str to float
    provenance : mapping
    pictures : mapping of (slice, method) to Path
        Small overlays; method "" is the plain image.
    exports : mapping of str to tuple of ExportRecord
        By kind; their files lie in `folder`/exports/KIND.
    folder : Path
    """

    name: str
    key: str
    rows: tuple[Row, ...]
    probabilities: Mapping[int | None, Mapping[str, float]]
    errors: tuple[CaseError, ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    provenance: Mapping[str, Any]
    pictures: Mapping[tuple[int | None, str], Path] = field(default_factory=dict)
    exports: Mapping[str, tuple[ExportRecord, ...]] = field(default_factory=dict)
    folder: Path = Path()


class Store:
    """The finished cases below an output folder.

    Parameters
    ----------
    out : Path
        The batch's output folder.
    """

    def __init__(self, out: Path) -> None:
        self.root = out / FOLDER

    def clear(self) -> None:
        """Forget all finished cases (``--overwrite``)."""
        with output_errors(self.root):
            if self.root.is_dir():
                shutil.rmtree(self.root)

    def has(self, key: str, exports: Mapping[str, str] | None = None) -> bool:
        """Whether a finished, readable case of this key is there.

        Parameters
        ----------
        key : str
        exports : mapping of str to str, optional
            Tokens by the kind of export that it must have, made with these tokens.
        """
        try:
            case = self.load(key)
        except OutputError:
            return False
        known = read_tokens(self.root / key)
        return all(
            known.get(kind) == token
            and whole(case.folder, kind, case.exports.get(kind, ()))
            for kind, token in (exports or {}).items()
        )

    def sweep(self, *, identify: bool = True) -> None:
        """Remove what a killed run left half-written.

        Parameters
        ----------
        identify : bool
            Whether exports that may name the patient, of this and of stale cases,
            can stay. Who is handed the folder of a run without ``--identify`` must
            not find those of an earlier one below ``.cases``.

        Raises
        ------
        OutputError
            If it cannot be removed.
        """
        with output_errors(self.root):
            for path in self.root.glob(f"{UNFINISHED}*"):
                shutil.rmtree(path)
            if not identify:
                for folder in self.root.glob("*/"):
                    forget_identified(folder)

    def save(
        self,
        result: CaseResult,
        pictures: Mapping[str, bytes],
        exports: Iterable[Exported] = (),
        tokens: Mapping[str, str] | None = None,
        *,
        identified: Collection[str] = (),
    ) -> None:
        """Make a finished case durable.

        Parameters
        ----------
        result : CaseResult
        pictures : mapping of str to bytes
            WebP files by the names of :func:`picture_name`.
        exports : iterable of Exported
            Taken one by one, so that one file at a time is in memory.
        tokens : mapping of str to str, optional
            What each kind of `exports` depends on besides the key. What an earlier
            run exported of other kinds is kept.
        identified : collection of str
            Kinds of `exports` that may name the patient.

        Raises
        ------
        OutputError
            If it cannot be written; nothing stands under the final name then.
        """
        final = self.root / result.key
        with output_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.root))
            try:
                for name, content in pictures.items():
                    write_durably(temporary / name, content)
                write_exports(
                    temporary, final, exports, tokens or {}, identified=identified
                )
                # Last: only now the time that the exports took is known.
                record = json.dumps(_record(result), allow_nan=False)
                write_durably(temporary / RECORD, record.encode())
                if final.exists():
                    shutil.rmtree(final)
                temporary.replace(final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise

    def load(self, key: str) -> StoredCase:
        """Read a finished case.

        Raises
        ------
        OutputError
            If its record is damaged.
        """
        folder = self.root / key
        try:
            data = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            return _case(key, data, folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{folder}: the stored case is damaged ({error}); run the same "
                "command with --overwrite."
            ) from error

    def load_all(self, keys: Sequence[str]) -> Iterator[StoredCase]:
        """Read finished cases one after the other."""
        for key in keys:
            yield self.load(key)


def picture_name(index: int | None, method: str) -> str:
    """File name of a stored picture; method "" is the plain image."""
    where = "image" if index is None else f"slice{index}"
    safe = "".join(c if c.isalnum() or c in "_-" else "-" for c in method)
    return f"{where}.{safe or 'plain'}.webp"


def _record(result: CaseResult) -> dict[str, Any]:
    return {
        "name": result.case.name,
        "patient": result.case.patient,
        "rows": [_row_record(o) for o in result.outcomes],
        "probabilities": [
            {"slice": v.slice, "classes": dict(v.probabilities)} for v in result.views
        ],
        "errors": [asdict(e) for e in result.errors],
        "notes": list(result.notes),
        "seconds": dict(result.seconds),
        "provenance": dict(result.provenance),
    }


def _row_record(outcome: Outcome) -> dict[str, Any]:
    record: dict[str, Any] = {
        name: getattr(outcome, name)
        for name in (
            "method",
            "preset",
            "slice",
            "status",
            "reason",
            "predicted_class",
            "probability",
            "target_class",
            "label",
            "correct",
        )
    }
    curves = outcome.curves
    if curves is not None:
        for name, curve in (("aic", curves.aic), ("sic", curves.sic)):
            record[name] = {
                "excluded": curve.excluded,
                "x": [float(v) for v in curve.knots_x],
                "y": [float(v) for v in curve.knots_y],
            }
        record["knots"] = {
            "threshold": curves.knots.thresholds.tolist(),
            "revealed": curves.knots.revealed.tolist(),
            "size": curves.knots.sizes.tolist(),
            "probability": curves.knots.probabilities.tolist(),
            "predicted": curves.knots.predicted.tolist(),
        }
    if outcome.localization is not None:
        record["localization"] = {
            k: None if isinstance(v, float) and math.isnan(v) else v
            for k, v in asdict(outcome.localization).items()
        }
    return record


def _case(key: str, data: Mapping[str, Any], folder: Path) -> StoredCase:
    rows = tuple(_row(data, row) for row in data["rows"])
    pictures = {}
    for index, method in {
        (r.slice, m) for r in rows for m in ("", NETWORK_PICTURE, r.method)
    }:
        path = folder / picture_name(index, method)
        if path.is_file():
            pictures[index, method] = path
    return StoredCase(
        name=data["name"],
        key=key,
        rows=rows,
        probabilities={p["slice"]: p["classes"] for p in data["probabilities"]},
        errors=tuple(CaseError(**e) for e in data["errors"]),
        notes=tuple(data["notes"]),
        seconds=data["seconds"],
        provenance=data["provenance"],
        pictures=pictures,
        exports=read_exports(folder),
        folder=folder,
    )


def _row(data: Mapping[str, Any], row: Mapping[str, Any]) -> Row:
    curves = {
        name: InformationCurve.from_knots(
            name,
            row[name]["x"],
            row[name]["y"],
            preset=row["preset"],
            excluded=row[name]["excluded"],
        )
        for name in ("aic", "sic")
        if name in row
    }
    localization = None
    if "localization" in row:
        values = row["localization"]
        numbers: dict[str, Any] = {
            k: math.nan if v is None else v for k, v in values.items()
        }
        localization = Localization(**numbers)
    return Row(
        case=data["name"],
        patient=data["patient"],
        method=row["method"],
        preset=row["preset"],
        slice=row["slice"],
        status=row["status"],
        reason=row["reason"],
        predicted_class=row["predicted_class"],
        probability=row["probability"],
        target_class=row["target_class"],
        label=row["label"],
        correct=row["correct"],
        aic=curves.get("aic"),
        sic=curves.get("sic"),
        knots=row.get("knots"),
        localization=localization,
    )
