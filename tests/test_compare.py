"""Two runs paired: counts, differences worked out by hand, and clear refusals."""

from __future__ import annotations

import csv
import itertools
import json
import math
import random
import statistics
import sys
from pathlib import Path

import pytest

from finished_runs import NAN, facts, measure, row, write_run
from napari_medxai import batch, compare
from napari_medxai.errors import UsageError
from napari_medxai.report import RESULT_COLUMNS
from napari_medxai.report.summary import LOCALIZATION
from napari_medxai.validation import finished
from napari_medxai.validation.differing import differing
from napari_medxai.validation.finished import Quantity, load_run
from napari_medxai.validation.forest import difference_text, forest_figure
from napari_medxai.validation.listing import aligned, figure, printable
from napari_medxai.validation.page import COLUMNS
from napari_medxai.validation.pairing import (
    GROUPS,
    PairedDifference,
    group_of,
    pair_runs,
)
from napari_medxai.validation.wording import direction, metric_label

EVIL = '<script>alert("x")</script>'
# Case, patient, SIC area in A and in B: two images of p1, so five units.
PAIRS = (
    ("c1", "p1", 0.5, 0.6),
    ("c2", "p1", 0.5, 0.8),
    ("c3", "p2", 0.5, 0.6),
    ("c4", "p3", 0.5, 0.7),
    ("c5", "p4", 0.5, 0.6),
    ("c6", "p5", 0.5, 0.6),
)
LEFT_OUT = (
    ("c7", "p6", "", 0.6),
    ("c8", "p6", 0.5, ""),
    ("c9", "p7", 0.5, ""),
    ("c10", "p8", "", ""),
)


def rows(side: int, method: str = "gradcam", **more) -> list[dict]:
    return [
        row(case, both[side], method, patient=patient, **more)
        for case, patient, *both in (*PAIRS, *LEFT_OUT)
    ]


@pytest.fixture
def runs(tmp_path):
    """Two runs of two methods; `edge` is the same in both."""
    same = [row(c, 0.4, "edge", patient=p) for c, p, *_ in (*PAIRS, *LEFT_OUT)]
    a = write_run(tmp_path / "a", [*rows(0), *same])
    b = write_run(tmp_path / "b", [*rows(1), *same], seed=1)
    return a, b


def found(pairing, metric, method="gradcam", preset="pair") -> PairedDifference:
    (one,) = (
        d
        for d in pairing.differences
        if (d.metric, d.method, d.preset) == (metric, method, preset)
    )
    return one


def paired(a: Path, b: Path, **more):
    return pair_runs(load_run(a), load_run(b), **more)


def run(*arguments) -> int:
    return compare.main([str(a) for a in arguments])


def test_differences_counts_and_p_value_by_hand(runs):
    one = found(paired(*runs), "sic")
    assert (one.n_units, one.n_pairs) == (5, 6)
    assert (one.n_only_a, one.n_only_b, one.n_neither) == (2, 1, 1)
    # by patient: 0.2 (mean of 0.1 and 0.3), 0.1, 0.2, 0.1, 0.1
    assert one.mean_a == pytest.approx(0.5)
    assert one.mean_b == pytest.approx(0.64)
    assert one.difference == pytest.approx(0.14)
    assert 0.0999 < one.ci_low < 0.14 < one.ci_high < 0.2001
    assert one.p_value == pytest.approx(2 / 2**5)  # all five signs equal
    assert one.p_adjusted == pytest.approx(2 * 2 / 2**5)  # of two methods
    same = found(paired(*runs), "sic", "edge")
    assert (same.n_pairs, same.difference, same.p_value) == (10, 0, 1)
    assert not same.noteworthy


