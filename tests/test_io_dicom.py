"""DICOM series: order, geometry, grouping, against SimpleITK and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_files import AXIAL, dataset, enhanced, normal, save, uid, volume, write_stack
from napari_medxai.errors import StudyError
from napari_medxai.io import load_study, series
from napari_medxai.study import Study


@pytest.fixture(autouse=True)
def _salt(tmp_path_factory, monkeypatch) -> None:
    folder = tmp_path_factory.getbasetemp() / "config"
    monkeypatch.setenv("MEDXAI_CONFIG_DIR", str(folder))


def turned(degrees: float) -> tuple[float, ...]:
    """Axial plane turned about two axes, so that no entry is zero."""
    a, b = np.radians(degrees), np.radians(degrees / 2)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    matrix = x @ z
    return (*matrix[:, 0], *matrix[:, 1])


PLANES = {
    "axial": AXIAL,
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "feet first": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "oblique": turned(25.0),
}
SHUFFLED = [3, 0, 4, 1, 2]


def by_simpleitk(folder: Path, series_uid: str) -> tuple[np.ndarray, np.ndarray]:
    """Array and (slice, row, column) -> LPS affine as GDCM and ITK have them."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(folder), series_uid)
    reader.SetFileNames(names)
    image = reader.Execute()
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = (direction * np.array(image.GetSpacing()))[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), affine


def check_against_files(study: Study) -> None:
    """Each pixel of each file lies where PS3.3 C.7.6.2.1.1 puts it (slow)."""
    assert study.affine_lps is not None
    for path in study.files:
        ds = pydicom.dcmread(path)
        stored = ds.pixel_array
        row_way = [float(v) for v in ds.ImageOrientationPatient[:3]]
        column_way = [float(v) for v in ds.ImageOrientationPatient[3:]]
        for row, column in ((0, 0), (2, 5), (5, 1)):
            found = np.argwhere(study.array == stored[row, column])
            assert len(found) == 1
            index = found[0] if study.is_volume else (0, *found[0])
            expected = [
                float(ds.ImagePositionPatient[axis])
                + row_way[axis] * float(ds.PixelSpacing[1]) * column
                + column_way[axis] * float(ds.PixelSpacing[0]) * row
                for axis in range(3)
            ]
            place = study.affine_lps @ [*index, 1]
            np.testing.assert_allclose(place[:3], expected, atol=1e-6)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("order", [None, SHUFFLED])
@pytest.mark.parametrize("reverse", [False, True])
def test_affine_and_order_agree_with_simpleitk(tmp_path, plane, order, reverse) -> None:
    voxels = volume()
    write_stack(
        tmp_path,
        voxels,
        orientation=PLANES[plane],
        order=order,
        reverse_numbers=reverse,
    )
    study = load_study(tmp_path)
    array, affine = by_simpleitk(tmp_path, uid("one"))
    np.testing.assert_array_equal(study.array, voxels)
    np.testing.assert_array_equal(study.array, array)
    assert study.affine_lps is not None
    np.testing.assert_allclose(study.affine_lps, affine, atol=1e-5)
    np.testing.assert_allclose(study.spacing, (2.5, 0.75, 0.5), atol=1e-6)
    check_against_files(study)
    assert not study.notes


def test_positions_decide_against_the_normal_too(tmp_path) -> None:
    """Files written from head to feet: slice 0 is still the one at the feet."""
    voxels = volume()
    write_stack(tmp_path, voxels, step=np.array([0, 0, -2.5]))
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.array, voxels[::-1])
    check_against_files(study)
    assert study.codes == ("S", "P", "L")


def test_missing_instance_numbers_do_not_matter(tmp_path) -> None:
    voxels = volume()
    for k, name in enumerate("cabed"):
        position = (0.0, 0.0, 2.5 * k)
        save(dataset(voxels[k], position=position, instance=None), tmp_path / name)
    np.testing.assert_array_equal(load_study(tmp_path).array, voxels)


def test_gantry_tilt_shears_the_grid(tmp_path) -> None:
    orientation = turned(0.0)
    step = np.array([0.0, 1.0, 3.0])
    write_stack(tmp_path, volume(), orientation=orientation, step=step)
    study = load_study(tmp_path)
    check_against_files(study)
    assert study.spacing is not None
    assert study.spacing[0] == pytest.approx(np.sqrt(10))
    angle = np.degrees(np.arctan2(1, 3))
    assert any(f"tilted by {angle:.1f} degrees" in note for note in study.notes)


