"""The layouts in which labelled data comes."""

from __future__ import annotations

import h5py
import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy.io import savemat

from napari_medxai.errors import StudyError, UsageError
from napari_medxai.training import read_samples

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS + np.uint8(value)).save(path)
    return path


def table(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.csv").write_text(text)
    return folder


def slice_file(path, label, patient):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("cjdata")
        group["image"] = PIXELS.astype(np.int16)
        group["label"] = np.array([[float(label)]])
        group["PID"] = np.array([[ord(c)] for c in patient], dtype=np.uint16)
        group["tumorMask"] = np.eye(8, dtype=np.uint8)


def series(samples, folder, patient):
    """Write three slices of the sample study as those of another patient."""
    folder.mkdir(parents=True)
    uid = pydicom.uid.generate_uid(entropy_srcs=[patient])
    for number, path in enumerate(sorted((samples / "dicom").rglob("IM*.dcm"))[:3]):
        instance = pydicom.dcmread(path)
        instance.PatientID = patient
        instance.SeriesInstanceUID = uid
        instance.SOPInstanceUID = f"{uid[:55]}.{number}"
        instance.save_as(folder / f"{number}.dcm")


def test_a_table_names_folds_patients_and_masks(tmp_path):
    data = table(
        tmp_path / "d",
        "file,label,fold,patient,mask\n"
        "a.png,x,1,P1,lesion.png\nb.png,y,2,P2,\nsub/c.png,y,2,,\n",
    )
    picture(data / "images" / "a.png")
    picture(data / "b.png")
    picture(data / "images" / "sub" / "c.png")
    picture(data / "masks" / "lesion.png")
    picture(data / "masks" / "b.png")
    a, b, c = read_samples(data)
    assert (a.path, a.label, a.fold, a.patient, a.name) == (
        data / "images" / "a.png",
        "x",
        "1",
        "P1",
        "a.png",
    )
    assert a.mask == data / "masks" / "lesion.png"
    assert (b.path, b.mask) == (data / "b.png", data / "masks" / "b.png")
    assert (c.patient, c.mask, c.name) == (None, None, "sub/c.png")
    assert np.array_equal(a.load().array, PIXELS)
    assert not b.load().masks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.png,x\nz.png,y\n", "'z.png' is not in"),
        ("file,label\na.png,x\na.png,y\n", "more than one row"),
        ("file,label\na.png,x\nb.png,\n", "b.png has no label"),
        ("file,label\na.png,x\nb.png,x\n", "two classes are needed; found: x"),
        ("file,label,mask\na.png,x,m.png\nb.png,y,\n", "mask 'm.png'"),
        ("file,label\n", "two classes are needed; found: none"),
    ],
)
def test_a_wrong_table_is_refused_in_words(tmp_path, text, words):
    data = table(tmp_path / "d", text)
    picture(data / "a.png")
    picture(data / "b.png")
    with pytest.raises(UsageError, match=words):
        read_samples(data)


def test_a_table_of_mat_files_asks_them_for_their_patients(tmp_path):
    data = table(tmp_path / "d", "file,label\n1.mat,x\n2.mat,y\n")
    slice_file(data / "images" / "1.mat", 1, "P7")
    slice_file(data / "images" / "2.mat", 2, "P8")
    assert [s.patient for s in read_samples(data)] == ["P7", "P8"]


def test_mat_files_as_published(tmp_path):
    for number, label in enumerate((1, 2, 3, 2), start=1):
        folder = tmp_path / f"brainTumorDataPublic_{number % 2}"
        slice_file(folder / f"{number}.mat", label, f"P{number}")
    savemat(tmp_path / "cvind.mat", {"cvind": np.array([[5.0, 1.0, 2.0, 1.0]])})
    found = {s.path.stem: s for s in read_samples(tmp_path)}
    assert {k: (s.label, s.fold, s.patient) for k, s in found.items()} == {
        "1": ("meningioma", "5", "P1"),
        "2": ("glioma", "1", "P2"),
        "3": ("pituitary", "2", "P3"),
        "4": ("glioma", "1", "P4"),
    }
    assert np.array_equal(found["2"].load().array, PIXELS.T)
    slice_file(tmp_path / "9.mat", 8, "P9")
    with pytest.raises(UsageError, match=r"1 of 5 \.mat files name none"):
        read_samples(tmp_path)


def test_a_folder_for_each_class(tmp_path):
    picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / "cat" / "deep" / "b.png")
    picture(tmp_path / "dog" / "c.png")
    picture(tmp_path / "dog" / "c_mask.png")
    found = read_samples(tmp_path)
    assert [(s.name, s.label, s.fold) for s in found] == [
        ("cat/a.png", "cat", ""),
        ("cat/deep/b.png", "cat", ""),
        ("dog/c.png", "dog", ""),
    ]
    picture(tmp_path / "loose.png")
    with pytest.raises(UsageError, match=r"loose\.png lies in no folder"):
        read_samples(tmp_path)


def test_the_radiography_database_and_its_lungs(tmp_path):
    for name in ("COVID", "Normal", "Viral Pneumonia"):
        picture(tmp_path / name / "images" / f"{name}-1.png")
        picture(tmp_path / name / "masks" / f"{name}-1.png", 9)
    (tmp_path / "Normal.metadata.xlsx").write_bytes(b"PK")
    found = read_samples(tmp_path)
    assert [s.label for s in found] == ["COVID", "Normal", "Viral Pneumonia"]
    assert all(s.mask is None and "images" in s.path.parts for s in found)


def test_parts_of_a_split_are_folds(tmp_path):
    for part in ("train", "val", "Test_1"):
        for label in ("a", "b"):
            picture(tmp_path / part / label / "1.png")
    found = read_samples(tmp_path)
    assert {(s.fold, s.label) for s in found} == {
        (part, label) for part in ("train", "val", "Test_1") for label in "ab"
    }


def test_dicom_series_in_class_folders_keep_their_names_to_themselves(
    tmp_path, samples
):
    for label in "ab":
        series(samples, tmp_path / "d" / label / "DOE^JANE", label)
    found = read_samples(tmp_path / "d")
    assert {s.label for s in found} == {"a", "b"}
    assert all(s.patient and "DOE" not in s.name for s in found)
    assert found[0].load().slices > 1
    data = table(tmp_path / "t", "file,label\nDOE^A,a\nDOE^B,b\n")
    for label in "ab":
        series(samples, data / f"DOE^{label.upper()}", label)
    rows = read_samples(data)
    assert {(s.label, s.patient) for s in rows} == {(s.label, s.patient) for s in found}
    assert not any("DOE" in s.name for s in rows)
    assert rows[0].load().slices > 1
    for path in (data / "DOE^A").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(StudyError) as error:
        rows[0].load()
    assert "DOE" not in str(error.value)
    assert rows[0].name in str(error.value)


def test_anything_else_is_refused_with_the_layouts_that_can_be_read(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_samples(tmp_path / "none")
    with pytest.raises(UsageError, match="folder for each class"):
        read_samples(tmp_path)
    picture(tmp_path / "only" / "a.png")
    with pytest.raises(UsageError, match="found: only"):
        read_samples(tmp_path)