def test_a_slow_second_way_gives_the_same_numbers(tmp_path):
    rng = random.Random(5)
    table = [
        (f"c{i}", f"p{i % 6}", rng.uniform(0, 1), rng.uniform(0, 1)) for i in range(15)
    ]
    a, b = (
        write_run(
            tmp_path / name,
            [row(c, round(both[side], 6), patient=p) for c, p, *both in table],
        )
        for side, name in enumerate("ab")
    )
    one = found(paired(a, b), "sic")
    units = [
        statistics.mean(y - x for _, p, x, y in table if p == f"p{k}") for k in range(6)
    ]
    mean = statistics.mean(units)
    flips = [
        abs(statistics.mean(s * u for s, u in zip(signs, units, strict=True)))
        for signs in itertools.product((1, -1), repeat=6)
    ]
    p = statistics.mean(f >= abs(mean) - 1e-9 for f in flips)
    assert one.difference == pytest.approx(mean, abs=2e-6)
    assert one.p_value == pytest.approx(p)
    resampled = sorted(
        statistics.mean(rng.choice(units) for _ in units) for _ in range(4000)
    )
    assert one.ci_low == pytest.approx(resampled[100], abs=0.05)
    assert one.ci_high == pytest.approx(resampled[3900], abs=0.05)


def test_p_values_are_corrected_by_metric_and_preset(tmp_path):
    """Holm by hand: two methods in each preset, 1/32 doubled, and not fourfold."""
    presets, methods = ("pair", "corrected"), ("gradcam", "xrai")
    a, b = (
        write_run(
            tmp_path / name,
            [
                row(f"c{i}", 0.5 + shift, method, preset=preset)
                for i in range(6)
                for method in methods
                for preset in presets
            ],
        )
        for name, shift in (("a", 0.0), ("b", 0.1))
    )
    pairing = paired(a, b)
    for preset, method in itertools.product(presets, methods):
        one = found(pairing, "sic", method, preset)
        assert one.p_value == pytest.approx(2 / 2**6)
        assert one.p_adjusted == pytest.approx(2 * 2 / 2**6)


def test_progress_is_told(runs):
    told = []
    pairing = paired(*runs, progress=lambda done, total: told.append((done, total)))
    n = len(pairing.differences)
    assert told == [(i, n) for i in range(1, n + 1)]


def test_swapping_the_runs_turns_every_sign(runs):
    forth, back = paired(*runs), paired(*reversed(runs))
    for one, other in zip(forth.differences, back.differences, strict=True):
        assert one.difference == pytest.approx(-other.difference, nan_ok=True)
        assert (one.n_only_a, one.mean_a) == pytest.approx(
            (other.n_only_b, other.mean_b), nan_ok=True
        )
        assert one.p_value == pytest.approx(other.p_value, nan_ok=True)


def test_exclusions_are_an_outcome_of_the_classifier(runs):
    pairing = paired(*runs)
    one = found(pairing, "sic_excluded", "")
    assert one.n_pairs == 10
    # A leaves out c7 and c10, B c8, c9 and c10; p6 has one of two in each
    assert one.mean_a == pytest.approx((0.5 + 1) / 8)
    assert one.mean_b == pytest.approx((0.5 + 1 + 1) / 8)
    assert one.noteworthy
    assert one.p_value == 1  # one unit that moved
    assert any(
        "SIC (pair): 2 images have an area in A only, 1 in B only" in c
        for c in pairing.cautions
    )
    assert found(pairing, "aic").n_neither == 10
    assert math.isnan(found(pairing, "aic").p_adjusted)


def test_a_method_that_failed_counts_as_left_out(tmp_path):
    broken = row("c1", "", status="failed", reason="no layer", sic_excluded="")
    other = row("c1", 0.4, "edge", pointing_hit=1, relevance_mass=0.5)
    a = write_run(tmp_path / "a", [broken, other])
    b = write_run(tmp_path / "b", [row("c1", 0.5, pointing_hit=1), other])
    pairing = paired(a, b)
    for metric, preset in (("sic", "pair"), ("pointing_hit", "")):
        one = found(pairing, metric, preset=preset)
        assert (one.n_pairs, one.n_only_b) == (0, 1)
        assert math.isnan(one.difference)


