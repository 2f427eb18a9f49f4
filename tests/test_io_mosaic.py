"""Siemens mosaics: tiles to slices with their place, against nibabel and dcm2niix."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from dicom_files import AXIAL, dataset, normal, save, uid, volume
from napari_medxai.errors import StudyError
from napari_medxai.io import find_cases, load_case, load_study, series

OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, -0.6)


def csa_header(**tags: list[str]) -> bytes:
    """CSA2 header with these tags, as the scanners write it."""
    out = b"SV10" + b"\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, items in tags.items():
        kind = b"SH" if name.endswith("Text") else b"FD"
        vm = struct.pack("<i4s3i", len(items), kind, 4, max(6, len(items)), 77)
        out += name.encode().ljust(64, b"\0") + vm
        for item in [*items, *[""] * (6 - len(items))]:
            text = item.encode() + b"\0" if item else b""
            size = len(text)
            out += struct.pack("<4i", size, size, 77, size) + text
            out += b"\0" * (-size % 4)
    return out


def mosaic(
    voxels: np.ndarray,
    *,
    orientation: tuple[float, ...] = OBLIQUE,
    first: tuple[float, float, float] = (-30.0, 12.0, 7.0),
    direction: int = 1,
    step: float = 3.5,
    **options: Any,
) -> pydicom.dataset.FileDataset:
    """A mosaic whose tile k lies at first + direction * k * step along the normal."""
    count, rows, columns = voxels.shape
    side = int(np.ceil(np.sqrt(count)))
    picture = np.zeros((side * rows, side * columns), voxels.dtype)
    for k in range(count):
        top, left = k // side * rows, k % side * columns
        picture[top : top + rows, left : left + columns] = voxels[k]
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    corner = (
        np.array(first)
        - row * 0.5 * (side - 1) * columns / 2
        - column * 0.75 * (side - 1) * rows / 2
    )
    ds = dataset(
        picture,
        position=tuple(corner),
        orientation=orientation,
        modality="MR",
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        SpacingBetweenSlices=step,
        Manufacturer="SIEMENS",
        **options,
    )
    vector = direction * normal(orientation)
    header = csa_header(
        NumberOfImagesInMosaic=[str(count)],
        SliceNormalVector=[f"{v:.8f}" for v in vector],
        ProtocolSliceNumber=["0"],
        AcquisitionMatrixText=[f"{rows}*{columns}"],
    )
    block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", header + b"\0" * (len(header) % 2))
    return ds


def by_nibabel(path: Path) -> np.ndarray:
    """Nibabel's affine onto LPS, its axes (row, column, slice) in our order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom.dicomwrappers import MosaicWrapper, wrapper_from_file

        wrapper = wrapper_from_file(str(path))
    assert isinstance(wrapper, MosaicWrapper)
    return np.asarray(wrapper.affine)[:, [2, 0, 1, 3]]


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
@pytest.mark.parametrize("count", [1, 4, 7])
@pytest.mark.parametrize("direction", [1, -1])
def test_tiles_become_slices_in_their_place(
    tmp_path, orientation, count, direction
) -> None:
    voxels = volume(count)
    ds = mosaic(voxels, orientation=orientation, direction=direction)
    path = save(ds, tmp_path / "m.ima")
    study = load_study(path)
    array = study.array if study.is_volume else study.array[None]
    np.testing.assert_array_equal(array, voxels[::direction])
    assert study.affine_lps is not None
    # By hand: where each tile was put.
    for k in range(count):
        slot = k if direction == 1 else count - 1 - k
        place = np.array((-30.0, 12.0, 7.0))
        place = place + direction * 3.5 * k * normal(orientation)
        if count > 1:
            np.testing.assert_allclose(
                (study.affine_lps @ [slot, 0, 0, 1])[:3], place, atol=1e-6
            )
    theirs = by_nibabel(path)
    if direction == -1:
        theirs[:3, 3] += theirs[:3, 0] * (count - 1)
        theirs[:3, 0] *= -1
    used = slice(None) if count > 1 else slice(1, None)
    np.testing.assert_allclose(study.affine_lps[:, used], theirs[:, used], atol=1e-3)
    assert study.metadata["mosaic"]


