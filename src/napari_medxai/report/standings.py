"""How each method stands to chance, to the controls and to the others: the facts.

What :mod:`.sentences` puts into words, taken from a summary without a word of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeAlias

from napari_medxai import saliency

from .aggregates import MIN_UNITS
from .content import Estimate
from .summary import Summary

__all__ = ["ALPHA", "CONTROLS", "Control", "Standing", "standing", "standings"]

ALPHA = 0.05
CONTROLS = ("edge", "center")
State: TypeAlias = Literal["better", "not shown", "few units", "not tested", "no curve"]
Relation: TypeAlias = Literal["better", "as well", "beats chance", "less well"]


@dataclass(frozen=True, kw_only=True)
class Control:
    """A negative control beside a method that is better than chance.

    Attributes
    ----------
    label : str
    relation : str
        ``better``: its areas are larger, after correction. ``as well``: it is not
        shown to do less well. ``less well``: it is shown, and is not better than
        chance. ``beats chance``: it is better than chance, and how it compares with
        the method was not tested, or it does less well.
    tested : bool
        Whether both were compared.
    """

    label: str
    relation: Relation
    tested: bool


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One method and one metric against chance.

    Attributes
    ----------
    label : str
    metric : str
        ``AIC`` or ``SIC``.
    state : str
        ``better``: better than chance after Holm's correction. ``not shown``: tested,
        and it was not shown. ``few units``: too few units to say either.
        ``not tested``: no chance maps. ``no curve``: every image was excluded.
    share : Estimate
        Of the chance maps below the map; its `n` are units.
    p_adjusted : float
    n_images, n_excluded : int
        With a curve, and without.
    controls : tuple of Control
        Where the state is ``better``; not for the controls themselves.
    control, baseline : bool
        Whether the method is one itself.
    """

    label: str
    metric: str
    state: State
    share: Estimate
    p_adjusted: float
    n_images: int
    n_excluded: int
    controls: tuple[Control, ...] = ()
    control: bool = False
    baseline: bool = False

    @property
    def tested(self) -> bool:
        """Whether a test says anything."""
        return self.state in ("better", "not shown")


def standings(
    summary: Summary, preset: str, methods: Sequence[str], labels: Mapping[str, str]
) -> dict[str, dict[str, Standing]]:
    """Return the standings by method, then by metric (``sic`` first).

    Parameters
    ----------
    summary : Summary
    preset : str
    methods : sequence of str
    labels : mapping of str to str
    """
    return {
        method: {
            metric: found
            for metric in ("sic", "aic")
            if (found := standing(summary, preset, metric, method, methods, labels))
        }
        for method in methods
    }


def standing(
    summary: Summary,
    preset: str,
    metric: str,
    method: str,
    methods: Iterable[str],
    labels: Mapping[str, str],
) -> Standing | None:
    """Return how a method stands by one metric; None where there is no such line."""
    line = summary.find(method, metric, preset=preset)
    if line is None:
        return None
    ranks = summary.find(
        method, f"{metric}_chance_rank", preset=preset, aggregation="mean"
    )
    state = _state(summary, preset, metric, method)
    share = Estimate(value=None)
    if ranks is not None and isfinite(ranks.value):
        share = Estimate(
            value=ranks.value,
            ci_low=ranks.ci_low,
            ci_high=ranks.ci_high,
            n=ranks.n,
            n_excluded=ranks.n_excluded,
            mark=state == "better",
        )
    beside = [c for c in CONTROLS if c in methods and c != method]
    asked = state == "better" and method not in CONTROLS
    return Standing(
        label=labels[method],
        metric=metric.upper(),
        state=state,
        share=share,
        p_adjusted=line.p_adjusted,
        n_images=line.n,
        n_excluded=line.n_excluded,
        controls=tuple(
            found
            for c in (beside if asked else ())
            if (found := _control(summary, preset, metric, method, c, labels[c]))
        ),
        control=method in CONTROLS,
        baseline=saliency.get(method).family == "baseline",
    )


def _state(summary: Summary, preset: str, metric: str, method: str) -> State:
    line = summary.find(method, metric, preset=preset)
    if line is None or not summary.null:
        return "not tested"
    if line.n == 0:
        return "no curve"
    ranks = summary.find(
        method, f"{metric}_chance_rank", preset=preset, aggregation="mean"
    )
    if ranks is None or not isfinite(ranks.value):
        return "not tested"
    if ranks.n < MIN_UNITS:
        return "few units"
    if not isfinite(line.p_adjusted):
        return "not tested"
    better = line.p_adjusted <= ALPHA and ranks.value > 0.5
    return "better" if better else "not shown"


def _control(
    summary: Summary, preset: str, metric: str, method: str, control: str, label: str
) -> Control | None:
    """Compare a control with a method that is better than chance."""
    beats = _state(summary, preset, metric, control) == "better"
    comparison = summary.comparisons.get((metric, preset))
    for pair in comparison.pairs if comparison else ():
        if {pair.first, pair.second} != {method, control}:
            continue
        ahead = pair.difference if pair.first == control else -pair.difference
        relation: Relation
        if not pair.p_adjusted <= ALPHA:
            relation = "as well"
        elif ahead > 0:
            relation = "better"
        else:
            relation = "beats chance" if beats else "less well"
        return Control(label=label, relation=relation, tested=True)
    if beats:
        return Control(label=label, relation="beats chance", tested=False)
    return None
