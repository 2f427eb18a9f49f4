"""NIfTI: axes, frames, scaling, and what a header can get wrong."""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from napari_medxai.errors import StudyError
from napari_medxai.io import load_study, series
from napari_medxai.study import Study

SHAPE = (3, 4, 5)
VOXELS = np.arange(60, dtype=np.int16).reshape(SHAPE)
OBLIQUE = np.array(
    [
        [-1.8, 0.3, 0.2, 40.0],
        [0.35, 0.9, -0.5, -12.0],
        [-0.25, 0.3, 2.8, 7.0],
        [0, 0, 0, 1.0],
    ]
)


def place(study: Study, value: float) -> np.ndarray:
    """LPS mm of the voxel with this value, step by step."""
    (index,) = np.argwhere(study.array == value)
    assert study.affine_lps is not None
    x, y, z = study.affine_lps[:3, 3]
    for axis in range(3):
        x += index[axis] * study.affine_lps[0, axis]
        y += index[axis] * study.affine_lps[1, axis]
        z += index[axis] * study.affine_lps[2, axis]
    return np.array([x, y, z])


def place_by_nibabel(image: nib.Nifti1Image, value: float) -> np.ndarray:
    (index,) = np.argwhere(np.asarray(image.dataobj) == value)
    r, a, s = nib.affines.apply_affine(image.affine, index)
    return np.array([-r, -a, s])


ORIENTATIONS = [
    np.array(list(zip(order, flips, strict=True)))
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize("number", range(48))
def test_no_voxel_moves_whatever_the_axis_order(tmp_path, number) -> None:
    image = nib.Nifti1Image(VOXELS, OBLIQUE).as_reoriented(ORIENTATIONS[number])
    nib.save(image, tmp_path / "a.nii")
    study = load_study(tmp_path / "a.nii")
    assert study.array.shape == image.shape[::-1]
    for value in (0, 17, 59):
        np.testing.assert_allclose(
            place(study, value), place_by_nibabel(image, value), atol=1e-4
        )
        original = place_by_nibabel(nib.Nifti1Image(VOXELS, OBLIQUE), value)
        np.testing.assert_allclose(place(study, value), original, atol=1e-4)


@pytest.mark.parametrize("extension", ["nii", "nii.gz", "hdr", "img"])
def test_containers(tmp_path, extension) -> None:
    cls = nib.Nifti1Pair if extension in {"hdr", "img"} else nib.Nifti1Image
    nib.save(cls(VOXELS, OBLIQUE), tmp_path / f"a.{extension}")
    study = load_study(tmp_path / f"a.{extension}")
    np.testing.assert_array_equal(study.array, VOXELS.transpose(2, 1, 0))
    # The pair is one image, not two.
    assert len(series(tmp_path)) == 1


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", "i1", "u4"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_types_are_kept_and_native(tmp_path, dtype, order) -> None:
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype))
    image = nib.Nifti2Image if order == ">" else nib.Nifti1Image
    header = header if order == "<" else None
    nib.save(image(VOXELS.astype(dtype), OBLIQUE, header), tmp_path / "a.nii")
    study = load_study(tmp_path / "a.nii")
    assert study.array.dtype == np.dtype(dtype)
    assert study.array.dtype.isnative
    np.testing.assert_array_equal(study.array, VOXELS.astype(dtype).transpose(2, 1, 0))


