"""Rows of ``measures.csv``: what ``results.csv`` has no column for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from napari_medxai.metrics.statistics import combined_p, volume_rank

from .lines import VERDICTS
from .records import Row, StoredCase
from .verdicts import METRICS, RANK, always_drawn

__all__ = ["measure_rows"]


def measure_rows(cases: Iterable[StoredCase]) -> Iterator[Mapping[str, Any]]:
    """List what was measured besides, in long form.

    Parameters
    ----------
    cases : iterable of StoredCase

    Yields
    ------
    mapping of str to object
        ``case, slice, method, preset, metric, value``. The preset is empty where the
        measure does not depend on it. Rows without a slice, of a case that has
        several, put these together: ``sic_chance_rank`` among ``sic_chance_n``
        chance maps, and ``sic_p_value`` where the slices have one; the same for
        ``aic``. The chance maps are the first ones, which every slice has: how many
        more were drawn depends on the answer.
    """
    for case in cases:
        seen: set[tuple[int | None, str]] = set()
        for row in case.rows:
            if (row.slice, row.method) not in seen:
                seen.add((row.slice, row.method))
                for name, value in row.measures.items():
                    if name not in VERDICTS:
                        yield _line(row, name, value)
            yield from _p_values(row)
        yield from _volume(case)


def _p_values(row: Row) -> Iterator[Mapping[str, Any]]:
    """P-values of one image, where enough chance maps were asked for."""
    for metric in METRICS:
        curves = row.chance and getattr(row.chance, metric)
        if curves and not math.isnan(curves.p_value):
            yield _line(row, f"{metric}_p_value", curves.p_value, preset=row.preset)


def _volume(case: StoredCase) -> Iterator[Mapping[str, Any]]:
    """Verdicts on a volume whose slices were measured one by one."""
    if len({row.slice for row in case.rows}) < 2:
        return
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in case.rows:
        groups.setdefault((row.method, row.preset), []).append(row)
    for (_, preset), rows in groups.items():
        for metric in METRICS:
            for name, value in _combined(rows, metric):
                yield _line(rows[0], name, value, preset=preset) | {"slice": None}


def _combined(rows: Sequence[Row], metric: str) -> Iterator[tuple[str, float]]:
    """Rank, number of chance maps and p-value of the slices together."""
    found = [
        (curve.auc, chance)
        for row in rows
        if (curve := getattr(row, metric)) is not None
        and row.chance is not None
        and (chance := getattr(row.chance, metric)) is not None
    ]
    if not found:
        return
    areas = [always_drawn(chance) for _, chance in found]
    n = min(len(one) for one in areas)
    table = [[own, *one[:n]] for (own, _), one in zip(found, areas, strict=True)]
    yield RANK.format(metric=metric), volume_rank(np.array(table))
    yield f"{metric}_chance_n", n
    p_value = combined_p([chance.p_value for _, chance in found])
    if not math.isnan(p_value):
        yield f"{metric}_p_value", p_value


def _line(row: Row, name: str, value: float, *, preset: str = "") -> dict[str, Any]:
    return {
        "case": row.case,
        "slice": row.slice,
        "method": row.method,
        "preset": preset,
        "metric": name,
        "value": value,
    }
