"""Aggregates, exclusions and the choice of what is drawn, on handmade rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_medxai.report import (
    StoredCase,
    aggregates,
    summarise,
    write_curves,
    write_summary,
)
from napari_medxai.report.cases_drawn import choose
from napari_medxai.report.content import ModelFacts, RunFacts
from napari_medxai.report.limits import run_limits
from report_rows import case, row


@pytest.fixture
def cases() -> list[StoredCase]:
    """Two patients with three images each, two methods."""
    found = []
    for i, (patient, mass) in enumerate(itertools.product(("p", "q"), (0.1, 0.2, 0.3))):
        shift = 0.5 if patient == "q" else 0.0
        sic = None if i == 0 else 0.2 + 0.1 * i
        found.append(
            case(
                f"c{i}",
                row(f"c{i}", patient, "gradcam", mass + shift, sic),
                row(f"c{i}", patient, "random", 0.0, 0.1),
            )
        )
    return found


def test_interval_resamples_patients_not_images(cases, monkeypatch):
    monkeypatch.setattr(aggregates, "MIN_UNITS", 2)
    summary = summarise(cases, ("gradcam", "random"), ("pair",))
    assert (summary.unit, summary.units) == ("patients", 2)
    line = summary.find("gradcam", "relevance_mass", aggregation="mean")
    assert line.value == pytest.approx(0.45)
    # with two patients a resample holds one of them twice in half of all draws
    assert line.ci_low == pytest.approx(0.2)
    assert line.ci_high == pytest.approx(0.7)


def test_few_units_get_no_interval(cases):
    summary = summarise(cases, ("gradcam",), ("pair",))
    for line in summary.lines:
        assert np.isnan(line.ci_low)
        assert line.curve is None or np.isnan(line.curve.y_low).all()
    facts = RunFacts(model=ModelFacts(name="m"))
    assert any("too few to resample" in text for text in run_limits(summary, facts, []))


def test_hits_that_all_fall_the_same_way_get_a_score_interval():
    many = [
        case(f"c{i}", row(f"c{i}", f"p{i}", "gradcam", 0.1, 0.5)) for i in range(12)
    ]
    line = summarise(many, ("gradcam",), ("pair",)).find(
        "gradcam", "pointing_hit", aggregation="mean"
    )
    # Wilson (1927): 12 of 12
    assert (line.value, line.ci_high) == (1.0, 1.0)
    assert line.ci_low == pytest.approx(0.7575, abs=1e-3)


def test_without_patients_the_case_is_the_unit(cases):
    bare = [
        case(
            c.name,
            row(c.name, None, "gradcam", 0.1, 0.5, slice=0),
            row(c.name, None, "gradcam", 0.3, 0.5, slice=1),
        )
        for c in cases
    ]
    summary = summarise(bare, ("gradcam",), ("pair",))
    assert (summary.unit, summary.units) == ("cases", 6)
    line = summary.find("gradcam", "relevance_mass", aggregation="mean")
    assert line.n == 12
    assert (line.ci_low, line.ci_high) == pytest.approx((0.2, 0.2))


def test_a_case_without_patient_counts_as_its_own(cases):
    mixed = [*cases, case("x", row("x", None, "gradcam", 0.1, 0.5))]
    summary = summarise(mixed, ("gradcam",), ("pair",))
    assert (summary.unit, summary.units, summary.without_patient) == ("patients", 3, 1)
    facts = RunFacts(model=ModelFacts(name="m"))
    limits = run_limits(summary, facts, [])
    assert any("1 cases have no patient" in text for text in limits)


def test_classes_are_the_labels(cases):
    lines = summarise(cases, ("gradcam",), ("pair",)).lines
    assert {line.class_ for line in lines} == {"all", "a", "predicted wrong"}


def test_exclusions_count_an_image_once(cases):
    found = summarise(cases, ("gradcam", "random"), ("pair",)).exclusions
    by_metric = {metric: exclusion for metric, _, exclusion in found}
    assert (by_metric["aic"].n, by_metric["aic"].total) == (6, 6)
    assert (by_metric["sic"].n, by_metric["sic"].total) == (1, 6)
    assert by_metric["sic"].class_ == "a"


def test_excluded_curves_are_counted_and_left_out(cases):
    summary = summarise(cases, ("gradcam",), ("pair",))
    line = summary.find("gradcam", "sic", preset="pair", aggregation="mean")
    assert (line.n, line.n_excluded) == (5, 1)
    areas = [c.rows[0].sic.auc for c in cases[1:]]
    assert line.value == pytest.approx(np.mean(areas))
    nothing = summary.find("gradcam", "aic", preset="pair")
    assert (nothing.n, nothing.n_excluded) == (0, 6)
    assert np.isnan(nothing.value)


def test_failures_are_counted_and_said(cases):
    failed = row("c9", "r", "gradcam", 0.1, 0.5, status="failed", reason="no layer")
    summary = summarise([*cases, case("c9", failed)], ("gradcam",), ("pair",))
    assert summary.failures == {"gradcam": 1}
    facts = RunFacts(model=ModelFacts(name="m"))
    assert any("could not run on 1" in text for text in run_limits(summary, facts, []))


def test_best_worst_excluded_and_drawn_by_seed():
    levels = [0.3, 0.9, None, 0.5, 0.1, 0.7, None, 0.4, 0.6, 0.2]
    units = [
        (case(f"c{i}", row(f"c{i}", "p", "gradcam", 0.1, level)), None)
        for i, level in enumerate(levels)
    ]
    chosen = {unit[0].name: why for unit, why in choose(units, ["gradcam"], 4, 0)}
    assert len(chosen) == 4
    assert chosen["c1"] == ("best: highest mean SIC",)
    assert chosen["c4"] == ("worst: lowest mean SIC",)
    assert chosen["c2"] == ("excluded",)
    (by_seed,) = [n for n, why in chosen.items() if why == ("drawn by seed",)]
    again = {u[0].name for u, _ in choose(units, ["gradcam"], 4, 0)}
    assert again == set(chosen)
    others = {
        next(u[0].name for u, w in choose(units, ["gradcam"], 4, s) if "seed" in w[0])
        for s in range(12)
    }
    assert by_seed in others
    assert len(others) > 1
    everything = choose(units, ["gradcam"], 50, 0)
    assert [u[0].name for u, _ in everything] == [f"c{i}" for i in range(10)]


SIZES = (5.0, 1.0, 9.0, 3.0, 7.0, 2.0, np.nan)


@pytest.fixture
def sized():
    """Seven patients; two methods; one without a lesion, one without a label."""
    rng = np.random.default_rng(2)
    return [
        case(
            f"c{i}",
            *(
                row(
                    f"c{i}",
                    f"p{i}",
                    method,
                    rng.random(),
                    None if i == 4 else rng.random(),
                    lesion_mm2=size,
                    correct=None if i == 5 else bool(i % 2),
                    label="ab"[i % 2],
                    measures={
                        "iou_otsu": rng.random(),
                        "insertion_auc": np.nan if i == 2 else rng.random(),
                        "spearman:random": rng.random(),
                        "randomised_ssim:head": rng.random(),
                        "sic_p_value": 0.5,
                    },
                )
                for method in ("gradcam", "random")
            ),
        )
        for i, size in enumerate(SIZES)
    ]


def test_strata_equal_those_of_pandas(sized):
    import pandas as pd

    summary = summarise(sized, ("gradcam", "random"), ("pair",))
    frame = pd.DataFrame(
        {
            "method": r.method,
            "size": r.lesion_mm2,
            "correct": r.correct,
            "sic": r.sic.auc,
            "relevance_mass": r.localization.relevance_mass,
            "iou_otsu": r.measures["iou_otsu"],
        }
        for c in sized
        for r in c.rows
    )
    # six lesions of different size: two in each third
    frame["third"] = frame["size"].map(
        dict(zip((1, 2, 3, 5, 7, 9), "ssmmll", strict=True))
    )
    names = {"s": "smallest", "m": "middle", "l": "largest"}
    parts = [
        (f"lesion {names[third]} third", part) for third, part in frame.groupby("third")
    ]
    parts += [
        (f"predicted {'right' if right else 'wrong'}", part)
        for right, part in frame.groupby("correct")
    ]
    assert len(parts) == 5
    for class_, part in parts:
        for method, own in part.groupby("method"):
            for metric in ("sic", "relevance_mass", "iou_otsu"):
                line = summary.find(
                    method,
                    metric,
                    preset="pair" if metric == "sic" else "",
                    aggregation="mean",
                    class_=class_,
                )
                assert line.value == pytest.approx(own[metric].mean())
                assert line.n == own[metric].notna().sum()
                assert line.n + line.n_excluded == len(own)


def test_strata_have_means_of_curves_and_localisation_only(sized):
    lines = summarise(sized, ("gradcam",), ("pair",)).lines
    strata = [v for v in lines if v.class_.startswith(("lesion ", "predicted "))]
    assert {v.aggregation for v in strata} == {"mean"}
    assert {v.metric for v in strata} == {
        *("aic", "sic", *aggregates.LOCALIZATION, "iou_otsu")
    }
    assert not any(v.curve for v in strata)


def test_lesions_of_one_size_have_no_thirds(cases):
    same = [
        case(c.name, row(c.name, c.name, "gradcam", 0.1, 0.5, lesion_mm2=4.0))
        for c in cases
    ]
    lines = summarise(same, ("gradcam",), ("pair",)).lines
    assert not any(line.class_.startswith("lesion") for line in lines)


def test_measures_are_lines_of_their_own(sized):
    summary = summarise(sized, ("gradcam",), ("pair",))
    line = summary.find("gradcam", "insertion_auc", aggregation="mean")
    values = [c.rows[0].measures["insertion_auc"] for c in sized]
    assert (line.preset, line.n, line.n_excluded) == ("", 6, 1)
    assert line.value == pytest.approx(np.nanmean(values))
    classes = {}
    for found in summary.lines:
        classes.setdefault(found.metric, set()).add(found.class_)
    assert classes["insertion_auc"] == {"all", "a", "b"}
    assert classes["spearman:random"] == {"all"}
    assert classes["randomised_ssim:head"] == {"all"}
    assert "sic_p_value" not in classes


def test_intervals_of_many_columns_equal_those_one_by_one():
    rng = np.random.default_rng(0)
    values = rng.random((40, 4))
    values[3, 1] = values[5:12, 2] = np.nan
    values[:, 3] = np.nan
    units = rng.integers(9, size=40)
    found = aggregates.mean_intervals(values, units, 11)
    for column, (value, low, high) in zip(values.T, found, strict=True):
        keep = np.isfinite(column)
        groups = [column[keep & (units == u)] for u in np.unique(units[keep])]
        if not groups:
            assert np.isnan([value, low, high]).all()
            continue
        drawn = np.random.default_rng(11).integers(
            len(groups), size=(aggregates.RESAMPLES, len(groups))
        )
        means = [np.concatenate([groups[i] for i in one]).mean() for one in drawn]
        assert value == pytest.approx(np.nanmean(column))
        assert (low, high) == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))))


def test_methods_are_compared_on_the_same_images():
    levels = {"gradcam": 0.2, "random": 0.0, "xrai": 0.1}
    found = [
        case(
            f"c{i}",
            *(
                row(f"c{i}", f"p{i}", m, 0.1, None if i == 6 else 0.1 * i + v)
                for m, v in levels.items()
            ),
        )
        for i in range(7)
    ]
    comparisons = summarise(found, tuple(levels), ("pair",)).comparisons
    assert list(comparisons) == [("sic", "pair")]
    total = comparisons["sic", "pair"]
    assert total.methods == tuple(levels)
    assert total.mean_ranks == (1.0, 3.0, 2.0)
    assert total.n_units == 6
    # each of 2 ** 6 sign patterns but the two extreme ones is nearer to zero
    assert {round(p.p_value * 2**6) for p in total.pairs} == {2}


def test_agreement_is_the_mean_over_images_and_both_ways():
    def maps(name, ab, bc):
        own = {"gradcam": {"spearman:xrai": ab}, "xrai": {"spearman:scorecam": bc}}
        return case(
            name,
            *(
                row(name, name, m, 0.1, 0.5, measures=own.get(m, {}))
                for m in ("gradcam", "xrai", "scorecam", "random")
            ),
        )

    found = summarise(
        [maps("a", 0.5, 0.2), maps("b", 0.7, np.nan)],
        ("gradcam", "random", "scorecam", "xrai"),
        ("pair",),
    ).agreement
    assert found.methods == ("gradcam", "scorecam", "xrai")
    assert found.n == 2
    np.testing.assert_allclose(
        found.matrix, [[1, np.nan, 0.6], [np.nan, 1, 0.2], [0.6, 0.2, 1]]
    )


def test_without_correlations_there_is_no_agreement(cases):
    assert summarise(cases, ("gradcam", "random"), ("pair",)).agreement is None


def test_without_chance_the_columns_are_empty(sized, tmp_path):
    summary = summarise(sized, ("gradcam",), ("pair",))
    assert (summary.null, summary.chance_asked, dict(summary.bands)) == ("", 0, {})
    write_summary(tmp_path / "summary.csv", summary)
    write_curves(tmp_path, [], summary)
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    assert len(lines) == len(summary.lines) + 1
    assert all(line.endswith(",,,,") for line in lines[1:])
    assert "chance" not in (tmp_path / "curves.csv").read_text()


def test_the_order_of_cases_does_not_matter(sized, tmp_path):
    written = []
    for i, some in enumerate((sized, sized[::-1])):
        path = tmp_path / f"{i}.csv"
        write_summary(path, summarise(some, ("gradcam", "random"), ("pair",)))
        written.append(path.read_bytes())
    assert written[0] == written[1]
