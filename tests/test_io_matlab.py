"""The MATLAB files of Cheng et al.: upright, masked, labelled, and nothing followed."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image, ImageDraw

from napari_medxai import models
from napari_medxai.errors import StudyError
from napari_medxai.io import (
    find_cases,
    load_case,
    load_study,
    mat_files,
    matlab,
    series,
)

ROWS, COLUMNS = 30, 40
IMAGE = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 7 - 900).astype(np.int16)
# x (column) and y (row) in MATLAB's coordinates, from 1: an L, and not symmetric.
BORDER = [(6.2, 4.3), (20.6, 4.4), (20.7, 9.6), (12.3, 9.7), (12.2, 24.6), (6.3, 24.5)]


def slow_fill(points: list[tuple[float, float]], shape: tuple[int, int]) -> np.ndarray:
    """Count the edges that a ray from each pixel's centre crosses."""
    filled = np.zeros(shape, dtype=bool)
    for row in range(shape[0]):
        for column in range(shape[1]):
            x, y, crossings = column + 1, row + 1, 0
            for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
                if (y1 > y) != (y2 > y):
                    crossings += x < x1 + (y - y1) * (x2 - x1) / (y2 - y1)
            filled[row, column] = crossings % 2 == 1
    return filled


MASK = slow_fill(BORDER, (ROWS, COLUMNS))
FIELDS = {
    "PID": "MR0123",
    "image": IMAGE,
    "label": 2.0,
    "tumorBorder": np.array(BORDER).reshape(-1),
    "tumorMask": MASK,
}


def add(group: h5py.Group, name: str, value) -> None:
    """Store as MATLAB 7.3 does: axes reversed, characters as codes, class named."""
    if isinstance(value, str):
        codes = np.array([[ord(c)] for c in value], dtype=np.uint16)
        group.create_dataset(name, data=codes).attrs["MATLAB_class"] = b"char"
        return
    array = np.atleast_2d(np.asarray(value))
    if array.size == 0:
        item = group.create_dataset(name, data=np.array(array.shape, dtype=np.uint64))
        item.attrs["MATLAB_empty"] = np.uint8(1)
        return
    stored = array.astype(np.uint8) if array.dtype == bool else array
    group.create_dataset(name, data=stored.T, compression="gzip")


def mat(path: Path, *, drop: tuple[str, ...] = (), **changed) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # MATLAB's header of 512 bytes stands before the HDF5 of its files.
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("cjdata")
        for name, value in (FIELDS | changed).items():
            if name not in drop:
                add(group, name, value)
    raw = bytearray(path.read_bytes())
    raw[:116] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116)
    raw[124:128] = struct.pack("<H", 0x0200) + b"IM"
    path.write_bytes(raw)
    return path


def old_mat(path: Path, *, drop: tuple[str, ...] = (), packed=True, **changed) -> Path:
    fields = {k: v for k, v in (FIELDS | changed).items() if k not in drop}
    scipy.io.savemat(path, {"cjdata": fields}, do_compression=packed)
    return path


@pytest.mark.parametrize("write", [mat, old_mat])
def test_everything_the_file_says(tmp_path, write) -> None:
    path = write(tmp_path / "17.mat")
    study = load_study(path)
    assert study.array.dtype == np.int16
    np.testing.assert_array_equal(study.array, IMAGE)
    assert list(study.masks) == ["tumour"]
    np.testing.assert_array_equal(study.masks["tumour"], MASK)
    assert study.patient == "MR0123"
    assert study.metadata["label"] == "glioma"
    assert (study.affine_lps, study.spacing) == (None, None)
    assert study.identifier == "17.mat"
    assert not study.notes
    assert load_study(path, masks="none").masks == {}
    (one,) = series(path)
    assert (one.key, one.shape) == ("17.mat", (1, ROWS, COLUMNS))
    assert (one.patient, one.description) == ("MR0123", "MATLAB 40 x 30, glioma")


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 1.5])
def test_labels_are_those_of_the_bundled_classifier(tmp_path, code) -> None:
    study = load_study(mat(tmp_path / "a.mat", label=float(code)))
    name = {1: "meningioma", 2: "glioma", 3: "pituitary"}.get(code)
    assert study.metadata["label"] == name
    assert any("no class" in note for note in study.notes) == (name is None)


