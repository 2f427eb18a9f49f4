"""Output folders of the batch written by hand: a few rows whose answers are known."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = (
    *("case", "slice", "method", "preset", "status", "reason", "patient", "label"),
    *("predicted_class", "probability", "target_class", "correct"),
    *("aic_auc", "aic_excluded", "sic_auc", "sic_excluded"),
    *("null", "chance_n", "aic_chance_rank", "sic_chance_rank"),
    *("pointing_hit", "relevance_mass", "relevance_rank", "iou_mask_area"),
    *("average_precision", "peak_distance_mm"),
)
SUMMARY = (
    *("method", "metric", "preset", "null", "aggregation", "class", "n", "n_excluded"),
    *("value", "ci_low", "ci_high", "chance_value", "p_value", "p_adjusted"),
    "effect_size",
)
MEASURES = ("case", "slice", "method", "preset", "metric", "value")
ERRORS = ("case", "stage", "error", "detail")
SHA256 = "ab" * 32
NAN = float("nan")


def row(case: str, sic: float | str = "", method: str = "gradcam", **more: Any) -> dict:
    """Make a row of results.csv; without `sic` the curve is excluded."""
    given = {
        "case": case,
        "method": method,
        "preset": "pair",
        "status": "ok",
        "patient": f"p-{case}",
        "label": "glioma",
        "predicted_class": "glioma",
        "probability": 0.9,
        "target_class": "glioma",
        "correct": "true",
        "aic_excluded": "still right when blurred",
        "sic_auc": sic,
        "sic_excluded": "" if sic != "" else "the probability is too low",
    }
    return given | more


def line(method: str, metric: str, value: float | str, **more: Any) -> dict:
    """Make a line of summary.csv."""
    curve = metric in ("aic", "sic")
    given = {
        "method": method,
        "metric": metric,
        "preset": "pair" if curve else "",
        "aggregation": "median_curve" if curve else "mean",
        "class": "all",
        "n": 4,
        "n_excluded": 0,
        "value": value,
    }
    return given | more


def measure(case: str, metric: str, value: float | str, **more: Any) -> dict:
    """Make a row of measures.csv."""
    given = {"case": case, "method": "gradcam", "metric": metric, "value": value}
    return given | more


def facts(names: Iterable[str] = ("gradcam",), **more: Any) -> dict[str, Any]:
    """Make a run.json."""
    given = {
        "model": {
            "name": "brain",
            "architecture": "lite0",
            "classes": ["glioma", "pituitary"],
            "sha256": SHA256,
            "intensity": "MR",
            "licence": "free",
        },
        "methods": [
            {"name": m, "label": m.title(), "parameters": {"layer": "bn2"}}
            for m in names
        ],
        "inputs": "slices",
        "n_failed": 0,
        "target": "predicted",
        "seed": 0,
        "versions": {"torch": "2.9", "napari-medxai": "0.1.0"},
        "settings": {"slices": "middle", "limit": "none", "min_probability": 0.8},
        "started": "2026-01-01 10:00:00",
        "seconds": 1.0,
    }
    return given | more


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Mapping]) -> None:
    """Write rows as the batch does; what a row lacks is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_run(
    folder: Path,
    rows: Iterable[Mapping],
    *,
    summary: Iterable[Mapping] | None = None,
    measures: Iterable[Mapping] | None = None,
    errors: Iterable[Mapping] | None = (),
    **more: Any,
) -> Path:
    """Write an output folder; `more` goes into run.json."""
    folder.mkdir(parents=True)
    rows = list(rows)
    names = dict.fromkeys(r["method"] for r in rows)
    (folder / "run.json").write_text(json.dumps(facts(names, **more)))
    write_table(folder / "results.csv", RESULTS, rows)
    for name, columns, content in (
        ("summary.csv", SUMMARY, summary),
        ("measures.csv", MEASURES, measures),
        ("errors.csv", ERRORS, errors),
    ):
        if content is not None:
            write_table(folder / name, columns, content)
    return folder
