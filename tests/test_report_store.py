"""Finished cases on disk: whole or not at all, and read back as they were."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from napari_medxai.errors import OutputError
from napari_medxai.report import Store, publish
from napari_medxai.results import Exported
from report_rows import outcome, result

KEY = "k" * 8
PNG = Exported("png", "", "a_image.png", b"y")
TOKENS = {"png": "one"}


def test_a_damaged_record_is_computed_again(tmp_path):
    store = Store(tmp_path)
    store.save(result(name="a"), {"image.plain.webp": b"x"}, [PNG], TOKENS)
    assert store.has(KEY)
    assert store.has(KEY, TOKENS)
    assert not store.has(KEY, {"png": "another"})
    assert not store.has(KEY, {"nifti": "one"})
    record = tmp_path / ".cases" / (KEY) / "case.json"
    record.write_text(json.dumps({"name": "a"}))
    assert not store.has(KEY)
    with pytest.raises(OutputError, match="damaged"):
        store.load(KEY)


def test_a_lost_or_unlisted_export_is_made_again(tmp_path):
    store = Store(tmp_path)
    store.save(result(name="a"), {}, [PNG], TOKENS)
    folder = tmp_path / ".cases" / (KEY)
    (folder / "exports" / "png" / "a_image.png").unlink()
    assert store.has(KEY)
    assert not store.has(KEY, TOKENS)
    store.save(result(name="a"), {}, [PNG], TOKENS)
    assert store.has(KEY, TOKENS)
    (folder / "exports.json").write_text("{")
    assert not store.has(KEY, TOKENS)


def test_earlier_exports_of_other_kinds_are_kept(tmp_path):
    store = Store(tmp_path)
    store.save(result(name="a"), {}, [PNG], TOKENS)
    nifti = Exported("nifti", "gradcam", "gradcam.nii.gz", b"z")
    none = Exported("dicom-pm", "gradcam", reason="no images")
    tokens = {"nifti": "two", "dicom-pm": "three"}
    store.save(result(name="a"), {}, [nifti, none], tokens)
    assert store.has(KEY, TOKENS | tokens)
    case = store.load(KEY)
    assert {k: [r.name for r in v] for k, v in case.exports.items()} == {
        "png": ["a_image.png"],
        "nifti": ["gradcam.nii.gz"],
        "dicom-pm": [""],
    }
    assert case.exports["dicom-pm"][0].reason == "no images"
    publish(store, [case], tmp_path, ["png", "nifti", "dicom-pm"])
    assert (tmp_path / "overlays" / "a_image.png").read_bytes() == b"y"
    assert (tmp_path / "exports" / "a" / "gradcam.nii.gz").read_bytes() == b"z"
    assert (tmp_path / "exports" / "exports.csv").read_text().splitlines() == [
        "case,method,format,file,reason",
        "a,gradcam,nifti,a/gradcam.nii.gz,",
        "a,gradcam,dicom-pm,,no images",
    ]
    publish(store, [case], tmp_path, ["nifti"])
    assert not (tmp_path / "overlays").exists()
    publish(store, [case], tmp_path, [])
    assert not (tmp_path / "exports").exists()


def test_a_write_that_fails_leaves_the_case_as_it_was(tmp_path):
    store = Store(tmp_path)
    store.save(result(name="a"), {}, [PNG], TOKENS)

    def failing():
        yield Exported("nifti", "gradcam", "gradcam.nii.gz", b"z")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OutputError, match="disk is full"):
        store.save(result(name="a"), {}, failing(), {"nifti": "two"})
    assert store.has(KEY, TOKENS)
    assert not store.has(KEY, {"nifti": "two"})
    assert [p.name for p in (tmp_path / ".cases").iterdir()] == [KEY]


def test_published_overlays_are_this_runs_only(tmp_path):
    store = Store(tmp_path)
    store.save(result(name="a"), {}, [PNG], TOKENS)
    case = store.load(KEY)
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "old.png").write_bytes(b"old")
    publish(store, [case], tmp_path, ["png"])
    assert [p.name for p in (tmp_path / "overlays").iterdir()] == ["a_image.png"]
    publish(store, [], tmp_path, ["png"])
    assert not (tmp_path / "overlays").exists()
    assert [p.name for p in (tmp_path / ".cases").iterdir()] == [KEY]


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path):
    store = Store(tmp_path)
    store.save(result(name="a"), {}, [PNG], TOKENS)
    case = store.load(KEY)
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "mine.txt").write_text("mine")
    publish(store, [case], tmp_path, ["png"])
    with pytest.raises(OutputError, match="no run made"):
        publish(store, [case], tmp_path, ["nifti"])
    assert (tmp_path / "exports" / "mine.txt").read_text() == "mine"


def test_what_a_killed_run_left_is_swept(tmp_path):
    store = Store(tmp_path)
    store.save(result(name="a"), {})
    (tmp_path / ".cases" / ".unfinished-x").mkdir()
    store.sweep()
    assert [p.name for p in (tmp_path / ".cases").iterdir()] == [KEY]
    assert not store.has(KEY, TOKENS)


@pytest.fixture
def stored(tmp_path):
    """A case of three rows with chance, one of them without AIC; its outcomes."""
    rng = np.random.default_rng(0)
    first = outcome("gradcam", rng, measures={"tied_share": 0.25, "none": np.nan})
    second = outcome("gradcam", rng, preset="brima2024", lesion_mm2=12.5)
    second = replace(second, chance=replace(second.chance, aic=None))
    third = outcome("xrai", rng, chance=None)
    outcomes = (first, second, third, outcome("random", rng))
    store = Store(tmp_path)
    store.save(result(*outcomes), {})
    return store, outcomes


def test_a_case_comes_back_as_it_was(stored):
    store, outcomes = stored
    rows = store.load(KEY).rows
    assert [r.method for r in rows] == [o.method for o in outcomes]
    for row, was in zip(rows, outcomes, strict=True):
        assert row.preset == was.preset
        np.testing.assert_array_equal(row.sic.y, was.curves.sic.y)
        assert row.lesion_mm2 == pytest.approx(was.lesion_mm2, nan_ok=True)
        assert dict(row.measures) == pytest.approx(dict(was.measures), nan_ok=True)
        if was.chance is None:
            assert row.chance is None
            continue
        assert (row.chance.null, row.chance.asked, row.chance.n) == ("surrogate", 3, 3)
        for metric in ("aic", "sic"):
            own, had = getattr(row.chance, metric), getattr(was.chance, metric)
            if had is None:
                assert own is None
                continue
            assert own.rank == had.rank
            assert np.isnan(own.p_value)
            np.testing.assert_array_equal(own.areas, had.areas)
            for curve, before in zip(own.curves, had.curves, strict=True):
                assert (curve.metric, curve.preset) == (metric, row.preset)
                np.testing.assert_array_equal(curve.y, before.y)
                assert curve.auc == before.auc


def test_a_p_value_comes_back(tmp_path):
    rng = np.random.default_rng(1)
    one = outcome("gradcam", rng)
    sure = replace(one.chance.sic, p_value=0.125)
    store = Store(tmp_path)
    store.save(result(replace(one, chance=replace(one.chance, sic=sure))), {})
    (row,) = store.load(KEY).rows
    assert row.chance.sic.p_value == 0.125
    assert np.isnan(row.chance.aic.p_value)


def test_the_chance_file_needs_no_pickle_and_stands_in_double_precision(stored):
    store, outcomes = stored
    with np.load(store.root / KEY / "chance.npz", allow_pickle=False) as arrays:
        kinds = {name: arrays[name].dtype for name in arrays.files}
        assert arrays["index"].tolist() == [
            [0, 0, 3, 3],
            [0, 1, 3, 3],
            [1, 1, 3, 3],
            [3, 0, 3, 3],
            [3, 1, 3, 3],
        ]
        np.testing.assert_array_equal(arrays["areas"][:3], outcomes[0].chance.aic.areas)
    assert {kinds[name] for name in ("areas", "x", "y")} == {np.dtype(np.float64)}


def test_chance_is_read_only_when_asked_for(stored):
    store, outcomes = stored
    row = store.load(KEY).rows[0]
    (store.root / KEY / "chance.npz").unlink()
    assert row.chance.sic.rank == outcomes[0].chance.sic.rank
    with pytest.raises(OutputError, match=r"damaged.*--overwrite"):
        _ = row.chance.sic.areas


def test_without_chance_there_is_no_file(tmp_path):
    store = Store(tmp_path)
    store.save(result(outcome("gradcam", np.random.default_rng(0), chance=None)), {})
    assert store.has(KEY)
    assert not (store.root / KEY / "chance.npz").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "lose", "other"])
def test_a_damaged_chance_file_is_a_damaged_case(stored, tmp_path, damage):
    store, _ = stored
    assert store.has(KEY)
    path = store.root / KEY / "chance.npz"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-40])
    elif damage == "lose":
        path.unlink()
    else:
        another = Store(tmp_path / "another")
        another.save(result(outcome("gradcam", np.random.default_rng(9))), {})
        shutil.copy(another.root / KEY / "chance.npz", path)
    assert not store.has(KEY)
    with pytest.raises(OutputError, match="damaged"):
        store.load(KEY)


def test_a_record_that_denies_its_chance_file_is_damaged(stored):
    store, _ = stored
    record = store.root / KEY / "case.json"
    data = json.loads(record.read_text())
    record.write_text(json.dumps(data | {"chance": None}))
    assert not store.has(KEY)


def arrays_of(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize(
    "change",
    [
        {"areas": np.array([{}], dtype=object)},
        {"areas": np.zeros(2)},
        {"x": np.full(75, 2.0)},
        {"index": np.zeros((0, 4), dtype=np.int64), "areas": np.zeros(0)},
    ],
    ids=["pickled", "short", "no knots", "empty"],
)
def test_content_that_does_not_fit_is_found_where_it_is_read(stored, change):
    store, _ = stored
    path = store.root / KEY / "chance.npz"
    buffer = io.BytesIO()
    np.savez(buffer, **(arrays_of(path) | change))
    path.write_bytes(buffer.getvalue())
    record = store.root / KEY / "case.json"
    data = json.loads(record.read_text())
    data["chance"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    record.write_text(json.dumps(data))
    row = store.load(KEY).rows[0]
    with pytest.raises(OutputError, match=r"chance\.npz.*--overwrite"):
        _ = row.chance.sic.curves


def test_a_case_of_an_earlier_version_is_computed_again(stored):
    store, _ = stored
    record = store.root / KEY / "case.json"
    data = json.loads(record.read_text())
    for row in data["rows"]:
        del row["measures"]
    record.write_text(json.dumps(data))
    assert not store.has(KEY)
