"""Ground truth: which file belongs to which image, and on which grid."""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from nibabel.processing import resample_from_to
from numpy.typing import NDArray
from PIL import Image

from dicom_files import AXIAL, volume, write_stack
from napari_medxai.errors import StudyError
from napari_medxai.io import find_masks, is_mask_name, load_study
from truth_files import segmentation, two_masks

IMAGE = np.arange(48, dtype=np.uint8).reshape(6, 8)
MASK = np.zeros((6, 8), dtype=np.uint8)
MASK[2:4, 3:7] = 255
OTHER = np.roll(MASK, 1, axis=0)
OBLIQUE = np.array(
    [
        [-1.8, 0.3, 0.2, 40.0],
        [0.35, 0.9, -0.5, -12.0],
        [-0.25, 0.3, 2.8, 7.0],
        [0, 0, 0, 1.0],
    ]
)


@pytest.fixture(autouse=True)
def _salt(tmp_path_factory, monkeypatch) -> None:
    folder = tmp_path_factory.getbasetemp() / "config"
    monkeypatch.setenv("MEDXAI_CONFIG_DIR", str(folder))


def png(path: Path, array: np.ndarray = IMAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = OBLIQUE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Pre_Mask.nii.gz", True),
        ("a-seg.png", True),
        ("labels.nii", True),
        ("tumour mask.png", True),
        ("roi_7.png", True),
        ("tumor_7.png", False),
        ("masked.png", False),
        ("segue.png", False),
        ("unlabelled.png", False),
        ("T1.nii.gz", False),
        ("x_mask2.png", True),
        ("mask1.png", True),
        ("tumorMask.nii.gz", True),
        ("seg3.nii", True),
        ("2seg.nii", True),
        ("CTMask.png", True),
        ("ROIs.png", True),
        ("leftTumorMaskNew2.png", True),
        ("x7seg9k.png", False),  # random names
        ("aRoiQ4kSegZz.png", False),
        ("maskedT1.png", False),
        ("Segond2.png", False),
        ("T2Labelled.png", False),
        ("Roissy1.jpg", False),
    ],
)
def test_mask_names(name, expected) -> None:
    assert is_mask_name(name) == expected


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.png", "masks/a.png"),
        ("images/sub/a.png", "masks/sub/a.png"),
        ("images/a.jpg", "masks/a.png"),
        ("images/a.png", "masks/a.tif"),
        ("a.png", "masks/a.png"),
        ("a.png", "a_mask.png"),
        ("a.png", "a_seg.tif"),
        ("a.png", "a-mask.png"),
        ("Pre_Scan_T1.png", "Pre_Mask.png"),
        ("Pre_Scan_T1.png", "pre-tumour-seg.png"),
        ("only.png", "mask.png"),
        ("only.png", "tumorMask.png"),
        ("Pre_Scan_T1.png", "PreMask.png"),
    ],
)
def test_a_mask_is_found(tmp_path, image, mask) -> None:
    path = png(tmp_path / image)
    if image.startswith("Pre"):
        png(path.with_name("Post_Scan_T1.png"))
    png(tmp_path / mask, MASK)
    study = load_study(path)
    assert list(study.masks) == ["mask"]
    np.testing.assert_array_equal(study.masks["mask"], MASK > 0)
    # Only where the names leave a doubt is it worth a note in every report.
    doubtful = image.startswith(("Pre", "only"))
    assert any(Path(mask).name in note for note in study.notes) == doubtful
    assert not load_study(path, masks="none").masks
    assert not load_study(path, masks=None).masks


@pytest.mark.parametrize(
    ("image", "other", "mask"),
    [
        ("Pre_T1.png", "Pre_T2.png", "Pre_Mask.png"),  # fits two images
        ("a.png", "b.png", "b_mask.png"),  # belongs to the other
        ("a.png", "b.png", "mask.png"),  # could be of either
        ("a.png", "b.png", "other/masks/a.png"),  # lies elsewhere
        ("a.png", "b.tif", "b_mask.tif"),
        ("Post_T1.png", "Pre_T1.png", "Pre_Mask.png"),
        ("Pre2_T1.png", "Post_T1.png", "Pre_Mask.png"),
        ("10_T1.png", "2_T1.png", "mask1.png"),
    ],
)
def test_a_mask_of_another_image_is_not_taken(tmp_path, image, other, mask) -> None:
    path = png(tmp_path / image)
    png(tmp_path / other)
    png(tmp_path / mask, MASK)
    assert not load_study(path).masks


