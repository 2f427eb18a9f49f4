"""The limits of a run's evidence, beyond those of every report."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from .aggregates import MIN_UNITS
from .content import RunFacts
from .records import StoredCase
from .summary import Summary

__all__ = ["run_limits", "tested"]


def run_limits(
    summary: Summary, run: RunFacts, cases: Sequence[StoredCase]
) -> list[str]:
    """Say what cannot be concluded from a run.

    Parameters
    ----------
    summary : Summary
    run : RunFacts
    cases : sequence of StoredCase
    """
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
    if run.n_slices and len(run.methods) > 1 and not tested(summary):
        limits.append(
            "Several methods were compared without a test against chance; that one "
            "has the largest area is no proof that it is the best."
        )
    return limits


def tested(summary: Summary) -> bool:
    """Whether any method has a verdict against chance."""
    return any(isfinite(line.p_adjusted) for line in summary.lines)
