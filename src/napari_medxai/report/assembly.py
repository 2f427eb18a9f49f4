"""From finished cases to what the report says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medxai import saliency
from napari_medxai.results import CaseError

from .content import (
    CaseBlock,
    CasePicture,
    Classification,
    Estimate,
    ExclusionCount,
    Link,
    MethodRow,
    MethodTable,
    ReportData,
    RunFacts,
    SvgFigure,
)
from .figures import bar_figure, curve_figure, save_figures, svg_text
from .network import NETWORK_PICTURE, network_text
from .overlay import safe_name
from .store import Row, StoredCase
from .summary import MIN_UNITS, Summary

__all__ = ["assemble"]

PRESET_TEXT = {
    "pair": "Curves as the PAIR library defines them (Kapishnikov et al. 2019): the "
    "image is revealed from its blurred version in the map's order, the x axis is the "
    "size of a lossless WebP file. Median curve over images."
}
BEST, WORST = "best: highest mean SIC", "worst: lowest mean SIC"
TABLES = (
    Link(path="results.csv", text="every case, slice, method and preset"),
    Link(path="summary.csv", text="aggregates with their intervals"),
    Link(path="curves.csv", text="aggregated curves"),
    Link(path="curves.parquet", text="the curves of every case"),
    Link(path="errors.csv", text="what failed"),
    Link(path="figures/", text="the drawings as SVG and PDF"),
    Link(path="run.json", text="versions, hashes, parameters, times"),
)
Unit = tuple[StoredCase, int | None]


def assemble(
    out: Path,
    cases: Sequence[StoredCase],
    summary: Summary,
    run: RunFacts,
    errors: Sequence[CaseError],
    *,
    title: str,
    presets: Sequence[str],
    drawn: int,
    overlays: bool,
    exports: bool = False,
    notes: Sequence[str] = (),
) -> ReportData:
    """Draw the figures into ``figures/`` and collect what the report says.

    Parameters
    ----------
    out : Path
        The output folder.
    cases : sequence of StoredCase
    summary : Summary
    run : RunFacts
    errors : sequence of CaseError
    title : str
    presets : sequence of str
    drawn : int
        Most slices that are drawn.
    overlays : bool
        Whether ``overlays/`` was written and can be linked.
    exports : bool
        Whether ``exports/`` was.
    notes : sequence of str

    Returns
    -------
    ReportData
    """
    units = [(case, index) for case in cases for index in _slices(case)]
    methods = [facts.name for facts in run.methods]
    labels = {facts.name: facts.label for facts in run.methods}
    chosen = _choose(units, methods, drawn, run.seed)
    links = list(TABLES)
    if overlays:
        links.append(Link(path="overlays/", text="overlays"))
    if exports:
        links.append(Link(path="exports/", text="the maps for other programs"))
        links.append(Link(path="exports/exports.csv", text="what was exported"))
    return ReportData(
        title=title,
        run=replace(
            run,
            n_slices=len(units),
            has_masks=any(row.localization for case in cases for row in case.rows),
        ),
        tables=tuple(
            _table(out, summary, preset, methods, labels) for preset in presets
        ),
        classification=_classification(units, run.model.classes),
        cases=tuple(
            _block(case, index, why, methods, labels, overlays)
            for (case, index), why in chosen
        ),
        n_cases_not_drawn=len(units) - len(chosen),
        exclusions=tuple(
            ExclusionCount(
                metric=metric.upper(),
                preset=preset,
                class_name=str(found.class_),
                reason=found.reason,
                n=found.n,
                total=found.total,
                methods="all methods (it does not depend on the map)",
            )
            for metric, preset, found in summary.exclusions
        ),
        errors=tuple(errors),
        notes=tuple(notes),
        limits=tuple(_limits(summary, run, cases)),
        links=tuple(links),
    )


def overlay_stem(name: str, index: int | None) -> str:
    """Stem of an exported overlay's file name."""
    return safe_name(name if index is None else f"{name}-slice{index}")


def _slices(case: StoredCase) -> list[int | None]:
    return list(dict.fromkeys(row.slice for row in case.rows))


def _rows(unit: Unit) -> list[Row]:
    case, index = unit
    return [row for row in case.rows if row.slice == index]


