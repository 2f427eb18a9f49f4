"""Maps against chance over a run: verdicts, families, bands, volumes, tables."""

from __future__ import annotations

import csv
import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from napari_medxai.metrics import InformationCurve
from napari_medxai.report import (
    Store,
    lines,
    summarise,
    verdicts,
    write_chance,
    write_curves,
    write_measures,
    write_results,
    write_summary,
)
from napari_medxai.report.verdicts import _median_curves
from report_rows import case, chance, curve, outcome, random_curve, result, row

METHODS = ("gradcam", "xrai", "random", "edge")
PRESETS = ("pair", "brima2024")


def level_row(name, patient, method, own, levels, **changes):
    """Row whose SIC and that of its chance maps are level curves."""
    asked = changes.pop("asked", len(levels))
    sic = curve("sic", own)
    against = chance(sic=(sic, [curve("sic", v) for v in levels]), asked=asked)
    return row(name, patient, method, 0.5, own, chance=against, **changes)


@pytest.fixture(scope="module", autouse=True)
def _few_resamples():
    """Bootstrap of the own curves, which is not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def cases():
    """Eight patients with one to three slices, four methods, two presets."""
    rng = np.random.default_rng(7)
    found = []
    for i in range(8):
        rows = []
        for index, method, preset in itertools.product(
            range(1 + i % 3), METHODS, PRESETS
        ):
            excluded = i == 3 and index == 0
            shift = 0.3 if method == "gradcam" else 0.0
            own = {
                metric: curve(metric, None, preset)
                if excluded
                else random_curve(metric, rng, preset, shift)
                for metric in ("aic", "sic")
            }
            drawn = {
                metric: (mine, [random_curve(metric, rng, preset) for _ in range(6)])
                for metric, mine in own.items()
            }
            against = chance(**drawn, asked=6)
            rows.append(
                row(
                    f"c{i}",
                    f"p{i}",
                    method,
                    rng.random(),
                    0.5,
                    label="ab"[i % 2],
                    slice=index,
                    preset=preset,
                    chance=against,
                    lesion_mm2=10.0 * i + index,
                    correct=bool(i % 2),
                    measures={"insertion_auc": rng.random()},
                    **own,
                )
            )
        found.append(case(f"c{i}", *rows))
    return found


@pytest.fixture(scope="module")
def summary(cases):
    return summarise(cases, METHODS, PRESETS)


def rows_of(cases, method, preset, metric):
    return [
        r
        for c in cases
        for r in c.rows
        if (r.method, r.preset) == (method, preset)
        and getattr(r, metric).excluded is None
    ]


def test_ranks_of_a_patient_are_averaged_by_hand():
    # p: mid-ranks of map and chance (2, 1, 3) and (3, 1, 2); q: (1, 2, 3)
    cases = [
        case("a", level_row("a", "p", "gradcam", 0.5, [0.3, 0.6])),
        case("b", level_row("b", "p", "gradcam", 0.7, [0.1, 0.2])),
        case("c", level_row("c", "q", "gradcam", 0.1, [0.3, 0.4])),
    ]
    summary = summarise(cases, ("gradcam",), ("pair",))
    line = summary.find("gradcam", "sic_chance_rank", preset="pair", aggregation="mean")
    # p is above half of its chance maps on one image, above all on the other
    assert (line.n, line.n_excluded, line.value) == (2, 0, 0.375)
    # of the nine pairs (2.5, 1, 2.5) x (1, 2, 3), seven reach 2.5 + 1
    assert line.p_value == pytest.approx(7 / 9)
    assert line.p_adjusted == line.p_value
    assert line.chance_value == 0.5
    assert np.isnan(line.ci_low)
    for how in ("mean", "median_curve"):
        found = summary.find("gradcam", "sic", preset="pair", aggregation=how)
        assert (found.null, found.p_value) == ("surrogate", line.p_value)
        assert found.effect_size == 0.375
    assert (
        summary.find("gradcam", "sic", preset="pair", aggregation="mean_curve").null
        == ""
    )
    assert (summary.null, summary.chance_asked) == ("surrogate", 2)


def test_excluded_images_have_no_verdict():
    cases = [
        case("a", level_row("a", "p", "gradcam", 0.5, [0.3, 0.6])),
        case("b", level_row("b", "p", "gradcam", None, [0.1, 0.2])),
        case("c", level_row("c", "q", "gradcam", None, [0.3, 0.4])),
    ]
    summary = summarise(cases, ("gradcam",), ("pair",))
    line = summary.find("gradcam", "sic_chance_rank", preset="pair", aggregation="mean")
    assert (line.n, line.n_excluded) == (1, 1)
    assert not any(line.metric == "aic_chance_rank" for line in summary.lines)
    assert not any(key[1] == "aic" for key in summary.bands)


def brute_force(cases, method, preset, metric):
    """Return effect, chance means and curves by loops over rows and members."""
    rows = rows_of(cases, method, preset, metric)
    shares: dict[str, list[float]] = {}
    for r in rows:
        own = getattr(r, metric).auc
        areas = getattr(r.chance, metric).areas
        below = sum(a < own for a in areas) + sum(a == own for a in areas) / 2
        shares.setdefault(r.patient, []).append(below / len(areas))
    members = [
        np.median([getattr(r.chance, metric).curves[j].y for r in rows], axis=0)
        for j in range(6)
    ]
    pooled = np.median(
        [c.y for r in rows for c in getattr(r.chance, metric).curves], axis=0
    )
    areas = [c.auc for r in rows for c in getattr(r.chance, metric).curves]
    x = rows[0].sic.x
    return {
        "effect": np.mean([np.mean(own) for own in shares.values()]),
        "mean": np.mean(areas),
        "median_curve": np.trapezoid(pooled, x),
        "band": np.percentile(members, (2.5, 50, 97.5), axis=0),
    }


@pytest.mark.parametrize("metric", ["aic", "sic"])
@pytest.mark.parametrize("preset", PRESETS)
def test_verdicts_equal_those_of_loops(cases, summary, metric, preset):
    for method in METHODS:
        slow = brute_force(cases, method, preset, metric)
        for how in ("mean", "median_curve"):
            line = summary.find(method, metric, preset=preset, aggregation=how)
            assert line.effect_size == pytest.approx(slow["effect"])
            assert line.chance_value == pytest.approx(slow[how], abs=1e-7)
        band = summary.bands[method, metric, preset]
        assert band.members == 6
        for name, edge in zip(("low", "middle", "high"), slow["band"], strict=True):
            np.testing.assert_allclose(getattr(band, name), edge, atol=1e-7)


def test_families_are_corrected_apart_after_holm(summary):
    for metric, preset in itertools.product(("aic", "sic"), PRESETS):
        lines = {m: summary.find(m, metric, preset=preset) for m in METHODS}
        for family in (("gradcam", "xrai"), ("random", "edge")):
            small, large = sorted((lines[m] for m in family), key=lambda v: v.p_value)
            assert small.p_adjusted == pytest.approx(min(1, 2 * small.p_value))
            assert large.p_adjusted == pytest.approx(
                max(small.p_adjusted, large.p_value)
            )
    better = summary.find("gradcam", "sic", preset="pair")
    assert better.p_adjusted < 0.05 < summary.find("xrai", "sic", preset="pair").p_value


def test_only_lines_over_all_images_speak_of_chance(summary):
    for line in summary.lines:
        tested = line.metric.endswith("_chance_rank") or (
            line.metric in ("aic", "sic")
            and line.class_ == "all"
            and line.aggregation != "mean_curve"
        )
        assert bool(line.null) == tested
        assert np.isnan(line.p_value) != tested


def test_chance_maps_that_not_all_images_have_do_not_count():
    rng = np.random.default_rng(3)
    rows = []
    for name, n in (("a", 3), ("b", 5)):
        own = random_curve("sic", rng, "pair")
        drawn = [random_curve("sic", rng, "pair") for _ in range(n)]
        against = chance(sic=(own, drawn), asked=5)
        rows.append(row(name, name, "gradcam", 0.1, 0.5, sic=own, chance=against))
    summary = summarise([case(r.case, r) for r in rows], ("gradcam",), ("pair",))
    assert summary.bands["gradcam", "sic", "pair"].members == 3
    line = summary.find("gradcam", "sic", preset="pair", aggregation="mean")
    assert line.chance_value == pytest.approx(
        np.mean([r.chance.sic.areas[:3] for r in rows])
    )


def test_medians_by_blocks_are_medians():
    ys = np.random.default_rng(0).random((3, 8, 150), dtype=np.float32)
    each, pooled = _median_curves(ys)
    np.testing.assert_array_equal(each, np.median(ys, axis=1))
    np.testing.assert_array_equal(pooled, np.median(ys.reshape(-1, 150), axis=0))


def tables(folder, cases):
    summary = summarise(cases, METHODS, PRESETS)
    write_summary(folder / "summary.csv", summary)
    write_curves(folder, [], summary)
    return [(folder / name).read_bytes() for name in ("summary.csv", "curves.csv")]


def test_tables_do_not_depend_on_the_order_of_cases(cases, tmp_path):
    shuffled = list(cases)
    random.Random(1).shuffle(shuffled)
    assert [c.name for c in shuffled] != [c.name for c in cases]
    assert tables(tmp_path / "a", cases) == tables(tmp_path / "b", shuffled)


def test_stored_chance_gives_the_summary_of_the_chance_that_was_measured(tmp_path):
    rng = np.random.default_rng(5)
    outcomes = [outcome(m, rng, slice=i) for i in range(3) for m in METHODS]
    store = Store(tmp_path)
    store.save(result(*outcomes), {})
    stored = store.load("k" * 8)
    summary = summarise([stored], METHODS, ("pair",))
    for method in METHODS:
        for metric in ("aic", "sic"):
            had = [getattr(o.chance, metric) for o in outcomes if o.method == method]
            line = summary.find(method, metric, preset="pair", aggregation="mean")
            assert line.chance_value == np.mean([one.areas for one in had])
            assert line.effect_size == pytest.approx(np.mean([o.rank for o in had]) / 3)


def test_chance_too_large_for_memory_is_read_in_portions(tmp_path, monkeypatch):
    rng = np.random.default_rng(6)
    store = Store(tmp_path)
    store.save(result(*(outcome(m, rng) for m in METHODS)), {})
    stored = [store.load("k" * 8)]
    assert len(verdicts._portions(stored[0].rows, METHODS)) == 1
    whole = summarise(stored, METHODS, ("pair",))
    monkeypatch.setattr(verdicts, "READ_AT_ONCE", 1)
    assert verdicts._portions(stored[0].rows, METHODS) == [(m,) for m in METHODS]
    parts = summarise(stored, METHODS, ("pair",))
    for path, summary in ((tmp_path / "a", whole), (tmp_path / "b", parts)):
        write_summary(path, summary)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_run_without_any_row_has_lines_of_nothing():
    summary = summarise([], METHODS, PRESETS)
    assert summary.find("gradcam", "sic", preset="pair").n == 0
    assert not summary.comparisons
    assert {line.class_ for line in summary.lines} == {"all"}


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_results_say_the_null_and_the_ranks(tmp_path):
    full = level_row("a", "p", "gradcam", 0.5, [0.3, 0.5, 0.6])
    none = row("a", "p", "random", 0.5, 0.1)
    write_results(tmp_path / "results.csv", [case("a", full, none)])
    first, second = read(tmp_path / "results.csv")
    names = ("null", "chance_n", "aic_chance_rank", "sic_chance_rank")
    assert [first[n] for n in names] == ["surrogate", "3", "", "1.5"]
    assert [second[n] for n in names] == [""] * 4


def test_measures_of_slices_and_the_volume_by_hand(tmp_path):
    rows = [
        level_row(
            "v",
            "p",
            "gradcam",
            own,
            levels,
            slice=index,
            asked=199,
            measures={"tied_share": 0.25, "sic_p_value": 0.9},
            preset=preset,
        )
        for index, own, levels in (
            (0, 0.5, [0.6, 0.1]),
            (1, 0.3, [0.4, 0.1, 0.9]),
            (2, None, []),
        )
        for preset in PRESETS
    ]
    write_measures(tmp_path / "measures.csv", [case("v", *rows)])
    text = (tmp_path / "measures.csv").read_text().splitlines()
    volume = [
        line
        for preset in PRESETS
        for line in (
            # of the two chance maps all slices share, the second lies below on average
            f"v,,gradcam,{preset},sic_chance_rank,1",
            f"v,,gradcam,{preset},sic_chance_n,2",
            # one of two and two of three reach the map: twice the mean of 2/3 and 3/4
            f"v,,gradcam,{preset},sic_p_value,1",
        )
    ]
    assert text == [
        "case,slice,method,preset,metric,value",
        "v,0,gradcam,,tied_share,0.25",
        "v,0,gradcam,pair,sic_p_value,0.666667",
        "v,0,gradcam,brima2024,sic_p_value,0.666667",
        "v,1,gradcam,,tied_share,0.25",
        "v,1,gradcam,pair,sic_p_value,0.75",
        "v,1,gradcam,brima2024,sic_p_value,0.75",
        "v,2,gradcam,,tied_share,0.25",
        *volume,
    ]


def test_a_volumes_p_value_is_twice_the_mean(tmp_path):
    levels = [0.1] * 9
    rows = [
        level_row("v", "p", "gradcam", 0.5, levels, slice=i, asked=199) for i in (0, 1)
    ]
    write_measures(tmp_path / "measures.csv", [case("v", *rows)])
    lines = (tmp_path / "measures.csv").read_text().splitlines()
    assert lines[-3:] == [
        "v,,gradcam,pair,sic_chance_rank,9",
        "v,,gradcam,pair,sic_chance_n,9",
        "v,,gradcam,pair,sic_p_value,0.2",
    ]


def test_a_volume_ranks_among_the_chance_maps_that_are_always_drawn(tmp_path):
    # the first twenty lie below, those drawn after them above
    rows = [
        level_row("v", "p", "gradcam", 0.5, [0.1] * 20 + [0.9] * n, slice=n, asked=199)
        for n in (5, 9)
    ]
    write_measures(tmp_path / "measures.csv", [case("v", *rows)])
    found = {r["metric"]: r["value"] for r in read(tmp_path / "measures.csv")[2:]}
    assert (found["sic_chance_rank"], found["sic_chance_n"]) == ("20", "20")
    # one and five of 25, one and nine of 29 reach it
    assert float(found["sic_p_value"]) == pytest.approx(6 / 26 + 10 / 30)


def test_an_image_has_no_combined_line(tmp_path):
    one = level_row("a", "p", "gradcam", 0.5, [0.1, 0.2], slice=4)
    write_measures(tmp_path / "measures.csv", [case("a", one)])
    assert read(tmp_path / "measures.csv") == []


def test_the_chance_band_stands_after_the_curves(summary, tmp_path):
    write_curves(tmp_path, [], summary)
    lines = read(tmp_path / "curves.csv")
    assert list(lines[0]) == [
        *("method", "metric", "preset", "aggregation", "class"),
        *("x", "y", "y_low", "y_high"),
    ]
    band = [line for line in lines if line["aggregation"] == "chance_band"]
    assert lines[-len(band) :] == band
    assert len(band) == len(METHODS) * len(PRESETS) * 2 * 101
    chosen = [
        line
        for line in band
        if (line["method"], line["metric"], line["preset"]) == ("xrai", "sic", "pair")
    ]
    kept = summary.bands["xrai", "sic", "pair"]
    for column, values in (
        ("x", kept.x),
        ("y", kept.middle),
        ("y_low", kept.low),
        ("y_high", kept.high),
    ):
        found = [float(line[column]) for line in chosen]
        np.testing.assert_allclose(found, values[::10], atol=1e-6)


def test_every_chance_area_is_in_the_parquet(cases, tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    from napari_medxai.report import parquet

    monkeypatch.setattr(parquet, "ROW_GROUP", 7)
    write_chance(tmp_path / "chance.parquet", cases)
    table = pq.read_table(tmp_path / "chance.parquet")
    expected = [
        (c.name, r.slice, r.method, r.preset, metric, member, area)
        for c in cases
        for r in c.rows
        for metric in ("aic", "sic")
        if getattr(r.chance, metric) is not None
        for member, area in enumerate(getattr(r.chance, metric).areas.tolist())
    ]
    assert [tuple(one.values()) for one in table.to_pylist()] == expected
    assert table.column_names == [
        *("case", "slice", "method", "preset", "metric", "member", "area")
    ]


def test_a_stale_chance_table_goes(tmp_path):
    path = tmp_path / "chance.parquet"
    path.write_bytes(b"of an earlier run")
    write_chance(path, [case("a", row("a", "p", "gradcam", 0.5, 0.5))])
    assert not path.exists()


def test_chance_without_any_curve_gives_an_empty_table(tmp_path):
    import pyarrow.parquet as pq

    one = level_row("a", "p", "gradcam", None, [0.1])
    write_chance(tmp_path / "chance.parquet", [case("a", one)])
    assert pq.read_table(tmp_path / "chance.parquet").num_rows == 0


def test_patients_stand_in_no_other_table_than_results(tmp_path):
    rows = [
        level_row("a", "SECRET", "gradcam", 0.5, [0.1, 0.2], slice=i, asked=199)
        for i in (0, 1)
    ]
    cases = [case("a", *rows)]
    summary = summarise(cases, ("gradcam",), ("pair",))
    write_summary(tmp_path / "summary.csv", summary)
    write_curves(tmp_path, cases, summary)
    write_measures(tmp_path / "measures.csv", cases)
    write_chance(tmp_path / "chance.parquet", cases)
    written = list(tmp_path.iterdir())
    assert len(written) == 5
    for path in written:
        assert b"SECRET" not in path.read_bytes()


def test_a_null_of_other_rows_does_not_mix_in():
    one = level_row("a", "p", "gradcam", 0.5, [0.3, 0.6])
    other = level_row("b", "q", "gradcam", 0.5, [0.1, 0.2])
    other = replace(other, chance=replace(other.chance, null="random_pixels"))
    rows = [one, other]
    summary = summarise([case(r.case, r) for r in rows], ("gradcam",), ("pair",))
    line = summary.find("gradcam", "sic_chance_rank", preset="pair", aggregation="mean")
    assert (summary.null, line.n, line.value) == ("surrogate", 1, 0.5)


def test_the_curve_of_a_chance_map_is_rebuilt_to_the_last_bit():
    one = random_curve("sic", np.random.default_rng(0), "corrected")
    again = InformationCurve.from_knots(
        "sic", one.knots_x, one.knots_y, preset="corrected"
    )
    np.testing.assert_array_equal(one.y, again.y)
