"""From finished cases to what the report says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_medxai.results import CaseError

from .cases_drawn import (
    Unit,
    case_block,
    choose,
    overlay_stem,
    rows_of,
    slices_of,
    volume_sentences,
)
from .comparing import presets_section
from .content import Classification, ExclusionCount, Link, ReportData, RunFacts
from .limits import run_limits
from .measured import (
    agreement_section,
    faithfulness_section,
    mask_section,
    randomised_section,
    strata_section,
)
from .method_tables import method_table
from .records import StoredCase
from .summary import Summary

__all__ = ["assemble", "overlay_stem"]

TABLES = (
    Link(path="results.csv", text="every case, slice, method and preset"),
    Link(path="summary.csv", text="aggregates with their intervals"),
    Link(path="curves.csv", text="aggregated curves"),
    Link(path="curves.parquet", text="the curves of every case"),
    Link(path="errors.csv", text="what failed"),
    Link(path="figures/", text="the drawings as SVG and PDF"),
    Link(path="run.json", text="versions, hashes, parameters, times"),
)


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
    units = [(case, index) for case in cases for index in slices_of(case)]
    methods = [facts.name for facts in run.methods]
    labels = {facts.name: facts.label for facts in run.methods}
    chosen = choose(units, methods, drawn, run.seed)
    sections = (
        presets_section(summary, cases, presets, methods, labels),
        mask_section(summary, methods, labels),
        faithfulness_section(summary, methods, labels),
        strata_section(summary, presets[0] if presets else "", methods, labels),
        agreement_section(out, summary, methods, labels),
        randomised_section(out, summary, cases, methods, labels),
    )
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
            method_table(
                out,
                summary,
                preset,
                methods,
                labels,
                localization=len(presets) == 1,
            )
            for preset in presets
        ),
        sections=tuple(section for section in sections if section is not None),
        classification=_classification(units, run.model.classes),
        cases=tuple(
            case_block(
                unit,
                why,
                methods,
                labels,
                overlays=overlays,
                whole=volume_sentences(unit[0], presets[0]),
            )
            for unit, why in chosen
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
        limits=tuple(run_limits(summary, run, cases)),
        links=tuple(links),
    )


def _classification(
    units: Sequence[Unit], classes: Sequence[str]
) -> Classification | None:
    pairs = [
        (str(rows[0].label), rows[0].predicted_class)
        for unit in units
        if (rows := rows_of(unit))[0].label is not None
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
