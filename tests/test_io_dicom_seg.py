"""DICOM SEG of every kind, on the grid of the series it refers to."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from dicom_files import (
    AXIAL,
    SECRETS,
    dataset,
    enhanced,
    save,
    uid,
    volume,
    write_stack,
)
from napari_medxai.errors import StudyError
from napari_medxai.io import load_study
from napari_medxai.io.structure_names import identity_words, safe_name
from truth_files import segmentation, two_masks

OBLIQUE = (0.9541666, -0.2080757, 0.2151061, 0.2785886, 0.880128, -0.3843997)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 1, 2]])
@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_a_seg_lies_on_its_slices(tmp_path, order, orientation) -> None:
    voxels = volume()
    files = write_stack(
        tmp_path, voxels, order=order, reverse_numbers=True, orientation=orientation
    )
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
    assert not [note for note in study.notes if "SEG" in note]


def test_frames_beyond_a_gap_keep_their_slice(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    mask = np.zeros(voxels.shape, dtype=bool)
    mask[1, 2, 2] = mask[2, 3, 3] = mask[4, 1, 5] = True
    segmentation(files, {"tumour": mask}, tmp_path / "seg.dcm")
    files[2].unlink()
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.masks["tumour"], mask[[0, 1, 3, 4]])
    assert any("1 of 3 frames of a SEG lie on slices" in n for n in study.notes)


def test_a_single_slice_takes_its_own_frame(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path / "ct", voxels)
    masks = two_masks(voxels.shape)
    path = segmentation(files, masks, tmp_path / "seg.dcm")
    for k in range(5):
        study = load_study(files[k], masks=path)
        for name, mask in masks.items():
            np.testing.assert_array_equal(study.masks[name], mask[k])


def test_overlapping_segments_and_several_objects(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    rng = np.random.default_rng(1)
    a, b, c = rng.uniform(size=(3, *voxels.shape)) < 0.3
    assert (a & b).any()
    segmentation(files, {"core": a, "whole": a | b}, tmp_path / "seg1.dcm")
    segmentation(files, {"core": c}, tmp_path / "seg2.dcm")
    segmentation(files, {"core": a}, tmp_path / "seg3.dcm")
    study = load_study(tmp_path)
    assert list(study.masks) == ["core", "whole", "core 2"]
    for mask, expected in zip(study.masks.values(), (a, a | b, c), strict=True):
        np.testing.assert_array_equal(mask, expected)
    assert any("1 structure(s) that two SEG hold alike" in n for n in study.notes)


@pytest.mark.parametrize("kind", ["PROBABILITY", "OCCUPANCY"])
@pytest.mark.parametrize("maximum", [255, 100, 7])
def test_fractions_are_cut_at_one_half_and_said(tmp_path, kind, maximum) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    stored = np.random.default_rng(2).integers(0, maximum + 1, voxels.shape)
    stored[0] = 0  # a frame that highdicom leaves out
    segmentation(
        files,
        {"tumour": stored / maximum},
        tmp_path / "seg.dcm",
        kind="FRACTIONAL",
        fractional_type=kind,
        max_fractional_value=maximum,
    )
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.masks["tumour"], 2 * stored >= maximum)
    assert study.masks["tumour"].any()
    assert any(f"FRACTIONAL SEG ({kind.lower()})" in note for note in study.notes)


@pytest.mark.parametrize("palette", [False, True])
def test_a_label_map(tmp_path, palette) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    labels = np.random.default_rng(3).integers(0, 3, voxels.shape).astype(np.uint8)
    labels[3] = 0
    options = {}
    if palette:
        options["palette_color_lut_transformation"] = (
            hd.PaletteColorLUTTransformation.from_colors(
                ["black", "red", "black"],
                palette_color_lut_uid=uid("palette"),
            )
        )
    segmentation(
        files,
        dict.fromkeys(("tumour", "oedema")),
        tmp_path / "seg.dcm",
        kind="LABELMAP",
        pixels=labels,
        **options,
    )
    study = load_study(tmp_path)
    assert list(study.masks) == ["tumour", "oedema"]
    np.testing.assert_array_equal(study.masks["tumour"], labels == 1)
    np.testing.assert_array_equal(study.masks["oedema"], labels == 2)


def itk_image(pixels, origin, spacing, down, across) -> sitk.Image:
    """`pixels` (slice, row, column) with spacing likewise, as SimpleITK sees them."""
    image = sitk.GetImageFromArray(pixels)
    image.SetOrigin([float(v) for v in origin])
    image.SetSpacing([float(v) for v in spacing[::-1]])
    turn = np.stack([across, down, np.cross(across, down)], axis=1)
    image.SetDirection([float(v) for v in turn.ravel()])
    return image


def rotated(degrees: float) -> tuple[NDArray, NDArray]:
    """Row and column direction, turned about two axes."""
    a = np.radians(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = z @ x
    return turn[:, 1], turn[:, 0]


@pytest.mark.parametrize(
    ("degrees", "spacing", "shape", "shift"),
    [
        (0, (2.5, 0.31, 0.23), (5, 13, 17), (0.04, 0.03, 0)),  # finer in plane
        (0, (1.1, 0.75, 0.5), (12, 6, 7), (0, 0, 0.07)),  # thinner slices
        (0, (2.5, 0.75, 0.5), (5, 9, 4), (-1.01, 0.76, 0)),  # another extent
        (17, (1.9, 0.7, 0.6), (9, 12, 14), (-2.1, -1.7, -1.3)),  # oblique
        (90, (0.61, 0.93, 1.2), (11, 15, 12), (1.3, -0.41, -1.2)),
    ],
)
@pytest.mark.parametrize("stated", [True, False])
def test_another_grid_is_resampled_as_simpleitk_does(
    tmp_path, degrees, spacing, shape, shift, stated
) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    down, across = rotated(degrees)
    origin = np.array([-20.0, 10.0, 30.0]) + shift
    normal = np.cross(across, down)
    rng = np.random.default_rng(7)
    mask = rng.uniform(size=shape) < 0.5
    mask[shape[0] // 2] = False  # a frame that highdicom leaves out
    path = segmentation(
        files,
        {"tumour": mask},
        tmp_path / "seg.dcm",
        pixel_measures=hd.PixelMeasuresSequence(
            pixel_spacing=spacing[1:],
            slice_thickness=spacing[0],
            spacing_between_slices=spacing[0],
        ),
        plane_orientation=hd.PlaneOrientationSequence(
            "PATIENT", [*map(float, across), *map(float, down)]
        ),
        plane_positions=[
            hd.PlanePositionSequence(
                "PATIENT", [float(v) for v in origin + k * spacing[0] * normal]
            )
            for k in range(shape[0])
        ],
    )
    if not stated:
        # Then the frames' own distances count, and not how thick each is.
        seg = pydicom.dcmread(path)
        measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        del measures.SpacingBetweenSlices
        measures.SliceThickness = 0.1
        seg.save_as(path)
    study = load_study(tmp_path)
    target = itk_image(
        voxels, (-20, 10, 30), (2.5, 0.75, 0.5), np.eye(3)[1], np.eye(3)[0]
    )
    source = itk_image(mask.astype(np.uint8), origin, spacing, down, across)
    expected = sitk.GetArrayFromImage(
        sitk.Resample(source, target, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    )
    assert 10 < expected.sum() < expected.size - 10
    np.testing.assert_array_equal(study.masks["tumour"], expected > 0)
    assert any("was resampled (nearest) onto the images" in n for n in study.notes)


def test_a_seg_in_another_folder_is_found_when_named(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path / "ct", voxels)
    masks = two_masks(voxels.shape)
    path = segmentation(files, masks, tmp_path / "truth" / "seg.dcm")
    # That of another series in the same folder is none of this one's business.
    other = write_stack(tmp_path / "other", voxels, series="other")
    segmentation(other, masks, tmp_path / "truth" / "other.dcm")
    assert not load_study(tmp_path / "ct").masks
    for how in (path, path.parent):
        study = load_study(tmp_path / "ct", masks=how)
        assert list(study.masks) == ["tumour", "oedema"]
        np.testing.assert_array_equal(study.masks["oedema"], masks["oedema"])
        assert not [note for note in study.notes if "SEG" in note]


def test_a_seg_of_another_series_is_not_taken(tmp_path) -> None:
    voxels = volume()
    write_stack(tmp_path / "one", voxels, series="one")
    other = write_stack(tmp_path / "two", voxels, series="two")
    path = segmentation(other, two_masks(voxels.shape), tmp_path / "one" / "seg.dcm")
    assert not load_study(tmp_path / "one").masks
    study = load_study(tmp_path / "one" / "IM000.dcm")
    assert not study.masks
    assert "1 SEG not used: it refers to other images" in study.notes
    with pytest.raises(StudyError, match=r"seg\.dcm: it refers to other images"):
        load_study(tmp_path / "one", masks=path)


def change(path: Path, how: str) -> None:
    """Take from a SEG what ties it to its images."""
    seg = pydicom.dcmread(path)
    if how == "frame":
        seg.FrameOfReferenceUID = uid("another")
    elif how == "tiled":
        seg.DimensionOrganizationType = "TILED_FULL"
    elif how == "nothing":
        del seg.FrameOfReferenceUID
        del seg.ReferencedSeriesSequence
        for groups in seg.PerFrameFunctionalGroupsSequence:
            del groups.DerivationImageSequence
    elif how == "far":
        for groups in seg.PerFrameFunctionalGroupsSequence:
            plane = groups.PlanePositionSequence[0]
            x, y, z = plane.ImagePositionPatient
            plane.ImagePositionPatient = [x + 300, y, z]
    elif how == "own":
        seg.Manufacturer = "napari-medxai"
    seg.save_as(path)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("frame", "it lies in another frame of reference than the images"),
        ("tiled", "it is a tiled segmentation of a whole slide"),
        ("nothing", "it does not say to which images it belongs"),
        ("far", "it lies outside the images"),
        ("own", "it was made of a saliency map and is no ground truth"),
    ],
)
def test_what_is_not_of_the_images_is_refused(tmp_path, how, why) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    path = segmentation(files, two_masks(voxels.shape), tmp_path / "Doe.dcm")
    change(path, how)
    study = load_study(tmp_path)
    assert not study.masks
    assert f"1 SEG not used: {why}" in study.notes
    assert not any(secret in " ".join(study.notes) for secret in SECRETS)
    with pytest.raises(StudyError, match=rf"Doe\.dcm: {why}"):
        load_study(tmp_path, masks=path)


def test_a_frame_of_reference_alone_is_enough(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    masks = two_masks(voxels.shape)
    path = segmentation(files, masks, tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    del seg.ReferencedSeriesSequence
    for groups in seg.PerFrameFunctionalGroupsSequence:
        del groups.DerivationImageSequence
    seg.save_as(path)
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.masks["tumour"], masks["tumour"])


def test_labels_that_name_the_patient_are_replaced(tmp_path) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    mask = two_masks(voxels.shape)["tumour"]
    path = segmentation(files, {"a": mask, "b": mask, "c": mask}, tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    names = ("Lesion of Jane", "tumour", "tumour")
    for item, name in zip(seg.SegmentSequence, names, strict=True):
        item.SegmentLabel = name
    seg.PatientName, seg.PatientID = "", ""  # known from the images all the same
    seg.save_as(path)
    assert list(load_study(tmp_path).masks) == ["segment 1", "tumour", "tumour 2"]


@pytest.mark.parametrize(
    ("name", "number", "label", "kept"),
    [
        ("Doe^Jane", "4711-ID", "Tumour, left", True),
        ("Doe^Jane", "4711-ID", "JANEs tumour", False),
        ("Doe^Jane", "4711-ID", "doe_gtv", False),
        ("Doe^Jane", "4711-ID", "Doeskin", True),  # short words only whole
        ("Doe^Jane", "4711-ID", "gtv 4711 id", False),
        ("Doe^Jane", "4711-ID", "born 1970-01-02", False),
        ("Lu^Li", "12", "Lung 12", True),
        ("Lu^Li", "12", "Lung of Lu", False),
        ("LIVER-001", "LIVER-001", "Liver", True),  # a research identifier
        ("LIVER-001", "LIVER-001", "Liver001 lesion", False),
        ("Müller^Åse=李^雷", "", "MÜLLER", False),
        ("Müller^Åse=李^雷", "", "肿瘤 李", False),
        ("", "", "a\nb\tc", True),
    ],
)
def test_which_names_tell_the_patient(name, number, label, kept) -> None:
    ds = pydicom.Dataset()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = name, number, "19700102"
    found = safe_name(label, identity_words(ds), "segment 1")
    assert found == (" ".join(label.split()) if kept else "segment 1")


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
    seg = segmentation([path], {"opacity": mask}, tmp_path / "seg.dcm")
    study = load_study(path)
    assert study.shape == (6, 7)
    np.testing.assert_array_equal(study.masks["opacity"], mask[0])
    # Without positions another size has no place.
    ds.Rows, ds.PixelData = 5, pixels[:5].tobytes() + b""
    save(ds, tmp_path / "film.dcm")
    with pytest.raises(StudyError, match="6 rows and 7 columns"):
        load_study(path, masks=seg)


def test_a_seg_of_an_enhanced_object_goes_by_position(tmp_path) -> None:
    voxels = volume(3).astype(np.uint16)
    positions = [(0.0, 0.0, z) for z in (4.0, 0.0, 2.0)]
    path = save(enhanced(voxels, positions), tmp_path / "e.dcm")
    mask = np.zeros((3, 6, 7), dtype=bool)
    mask[0, 1, 1] = mask[2, 4, 4] = True
    segmentation([path], {"tumour": mask}, tmp_path / "seg.dcm")
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.masks["tumour"], mask[[1, 2, 0]])


@pytest.mark.parametrize("how", ["pixels", "segment", "sequence", "image"])
def test_a_damaged_seg_is_reported(tmp_path, how) -> None:
    voxels = volume()
    files = write_stack(tmp_path, voxels)
    path = segmentation(files, two_masks(voxels.shape), tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    groups = seg.PerFrameFunctionalGroupsSequence
    if how == "pixels":
        seg.PixelData = seg.PixelData[:4]
    elif how == "segment":
        groups[1].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9
    elif how == "sequence":
        del seg.SegmentSequence
    else:
        seg.Modality = "CT"
    seg.save_as(path)
    with pytest.raises(StudyError, match=r"seg\.dcm") as caught:
        load_study(tmp_path, masks=path)
    assert not any(secret in str(caught.value) for secret in SECRETS)
    if how != "image":
        with pytest.raises(StudyError, match=r"seg\.dcm"):
            load_study(tmp_path)


def test_the_companions_that_are_given_are_the_only_ones(tmp_path) -> None:
    from napari_medxai.io.masks import find_masks

    voxels = volume()
    files = write_stack(tmp_path, voxels)
    masks = two_masks(voxels.shape)
    segmentation(files, masks, tmp_path / "seg.dcm")
    away = segmentation(files, {"b": masks["oedema"]}, tmp_path / "x" / "b.dcm")
    study = load_study(tmp_path, masks="none")
    assert list(find_masks(study)[0]) == ["tumour", "oedema", "b"]
    assert list(find_masks(study, companions=[away])[0]) == ["b"]
    assert find_masks(study, companions=[]) == ({}, ())


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("seg_image_ct_binary", "77654033/CT2"),
        ("seg_image_ct_binary_overlap", "77654033/CT2"),
        ("seg_image_ct_binary_fractional", "77654033/CT2"),
        ("seg_image_ct_true_fractional", "77654033/CT2"),
        ("seg_image_cr_binary", "77654033/CR1"),
        ("seg_image_ct_binary_single_frame", None),
    ],
)
def test_real_segs_against_highdicom(shared_data, name, series) -> None:
    folder = shared_data / "dicom" / "highdicom" / "data" / "test_files"
    source = folder / "ct_image.dcm"
    if series is not None:
        listed = get_testdata_file("DICOMDIR", read=False)
        source = Path(str(listed)).parent / series
    study = load_study(source, masks=folder / f"{name}.dcm")
    seg = hd.seg.segread(folder / f"{name}.dcm")
    values = seg.get_pixels_by_source_instance(
        study.metadata["sop_instance_uids"],
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    assert list(study.masks) == [item.SegmentLabel for item in seg.SegmentSequence]
    for number, mask in enumerate(study.masks.values()):
        assert mask.any()
        np.testing.assert_array_equal(
            mask.reshape(values.shape[:3]), values[..., number] >= 0.5
        )
    # No other image here is its image.
    with pytest.raises(StudyError, match=r"refers to other images|frame of reference"):
        load_study(folder / "dx_image.dcm", masks=folder / f"{name}.dcm")