def _table(
    out: Path,
    summary: Summary,
    preset: str,
    methods: Sequence[str],
    labels: Mapping[str, str],
) -> MethodTable:
    rows = [
        MethodRow(
            label=labels[name],
            baseline=saliency.get(name).family == "baseline",
            aic=_estimate(summary, name, "aic", preset),
            sic=_estimate(summary, name, "sic", preset),
            pointing_game=_estimate(summary, name, "pointing_hit"),
            relevance_mass=_estimate(summary, name, "relevance_mass"),
            iou_mask_area=_estimate(summary, name, "iou_mask_area"),
        )
        for name in methods
    ]
    figures = []
    for metric in ("aic", "sic"):
        lines = {m: summary.find(m, metric, preset=preset) for m in methods}
        curves = {m: v.curve for m, v in lines.items() if v and v.curve is not None}
        if not curves:
            continue
        name = metric.upper()
        rough = summary.units < MIN_UNITS
        band = "" if rough else " with the bootstrap band"
        interval = "" if rough else f", 95 % bootstrap interval over {summary.unit}"
        values = {m: v for m, v in lines.items() if v is not None and v.n > 0}
        drawings: dict[str, tuple[Any, str]] = {
            f"{metric}-{preset}": (
                curve_figure(
                    curves,
                    metric="AIC" if metric == "aic" else "SIC",
                    title=f"{name}, median curve",
                    labels=labels,
                ),
                f"{name}: median over images{band}.",
            ),
            f"{metric}-auc-{preset}": (
                bar_figure(
                    values,
                    label=f"Area under the {name}",
                    title=f"Area under the {name} by method",
                    labels=labels,
                ),
                f"Area under the {name}{interval}.",
            ),
        }
        for stem, (figure, caption) in drawings.items():
            paths = save_figures(out / "figures", {stem: figure})
            figures.append(
                SvgFigure(
                    svg=svg_text(figure, name=stem, alt=caption),
                    caption=caption,
                    links=tuple(
                        Link(path=f"figures/{p.name}", text=p.suffix[1:].upper())
                        for p in paths
                    ),
                )
            )
    return MethodTable(
        preset=preset,
        text=PRESET_TEXT.get(preset, ""),
        rows=tuple(rows),
        figures=tuple(figures),
    )


def _estimate(
    summary: Summary, method: str, metric: str, preset: str = ""
) -> Estimate | None:
    how = "median_curve" if preset else "mean"
    line = summary.find(method, metric, preset=preset, aggregation=how)
    if line is None or line.n + line.n_excluded == 0:
        return None
    return Estimate(
        value=line.value,
        ci_low=line.ci_low,
        ci_high=line.ci_high,
        n=line.n,
        n_excluded=line.n_excluded,
    )


def _classification(
    units: Sequence[Unit], classes: Sequence[str]
) -> Classification | None:
    pairs = [
        (str(rows[0].label), rows[0].predicted_class)
        for unit in units
        if (rows := _rows(unit))[0].label is not None
    ]
    if not pairs:
        return None
    counts = Counter(pairs)
    return Classification(
        n_labelled=len(pairs),
        n_correct=sum(a == b for a, b in pairs),
        classes=tuple(classes),
        confusion=tuple(tuple(counts[a, b] for b in classes) for a in classes),
    )