def test_the_masks_folder_comes_first_and_a_mask_has_no_mask(tmp_path) -> None:
    path = png(tmp_path / "a.png")
    png(tmp_path / "a_mask.png", MASK)
    png(tmp_path / "masks" / "a.png", OTHER)
    np.testing.assert_array_equal(load_study(path).masks["mask"], OTHER > 0)
    assert not load_study(tmp_path / "a_mask.png").masks


def test_several_masks_beside_an_image_keep_their_names(tmp_path) -> None:
    path = png(tmp_path / "a.png")
    png(tmp_path / "a_mask.png", MASK)
    png(tmp_path / "a_seg.png", OTHER)
    study = load_study(path)
    assert set(study.masks) == {"a_mask", "a_seg"}
    np.testing.assert_array_equal(study.masks["a_seg"], OTHER > 0)
    np.testing.assert_array_equal(study.mask, (MASK > 0) | (OTHER > 0))


def test_two_masks_of_one_stem_are_ambiguous(tmp_path) -> None:
    path = png(tmp_path / "a.jpg")
    png(tmp_path / "masks" / "a.png", MASK)
    png(tmp_path / "masks" / "a.tif", MASK)
    with pytest.raises(StudyError, match="several masks"):
        load_study(path)


def test_colour_and_alpha_in_a_mask(tmp_path) -> None:
    path = png(tmp_path / "a.png")
    rgba = np.zeros((6, 8, 4), dtype=np.uint8)
    rgba[1, 1, 2] = 1  # any channel
    rgba[4, 4, 3] = 255  # alpha means nothing
    png(tmp_path / "a_mask.png", rgba)
    mask = load_study(path).masks["mask"]
    assert np.argwhere(mask).tolist() == [[1, 1]]


def test_a_jpeg_mask_has_no_halo(tmp_path) -> None:
    big = np.zeros((32, 40), dtype=np.uint8)
    big[8:20, 13:31] = 255
    path = png(tmp_path / "a.png", np.arange(1280).reshape(32, 40).astype(np.uint8))
    png(tmp_path / "a_mask.jpg", big)
    with Image.open(tmp_path / "a_mask.jpg") as image:
        assert (np.asarray(image) > 0).sum() > (big > 0).sum()
    np.testing.assert_array_equal(load_study(path).masks["mask"], big > 0)


def test_a_named_file_and_a_named_folder(tmp_path) -> None:
    path = png(tmp_path / "set" / "a.png")
    chosen = png(tmp_path / "elsewhere" / "x.png", MASK)
    np.testing.assert_array_equal(
        load_study(path, masks=chosen).masks["mask"], MASK > 0
    )
    folder = tmp_path / "truth"
    folder.mkdir()
    study = load_study(path, masks=folder)
    assert not study.masks
    assert any("no mask for a.png" in note for note in study.notes)
    png(folder / "a_mask.png", OTHER)
    np.testing.assert_array_equal(
        load_study(path, masks=str(folder)).masks["mask"], OTHER > 0
    )
    png(folder / "set" / "a.png", MASK)
    np.testing.assert_array_equal(
        load_study(path, masks=folder).masks["mask"], MASK > 0
    )
    with pytest.raises(StudyError, match="no such mask"):
        load_study(path, masks=tmp_path / "absent")


