"""Ground truth: which file belongs to which image, and on which grid."""

from __future__ import annotations

import itertools
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.sr.codedict import codes

from dicom_files import AXIAL, dataset, enhanced, save, uid, volume, write_stack
from napari_medxai.errors import StudyError
from napari_medxai.io import is_mask_name, load_study

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


def test_another_size_is_refused_with_both_grids(tmp_path) -> None:
    path = png(tmp_path / "a.png")
    png(tmp_path / "a_mask.png", MASK[:, :-1])
    with pytest.raises(StudyError, match=r"6 x 7.*6 x 8"):
        load_study(path)


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
    nifti(tmp_path / "T1_seg.nii", np.linspace(0, 1, 60).reshape(3, 4, 5))
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
def test_a_moved_grid_is_refused_with_both_grids(tmp_path, axis) -> None:
    path = nifti(tmp_path / "T1.nii", np.zeros((3, 4, 5), dtype=np.float32))
    moved = OBLIQUE.copy()
    moved[axis, 3] += 0.01
    nifti(tmp_path / "T1_seg.nii", labelled(), moved)
    with pytest.raises(StudyError, match="another grid") as caught:
        load_study(path)
    assert str(caught.value).count("5 x 4 x 3") == 2
    assert "T1_seg.nii" in str(caught.value)


def test_a_mask_without_orientation_is_trusted_and_said(tmp_path) -> None:
    path = nifti(tmp_path / "T1.nii", np.zeros((3, 4, 5), dtype=np.float32))
    nifti(tmp_path / "T1_seg.nii", (labelled() == 2).astype(np.uint8), None)
    study = load_study(path)
    np.testing.assert_array_equal(
        study.masks["mask"], (labelled() == 2).transpose(2, 1, 0)
    )
    assert any("equal shape was trusted" in note for note in study.notes)


def segmentation(
    files: list[Path],
    masks: dict[str, np.ndarray],
    path: Path,
    *,
    kind: str = "BINARY",
) -> Path:
    """A SEG of the given files, written by highdicom; masks (slices, rows, columns)."""
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type="MANUAL",
        )
        for number, label in enumerate(masks, start=1)
    ]
    sources = [pydicom.dcmread(file) for file in files]
    seg = hd.seg.Segmentation(
        sources,
        np.stack(list(masks.values()), axis=-1).astype(
            np.uint8 if kind == "BINARY" else np.float32
        ),
        kind,
        descriptions,
        series_instance_uid=uid("segmentation", path.name),
        series_number=9,
        sop_instance_uid=uid("segmentation instance", path.name),
        instance_number=1,
        manufacturer="simulated",
        manufacturer_model_name="simulated",
        software_versions="1",
        device_serial_number="1",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    seg.save_as(path)
    return path


def two_masks(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    one, two = np.zeros((2, *shape), dtype=bool)
    one[1, 1:4, 2:5] = one[2, 2, 2] = True
    two[-1, 0, -1] = True
    return {"tumour": one, "oedema": two}


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 1, 2]])
def test_a_seg_lies_on_its_slices(tmp_path, order) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels, order=order, reverse_numbers=True)
    masks = two_masks(voxels.shape)
    # The sources in another order than the slices: positions decide, not order.
    shuffled = [files[k] for k in order]
    given = {name: mask[order] for name, mask in masks.items()}
    segmentation(shuffled, given, tmp_path / "seg.dcm")
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.array, voxels)
    assert list(study.masks) == ["tumour", "oedema"]
    for name, mask in masks.items():
        np.testing.assert_array_equal(study.masks[name], mask)


def test_a_seg_in_another_folder_is_found_when_named(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path / "ct", voxels)
    masks = two_masks(voxels.shape)
    path = segmentation(files, masks, tmp_path / "truth" / "seg.dcm")
    assert not load_study(tmp_path / "ct").masks
    for how in (path, path.parent):
        study = load_study(tmp_path / "ct", masks=how)
        np.testing.assert_array_equal(study.masks["oedema"], masks["oedema"])


def test_a_seg_of_another_series_is_not_taken(tmp_path) -> None:
    voxels = volume()
    write_stack(tmp_path / "one", voxels, series="one")
    other = write_stack(tmp_path / "two", voxels, series="two")
    path = segmentation(other, two_masks(voxels.shape), tmp_path / "one" / "seg.dcm")
    assert not load_study(tmp_path / "one").masks
    with pytest.raises(StudyError, match=r"seg\.dcm: it refers to other images"):
        load_study(tmp_path / "one", masks=path)