def _choose(
    units: Sequence[Unit], methods: Sequence[str], drawn: int, seed: int
) -> list[tuple[Unit, tuple[str, ...]]]:
    """Choose what is drawn: best, worst, excluded, the rest by seed."""
    scores = np.array([_score(unit, methods) for unit in units])
    order = [int(i) for i in np.argsort(-scores, kind="stable")]
    scored = [i for i in order if np.isfinite(scores[i])]
    excluded = [i for i in range(len(units)) if not np.isfinite(scores[i])]
    quarter = max(1, drawn // 4)
    why: dict[int, list[str]] = {}

    def take(indices: Sequence[int], reason: str) -> None:
        for i in indices:
            if i in why:
                why[i].append(reason)
            elif len(why) < drawn:
                why[i] = [reason]

    if len(units) > drawn:
        take(scored[:quarter], BEST)
        take(scored[::-1][:quarter], WORST)
        take(excluded[:quarter], "excluded")
        rest = np.random.default_rng(seed).permutation(len(units))
        take([int(i) for i in rest if i not in why], "drawn by seed")
    else:
        why = {i: [] for i in range(len(units))}
        if len(scored) > 1:
            take(scored[:1], BEST)
            take(scored[-1:], WORST)
        take(excluded, "excluded")
    return [(units[i], tuple(why[i])) for i in sorted(why)]


def _score(unit: Unit, methods: Sequence[str]) -> float:
    """Mean SIC area over the methods that look at the network; NaN if excluded."""
    looking = {m for m in methods if saliency.get(m).needs_network}
    areas = [
        row.sic.auc
        for row in _rows(unit)
        if row.sic is not None and (row.method in looking or not looking)
    ]
    finite = [a for a in areas if np.isfinite(a)]
    return float(np.mean(finite)) if finite else float("nan")


def _block(
    case: StoredCase,
    index: int | None,
    why: tuple[str, ...],
    methods: Sequence[str],
    labels: Mapping[str, str],
    overlays: bool,
) -> CaseBlock:
    rows = _rows((case, index))
    stem = overlay_stem(case.name, index)
    pictures = [
        CasePicture(
            title="Image",
            plain=True,
            content=_content(case, index, ""),
            mime="image/webp",
            link=f"overlays/{stem}_image.png" if overlays else "",
        )
    ]
    network = _content(case, index, NETWORK_PICTURE)
    if network:
        pictures.append(
            CasePicture(
                title="What the network sees",
                plain=True,
                content=network,
                mime="image/webp",
                alt=network_text(case.name),
            )
        )
    for name in methods:
        row = next((r for r in rows if r.method == name), None)
        if row is None:
            continue
        place = row.localization
        pictures.append(
            CasePicture(
                title=labels[name],
                content=_content(case, index, name),
                mime="image/webp",
                missing=row.reason if row.status == "failed" else "",
                reason=row.reason,
                aic_auc=None if row.aic is None else row.aic.auc,
                sic_auc=None if row.sic is None else row.sic.auc,
                aic_excluded=(row.aic.excluded or "") if row.aic else "",
                sic_excluded=(row.sic.excluded or "") if row.sic else "",
                pointing_hit=None if place is None else place.pointing_hit,
                relevance_mass=None if place is None else place.relevance_mass,
                iou_mask_area=None if place is None else place.iou_mask_area,
                link=f"overlays/{stem}_{safe_name(name)}.png" if overlays else "",
            )
        )
    return CaseBlock(
        name=case.name,
        slice=index,
        why=why,
        predicted_class=rows[0].predicted_class,
        target_class=rows[0].target_class,
        probabilities=case.probabilities.get(index, {}),
        label=rows[0].label,
        correct=rows[0].correct,
        pictures=tuple(pictures),
        notes=case.notes,
    )


def _content(case: StoredCase, index: int | None, method: str) -> bytes:
    path = case.pictures.get((index, method))
    return b"" if path is None else path.read_bytes()


def _limits(summary: Summary, run: RunFacts, cases: Sequence[StoredCase]) -> list[str]:
    limits = []
    unlabelled = sum(case.rows[0].label is None for case in cases if case.rows)
    if unlabelled:
        limits.append(
            f"{unlabelled} of {len(cases)} cases have no label: their AIC counts "
            "agreement with the class explained, not accuracy."
        )
    for metric in ("aic", "sic"):
        lines = [v for v in summary.lines if (v.metric, v.class_) == (metric, "all")]
        if lines and not any(line.n for line in lines):
            limits.append(
                f"There is no {metric.upper()} curve: every image was excluded; the "
                "reasons stand under Excluded."
            )
    if summary.units < MIN_UNITS:
        limits.append(
            f"No intervals: {summary.units} {summary.unit} are too few to resample."
        )
    if summary.unit == "cases" and summary.units:
        limits.append(
            "No patients are known: the unit of every interval is the case "
            f"({summary.units} of them), and images, not patients, are counted. Images "
            "of one patient are alike, so the true uncertainty is larger."
        )
    if summary.without_patient:
        limits.append(
            f"{summary.without_patient} cases have no patient and count as patients "
            "of their own."
        )
    for method, count in summary.failures.items():
        limits.append(
            f"{method} could not run on {count} slices; its row covers other images "
            "than the other methods' rows."
        )
    if summary.units < 20:
        limits.append(
            f"Only {summary.units} {summary.unit}: the intervals are rough, and small "
            "differences between methods mean nothing."
        )
    if run.n_slices and len(run.methods) > 1:
        limits.append(
            "Several methods were compared without a test against chance; that one "
            "has the largest area is no proof that it is the best."
        )
    return limits
