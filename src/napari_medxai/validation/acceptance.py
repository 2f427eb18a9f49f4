"""A finished run held against an acceptance protocol."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_medxai.errors import UsageError

from .finished import FinishedRun, Quantity
from .protocol import BOUNDS, RUN_BOUNDS, SELECT, Bound, Protocol, Requirement, as_text
from .tables import AGAIN

__all__ = ["Verdict", "judge"]

EVERY = "all"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One bound and whether the run meets it.

    Attributes
    ----------
    requirement : str
        What is asked of, in words.
    quantity : str
        What of it is bounded.
    sign : str
        ``>=``, ``<=`` or ``=``.
    bound, value : float or str or None
        `value` is None where the run does not have it; then it is not met.
    met : bool
    remark : str
        Why there is no value, or what it was counted over.
    """

    requirement: str
    quantity: str
    sign: str
    bound: float | str
    value: float | str | None
    met: bool
    remark: str = ""


def judge(run: FinishedRun, protocol: Protocol) -> tuple[Verdict, ...]:
    """Hold a run against a protocol.

    Parameters
    ----------
    run : FinishedRun
    protocol : Protocol

    Returns
    -------
    tuple of Verdict
        One for each bound, in the protocol's order. What the run does not have is
        not met.

    Raises
    ------
    UsageError
        If a number in ``summary.csv`` is none, or the file is missing though the
        protocol asks for it.
    """
    if protocol.requirements and run.summary is None:
        raise UsageError(
            f"'{run.folder}' has no summary.csv, which the protocol asks for; {AGAIN}"
        )
    return (
        *_of_run(run, protocol),
        *(v for one in protocol.requirements for v in _of_line(run, one)),
    )


def _of_run(run: FinishedRun, protocol: Protocol) -> Iterator[Verdict]:
    for key, limit in protocol.run.items():
        value, remark = _run_value(run, key)
        yield _verdict("run", RUN_BOUNDS[key], limit, value, remark)
    if protocol.model_sha256:
        found = _field(run.facts, "model.sha256")
        yield _equal("model.sha256", protocol.model_sha256, found)
    for name, wanted in protocol.equals.items():
        yield _equal(name, wanted, _field(run.facts, name))


def _run_value(run: FinishedRun, key: str) -> tuple[float, str]:
    right = run.values.get(Quantity("correct", "", ""), {})
    if key == "max_failed_cases":
        said = run.facts.get("n_failed")
        counts = [len(run.errors)] if "errors.csv" in run.hashes else []
        if isinstance(said, int):
            counts.append(said)
        if not counts:
            return math.nan, "neither run.json nor errors.csv says so"
        return float(max(counts)), ""
    if key == "min_cases":
        return float(len(run.cases)), ""
    if key == "min_patients":
        known_of = [c for c in run.cases if c in run.patients]
        without = len(run.cases) - len(known_of)
        return (
            float(len({run.patients[case] for case in known_of})),
            f"{without} cases without a patient do not count" if without else "",
        )
    if key == "min_labelled_images":
        return float(len(right)), f"of {len(run.images)}"
    if not right:
        return math.nan, "no image has a label"
    if key == "min_accuracy":
        return (
            sum(right.values()) / len(right),
            f"{sum(map(int, right.values()))} of {len(right)} labelled images",
        )
    by_class: dict[str, list[float]] = defaultdict(list)
    for image, value in right.items():
        by_class[run.images[image].label].append(value)
    shares = {name: sum(v) / len(v) for name, v in sorted(by_class.items())}
    worst = min(shares, key=lambda name: shares[name])
    return shares[worst], f"{worst}, {len(by_class[worst])} images"


def _field(facts: Mapping[str, Any], name: str) -> str | None:
    """Value below a path of keys; keys may hold dots themselves."""
    if name in facts:
        value = facts[name]
        return None if isinstance(value, Mapping | list) else as_text(value)
    for key, value in facts.items():
        if name.startswith(f"{key}.") and isinstance(value, Mapping):
            return _field(value, name[len(key) + 1 :])
    return None


def _equal(name: str, wanted: str, found: str | None) -> Verdict:
    return Verdict(
        requirement="run",
        quantity=name,
        sign="=",
        bound=wanted,
        value=found,
        met=found is not None and found == wanted,
        remark="" if found is not None else "run.json does not say",
    )


