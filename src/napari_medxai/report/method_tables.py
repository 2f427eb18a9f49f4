"""The methods under one preset: table, sentences, pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from napari_medxai import saliency
from napari_medxai.metrics.comparison import Pair

from .aggregates import SummaryLine
from .content import (
    Cell,
    Estimate,
    Head,
    MethodRow,
    MethodTable,
    Said,
    Table,
)
from .method_figures import METRICS, method_figures
from .presets import preset_text
from .sentences import (
    chance_sentence,
    exclusion_sentence,
    method_sentence,
    p_text,
    procedure_sentence,
)
from .standings import ALPHA, CONTROLS, Standing, standings
from .summary import Summary
from .wording import number

__all__ = ["estimate", "method_rows", "method_table", "pair_tables", "reasons_of"]

LOCALIZATION = ("pointing_hit", "relevance_mass", "iou_mask_area")


def method_table(
    out: Path,
    summary: Summary,
    preset: str,
    methods: Sequence[str],
    labels: Mapping[str, str],
    *,
    localization: bool = True,
) -> MethodTable:
    """Put together what is said of all methods under one preset.

    Parameters
    ----------
    out : Path
        The output folder; drawings go to ``figures/``.
    summary : Summary
    preset : str
    methods : sequence of str
    labels : mapping of str to str
    localization : bool
        Whether the table also has the agreement with the mask.

    Returns
    -------
    MethodTable
    """
    found = standings(summary, preset, methods, labels) if summary.null else {}
    rows = []
    for name in methods:
        values: dict[str, Estimate] = {}
        for metric in METRICS:
            line = summary.find(name, metric, preset=preset)
            known = estimate(line)
            if line is not None and known is not None:
                values[metric] = _with_chance(known, line)
            standing = found.get(name, {}).get(metric)
            if standing is not None and standing.share.value is not None:
                values[f"{metric}_chance"] = _share(standing)
        if localization:
            values |= _means(summary, name, LOCALIZATION)
        rows.append(_row(name, labels, values))
    (chance, test), sentences = _verdicts(summary, preset, methods, labels, found)
    return MethodTable(
        preset=preset,
        text=preset_text(preset),
        rows=tuple(rows),
        figures=tuple(method_figures(out, summary, preset, methods, labels, found)),
        chance=chance,
        test=test,
        sentences=tuple(sentences),
        pairs=tuple(pair_tables(summary, preset, labels)),
    )


def method_rows(
    summary: Summary,
    methods: Sequence[str],
    labels: Mapping[str, str],
    metrics: Sequence[str],
) -> tuple[MethodRow, ...]:
    """Rows of measures that no preset changes; none where nothing was measured."""
    values = {name: _means(summary, name, metrics) for name in methods}
    return tuple(_row(name, labels, found) for name, found in values.items() if found)


def estimate(line: SummaryLine | None) -> Estimate | None:
    """Return a line's numbers; None where there is nothing behind it."""
    if line is None or line.n + line.n_excluded == 0:
        return None
    return Estimate(
        value=line.value,
        ci_low=line.ci_low,
        ci_high=line.ci_high,
        n=line.n,
        n_excluded=line.n_excluded,
    )


def reasons_of(summary: Summary, metric: str, preset: str) -> list[tuple[str, int]]:
    """Why images have no curve, and how many, over all classes."""
    counts: Counter[str] = Counter()
    for one, of, found in summary.exclusions:
        if (one, of) == (metric, preset):
            counts[found.reason] += found.n
    return counts.most_common()


def _members(summary: Summary, preset: str) -> int:
    """Chance maps of each image that the test uses."""
    found = [b.members for key, b in summary.bands.items() if key[2] == preset]
    return min(found, default=summary.chance_asked)


def _row(
    name: str, labels: Mapping[str, str], values: Mapping[str, Estimate]
) -> MethodRow:
    return MethodRow(
        label=labels[name],
        baseline=saliency.get(name).family == "baseline",
        values=values,
    )


def _means(summary: Summary, name: str, metrics: Sequence[str]) -> dict[str, Estimate]:
    found = {m: estimate(summary.find(name, m, aggregation="mean")) for m in metrics}
    return {m: value for m, value in found.items() if value is not None}