def test_a_seg_of_another_frame_of_reference_is_not_taken(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    path = segmentation(files, two_masks(voxels.shape), tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    seg.FrameOfReferenceUID = uid("another")
    seg.save_as(path)
    study = load_study(tmp_path)
    assert not study.masks
    assert any("frame of reference" in note for note in study.notes)


def test_a_moved_seg_is_refused(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    path = segmentation(files, two_masks(voxels.shape), tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    frame = seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    frame.ImagePositionPatient = [-20.5, 10.0, frame.ImagePositionPatient[2]]
    seg.save_as(path)
    with pytest.raises(StudyError, match=r"0\.50 mm from the nearest slice"):
        load_study(tmp_path)


def test_a_seg_on_another_raster_is_refused(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    path = segmentation(files, two_masks(voxels.shape), tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.5, 0.5]
    seg.save_as(path)
    with pytest.raises(StudyError, match="PixelSpacing"):
        load_study(tmp_path)


def test_a_fractional_seg_is_said_and_not_read(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    masks = {"tumour": two_masks(voxels.shape)["tumour"] * 0.5}
    segmentation(files, masks, tmp_path / "seg.dcm", kind="FRACTIONAL")
    study = load_study(tmp_path)
    assert not study.masks
    assert any("FRACTIONAL" in note for note in study.notes)


def test_a_seg_of_a_radiograph_goes_by_its_instance(tmp_path) -> None:
    pixels = volume(1)[0].astype(np.uint16)
    ds = dataset(
        pixels,
        position=None,
        orientation=None,
        modality="CR",
        sop="film",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.1",
        PatientOrientation=["L", "F"],
        BodyPartExamined="CHEST",
        ViewPosition="PA",
    )
    del ds.FrameOfReferenceUID
    path = save(ds, tmp_path / "film.dcm")
    mask = np.zeros((1, 6, 7), dtype=bool)
    mask[0, 2, 3:6] = True
    segmentation([path], {"opacity": mask}, tmp_path / "seg.dcm")
    study = load_study(path)
    assert study.shape == (6, 7)
    np.testing.assert_array_equal(study.masks["opacity"], mask[0])


def test_a_seg_of_an_enhanced_object_goes_by_position(tmp_path) -> None:
    voxels = volume(3).astype(np.uint16)
    positions = [(0.0, 0.0, z) for z in (4.0, 0.0, 2.0)]
    path = save(enhanced(voxels, positions), tmp_path / "e.dcm")
    mask = np.zeros((3, 6, 7), dtype=bool)
    mask[0, 1, 1] = mask[2, 4, 4] = True
    segmentation([path], {"tumour": mask}, tmp_path / "seg.dcm")
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.masks["tumour"], mask[[1, 2, 0]])


def test_an_rtstruct_is_said_and_not_read(tmp_path) -> None:
    write_stack(tmp_path, volume())
    ds = dataset(volume(1)[0], modality="RTSTRUCT", series="contours")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(ds, keyword)
    save(ds, tmp_path / "rt.dcm")
    study = load_study(tmp_path)
    assert not study.masks
    assert any("an RTSTRUCT of the series" in note for note in study.notes)


def test_a_damaged_seg_is_reported(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    path = segmentation(files, two_masks(voxels.shape), tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    seg.PixelData = seg.PixelData[:4]
    seg.save_as(path)
    with pytest.raises(StudyError, match=r"seg\.dcm"):
        load_study(tmp_path)


def test_a_mask_for_a_dicom_slice_by_name(tmp_path) -> None:
    path = write_stack(tmp_path, volume(1), orientation=AXIAL)[0]
    mask = np.zeros((6, 7), dtype=np.uint8)
    mask[1, 5] = 1
    png(tmp_path / "masks" / "IM000.png", mask)
    np.testing.assert_array_equal(load_study(path).masks["mask"], mask > 0)


def test_real_glioblastoma_masks(shared_data) -> None:
    folder = shared_data / "nifti" / "brain-tumor-progression"
    for path in sorted(folder.glob("*/*_Scan_T1.nii.gz")):
        study = load_study(path)
        name = path.name.replace("Scan_T1", "Mask")
        truth = np.asarray(nib.load(path.parent / name).dataobj) > 0
        assert truth.any()
        np.testing.assert_array_equal(study.masks["mask"], truth.transpose(2, 1, 0))


def test_real_seg_against_highdicom(shared_data) -> None:
    folder = shared_data / "dicom" / "highdicom" / "data" / "test_files"
    image = folder / "ct_image.dcm"
    study = load_study(image)
    seg = hd.seg.segread(folder / "seg_image_ct_binary_single_frame.dcm")
    expected = seg.get_pixels_by_source_instance(
        [pydicom.dcmread(image).SOPInstanceUID]
    )
    np.testing.assert_array_equal(study.masks["first segment"], expected[0, ..., 0] > 0)
