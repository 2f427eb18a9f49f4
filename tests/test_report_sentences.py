"""The words follow from the numbers, in every situation, and claim no more."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import pytest

from napari_medxai.metrics.comparison import Comparison, Pair
from napari_medxai.report.aggregates import MIN_UNITS, SummaryLine
from napari_medxai.report.sentences import (
    NULLS,
    case_sentence,
    chance_sentence,
    exclusion_sentence,
    method_sentence,
    null_words,
    p_text,
    procedure_sentence,
)
from napari_medxai.report.standings import Standing, standing, standings
from napari_medxai.report.summary import Summary

NAN = float("nan")
LABELS = {
    "gradcam": "Grad-CAM",
    "scorecam": "Score-CAM",
    "edge": "Edges",
    "center": "Centre",
    "random": "Random",
}


def line(method, metric, *, how="median_curve", n=40, excluded=8, **changes):
    values = {
        "method": method,
        "metric": metric,
        "preset": "pair",
        "aggregation": how,
        "class_": "all",
        "n": n,
        "n_excluded": excluded,
        "value": 0.6,
        "ci_low": 0.5,
        "ci_high": 0.7,
        "null": "surrogate",
    }
    return SummaryLine(**(values | changes))


def summary(found, *, pairs=(), null="surrogate", unit="patients") -> Summary:
    """`found`: (share, corrected p, units) by (method, metric)."""
    lines = []
    for (method, metric), (share, p, units) in found.items():
        lines.append(line(method, metric, p_adjusted=p, effect_size=share))
        if not math.isnan(share):
            known = units >= MIN_UNITS
            lines.append(
                line(
                    method,
                    f"{metric}_chance_rank",
                    how="mean",
                    n=units,
                    excluded=0,
                    value=share,
                    ci_low=share - 0.05 if known else NAN,
                    ci_high=share + 0.05 if known else NAN,
                    p_adjusted=p,
                )
            )
    metrics = {metric for _, metric in found}
    comparison = Comparison(
        methods=(),
        mean_ranks=(),
        n_units=24,
        statistic=9.0,
        p_value=0.01,
        critical_difference=1.0,
        pairs=tuple(pairs),
    )
    return Summary(
        lines=tuple(lines),
        unit=unit,
        units=24,
        without_patient=0,
        failures={},
        exclusions=(),
        null=null,
        chance_asked=20,
        comparisons={(m, "pair"): comparison for m in metrics} if pairs else {},
    )


def said(of: Summary, method: str = "gradcam"):
    found = standings(of, "pair", list(LABELS), LABELS)[method]
    return method_sentence(found, null=of.null, unit=of.unit)


def pair(first, second, difference, p) -> Pair:
    return Pair(
        first=first,
        second=second,
        difference=difference,
        ci_low=difference - 0.01,
        ci_high=difference + 0.01,
        p_value=p / 2,
        p_adjusted=p,
    )


@pytest.mark.parametrize("null", [*NULLS, "something_new"])
@pytest.mark.parametrize("units", [1, MIN_UNITS - 1, MIN_UNITS, 24])
def test_better_is_said_only_after_correction(null, units) -> None:
    """All combinations of what both curves can say, against a plain rule."""
    p_values = (1e-12, 0.0499, 0.05, 0.0501, 0.4, 1.0, NAN)
    shares = (0.2, 0.5, 0.75, 1.0, NAN)
    one = list(itertools.product(shares, p_values))
    seen = set()
    for i, sic in enumerate(one):
        aic = one[(7 * i + 3) % len(one)]
        of = summary(
            {("gradcam", "sic"): (*sic, units), ("gradcam", "aic"): (*aic, units)},
            null=null,
        )
        sentence = said(of)
        text = sentence.text
        allowed = [
            metric
            for metric, (share, p) in (("SIC", sic), ("AIC", aic))
            if units >= MIN_UNITS and p <= 0.05 and share > 0.5
        ]
        assert sentence.better == bool(allowed)
        assert text.startswith("is better than") == bool(allowed)
        head = text.split(". ")[0]
        if allowed:
            assert {m for m in ("SIC", "AIC") if f"({m}" in head} == set(allowed)
            assert null_words(null).maps in head
        for claim in ("no better", "significant", "prove", "as good as", "None", "nan"):
            assert claim not in text
        seen.add(re.sub(r"[\d.]+", "#", head)[:30])
    assert len(seen) >= 2


@pytest.mark.parametrize("null", NULLS)
def test_a_whole_sentence_names_null_numbers_and_units(null) -> None:
    of = summary(
        {
            ("gradcam", "sic"): (0.934, 0.0032, 24),
            ("gradcam", "aic"): (0.8, 0.02, 24),
        },
        null=null,
    )
    text = said(of).text.replace("\N{NO-BREAK SPACE}", " ")
    assert text == (
        f"is better than {NULLS[null].maps}: its map stands on average above 93 % "
        "[88, 98] of them (SIC, p = 0.003) and above 80 % [75, 85] of them "
        "(AIC, p = 0.020), over 24 patients."
    )


def test_what_one_curve_shows_is_not_said_of_the_other() -> None:
    of = summary(
        {("gradcam", "sic"): (0.93, 0.003, 24), ("gradcam", "aic"): (0.55, 0.4, 18)}
    )
    text = said(of).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "in keeping the probability of the class: its map stands" in text
    assert text.endswith(
        "In keeping the answer right this is not shown: its map stands on average "
        "above 55 % [50, 60] of them (AIC, p = 0.40), over 18 patients."
    )


def test_not_shown_is_not_equal() -> None:
    of = summary({("gradcam", "sic"): (0.56, 0.21, 24)}, unit="cases")
    text = said(of).text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("is not shown better than maps of its own shape")
    assert "above 56 % [51, 61] of them (SIC, p = 0.21), over 24 cases" in text


def test_few_units_claim_nothing_whatever_the_p() -> None:
    text = said(summary({("gradcam", "sic"): (1.0, 0.001, 3)})).text
    assert text.startswith("was measured on 3 patients, too few to say whether")
    assert "5 are the least" in text
    assert "p" + "\N{NO-BREAK SPACE}" not in text
    one = said(summary({("gradcam", "sic"): (1.0, 0.5, 1)}, unit="cases")).text
    assert "measured on 1 case, " in one


def test_not_tested_and_no_curve_are_told_apart() -> None:
    assert said(summary({("gradcam", "sic"): (NAN, NAN, 0)})).text == (
        "was not tested against chance."
    )
    of = summary(
        {("gradcam", "sic"): (0.9, 0.01, 9), ("gradcam", "aic"): (NAN, NAN, 0)}
    )
    assert said(of).text.endswith("By AIC it was not tested.")
    gone = [
        replace(v, n=0, n_excluded=48, value=NAN) if v.metric == "aic" else v
        for v in of.lines
    ]
    text = said(replace(of, lines=tuple(gone))).text
    assert text.endswith("AIC has no curve: every image was excluded.")
    assert said(replace(of, lines=())) is None


CONTROL_CASES = {
    # control's corrected p, difference method - control, its p: what is said
    "as well": (0.001, 0.01, 0.8, "as far as this run can tell, {c} does as well"),
    "as well, no chance": (0.6, 0.03, 0.06, "as far as this run can tell, {c} does as"),
    "better": (0.001, -0.1, 0.01, "{c} does better still"),
    "less": (0.6, 0.1, 0.01, "{c} does less well."),
    "less, beats": (0.01, 0.1, 0.01, "{c} does less well, yet better than its own"),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("case", CONTROL_CASES)
def test_controls_are_named_as_the_paired_test_says(case, turned) -> None:
    own, difference, p, words = CONTROL_CASES[case]
    both = ("gradcam", "edge")
    one = pair(*both, difference, p)
    if turned:
        one = pair(*both[::-1], -difference, p)
    of = summary(
        {("gradcam", "sic"): (0.9, 0.01, 24), ("edge", "sic"): (0.7, own, 24)},
        pairs=[one, pair("gradcam", "scorecam", 0.5, 0.001)],
    )
    text = said(of).text
    assert words.format(c="the control Edges").lower() in text.lower()
    assert "Centre" not in text
    # a method that is not shown better needs no comparison
    poor = summary(
        {("gradcam", "sic"): (0.6, 0.3, 24), ("edge", "sic"): (0.7, own, 24)},
        pairs=[one],
    )
    assert "Edges" not in said(poor).text


def test_controls_without_a_paired_test() -> None:
    found = {("gradcam", "sic"): (0.9, 0.01, 24), ("edge", "sic"): (0.7, 0.01, 24)}
    text = said(summary(found)).text
    assert "The control Edges does better than its own chance maps too" in text
    assert "not compared" in text
    found["edge", "sic"] = (0.5, 0.5, 24)
    assert "Edges" not in said(summary(found)).text


def test_controls_that_do_alike_are_named_together() -> None:
    of = summary(
        {("gradcam", m): (0.9, 0.01, 24) for m in ("sic", "aic")}
        | {(c, m): (0.9, 0.01, 24) for c in ("edge", "center") for m in ("sic", "aic")},
        pairs=[pair("gradcam", c, 0.01, 0.9) for c in ("edge", "center")],
    )
    assert said(of).text.endswith(
        "As far as this run can tell, the controls Edges and Centre do as well "
        "(SIC and AIC)."
    )
    own = said(of, "edge")
    assert own.text.startswith("(control) is better than")
    assert "Centre" not in own.text


def test_what_was_tested_and_left_out() -> None:
    text = chance_sentence(
        null="other_case", asked=199, members=20, unit="cases", controls=["Edges"]
    )
    assert "its own maps of other patients (null “other_case”)" in text
    assert "up to 199 chance maps (the first 20 of them in this test)" in text
    assert "The control Edges never looks at the classifier" in text
    plain = chance_sentence(null="surrogate", asked=20, members=20, unit="patients")
    assert "against 20 chance maps" in plain
    assert "control" not in plain
    assert "over the 8 methods that look" in procedure_sentence(
        n_methods=8, unit="cases"
    )
    reasons = [("too unsure", 12), ("no smaller", 2)]
    assert exclusion_sentence("sic", reasons, 60) == (
        "SIC leaves out 14 of 60 images: 12 because too unsure; 2 because no smaller."
    )
    assert exclusion_sentence("sic", [], 60) == ""


def test_cases_in_words() -> None:
    plain = case_sentence("sic", rank=20, drawn=20, null="surrogate")
    assert plain == "SIC above 20 of 20 chance maps (surrogate)"
    tied = case_sentence("aic", rank=18.5, drawn=20, null="random_pixels")
    assert tied == "AIC above 18.5 of 20 chance maps (random_pixels)"
    tested = case_sentence(
        "sic", rank=199, drawn=199, null="surrogate", p_value=0.005
    ).replace("\N{NO-BREAK SPACE}", " ")
    assert tested.endswith("(surrogate), p = 0.005 (this map alone)")
    whole = case_sentence("sic", rank=20, drawn=20, null="surrogate", whole=True)
    assert whole == "All slices: SIC above 20 of 20 chance maps (surrogate)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-12, "p < 0.001"),
        (0.001, "p = 0.001"),
        (0.0499, "p = 0.050"),
        (0.099, "p = 0.099"),
        (0.25, "p = 0.25"),
        (1.0, "p = 1.00"),
        (NAN, ""),
    ],
)
def test_p_values_in_words(value, text) -> None:
    assert p_text(value).replace("\N{NO-BREAK SPACE}", " ") == text


def test_almost_all_is_not_all() -> None:
    of = summary({("gradcam", "sic"): (0.997, 0.001, 24)})
    assert "99.7" in said(of).text
    assert standing(of, "pair", "sic", "xrai", ["xrai"], {"xrai": "X"}) is None
    found = standing(of, "pair", "sic", "gradcam", ["gradcam"], LABELS)
    assert isinstance(found, Standing)
    assert found.share.mark