def test_a_gap_is_named(tmp_path) -> None:
    paths = write_stack(tmp_path, volume(8))
    paths[3].unlink()
    study = load_study(tmp_path)
    assert study.spacing is not None
    assert study.spacing[0] == pytest.approx(2.5)
    (note,) = [note for note in study.notes if "GAP" in note]
    assert "between instance 3 at 35.00 mm and instance 5 at 40.00 mm" in note
    assert "about 1 missing" in note
    # Slices before the gap are where they should be, by SimpleITK too.
    for path in paths[4:]:
        path.unlink()
    _, affine = by_simpleitk(tmp_path, uid("one"))
    assert study.affine_lps is not None
    np.testing.assert_allclose(study.affine_lps, affine, atol=1e-3)
    np.testing.assert_allclose(
        (study.affine_lps @ [2, 0, 0, 1])[:3], (-20, 10, 35), atol=1e-6
    )


def test_uneven_spacing_is_noted_and_the_median_used(tmp_path) -> None:
    voxels = volume(6)
    for k, z in enumerate((0.0, 2.0, 4.2, 6.2, 8.2, 10.5)):
        save(dataset(voxels[k], position=(0, 0, z)), tmp_path / f"{k}.dcm")
    study = load_study(tmp_path)
    assert study.spacing is not None
    assert study.spacing[0] == pytest.approx(2.0)
    assert any("varies from 2.00 to 2.30 mm" in note for note in study.notes)


def test_duplicates_are_refused_by_place(tmp_path) -> None:
    paths = write_stack(tmp_path, volume())
    other = pydicom.dcmread(paths[2])
    other.PixelData = other.PixelData[::-1]
    save(other, tmp_path / "another of slice.dcm")
    with pytest.raises(StudyError, match="same position") as caught:
        load_study(tmp_path)
    assert "of 6 slices 1 " in str(caught.value)
    assert str(caught.value).count("instance 3 at 35.00 mm") == 2
    assert len(series(tmp_path)) == 1


@pytest.mark.parametrize(
    ("keyword", "word"), [("AcquisitionNumber", "acquisition"), ("EchoTime", "echo")]
)
def test_acquisitions_at_the_same_positions_are_two_stacks(
    tmp_path, keyword, word
) -> None:
    voxels = volume(10)
    for n, part in enumerate((voxels[:5], voxels[5:])):
        write_stack(tmp_path / str(n), part, sop=None, **{keyword: n + 1})
    found = series(tmp_path)
    assert len(found) == 2
    assert all(f"{word}" in one.description for one in found)
    with pytest.raises(StudyError, match="holds 2 series"):
        load_study(tmp_path)
    for one, part in zip(found, (voxels[:5], voxels[5:]), strict=True):
        study = load_study(tmp_path, series=one.key)
        np.testing.assert_array_equal(study.array, part)


def test_acquisition_numbers_alone_do_not_split(tmp_path) -> None:
    voxels = volume()
    for k in range(5):
        ds = dataset(voxels[k], position=(0, 0, 2.0 * k), AcquisitionNumber=k)
        save(ds, tmp_path / f"{k}.dcm")
    np.testing.assert_array_equal(load_study(tmp_path).array, voxels)


def test_two_series_in_one_folder_are_never_merged(tmp_path) -> None:
    first, second = volume(4), volume(3) + 500
    write_stack(tmp_path, first, series="one", order=[0, 2, 4, 6])
    write_stack(tmp_path, second, series="two", order=[1, 3, 5])
    with pytest.raises(StudyError, match=r"choose one with series=") as caught:
        load_study(tmp_path)
    found = {one.key: one for one in series(tmp_path)}
    assert set(found) == {uid("one"), uid("two")}
    for key, one in found.items():
        assert key in str(caught.value)
        assert one.description in str(caught.value)
    np.testing.assert_array_equal(load_study(tmp_path, series=uid("one")).array, first)
    study = load_study(tmp_path, series=uid("two"))
    np.testing.assert_array_equal(study.array, second)
    for key in found:
        _, affine = by_simpleitk(tmp_path, key)
        ours = load_study(tmp_path, series=key).affine_lps
        np.testing.assert_allclose(ours, affine, atol=1e-3)
    again = load_study(tmp_path, series=study.identifier)
    np.testing.assert_array_equal(again.array, second)
    with pytest.raises(StudyError, match=r"no series '1\.2\.3'"):
        load_study(tmp_path, series="1.2.3")


def test_a_scout_with_the_series_uid_is_its_own_stack(tmp_path) -> None:
    voxels = volume()
    write_stack(tmp_path, voxels)
    scout = dataset(voxels[0] + 900, orientation=PLANES["sagittal"], instance=99)
    save(scout, tmp_path / "scout.dcm")
    keys = [one.key for one in series(tmp_path)]
    assert keys == [f"{uid('one')}#1", f"{uid('one')}#2"]
    np.testing.assert_array_equal(load_study(tmp_path, series=keys[0]).array, voxels)
    study = load_study(tmp_path, series=keys[1])
    np.testing.assert_array_equal(study.array, voxels[0] + 900)
    assert study.codes == ("R", "I", "P")


