"""Aggregates over cases, each with its bootstrap interval and exclusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from napari_medxai import metrics

from .aggregates import (
    EVERY,
    LOCALIZATION,
    MIN_UNITS,
    Agreement,
    Band,
    SummaryLine,
)
from .contrasts import agreement_of, comparisons_of
from .lines import curve_lines, localization_lines, measure_lines
from .records import Row, StoredCase
from .strata import Image, image_of, strata_of
from .verdicts import rank_line, verdicts, with_chance

if TYPE_CHECKING:
    from napari_medxai.metrics.comparison import Comparison

__all__ = [
    "EVERY",
    "LOCALIZATION",
    "MIN_UNITS",
    "Agreement",
    "Band",
    "Summary",
    "SummaryLine",
    "summarise",
]

Key = tuple[str, str, str, str, str]


@dataclass(frozen=True, eq=False)
class Summary:
    """All aggregates of a run.

    Attributes
    ----------
    lines : tuple of SummaryLine
        By method: curves by preset, class and stratum; ranks among chance maps;
        localisation; other measures.
    unit : str
        What was resampled: ``patients`` or ``cases``.
    units : int
        How many of them there are.
    without_patient : int
        Cases without a patient in a run that knows others: each counts as its own.
    failures : mapping of str to int
        Slices on which a method could not run, by method.
    exclusions : tuple of tuple
        (metric, preset, Exclusion): counted once a slice, over the first method, since
        exclusions do not depend on the map.
    null : str
        What the chance maps were; "" where none were asked for.
    chance_asked : int
        Chance maps asked for, for each case and method.
    bands : mapping of tuple of str to Band
        By (method, metric, preset): where the median curve of chance maps lies.
    comparisons : mapping of tuple of str to Comparison
        By (metric, preset): the methods against each other, all of the run, the
        controls and ``random`` among them. Missing where there are too few units.
    agreement : Agreement or None
        How alike the methods' maps are; None where that was not measured.
    """

    lines: tuple[SummaryLine, ...]
    unit: str
    units: int
    without_patient: int
    failures: Mapping[str, int]
    exclusions: tuple[tuple[str, str, metrics.Exclusion], ...]
    null: str = ""
    chance_asked: int = 0
    bands: Mapping[tuple[str, str, str], Band] = field(default_factory=dict)
    comparisons: Mapping[tuple[str, str], Comparison] = field(default_factory=dict)
    agreement: Agreement | None = None

    def find(
        self,
        method: str,
        metric: str,
        *,
        preset: str = "",
        aggregation: str = "median_curve",
        class_: str = EVERY,
    ) -> SummaryLine | None:
        """Return the line of a class or stratum, or None."""
        return self._by_key.get((method, metric, preset, aggregation, class_))

    @cached_property
    def _by_key(self) -> Mapping[Key, SummaryLine]:
        return {
            (v.method, v.metric, v.preset, v.aggregation, v.class_): v
            for v in self.lines
        }


def summarise(
    cases: Iterable[StoredCase],
    methods: Sequence[str],
    presets: Sequence[str],
    *,
    seed: int = 0,
) -> Summary:
    """Aggregate finished cases.

    Parameters
    ----------
    cases : iterable of StoredCase
    methods, presets : sequence of str
        In the order of the tables.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Summary
        The interval resamples patients, all their slices together; a case without a
        patient counts as its own. The order of `cases` does not matter.
    """
    every = _in_order(cases)
    rows = [row for row in every if row.status == "ok"]
    failures = Counter(
        row.method
        for row in every
        if row.status == "failed" and row.preset == presets[0]
    )
    alone = {row.case for row in rows if not row.patient}
    by_patient = any(row.patient for row in rows)
    classes = sorted({row.stratum for row in rows})
    strata = strata_of(rows)
    tested = [row.chance for row in rows if row.chance is not None]
    null = tested[0].null if tested else ""
    against = verdicts(rows, methods, presets, null, seed=seed)
    once: list[Row] = []
    lines: list[SummaryLine] = []
    for method in methods:
        own = [row for row in rows if row.method == method]
        for preset in presets:
            chosen = [row for row in own if row.preset == preset]
            for line in curve_lines(chosen, method, preset, classes, strata, seed):
                verdict = against.get((method, line.metric, preset))
                lines.append(with_chance(line, verdict))
            for metric in ("aic", "sic"):
                if verdict := against.get((method, metric, preset)):
                    lines.append(rank_line(method, metric, preset, verdict))
        first = [row for row in own if row.preset == presets[0]]
        lines += localization_lines(first, method, classes, strata, seed)
        lines += measure_lines(first, method, classes, strata, seed)
        once += first
    return Summary(
        lines=tuple(lines),
        unit="patients" if by_patient else "cases",
        units=len({row.unit for row in rows}),
        without_patient=len(alone) if by_patient else 0,
        failures=dict(failures),
        exclusions=tuple(_exclusions(rows, presets)),
        null=null,
        chance_asked=max((one.asked for one in tested), default=0),
        bands={key: verdict.band for key, verdict in against.items()},
        comparisons=comparisons_of(rows, methods, presets, seed=seed),
        agreement=agreement_of(once, methods),
    )


def _in_order(cases: Iterable[StoredCase]) -> list[Row]:
    """Sort the rows by case and slice: sums and resamples depend on the order."""
    rows = [row for case in cases for row in case.rows]
    return sorted(rows, key=lambda r: (r.case, -1 if r.slice is None else r.slice))


def _exclusions(
    rows: Sequence[Row], presets: Sequence[str]
) -> Iterator[tuple[str, str, metrics.Exclusion]]:
    for preset in presets:
        once: dict[Image, Row] = {}
        for row in rows:
            if row.preset == preset:
                once.setdefault(image_of(row), row)
        for metric in ("aic", "sic"):
            chosen = [r for r in once.values() if getattr(r, metric) is not None]
            for exclusion in metrics.exclusions(
                [getattr(r, metric) for r in chosen], [r.stratum for r in chosen]
            ):
                yield metric, preset, exclusion