def test_class_names_are_those_of_the_bundled_classifier() -> None:
    folder = Path(models.__file__).parent / "data" / "brain-tumor-mri"
    classes = json.loads((folder / "model.json").read_text())["classes"]
    assert sorted(matlab.CLASSES.values()) == sorted(classes)


@pytest.mark.parametrize("write", [mat, old_mat])
@pytest.mark.parametrize(
    "mask", [None, np.zeros((0, 0)), np.zeros((ROWS, COLUMNS)), np.ones((3, 3))]
)
def test_a_missing_mask_is_filled_from_the_border(tmp_path, write, mask) -> None:
    options = {"drop": ("tumorMask",)} if mask is None else {"tumorMask": mask}
    study = load_study(write(tmp_path / "a.mat", **options))
    np.testing.assert_array_equal(study.masks["tumour"], MASK)
    assert any("filled from tumorBorder" in note for note in study.notes)


@pytest.mark.parametrize("seed", range(6))
def test_filling_against_a_ray_for_each_pixel(seed) -> None:
    rng = np.random.default_rng(seed)
    # A star around a point partly outside of the image, wound either way.
    angles = np.sort(rng.uniform(0, 2 * np.pi, 23))[:: 1 if seed % 2 else -1]
    radius = rng.uniform(4, 18, 23)
    points = np.stack(
        [25 + radius * np.cos(angles), 8 + radius * np.sin(angles)], axis=1
    )
    filled = matlab.mask_from_border(points.ravel(), (ROWS, COLUMNS))
    expected = slow_fill([tuple(p) for p in points], (ROWS, COLUMNS))
    assert expected.sum() > 50
    np.testing.assert_array_equal(filled, expected)


def test_filling_agrees_with_pillow_within_the_outline() -> None:
    """An independent filler, which also draws the outline's own pixels."""
    canvas = Image.new("1", (COLUMNS, ROWS))
    ImageDraw.Draw(canvas).polygon([(x - 1, y - 1) for x, y in BORDER], fill=1)
    theirs = np.asarray(canvas)
    ours = matlab.mask_from_border(np.array(BORDER).ravel(), (ROWS, COLUMNS))
    assert ours is not None
    assert not (ours & ~theirs).any()
    assert (theirs & ~ours).sum() < 0.4 * ours.sum()
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.8


@pytest.mark.parametrize(
    "border",
    [np.zeros((0, 0)), [1.0, 2, 3, 4], [1.0] * 7, [1, 2, np.nan, 4, 5, 6], [90.0] * 8],
)
def test_a_border_that_is_none_gives_no_mask_and_says_so(tmp_path, border) -> None:
    path = mat(tmp_path / "a.mat", drop=("tumorMask",), tumorBorder=border)
    study = load_study(path)
    assert study.masks == {}
    assert any("encloses no pixel" in note for note in study.notes)
    # Beside a mask it does not matter.
    assert not load_study(mat(tmp_path / "b.mat", tumorBorder=border)).notes or (
        np.asarray(border).size == 8
    )


def test_a_border_elsewhere_is_noted_and_the_mask_kept(tmp_path) -> None:
    far = np.array([(x + 17, y + 3) for x, y in BORDER]).ravel()
    study = load_study(mat(tmp_path / "a.mat", tumorBorder=far))
    np.testing.assert_array_equal(study.masks["tumour"], MASK)
    assert any("tumorMask is used" in note for note in study.notes)
    # With x and y exchanged it still means the same tumour.
    swapped = np.array([(y, x) for x, y in BORDER]).ravel()
    assert not load_study(mat(tmp_path / "b.mat", tumorBorder=swapped)).notes


def folds(path: Path) -> Path:
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("cvind", data=np.arange(10.0)[None] % 5 + 1)
    return path


