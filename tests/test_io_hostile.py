"""Damaged and hostile files: a study or a StudyError, never anything else."""

from __future__ import annotations

import random
import struct
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import scipy.io
from PIL import Image
from pydicom import config
from pydicom.data import get_testdata_file

import napari_medxai as mx
from dicom_files import dataset, save, volume, write_stack
from napari_medxai.errors import StudyError
from napari_medxai.io import find_cases, load_case, masks
from napari_medxai.io.mat5 import read_fields, read_matrices, read_values

TRIES = 40


def originals(folder: Path) -> list[Path]:
    """One small file of each kind, whole."""
    picture = (np.arange(24 * 20 * 3) % 251).astype(np.uint8).reshape(24, 20, 3)
    for name in ("a.png", "a.jpg", "a.tif", "a.bmp"):
        Image.fromarray(picture).save(folder / name)
    for name in ("b.nii", "b.nii.gz"):
        nib.save(nib.Nifti1Image(volume(), np.diag([1, 2, 3, 1.0])), folder / name)
    fields = {"image": volume()[0], "label": 1.0, "PID": "12", "tumorMask": volume()[0]}
    scipy.io.savemat(folder / "c.mat", {"cjdata": fields})
    scipy.io.savemat(folder / "d.mat", {"cjdata": fields}, do_compression=True)
    for name in (
        "JPEG2000.dcm",
        "SC_rgb_rle.dcm",
        "image_dfl.dcm",
        "rtdose_1frame.dcm",
    ):
        found = get_testdata_file(name)
        (folder / name).write_bytes(Path(str(found)).read_bytes())
    with zipfile.ZipFile(folder / "e.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.write(folder / "a.png", "a.png")
    return sorted(folder.iterdir())


def damaged(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.25:
        return data[: rng.randrange(len(data))]
    result = bytearray(data)
    for _ in range(rng.choice([1, 2, 8])):
        reach = min(len(data), 1000) if rng.random() < 0.6 else len(data)
        result[rng.randrange(reach)] = rng.choice([0, 127, 255, rng.randrange(256)])
    return bytes(result)


def test_damaged_files_give_a_study_or_a_reason(tmp_path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    rng = random.Random(7)
    refused = 0
    for path in originals(whole):
        assert mx.load_study(path, masks="none").array.size
        for number in range(TRIES):
            place = broken / f"{number}{path.name}"
            place.write_bytes(damaged(path.read_bytes(), rng))
            try:
                mx.load_study(place, masks="none")
            except StudyError:
                refused += 1
            place.unlink()
    assert refused > TRIES


def test_packed_files_that_do_not_unpack_say_so(tmp_path) -> None:
    data = Path(str(get_testdata_file("image_dfl.dcm"))).read_bytes()
    (tmp_path / "a.dcm").write_bytes(data[: len(data) // 2])
    with pytest.raises(StudyError, match=r"a\.dcm"):
        mx.load_study(tmp_path / "a.dcm")


@pytest.mark.parametrize("path", ["~nobody-of-this-name/a.png", "a\0b.png", "a" * 300])
def test_what_cannot_be_a_path_is_refused(path, tmp_path) -> None:
    for read in (mx.load_study, mx.series, find_cases):
        with pytest.raises(StudyError):
            read(path)


def test_a_row_whose_name_no_file_can_have_fails_alone(tmp_path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "b.png")
    name = "a" * 300 + ".png"
    (tmp_path / "t.csv").write_text(f"image\n{name}\nb.png\n")
    first, second = find_cases(tmp_path / "t.csv").cases
    with pytest.raises(StudyError):
        load_case(first)
    assert load_case(second).shape == (4, 4)


def test_a_header_of_countless_volumes_is_refused_at_once(tmp_path) -> None:
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 2), np.int16), np.eye(4)), path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<8h", data, 40, 7, 2, 2, 2, 2, 30000, 30000, 30000)
    path.write_bytes(data)
    assert "volumes" in mx.series(path)[0].description
    with pytest.raises(StudyError, match="volumes"):
        mx.load_study(path)


def test_a_uid_of_thousands_of_digits_is_sorted(tmp_path) -> None:
    with config.disable_value_validation():
        one = dataset(volume()[0])
        one.SeriesInstanceUID = "1." + "9" * 5000
        save(one, tmp_path / "a.dcm")
    assert len(mx.series(tmp_path)) == 1


def test_other_formats_under_a_known_name_start_no_program(tmp_path) -> None:
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(text)
    with pytest.raises(StudyError, match="not a picture"):
        mx.load_study(tmp_path / "a.png")


def test_a_mat_file_of_version_5_reads_as_scipy_reads_it(tmp_path) -> None:
    rng = np.random.default_rng(3)
    fields = {
        f"f_{np.dtype(kind).name}": rng.integers(0, 90, (3, 4)).astype(kind)
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
    }
    for packed in (False, True):
        path = tmp_path / f"{packed}.mat"
        scipy.io.savemat(path, {"s": fields, "v": np.arange(5)}, do_compression=packed)
        matrices = {one.name: one for one in read_matrices(path, 2**20)}
        theirs = scipy.io.loadmat(path)
        np.testing.assert_array_equal(read_values(matrices["v"]), theirs["v"])
        found = read_fields(matrices["s"])
        assert set(found) == set(fields)
        for key, matrix in found.items():
            np.testing.assert_array_equal(read_values(matrix), theirs["s"][key][0, 0])


def test_patients_who_share_a_series_uid_stay_apart(tmp_path) -> None:
    for patient, start in (("A", 0.0), ("B", 1.0)):
        for k in range(3):
            one = dataset(
                np.full((4, 4), ord(patient), np.int16),
                position=(0.0, 0.0, start + 2 * k),
                sop=(patient, k),
                PatientID=patient,
            )
            save(one, tmp_path / f"{patient}{k}.dcm")
    found = mx.series(tmp_path)
    assert [one.shape[0] for one in found] == [3, 3]
    assert len({one.patient for one in found}) == 2
    for one in found:
        assert len(np.unique(mx.load_study(tmp_path, series=one.key).array)) == 1


def test_files_of_one_name_without_series_uid_each_have_a_key(tmp_path) -> None:
    for value, folder in enumerate(("a", "b")):
        one = dataset(np.full((4, 4), value, np.int16))
        del one.SeriesInstanceUID
        save(one, tmp_path / folder / "IM1.dcm")
    found = mx.series(tmp_path)
    assert [one.key for one in found] == ["a/IM1.dcm", "b/IM1.dcm"]
    values = [mx.load_study(tmp_path, series=one.key).array.max() for one in found]
    assert values == [0, 1]


def test_a_case_holds_what_was_listed(tmp_path) -> None:
    """Echoes of two slabs each: read alone, an echo must not lose a slab."""
    for echo in (10, 20):
        for slab, heights in enumerate(([0, 1, 2, 3], [6, 9, 12])):
            for z in heights:
                one = dataset(
                    np.full((4, 4), echo, np.int16),
                    position=(0.0, 0.0, float(z)),
                    sop=(echo, z),
                    EchoTime=echo,
                    AcquisitionNumber=slab + 1,
                )
                save(one, tmp_path / f"{echo}_{z}.dcm")
    listed = {one.key: one.shape[0] for one in mx.series(tmp_path)}
    cases = find_cases(tmp_path, masks="none").cases
    assert sum(listed.values()) == 14
    assert {case.series: load_case(case).slices for case in cases} == listed


def test_an_unknown_key_of_a_folder_of_pictures_lists_what_there_is(tmp_path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(StudyError, match=r"no series 'b\.png'; it holds:\n  a\.png"):
        mx.load_study(tmp_path, series="b.png")


def test_a_description_with_a_birth_date_is_not_shown(tmp_path) -> None:
    save(dataset(volume()[0], SeriesDescription="T1 19700102"), tmp_path / "a.dcm")
    assert "19700102" not in mx.series(tmp_path)[0].description


def test_neighbours_are_looked_at_once_for_all_cases(tmp_path, monkeypatch) -> None:
    files = write_stack(tmp_path, volume(4))
    read: list[Path] = []
    true = masks.scan
    monkeypatch.setattr(masks, "scan", lambda found: read.extend(found) or true(found))
    for case in find_cases(files).cases:
        load_case(case)
    assert sorted(read) == sorted(set(read))
