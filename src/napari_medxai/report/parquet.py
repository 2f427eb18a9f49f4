"""What is too large for text: ``curves.parquet`` and ``chance.parquet``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medxai.files import output_errors, write_atomically

from .records import Row, StoredCase
from .verdicts import METRICS

__all__ = ["write_chance", "write_curves_parquet"]

ROW_GROUP = 2000  # rows of results.csv whose chance maps are written at once


def write_curves_parquet(path: Path, cases: Sequence[StoredCase]) -> None:
    """Write ``curves.parquet``: the curves of every case, without chance maps.

    Parameters
    ----------
    path : Path
    cases : sequence of StoredCase
    """
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


def write_chance(path: Path, cases: Iterable[StoredCase]) -> None:
    """Write ``chance.parquet``: the area of every chance map drawn.

    Parameters
    ----------
    path : Path
        Removed, where an earlier run left one, if no case has chance maps.
    cases : iterable of StoredCase

    Raises
    ------
    OutputError
        If it cannot be written, or a case's stored chance maps are damaged.

    Notes
    -----
    Columns ``case, slice, method, preset, metric, member, area``. A member is one
    draw from chance: the same number stands for the same random field in all slices
    of a patient.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row for case in cases for row in case.rows if row.chance is not None]
    if not rows:
        with output_errors(path):
            path.unlink(missing_ok=True)
        return
    schema = pa.schema(
        [
            ("case", pa.string()),
            ("slice", pa.int32()),
            ("method", pa.string()),
            ("preset", pa.string()),
            ("metric", pa.string()),
            ("member", pa.int32()),
            ("area", pa.float64()),
        ]
    )
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema) as writer:
        for start in range(0, len(rows), ROW_GROUP):
            columns = _drawn(rows[start : start + ROW_GROUP])
            writer.write_table(pa.table(columns, schema=schema))
    write_atomically(path, sink.getvalue().to_pybytes())


def _drawn(rows: Sequence[Row]) -> dict[str, Any]:
    """Columns of the chance maps of some rows."""
    import pyarrow as pa

    found = [
        (row, metric, np.asarray(curves.areas, dtype=np.float64))
        for row in rows
        for metric in METRICS
        if (curves := getattr(row.chance, metric)) is not None
    ]
    lengths = [len(areas) for _, _, areas in found]
    index = pa.array(np.repeat(np.arange(len(found)), lengths))
    columns: dict[str, Any] = {
        name: pa.array([getattr(row, name) for row, _, _ in found], kind).take(index)
        for name, kind in (
            ("case", pa.string()),
            ("slice", pa.int32()),
            ("method", pa.string()),
            ("preset", pa.string()),
        )
    }
    columns["metric"] = pa.array([m for _, m, _ in found], pa.string()).take(index)
    members = [np.arange(n, dtype=np.int32) for n in lengths]
    columns["member"] = pa.array(np.concatenate([np.empty(0, np.int32), *members]))
    areas = [one for _, _, one in found]
    columns["area"] = pa.array(np.concatenate([np.empty(0), *areas]))
    return columns