def test_the_classifier_itself(tmp_path):
    def made(name, wrong):
        return write_run(
            tmp_path / name,
            [
                row(
                    f"c{i}",
                    0.5,
                    correct="false" if i in wrong else "true",
                    target_class="pituitary" if i in wrong else "glioma",
                    probability=0.6 + i / 100,
                )
                for i in range(4)
            ],
        )

    pairing = paired(made("a", {0, 1}), made("b", {1, 2, 3}))
    one = found(pairing, "correct", "", "")
    assert (one.mean_a, one.mean_b, one.difference) == (0.5, 0.25, -0.25)
    # the label's probability is known where its class was explained: no image in both
    known = found(pairing, "label_probability", "", "")
    assert (known.n_pairs, known.n_only_a, known.n_only_b, known.n_neither) == (
        0,
        2,
        1,
        1,
    )
    text = " ".join(pairing.cautions)
    assert "explained class of 3 of 4 images" in text
    assert "0 of 4 images have it in both runs" in text


def test_localisation_counts_once_and_only_where_there_is_a_mask(tmp_path):
    def made(name, mass):
        return write_run(
            tmp_path / name,
            [
                *(
                    row("c1", 0.5, preset=p, pointing_hit=1, relevance_mass=mass)
                    for p in ("pair", "corrected")
                ),
                row("c2", 0.5),
            ],
        )

    pairing = paired(made("a", 0.25), made("b", 0.75))
    mass = found(pairing, "relevance_mass", preset="")
    assert (mass.n_pairs, mass.difference, mass.n_images) == (1, 0.5, 1)
    distance = found(pairing, "peak_distance_mm", preset="")
    assert (distance.n_pairs, distance.n_neither) == (0, 1)


def test_chance_ranks_are_shares_of_their_own_number(tmp_path):
    def made(name, n, rank, null="surrogate"):
        chance = {"null": null, "chance_n": n, "sic_chance_rank": rank}
        return write_run(tmp_path / name, [row("c1", 0.5, **chance)])

    a, b = made("a", 20, 15), made("b", 50, 50)
    one = found(paired(a, b), "sic_chance_rank")
    assert (one.mean_a, one.mean_b) == (0.75, 1)
    other = paired(a, made("c", 20, 20, null="random_pixels"))
    assert not [d for d in other.differences if "chance" in d.metric]
    assert any(
        "the null is surrogate in A and random_pixels in B" in c for c in other.cautions
    )


def test_measures_pair_too_but_not_p_values(tmp_path):
    def made(name, value):
        extra = [
            measure("c1", "insertion_auc", value, slice="3"),
            measure("c1", "sic_p_value", 0.01, preset="pair"),
            measure("c1", "sic_chance_rank", 12, preset="pair"),
            measure("c1", "sic_chance_n", 20, preset="pair"),
            measure("c1", "volume_share", value),
            measure("c2", "insertion_auc", value, slice="3"),
        ]
        own = [row("c1", 0.5, slice="3")]
        return write_run(tmp_path / name, own, measures=extra)

    pairing = paired(made("a", 0.25), made("b", 0.5))
    one = found(pairing, "insertion_auc", preset="")
    assert (one.n_pairs, one.difference) == (1, 0.25)  # c2 has no row that pairs
    assert found(pairing, "volume_share", preset="").n_pairs == 1
    names = {d.metric for d in pairing.differences}
    assert not names & {"sic_p_value", "sic_chance_rank", "sic_chance_n"}


