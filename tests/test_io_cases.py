"""Which cases a run has: folders, tables, labels, and one name for each."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from dicom_files import dataset, save, uid, volume, write_stack
from napari_medxai.errors import StudyError
from napari_medxai.files import OUTPUT_MARKER
from napari_medxai.io import find_cases, load_case, load_study, series
from napari_medxai.io.dicom_headers import read_frames
from napari_medxai.privacy import pseudonym
from truth_files import segmentation, two_masks

IMAGE = np.arange(48, dtype=np.uint8).reshape(6, 8)


@pytest.fixture(autouse=True)
def _salt(tmp_path_factory, monkeypatch) -> None:
    folder = tmp_path_factory.getbasetemp() / "config"
    monkeypatch.setenv("MEDXAI_CONFIG_DIR", str(folder))


def png(path: Path, array: np.ndarray = IMAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def names(*inputs: Path, **options) -> list[str]:
    return [case.name for case in find_cases(inputs, **options).cases]


def test_a_folder_gives_its_images_in_natural_order(tmp_path) -> None:
    for name in ("b10.png", "b9.png", "sub/a.jpg", "b9_mask.png", "masks/b10.png"):
        png(tmp_path / name)
    png(tmp_path / ".hidden.png")
    png(tmp_path / ".thumbs" / "x.png")
    (tmp_path / "README.md").write_text("text")
    nib.save(nib.Nifti1Image(volume(), np.eye(4)), tmp_path / "v.nii.gz")
    found = find_cases(tmp_path)
    assert [case.name for case in found.cases] == [
        "b9.png",
        "b10.png",
        "sub/a.jpg",
        "v.nii.gz",
    ]
    assert len(found) == 4
    reasons = {one.path.name: one.reason for one in found.skipped}
    assert reasons["b9_mask.png"] == "a mask"
    assert reasons["b10.png"] == "a mask"
    assert reasons["README.md"] == "not an image"
    # Named directly, it is what the user wants.
    assert names(tmp_path / "b9_mask.png") == ["b9_mask.png"]


def test_a_damaged_image_is_a_case_that_fails_later(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG broken")
    (tmp_path / "b.nii.gz").write_bytes(b"")
    (tmp_path / "c.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    png(tmp_path / "d.png")
    cases = find_cases(tmp_path).cases
    hidden = "unreadable-" + pseudonym("c.dcm", prefix="F")
    assert [case.name for case in cases] == ["a.png", "b.nii.gz", "d.png", hidden]
    for case in (*cases[:2], cases[3]):
        with pytest.raises(StudyError, match=case.name):
            load_case(case)
    np.testing.assert_array_equal(load_case(cases[2]).array, IMAGE)


def test_dicom_is_grouped_by_series(tmp_path) -> None:
    one, two = volume(4), volume(3) + 500
    files = write_stack(tmp_path / "x", one, series="one", order=[0, 2, 4, 6])
    write_stack(tmp_path / "x", two, series="two", order=[1, 3, 5])
    png(tmp_path / "y" / "a.png")
    segmentation(files, two_masks(one.shape), tmp_path / "truth" / "seg.dcm")
    found = find_cases(tmp_path)
    by_series = {case.series: case for case in found.cases}
    assert set(by_series) == {uid("one"), uid("two"), None}
    first = load_case(by_series[uid("one")])
    np.testing.assert_array_equal(first.array, one)
    assert first.identifier == by_series[uid("one")].name
    # The SEG of a sibling folder is found, as it refers to the series.
    np.testing.assert_array_equal(first.masks["tumour"], two_masks(one.shape)["tumour"])
    second = load_case(by_series[uid("two")])
    np.testing.assert_array_equal(second.array, two)
    assert not second.masks
    assert any(one.reason == "a DICOM SEG" for one in found.skipped)
    # Found by itself only where masks are looked for, and where no folder is named.
    (tmp_path / "empty").mkdir()
    for how in ("none", None, tmp_path / "empty"):
        for case in find_cases(tmp_path, masks=how).cases:
            assert case.mask is None
            assert not load_case(case).masks


def test_companions_go_with_their_series(tmp_path, monkeypatch) -> None:
    """A flat folder of many series is scanned once, not once for each case."""
    one = write_stack(tmp_path, volume(4), series="one", order=[0, 2, 4, 6])
    two = write_stack(tmp_path, volume(3) + 500, series="two", order=[1, 3, 5])
    segmentation(one, two_masks((4, 6, 7)), tmp_path / "a.dcm")
    segmentation(two, two_masks((3, 6, 7)), tmp_path / "b.dcm")
    by_series = {case.series: case for case in find_cases(tmp_path).cases}
    assert by_series[uid("one")].companions == (tmp_path / "a.dcm",)
    assert by_series[uid("two")].companions == (tmp_path / "b.dcm",)
    read: list[Path] = []
    monkeypatch.setattr(
        "napari_medxai.io.dicom_series.read_frames",
        lambda path, **options: read.append(path) or read_frames(path, **options),
    )
    for case, files in ((by_series[uid("one")], one), (by_series[uid("two")], two)):
        read.clear()
        assert set(load_case(case).masks) == set(two_masks((4, 6, 7)))
        assert set(read) <= {*files, tmp_path / "a.dcm", tmp_path / "b.dcm"}
        assert not set(read) & (set(one + two) - set(files))
    read.clear()
    assert load_study(tmp_path, series=uid("two")).masks
    assert max(read.count(path) for path in one + two) == 1


def test_every_series_of_a_study_is_taken_and_said(tmp_path) -> None:
    write_stack(tmp_path / "x", volume(4), series="one")
    assert not find_cases(tmp_path).notes
    write_stack(tmp_path / "y", volume(3), series="two")
    found = find_cases(tmp_path)
    assert len(found) == 2
    (note,) = found.notes
    assert note.startswith("2 DICOM series of 1 patient(s) were taken, each as a case")


def test_a_case_opens_as_load_study_does(tmp_path) -> None:
    write_stack(tmp_path, volume())
    scout = dataset(volume(1)[0], orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    save(scout, tmp_path / "scout.dcm")
    cases = find_cases(tmp_path).cases
    assert {case.series for case in cases} == {one.key for one in series(tmp_path)}
    for case in cases:
        expected = load_study(tmp_path, series=case.series)
        study = load_case(pickle.loads(pickle.dumps(case)))
        np.testing.assert_array_equal(study.array, expected.array)
        np.testing.assert_array_equal(study.affine_lps, expected.affine_lps)
        assert study.identifier == expected.identifier == case.name


def test_a_series_that_vanished_is_said(tmp_path) -> None:
    paths = write_stack(tmp_path, volume())
    (case,) = find_cases(tmp_path).cases
    for path in paths:
        path.unlink()
    with pytest.raises(StudyError, match="changed or vanished"):
        load_case(case)


@pytest.mark.parametrize("start", ["", "images"])
def test_labels_beside_the_images_folder(tmp_path, start) -> None:
    for name in ("1.png", "2.png", "sub/3.png"):
        png(tmp_path / "images" / name)
    (tmp_path / "labels.csv").write_text(
        "file,label,fold,patient\n1.png, glioma ,1,p1\nsub/3.png,normal,2,\n"
    )
    cases = find_cases(tmp_path / start).cases
    found = {case.path.name: (case.label, case.patient) for case in cases}
    assert found == {
        "1.png": ("glioma", "p1"),
        "2.png": (None, None),
        "3.png": ("normal", None),
    }
    assert load_case(cases[0]).patient == "p1"


def test_the_nearest_table_counts(tmp_path) -> None:
    for name in ("one/a.png", "two/a.png", "two/b.png"):
        png(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,label\none/a.png,x\ntwo/b.png,y\n")
    (tmp_path / "two" / "labels.csv").write_text("\ufefffile,label\na.png,z\n")
    found = {case.name: case.label for case in find_cases(tmp_path).cases}
    assert found == {"one/a.png": "x", "two/a.png": "z", "two/b.png": "y"}


def test_a_given_table_replaces_those_found(tmp_path) -> None:
    png(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "labels.csv").write_text("file,label\na.png,x\n")
    (tmp_path / "mine.csv").write_text("file,label\na.png,y\n")
    (case,) = find_cases(tmp_path / "in", labels=tmp_path / "mine.csv").cases
    assert case.label == "y"
    with pytest.raises(StudyError, match="no such file"):
        find_cases(tmp_path / "in", labels=tmp_path / "absent.csv")


@pytest.mark.parametrize("row", ["IM001.dcm", "x/IM001.dcm", "x", "deep/x"])
def test_labels_of_a_dicom_series_by_file_or_folder(tmp_path, row) -> None:
    write_stack(tmp_path / "deep" / "x", volume())
    place = tmp_path / "deep" if row.startswith("x/") else tmp_path
    (place / "labels.csv").write_text(f"file,label\n{row},glioma\n")
    (case,) = find_cases(tmp_path).cases
    assert case.label == "glioma"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,class\na.png,x\n", "'label'"),
        ("name,label\na.png,x\n", "'file'"),
        ("", "'file', 'label'"),
        ("file,label\na.png,x\na.png,y\n", "line 3"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, text, match) -> None:
    png(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(StudyError, match=rf"labels\.csv.*{match}"):
        find_cases(tmp_path)
    (tmp_path / "labels.csv").write_bytes(b"file,label\n\xff\xfe,x\n")
    with pytest.raises(StudyError, match=r"labels\.csv.*UTF-8"):
        find_cases(tmp_path)


def test_a_list_of_cases(tmp_path) -> None:
    png(tmp_path / "data" / "a.png")
    mask = np.zeros_like(IMAGE)
    mask[1, 2] = 9
    png(tmp_path / "truth" / "t.png", mask)
    write_stack(tmp_path / "ct", volume())
    table = tmp_path / "list.csv"
    table.write_text(
        "image,mask,label,patient,site\n"
        "data/a.png,truth/t.png,x,p1,here\n"
        "ct,,y,,there\n"
        "absent.png,,z,,\n"
    )
    cases = find_cases(table).cases
    assert len(cases) == 3
    by_label = {case.label: case for case in cases}
    first = load_case(by_label["x"])
    assert by_label["x"].name == "data/a.png"
    assert np.argwhere(first.masks["mask"]).tolist() == [[1, 2]]
    assert first.patient == "p1"
    second = by_label["y"]
    assert second.series == uid("one")
    assert second.name == load_case(second).identifier
    assert second.patient == second.name.split("/")[0]
    with pytest.raises(StudyError, match=r"absent\.png"):
        load_case(by_label["z"])
    table.write_text("picture\na.png\n")
    with pytest.raises(StudyError, match="'image'"):
        find_cases(table)
    table.write_text("image\n")
    with pytest.raises(StudyError, match="no image found"):
        find_cases(table)


def test_names_stay_unique_and_the_order_does_not_depend_on_the_inputs(
    tmp_path,
) -> None:
    png(tmp_path / "one" / "a.png")
    png(tmp_path / "two" / "a.png")
    png(tmp_path / "two" / "b.png")
    one, two = tmp_path / "one", tmp_path / "two"
    expected = ["b.png", "one/a.png", "two/a.png"]
    assert names(one, two) == names(two, one) == expected
    # Named twice, counted once.
    assert len(names(two, two / "b.png", two)) == 2
    deep = png(tmp_path / "x" / "one" / "a.png").parent
    assert len(set(names(one, deep))) == 2


@pytest.mark.parametrize("out", ["results", "a/b/results"])
def test_a_folder_of_results_is_no_input(tmp_path, out) -> None:
    png(tmp_path / "a.png")
    write_stack(tmp_path / "ct", volume())
    expected = names(tmp_path)
    keys = [one.key for one in series(tmp_path)]
    png(tmp_path / out / "overlays" / "a_gradcam.png")
    png(tmp_path / out / "more" / "figure.png")
    write_stack(tmp_path / out / "exports", volume(), series="exported")
    assert len(names(tmp_path)) > len(expected)
    (tmp_path / out / OUTPUT_MARKER).write_text("")
    assert names(tmp_path) == expected
    assert [one.key for one in series(tmp_path)] == keys
    (tmp_path / "a.png").unlink()
    np.testing.assert_array_equal(load_study(tmp_path).array, volume())


def test_an_input_that_is_the_output_too(tmp_path) -> None:
    png(tmp_path / "a.png")
    png(tmp_path / "sub" / "figures" / "b.png")
    for folder in ("overlays", "figures", ".cases"):
        png(tmp_path / folder / "x.png")
    (tmp_path / OUTPUT_MARKER).write_text("")
    assert names(tmp_path) == ["a.png", "sub/figures/b.png"]


@pytest.mark.parametrize("start", [".", "sub/.."])
def test_a_named_folder_of_masks_holds_no_cases(tmp_path, start) -> None:
    files = write_stack(tmp_path / "ct", volume())
    truth = tmp_path / "truth"
    segmentation(files, two_masks(volume().shape), truth / "seg.dcm")
    png(tmp_path / "sub" / "a.png")
    png(truth / "a.png", IMAGE % 2)
    assert len(find_cases(tmp_path)) == 3
    found = find_cases(tmp_path / start, masks=truth)
    assert len(found) == 2
    reasons = {one.path.name: one.reason for one in found.skipped}
    assert reasons == {"a.png": "a mask", "seg.dcm": "a mask"}
    for case in found.cases:
        assert load_case(case).masks
    # The folder itself as the input: its files are what the user wants.
    assert [case.path for case in find_cases(truth, masks=truth).cases] == [
        truth / "a.png"
    ]
    # The same for one study.
    study = load_study(tmp_path / "sub", masks=png(tmp_path / "sub" / "t.png"))
    assert study.source.name == "a.png"
    np.testing.assert_array_equal(study.masks["mask"], IMAGE > 0)


def test_a_table_names_masks_whatever_the_option(tmp_path) -> None:
    png(tmp_path / "a.png")
    png(tmp_path / "b.png")
    png(tmp_path / "b_mask.png", IMAGE * 0)
    png(tmp_path / "t.png", IMAGE)
    (tmp_path / "list.csv").write_text("image,mask\na.png,t.png\nb.png,\n")
    (tmp_path / "empty").mkdir()
    for how, second in (("auto", True), ("none", False), (tmp_path / "empty", False)):
        one, two = find_cases(tmp_path / "list.csv", masks=how).cases
        np.testing.assert_array_equal(load_case(one).masks["mask"], IMAGE > 0)
        assert bool(load_case(two).masks) == second


def labels_of(*inputs: Path, **options) -> dict[str, str | None]:
    return {case.name: case.label for case in find_cases(inputs, **options).cases}


def test_a_bare_name_labels_its_own_file_only(tmp_path) -> None:
    for name in ("1.png", "sub/1.png", "sub/2.png", "masks/2.png"):
        png(tmp_path / name)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n1.png,x\n2.png,y\nsub,z\n")
    expected = {"1.png": "x", "sub/1.png": None, "sub/2.png": "y"}
    assert labels_of(tmp_path) == expected
    assert labels_of(tmp_path, labels=table) == expected
    # Its path from an images folder beside the table is exact as well.
    png(tmp_path / "set" / "images" / "1.png")
    png(tmp_path / "set" / "images" / "deep" / "1.png")
    (tmp_path / "set" / "labels.csv").write_text("file,label\n1.png,x\n")
    for start in (tmp_path / "set", tmp_path / "set" / "images"):
        assert list(labels_of(start).values()) == ["x", None]


@pytest.mark.parametrize("given", [False, True])
def test_a_bare_name_of_two_files_is_refused(tmp_path, given) -> None:
    png(tmp_path / "one" / "1.png")
    png(tmp_path / "two" / "1.png")
    table = tmp_path / "labels.csv"
    options = {"labels": table} if given else {}
    table.write_text("file,label\n1.png,x\n")
    with pytest.raises(StudyError, match=r"'1\.png' could be one/1.png or two/1.png"):
        find_cases(tmp_path, **options)
    # Both named in full, the bare name stands for nothing.
    table.write_text("file,label\n1.png,x\none/1.png,y\ntwo/1.png,z\n")
    assert labels_of(tmp_path, **options) == {"one/1.png": "y", "two/1.png": "z"}


def test_a_given_table_labels_by_the_path_from_the_input(tmp_path) -> None:
    png(tmp_path / "p" / "1.png")
    png(tmp_path / "p" / "sub" / "1.png")
    png(tmp_path / "q" / "images" / "1.png")
    table = tmp_path / "elsewhere" / "mine.csv"
    table.parent.mkdir()
    table.write_text("file,label\n1.png,x\n")
    assert labels_of(tmp_path / "p", labels=table) == {"1.png": "x", "sub/1.png": None}
    assert labels_of(tmp_path / "q", labels=table) == {"images/1.png": "x"}
    with pytest.raises(StudyError, match=r"p/1\.png or images/1\.png"):
        find_cases([tmp_path / "p", tmp_path / "q"], labels=table)


def test_a_folder_name_labels_dicom_only(tmp_path) -> None:
    write_stack(tmp_path / "deep" / "x", volume())
    png(tmp_path / "deep" / "x" / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\nx,glioma\n")
    by_series = {c.series: c.label for c in find_cases(tmp_path).cases}
    assert by_series == {uid("one"): "glioma", None: None}
    write_stack(tmp_path / "other" / "x", volume(), series="two")
    with pytest.raises(StudyError, match="'x' could be deep/x or other/x"):
        find_cases(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\nIM001.dcm,glioma\n")
    with pytest.raises(StudyError, match=r"deep/x/IM001\.dcm or other/x/IM001\.dcm"):
        find_cases(tmp_path)


@pytest.mark.parametrize("other", ["a.png,,y,", "./a.png,,x,p2", "a.png,m.png,x,"])
def test_rows_that_contradict_are_refused(tmp_path, other) -> None:
    png(tmp_path / "a.png")
    png(tmp_path / "b.png")
    table = tmp_path / "list.csv"
    head = "image,mask,label,patient\na.png,,x,\nb.png,,x,\n"
    table.write_text(f"{head}{other}\n")
    with pytest.raises(StudyError, match=r"list\.csv line 2 and list\.csv line 4"):
        find_cases(table)
    table.write_text(f"{head}sub/../a.png,,x,\n")
    assert names(table) == ["a.png", "b.png"]


def test_a_row_wins_over_the_folder(tmp_path) -> None:
    folder = tmp_path / "data"
    png(folder / "a.png")
    png(folder / "b.png")
    png(folder / "a_mask.png", IMAGE * 0)
    png(folder / "b_mask.png", IMAGE * 0)
    png(tmp_path / "t.png")
    (folder / "labels.csv").write_text("file,label,patient\na.png,x,p\nb.png,y,q\n")
    table = tmp_path / "list.csv"
    table.write_text("image,mask,label,patient\ndata/a.png,t.png,z,\ndata/b.png,,,r\n")
    for inputs in ((folder, table), (table, folder)):
        one, two = find_cases(inputs).cases
        assert [one.name, two.name] == ["a.png", "b.png"]
        assert (one.label, one.patient) == ("z", "p")
        assert load_case(one).masks["mask"].any()
        assert (two.label, two.patient) == ("y", "r")
        assert not load_case(two).masks["mask"].any()


def test_a_row_elsewhere_is_named_without_its_folders(tmp_path) -> None:
    for name in ("x/a.png", "y/a.png", "lists/sub/a.png"):
        png(tmp_path / name)
    table = tmp_path / "lists" / "list.csv"
    rows = [str(tmp_path / "x" / "a.png"), "../y/a.png", "sub/a.png", "sub/../b.png"]
    table.write_text("image\n" + "\n".join(rows) + "\n")
    first = names(table)
    assert "sub/a.png" in first
    assert "b.png" in first
    others = [name for name in first if "/" not in name and name != "b.png"]
    assert len(set(others)) == 2
    assert all(re.fullmatch(r"a-[0-9a-f]{8}\.png", name) for name in others)
    # Named after where it lies, not after its row.
    table.write_text("image\n" + "\n".join(rows[::-1]) + "\n")
    assert names(table) == first


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_no_text_is_made_printable(tmp_path) -> None:
    odd = tmp_path / os.fsdecode(b"M\xfcller.png")
    try:
        png(odd)
    except OSError:
        pytest.skip("this file system takes text only")
    assert names(tmp_path) == ["M\\udcfcller.png"]
    png(tmp_path / "M\\udcfcller.png", IMAGE[::-1].copy())
    (tmp_path / os.fsdecode(b"\xe4.nii")).write_bytes(b"")
    (tmp_path / os.fsdecode(b"\xe4.dcm")).write_bytes(b"")
    found = names(tmp_path)
    assert len(set(found)) == 4
    for case in find_cases(tmp_path).cases:
        case.name.encode()
        try:
            study = load_case(case)
        except StudyError as error:
            str(error).encode()
        else:
            "".join([study.identifier, *study.notes]).encode()


def test_no_error_tells_where_files_lie(tmp_path, monkeypatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.nii").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "list.csv").write_text("image\nabsent.png\n")
    (tmp_path / "d").mkdir()
    calls = [
        lambda: load_study(tmp_path / "a.nii"),
        lambda: load_study(tmp_path / "b.png"),
        lambda: load_study(tmp_path / "absent.png"),
        lambda: load_case(find_cases(tmp_path / "list.csv").cases[0]),
        lambda: find_cases(tmp_path / "absent"),
        lambda: find_cases(tmp_path / "d"),
        lambda: find_cases(tmp_path, labels=tmp_path / "absent.csv"),
    ]
    texts = []
    for call in calls:
        with pytest.raises(StudyError) as caught:
            call()
        texts.append(str(caught.value))
    for method, call in (
        ("iterdir", lambda: find_cases(tmp_path / "d")),
        ("exists", lambda: load_study(tmp_path / "a.nii")),
        ("open", lambda: find_cases(tmp_path / "list.csv")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            with pytest.raises(StudyError, match="Permission denied") as caught:
                call()
        texts.append(str(caught.value))
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refuse)
        with pytest.raises(StudyError, match="Permission denied") as caught:
            load_study(tmp_path / "b.png")
    texts.append(str(caught.value))
    assert not [text for text in texts if tmp_path.name in text or "/" in text]


def test_nothing_found_is_an_error(tmp_path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(StudyError, match="no image found in"):
        find_cases(tmp_path)
    with pytest.raises(StudyError, match="no image found in"):
        load_study(tmp_path)
    with pytest.raises(StudyError, match="no image found in"):
        find_cases(tmp_path / "readme.txt")
    with pytest.raises(StudyError, match="no such file or folder"):
        find_cases(tmp_path / "absent")


def test_a_folder_of_several_things_lists_them(tmp_path) -> None:
    png(tmp_path / "a.png")
    (only,) = series(tmp_path)
    np.testing.assert_array_equal(load_study(tmp_path).array, IMAGE)
    np.testing.assert_array_equal(load_study(tmp_path, series=only.key).array, IMAGE)
    png(tmp_path / "sub" / "b.png", IMAGE[::-1].copy())
    write_stack(tmp_path / "ct", volume())
    keys = [one.key for one in series(tmp_path)]
    assert keys == [uid("one"), "a.png", "sub/b.png"]
    with pytest.raises(StudyError, match="holds 3 images or series") as caught:
        load_study(tmp_path)
    assert all(key in str(caught.value) for key in keys)
    second = load_study(tmp_path, series="sub/b.png")
    np.testing.assert_array_equal(second.array, IMAGE[::-1])
    np.testing.assert_array_equal(load_study(tmp_path, series=keys[0]).array, volume())


def test_real_folder_of_slices(shared_data) -> None:
    folder = shared_data / "brain-tumor-mri-512"
    found = find_cases(folder)
    assert len(found) == 60
    assert {case.label for case in found.cases} == {
        "glioma",
        "meningioma",
        "pituitary",
    }
    assert all(case.name.startswith("images/") for case in found.cases)
    assert len(find_cases(folder / "images")) == 60
    study = load_case(found.cases[7])
    assert study.masks["mask"].any()
