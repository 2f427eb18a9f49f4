"""What the tests against chance say, in words for people who treat patients.

Every sentence follows from the numbers of a :class:`.standings.Standing`: "better" is
said only after Holm's correction, and what was not shown is never called equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from .aggregates import MIN_UNITS
from .content import Said
from .standings import ALPHA, Control, Standing
from .wording import count_text, listed, number

__all__ = [
    "NULLS",
    "case_sentence",
    "chance_sentence",
    "exclusion_sentence",
    "method_sentence",
    "null_words",
    "p_text",
    "procedure_sentence",
    "share_text",
]


@dataclass(frozen=True)
class NullWords:
    """A null in plain words.

    Attributes
    ----------
    maps : str
        What the chance maps are, in the plural.
    beating : str
        What it says to beat them: goes on after "beating them says".
    """

    maps: str
    beating: str


NULLS: Mapping[str, NullWords] = {
    "surrogate": NullWords(
        "maps of its own shape placed by chance within the body",
        "that the map lies better than a map of its shape would by chance",
    ),
    "random_pixels": NullWords(
        "scattered pixels",
        "that the map is better than pixels taken at random",
    ),
    "other_case": NullWords(
        "its own maps of other patients",
        "that the map depends on this image",
    ),
    "random_network": NullWords(
        "the same method on a network that has learned nothing",
        "that the map depends on what the network learned",
    ),
}
KEPT = {
    "SIC": "keeping the probability of the class",
    "AIC": "keeping the answer right",
}
SPACE = "\N{NO-BREAK SPACE}"


def null_words(null: str) -> NullWords:
    """Return a null in words; of one that is not known, its name."""
    return NULLS.get(
        null,
        NullWords(f"chance maps of the kind “{null}”", "that the map is better"),
    )


def p_text(p_value: float) -> str:
    """Write a p-value as in ``p = 0.013`` or ``p < 0.001``; "" where there is none."""
    if not isfinite(p_value):
        return ""
    if p_value < 0.001:
        return f"p{SPACE}<{SPACE}0.001"
    return f"p{SPACE}={SPACE}{number(p_value, 2 if p_value >= 0.0995 else 3)}"


def share_text(standing: Standing) -> str:
    """Write a share with its interval as in ``93 % [88, 97]``."""
    share = standing.share
    assert share.value is not None
    text = f"{_percent(share.value)}{SPACE}%"
    if share.ci_low is None or share.ci_high is None:
        return text
    if not (isfinite(share.ci_low) and isfinite(share.ci_high)):
        return text
    return f"{text}{SPACE}[{_percent(share.ci_low)},{SPACE}{_percent(share.ci_high)}]"


def chance_sentence(
    *, null: str, asked: int, members: int, unit: str, controls: Sequence[str] = ()
) -> str:
    """Say what the chance maps are and what beating them says.

    Parameters
    ----------
    null : str
    asked : int
        Chance maps of each map.
    members : int
        Of these the first, which the test over the data set uses.
    unit : str
        ``patients`` or ``cases``.
    controls : sequence of str
        Labels of the controls in the run.
    """
    words = null_words(null)
    many = f"{asked} chance maps"
    if members < asked:
        many = f"up to {many} (the first {members} of them in this test)"
    text = (
        f"Each map was set against {many} that hold its own values in another order: "
        f"{words.maps} (null “{null}”). Beating them says {words.beating}, and nothing "
        "more. A percentage is the share of its chance maps that a map stands above, "
        f"on average over {unit} [95 % interval]; half is chance."
    )
    if controls:
        many_ = len(controls) > 1
        text += (
            f" The control{'s' if many_ else ''} {listed(controls)} never "
            f"look{'' if many_ else 's'} at the classifier: a method that does no "
            f"better than {'they do' if many_ else 'it does'} has shown nothing about "
            "the classifier."
        )
    return text


def procedure_sentence(*, n_methods: int, unit: str) -> str:
    """Say how the test was made and when something is called better.

    Parameters
    ----------
    n_methods : int
        Methods that look at the classifier: corrected for so many.
    unit : str
        ``patients`` or ``cases``.
    """
    return (
        f"The test permutes whole {unit} and is corrected after Holm over the "
        f"{count_text(n_methods, 'method')} that look at the classifier, and apart "
        "from them over the baselines; “better” is said, and a mark filled, only "
        f"where the corrected p is at most {ALPHA:g}."
    )


def exclusion_sentence(
    metric: str, counts: Sequence[tuple[str, int]], total: int
) -> str:
    """Say how many images have no curve and why; "" where all have one.

    Parameters
    ----------
    metric : str
    counts : sequence of (str, int)
        Reason and number of images.
    total : int
        Images, left out or not.
    """
    left = sum(n for _, n in counts)
    if not left:
        return ""
    reasons = "; ".join(f"{n} because {reason}" for reason, n in counts)
    of = count_text(total, "image")
    return f"{metric.upper()} leaves out {left} of {of}: {reasons}."


def method_sentence(
    found: Mapping[str, Standing], *, null: str, unit: str
) -> Said | None:
    """Say how one method stands to chance.

    Parameters
    ----------
    found : mapping of str to Standing
        By metric, the one to be named first first.
    null : str
    unit : str
        ``patients`` or ``cases``.

    Returns
    -------
    Said or None
        None where nothing is known of the method.
    """
    parts = list(found.values())
    if not parts:
        return None
    maps = null_words(null).maps
    better = [s for s in parts if s.state == "better"]
    unshown = [s for s in parts if s.state == "not shown"]
    few = [s for s in parts if s.state == "few units"]
    sentences = []
    if better:
        where = f" in {KEPT[better[0].metric]}" if len(better) < len(parts) else ""
        sentences.append(f"is better than {maps}{where}: {_numbers(better, unit)}.")
        sentences += _controls(better)
        if unshown:
            sentences.append(
                f"In {KEPT[unshown[0].metric]} this is not shown: "
                f"{_numbers(unshown, unit)}."
            )
    elif unshown:
        sentences.append(f"is not shown better than {maps}: {_numbers(unshown, unit)}.")
    elif few:
        n = max(s.share.n for s in few)
        sentences.append(
            f"was measured on {count_text(n, unit[:-1])}, too few to say whether it is "
            f"better than {maps} ({MIN_UNITS} are the least): {_numbers(few, unit)}."
        )
    else:
        sentences.append("was not tested against chance.")
    if few and (better or unshown):
        sentences.append(f"{few[0].metric} has too few {unit} for a test.")
    sentences += [
        f"{s.metric} has no curve: every image was excluded."
        for s in parts
        if s.state == "no curve"
    ]
    if better or unshown or few:
        sentences += [
            f"By {s.metric} it was not tested."
            for s in parts
            if s.state == "not tested"
        ]
    kind = "(baseline) " if parts[0].baseline else ""
    if parts[0].control:
        kind = "(control) "
    text = kind + " ".join(sentences)
    return Said(label=parts[0].label, text=text, better=bool(better))


def case_sentence(
    metric: str,
    *,
    rank: float,
    drawn: int,
    null: str,
    p_value: float = float("nan"),
    whole: bool = False,
) -> str:
    """Say how one map stands, as in ``SIC above 20 of 20 chance maps (surrogate)``.

    Parameters
    ----------
    metric : str
    rank : float
        Chance maps below the map, ties half.
    drawn : int
    null : str
    p_value : float
        Of this map alone; NaN where there is none.
    whole : bool
        Whether it is the verdict of all slices of a volume together.
    """
    of = number(rank, 0 if float(rank).is_integer() else 1)
    text = f"{metric.upper()} above {of} of {drawn} chance maps ({null})"
    p = p_text(p_value)
    if p:
        text += f", {p} (this map alone)" if not whole else f", {p}"
    return f"All slices: {text}" if whole else text


def _numbers(parts: Sequence[Standing], unit: str) -> str:
    """Write shares with what stands behind them, the counts once where they agree."""
    counts = [count_text(s.share.n, unit[:-1]) for s in parts]
    same = len(set(counts)) == 1
    texts = []
    for one, count in zip(parts, counts, strict=True):
        p = p_text(one.p_adjusted) if one.state != "few units" else ""
        behind = ", ".join(filter(None, [one.metric, p, "" if same else count]))
        texts.append(f"above {share_text(one)} of them ({behind})")
    text = f"its map stands on average {listed(texts)}"
    return f"{text}, over {counts[0]}" if same else text


def _controls(better: Sequence[Standing]) -> list[str]:
    """Say how the controls do where a method is better than chance."""
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for one in better:
        said: dict[str, list[str]] = {}
        for control in one.controls:
            said.setdefault(_relation(control), []).append(control.label)
        for words, labels in said.items():
            grouped.setdefault((words, tuple(labels)), []).append(one.metric)
    parts = []
    for (words, names), metrics in grouped.items():
        many = len(names) > 1
        text = words.format(
            who=f"the control{'s' if many else ''} {listed(names)}",
            do="do" if many else "does",
            their="their" if many else "its",
        )
        by = "" if len(better) == 1 else f" ({' and '.join(metrics)})"
        parts.append(f"{text}{by}")
    if not parts:
        return []
    text = "; ".join(parts)
    return [f"{text[0].upper()}{text[1:]}."]


def _relation(control: Control) -> str:
    if control.relation == "better":
        return "{who} {do} better still"
    if control.relation == "as well":
        return "as far as this run can tell, {who} {do} as well"
    if control.relation == "less well":
        return "{who} {do} less well"
    if control.tested:
        return "{who} {do} less well, yet better than {their} own chance maps"
    return "{who} {do} better than {their} own chance maps too, not compared with it"


def _percent(share: float) -> str:
    percent = 100 * share
    # 99.7 must not read as all of them, nor 0.3 as none
    edge = 0 < percent < 0.5 or 99.5 <= percent < 100
    return number(percent, 1 if edge else 0)
