"""What else was measured of the maps: a section each, only where there is something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from napari_medxai import saliency

from .check_figures import cascade_figure, heat_figure
from .content import Cell, Head, Section, Table
from .method_figures import drawn
from .method_tables import estimate, method_rows
from .records import StoredCase
from .strata import STRATA
from .summary import Summary
from .wording import interval_text, listed, number

__all__ = [
    "agreement_section",
    "faithfulness_section",
    "mask_section",
    "randomised_section",
    "strata_section",
]

PLACES = (
    "pointing_hit",
    "relevance_mass",
    "relevance_rank",
    "iou_mask_area",
    "iou_otsu",
    "average_precision",
    "peak_distance_mm",
)
STRATIFIED = (
    ("sic", "SIC area"),
    ("aic", "AIC area"),
    ("pointing_hit", "Peak in mask"),
    ("relevance_mass", "Relevance in mask"),
    ("iou_mask_area", "IoU at mask area"),
)
STAGE = "randomised_spearman:"
KEPT = 0.5  # rank correlation with the original from which on a map is called kept


def mask_section(
    summary: Summary, methods: Sequence[str], labels: Mapping[str, str]
) -> Section | None:
    """Show the agreement with the ground-truth mask."""
    rows = method_rows(summary, methods, labels, PLACES)
    if not rows:
        return None
    return Section(
        key="mask",
        name="Masks",
        title="Where the maps lie",
        paragraphs=(
            "Agreement with the ground-truth mask, on the image's own pixels. It says "
            "where a map lies, not whether the classifier looked there.",
        ),
        methods=rows,
    )


def faithfulness_section(
    summary: Summary, methods: Sequence[str], labels: Mapping[str, str]
) -> Section | None:
    """Show insertion and deletion areas."""
    rows = method_rows(summary, methods, labels, ("insertion_auc", "deletion_auc"))
    if not rows:
        return None
    return Section(
        key="insertion",
        name="Insertion",
        title="Insertion and deletion",
        paragraphs=(
            "Areas under the probability of the class while pixels are shown, or taken "
            "away, in the map's order (Petsiuk et al. 2018). Insertion is better the "
            "larger, deletion the smaller it is. Images half deleted look like nothing "
            "the classifier was trained on, so that a low deletion area can also come "
            "from that.",
        ),
        methods=rows,
    )


def strata_section(
    summary: Summary, preset: str, methods: Sequence[str], labels: Mapping[str, str]
) -> Section | None:
    """Show measures by size of the lesion, and by right and wrong answers."""
    tables = []
    for metric, title in STRATIFIED:
        table = _stratified(
            summary,
            metric,
            title,
            preset if metric in ("sic", "aic") else "",
            methods,
            labels,
        )
        if table is not None:
            tables.append(table)
    if not tables:
        return None
    return Section(
        key="strata",
        name="Strata",
        title="By size of the lesion, and by right and wrong answers",
        paragraphs=(
            "Means over the images of each column [95 % interval]. No test was made "
            "between columns; intervals that overlap show no difference.",
        ),
        tables=tuple(tables),
    )


def agreement_section(
    out: Path, summary: Summary, methods: Sequence[str], labels: Mapping[str, str]
) -> Section | None:
    """Show how alike the maps are, and how like the image's edges."""
    found = summary.agreement
    known = list(found.methods) if found is not None else []
    names = [m for m in methods if m in known]
    pick = [known.index(m) for m in names]
    matrix = np.full((0, 0), np.nan)
    if found is not None:
        matrix = np.asarray(found.matrix, dtype=np.float64)[np.ix_(pick, pick)]
    lines = {m: summary.find(m, "edge_spearman", aggregation="mean") for m in methods}
    edges = {m: v.value for m, v in lines.items() if v and isfinite(v.value)}
    columns = names if len(names) > 1 else [m for m in methods if m in edges]
    rows, values = [], []
    for i in range(1, len(names)):
        rows.append(labels[names[i]])
        values.append([*matrix[i, :i], *[np.nan] * (len(names) - i)])
    if edges:
        rows.append("Edges of the image")
        values.append([edges.get(m, np.nan) for m in columns])
    if not rows or not np.isfinite(np.asarray(values)).any():
        return None
    figure = drawn(
        out,
        "agreement",
        lambda: heat_figure(values, rows=rows, columns=[labels[m] for m in columns]),
        "Spearman's rank correlation of two maps, mean over "
        f"{found.n if found is not None else _images(summary, edges)} images: 1 where "
        "both put all pixels in the same order, 0 where one says nothing of the other.",
    )
    return Section(
        key="agreement",
        name="Agreement",
        title="How alike the maps are",
        points=tuple(_alike(names, matrix, edges, labels)),
        figures=(figure,),
    )


