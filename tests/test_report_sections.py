"""What the report shows besides: only what was measured, in words that follow it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_medxai.metrics import InformationCurve
from napari_medxai.metrics.comparison import Comparison, Pair
from napari_medxai.metrics.entropy import ENTROPIES
from napari_medxai.metrics.presets import GateInput, get_preset, preset_names
from napari_medxai.report import (
    MethodFacts,
    ModelFacts,
    RunFacts,
    assemble,
    render_report,
    summarise,
)
from napari_medxai.report.cases_drawn import case_block, volume_sentences
from napari_medxai.report.comparing import presets_section, ranks
from napari_medxai.report.limits import run_limits
from napari_medxai.report.measured import (
    agreement_section,
    faithfulness_section,
    mask_section,
    randomised_section,
    strata_section,
)
from napari_medxai.report.method_tables import method_table, pair_tables
from napari_medxai.report.presets import axis_text, preset_text, traits
from report_rows import case, chance, curve, row

LABELS = {"gradcam": "Grad-CAM", "random": "Random", "edge": "Edges"}
TWO = ("gradcam", "random")


def runs(levels, presets=("pair",), n=6, **changes):
    """Cases of two methods; `levels` by (method, preset)."""
    return [
        case(
            f"c{i}",
            *(
                row(
                    f"c{i}",
                    f"p{i}",
                    m,
                    0.2,
                    levels[m, p],
                    preset=p,
                    sic=curve("sic", levels[m, p], p),
                    aic=curve("aic", None, p),
                    **changes.get(m, {}),
                )
                for m in TWO
                for p in presets
            ),
        )
        for i in range(n)
    ]


def side_by_side(levels, presets, **changes):
    cases = runs(levels, presets, **changes)
    summary = summarise(cases, TWO, presets)
    return presets_section(summary, cases, presets, TWO, LABELS)


def levels(*presets, turned=()):
    high, low = 0.8, 0.4
    return {
        (m, p): high if (m == "gradcam") != (p in turned) else low
        for p in presets
        for m in TWO
    }


def test_one_preset_is_not_set_beside_itself() -> None:
    assert side_by_side(levels("pair"), ("pair",)) is None


def test_places_that_change_are_named_and_others_are_not() -> None:
    presets = ("pair", "brima2024", "corrected")
    found = side_by_side(levels(*presets, turned=("brima2024",)), presets)
    points = " ".join(found.points)
    assert (
        "SIC, from “pair” to “brima2024”: Grad-CAM falls from place 1 to 2 and "
        "Random rises from place 2 to 1. Random then comes first."
    ) in points
    assert "SIC, from “pair” to “corrected”: all methods keep their places." in points
    assert "AIC" not in points  # every image was excluded
    (table,) = found.tables
    grad = table.rows[0]
    assert [c.note for c in grad[1:]] == ["place 1", "place 2", "place 1"]
    assert [c.strong for c in grad[1:]] == [False, True, False]


def test_equal_areas_share_a_place() -> None:
    summary = summarise(runs({(m, "pair"): 0.5 for m in TWO}), TWO, ("pair",))
    assert ranks(summary, "sic", "pair", TWO) == {"gradcam": 1, "random": 1}
    assert ranks(summary, "aic", "pair", TWO) == {}


@pytest.mark.parametrize(
    ("presets", "entropy", "alone"),
    [
        (("pair", "pair:histogram"), True, True),
        (("corrected:ms_ssim", "corrected"), True, True),
        (("pair", "brima2024"), True, False),
        (("brima2024", "pair:histogram"), False, False),
        (("pair", "corrected"), False, False),
    ],
)
def test_the_entropy_is_named_where_it_differs(presets, entropy, alone) -> None:
    points = " ".join(side_by_side(levels(*presets), presets).points)
    assert ("Information is measured by" in points) == entropy
    assert ("Nothing else differs" in points) == alone


@pytest.mark.parametrize(
    ("share", "presets", "said", "unsaid"),
    [
        (0.6, ("pair", "corrected"), "Grad-CAM (60 % of the pixels)", "matter little"),
        (0.6, ("corrected", "pair"), "“pair” then shows the whole image", "Random"),
        (0.2, ("pair", "corrected"), "matter little here", "shows the whole image"),
        (0.6, ("pair", "brima2024"), "Information", "tie at"),
        (None, ("pair", "corrected"), "places", "tie"),
    ],
)
def test_ties_are_named_where_they_were_measured(share, presets, said, unsaid) -> None:
    measured = {} if share is None else {"gradcam": {"measures": {"tied_share": share}}}
    points = " ".join(side_by_side(levels(*presets), presets, **measured).points)
    assert said in points.replace("Random rises", "")
    assert unsaid not in points.split("keep their places.")[-1]
    if share == 0.6 and "corrected" in presets:
        assert "from about 40 % on" in points


def gated(n_gated: int, *, kept: bool):
    """Ten images, some right when blurred: excluded, or kept with a zero curve."""
    cases = []
    for i in range(10):
        out = InformationCurve.from_knots("aic", excluded="still right when blurred")
        flat = InformationCurve.from_knots(
            "aic", [0.2, 0.6], [0.0, 0.0], preset="brima2024"
        )
        second = flat if kept else replace(out, preset="brima2024")
        gate = i < n_gated
        label = "glioma" if gate else "pituitary"
        common = {"label": label, "patient": f"p{i}"}
        rows = []
        for m in TWO:
            good = curve("aic", 0.5)
            rows += [
                row(
                    f"c{i}",
                    f"p{i}",
                    m,
                    0.1,
                    0.5,
                    label=label,
                    aic=out if gate else good,
                ),
                row(
                    f"c{i}",
                    f"p{i}",
                    m,
                    0.1,
                    0.5,
                    label=common["label"],
                    preset="brima2024",
                    sic=curve("sic", 0.5, "brima2024"),
                    aic=second if gate else curve("aic", 0.5, "brima2024"),
                ),
            ]
        cases.append(case(f"c{i}", *rows))
    presets = ("pair", "brima2024")
    summary = summarise(cases, TWO, presets)
    return " ".join(presets_section(summary, cases, presets, TWO, LABELS).points)


def test_the_gate_is_told_with_this_runs_counts() -> None:
    points = gated(4, kept=True)
    assert (
        "AIC does not rest on the same images: “pair” leaves out 4 of 10 images "
        "(glioma 4 of 4); “brima2024” leaves out 0 of 10 images and keeps 4 that have "
        "curves that are zero throughout."
    ) in points
    assert "The most frequent reason: still right when blurred." in points
    assert "Zero curves pull" in points
    assert "keeps 1 that has a curve that is zero" in gated(1, kept=True)
    for same in (gated(0, kept=True), gated(4, kept=False)):
        assert "same images" not in same


@pytest.mark.parametrize("base", preset_names())
def test_presets_in_words_are_as_the_presets_do(base) -> None:
    preset, found = get_preset(base), traits(base)
    ties = np.zeros((10, 10))
    ties[0] = np.arange(1, 11)
    shown = preset.reveal(ties, [0.75], 0)[0].all()
    assert found.ties == ("together" if shown else "stops")
    blurred_right = GateInput(
        metric="aic",
        original_score=1.0,
        blurred_score=1.0,
        original_size=2.0,
        blurred_size=1.0,
        min_probability=0.8,
    )
    assert found.gate == ("keeps" if preset.gate(blurred_right) is None else "drops")
    assert preset_text(base)
    texts = {preset_text(f"{base}:{name}") for name in ENTROPIES}
    assert len(texts) == len(ENTROPIES)
    assert preset_text(base) in texts
    assert axis_text(f"{base}:ms_ssim") == ENTROPIES["ms_ssim"].text
    assert traits(f"{base}:histogram").entropy == "histogram"


def test_presets_of_others_are_not_made_up() -> None:
    assert preset_text("mine") == ""
    assert traits("mine:webp").ties == ""
    assert axis_text("mine") == "information"


def test_nothing_measured_nothing_shown(tmp_path) -> None:
    bare = [
        case(c.name, *(replace(r, localization=None, correct=None) for r in c.rows))
        for c in runs(levels("pair"))
    ]
    summary = summarise(bare, TWO, ("pair",))
    assert mask_section(summary, TWO, LABELS) is None
    assert faithfulness_section(summary, TWO, LABELS) is None
    assert strata_section(summary, "pair", TWO, LABELS) is None
    assert agreement_section(tmp_path, summary, TWO, LABELS) is None
    assert randomised_section(tmp_path, summary, bare, TWO, LABELS) is None
    assert not list(tmp_path.iterdir())


def test_measures_stand_in_their_sections(tmp_path) -> None:
    grad = {
        "insertion_auc": 0.7,
        "edge_spearman": 0.25,
        "spearman:random": 0.1,
        "randomised_spearman": 0.8,
        "randomised_ssim": 0.6,
        "randomised_spearman:head": 0.9,
        "randomised_spearman:conv0": 0.8,
    }
    cases = runs(
        levels("pair"),
        gradcam={"measures": grad},
        random={"measures": {"spearman:gradcam": 0.1, "edge_spearman": 0.0}},
    )
    summary = summarise(cases, TWO, ("pair",))
    (insertion,) = faithfulness_section(summary, TWO, LABELS).methods
    assert set(insertion.values) == {"insertion_auc"}
    agreement = agreement_section(tmp_path, summary, TWO, LABELS)
    assert agreement.points == (
        "Most alike are Grad-CAM and Random (0.10). Methods that agree need not be "
        "right.",
        "Of the methods that look at the classifier, Grad-CAM follows the edges of "
        "the image most (0.25).",
    )
    assert "mean over 6 images" in agreement.figures[0].caption
    for words in ("0.10", "0.25", "Edges of the image"):
        assert words in agreement.figures[0].svg
    check = randomised_section(tmp_path, summary, cases, TWO, LABELS)
    assert [r.label for r in check.methods] == ["Grad-CAM"]
    (point,) = check.points
    assert point.startswith("The maps of Grad-CAM (0.800 [0.80, 0.80]) stay much alike")
    svg = check.figures[0].svg
    assert svg.index(">head<") < svg.index(">conv0<")
    assert len(mask_section(summary, TWO, LABELS).methods) == 2
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    assert names == {
        f"{stem}.{kind}"
        for stem in ("agreement", "randomised")
        for kind in ("svg", "pdf")
    }


@pytest.mark.parametrize(
    ("value", "kept"), [(0.9, True), (0.5, True), (0.49, False), (-0.2, False)]
)
def test_maps_that_survive_are_told_from_those_that_change(
    tmp_path, value, kept
) -> None:
    cases = runs(levels("pair"), gradcam={"measures": {"randomised_spearman": value}})
    summary = summarise(cases, TWO, ("pair",))
    (point,) = randomised_section(tmp_path, summary, cases, TWO, LABELS).points
    assert ("does not come from what the network learned" in point) == kept
    assert ("depend, at least in part, on what the network" in point) == (not kept)


def test_strata_have_their_own_counts() -> None:
    cases = [
        case(c.name, *(replace(r, lesion_mm2=float(i), correct=i > 1) for r in c.rows))
        for i, c in enumerate(runs(levels("pair"), n=9), start=1)
    ]
    summary = summarise(cases, TWO, ("pair",))
    found = strata_section(summary, "pair", TWO, LABELS)
    heads = [(h.title, h.text) for h in found.tables[0].heads[1:]]
    assert heads == [
        ("lesion smallest third", "n 3"),
        ("lesion middle third", "n 3"),
        ("lesion largest third", "n 3"),
        ("predicted right", "n 8"),
        ("predicted wrong", "n 1"),
    ]
    captions = [t.caption for t in found.tables]
    assert captions[0] == "SIC area, preset “pair”."
    assert not any(c.startswith("AIC") for c in captions)  # all excluded


def test_the_band_is_claimed_only_for_the_curve_that_has_one(tmp_path) -> None:
    """AIC of three patients, SIC of eight: one run, two captions."""
    cases = [
        case(
            c.name,
            *(replace(r, aic=curve("aic", 0.5 if i < 3 else None)) for r in c.rows),
        )
        for i, c in enumerate(runs(levels("pair"), n=8))
    ]
    table = method_table(
        tmp_path, summarise(cases, TWO, ("pair",)), "pair", TWO, LABELS
    )
    captions = [f.caption for f in table.figures]
    assert "AIC: median over images." in captions
    assert "Area under the AIC." in captions
    assert "SIC: median over images with the bootstrap band." in captions
    assert "Area under the SIC, 95 % bootstrap interval over patients." in captions
    assert not table.chance
    assert not table.sentences
    assert not any("chance" in c for c in captions)


def test_only_pairs_that_differ_have_a_number() -> None:
    summary = summarise(runs(levels("pair")), TWO, ("pair",))

    def pair(first, second, difference, p):
        low, high = difference - 0.1, difference + 0.1
        return Pair(
            first=first,
            second=second,
            difference=difference,
            ci_low=low,
            ci_high=high,
            p_value=p,
            p_adjusted=p,
        )

    names = ("gradcam", "random", "edge")
    comparison = Comparison(
        methods=names,
        mean_ranks=(2.0, 1.0, 3.0),
        n_units=6,
        statistic=9.0,
        p_value=0.02,
        critical_difference=1.5,
        pairs=(
            pair("gradcam", "random", -0.3, 0.05),
            pair("gradcam", "edge", 0.2, 0.051),
            pair("random", "edge", 0.5, 0.01),
        ),
    )
    summary = replace(summary, comparisons={("sic", "pair"): comparison})
    (table,) = pair_tables(summary, "pair", LABELS)
    assert [h.title for h in table.heads] == ["Method", "Grad-CAM", "Edges"]
    cells = [[(c.text, c.note) for c in line] for line in table.rows]
    assert cells == [
        [("Random", ""), ("0.300", "[0.20, 0.40]"), ("0.500", "[0.40, 0.60]")],
        [("Grad-CAM", ""), ("", ""), ("", "")],
    ]
    assert table.caption.startswith("SIC: 2 of 3 pairs differ over 6 patients")
    none = replace(comparison, pairs=comparison.pairs[1:2])
    summary = replace(summary, comparisons={("sic", "pair"): none})
    (table,) = pair_tables(summary, "pair", LABELS)
    assert table.rows == ()
    assert table.caption.startswith("SIC: 0 of 1 pairs differ")


def against(n=8, slices=(None,), asked=3):
    """Grad-CAM above all of its chance maps, random among its own."""
    rng = np.random.default_rng(4)
    cases = []
    for i in range(n):
        rows = []
        for index in slices:
            for m, level in (("gradcam", 0.8), ("random", 0.4)):
                own = curve("sic", level)
                drawn = [curve("sic", v) for v in rng.uniform(0.2, 0.6, asked)]
                rows.append(
                    row(
                        f"c{i}",
                        f"p{i}",
                        m,
                        0.2,
                        level,
                        slice=index,
                        sic=own,
                        chance=chance(sic=(own, drawn), asked=asked),
                    )
                )
        cases.append(case(f"c{i}", *rows))
    return cases


def facts() -> RunFacts:
    return RunFacts(
        model=ModelFacts(name="m"),
        methods=tuple(MethodFacts(name=m, label=LABELS[m]) for m in TWO),
        n_slices=8,
        n_patients=8,
    )


def test_a_run_against_chance_from_end_to_end(tmp_path) -> None:
    cases = against(asked=20)
    summary = summarise(cases, TWO, ("pair",))
    data = assemble(
        tmp_path,
        cases,
        summary,
        facts(),
        [],
        title="A run",
        presets=("pair",),
        drawn=2,
        overlays=False,
    )
    (table,) = data.tables
    grad, random = table.rows
    assert grad.values["sic_chance"].value == 1.0
    assert grad.values["sic_chance"].mark
    assert not random.values["sic_chance"].mark
    assert grad.values["sic"].note.startswith("chance 0.")
    assert [(s.label, s.better) for s in table.sentences] == [
        ("Grad-CAM", True),
        ("Random", False),
    ]
    assert "AIC leaves out 8 of 8 images: 8 because too unsure." in table.test
    stems = {p.stem for p in (tmp_path / "figures").iterdir()}
    assert {"sic-pair", "sic-chance-pair", "sic-auc-pair", "chance-pair"} <= stems
    assert not any(stem.startswith("aic") for stem in stems)
    shown = data.cases[0].pictures[1]
    assert shown.chance == ("SIC above 20 of 20 chance maps (surrogate)",)
    assert not any("without a test against chance" in text for text in data.limits)
    page = render_report(data)
    assert "SIC above 20 of 20 chance maps (surrogate)" in page
    assert "is better than maps of its own shape" in page


def test_the_limit_without_a_test_is_said_only_then() -> None:
    limit = "compared without a test against chance"
    plain = summarise(runs(levels("pair")), TWO, ("pair",))
    assert any(limit in text for text in run_limits(plain, facts(), []))
    known = summarise(against(), TWO, ("pair",))
    assert not any(limit in text for text in run_limits(known, facts(), []))


def test_slices_of_a_volume_get_one_verdict_together() -> None:
    (volume,) = against(n=1, slices=(3, 4))
    said = volume_sentences(volume, "pair")
    assert said["gradcam"] == ["All slices: SIC above 3 of 3 chance maps (surrogate)"]
    assert volume_sentences(volume, "corrected") == {}
    (image,) = against(n=1)
    assert volume_sentences(image, "pair") == {}
    block = case_block((volume, 3), (), TWO, LABELS, overlays=False, whole=said)
    assert block.pictures[1].chance == (
        "SIC above 3 of 3 chance maps (surrogate)",
        "All slices: SIC above 3 of 3 chance maps (surrogate)",
    )
    (bare,) = runs(levels("pair"), n=1)
    assert volume_sentences(bare, "pair") == {}
    block = case_block((bare, None), (), TWO, LABELS, overlays=False)
    assert block.pictures[1].chance == ()
