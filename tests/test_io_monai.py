"""Studies as MONAI tensors: the reader given at call time, the affine the study's."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pytest
from monai.transforms.io.array import LoadImage
from monai.transforms.spatial.array import Orientation

from dicom_files import volume, write_stack
from napari_medxai.io import load_study
from napari_medxai.io.monai_reader import StudyReader, metatensor
from test_io_dicom import PLANES, SHUFFLED, by_simpleitk, uid

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize("plane", PLANES)
def test_pixels_and_affine_are_the_series_own(tmp_path, plane) -> None:
    """Shuffled files, whose order MONAI's own reader takes from InstanceNumber."""
    voxels = volume()
    write_stack(
        tmp_path,
        voxels,
        orientation=PLANES[plane],
        order=SHUFFLED,
        reverse_numbers=True,
    )
    tensor = metatensor(load_study(tmp_path))
    assert tuple(tensor.shape) == (1, *voxels.shape)
    np.testing.assert_array_equal(tensor[0].numpy(), voxels)
    _, affine = by_simpleitk(tmp_path, uid("one"))
    np.testing.assert_allclose(tensor.affine.numpy(), FLIP @ affine, atol=1e-3)
    # MONAI's transforms find the same anatomy: left stays left.
    turned = Orientation(axcodes="SPL", labels=None)(tensor)
    for voxel in ([0, 0, 0], [4, 5, 6], [2, 3, 1]):
        place = np.linalg.inv(turned.affine.numpy()) @ (FLIP @ affine @ [*voxel, 1])
        index = tuple(np.rint(place[:3]).astype(int))
        assert turned[0][index] == voxels[tuple(voxel)]
        np.testing.assert_allclose(place[:3], index, atol=1e-6)


def test_a_nifti_has_the_affine_of_nibabel(tmp_path) -> None:
    affine = np.array([[0, -2, 0, 3], [1.5, 0, 0, -4], [0, 0, 3, 5], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine)
    nib.save(image, tmp_path / "v.nii.gz")
    tensor = metatensor(load_study(tmp_path / "v.nii.gz"))
    np.testing.assert_array_equal(tensor[0].numpy(), image.get_fdata().T)
    np.testing.assert_allclose(tensor.affine.numpy(), affine[:, [2, 1, 0, 3]])


def test_no_other_reader_takes_over(tmp_path) -> None:
    """LoadImage falls back silently on a reader of its own; not on this one."""
    paths = write_stack(tmp_path, volume())
    study = load_study(tmp_path)
    reader = StudyReader(study)
    assert reader.verify_suffix([str(path) for path in paths])
    assert not reader.verify_suffix(str(tmp_path / "another.dcm"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI tries all readers it knows
        load = LoadImage(image_only=True)
    array = load([str(p) for p in paths], reader=reader)
    np.testing.assert_array_equal(np.asarray(array), volume())


def test_no_path_enters_the_metadata(tmp_path) -> None:
    write_stack(tmp_path / "Doe", volume())
    study = load_study(tmp_path / "Doe")
    tensor = metatensor(study)
    assert study.identifier in str(tensor.meta["filename_or_obj"])
    assert "Doe" not in str(tensor.meta)