def test_one_slice_is_an_image_with_its_place(tmp_path) -> None:
    path = write_stack(tmp_path, volume(1), orientation=PLANES["oblique"])[0]
    study = load_study(path)
    assert study.shape == (6, 7)
    assert study.spacing == (0.75, 0.5)
    check_against_files(study)
    assert study.affine_lps is not None
    np.testing.assert_allclose(
        study.affine_lps[:3, 0], 2.0 * normal(PLANES["oblique"]), atol=1e-6
    )


def test_a_radiograph_without_position(tmp_path) -> None:
    ds = dataset(
        volume(1)[0],
        position=None,
        orientation=None,
        spacing=None,
        modality="DX",
        ImagerPixelSpacing=[0.2, 0.1],
    )
    study = load_study(save(ds, tmp_path / "a.dcm"))
    assert study.affine_lps is None
    assert study.codes is None
    assert study.spacing == (0.2, 0.1)
    assert study.modality == "DX"
    assert any("detector" in note for note in study.notes)
    # Two views of one series cannot be a volume.
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid("other view")
    save(ds, tmp_path / "b.dcm")
    assert len(series(tmp_path)) == 2


def test_other_files_are_counted_and_ignored(tmp_path) -> None:
    voxels = volume()
    write_stack(tmp_path, voxels)
    (tmp_path / "README").write_text("hello " * 50)
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    (tmp_path / ".hidden").write_bytes(b"\0" * 300)
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.array, voxels)
    assert any(note.startswith("2 files that are not DICOM") for note in study.notes)


def test_a_file_without_preamble(tmp_path) -> None:
    path = write_stack(tmp_path, volume(1))[0]
    bare = tmp_path / "bare" / "I10"
    bare.parent.mkdir()
    bare.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(load_study(bare).array, volume(1)[0])
    np.testing.assert_array_equal(load_study(bare.parent).array, volume(1)[0])


def test_enhanced_frames_are_sorted_and_rescaled_one_by_one(tmp_path) -> None:
    voxels = volume(4).astype(np.uint16)
    heights = [6.0, 0.0, 4.0, 2.0]
    positions = [(-1.0, -2.0, z) for z in heights]
    slopes = [1.0, 2.0, 3.0, 4.0]
    path = save(enhanced(voxels, positions, slopes=slopes), tmp_path / "e.dcm")
    study = load_study(path)
    for place, frame in enumerate(np.argsort(heights)):
        expected = voxels[frame] * slopes[frame] - 1000
        np.testing.assert_array_equal(study.array[place], expected)
    assert study.affine_lps is not None
    np.testing.assert_allclose((study.affine_lps @ [3, 2, 4, 1])[:3], (1, -0.5, 6))
    assert study.array.dtype == np.int16
    assert study.metadata["frame_indices"] == (1, 3, 2, 0)


def test_enhanced_time_points_are_stacks(tmp_path) -> None:
    voxels = volume(4).astype(np.uint16)
    positions = [(0.0, 0.0, z) for z in (0.0, 2.0, 0.0, 2.0)]
    save(enhanced(voxels, positions, indices=[1, 1, 2, 2]), tmp_path / "e.dcm")
    keys = [one.key for one in series(tmp_path)]
    assert len(keys) == 2
    study = load_study(tmp_path, series=keys[1])
    np.testing.assert_array_equal(study.array, voxels[2:].astype(int) - 1000)


def test_frames_without_position_keep_their_order(tmp_path) -> None:
    voxels = volume(3)
    ds = dataset(voxels[0], position=None, orientation=None)
    ds.NumberOfFrames, ds.PixelData = 3, voxels.tobytes()
    study = load_study(save(ds, tmp_path / "cine.dcm"))
    np.testing.assert_array_equal(study.array, voxels)
    assert study.affine_lps is None
    assert study.spacing is None
    assert any("without position" in note for note in study.notes)


def test_real_series_against_simpleitk(shared_data) -> None:
    folder = shared_data / "dicom" / "ct-head-mixed-series"
    found = series(folder)
    assert sorted(one.shape[0] for one in found) == [1, 28]
    with pytest.raises(StudyError, match="2 series"):
        load_study(folder)
    for one in found:
        study = load_study(folder, series=one.key)
        array, affine = by_simpleitk(one.files[0].parent, one.key)
        np.testing.assert_array_equal(study.array.reshape(array.shape), array)
        assert study.affine_lps is not None
        used = slice(None) if study.is_volume else slice(1, None)
        np.testing.assert_allclose(
            study.affine_lps[:, used], affine[:, used], atol=1e-3
        )
        assert str(one.files[0].name) not in study.identifier


def test_real_oblique_series_against_simpleitk(shared_data) -> None:
    folder = shared_data / "dicom" / "rtstruct" / "tests" / "oriented_data"
    study = load_study(folder, masks="none")
    array, affine = by_simpleitk(folder, study.metadata["series_uid"])
    np.testing.assert_allclose(study.array, array, rtol=1e-5)
    assert study.affine_lps is not None
    np.testing.assert_allclose(study.affine_lps, affine, atol=1e-3)
