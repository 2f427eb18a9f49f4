"""The tables of a run, assembled from finished cases: byte-identical each time."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medxai.files import write_atomically
from napari_medxai.results import CaseError

from .store import Row, StoredCase
from .summary import LOCALIZATION, Summary

__all__ = [
    "EXPORT_COLUMNS",
    "RESULT_COLUMNS",
    "SUMMARY_COLUMNS",
    "write_curves",
    "write_errors",
    "write_exports",
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
ERROR_COLUMNS = ("case", "stage", "error", "detail")
EXPORT_COLUMNS = ("case", "method", "format", "file", "reason")
CURVE_STEP = 10  # every tenth of the 1001 points: what a plot can show


def write_results(path: Path, cases: Iterable[StoredCase]) -> None:
    """Write ``results.csv``: a row per case, slice, method and preset."""
    _write(path, RESULT_COLUMNS, (_result(r) for case in cases for r in case.rows))


def write_summary(path: Path, summary: Summary) -> None:
    """Write ``summary.csv``: aggregates with bootstrap intervals."""
    _write(path, SUMMARY_COLUMNS, (line.as_row() for line in summary.lines))


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
    """Write ``curves.csv`` (aggregates) and ``curves.parquet`` (every case)."""
    rows = []
    for line in summary.lines:
        if line.curve is None:
            continue
        curve = line.curve
        band = (curve.x, curve.y, curve.y_low, curve.y_high)
        for x, y, low, high in zip(*(a[::CURVE_STEP] for a in band), strict=True):
            rows.append(
                {
                    "method": line.method,
                    "metric": line.metric,
                    "preset": line.preset,
                    "aggregation": line.aggregation,
                    "class": line.class_,
                    "x": x,
                    "y": y,
                    "y_low": low,
                    "y_high": high,
                }
            )
    _write(folder / "curves.csv", CURVE_COLUMNS, rows)
    _write_parquet(folder / "curves.parquet", cases)


def _write_parquet(path: Path, cases: Sequence[StoredCase]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            *("case", "slice", "method", "preset", "metric", "excluded", "auc"),
            *("threshold", "revealed", "size", "probability", "predicted", "x", "y"),
        )
    }
    for case in cases:
        for row in case.rows:
            for metric, curve in (("aic", row.aic), ("sic", row.sic)):
                if curve is None or row.knots is None:
                    continue
                raw = row.knots
                columns["case"].append(row.case)
                columns["slice"].append(row.slice)
                columns["method"].append(row.method)
                columns["preset"].append(row.preset)
                columns["metric"].append(metric)
                columns["excluded"].append(curve.excluded)
                columns["auc"].append(None if math.isnan(curve.auc) else curve.auc)
                for name in ("threshold", "revealed", "size", "probability"):
                    columns[name].append([float(v) for v in raw[name]])
                columns["predicted"].append([int(v) for v in raw["predicted"]])
                columns["x"].append([float(v) for v in curve.knots_x])
                columns["y"].append([float(v) for v in curve.knots_y])
    numbers = pa.list_(pa.float64())
    schema = pa.schema(
        [
            ("case", pa.string()),
            ("slice", pa.int32()),
            ("method", pa.string()),
            ("preset", pa.string()),
            ("metric", pa.string()),
            ("excluded", pa.string()),
            ("auc", pa.float64()),
            ("threshold", numbers),
            ("revealed", numbers),
            ("size", numbers),
            ("probability", numbers),
            ("predicted", pa.list_(pa.int32())),
            ("x", numbers),
            ("y", numbers),
        ]
    )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), sink)
    write_atomically(path, sink.getvalue().to_pybytes())


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