def test_cases_and_slices_of_one_run_only(tmp_path):
    a = write_run(
        tmp_path / "a",
        [row("v", 0.5, slice="1"), row("v", 0.5, slice="2"), row("x", 0.5)],
    )
    b = write_run(
        tmp_path / "b",
        [row("v", 0.5, slice="2"), row("v", 0.6, slice="3"), row("y", 0.5)],
        errors=[{"case": "x", "stage": "read", "error": "StudyError", "detail": "d"}],
    )
    pairing = paired(a, b)
    assert (pairing.n_rows, pairing.n_images, pairing.n_cases) == (1, 1, 1)
    assert pairing.only_a == ("x (the other run failed: read: StudyError)",)
    assert pairing.only_b == ("y",)
    assert (pairing.images_only_a, pairing.images_only_b) == (1, 1)
    assert (pairing.unit, pairing.n_units) == ("patients", 1)


def test_without_patients_cases_are_units_and_it_is_said(tmp_path):
    a, b = (
        write_run(
            tmp_path / name,
            [row("v", 0.5, slice=str(i), patient="") for i in range(3)],
        )
        for name in "ab"
    )
    pairing = paired(a, b)
    assert (pairing.unit, pairing.n_units) == ("cases", 1)
    assert any("counts cases, not patients" in c for c in pairing.cautions)
    assert any("byte by byte" in c for c in pairing.cautions)


def test_other_pixels_labels_and_patients_are_said(tmp_path):
    def made(name, digest, label, patient):
        cases = {"c1": {"key": "k", "input_sha256": digest}}
        own = [row("c1", 0.5, label=label, patient=patient)]
        return write_run(tmp_path / name, own, cases=cases)

    pairing = paired(made("a", "1", "glioma", "p"), made("b", "2", "pituitary", "q"))
    text = " ".join(pairing.cautions)
    assert "pixels of 1 of 1 cases" in text
    assert "label of 1 of 1 images" in text
    assert "patient of 1 of 1 cases" in text


def test_settings_that_differ(runs):
    a = facts(("gradcam", "xrai"), device="cpu")
    b = facts(("gradcam",), device="cuda:0", seed=7, seconds=99.0, n_failed=3)
    b["model"] = {**a["model"], "sha256": "cd" * 32, "licence": "other"}
    b["methods"][0]["parameters"] = {"layer": "bn1"}
    b["settings"] = {**a["settings"], "limit": 4, "masks": "none", "presets": ["a"]}
    b["versions"] = {**a["versions"], "torch": "2.8"}
    told = [(d.name, d.a, d.b) for d in differing(a, b)]
    assert told == [
        ("model.sha256", "ab" * 32, "cd" * 32),
        ("method gradcam.layer", "bn2", "bn1"),
        ("method xrai", "run", "-"),
        ("method xrai.layer", "bn2", "-"),
        ("device", "cpu", "cuda:0"),
        ("seed", "0", "7"),
        ("settings.masks", "-", "none"),
        ("settings.presets", "-", "a"),
        ("versions.torch", "2.9", "2.8"),
    ]
    assert differing(a, a) == ()
    assert differing({"model": "m", "x": True}, {"model": None, "x": False}) == (
        *differing({"model": "m"}, {"model": None}),
        *differing({"x": True}, {"x": False}),
    )