def test_a_folder_gives_labels_and_patients_from_headers(tmp_path, monkeypatch) -> None:
    mat(tmp_path / "d" / "2.mat", PID="7", label=3.0)
    old_mat(tmp_path / "d" / "10.mat")
    (tmp_path / "d" / "3.mat").write_bytes(b"\x89HDF\r\n\x1a\nbroken")
    folds(tmp_path / "d" / "cvind.mat")
    with h5py.File(tmp_path / "d" / "other.mat", "w") as file:
        file["x"] = [1, 2]
    monkeypatch.setattr(matlab, "_image", None)  # no pixel may be read
    found = find_cases(tmp_path / "d")
    assert [(c.name, c.label, c.patient) for c in found.cases] == [
        ("2.mat", "pituitary", "7"),
        ("3.mat", None, None),
        ("10.mat", "glioma", "MR0123"),
    ]
    assert {s.path.name: s.reason for s in found.skipped} == {
        "cvind.mat": "the folds of the data set, no image",
        "other.mat": "a MATLAB file without an image",
    }
    monkeypatch.undo()
    study = load_case(found.cases[0])
    assert study.patient == "7"
    np.testing.assert_array_equal(study.masks["tumour"], MASK)
    with pytest.raises(StudyError, match=r"3\.mat"):
        load_case(found.cases[1])
    assert [one.key for one in series(tmp_path / "d")] == ["2.mat", "3.mat", "10.mat"]


def test_tables_win_over_what_the_file_says(tmp_path) -> None:
    mat(tmp_path / "d" / "a.mat")
    mat(tmp_path / "d" / "b.mat")
    (tmp_path / "d" / "labels.csv").write_text("file,label\na.mat,meningioma\n")
    cases = find_cases(tmp_path / "d").cases
    assert [(c.label, c.patient) for c in cases] == [
        ("meningioma", "MR0123"),
        ("glioma", "MR0123"),
    ]
    table = tmp_path / "cases.csv"
    table.write_text("image,patient\nd/a.mat,P1\n")
    (case,) = find_cases(table).cases
    assert (case.label, case.patient) == ("glioma", "P1")


def test_other_files_are_refused_with_the_reason(tmp_path) -> None:
    with pytest.raises(StudyError, match=r"cvind\.mat.*folds"):
        load_study(folds(tmp_path / "cvind.mat"))
    scipy.io.savemat(tmp_path / "v.mat", {"volume": IMAGE, "age": 3})
    with pytest.raises(StudyError, match=r"v\.mat: holds the variables age, volume"):
        load_study(tmp_path / "v.mat")
    (tmp_path / "t.mat").write_text("just text " * 50)
    with pytest.raises(StudyError, match=r"t\.mat: is no MATLAB file"):
        load_study(tmp_path / "t.mat")
    scipy.io.savemat(tmp_path / "four.mat", {"cjdata": IMAGE}, format="4")
    with pytest.raises(StudyError, match=r"four\.mat: is no MATLAB file of version 5"):
        load_study(tmp_path / "four.mat")
    scipy.io.savemat(tmp_path / "n.mat", {"cjdata": IMAGE})
    with pytest.raises(StudyError, match="no structure"):
        load_study(tmp_path / "n.mat")
    with pytest.raises(StudyError, match="no series 'x'"):
        load_study(mat(tmp_path / "m.mat"), series="x")


@pytest.mark.parametrize("write", [mat, old_mat])
def test_images_that_are_none(tmp_path, write) -> None:
    for image, what in (
        (np.zeros((0, 0)), "shape"),
        (np.zeros((3, 4, 5)), "shape 3 x 4 x 5"),
        (IMAGE.astype(complex), "no numbers"),
    ):
        with pytest.raises(StudyError, match=rf"a\.mat.*{what}"):
            load_study(write(tmp_path / "a.mat", image=image))
    with pytest.raises(StudyError, match=r"a\.mat: 'cjdata' has no image"):
        load_study(write(tmp_path / "a.mat", drop=("image",)))


@pytest.mark.parametrize("write", [mat, old_mat])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.95])
def test_cut_files_are_refused_by_name(tmp_path, write, part) -> None:
    path = write(tmp_path / "cut.mat")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(StudyError, match=r"cut\.mat"):
        load_study(path)
    assert len(series(path)) == 1