def test_big_endian(tmp_path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(VOXELS, OBLIQUE, header), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    study = load_study(tmp_path / "a.nii")
    np.testing.assert_array_equal(study.array, VOXELS.transpose(2, 1, 0))
    assert study.array.dtype == np.int16
    assert study.array.dtype.isnative


@pytest.mark.parametrize(("slope", "inter"), [(0.25, -3.0), (1.0, -1024.0)])
def test_scaling_is_applied(tmp_path, slope, inter) -> None:
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(VOXELS, OBLIQUE), path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<2f", slope, inter)  # scl_slope, scl_inter
    path.write_bytes(raw)
    study = load_study(path)
    assert study.array.dtype == np.float32
    stored = np.frombuffer(bytes(raw[352:]), dtype="<i2").reshape(SHAPE, order="F")
    expected = [
        [[slope * stored[i, j, k] + inter for i in range(3)] for j in range(4)]
        for k in range(5)
    ]
    np.testing.assert_allclose(study.array, expected, rtol=1e-6)


def test_volumes_are_listed_and_one_is_chosen(tmp_path) -> None:
    four = np.stack([VOXELS, VOXELS + 100, VOXELS + 200], axis=-1)
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(four, OBLIQUE), path)
    assert [one.key for one in series(path)] == ["0", "1", "2"]
    assert series(path)[0].shape == (5, 4, 3)
    with pytest.raises(StudyError, match=r"a\.nii\.gz: holds 3 volumes.*series="):
        load_study(path)
    for wrong in ("3", "-1", "x"):
        with pytest.raises(StudyError, match="no volume"):
            load_study(path, series=wrong)
    for one in series(path):
        study = load_study(path, series=one.key)
        expected = four[..., int(one.key)].transpose(2, 1, 0)
        np.testing.assert_array_equal(study.array, expected)
    # Through its folder the keys carry the file's name.
    keys = [one.key for one in series(tmp_path)]
    assert keys == ["a.nii.gz#0", "a.nii.gz#1", "a.nii.gz#2"]
    chosen = load_study(tmp_path, series=keys[2])
    np.testing.assert_array_equal(chosen.array, VOXELS.transpose(2, 1, 0) + 200)


def test_single_slices_are_images_with_their_place(tmp_path) -> None:
    for name, voxels in (("two.nii", VOXELS[:, :, 2]), ("one.nii", VOXELS[:, :, 2:3])):
        nib.save(nib.Nifti1Image(voxels, OBLIQUE), tmp_path / name)
        study = load_study(tmp_path / name)
        assert study.shape == (4, 3)
        assert study.spacing is not None
        assert len(study.spacing) == 2
        np.testing.assert_array_equal(study.array, VOXELS[:, :, 2].T)
        assert study.affine_lps is not None
        r, a, s, _ = OBLIQUE @ [2, 3, 0, 1]
        np.testing.assert_allclose(
            study.affine_lps @ [0, 3, 2, 1], [-r, -a, s, 1], atol=1e-5
        )


def test_trailing_axes_of_one_are_no_volumes(tmp_path) -> None:
    nib.save(nib.Nifti1Image(VOXELS[..., None, None], OBLIQUE), tmp_path / "a.nii")
    assert load_study(tmp_path / "a.nii").shape == (5, 4, 3)


def test_further_axes_are_listed_and_chosen_by_all_their_indices(tmp_path) -> None:
    five = np.arange(60 * 6, dtype=np.int16).reshape((*SHAPE, 2, 3))
    nib.save(nib.Nifti1Image(five, OBLIQUE), tmp_path / "a.nii.gz")
    keys = [one.key for one in series(tmp_path / "a.nii.gz")]
    assert keys == ["0,0", "0,1", "0,2", "1,0", "1,1", "1,2"]
    with pytest.raises(StudyError, match="6 volumes"):
        load_study(tmp_path / "a.nii.gz")
    for wrong in ("0", "2,0", "0,3", "0,0,0", "a", "-1,0"):
        with pytest.raises(StudyError, match="no volume"):
            load_study(tmp_path / "a.nii.gz", series=wrong)
    study = load_study(tmp_path / "a.nii.gz", series="1,2")
    np.testing.assert_array_equal(study.array, five[..., 1, 2].transpose(2, 1, 0))
    # A vector image: one axis of length one between.
    vector = five[..., :1, :]
    nib.save(nib.Nifti1Image(vector, OBLIQUE), tmp_path / "v.nii")
    assert [one.key for one in series(tmp_path / "v.nii")] == ["0", "1", "2"]
    study = load_study(tmp_path / "v.nii", series="2")
    np.testing.assert_array_equal(study.array, vector[..., 0, 2].transpose(2, 1, 0))


def test_no_orientation_gives_spacing_alone(tmp_path) -> None:
    image = nib.Nifti1Image(VOXELS, None)
    image.header.set_zooms((0.5, 0.75, 3.0))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    study = load_study(tmp_path / "a.nii")
    assert study.affine_lps is None
    assert study.spacing == (3.0, 0.75, 0.5)
    assert any("no orientation" in note for note in study.notes)