def test_the_command_prints_writes_and_leaves_the_runs_alone(runs, capsys):
    a, b = runs
    before = {p: p.read_bytes() for r in runs for p in r.iterdir()}
    assert run(a, b) == 0
    text = capsys.readouterr().out
    assert "seed  0  1" in text
    assert "Pairs: 10 images of 10 cases (8 patients), 20 rows." in text
    (line,) = (t for t in text.splitlines() if t.startswith("sic ") and "gradcam" in t)
    assert line.split()[:3] == ["sic", "pair", "gradcam"]
    assert "+0.1400" in line
    assert line.split()[-4:] == ["6", "2", "1", "1"]
    assert not [t for t in text.splitlines() if "edge" in t]
    assert "further difference" in text
    assert "For research use only" in text
    out = b / "compare-with-a"
    with (out / "compare.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    (sic,) = (t for t in table if (t["metric"], t["method"]) == ("sic", "gradcam"))
    assert (sic["difference"], sic["n_pairs"], sic["n_only_a"]) == ("0.14", "6", "2")
    assert all(path.read_bytes() == content for path, content in before.items())
    again = {p.name: p.read_bytes() for p in out.iterdir()}
    assert run(a, b, "--all") == 0
    assert [t for t in capsys.readouterr().out.splitlines() if " edge " in t]
    assert {p.name: p.read_bytes() for p in out.iterdir()} == again


def test_the_page_is_self_contained_and_complete(runs, tmp_path):
    assert run(*runs, "--out", tmp_path / "page", "--seed", "3") == 0
    html = (tmp_path / "page" / "compare.html").read_text(encoding="utf-8")
    for words in (
        "For research use only",
        "--figure-pink",  # the report's colours, for both themes
        "prefers-color-scheme: dark",
        "<svg",
        "+0.140",
        "SIC area",
        "with seed 3",
        "The 6 pairs are a selection",
        "none is told from zero",
    ):
        assert words in html
    assert "<script" not in html
    assert "<link" not in html
    assert 'src="' not in html


def test_what_is_told_apart_stands_first(tmp_path):
    both = [(f"c{i}", 0.4 + i / 100, 0.5 + i / 100) for i in range(8)]
    a, b = (
        write_run(tmp_path / name, [row(c, v[side]) for c, *v in both])
        for side, name in enumerate("ab")
    )
    one = found(paired(a, b), "sic")
    assert one.told_apart
    assert one.p_adjusted == pytest.approx(2 / 2**8)
    assert run(a, b) == 0
    html = (b / "compare-with-a" / "compare.html").read_text(encoding="utf-8")
    assert "1 of " in html[html.index('id="result"') : html.index('id="settings"')]
    assert "+0.100 [0.100, 0.100]" in html


def test_text_of_the_runs_is_escaped(tmp_path, capsys):
    methods = [{"name": "gradcam", "label": EVIL, "parameters": {EVIL: EVIL}}]
    model = {"name": EVIL, "sha256": "1"}
    rows_a = [row("c1", 0.5), row(f"{EVIL}\x1b[2J", 0.5)]
    a = write_run(tmp_path / "a", rows_a, methods=methods, model=model)
    b = write_run(tmp_path / "b", [row("c1", 0.6)], inputs=EVIL, methods=[])
    assert run(a, b) == 0
    assert "\x1b" not in capsys.readouterr().out
    html = (b / "compare-with-a" / "compare.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in html
    assert "<script" not in html


def test_folders_of_dicom_runs_are_not_named(tmp_path):
    a = write_run(tmp_path / "Doe_John", [row("P-1", 0.5)], inputs="DICOM studies")
    b = write_run(tmp_path / "b", [row("P-1", 0.5)], inputs="DICOM studies")
    assert run(a, b, "--out", tmp_path / "o") == 0
    for path in (tmp_path / "o").iterdir():
        assert "Doe" not in path.read_text(encoding="utf-8")


def test_old_runs_without_the_new_columns(tmp_path):
    a, b = (write_run(tmp_path / n, [row("c1", 0.5)], errors=None) for n in "ab")
    for folder in (a, b):
        text = "case,slice,method,preset,status,sic_auc\nc1,,gradcam,pair,ok,0.5\n"
        (folder / "results.csv").write_text(text)
        (folder / "run.json").write_text("{}")
    pairing = paired(a, b)
    assert [d.metric for d in pairing.differences] == ["sic_excluded", "sic"]
    assert run(a, b) == 0


def broken(folder: Path, name: str, text: str | bytes | None) -> None:
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


HEAD = ",".join(("case", "slice", "method", "preset", "status"))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("run.json", None, "has no run.json"),
        ("run.json", "{", "is not JSON"),
        ("run.json", "[" * 100_000, "is not JSON"),
        ("run.json", "[]", "holds no JSON object"),
        ("results.csv", None, "has no results.csv"),
        ("results.csv", "", "is empty"),
        ("results.csv", b"\xff\xfe", "not UTF-8"),
        ("results.csv", "case,slice\n", "no column method, preset, status"),
        ("results.csv", f"{HEAD},case\n", "names a column twice"),
        ("results.csv", f"{HEAD}\nc1,,g\n", "line 2: 3 cells where the header has 5"),
        ("results.csv", f'{HEAD}\n"c1\n', "unexpected end of data"),
        ("results.csv", f'"{HEAD}\n', "line 1: unexpected end of data"),
        (
            "results.csv",
            f"{HEAD},sic_auc\nc1,,gradcam,pair,ok,half\n",
            "line 2: 'half' under sic_auc is no number",
        ),
        (
            "results.csv",
            f"{HEAD},correct\nc1,,gradcam,pair,ok,yes\n",
            "neither true nor false",
        ),
        (
            "results.csv",
            f"{HEAD}\n" + "c1,,gradcam,pair,ok\n" * 2,
            "line 3: the row of c1, gradcam, pair is there twice",
        ),
        (
            "measures.csv",
            "case,slice,method,preset,metric,value\n" + "c1,,gradcam,,m,1\n" * 2,
            "line 3: m of c1, gradcam is there twice",
        ),
        ("measures.csv", "case\n", "no column slice"),
        ("errors.csv", "case\n", "no column stage, error"),
    ],
)
def test_damaged_runs_are_refused(runs, capsys, name, text, says):
    a, b = runs
    broken(b, name, text)
    assert run(a, b) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("napari-medxai compare: ")
    assert not (b / "compare-with-a").exists()