@pytest.mark.parametrize("shape", [(6, 7), (5, 8), (12, 13), (3, 6), (24, 26), (3, 3)])
def test_another_field_of_view_is_refused_with_both_grids(tmp_path, shape) -> None:
    path = png(tmp_path / "a.png")
    png(tmp_path / "a_mask.png", np.zeros(shape, dtype=np.uint8))
    with pytest.raises(StudyError, match=rf"{shape[0]} x {shape[1]}.*6 x 8"):
        load_study(path)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ((299, 299), (256, 256)),  # the COVID-19 Radiography Database
        ((60, 80), (240, 320)),
        ((103, 57), (52, 29)),
        ((40, 31), (64, 50)),
    ],
)
def test_the_same_view_at_another_size_is_resampled(tmp_path, image, mask) -> None:
    path = png(tmp_path / "COVID" / "images" / "x.png", np.zeros(image, np.uint8))
    rows, columns = np.mgrid[: mask[0], : mask[1]]
    round_ = np.hypot(rows - mask[0] * 0.4, columns - mask[1] * 0.6) < mask[0] * 0.2
    drawn = np.repeat(round_[..., None], 3, axis=2).astype(np.uint8) * 255
    png(tmp_path / "COVID" / "masks" / "x.png", drawn)
    study = load_study(path)
    # The mask's pixel in which each centre lies, without rounding.
    down, across = (
        [math.floor(Fraction(2 * n + 1, 2) * Fraction(m, i)) for n in range(i)]
        for i, m in zip(image, mask, strict=True)
    )
    expected = round_[np.ix_(down, across)]
    scaled = Image.fromarray(round_.astype(np.uint8)).resize(image[::-1], Image.NEAREST)
    assert (np.asarray(scaled) != expected).mean() < 1e-4  # Pillow's does round
    assert expected.sum() > 50
    np.testing.assert_array_equal(study.masks["mask"], expected)
    assert any("x.png: resampled (nearest)" in note for note in study.notes)


def blocks(values: list[int], dtype=np.uint8) -> NDArray:
    """Squares of 4 x 4 pixels, one for each value."""
    array = np.zeros((8, 6 * len(values) + 2), dtype=dtype)
    for number, value in enumerate(values):
        array[2:6, 6 * number + 2 : 6 * number + 6] = value
    return array


@pytest.mark.parametrize(
    ("values", "name", "dtype"),
    [
        ([1, 2, 3], "a_mask.png", np.uint8),
        ([85, 170, 255], "a_mask.png", np.uint8),
        ([100, 255], "a_mask.tif", np.uint8),
        ([1, 1000, 40000], "a_mask.png", np.uint16),
    ],
)
def test_grey_labels_become_masks(tmp_path, values, name, dtype) -> None:
    array = blocks(values, dtype)
    path = png(tmp_path / "a.png", np.zeros(array.shape, np.uint8))
    png(tmp_path / name, array)
    study = load_study(path)
    assert list(study.masks) == [f"label {value}" for value in values]
    for value in values:
        np.testing.assert_array_equal(study.masks[f"label {value}"], array == value)


def test_the_rim_of_a_smoothed_mask_is_no_label(tmp_path) -> None:
    array = blocks([255, 255])
    smooth = array.copy()
    smooth[1, 2:6] = 64
    smooth[6, 2:6] = 128
    path = png(tmp_path / "a.png", np.zeros(array.shape, np.uint8))
    png(tmp_path / "a_mask.png", smooth)
    study = load_study(path)
    assert list(study.masks) == ["mask"]
    np.testing.assert_array_equal(study.masks["mask"], smooth > 0)
    # Every value of a ramp: a picture and not labels.
    png(tmp_path / "a_mask.png", blocks(list(range(10, 180, 10))))
    png(tmp_path / "a.png", np.zeros((8, 6 * 17 + 2), np.uint8))
    assert list(load_study(path).masks) == ["mask"]


def labelled() -> np.ndarray:
    labels = np.zeros((3, 4, 5), dtype=np.int16)
    labels[1, 2, 3] = 1
    labels[0, 1, 1:3] = 2
    labels[2, 3, 4] = 7
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_labels_become_masks(tmp_path, dtype) -> None:
    path = nifti(tmp_path / "T1.nii.gz", np.zeros((3, 4, 5), dtype=np.float32))
    nifti(tmp_path / "T1_seg.nii.gz", labelled().astype(dtype))
    study = load_study(path)
    assert list(study.masks) == ["label 1", "label 2", "label 7"]
    for value in (1, 2, 7):
        expected = (labelled() == value).transpose(2, 1, 0)
        np.testing.assert_array_equal(study.masks[f"label {value}"], expected)
    nifti(tmp_path / "T1_seg.nii.gz", (labelled() == 7).astype(dtype) * 7)
    assert list(load_study(path).masks) == ["mask"]
    nifti(tmp_path / "T1_seg.nii.gz", labelled().astype(dtype) * 0)
    empty = load_study(path)
    assert list(empty.masks) == ["mask"]
    assert not empty.masks["mask"].any()


