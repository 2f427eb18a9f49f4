"""Presets side by side: where the order of the methods changes, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from .content import Cell, Head, Section, Table
from .method_tables import estimate, reasons_of
from .presets import ENTROPY, traits
from .records import Row, StoredCase
from .summary import Summary
from .wording import count_text, interval_text, listed, number

__all__ = ["presets_section", "ranks"]

METRICS = ("sic", "aic")
LARGEST_THRESHOLD = 0.75  # of all presets: what ties beyond 1 - this is met by one
MOST_MOVES = 5


def presets_section(
    summary: Summary,
    cases: Sequence[StoredCase],
    presets: Sequence[str],
    methods: Sequence[str],
    labels: Mapping[str, str],
) -> Section | None:
    """Put a run's presets side by side; None where there is only one.

    Parameters
    ----------
    summary : Summary
    cases : sequence of StoredCase
    presets : sequence of str
        The first is what the others are compared with.
    methods : sequence of str
    labels : mapping of str to str
    """
    if len(presets) < 2 or not methods:
        return None
    tables, points = [], []
    for metric in METRICS:
        places = {p: ranks(summary, metric, p, methods) for p in presets}
        if sum(bool(found) for found in places.values()) < 2:
            continue
        tables.append(_table(summary, metric, places, methods, labels))
        first = presets[0]
        points += [
            _moves(metric, first, other, places[first], places[other], labels)
            for other in presets[1:]
            if places[first] and places[other]
        ]
    if not tables:
        return None
    for other in presets[1:]:
        points += _reasons(summary, cases, presets[0], other, methods, labels)
    return Section(
        key="presets",
        name="Presets",
        title="The presets side by side",
        paragraphs=(
            "The same maps, judged by different definitions of the curve. Places are "
            "those of the areas; two areas whose intervals overlap can change places "
            "by chance alone.",
        ),
        points=tuple(points),
        tables=tuple(tables),
    )


def ranks(
    summary: Summary, metric: str, preset: str, methods: Sequence[str]
) -> dict[str, int]:
    """Places of the methods by area, 1 the largest; equal areas share one."""
    lines = {m: summary.find(m, metric, preset=preset) for m in methods}
    areas = {m: v.value for m, v in lines.items() if v and isfinite(v.value)}
    return {m: 1 + sum(a > area for a in areas.values()) for m, area in areas.items()}


def _table(
    summary: Summary,
    metric: str,
    places: Mapping[str, Mapping[str, int]],
    methods: Sequence[str],
    labels: Mapping[str, str],
) -> Table:
    first = next(iter(places.values()))
    rows = []
    for method in methods:
        cells = [Cell(text=labels[method])]
        for preset, found in places.items():
            known = estimate(summary.find(method, metric, preset=preset))
            if known is None or method not in found:
                cells.append(Cell(text="–"))
                continue
            moved = method in first and found[method] != first[method]
            cells.append(
                Cell(
                    text=interval_text(known),
                    value=known.value,
                    note=f"place {found[method]}",
                    strong=moved,
                )
            )
        rows.append(tuple(cells))
    heads = [Head(title="Method", number=False)]
    for preset in places:
        line = summary.find(methods[0], metric, preset=preset)
        n = "" if line is None else f"n {line.n}, {line.n_excluded} excluded"
        heads.append(Head(title=preset, text=n))
    return Table(
        caption=f"{metric.upper()}: area under the median curve and place by preset; "
        "in bold where the place is not that of the first preset.",
        heads=tuple(heads),
        rows=tuple(rows),
    )


def _moves(
    metric: str,
    first: str,
    other: str,
    before: Mapping[str, int],
    after: Mapping[str, int],
    labels: Mapping[str, str],
) -> str:
    """Say which methods change places between two presets."""
    both = [m for m in before if m in after]
    moved = [m for m in both if before[m] != after[m]]
    start = f"{metric.upper()}, from “{first}” to “{other}”: "
    if not moved:
        return f"{start}all methods keep their places."
    moved.sort(key=lambda m: -abs(before[m] - after[m]))
    texts = [
        f"{labels[m]} {'rises' if after[m] < before[m] else 'falls'} from place "
        f"{before[m]} to {after[m]}"
        for m in moved[:MOST_MOVES]
    ]
    more = len(moved) - len(texts)
    if more:
        texts.append(f"{more} more by fewer places or as many")
    best = [[m for m in both if of[m] == 1] for of in (before, after)]
    still = "still " if best[0] == best[1] else "then "
    come = "come" if len(best[1]) > 1 else "comes"
    first_now = listed([labels[m] for m in best[1]])
    return f"{start}{listed(texts)}. {first_now} {still}{come} first."


def _reasons(
    summary: Summary,
    cases: Sequence[StoredCase],
    first: str,
    other: str,
    methods: Sequence[str],
    labels: Mapping[str, str],
) -> list[str]:
    """Say what differs between two presets, with this run's numbers."""
    one, two = traits(first), traits(other)
    between = f"Between “{first}” and “{other}”"
    points = []
    if one.entropy != two.entropy:
        text = (
            f"Information is measured by {ENTROPY.get(one.entropy, one.entropy)} "
            f"under “{first}”, by {ENTROPY.get(two.entropy, two.entropy)} under "
            f"“{other}”."
        )
        if one.base == two.base:
            text += " Nothing else differs, so that every change comes from this."
        points.append(text)
    if one.ties and two.ties and one.ties != two.ties:
        points += _ties(summary, first, other, between, methods, labels)
    if one.base != two.base:
        points += [
            text
            for metric in METRICS
            if (text := _gates(summary, cases, metric, first, other, methods[0]))
        ]
    return points


