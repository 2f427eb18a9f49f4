"""The tables of a run, assembled from finished cases: byte-identical each time."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai.files import write_atomically
from napari_medxai.results import CaseError

from .aggregates import EVERY, LOCALIZATION
from .measures import measure_rows
from .parquet import write_curves_parquet
from .records import Row, StoredCase
from .summary import Summary

__all__ = [
    "CHANCE_BAND",
    "EXPORT_COLUMNS",
    "MEASURE_COLUMNS",
    "RESULT_COLUMNS",
    "SUMMARY_COLUMNS",
    "write_curves",
    "write_errors",
    "write_exports",
    "write_measures",
    "write_results",
    "write_summary",
]

RESULT_COLUMNS = (
    "case",
    "slice",
    "method",
    "preset",
    "status",
    "reason",
    "patient",
    "label",
    "predicted_class",
    "probability",
    "target_class",
    "correct",
    "aic_auc",
    "aic_excluded",
    "sic_auc",
    "sic_excluded",
    "null",
    "chance_n",
    "aic_chance_rank",
    "sic_chance_rank",
    "pointing_hit",
    "relevance_mass",
    "relevance_rank",
    "iou_mask_area",
    "average_precision",
    "peak_distance_mm",
)
SUMMARY_COLUMNS = (
    "method",
    "metric",
    "preset",
    "null",
    "aggregation",
    "class",
    "n",
    "n_excluded",
    "value",
    "ci_low",
    "ci_high",
    "chance_value",
    "p_value",
    "p_adjusted",
    "effect_size",
)
CURVE_COLUMNS = (
    "method",
    "metric",
    "preset",
    "aggregation",
    "class",
    "x",
    "y",
    "y_low",
    "y_high",
)
MEASURE_COLUMNS = ("case", "slice", "method", "preset", "metric", "value")
ERROR_COLUMNS = ("case", "stage", "error", "detail")
EXPORT_COLUMNS = ("case", "method", "format", "file", "reason")
CURVE_STEP = 10  # every tenth of the 1001 points: what a plot can show
CHANCE_BAND = "chance_band"


def write_results(path: Path, cases: Iterable[StoredCase]) -> None:
    """Write ``results.csv``: a row per case, slice, method and preset."""
    _write(path, RESULT_COLUMNS, (_result(r) for case in cases for r in case.rows))


def write_summary(path: Path, summary: Summary) -> None:
    """Write ``summary.csv``: aggregates with bootstrap intervals."""
    _write(path, SUMMARY_COLUMNS, (line.as_row() for line in summary.lines))


def write_measures(path: Path, cases: Iterable[StoredCase]) -> None:
    """Write ``measures.csv``: see :func:`.measures.measure_rows`."""
    _write(path, MEASURE_COLUMNS, measure_rows(cases))


def write_errors(path: Path, errors: Sequence[CaseError]) -> None:
    """Write ``errors.csv``."""
    _write(
        path,
        ERROR_COLUMNS,
        (
            {"case": e.case, "stage": e.stage, "error": e.error, "detail": e.detail}
            for e in errors
        ),
    )


def write_exports(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write ``exports/exports.csv``: a line for each file, or why there is none."""
    _write(path, EXPORT_COLUMNS, rows)


def write_curves(folder: Path, cases: Sequence[StoredCase], summary: Summary) -> None:
    """Write ``curves.csv`` (aggregates) and ``curves.parquet`` (every case).

    Where chance maps were drawn, ``curves.csv`` has after the curves lines of the
    aggregation ``chance_band``: the median curve of chance maps (`y`) and the band
    in which 95 % of its members lie. Their single curves are in neither file; the
    areas of all are in ``chance.parquet``, see :func:`.parquet.write_chance`.
    """
    rows: list[dict[str, Any]] = []
    for line in summary.lines:
        if line.curve is not None:
            names = (
                line.method,
                line.metric,
                line.preset,
                line.aggregation,
                line.class_,
            )
            curve = line.curve
            rows += _points(names, curve.x, curve.y, curve.y_low, curve.y_high)
    for (method, metric, preset), band in summary.bands.items():
        names = (method, metric, preset, CHANCE_BAND, EVERY)
        rows += _points(names, band.x, band.middle, band.low, band.high)
    _write(folder / "curves.csv", CURVE_COLUMNS, rows)
    write_curves_parquet(folder / "curves.parquet", cases)


def _points(
    names: tuple[str, str, str, str, str], *curve: NDArray[np.float64]
) -> Iterator[dict[str, Any]]:
    """Points of a curve: `curve` is x, y, y_low, y_high."""
    for point in zip(*(values[::CURVE_STEP] for values in curve), strict=True):
        yield dict(zip(CURVE_COLUMNS, (*names, *point), strict=True))


def _result(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {
        "case": row.case,
        "slice": row.slice,
        "method": row.method,
        "preset": row.preset,
        "status": row.status,
        "reason": row.reason,
        "patient": row.patient,
        "label": row.label,
        "predicted_class": row.predicted_class,
        "probability": row.probability,
        "target_class": row.target_class,
        "correct": row.correct,
    }
    for name, curve in (("aic", row.aic), ("sic", row.sic)):
        if curve is not None:
            values[f"{name}_auc"] = curve.auc
            values[f"{name}_excluded"] = curve.excluded
    if row.chance is not None:
        values |= {"null": row.chance.null, "chance_n": row.chance.n}
        for name, against in (("aic", row.chance.aic), ("sic", row.chance.sic)):
            if against is not None:
                values[f"{name}_chance_rank"] = against.rank
    if row.localization is not None:
        values |= {name: getattr(row.localization, name) for name in LOCALIZATION}
    return values


def _write(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    write_atomically(path, text.getvalue().encode())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