def test_an_image_is_no_mask(tmp_path) -> None:
    path = nifti(tmp_path / "T1.nii", np.zeros((3, 4, 5), dtype=np.float32))
    nifti(tmp_path / "T1_seg.nii", np.linspace(0, 9, 60).reshape(3, 4, 5))
    with pytest.raises(StudyError, match=r"T1_seg\.nii.*60 different values"):
        load_study(path)


ORIENTATIONS = [
    np.array(list(zip(order, flips, strict=True)))
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize("number", range(48))
def test_a_mask_in_another_axis_order_lands_on_the_same_voxels(
    tmp_path, number
) -> None:
    labels = labelled()
    path = nifti(tmp_path / "T1.nii", labels * 100)
    turned = nib.Nifti1Image(labels, OBLIQUE).as_reoriented(ORIENTATIONS[number])
    nib.save(turned, tmp_path / "T1_seg.nii")
    study = load_study(path)
    for value in (1, 2, 7):
        np.testing.assert_array_equal(
            study.masks[f"label {value}"], study.array == 100 * value
        )


@pytest.mark.parametrize("axis", range(3))
def test_a_grid_moved_by_little_gives_the_same_voxels(tmp_path, axis) -> None:
    path = nifti(tmp_path / "T1.nii", labelled() * 100)
    moved = OBLIQUE.copy()
    moved[axis, 3] += 0.01
    nifti(tmp_path / "T1_seg.nii", labelled(), moved)
    study = load_study(path)
    for value in (1, 2, 7):
        np.testing.assert_array_equal(
            study.masks[f"label {value}"], study.array == 100 * value
        )
    assert any("resampled (nearest) onto the image's grid" in n for n in study.notes)


def test_a_drift_over_many_voxels_is_noticed(tmp_path) -> None:
    """Half a thousandth of a step a voxel is a third of a voxel after 600."""
    array = np.zeros((600, 4, 3), dtype=np.uint8)
    array[590] = 1
    path = nifti(tmp_path / "T1.nii", array.astype(np.float32), np.eye(4))
    scaled = np.diag([1.0005, 1.0, 1.0, 1.0])
    nifti(tmp_path / "T1_seg.nii", array, scaled)
    study = load_study(path)
    assert any("resampled (nearest) onto the image's grid" in n for n in study.notes)
    nifti(tmp_path / "T1_seg.nii", array, np.diag([1 + 1e-7, 1.0, 1.0, 1.0]))
    assert not any("resampled" in note for note in load_study(path).notes)


def turned(degrees: float, spacing: tuple[float, ...], origin: NDArray) -> NDArray:
    """An affine onto RAS that turns about two axes; spacing of (i, j, k)."""
    a = np.radians(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = z @ x @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


GRIDS = [  # degrees, spacing, origin, shape of the mask's grid
    (0, (0.5, 0.6, 0.7), (-10.1, 5.2, 3.3), (24, 22, 20)),
    (0, (3.1, 2.2, 2.9), (-11.3, 4.1, 2.7), (5, 7, 4)),
    (25, (1.1, 0.9, 1.3), (-8.0, 4.0, 4.0), (14, 12, 10)),
    (25, (-1.1, 0.9, 1.3), (2.0, 4.0, 4.0), (14, 12, 10)),
    (90, (1.13, 1.07, 0.91), (-3.03, 7.07, 5.01), (9, 9, 9)),
]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", ["labels", "probabilities", "probabilities, turned"])
def test_another_grid_is_resampled_as_simpleitk_does(tmp_path, grid, kind) -> None:
    degrees, spacing, origin, shape = grid
    path = nifti(
        tmp_path / "T1.nii",
        np.zeros((9, 8, 7), dtype=np.float32),
        turned(8, (1.0, 1.2, 1.5), np.array([-9.0, 5.0, 4.0])),
    )
    rng = np.random.default_rng(3)
    affine = turned(degrees, spacing, np.array(origin))
    if kind == "labels":
        values = rng.integers(0, 4, shape).astype(np.uint8)
    else:
        values = rng.uniform(0, 1, shape).astype(np.float32)
    image = nib.Nifti1Image(values, affine)
    if kind.endswith("turned"):
        image = image.as_reoriented(ORIENTATIONS[17])
    nib.save(image, tmp_path / "T1_seg.nii")
    study = load_study(path)
    # SimpleITK reads both files itself.
    how = sitk.sitkNearestNeighbor if kind == "labels" else sitk.sitkLinear
    expected = sitk.GetArrayFromImage(
        sitk.Resample(
            sitk.ReadImage(tmp_path / "T1_seg.nii"),
            sitk.ReadImage(path),
            sitk.Transform(),
            how,
            0,
        )
    )
    text = " ".join(study.notes)
    if kind == "labels":
        assert list(study.masks) == ["label 1", "label 2", "label 3"]
        for value in (1, 2, 3):
            assert (expected == value).sum() > 10
            np.testing.assert_array_equal(
                study.masks[f"label {value}"], expected == value
            )
        assert "T1_seg.nii: resampled (nearest) onto" in text
    else:
        certain = np.abs(expected - 0.5) > 1e-5
        assert 20 < (expected >= 0.5).sum() < expected.size - 20
        np.testing.assert_array_equal(
            study.masks["mask"][certain], (expected >= 0.5)[certain]
        )
        assert "T1_seg.nii: resampled (linear) onto" in text
        assert "set where it is at least 0.5" in text


def test_a_sheared_grid_is_resampled_as_nibabel_does(tmp_path) -> None:
    path = nifti(tmp_path / "T1.nii", np.zeros((9, 8, 7), dtype=np.float32))
    labels = np.zeros((12, 11, 10), dtype=np.uint8)
    inner = (10, 9, 8)
    labels[1:-1, 1:-1, 1:-1] = np.random.default_rng(0).integers(0, 3, inner)
    affine = OBLIQUE @ np.diag([0.7, 0.8, 0.63, 1])
    affine[:3, 3] += (0.31, -0.22, 0.17)
    nifti(tmp_path / "T1_seg.nii", labels, affine)
    study = load_study(path)
    expected = np.asarray(
        resample_from_to(
            nib.Nifti1Image(labels, affine), ((9, 8, 7), OBLIQUE), order=0
        ).dataobj
    ).transpose(2, 1, 0)
    for value in (1, 2):
        assert (expected == value).sum() > 50
        np.testing.assert_array_equal(study.masks[f"label {value}"], expected == value)


def test_a_grid_elsewhere_is_refused_with_both_grids(tmp_path) -> None:
    path = nifti(tmp_path / "T1.nii", np.zeros((3, 4, 5), dtype=np.float32))
    moved = OBLIQUE.copy()
    moved[0, 3] += 60
    nifti(tmp_path / "T1_seg.nii", labelled(), moved)
    with pytest.raises(StudyError, match="does not meet it") as caught:
        load_study(path)
    assert str(caught.value).count("5 x 4 x 3") == 2
    assert "T1_seg.nii" in str(caught.value)


def test_structures_beside_the_image_leave_empty_masks_and_a_note(tmp_path) -> None:
    path = nifti(tmp_path / "T1.nii", np.zeros((4, 4, 4), np.float32), np.eye(4))
    labels = np.zeros((12, 4, 4), dtype=np.uint8)
    labels[9], labels[11] = 1, 2
    nifti(tmp_path / "T1_seg.nii", labels, np.eye(4))
    study = load_study(path)
    assert {n: m.any() for n, m in study.masks.items()} == {
        "label 1": False,
        "label 2": False,
    }
    assert any("none of its structures lies within" in n for n in study.notes)


def test_probabilities_on_the_image_s_own_grid(tmp_path) -> None:
    path = nifti(tmp_path / "T1.nii", np.zeros((3, 4, 5), dtype=np.float32))
    values = np.linspace(0, 1, 60).reshape(3, 4, 5).astype(np.float32)
    values[0, 0, 1] = np.nan
    nifti(tmp_path / "T1_seg.nii", values)
    study = load_study(path)
    np.testing.assert_array_equal(
        study.masks["mask"], (values >= 0.5).transpose(2, 1, 0)
    )
    assert any("map of probabilities" in note for note in study.notes)
    assert not any("resampled" in note for note in study.notes)


def test_a_shape_without_orientation_must_be_equal(tmp_path) -> None:
    path = nifti(tmp_path / "T1.nii", np.zeros((3, 4, 5), dtype=np.float32))
    nifti(tmp_path / "T1_seg.nii", np.zeros((3, 4, 6), dtype=np.uint8), None)
    with pytest.raises(StudyError, match="another grid"):
        load_study(path)


def test_a_mask_without_orientation_is_trusted_and_said(tmp_path) -> None:
    path = nifti(tmp_path / "T1.nii", np.zeros((3, 4, 5), dtype=np.float32))
    nifti(tmp_path / "T1_seg.nii", (labelled() == 2).astype(np.uint8), None)
    study = load_study(path)
    np.testing.assert_array_equal(
        study.masks["mask"], (labelled() == 2).transpose(2, 1, 0)
    )
    assert any("equal shape was trusted" in note for note in study.notes)


def test_a_mask_for_a_dicom_slice_by_name(tmp_path) -> None:
    path = write_stack(tmp_path, volume(1), orientation=AXIAL)[0]
    mask = np.zeros((6, 7), dtype=np.uint8)
    mask[1, 5] = 1
    png(tmp_path / "masks" / "IM000.png", mask)
    np.testing.assert_array_equal(load_study(path).masks["mask"], mask > 0)


def test_a_seg_comes_before_a_picture_of_that_name(tmp_path) -> None:
    files = write_stack(tmp_path, volume(1))
    masks = two_masks((3, 6, 7))
    masks = {name: mask[1:2] | mask[2:] for name, mask in masks.items()}
    picture = png(tmp_path / "masks" / "IM000.png", np.ones((6, 7), np.uint8))
    segmentation(files, masks, tmp_path / "seg.dcm")
    study = load_study(files[0])
    assert list(study.masks) == ["tumour", "oedema"]
    np.testing.assert_array_equal(study.masks["tumour"], masks["tumour"][0])
    assert load_study(files[0], masks=picture).masks["mask"].all()


def test_real_glioblastoma_masks(shared_data) -> None:
    folder = shared_data / "nifti" / "brain-tumor-progression"
    for path in sorted(folder.glob("*/*_Scan_T1.nii.gz")):
        study = load_study(path)
        name = path.name.replace("Scan_T1", "Mask")
        truth = np.asarray(nib.load(path.parent / name).dataobj) > 0
        assert truth.any()
        np.testing.assert_array_equal(study.masks["mask"], truth.transpose(2, 1, 0))


def outlines(folder: Path, image: str = "images/p.png", **changes: str) -> Path:
    """A data set as the COVID-19 chest X-ray segmentations are laid out."""
    path = png(folder / image, np.zeros((20, 30), dtype=np.uint8))
    png(folder / "images" / "other.png", np.zeros((20, 30), dtype=np.uint8))
    crop = np.zeros((4, 6, 4), dtype=np.uint8)
    crop[..., 3] = 255  # alpha means nothing
    crop[1:3, 2:5, 1] = 90
    png(folder / "masks" / "h_one.png", crop)
    png(folder / "masks" / "h_two.png", crop[:, ::-1])
    png(folder / "masks" / "h_three.png", np.full((2, 3, 4), 255, dtype=np.uint8))
    rows = [
        ("Opacity", path.name, "masks/h_one.png", "30x20", 3, 7, 6, 4),
        ("A Left Lung", path.name, "masks/h_one.png", "30x20", 3, 7, 6, 4),
        ("Central Line", path.name, "masks/h_one.png", "30x20", 3, 7, 6, 4),
        ("Consolidation", path.name, "masks/h_two.png", "30x20", 16, 24, 6, 4),
        ("Consolidation", path.name, "masks/h_three.png", "30x20", 0, 0, 3, 2),
        ("Opacity", "other.png", "masks/h_two.png", "30x20", 0, 0, 6, 4),
    ]
    head = ("Class", "Filename", "Mask", "Resolution", "Top", "Left", "Width", "Height")
    table = [dict(zip(head, map(str, row), strict=True)) for row in rows]
    table[0].update(changes)
    with (folder / "structure.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, head)
        writer.writeheader()
        writer.writerows(table)
    return path


def test_outlined_structures_are_placed_by_their_crop(tmp_path) -> None:
    path = outlines(tmp_path)
    one, two, three = np.zeros((3, 20, 30), dtype=bool)
    one[4:6, 9:12] = True
    two[17:19, 25:28] = True
    three[:2, :3] = True
    for how in ("auto", tmp_path):
        study = load_study(path, masks=how)
        assert list(study.masks) == ["Opacity", "Consolidation", "Consolidation 2"]
        assert "outlined, and no lesion: A Left Lung, Central Line" in study.notes
        for mask, expected in zip(study.masks.values(), (one, two, three), strict=True):
            np.testing.assert_array_equal(mask, expected)
    assert list(load_study(tmp_path / "images" / "other.png").masks) == ["Opacity"]
    assert not load_study(path, masks="none").masks


def test_outlines_beside_the_image_itself(tmp_path) -> None:
    path = outlines(tmp_path, image="p.png")
    assert len(load_study(path).masks) == 3
    # Another table of that name is none of ours.
    (tmp_path / "structure.csv").write_text("a,b\n1,2\n")
    png(tmp_path / "p_mask.png", np.full((20, 30), 255, dtype=np.uint8))
    assert list(load_study(path).masks) == ["mask"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Top": "17"}, "does not fit"),
        ({"Left": "-1"}, "does not fit"),
        ({"Left": "x"}, "no whole numbers"),
        ({"Resolution": "60x40"}, "60x40 image does not fit"),
        ({"Mask": "masks/h_none.png"}, "names a mask"),
        ({"Mask": "../secret.png"}, "names a mask"),
        ({"Mask": ""}, "names a mask"),
    ],
)
def test_outlines_that_do_not_fit_are_refused(tmp_path, changes, said) -> None:
    png(tmp_path / "secret.png", np.full((4, 6), 255, dtype=np.uint8))
    path = outlines(tmp_path / "set", **changes)
    with pytest.raises(StudyError, match=said):
        load_study(path)


def test_real_outlines(shared_data) -> None:
    folder = shared_data / "chest-xray-segmented"
    table = pd.read_csv(folder / "structure.csv")
    for name in sorted(set(table["Filename"]))[::6]:
        study = load_study(folder / "images" / name)
        rows = table[table["Filename"] == name]
        other = "Airways|Cardiomediastinum|Lung|Tube|Tubings|Line"
        rows = rows[~rows["Class"].str.contains(other)]
        assert list(study.masks) == list(rows["Class"])
        for row in rows.itertuples():
            expected = np.zeros(study.shape, dtype=bool)
            with Image.open(folder / row.Mask) as image:
                crop = np.asarray(image)[..., :3].max(axis=-1)
            height, width = row.Height, row.Width
            expected[row.Top : row.Top + height, row.Left : row.Left + width] = crop > 0
            np.testing.assert_array_equal(study.masks[row.Class], expected)
            assert expected.any()


def test_masks_that_the_file_itself_holds(tmp_path) -> None:
    path = png(tmp_path / "a.png")
    study = load_study(path)
    held = replace(study, metadata={"format": "matlab"}, masks={"tumour": MASK > 0})
    png(tmp_path / "a_mask.png", OTHER)
    masks, notes = find_masks(held)
    assert (list(masks), notes) == (["tumour"], ())
    assert find_masks(held, "none") == ({}, ())
    chosen, _ = find_masks(held, tmp_path / "a_mask.png")
    np.testing.assert_array_equal(chosen["mask"], OTHER > 0)