def _of_line(run: FinishedRun, asked: Requirement) -> Iterator[Verdict]:
    line, problem = _find(run, asked)
    for key, limit in asked.bounds.items():
        bound = BOUNDS[key]
        if key.startswith("every_"):
            value, remark = _extreme(run, asked, smallest=bound.sign == ">=")
        elif line is None:
            value, remark = math.nan, problem
        elif key == "max_excluded_share":
            value, remark = _left_out(run, asked, line)
        else:
            value, remark = _cell(run, line, bound.column), ""
            if math.isnan(value):
                remark = f"summary.csv has no {bound.column} in this line"
        yield _verdict(asked.title, bound, limit, value, remark)


def _find(run: FinishedRun, asked: Requirement) -> tuple[Mapping[str, str] | None, str]:
    """Return the one line that is asked for, or why there is none."""
    lines: Sequence[Mapping[str, str]] = run.summary or ()
    where = ""
    for key in SELECT:
        wanted = asked.select.get(key)
        if wanted is None:
            continue
        kept = [line for line in lines if line.get(key, "") == wanted]
        if not kept:
            there = dict.fromkeys(line.get(key, "") or "none" for line in lines)
            place = f"for{where}" if where else "in this run"
            return None, f"no {key} '{wanted}' {place}; there is {_some(list(there))}"
        lines = kept
        where += f" {wanted}" if wanted else ""
    if len(lines) == 1:
        return lines[0], ""
    open_ = [
        f"{key} ({_some(sorted(values))})"
        for key in SELECT
        if len(values := {line.get(key, "") or "none" for line in lines}) > 1
    ]
    return None, f"{len(lines)} lines fit; say which {' and '.join(open_)}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown}, ..." if len(names) > 8 else shown or "nothing"


def _left_out(
    run: FinishedRun, asked: Requirement, line: Mapping[str, str]
) -> tuple[float, str]:
    """Share of the images that are not behind a value: excluded, or method failed."""
    n, excluded = (_cell(run, line, name) for name in ("n", "n_excluded"))
    method, class_ = asked.select["method"], asked.select["class"]
    preset = line.get("preset", "")
    strata = {facts.stratum for facts in run.images.values()}
    failed = len(
        {
            image
            for image, name, of in run.failures
            if name == method
            and preset in ("", of)
            # which images belong to another kind of stratum is not known: all count
            and (class_ not in strata or class_ == run.images[image].stratum)
        }
    )
    total = n + excluded + failed
    if math.isnan(total):
        return math.nan, "summary.csv does not count the images of this line"
    if total == 0:
        return math.nan, "the line has no images"
    parts = f"{excluded:.0f} excluded"
    parts += f" and {failed} failed" if failed else ""
    return (excluded + failed) / total, f"{parts} of {total:.0f}"


def _extreme(
    run: FinishedRun, asked: Requirement, *, smallest: bool
) -> tuple[float, str]:
    """Smallest or largest value of a single image."""
    metric, method = asked.select["metric"], asked.select["method"]
    presets = {q.preset for q in run.values if (q.metric, q.method) == (metric, method)}
    wanted = asked.select.get("preset")
    chosen = presets if wanted is None else presets & {wanted}
    if not chosen:
        return math.nan, "no image of this run has such a value"
    if len(chosen) > 1:
        return math.nan, f"say which preset ({', '.join(sorted(chosen))})"
    class_ = asked.select["class"]
    found = {
        image: value
        for image, value in run.values[Quantity(metric, chosen.pop(), method)].items()
        if class_ == EVERY
        or (image in run.images and run.images[image].stratum == class_)
    }
    values = {image: v for image, v in found.items() if not math.isnan(v)}
    if not values:
        return math.nan, f"no image of class '{class_}' has a value"
    worst = (min if smallest else max)(values, key=lambda image: values[image])
    name = " slice ".join(part for part in worst if part)
    remark = f"{name}; {len(values)} images"
    if len(found) > len(values):
        remark += f", {len(found) - len(values)} without a value do not count"
    return values[worst], remark


def _cell(run: FinishedRun, line: Mapping[str, str], column: str) -> float:
    text = line.get(column, "")
    try:
        value = float(text) if text else math.nan
    except ValueError:
        raise UsageError(
            f"{run.folder / 'summary.csv'}: '{text[:40]}' under {column} is no "
            f"number; {AGAIN}"
        ) from None
    return value if math.isfinite(value) else math.nan


def _verdict(
    requirement: str, bound: Bound, limit: float, value: float, remark: str
) -> Verdict:
    missing = math.isnan(value)
    met = not missing and (value >= limit if bound.sign == ">=" else value <= limit)
    return Verdict(
        requirement=requirement,
        quantity=bound.of,
        sign=bound.sign,
        bound=limit,
        value=None if missing else value,
        met=met,
        remark=remark,
    )