def test_units_and_disagreeing_forms(tmp_path) -> None:
    image = nib.Nifti1Image(VOXELS, np.diag([1e-3, 2e-3, 3e-3, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    study = load_study(tmp_path / "a.nii")
    np.testing.assert_allclose(study.spacing, (3, 2, 1), rtol=1e-6)
    image = nib.Nifti1Image(VOXELS, OBLIQUE)
    image.set_sform(OBLIQUE, 1)
    image.set_qform(np.diag([1, 1, 1, 1]), 1)
    nib.save(image, tmp_path / "b.nii")
    study = load_study(tmp_path / "b.nii")
    assert any("disagree" in note for note in study.notes)
    assert study.affine_lps is not None
    np.testing.assert_allclose(study.affine_lps[2, 0], OBLIQUE[2, 2], rtol=1e-6)


def test_degenerate_affine_is_not_used(tmp_path) -> None:
    image = nib.Nifti1Image(VOXELS, OBLIQUE)
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[280 : 280 + 16] = bytes(16)  # srow_x
    (tmp_path / "a.nii").write_bytes(raw)
    study = load_study(tmp_path / "a.nii")
    assert study.affine_lps is None
    assert any("degenerate" in note for note in study.notes)


def test_nan_rgb_and_complex(tmp_path) -> None:
    values = VOXELS.astype(np.float32)
    values[0, 0, :2] = np.nan
    nib.save(nib.Nifti1Image(values, OBLIQUE), tmp_path / "a.nii")
    study = load_study(tmp_path / "a.nii")
    assert any("2 voxels are NaN" in note for note in study.notes)
    rgb = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = VOXELS
    nib.save(nib.Nifti1Image(rgb, OBLIQUE), tmp_path / "b.nii")
    colour = load_study(tmp_path / "b.nii")
    assert colour.colour
    np.testing.assert_array_equal(colour.array[..., 1], VOXELS.transpose(2, 1, 0))
    assert colour.shape == (5, 4, 3)
    rgba = np.zeros(SHAPE, dtype=[(name, "u1") for name in "RGBA"])
    rgba["B"], rgba["A"] = VOXELS, 255
    nib.save(nib.Nifti1Image(rgba, OBLIQUE), tmp_path / "d.nii")
    study = load_study(tmp_path / "d.nii")
    np.testing.assert_array_equal(study.array[..., 2], VOXELS.transpose(2, 1, 0))
    assert not study.notes
    rgba["A"][1, 1, 1] = 254
    nib.save(nib.Nifti1Image(rgba, OBLIQUE), tmp_path / "d.nii")
    assert any("transparency" in n for n in load_study(tmp_path / "d.nii").notes)
    nib.save(nib.Nifti1Image(VOXELS.astype(complex), OBLIQUE), tmp_path / "c.nii")
    with pytest.raises(StudyError, match="complex"):
        load_study(tmp_path / "c.nii")


@pytest.mark.parametrize("extension", ["nii", "nii.gz"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.6, 0.97])
def test_cut_files_are_refused_by_name(tmp_path, extension, part) -> None:
    path = tmp_path / f"cut.{extension}"
    noise = np.random.default_rng(0).integers(0, 255, (9, 9, 9), dtype=np.uint8)
    nib.save(nib.Nifti1Image(noise, OBLIQUE), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(StudyError, match=r"cut\.nii"):
        load_study(path)
    assert series(path)


def test_a_pair_without_its_half_is_refused(tmp_path) -> None:
    nib.save(nib.Nifti1Pair(VOXELS, OBLIQUE), tmp_path / "a.hdr")
    (tmp_path / "a.img").unlink()
    with pytest.raises(StudyError, match=r"a\.hdr"):
        load_study(tmp_path / "a.hdr")


def header_patched(path: Path, offset: int, content: bytes) -> Path:
    raw = bytearray(path.read_bytes())
    raw[offset : offset + len(content)] = content
    path.write_bytes(raw)
    return path


def rigid(seed: int, spacing=(0.7, 1.1, 3.5)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * spacing
    affine[:3, 3] = (12.5, -33.0, 101.25)
    return affine


@pytest.mark.parametrize("form", ["sform", "qform", "both"])
@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("seed", [0, 1])
def test_affine_equals_that_of_simpleitk(tmp_path, form, cls, seed) -> None:
    affine = rigid(seed)
    image = cls(VOXELS, affine)
    image.set_sform(affine, 1 if form != "qform" else 0)
    image.set_qform(affine, 1 if form != "sform" else 0)
    nib.save(image, tmp_path / "a.nii.gz")
    study = load_study(tmp_path / "a.nii.gz")
    # SimpleITK reads no NIfTI-2: the same header as NIfTI-1 for it.
    twin = nib.Nifti1Image.from_image(image)
    twin.set_sform(affine, 1 if form != "qform" else 0)
    twin.set_qform(affine, 1 if form != "sform" else 0)
    nib.save(twin, tmp_path / "b.nii.gz")
    other = sitk.ReadImage(str(tmp_path / "b.nii.gz"))
    assert not study.notes
    np.testing.assert_array_equal(study.array, sitk.GetArrayFromImage(other))
    for k, j, i in [(0, 0, 0), (4, 3, 2), (1, 2, 0)]:
        expected = other.TransformIndexToPhysicalPoint((i, j, k))
        assert study.affine_lps is not None
        np.testing.assert_allclose(
            (study.affine_lps @ [k, j, i, 1])[:3], expected, atol=1e-3
        )
    assert study.spacing is not None
    np.testing.assert_allclose(study.spacing[::-1], other.GetSpacing(), atol=1e-5)


def test_a_useless_sform_leaves_the_qform(tmp_path) -> None:
    affine = rigid(3)
    image = nib.Nifti1Image(VOXELS, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, tmp_path / "a.nii")
    study = load_study(header_patched(tmp_path / "a.nii", 280, bytes(48)))
    assert any("sform" in n and "degenerate" in n for n in study.notes)
    assert study.affine_lps is not None
    np.testing.assert_allclose(
        np.diag([-1, -1, 1, 1]) @ study.affine_lps[:, [2, 1, 0, 3]], affine, atol=1e-4
    )
    # And a quaternion that is none leaves the sform.
    nib.save(image, tmp_path / "b.nii")
    header_patched(tmp_path / "b.nii", 256, struct.pack("<3f", 5, 5, 5))
    study = load_study(tmp_path / "b.nii")
    assert any("qform" in n and "degenerate" in n for n in study.notes)
    np.testing.assert_allclose(
        np.diag([-1, -1, 1, 1]) @ study.affine_lps[:, [2, 1, 0, 3]], affine, atol=1e-4
    )


def test_pixdim_against_the_sform_is_noted(tmp_path) -> None:
    nib.save(nib.Nifti1Image(VOXELS, rigid(0)), tmp_path / "a.nii")
    assert not load_study(tmp_path / "a.nii").notes
    header_patched(tmp_path / "a.nii", 80, struct.pack("<f", 9.0))
    study = load_study(tmp_path / "a.nii")
    assert any("pixdim says 9 x" in note for note in study.notes)
    np.testing.assert_allclose(study.spacing, (3.5, 1.1, 0.7), rtol=1e-5)


def test_unknown_units_are_taken_as_mm_and_noted(tmp_path) -> None:
    nib.save(nib.Nifti1Image(VOXELS, rigid(0)), tmp_path / "a.nii")
    header_patched(tmp_path / "a.nii", 123, b"\x07")
    study = load_study(tmp_path / "a.nii")
    np.testing.assert_allclose(study.spacing, (3.5, 1.1, 0.7), rtol=1e-5)
    assert any("xyzt_units" in note for note in study.notes)


@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_a_slope_that_is_none_leaves_the_voxels(tmp_path, slope) -> None:
    nib.save(nib.Nifti1Image(VOXELS, OBLIQUE), tmp_path / "a.nii")
    header_patched(tmp_path / "a.nii", 112, struct.pack("<2f", slope, 7.0))
    study = load_study(tmp_path / "a.nii")
    assert study.array.dtype == np.int16
    np.testing.assert_array_equal(study.array, VOXELS.transpose(2, 1, 0))


def test_colours_have_no_slope_and_infinite_ones_are_refused(tmp_path) -> None:
    rgb = np.zeros(SHAPE, dtype=[(name, "u1") for name in "RGB"])
    rgb["G"] = VOXELS
    nib.save(nib.Nifti1Image(rgb, OBLIQUE), tmp_path / "a.nii")
    header_patched(tmp_path / "a.nii", 112, struct.pack("<2f", 2.0, 7.0))
    study = load_study(tmp_path / "a.nii")
    np.testing.assert_array_equal(study.array[..., 1], VOXELS.transpose(2, 1, 0))
    nib.save(nib.Nifti1Image(VOXELS, OBLIQUE), tmp_path / "b.nii")
    header_patched(tmp_path / "b.nii", 112, struct.pack("<2f", 2.0, float("inf")))
    with pytest.raises(StudyError, match=r"b\.nii"):
        load_study(tmp_path / "b.nii")


@pytest.mark.parametrize("dtype", ["i8", "u8", "f8", "f4"])
def test_wide_types_keep_every_digit(tmp_path, dtype) -> None:
    info = np.iinfo(dtype) if dtype[0] != "f" else np.finfo(dtype)
    values = np.full(SHAPE, info.max, dtype=dtype)
    values[0] = info.min
    values[1, 1] = 1
    nib.save(
        nib.Nifti1Image(values, OBLIQUE, dtype=np.dtype(dtype)), tmp_path / "a.nii"
    )
    study = load_study(tmp_path / "a.nii")
    assert study.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(study.array, values.transpose(2, 1, 0))


def test_analyze_has_no_orientation_and_says_so(tmp_path) -> None:
    image = nib.AnalyzeImage(VOXELS, np.diag([0.5, 0.75, 3, 1]))
    nib.save(image, tmp_path / "a.hdr")
    for name in ("a.hdr", "a.img"):
        study = load_study(tmp_path / name)
        np.testing.assert_array_equal(study.array, VOXELS.transpose(2, 1, 0))
        assert study.affine_lps is None
        assert study.spacing == (3.0, 0.75, 0.5)
        assert any("Analyze" in note for note in study.notes)
    # SPM's .mat beside it does not matter, whatever it holds.
    (tmp_path / "a.mat").write_bytes(b"no MATLAB file")
    with pytest.raises(StudyError, match=r"a\.hdr"):
        load_study(tmp_path / "a.hdr")


@pytest.mark.parametrize("gone", ["a.img", "a.hdr"])
def test_half_a_pair_is_refused(tmp_path, gone) -> None:
    nib.save(nib.Nifti1Pair(VOXELS, OBLIQUE), tmp_path / "a.hdr")
    (tmp_path / gone).unlink()
    (left,) = tmp_path.iterdir()
    with pytest.raises(StudyError, match=rf"{left.name}.*\.hdr needs its \.img"):
        load_study(left)


def test_a_changed_byte_in_a_packed_file_is_found(tmp_path) -> None:
    """A stored (not deflated) block unpacks to wrong voxels: the CRC alone tells."""
    noise = np.random.default_rng(0).integers(0, 999, (50, 50, 50), dtype=np.int16)
    nib.save(nib.Nifti1Image(noise, OBLIQUE), tmp_path / "a.nii")
    plain = (tmp_path / "a.nii").read_bytes()
    packed = bytearray(gzip.compress(plain, compresslevel=0))
    packed[-40] ^= 1
    (tmp_path / "b.nii.gz").write_bytes(packed)
    inflated = zlib.decompressobj(-15).decompress(packed[10:])
    assert len(inflated) == len(plain)
    assert inflated != plain
    with pytest.raises(StudyError, match=r"b\.nii\.gz.*CRC"):
        load_study(tmp_path / "b.nii.gz")


def test_huge_dimensions_of_a_small_file_are_refused(tmp_path) -> None:
    for name in ("a.nii", "a.nii.gz"):
        path = tmp_path / "a.nii"
        nib.save(nib.Nifti1Image(VOXELS, OBLIQUE), path)
        header_patched(path, 40, struct.pack("<4h", 3, 32767, 32767, 32767))
        if name.endswith(".gz"):
            packed = gzip.compress(path.read_bytes())
            path = tmp_path / name
            path.write_bytes(packed)
        with pytest.raises(StudyError, match=r"a\.nii"):
            load_study(path)


def test_real_files_against_nibabel(shared_data) -> None:
    paths = sorted((shared_data / "nifti").rglob("*.nii*"))
    assert len(paths) > 8
    compared = 0
    for path in paths:
        image = nib.load(path)
        count = int(np.prod(image.shape[3:], dtype=int))
        keys = [one.key for one in series(path)]
        assert len(keys) == count
        study = load_study(path, masks="none", series=keys[-1])
        voxels = np.asarray(image.dataobj).reshape((*image.shape[:3], count))
        expected = voxels[..., -1].transpose(2, 1, 0)
        np.testing.assert_allclose(study.array, expected, rtol=1e-6)
        rng = np.random.default_rng(0)
        for _ in range(5):
            k, j, i = (int(rng.integers(0, n)) for n in study.shape)
            r, a, s = nib.affines.apply_affine(image.affine, (i, j, k))
            assert study.affine_lps is not None
            np.testing.assert_allclose(
                study.affine_lps @ [k, j, i, 1], [-r, -a, s, 1], atol=1e-4
            )
        compared += 1
    assert compared == len(paths)
