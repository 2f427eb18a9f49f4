"""Acceptance protocols: every bound both ways, nothing silently met, clear refusals."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from finished_runs import SHA256, line, measure, row, write_run
from napari_medxai import check
from napari_medxai.errors import UsageError
from napari_medxai.validation.acceptance import judge
from napari_medxai.validation.finished import load_run
from napari_medxai.validation.protocol import BOUNDS, RUN_BOUNDS, read_protocol

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "acceptance.toml"
CLASSES = ("all", "glioma", "pituitary", "wrong")
SHARE = "max_excluded_share = 0.4"
SIC = 'method = "gradcam"\nmetric = "sic"\n'


@pytest.fixture
def folder(tmp_path):
    """Five images of three patients in two classes, one wrong, one excluded."""
    rows = [
        row("c1", 0.7, patient="p1"),
        row("c2", 0.6, patient="p1"),
        row("c3", 0.4, patient="p2"),
        row("c4", 0.8, patient="p3", label="pituitary", correct="false"),
        row("c5", "", patient="", label="pituitary"),
        row("c1", 0.2, "xrai"),
        row("c2", "", "xrai", status="failed", sic_excluded=""),
    ]
    summary = [
        line("gradcam", "sic", 0.65, n=4, n_excluded=1, ci_low=0.55, ci_high=0.75),
        line("gradcam", "sic", 0.6, aggregation="mean", null="surrogate",
             p_value=0.01, p_adjusted=0.03, effect_size=0.8, n=4),
        line("gradcam", "sic", 0.5, n=1, **{"class": "pituitary"}),
        *(line("xrai", "sic", 0.2, n=1, **{"class": c}) for c in CLASSES),
        line("xrai", "sic", 0.3, n=1, preset="corrected"),
        line("gradcam", "insertion_auc", 0.9),
        line("gradcam", "relevance_mass", "", n=0),
    ]  # fmt: skip
    measures = [measure("c1", "insertion_auc", 0.95), measure("c2", "deletion_auc", "")]
    return write_run(
        tmp_path / "run",
        rows,
        summary=summary,
        measures=measures,
        errors=[{"case": "c9", "stage": "read", "error": "StudyError", "detail": "d"}],
        n_failed=1,
    )


def protocol(tmp_path: Path, text: str, title: str = "Ours") -> Path:
    path = tmp_path / "protocol.toml"
    path.write_text(f'protocol = "{title}"\n{text}', encoding="utf-8")
    return path


def verdicts(folder: Path, tmp_path: Path, text: str):
    return judge(load_run(folder), read_protocol(protocol(tmp_path, text)))


def one(folder: Path, tmp_path: Path, text: str):
    (verdict,) = verdicts(folder, tmp_path, text)
    return verdict


def run(*arguments) -> int:
    return check.main([str(a) for a in arguments])


@pytest.mark.parametrize(
    ("text", "value", "met"),
    [
        ("max_failed_cases = 1", 1, True),
        ("max_failed_cases = 0", 1, False),
        ("min_cases = 5", 5, True),
        ("min_cases = 6", 5, False),
        ("min_patients = 3", 3, True),
        ("min_patients = 4", 3, False),
        ("min_labelled_images = 5", 5, True),
        ("min_labelled_images = 6", 5, False),
        ("min_accuracy = 0.8", 0.8, True),
        ("min_accuracy = 0.81", 0.8, False),
        ("min_class_accuracy = 0.5", 0.5, True),
        ("min_class_accuracy = 0.51", 0.5, False),
    ],
)
def test_bounds_on_the_run(folder, tmp_path, text, value, met):
    verdict = one(folder, tmp_path, f"[run]\n{text}")
    assert (verdict.value, verdict.met) == (value, met)


@pytest.mark.parametrize(
    ("bound", "value", "met"),
    [
        ("at_least = 0.65", 0.65, True),
        ("at_least = 0.66", 0.65, False),
        ("at_most = 0.65", 0.65, True),
        ("at_most = 0.64", 0.65, False),
        ("ci_low_at_least = 0.55", 0.55, True),
        ("ci_low_at_least = 0.6", 0.55, False),
        ("ci_high_at_most = 0.75", 0.75, True),
        ("ci_high_at_most = 0.7", 0.75, False),
        ("n_at_least = 4", 4, True),
        ("n_at_least = 5", 4, False),
        ("max_excluded_share = 0.2", 0.2, True),
        ("max_excluded_share = 0.19", 0.2, False),
        ("every_at_least = 0.4", 0.4, True),
        ("every_at_least = 0.5", 0.4, False),
        ("every_at_most = 0.8", 0.8, True),
        ("every_at_most = 0.7", 0.8, False),
        ('aggregation = "mean"\np_adjusted_at_most = 0.05', 0.03, True),
        ('aggregation = "mean"\np_adjusted_at_most = 0.02', 0.03, False),
        ('aggregation = "mean"\neffect_at_least = 0.8', 0.8, True),
        ('aggregation = "mean"\neffect_at_least = 0.9', 0.8, False),
        ('aggregation = "mean"\nnull = "surrogate"\nat_least = 0.5', 0.6, True),
        ('class = "pituitary"\nat_least = 0.5', 0.5, True),
        ('class = "glioma"\nevery_at_least = 0.4', 0.4, True),
        ('class = "pituitary"\nevery_at_least = 0.5', 0.8, True),
    ],
)
def test_bounds_on_a_line(folder, tmp_path, bound, value, met):
    verdict = one(folder, tmp_path, f"[[require]]\n{SIC}{bound}")
    assert verdict.value == pytest.approx(value)
    assert verdict.met is met


def test_every_bound_there_is_was_tried():
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(source.count(f"{key} = ") >= 2 for key in (*BOUNDS, *RUN_BOUNDS))


def test_failed_images_count_as_left_out(folder, tmp_path):
    text = '[[require]]\nmethod = "xrai"\nmetric = "sic"\npreset = "pair"\n'
    verdict = one(folder, tmp_path, text + SHARE)
    assert (verdict.value, verdict.met) == (0.5, False)
    assert verdict.remark == "0 excluded and 1 failed of 2"
    for class_, value in (("glioma", 0.5), ("pituitary", 0.0), ("wrong", 0.5)):
        verdict = one(folder, tmp_path, f'{text}class = "{class_}"\n{SHARE}')
        assert verdict.value == value


def test_the_weakest_image_is_named(folder, tmp_path):
    verdict = one(folder, tmp_path, f"[[require]]\n{SIC}every_at_least = 0.5")
    assert verdict.remark == "c3; 4 images, 1 without a value do not count"
    text = '[[require]]\nmethod = "gradcam"\nmetric = "insertion_auc"\n'
    assert one(folder, tmp_path, text + "every_at_least = 0.9").value == 0.95


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('method = "lime"\nmetric = "sic"\nat_least = 0',
         "no method 'lime' in this run; there is gradcam, xrai"),
        ('method = "gradcam"\nmetric = "iou_otsu"\nat_least = 0',
         "no metric 'iou_otsu' for gradcam; there is sic, insertion_auc,"),
        (SIC + 'preset = "brima2024"\nat_least = 0', "for gradcam sic; there is pair"),
        (SIC + 'aggregation = "mean_curve"\nat_least = 0', "median_curve, mean"),
        (SIC + 'class = "other"\nat_least = 0', "no class 'other'"),
        (SIC + 'null = "surrogate"\nat_least = 0',
         "no null 'surrogate' for gradcam sic median_curve all; there is none"),
        ('method = "xrai"\nmetric = "sic"\nat_least = 0',
         "2 lines fit; say which preset (corrected, pair)"),
        (SIC + "p_adjusted_at_most = 1", "summary.csv has no p_adjusted in this line"),
        ('method = "gradcam"\nmetric = "relevance_mass"\nat_least = 0',
         "summary.csv has no value in this line"),
        ('method = "gradcam"\nmetric = "relevance_mass"\nmax_excluded_share = 1',
         "the line has no images"),
        (SIC + 'class = "none"\nevery_at_least = 0',
         "no image of class 'none' has a value"),
        ('method = "gradcam"\nmetric = "tied_share"\nevery_at_most = 1',
         "no image of this run has such a value"),
        ('method = "gradcam"\nmetric = "deletion_auc"\nevery_at_most = 1',
         "no image of class 'all' has a value"),
        (SIC + 'preset = "corrected"\nevery_at_least = 0',
         "no image of this run has such a value"),
    ],
)  # fmt: skip
def test_what_the_run_does_not_have_is_not_met(folder, tmp_path, text, says):
    verdict = one(folder, tmp_path, f"[[require]]\n{text}")
    assert verdict.value is None
    assert not verdict.met
    assert says in verdict.remark


def test_several_presets_need_to_be_told_apart(tmp_path):
    rows = [row("c1", 0.5, preset=p) for p in ("pair", "corrected")]
    folder = write_run(tmp_path / "run", rows, summary=[line("gradcam", "sic", 1)])
    verdict = one(folder, tmp_path, f"[[require]]\n{SIC}every_at_least = 0")
    assert not verdict.met
    assert verdict.remark == "say which preset (corrected, pair)"


def test_model_and_settings(folder, tmp_path):
    text = f"""
    [run]
    model_sha256 = "{SHA256.upper()}"
    [run.equals]
    seed = 0
    target = "label"
    settings.slices = "middle"
    settings.min_probability = 0.8
    settings.masks = "auto"
    "versions"."napari-medxai" = "0.1.0"
    methods = "gradcam"
    """
    found = verdicts(folder, tmp_path, text)
    assert [(v.quantity, v.value, v.met) for v in found] == [
        ("model.sha256", SHA256, True),
        ("seed", "0", True),
        ("target", "predicted", False),
        ("settings.slices", "middle", True),
        ("settings.min_probability", "0.8", True),
        ("settings.masks", None, False),
        ("versions.napari-medxai", "0.1.0", True),
        ("methods", None, False),
    ]


def test_true_false_and_whole_numbers_are_compared_as_such(tmp_path):
    more = {"simulated": True, "resample": False, "seed": 3, "dotted.name": 1.0}
    folder = write_run(tmp_path / "run", [row("c1", 0.5)], **more)
    text = "[run.equals]\nsimulated = true\nresample = false\n"
    text += 'seed = 3.0\n"dotted.name" = 1'
    assert all(v.met for v in verdicts(folder, tmp_path, text))
    assert not one(folder, tmp_path, '[run.equals]\nsimulated = "yes"').met


def test_runs_that_say_less_meet_nothing_silently(tmp_path):
    folder = write_run(
        tmp_path / "run",
        [row("c1", 0.5, correct="", label="", patient="")],
        errors=None,
        n_failed=None,
        model={},
    )
    text = f"""
    [run]
    max_failed_cases = 9
    min_patients = 1
    min_accuracy = 0
    min_class_accuracy = 0
    model_sha256 = "{SHA256}"
    """
    found = verdicts(folder, tmp_path, text)
    assert not any(v.met for v in found)
    assert [v.remark for v in found] == [
        "neither run.json nor errors.csv says so",
        "1 cases without a patient do not count",
        "no image has a label",
        "no image has a label",
        "run.json does not say",
    ]


def test_the_larger_count_of_failures_counts(folder, tmp_path):
    facts = json.loads((folder / "run.json").read_text())
    for said, value in ((4, 4), (0, 1)):
        (folder / "run.json").write_text(json.dumps(facts | {"n_failed": said}))
        verdict = one(folder, tmp_path, "[run]\nmax_failed_cases = 0")
        assert verdict.value == value


def test_statuses_and_lines_of_the_command(folder, tmp_path, capsys):
    good = f"[run]\nmin_cases = 5\n[[require]]\n{SIC}at_least = 0.65\n"
    assert run(folder, "--require", protocol(tmp_path, good, "Güte\x1b")) == 2
    assert "is no TOML" in capsys.readouterr().err
    assert run(folder, "--require", protocol(tmp_path, good, "Güte")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "G\\xfcte"
    assert [" ".join(t.split()) for t in lines[1:]] == [
        "requirement of value bound verdict",
        "run cases with results 5 >= 5 met",
        "gradcam sic median_curve all value 0.65 >= 0.65 met",
        "For research use only. Not for diagnosis.",
        "2 of 2 requirements met: accepted by this protocol.",
    ]
    assert lines[1].index("verdict") == lines[2].index("met") == lines[3].index("met")
    bad = good + f"[[require]]\n{SIC}at_least = 0.66\n"
    assert run(folder, "--require", protocol(tmp_path, bad)) == 1
    text = capsys.readouterr().out
    assert "NOT MET" in text
    assert "\x1b" not in text
    assert text.endswith("2 of 3 requirements met: NOT accepted by this protocol.\n")


def test_colour_on_a_terminal_only(folder, tmp_path, capsys, monkeypatch):
    text = f"[run]\nmin_cases = 5\n[[require]]\n{SIC}at_least = 0.66\n"
    path = protocol(tmp_path, text)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run(folder, "--require", path) == 1
    lines = capsys.readouterr().out
    assert "\x1b[32mmet\x1b[0m" in lines
    assert "\x1b[31mNOT MET\x1b[0m" in lines
    monkeypatch.setenv("NO_COLOR", "1")
    assert run(folder, "--require", path) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_json_beside_the_list(folder, tmp_path):
    path = protocol(
        tmp_path, f"[[require]]\n{SIC}at_least = 1\np_adjusted_at_most = 1\n"
    )
    out = folder / "acceptance.json"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for _ in range(2):  # its own file is written anew
        assert run(folder, "--require", path, "--out", out) == 1
    said = json.loads(out.read_text(encoding="utf-8"))
    assert said["protocol"] == "Ours"
    assert said["protocol_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert said["run_files_sha256"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in before.items()
    }
    assert said["model_sha256"] == SHA256
    assert (said["accepted"], said["n_met"], said["n_requirements"]) == (False, 0, 2)
    assert said["checked"].endswith("Z")
    assert [(r["value"], r["bound"], r["met"]) for r in said["requirements"]] == [
        (0.65, 1.0, False),
        (None, 1.0, False),
    ]
    assert "research use only" in said["note"]


@pytest.mark.parametrize("name", ["run.json", "summary.csv", "results.csv"])
def test_files_of_the_run_are_never_overwritten(folder, tmp_path, capsys, name):
    path = protocol(tmp_path, "[run]\nmin_cases = 1")
    before = (folder / name).read_bytes()
    assert run(folder, "--require", path, "--out", folder / name) == 2
    assert "is a file of the run" in capsys.readouterr().err
    assert (folder / name).read_bytes() == before


def test_output_that_cannot_be_written(folder, tmp_path, capsys):
    path = protocol(tmp_path, "[run]\nmin_cases = 1")
    assert run(folder, "--require", path, "--out", path) == 2
    assert "is the protocol itself" in capsys.readouterr().err
    assert run(folder, "--require", path, "--out", path / "below.json") == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("protocol = ", "is no TOML"),
        ("a = " + "[" * 100_000, "is"),
        ("", "it has no name"),
        ("protocol = 3", "protocol must be text in quotes"),
        ('protocol = "x"', "it asks for nothing"),
        ('protocol = "x"\n[run]', "it asks for nothing"),
        ('protocol = "x"\nrun = 1', "run must be a table"),
        ('protocol = "x"\nrequire = 1', "require must be a list of tables"),
        ('protocol = "x"\n[require]\nat_least = 1', "require must be a list"),
        ('protocol = "x"\n[runs]', "runs at the top is unknown; there are protocol"),
        ('protocol = "x"\n[run]\nmin_case = 1', "min_case in [run] is unknown"),
        ('protocol = "x"\n[run]\nmin_cases = "1"', "must be a number without quotes"),
        ('protocol = "x"\n[run]\nmin_cases = true', "must be a number without quotes"),
        ('protocol = "x"\n[run]\nmin_cases = nan', "must be finite"),
        ('protocol = "x"\n[run]\nmin_accuracy = 90', "is a share from 0 to 1"),
        ('protocol = "x"\n[run]\nmodel_sha256 = "ab"', "64 hexadecimal digits"),
        ('protocol = "x"\n[run]\nmodel_sha256 = ""', "64 hexadecimal digits"),
        ('protocol = "x"\n[run]\nequals = 1', "run.equals must be a table"),
        ('protocol = "x"\n[run.equals]\na.b = [1]', "run.equals.a.b must be text"),
        (
            'protocol = "x"\n[[require]]\nmethod = "m"',
            "metric missing in [[require]]",
        ),
        (f'protocol = "x"\n[[require]]\n{SIC}', "no bound in [[require]] number 1"),
        (f'protocol = "x"\n[[require]]\n{SIC}at_last = 1', "at_last in [[require]]"),
        (f'protocol = "x"\n[[require]]\n{SIC}class = ""\nat_least = 1', "is empty"),
        (
            f'protocol = "x"\n[[require]]\n{SIC}max_excluded_share = 1.5',
            "is a share from 0 to 1",
        ),
    ],
)
def test_malformed_protocols(folder, tmp_path, capsys, text, says):
    path = tmp_path / "protocol.toml"
    path.write_text(text)
    assert run(folder, "--require", path) == 2
    error = capsys.readouterr().err
    assert says in error
    assert str(path) in error


def test_wrong_usage(folder, tmp_path, capsys):
    path = protocol(tmp_path, f"[[require]]\n{SIC}at_least = 1\n")
    assert run(folder, "--require", tmp_path / "none.toml") == 2
    assert "cannot read" in capsys.readouterr().err
    assert run(tmp_path / "none", "--require", path) == 2
    assert "is no folder" in capsys.readouterr().err
    (folder / "summary.csv").write_text("method\n")
    assert run(folder, "--require", path) == 2
    assert "no column metric" in capsys.readouterr().err
    (folder / "summary.csv").unlink()
    assert run(folder, "--require", path) == 2
    assert "has no summary.csv" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        run(folder)
    assert stopped.value.code == 2


def test_a_summary_that_holds_no_numbers(tmp_path):
    summary = [line("gradcam", "sic", "good", ci_low="inf")]
    folder = write_run(tmp_path / "run", [row("c1", 0.5)], summary=summary)
    with pytest.raises(UsageError, match="'good' under value is no number"):
        verdicts(folder, tmp_path, f"[[require]]\n{SIC}at_least = 1\n")
    verdict = one(folder, tmp_path, f"[[require]]\n{SIC}ci_low_at_least = 0.1\n")
    assert (verdict.value, verdict.met) == (None, False)


def test_the_example_protocol(tmp_path, capsys):
    """Every bound of the example stands in a run made to meet it."""
    read = read_protocol(EXAMPLE)
    rows = [
        row(f"c{i}", 0.7, relevance_mass=0.4, pointing_hit=1, correct="true")
        for i in range(4)
    ]
    summary = [
        line("gradcam", "sic", 0.7, null="surrogate", p_adjusted=0.01, effect_size=0.9),
        line("gradcam", "relevance_mass", 0.4),
    ]
    more = {"precision": "fp32", "model": {"name": "m", "sha256": read.model_sha256}}
    folder = write_run(tmp_path / "run", rows, summary=summary, **more)
    assert run(folder, "--require", EXAMPLE) == 0, capsys.readouterr().out
    assert "15 of 15 requirements met" in capsys.readouterr().out


def test_the_example_names_the_bundled_model():
    from napari_medxai import load_model

    assert load_model("brain-tumor-mri").digest == read_protocol(EXAMPLE).model_sha256


def test_the_documentation_names_every_key():
    text = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    assert [key for key in (*BOUNDS, *RUN_BOUNDS) if f"`{key}`" not in text] == []
