"""Tables, figures and the HTML report of a run."""

from __future__ import annotations

from .assembly import assemble, overlay_stem
from .content import MethodFacts, ModelFacts, ReportData, RunFacts
from .exports import ExportRecord
from .html import render_report
from .overlay import (
    case_pictures,
    export_pictures,
    export_pngs,
    overlay_picture,
    picture_bytes,
)
from .parquet import write_chance
from .publishing import publish
from .store import Row, Store, StoredCase, picture_name
from .summary import Agreement, Band, Summary, SummaryLine, summarise
from .tables import (
    MEASURE_COLUMNS,
    RESULT_COLUMNS,
    SUMMARY_COLUMNS,
    write_curves,
    write_errors,
    write_measures,
    write_results,
    write_summary,
)

__all__ = [
    "MEASURE_COLUMNS",
    "RESULT_COLUMNS",
    "SUMMARY_COLUMNS",
    "Agreement",
    "Band",
    "ExportRecord",
    "MethodFacts",
    "ModelFacts",
    "ReportData",
    "Row",
    "RunFacts",
    "Store",
    "StoredCase",
    "Summary",
    "SummaryLine",
    "assemble",
    "case_pictures",
    "export_pictures",
    "export_pngs",
    "overlay_picture",
    "overlay_stem",
    "picture_bytes",
    "picture_name",
    "publish",
    "render_report",
    "summarise",
    "write_chance",
    "write_curves",
    "write_errors",
    "write_measures",
    "write_results",
    "write_summary",
]