def test_each_mosaic_of_a_series_is_a_volume(tmp_path) -> None:
    voxels = volume(8)
    for n, part in enumerate((voxels[:4], voxels[4:]), start=1):
        ds = mosaic(part, instance=n, sop=n, AcquisitionNumber=n)
        save(ds, tmp_path / f"{9 - n}.ima")
    found = series(tmp_path)
    assert [one.key for one in found] == [f"{uid('one')}#1", f"{uid('one')}#2"]
    assert ["volume 1" in found[0].description, "volume 2" in found[1].description]
    with pytest.raises(StudyError, match="holds 2 series"):
        load_study(tmp_path)
    for one, part in zip(found, (voxels[:4], voxels[4:]), strict=True):
        study = load_study(tmp_path, series=one.key)
        np.testing.assert_array_equal(study.array, part)
    cases = find_cases(tmp_path).cases
    arrays = [load_case(case).array for case in cases]
    assert len(arrays) == 2
    assert {int(array[0, 0, 0]) for array in arrays} == {0, int(voxels[4, 0, 0])}


def test_a_plain_slice_like_a_mosaic_is_told_apart(tmp_path) -> None:
    """But for its ImageType, a header can be that of the mosaic before it."""
    ds = mosaic(volume(4))
    save(ds, tmp_path / "b.dcm")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid("plain")
    save(ds, tmp_path / "a.dcm")
    assert sorted(one.shape for one in series(tmp_path)) == [(1, 12, 14), (4, 6, 7)]


def without_csa(ds: pydicom.Dataset) -> None:
    del ds[0x0029, 0x1010]


def with_rubbish(ds: pydicom.Dataset) -> None:
    ds[0x0029, 0x1010].value = b"SV10 and then nothing"


def without_step(ds: pydicom.Dataset) -> None:
    del ds.SpacingBetweenSlices


def without_place(ds: pydicom.Dataset) -> None:
    del ds.ImagePositionPatient


def turned_away(ds: pydicom.Dataset) -> None:
    ds.ImageOrientationPatient = list(AXIAL)


def of_odd_size(ds: pydicom.Dataset) -> None:
    ds.Rows -= 1
    ds.PixelData = ds.PixelData[: 2 * ds.Rows * ds.Columns]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_csa, "XA software"),
        (with_rubbish, "XA software"),
        (without_step, "SpacingBetweenSlices"),
        (without_place, "ImagePositionPatient"),
        (turned_away, "not perpendicular"),
        (of_odd_size, "do not divide"),
    ],
)
def test_what_cannot_be_placed_is_refused(tmp_path, change, why) -> None:
    ds = mosaic(volume(4))
    change(ds)
    path = save(ds, tmp_path / "m.dcm")
    with pytest.raises(StudyError, match=rf"m\.dcm.*Siemens mosaic.*{why}.*dcm2niix"):
        load_study(path)
    (one,) = series(path)
    assert "cannot be opened" in one.description


def test_real_mosaics_against_nibabel(shared_data) -> None:
    folder = shared_data / "dicom" / "siemens-mosaic"
    found = [one for one in series(folder) if one.modality == "MR"]
    assert len(found) == 6
    for one in found:
        study = load_study(folder, series=one.key)
        assert study.affine_lps is not None
        theirs = by_nibabel(one.files[0])
        np.testing.assert_allclose(study.affine_lps, theirs, atol=1e-3)
        ds = pydicom.dcmread(one.files[0])
        assert study.slices == int(ds[0x0019, 0x100A].value)


def test_real_mosaics_against_dcm2niix(shared_data) -> None:
    folder = shared_data / "dicom" / "siemens-mosaic" / "ax" / "axasc35"
    image = nib.load(folder / "6_ax_asc_35sl.nii")
    keys = [one.key for one in series(folder) if one.modality == "MR"]
    for volume_number, key in enumerate(keys):
        study = load_study(folder, series=key)
        # NIfTI has its rows from the back to the front, and RAS millimetres.
        theirs = np.asarray(image.dataobj)[..., volume_number].transpose(2, 1, 0)
        np.testing.assert_array_equal(study.array, theirs[:, ::-1])
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine[:, [2, 1, 0, 3]]
        affine[:3, 3] += affine[:3, 1] * (theirs.shape[1] - 1)
        affine[:3, 1] *= -1
        assert study.affine_lps is not None
        np.testing.assert_allclose(study.affine_lps, affine, atol=1e-3)