def randomised_section(
    out: Path,
    summary: Summary,
    cases: Sequence[StoredCase],
    methods: Sequence[str],
    labels: Mapping[str, str],
) -> Section | None:
    """Show the check of Adebayo et al. 2018 on randomised networks."""
    metrics = ("randomised_spearman", "randomised_ssim")
    rows = method_rows(summary, methods, labels, metrics)
    stages = _stages(cases)
    lines: dict[str, list[float]] = {}
    for method in methods:
        found = [summary.find(method, STAGE + s, aggregation="mean") for s in stages]
        values = [np.nan if line is None else line.value for line in found]
        if np.isfinite(values).any():
            lines[method] = values
    if not rows and not lines:
        return None
    figures = []
    if lines:
        figures.append(
            drawn(
                out,
                "randomised",
                lambda: cascade_figure(lines, stages, labels=labels),
                "Rank correlation with the map of the trained network, mean over "
                "images, as its layers are randomised one group after the other.",
            )
        )
    return Section(
        key="randomised",
        name="Randomised",
        title="Does the map survive a randomised network?",
        paragraphs=(
            "Each map was compared with the same method's map of the same network "
            "with all its learned weights randomised (Adebayo et al. 2018). A map "
            "that stays the same does not depend on what the network learned, "
            "however well it lies.",
        ),
        points=tuple(_kept(summary, methods, labels)),
        methods=rows,
        figures=tuple(figures),
    )


def _stratified(
    summary: Summary,
    metric: str,
    title: str,
    preset: str,
    methods: Sequence[str],
    labels: Mapping[str, str],
) -> Table | None:
    found = {
        stratum: {
            m: estimate(
                summary.find(
                    m, metric, preset=preset, aggregation="mean", class_=stratum
                )
            )
            for m in methods
        }
        for stratum in STRATA
    }
    shown = [
        stratum
        for stratum in STRATA
        if any(e is not None and e.n for e in found[stratum].values())
    ]
    if len(shown) < 2:
        return None
    heads = [Head(title="Method", number=False)]
    shared = {}
    for stratum in shown:
        counts = {e.n for e in found[stratum].values() if e is not None}
        shared[stratum] = len(counts) == 1
        heads.append(
            Head(title=stratum, text=f"n {counts.pop()}" if shared[stratum] else "")
        )
    rows = []
    for method in methods:
        cells = [Cell(text=labels[method])]
        for stratum in shown:
            known = found[stratum][method]
            if known is None:
                cells.append(Cell(text="–"))
                continue
            note = "" if shared[stratum] else f"n {known.n}"
            cells.append(Cell(text=interval_text(known), value=known.value, note=note))
        rows.append(tuple(cells))
    of = f", preset “{preset}”" if preset else ""
    return Table(
        caption=f"{title}{of}.",
        heads=tuple(heads),
        rows=tuple(rows),
    )


def _images(summary: Summary, methods: Mapping[str, float]) -> int:
    lines = [summary.find(m, "edge_spearman", aggregation="mean") for m in methods]
    return max((line.n for line in lines if line is not None), default=0)


def _alike(
    names: Sequence[str],
    matrix: np.ndarray,
    edges: Mapping[str, float],
    labels: Mapping[str, str],
) -> list[str]:
    points = []
    pairs = [
        (float(matrix[i, j]), labels[names[j]], labels[names[i]])
        for i in range(len(names))
        for j in range(i)
        if np.isfinite(matrix[i, j])
    ]
    if pairs:
        most, least = max(pairs), min(pairs)
        text = f"Most alike are {most[1]} and {most[2]} ({number(most[0], 2)})"
        if len(pairs) > 1:
            text += f", least {least[1]} and {least[2]} ({number(least[0], 2)})"
        points.append(f"{text}. Methods that agree need not be right.")
    real = {m: v for m, v in edges.items() if saliency.get(m).family != "baseline"}
    if real:
        closest = max(real, key=lambda m: real[m])
        points.append(
            f"Of the methods that look at the classifier, {labels[closest]} follows "
            f"the edges of the image most ({number(real[closest], 2)})."
        )
    return points


def _kept(
    summary: Summary, methods: Sequence[str], labels: Mapping[str, str]
) -> list[str]:
    """Say which methods' maps stay much the same on the randomised network."""
    found = {}
    for method in methods:
        line = summary.find(method, "randomised_spearman", aggregation="mean")
        known = estimate(line)
        if known is not None and known.value is not None and isfinite(known.value):
            found[method] = known
    values = {m: known.value or 0.0 for m, known in found.items()}
    points = []
    for kept in (True, False):
        chosen = [m for m in found if (values[m] >= KEPT) == kept]
        chosen.sort(key=lambda m: -values[m])
        if not chosen:
            continue
        named = listed([f"{labels[m]} ({interval_text(found[m])})" for m in chosen])
        points.append(
            f"The maps of {named} stay much alike (rank correlation of {KEPT:g} or "
            "more on average): much of what they show does not come from what the "
            "network learned."
            if kept
            else f"The maps of {named} change (rank correlation below {KEPT:g} on "
            "average): they depend, at least in part, on what the network learned."
        )
    return points


def _stages(cases: Sequence[StoredCase]) -> list[str]:
    """Stages of the cascade in the order they were made: head first."""
    found: dict[str, None] = {}
    for case in cases:
        for row in case.rows:
            for name in row.measures:
                if name.startswith(STAGE):
                    found.setdefault(name.removeprefix(STAGE))
    return list(found)