def test_a_results_file_that_cannot_be_opened(runs, capsys, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert run(*runs) == 2
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ([], "run B has no result"),
        ([row("else", 0.5)], "no case is in both runs (A has 'c1', B has 'else')"),
        ([row("c1", 0.5, slice="4")], "no slice is in both"),
        ([row("c1", 0.5, "xrai")], "no method is in both runs (A: gradcam; B: xrai)"),
        ([row("c1", 0.5, preset="corrected")], "(A: pair; B: corrected)"),
    ],
)
def test_nothing_pairs(tmp_path, capsys, other, says):
    a = write_run(tmp_path / "a", [row("c1", 0.5)])
    b = write_run(tmp_path / "b", other)
    assert run(a, b) == 2
    assert says in capsys.readouterr().err


def test_wrong_usage(runs, tmp_path, capsys):
    a, b = runs
    assert run(a, a) == 2
    assert "the same folder" in capsys.readouterr().err
    assert run(a, tmp_path / "none") == 2
    assert "is no folder" in capsys.readouterr().err
    assert run(a, b, "--seed", -1) == 2
    assert "negative" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        run(a)
    assert stopped.value.code == 2


def test_output_that_cannot_be_written(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(*runs, "--out", tmp_path / "file") == 1
    assert "cannot write" in capsys.readouterr().err


def test_columns_and_names_are_those_of_the_batch():
    assert finished.LOCALIZATION == LOCALIZATION
    used = {*finished.KEY, *LOCALIZATION, "status", "patient", "label", "correct"}
    used |= {"predicted_class", "target_class", "probability", "null", "chance_n"}
    used |= {
        f"{c}_{w}" for c in finished.CURVES for w in ("auc", "excluded", "chance_rank")
    }
    assert used <= set(RESULT_COLUMNS)


def test_groups_and_labels():
    assert [
        group_of(metric, method)
        for metric, method in (
            ("correct", ""),
            ("sic", "m"),
            ("aic_chance_rank", "m"),
            ("iou_otsu", "m"),
            ("insertion_auc", "m"),
        )
    ] == list(GROUPS)
    assert metric_label("spearman:xrai") == "Rank correlation with xrai"
    assert metric_label("randomised_ssim:head") == (
        "SSIM to the randomised network's map (head)"
    )
    assert metric_label("new") == "new"
    assert direction("sic") == "larger is better"
    assert direction("randomised_ssim:head") == "smaller is better"
    assert direction("tied_share") == ""


def test_forest_draws_every_method():
    def one(method, difference, low=NAN, high=NAN, p=1.0):
        counts = dict.fromkeys(("n_only_a", "n_only_b", "n_neither"), 0)
        return PairedDifference(
            metric="sic", preset="pair", method=method, n_units=6, n_pairs=6, **counts,
            mean_a=0.5, mean_b=0.5 + difference, difference=difference, ci_low=low,
            ci_high=high, p_value=p, p_adjusted=p,
        )  # fmt: skip

    drawn = forest_figure(
        [
            one("xrai", -0.1, -0.2, 0.0),
            one("edge", NAN),
            one("gradcam", 0.3, 0.2, 0.4, 0),
        ],
        label="SIC area",
        labels={"gradcam": "Grad-CAM"},
    )
    (axes,) = drawn.axes
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert names == ["Grad-CAM", "xrai", "edge"]
    low, high = axes.get_xlim()
    assert low < -0.2
    assert high > 0.4
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    filled = [d.get_markerfacecolor() == d.get_markeredgecolor() for d in dots]
    assert filled == [True, False]
    assert {t.get_text() for t in axes.texts} >= {"no pairs", "+0.300 [0.200, 0.400]"}
    assert difference_text(one("x", -0.0001)) == "0.000"
    assert (
        forest_figure([], label="x").axes[0].texts[0].get_text().startswith("Nothing")
    )


def test_lists_on_the_screen():
    assert printable("a\x1b[31m\né") == "a\\x1b[31m\\n\\xe9"
    assert printable("\ud800") == "\\ud800"
    assert printable("a" * 9, 6) == "aaa..."
    assert figure(NAN) == figure(None) == "-"
    assert figure(0.25, signed=True) == "+0.25"
    assert aligned([["a", "1"], ["bb", "10"]], right=[1]) == ["a    1", "bb  10"]


def test_values_are_nan_where_excluded_and_absent_where_not_measured(runs):
    one = load_run(runs[0])
    sic = one.values[Quantity("sic", "pair", "gradcam")]
    assert math.isnan(sic["c10", ""])
    assert sic["c1", ""] == 0.5
    assert Quantity("relevance_mass", "", "gradcam") not in one.values
    assert one.methods == ("gradcam", "edge")
    with pytest.raises(UsageError):
        load_run(runs[0] / "run.json")


def test_two_real_runs(tmp_path, blobs, tiny_model):
    for seed in (0, 1):
        options = "--methods gradcam,random --export none --quiet --limit 2"
        options += f" --report-cases 0 --seed {seed}"
        where = ("--model", str(tiny_model), "--out", str(tmp_path / f"seed{seed}"))
        status = batch.main([str(blobs), *where, *options.split()])
        assert status == 0
    a, b = tmp_path / "seed0", tmp_path / "seed1"
    assert run(a, b) == 0
    first, second = load_run(a), load_run(b)
    pairing = pair_runs(first, second)
    assert (pairing.n_images, pairing.n_rows, pairing.unit) == (2, 4, "patients")
    assert [d.name for d in differing(first.facts, second.facts)] == ["seed"]
    assert json.loads((a / "run.json").read_text())["seed"] == 0
    # what no seed enters stays the same, to the last bit
    for metric in ("correct", "relevance_mass"):
        method = "" if metric == "correct" else "gradcam"
        one = found(pairing, metric, method, "")
        assert (one.n_pairs, one.difference) == (2, 0)
    assert found(pairing, "relevance_mass", "random", "").difference != 0


def test_it_loads_neither_torch_nor_matplotlib_before_it_must():
    import subprocess

    code = (
        "import sys, napari_medxai.compare, napari_medxai.check\n"
        "print({'torch', 'matplotlib', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
