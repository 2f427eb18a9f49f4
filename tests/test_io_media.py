"""DICOMDIR: what a medium's directory refers to, and never anything else."""

from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

from dicom_files import SECRETS, uid, volume, write_stack
from napari_medxai.errors import StudyError
from napari_medxai.io import find_cases, load_case, load_study, series
from truth_files import segmentation, two_masks


def medium(folder: Path, *, truth: bool = False) -> Path:
    """A file set of two series as pydicom writes it; returns its DICOMDIR."""
    files = write_stack(folder / "in", volume(4), series="one", order=[3, 1, 0, 2])
    files += write_stack(folder / "in", volume(3) + 500, series="two", order=[6, 4, 5])
    for path in files:
        ds = pydicom.dcmread(path)
        ds.StudyDescription, ds.StudyID = "", "1"
        ds.save_as(path, enforce_file_format=True)
    if truth:
        seg = folder / "in" / "seg.dcm"
        segmentation(files[:4], two_masks((4, 6, 7)), seg)
        files.append(seg)
    made = FileSet()
    for path in files:
        made.add(path)
    made.write(folder / "cd")
    with warnings.catch_warnings():
        # pydicom leaves its temporary folder to the garbage collector, which warns.
        warnings.simplefilter("ignore", ResourceWarning)
        del made
        gc.collect()
    return folder / "cd" / "DICOMDIR"


def test_the_directory_stands_for_its_files(tmp_path) -> None:
    path = medium(tmp_path)
    assert [one.key for one in series(path)] == [one.key for one in series(path.parent)]
    with pytest.raises(StudyError, match="holds 2 series"):
        load_study(path)
    study = load_study(path, series=uid("one"))
    np.testing.assert_array_equal(study.array, volume(4))
    assert not study.notes
    in_folder = load_study(path.parent, series=uid("one"))
    np.testing.assert_array_equal(in_folder.affine_lps, study.affine_lps)
    assert not in_folder.notes


def test_each_series_of_a_directory_is_a_case(tmp_path) -> None:
    found = find_cases(medium(tmp_path, truth=True))
    by_series = {case.series: load_case(case) for case in found.cases}
    np.testing.assert_array_equal(by_series[uid("two")].array, volume(3) + 500)
    assert by_series[uid("one")].masks
    assert not by_series[uid("two")].masks
    assert [one.reason for one in found.skipped] == ["a DICOM SEG"]
    assert any("2 DICOM series of 1 patient" in note for note in found.notes)


def referring(path: Path, *parts: str) -> None:
    """Let the directory's first image record refer to something else."""
    ds = pydicom.dcmread(path)
    record = next(r for r in ds.DirectoryRecordSequence if "ReferencedFileID" in r)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these are no names is the point
        record.ReferencedFileID = list(parts)
        ds.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("parts", [("..", "secret"), ("/", "secret"), ("..\\secret",)])
def test_nothing_outside_the_folder_is_read(tmp_path, parts) -> None:
    path = medium(tmp_path)
    write_stack(tmp_path / "x", volume(1) + 900, series="secret")
    (tmp_path / "x" / "IM000.dcm").rename(tmp_path / "secret")
    referring(path, *parts)
    assert {one.key for one in series(path)} == {uid("one"), uid("two")}
    study = load_study(path, series=uid("two"))
    text = " ".join(study.notes)
    assert "left out" in text or "missing" in text
    assert not any(secret in text for secret in (*SECRETS, "secret"))


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_link_out_of_the_folder_is_not_followed(tmp_path) -> None:
    path = medium(tmp_path)
    outside = write_stack(tmp_path / "x", volume(1) + 900, series="secret")[0]
    (path.parent / "LINK").symlink_to(outside)
    referring(path, "LINK")
    study = load_study(path, series=uid("two"))
    assert "1 file(s) that the DICOMDIR refers to lie outside its folder" in str(
        study.notes
    )


def test_missing_files_and_lower_case_names(tmp_path) -> None:
    path = medium(tmp_path)
    files = sorted(p for p in path.parent.rglob("*") if p.is_file() and p != path)
    for folder in sorted(
        (p for p in path.parent.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)
    ):
        for one in [p for p in folder.iterdir() if p.is_file()]:
            one.rename(one.with_name(one.name.lower()))
        folder.rename(folder.with_name(folder.name.lower()))
    assert sum(len(one.files) for one in series(path)) == len(files)
    next(p for p in path.parent.rglob("im*") if p.is_file()).unlink()
    with pytest.raises(StudyError, match="holds 2 series"):
        load_study(path)
    for one in series(path):
        notes = load_study(path, series=one.key).notes
        assert "1 file(s) that the DICOMDIR refers to are missing" in notes


def test_a_damaged_directory_is_said(tmp_path) -> None:
    path = medium(tmp_path)
    content = path.read_bytes()
    for size in (140, 600):
        path.write_bytes(content[:size])
        with pytest.raises(StudyError, match="DICOMDIR") as caught:
            series(path)
        assert not any(secret in str(caught.value) for secret in SECRETS)
    # The folder itself still opens.
    found = series(path.parent)
    assert {one.key for one in found} == {uid("one"), uid("two")}


def test_real_directories() -> None:
    path = get_testdata_file("DICOMDIR")
    assert path is not None
    found = series(Path(str(path)))
    assert sum(len(one.files) for one in found) == 31
    assert [one.shape[0] for one in found if one.shape[0] > 1] == [4, 5]