def _with_chance(known: Estimate, line: SummaryLine) -> Estimate:
    if not isfinite(line.chance_value):
        return known
    return Estimate(
        value=known.value,
        ci_low=known.ci_low,
        ci_high=known.ci_high,
        n=known.n,
        n_excluded=known.n_excluded,
        note=f"chance {number(line.chance_value)}",
    )


def _share(standing: Standing) -> Estimate:
    share = standing.share
    return Estimate(
        value=share.value,
        ci_low=share.ci_low,
        ci_high=share.ci_high,
        mark=share.mark,
        note=p_text(standing.p_adjusted) if standing.tested else "not tested",
    )


def _verdicts(
    summary: Summary,
    preset: str,
    methods: Sequence[str],
    labels: Mapping[str, str],
    found: Mapping[str, Mapping[str, Standing]],
) -> tuple[tuple[str, str], list[Said]]:
    """Return what was tested and how, and a sentence for each method, best first."""
    if not found:
        return ("", ""), []
    small = []
    if any(s.tested for of in found.values() for s in of.values()):
        looking = sum(saliency.get(m).needs_network for m in methods)
        small.append(procedure_sentence(n_methods=looking, unit=summary.unit))
    for metric in ("sic", "aic"):
        line = summary.find(methods[0], metric, preset=preset)
        if line is not None:
            reasons = reasons_of(summary, metric, preset)
            total = line.n + line.n_excluded
            small.append(exclusion_sentence(metric, reasons, total))
    chance = chance_sentence(
        null=summary.null,
        asked=summary.chance_asked,
        members=_members(summary, preset),
        unit=summary.unit,
        controls=[labels[c] for c in CONTROLS if c in methods],
    )
    ordered = sorted(found, key=lambda name: _place(name, found[name]))
    said = [
        method_sentence(found[name], null=summary.null, unit=summary.unit)
        for name in ordered
    ]
    return (chance, " ".join(filter(None, small))), [s for s in said if s is not None]


def _place(name: str, found: Mapping[str, Standing]) -> tuple[bool, float]:
    """Sort by this: methods before baselines, then by the first share there is."""
    shares = [s.share.value for s in found.values() if s.share.value is not None]
    baseline = saliency.get(name).family == "baseline"
    return baseline, -(shares[0] if shares else -1.0)


def pair_tables(
    summary: Summary, preset: str, labels: Mapping[str, str]
) -> list[Table]:
    """Show which pairs of methods differ after correction, a table for each metric."""
    tables = []
    for metric in METRICS[::-1]:
        comparison = summary.comparisons.get((metric, preset))
        if comparison is None:
            continue
        differing = {
            (pair.first, pair.second): pair
            for pair in comparison.pairs
            if pair.p_adjusted <= ALPHA
        }
        ranks = dict(zip(comparison.methods, comparison.mean_ranks, strict=True))
        ordered = sorted(ranks, key=lambda m: ranks[m])
        tables.append(
            Table(
                caption=f"{metric.upper()}: {len(differing)} of "
                f"{len(comparison.pairs)} pairs differ over {comparison.n_units} "
                f"{summary.unit} (paired permutation of areas, Holm over all pairs, "
                f"corrected p at most {ALPHA:g}; Friedman "
                f"{p_text(comparison.p_value) or 'not tested'}). Area of the row's "
                "method minus the column's [95 % interval], best mean rank first; "
                "what is empty was not shown to differ.",
                heads=(
                    Head(title="Method", number=False),
                    *(Head(title=labels.get(m, m)) for m in ordered[1:]),
                ),
                rows=tuple(
                    (
                        Cell(text=labels.get(row, row)),
                        *(
                            _gap(differing, row, column) if j >= i else Cell(text="")
                            for j, column in enumerate(ordered[1:])
                        ),
                    )
                    for i, row in enumerate(ordered[:-1])
                )
                if differing
                else (),
            )
        )
    return tables


def _gap(differing: Mapping[tuple[str, str], Pair], row: str, column: str) -> Cell:
    """Difference of two methods that differ; empty where they were not shown to."""
    pair, sign = differing.get((row, column)), 1
    if pair is None:
        pair, sign = differing.get((column, row)), -1
    if pair is None:
        return Cell(text="")
    ends = sorted((sign * pair.ci_low, sign * pair.ci_high))
    note = f"[{number(ends[0], 2)}, {number(ends[1], 2)}]"
    return Cell(
        text=number(sign * pair.difference),
        value=sign * pair.difference,
        note=note if all(map(isfinite, ends)) else "",
        strong=True,
    )
