"""The tables: every number with the file that it came from."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_medxai.files import write_atomically

from . import published
from .classifiers import EVALUATION, RECORD, Trained
from .estimate import Estimate
from .explaining import Explained
from .material import Material

__all__ = [
    "CURVE_COLUMNS",
    "TIME_COLUMNS",
    "Row",
    "classifier_columns",
    "classifier_rows",
    "confusion_rows",
    "curve_rows",
    "time_rows",
    "write_table",
]

Row = dict[str, Any]
FIGURES = {
    "macro_f1": "macro_f1",
    "accuracy": "accuracy",
    "auroc": "auroc",
    "ece": "ece_after",
}
METRICS = ("sic", "aic")
AGGREGATIONS = ("median_curve", "mean_curve")
CURVE_COLUMNS = (
    "architecture",
    "preset",
    "metric",
    "method",
    "aggregation",
    "n",
    "n_excluded",
    "value",
    "ci_low",
    "ci_high",
    "source",
    "published",
    "published_note",
    "difference",
    "published_source",
)


def classifier_rows(
    trained: Sequence[Trained], material: Material, best: Trained | None, out: Path
) -> list[Row]:
    """Return the rows of ``classifiers.csv``: an architecture each.

    Parameters
    ----------
    trained : sequence of Trained
    material : Material
    best : Trained or None
        By macro F1 on the selection set.
    out : Path
        The output folder: sources are relative to it.
    """
    rows = []
    for one in trained:
        row: Row = {
            "architecture": one.architecture,
            "status": "failed" if one.reason else "ok",
            "best": one is best,
            "data": material.title,
        }
        if one.reason:
            row["reason"] = one.reason
        else:
            found = one.evaluation[material.part]
            row |= {"n": found["n"], "units": found["units"], "unit": found["unit"]}
            for name, key in FIGURES.items():
                row |= _with_interval(name, found[key])
            for label, of in found["classes"].items():
                row |= _with_interval(f"f1_{label}", of["f1"])
            row["source"] = _source(one.folder / EVALUATION, out)
        known = published.F1.get((material.dataset, one.architecture))
        if known is not None:
            row |= {
                "published_macro_f1": known.value,
                "published_note": known.note,
                "published_source": published.SOURCE,
            }
        rows.append(row)
    return rows


def classifier_columns(classes: Sequence[str]) -> list[str]:
    """Return the columns of ``classifiers.csv``."""
    names = [*FIGURES, *(f"f1_{label}" for label in classes)]
    figures = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    return [
        *("architecture", "status", "best", "data", "n", "units", "unit"),
        *figures,
        "reason",
        "source",
        *("published_macro_f1", "published_note", "published_source"),
    ]


def confusion_rows(one: Trained, part: str, out: Path) -> tuple[list[str], list[Row]]:
    """Return columns and rows of a confusion matrix: a true class each."""
    found = one.evaluation[part]["confusion_matrix"]
    source = _source(one.folder / EVALUATION, out)
    rows = [
        {
            "architecture": one.architecture,
            "truth": label,
            **dict(zip(found["classes"], counts, strict=True)),
            "source": source,
        }
        for label, counts in zip(found["classes"], found["counts"], strict=True)
    ]
    return ["architecture", "truth", *found["classes"], "source"], rows


def curve_rows(
    explained: Iterable[Explained],
    methods: Sequence[str],
    presets: Sequence[str],
    dataset: str,
    out: Path,
) -> list[Row]:
    """Return the rows of ``curves.csv``: an area under an aggregated curve each.

    A published area stands beside that of the median curve under every preset; what
    was published of methods that did not run follows without a value.
    """
    rows: list[Row] = []
    for one in explained:
        if one.summary is None:
            continue
        for preset in presets:
            for metric in METRICS:
                known = published.areas(dataset, metric)
                for method in [*methods, *(m for m in known if m not in methods)]:
                    for aggregation in AGGREGATIONS:
                        row = _area(one, preset, metric, method, aggregation, out)
                        if aggregation == AGGREGATIONS[0] and method in known:
                            row |= _beside(row.get("value"), known[method])
                        if "value" in row or "published_source" in row:
                            rows.append(row)
    return rows


def _area(
    one: Explained, preset: str, metric: str, method: str, aggregation: str, out: Path
) -> Row:
    row: Row = {
        "architecture": one.architecture,
        "preset": preset,
        "metric": metric,
        "method": method,
        "aggregation": aggregation,
    }
    assert one.summary is not None
    line = one.summary.find(method, metric, preset=preset, aggregation=aggregation)
    if line is not None:
        row |= {
            "n": line.n,
            "n_excluded": line.n_excluded,
            "value": line.value,
            "ci_low": line.ci_low,
            "ci_high": line.ci_high,
            "source": _source(one.folder / "summary.csv", out),
        }
    return row


def _beside(value: float | None, known: published.Published) -> Row:
    difference = None
    if value is not None and not math.isnan(value) and known.value is not None:
        difference = value - known.value
    return {
        "published": known.value,
        "published_note": known.note,
        "difference": difference,
        "published_source": published.SOURCE,
    }


def time_rows(
    trained: Sequence[Trained],
    explained: Iterable[Explained],
    estimate: Estimate,
    out: Path,
) -> list[Row]:
    """Return the rows of ``times.csv``: what was estimated and what it took."""
    rows = []
    for one in trained:
        known = estimate.find(one.architecture)
        if not one.reason:
            rows.append(
                {
                    "architecture": one.architecture,
                    "stage": "training",
                    "estimated_hours": known and known.training_hours,
                    "hours": one.record["seconds"] / 3600,
                    "device": one.record["device"],
                    "source": _source(one.folder / RECORD, out),
                }
            )
    for of in explained:
        known = estimate.find(of.architecture)
        if of.summary is not None:
            rows.append(
                {
                    "architecture": of.architecture,
                    "stage": "explaining",
                    "estimated_hours": known and known.explaining_hours,
                    "hours": of.seconds / 3600,
                    "source": _source(of.folder / "run.json", out),
                }
            )
    return rows


TIME_COLUMNS = (
    "architecture",
    "stage",
    "estimated_hours",
    "hours",
    "device",
    "source",
)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write rows as CSV; six significant digits, empty where there is nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    write_atomically(path, text.getvalue().encode())


def _with_interval(name: str, found: Mapping[str, float | None]) -> Row:
    return {
        name: found["value"],
        f"{name}_low": found["ci_low"],
        f"{name}_high": found["ci_high"],
    }


def _source(path: Path, out: Path) -> str:
    return path.relative_to(out).as_posix()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
