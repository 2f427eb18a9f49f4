"""Tilted and uneven slices on a regular grid: exact where it can be known."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from dicom_files import AXIAL, dataset, normal, save, uid, volume, write_stack
from napari_medxai.io import find_cases, load_case, load_study
from napari_medxai.io.regular import regularised
from napari_medxai.study import Study
from truth_files import segmentation, two_masks

OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, -0.6)


def ramp(study: Study, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A linear function of the place in the patient, at every voxel."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    place = index @ affine[:3, :3].T + affine[:3, 3]
    return place @ np.array([3.0, -5.0, 11.0]) + 1000


def write_ramp(folder, heights, *, drift=(0.0, 0.0), orientation=AXIAL) -> None:
    """Slices of a linear function; each shifted in its plane by drift per mm."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    for k, z in enumerate(heights):
        corner = np.array([-20.0, 10.0, 30.0]) + z * normal(orientation)
        corner = corner + z * (drift[0] * column + drift[1] * row)
        i, j = np.meshgrid(np.arange(9), np.arange(11), indexing="ij")
        place = corner + i[..., None] * 0.75 * column + j[..., None] * 0.5 * row
        values = place @ np.array([3.0, -5.0, 11.0]) + 1000
        stored = np.rint(values * 16).astype(np.int32).astype(np.uint16)
        ds = dataset(
            stored,
            position=tuple(corner),
            orientation=orientation,
            instance=k + 1,
            sop=k,
            RescaleSlope=0.0625,
            RescaleIntercept=0,
        )
        save(ds, folder / f"{k}.dcm")


CASES = {
    "uneven": ([0.0, 2.0, 4.5, 6.0, 8.0, 10.0], (0.0, 0.0)),
    "gap": ([0.0, 2.0, 4.0, 10.0, 12.0], (0.0, 0.0)),
    "tilt": ([0.0, 3.0, 6.0, 9.0], (np.tan(np.radians(15)), 0.0)),
    "tilt back": ([0.0, 3.0, 6.0, 9.0], (-np.tan(np.radians(15)), 0.0)),
    "both": ([0.0, 3.0, 7.0, 9.0, 12.0], (0.2, -0.1)),
}


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
@pytest.mark.parametrize("name", CASES)
def test_a_linear_function_stays_itself(tmp_path, name, orientation) -> None:
    heights, drift = CASES[name]
    write_ramp(tmp_path, heights, drift=drift, orientation=orientation)
    kept = load_study(tmp_path)
    study = load_study(tmp_path, resample=True)
    assert kept.slices == len(heights)
    assert not any("resampled" in note for note in kept.notes)
    (note,) = [note for note in study.notes if note.startswith("resampled for")]
    assert ("tilt" in note) == (drift != (0.0, 0.0))
    affine = study.affine_lps
    assert affine is not None
    # Orthogonal, with the old pixels' size.
    steps = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(steps.T @ steps, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(study.spacing[1:], (0.75, 0.5), atol=1e-9)
    np.testing.assert_allclose(study.spacing[0], np.median(np.diff(heights)))
    np.testing.assert_allclose(
        affine[:3, 0] / study.spacing[0], normal(orientation), atol=1e-9
    )
    fill = study.array.min()
    inside = study.array != fill
    expected = ramp(study, affine, study.shape)
    np.testing.assert_allclose(study.array[inside], expected[inside], atol=0.05)
    assert inside.mean() > 0.4
    assert study.metadata["resampled"]
    assert "positions" not in study.metadata


def slow(study: Study, grid: Study) -> np.ndarray:
    """Trilinear interpolation in the sheared stack by SciPy, voxel by voxel."""
    affine = study.affine_lps
    assert affine is not None
    assert grid.affine_lps is not None
    field = RegularGridInterpolator(
        [np.arange(n) for n in study.shape],
        study.array.astype(float),
        bounds_error=False,
    )
    index = np.stack(
        np.meshgrid(*map(np.arange, grid.shape), np.ones(1), indexing="ij"), axis=-1
    )[..., 0, :]
    native = index @ (np.linalg.inv(affine) @ grid.affine_lps).T
    return field(np.round(native[..., :3], 9))


@pytest.mark.parametrize("drift", [0.25, -0.25, 0.1])
def test_a_tilted_stack_equals_scipy(tmp_path, drift) -> None:
    """A constant tilt is a shear, for which SciPy interpolates the same way."""
    rng = np.random.default_rng(3)
    voxels = rng.integers(100, 2000, (5, 8, 9)).astype(np.int16)
    write_stack(tmp_path, voxels, step=np.array([0.0, 3.0 * drift, 3.0]))
    study, grid = load_study(tmp_path), load_study(tmp_path, resample=True)
    expected = slow(study, grid)
    inside = ~np.isnan(expected)
    np.testing.assert_allclose(grid.array[inside], expected[inside], rtol=1e-4)
    assert (grid.array[~inside] == voxels.min()).all()
    assert inside.sum() >= voxels.size * 0.8


def test_masks_follow_to_the_nearest_voxel(tmp_path) -> None:
    """A tilt by whole pixels a slice moves pixels and masks, and changes none."""
    voxels = volume(4) + 5
    files = write_stack(tmp_path, voxels, step=np.array([0.0, 0.75, 3.0]))
    masks = two_masks(voxels.shape)
    segmentation(files, masks, tmp_path / "seg.dcm")
    study = load_study(tmp_path, resample=True)
    assert study.shape == (4, 9, 7)
    for k in range(4):
        np.testing.assert_array_equal(study.array[k, k : k + 6], voxels[k])
        for name, mask in masks.items():
            np.testing.assert_array_equal(study.masks[name][k, k : k + 6], mask[k])
            outside = np.ones(9, bool)
            outside[k : k + 6] = False
            assert not study.masks[name][k, outside].any()
    assert (study.array[0, 6:] == voxels.min()).all()


def test_what_is_regular_stays_as_it_is(tmp_path) -> None:
    write_stack(tmp_path, volume(), orientation=OBLIQUE)
    study = load_study(tmp_path, resample=True)
    np.testing.assert_array_equal(study.array, volume())
    assert study.array.dtype == np.int16
    assert not study.notes
    assert regularised(study) is study
    path = save(dataset(volume(1)[0]), tmp_path / "one" / "a.dcm")
    assert load_study(path, resample=True).shape == (6, 7)


def test_a_sheared_nifti_is_straightened(tmp_path) -> None:
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[1, 2] = 1.0
    voxels = np.arange(60, dtype=np.int16).reshape(3, 5, 4)
    path = tmp_path / "v.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine), path)
    study = load_study(path, resample=True)
    assert study.shape == (4, 8, 3)
    assert study.spacing == pytest.approx((3.0, 1.0, 1.0))
    for k in range(4):
        np.testing.assert_array_equal(study.array[k, k : k + 5], voxels[:, :, k].T)


def test_cases_are_resampled_where_asked(tmp_path) -> None:
    write_ramp(tmp_path, CASES["gap"][0])
    (kept,) = find_cases(tmp_path).cases
    (case,) = find_cases(tmp_path, resample=True).cases
    assert case.series == uid("one")
    assert load_case(kept).slices == 5
    assert load_case(case).slices == 7
