"""A finished case as it is stored: ``case.json`` and its way back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medxai.metrics import InformationCurve, Localization
from napari_medxai.results import CaseError, CaseResult, Outcome

from .exports import ExportRecord, read_exports
from .network import NETWORK_PICTURE
from .stored_chance import (
    CHANCE_FILE,
    ChanceFile,
    StoredChance,
    chance_of,
    chance_record,
)

if TYPE_CHECKING:
    from napari_medxai.metrics.chance import Chance

__all__ = ["Row", "StoredCase", "case_of", "picture_name", "record_of"]

PLAIN = (
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
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Row:
    """One row of ``results.csv`` with its curves.

    `chance`, `measures` and `lesion_mm2` are those of
    :class:`~napari_medxai.results.Outcome`; the chance maps' areas and curves are
    read from the disk when they are asked for.
    """

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
    chance: StoredChance | Chance | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    lesion_mm2: float = NAN

    @property
    def stratum(self) -> str:
        """The class a row counts for: its label, else the class explained."""
        return self.label or self.target_class

    @property
    def unit(self) -> str:
        """What is resampled and permuted as one: its patient, else its case."""
        return self.patient or self.case


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


def picture_name(index: int | None, method: str) -> str:
    """File name of a stored picture; method "" is the plain image."""
    where = "image" if index is None else f"slice{index}"
    safe = "".join(c if c.isalnum() or c in "_-" else "-" for c in method)
    return f"{where}.{safe or 'plain'}.webp"


def record_of(result: CaseResult, chance: bytes | None) -> dict[str, Any]:
    """Return what ``case.json`` holds.

    Parameters
    ----------
    result : CaseResult
    chance : bytes or None
        Content of the case's ``chance.npz``, or None where there is none.
    """
    return {
        "name": result.case.name,
        "patient": result.case.patient,
        "rows": [_row_record(o) for o in result.outcomes],
        "chance": None if chance is None else hashlib.sha256(chance).hexdigest(),
        "probabilities": [
            {"slice": v.slice, "classes": dict(v.probabilities)} for v in result.views
        ],
        "errors": [asdict(e) for e in result.errors],
        "notes": list(result.notes),
        "seconds": dict(result.seconds),
        "provenance": dict(result.provenance),
    }


def case_of(key: str, data: Mapping[str, Any], folder: Path) -> StoredCase:
    """Put a case together from its ``case.json`` and the files beside it.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError
        Where the record, or ``chance.npz``, is damaged or from another version.
    """
    chance = None
    if data["chance"] is not None:
        chance = ChanceFile(folder / CHANCE_FILE, data["chance"])
        chance.check()
    rows = tuple(_row(data, i, row, chance) for i, row in enumerate(data["rows"]))
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


def _row_record(outcome: Outcome) -> dict[str, Any]:
    record: dict[str, Any] = {name: getattr(outcome, name) for name in PLAIN}
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
        record["localization"] = _finite(asdict(outcome.localization))
    record["chance"] = outcome.chance and chance_record(outcome.chance)
    record["measures"] = _finite(outcome.measures)
    record["lesion_mm2"] = _finite({"": outcome.lesion_mm2})[""]
    return record


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain numbers for JSON, which has no NaN: None in its place."""
    plain = {k: v.item() if hasattr(v, "item") else v for k, v in values.items()}
    return {
        k: None if isinstance(v, float) and math.isnan(v) else v
        for k, v in plain.items()
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: NAN if v is None else v for k, v in values.items()}


def _row(
    data: Mapping[str, Any],
    position: int,
    row: Mapping[str, Any],
    file: ChanceFile | None,
) -> Row:
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
        localization = Localization(**_numbers(row["localization"]))
    chance = None
    if row["chance"] is not None:
        if file is None:
            raise ValueError(f"it has no {CHANCE_FILE}")
        chance = chance_of(row["chance"], position, row["preset"], file)
    return Row(
        case=data["name"],
        patient=data["patient"],
        **{name: row[name] for name in PLAIN},
        aic=curves.get("aic"),
        sic=curves.get("sic"),
        knots=row.get("knots"),
        localization=localization,
        chance=chance,
        measures=_numbers(row["measures"]),
        lesion_mm2=_numbers({"": row["lesion_mm2"]})[""],
    )