def test_no_link_is_followed(tmp_path) -> None:
    secret = mat(tmp_path / "secret" / "s.mat")
    for link in (
        h5py.ExternalLink(str(secret), "/cjdata/image"),
        h5py.SoftLink("/cjdata/tumorMask"),
    ):
        path = mat(tmp_path / "a.mat", drop=("image",))
        with h5py.File(path, "r+") as file:
            file["cjdata"]["image"] = link
        with pytest.raises(StudyError, match=r"a\.mat: 'image' is a link"):
            load_study(path)
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file["cjdata"] = h5py.ExternalLink(str(secret), "/cjdata")
    with pytest.raises(StudyError, match=r"b\.mat: 'cjdata' is a link"):
        load_study(tmp_path / "b.mat")
    path = mat(tmp_path / "c.mat", drop=("image",))
    with h5py.File(path, "r+") as file:
        file["cjdata"].create_dataset(
            "image", (3, 4), "i2", external=[(str(secret), 0, 24)]
        )
    with pytest.raises(StudyError, match=r"c\.mat: 'image' is stored in another file"):
        load_study(path)
    path = mat(tmp_path / "d.mat", drop=("image",))
    layout = h5py.VirtualLayout((COLUMNS, ROWS), "i2")
    layout[:] = h5py.VirtualSource(str(secret), "cjdata/image", (COLUMNS, ROWS))
    with h5py.File(path, "r+") as file:
        file["cjdata"].create_virtual_dataset("image", layout)
    with pytest.raises(StudyError, match=r"d\.mat: 'image' is stored in another file"):
        load_study(path)


def test_bombs_are_refused_before_they_are_read(tmp_path, monkeypatch) -> None:
    path = mat(tmp_path / "a.mat", drop=("image",))
    with h5py.File(path, "r+") as file:  # never written: a few bytes on disk
        file["cjdata"].create_dataset("image", (40_000, 40_000), "i2", chunks=True)
    assert path.stat().st_size < 100_000
    with pytest.raises(StudyError, match=r"a\.mat: 'image' takes 3052 MiB"):
        load_study(path)
    monkeypatch.setattr(mat_files, "MAX_BYTES", 2**24)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    machine = zlib.compressobj(9)
    packed = b"".join(machine.compress(bytes(2**20)) for _ in range(20))
    packed += machine.flush()
    path = tmp_path / "b.mat"
    path.write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)
    assert path.stat().st_size < 2**17
    with pytest.raises(StudyError, match=r"b\.mat: its content takes"):
        load_study(path)


def test_references_are_refused(tmp_path) -> None:
    path = mat(tmp_path / "a.mat", drop=("image",))
    with h5py.File(path, "r+") as file:
        mask = file["cjdata/tumorMask"].ref
        file["cjdata"].create_dataset("image", data=[[mask]], dtype=h5py.ref_dtype)
    with pytest.raises(StudyError, match=r"a\.mat"):
        load_study(path)


def test_values_that_are_not_finite_are_noted(tmp_path) -> None:
    values = IMAGE.astype(np.float64)
    values[2, 3] = np.inf
    study = load_study(mat(tmp_path / "a.mat", image=values))
    np.testing.assert_array_equal(study.array, values)
    assert any("1 values are not finite" in note for note in study.notes)


def test_a_real_slice_in_a_file_of_this_kind(tmp_path, shared_data) -> None:
    """Pixels and mask of the same slice as PNG come back unturned."""
    folder = shared_data / "brain-tumor-mri-512"
    name = sorted(p.name for p in (folder / "images").iterdir())[0]
    with Image.open(folder / "images" / name) as image:
        pixels = np.asarray(image.convert("L")).astype(np.int16)
    with Image.open(folder / "masks" / name) as image:
        mask = np.asarray(image.convert("L")) > 0
    study = load_study(mat(tmp_path / "a.mat", image=pixels, tumorMask=mask))
    png = load_study(folder / "images" / name)
    np.testing.assert_array_equal(study.array, png.array)
    np.testing.assert_array_equal(study.masks["tumour"], png.masks["mask"])