def _ties(
    summary: Summary,
    first: str,
    other: str,
    between: str,
    methods: Sequence[str],
    labels: Mapping[str, str],
) -> list[str]:
    lines = {m: summary.find(m, "tied_share", aggregation="mean") for m in methods}
    shares = {m: v.value for m, v in lines.items() if v and isfinite(v.value)}
    if not shares:
        return []
    together, stops = (
        (first, other) if traits(first).ties == "together" else (other, first)
    )
    limit = 1 - LARGEST_THRESHOLD
    tied = sorted((m for m in shares if shares[m] > limit), key=lambda m: -shares[m])
    if not tied:
        largest = max(shares, key=lambda m: shares[m])
        return [
            f"{between}, ties are treated differently, but matter little here: no "
            f"method's maps tie at their minimum over more than {_percent(limit)} of "
            f"the pixels on average (most: {labels[largest]}, "
            f"{_percent(shares[largest])})."
        ]
    named = listed([f"{labels[m]} ({_percent(shares[m])} of the pixels)" for m in tied])
    most = tied[0]
    return [
        f"{between}, ties are treated differently. On average the maps of {named} tie "
        f"at their minimum, where they rank nothing. “{together}” then shows the whole "
        "image at once as soon as the share to be revealed reaches the rest (for "
        f"{labels[most]} from about {_percent(1 - shares[most])} on); “{stops}” "
        "reveals no more than what is ranked."
    ]


def _gates(
    summary: Summary,
    cases: Sequence[StoredCase],
    metric: str,
    first: str,
    other: str,
    method: str,
) -> str:
    """Compare which images two presets keep, and which of them have a zero curve."""
    texts, counts = [], []
    for preset in (first, other):
        line = summary.find(method, metric, preset=preset)
        if line is None or line.n + line.n_excluded == 0:
            return ""
        total = line.n + line.n_excluded
        flat = sum(
            _is_zero(row, metric)
            for case in cases
            for row in case.rows
            if (row.method, row.preset) == (method, preset)
        )
        counts.append((line.n_excluded, flat))
        text = (
            f"“{preset}” leaves out {line.n_excluded} of {count_text(total, 'image')}"
        )
        by_class = _by_class(summary, metric, preset)
        if by_class:
            text += f" ({by_class})"
        if flat:
            be = "has a curve that is" if flat == 1 else "have curves that are"
            text += f" and keeps {flat} that {be} zero throughout"
        texts.append(text)
    if counts[0] == counts[1]:
        return ""
    why = ""
    reasons = reasons_of(summary, metric, first if counts[0][0] else other)
    if reasons and counts[0][0] != counts[1][0]:
        why = f" The most frequent reason: {reasons[0][0]}."
    if any(flat for _, flat in counts):
        why += " Zero curves pull every method's area towards zero."
    start = f"{metric.upper()} does not rest on the same images"
    return f"{start}: {texts[0]}; {texts[1]}.{why}"


def _by_class(summary: Summary, metric: str, preset: str) -> str:
    counts: dict[str, list[int]] = {}
    for one, of, found in summary.exclusions:
        if (one, of) == (metric, preset):
            counts.setdefault(str(found.class_), [0, found.total])[0] += found.n
    return ", ".join(f"{name} {n} of {total}" for name, (n, total) in counts.items())


def _is_zero(row: Row, metric: str) -> bool:
    """Whether a curve is there and zero but for its end."""
    curve = row.aic if metric == "aic" else row.sic
    if curve is None or curve.excluded is not None:
        return False
    return not bool(np.any(curve.knots_y[curve.knots_x < 1] > 0))


def _percent(share: float) -> str:
    return f"{number(100 * share, 0)} %"
