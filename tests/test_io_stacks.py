"""What one series splits into: time points, echoes, slabs, stacks, copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_files import AXIAL, SECRETS, dataset, enhanced, save, uid, volume
from dicom_files import write_stack as write
from napari_medxai.errors import StudyError
from napari_medxai.io import load_study, series
from napari_medxai.io.dicom_headers import FrameReader, read_frames
from napari_medxai.study import Study

LEGACY_MR = "1.2.840.10008.5.1.4.1.1.4.4"


def loaded(path: Path) -> list[tuple[str, Study]]:
    return [(one.description, load_study(path, series=one.key)) for one in series(path)]


def test_echoes_and_components_split_together(tmp_path) -> None:
    """Neither echo time nor image type alone tells four slices apart."""
    voxels = volume(12).reshape(4, 3, 6, 7)
    kinds = [(4.0, "M"), (4.0, "P"), (9.0, "M"), (9.0, "P")]
    for number, (echo, kind) in enumerate(kinds):
        write(
            tmp_path / str(number),
            voxels[number],
            sop=None,
            EchoTime=echo,
            ImageType=["ORIGINAL", "PRIMARY", kind],
        )
    found = loaded(tmp_path)
    assert len(found) == 4
    for (text, study), part, (echo, kind) in zip(found, voxels, kinds, strict=True):
        assert f"echo time {echo}" in text
        assert f"'{kind}'" in text
        np.testing.assert_array_equal(study.array, part)


def test_clock_times_split_time_points_only(tmp_path) -> None:
    voxels = volume(8).reshape(2, 4, 6, 7)
    for number in range(2):
        write(
            tmp_path / str(number),
            voxels[number],
            sop=None,
            AcquisitionTime=f"10110{number}.5",
        )
    found = loaded(tmp_path)
    assert [text.split(", ")[-1] for text, _ in found] == [
        "time point 1",
        "time point 2",
    ]
    for (text, study), part in zip(found, voxels, strict=True):
        assert "1011" not in text
        np.testing.assert_array_equal(study.array, part)
    # Each slice with a time of its own proves nothing.
    for number, path in enumerate(sorted(tmp_path.rglob("*.dcm"))):
        ds = pydicom.dcmread(path)
        ds.AcquisitionTime = f"1011{number:02d}"
        save(ds, path)
    (one,) = series(tmp_path)
    assert "cannot be opened" in one.description


def test_slabs_of_two_acquisitions_are_two_stacks(tmp_path) -> None:
    """Fine slices at the base of the skull, coarse ones above."""
    voxels = volume(7)
    heights = [0.0, 2.5, 5.0, 7.5, 12.5, 17.5, 22.5]
    for k, z in enumerate(heights):
        ds = dataset(voxels[k], position=(0, 0, z), AcquisitionNumber=1 + (k > 2))
        save(ds, tmp_path / f"{k}.dcm")
    found = loaded(tmp_path)
    assert [study.spacing[0] for _, study in found if study.spacing] == [2.5, 5.0]
    np.testing.assert_array_equal(found[0][1].array, voxels[:3])
    np.testing.assert_array_equal(found[1][1].array, voxels[3:])
    assert not any(study.notes for _, study in found)


def test_interleaved_acquisitions_stay_one_stack(tmp_path) -> None:
    """A gap is a gap: odd and even slices are no slabs."""
    voxels = volume(6)
    for k, z in enumerate((0.0, 2.0, 4.0, 6.0, 10.0, 12.0)):
        ds = dataset(voxels[k], position=(0, 0, z), AcquisitionNumber=1 + k % 2)
        save(ds, tmp_path / f"{k}.dcm")
    ((_, study),) = loaded(tmp_path)
    np.testing.assert_array_equal(study.array, voxels)
    assert any("GAP of 4.00 mm" in note for note in study.notes)


def test_a_copied_file_is_read_once(tmp_path) -> None:
    paths = write(tmp_path, volume())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "copy.dcm").write_bytes(paths[2].read_bytes())
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.array, volume())
    (note,) = study.notes
    assert note == "1 file(s) left out, copies byte for byte: instance 3 at 35.00 mm"


def test_frames_of_one_object_fall_into_its_stacks(tmp_path) -> None:
    """Two slabs one above the other: StackID keeps them apart (C.7.6.16.2.2)."""
    voxels = volume(6).astype(np.uint16)
    heights = (0.0, 2.0, 4.0, 10.0, 12.0, 14.0)
    ds = enhanced(voxels, [(0.0, 0.0, z) for z in heights])
    for n, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.StackID = "1" if n < 3 else "2"
        group.FrameContentSequence = Sequence([content])
    found = loaded(save(ds, tmp_path / "e.dcm"))
    assert len(found) == 2
    for (_, study), part in zip(found, (voxels[:3], voxels[3:]), strict=True):
        np.testing.assert_array_equal(study.array, part.astype(int) - 1000)
        assert not any("GAP" in note for note in study.notes)


def test_dimension_indices_tell_frames_apart(tmp_path) -> None:
    """Where no known element differs, the object's own dimensions do (C.7.6.17)."""
    voxels = volume(6).astype(np.uint16)
    heights = (0.0, 0.0, 2.0, 2.0, 4.0, 4.0)
    ds = enhanced(voxels, [(0.0, 0.0, z) for z in heights])
    for n, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.DimensionIndexValues = [1, 1 + n // 2, 1 + n % 2]
        group.FrameContentSequence = Sequence([content])
    found = loaded(save(ds, tmp_path / "e.dcm"))
    assert ["dimension 3 1" in found[0][0], "dimension 3 2" in found[1][0]]
    np.testing.assert_array_equal(found[0][1].array, voxels[::2].astype(int) - 1000)
    np.testing.assert_array_equal(found[1][1].array, voxels[1::2].astype(int) - 1000)


def test_a_legacy_converted_object_equals_its_slices(tmp_path) -> None:
    voxels = volume(4)
    single = tmp_path / "single"
    write(single, voxels, orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0), modality="MR")
    sources = [pydicom.dcmread(path) for path in sorted(single.iterdir())]
    ds = dataset(voxels[0], position=None, orientation=None, spacing=None)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = LEGACY_MR
    ds.Modality = "MR"
    order = [2, 0, 3, 1]
    ds.NumberOfFrames, ds.PixelData = 4, voxels[order].tobytes()
    frames = []
    for n in order:
        group = Dataset()
        for sequence, keywords in (
            ("PlanePositionSequence", ["ImagePositionPatient"]),
            ("PlaneOrientationSequence", ["ImageOrientationPatient"]),
            ("PixelMeasuresSequence", ["PixelSpacing", "SliceThickness"]),
            ("UnassignedPerFrameConvertedAttributesSequence", ["InstanceNumber"]),
        ):
            item = Dataset()
            for keyword in keywords:
                setattr(item, keyword, sources[n][keyword].value)
            setattr(group, sequence, Sequence([item]))
        frames.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    expected = load_study(single)
    study = load_study(save(ds, tmp_path / "legacy.dcm"))
    np.testing.assert_array_equal(study.array, expected.array)
    np.testing.assert_allclose(study.affine_lps, expected.affine_lps, atol=1e-9)


def dose(voxels: np.ndarray, offsets: list[float], **options: Any) -> Dataset:
    ds = dataset(voxels[0].astype(np.uint16), modality="RTDOSE", **options)
    ds.NumberOfFrames = len(voxels)
    ds.PixelData = voxels.astype(np.uint16).tobytes()
    ds.GridFrameOffsetVector = offsets
    return ds


def test_a_dose_grid_opens_where_it_is_named(tmp_path) -> None:
    voxels = volume(3)
    ds = dose(voxels, [0.0, 3.0, 6.0], position=(1.0, 2.0, 3.0), orientation=AXIAL)
    path = save(ds, tmp_path / "d" / "dose.dcm")
    study = load_study(path)
    np.testing.assert_array_equal(study.array, voxels)
    assert study.affine_lps is not None
    np.testing.assert_allclose(study.affine_lps[:3, 3], (1, 2, 3))
    np.testing.assert_allclose(study.affine_lps[:3, 0], (0, 0, 3))
    # Beside images it is no case.
    write(path.parent, volume(), series="ct")
    assert [one.key for one in series(path.parent)] == [uid("ct")]
    # Positions instead of distances: an older edition; not guessed.
    ds.GridFrameOffsetVector = [3.0, 6.0, 9.0]
    assert load_study(save(ds, path)).affine_lps is None


def test_pixels_that_may_show_the_patient_are_announced(tmp_path) -> None:
    ds = dataset(volume(1)[0], BurnedInAnnotation="YES")
    ds.RecognizableVisualFeatures = "YES"
    study = load_study(save(ds, tmp_path / "a.dcm"))
    notes = [note for note in study.notes if "may show the patient's name" in note]
    assert len(notes) == 2
    assert not any(secret in " ".join(study.notes) for secret in SECRETS)
    ds.BurnedInAnnotation = ds.RecognizableVisualFeatures = "NO"
    assert not load_study(save(ds, tmp_path / "a.dcm")).notes


def test_pixels_that_are_not_square_are_announced(tmp_path) -> None:
    ds = dataset(volume(1)[0], spacing=None, PixelAspectRatio=[2, 1])
    study = load_study(save(ds, tmp_path / "a.dcm"))
    assert any("not square (PixelAspectRatio 2:1)" in note for note in study.notes)
    ds.PixelAspectRatio = [1, 1]
    study = load_study(save(ds, tmp_path / "a.dcm"))
    assert not any("square" in note for note in study.notes)


def test_files_of_a_series_with_other_slopes_share_a_type(tmp_path) -> None:
    """Each file is decoded by itself; the volume takes what holds them all."""
    voxels = volume(6)
    for k, slope in enumerate((1, 1, 0.5, 2, 100, 0.25)):
        ds = dataset(voxels[k], position=(0, 0, 2.0 * k))
        ds.RescaleSlope, ds.RescaleIntercept = slope, -3
        save(ds, tmp_path / f"{k}.dcm")
    study = load_study(tmp_path)
    assert study.array.dtype.kind == "f"
    for k, slope in enumerate((1, 1, 0.5, 2, 100, 0.25)):
        expected = voxels[k].astype(float) * slope - 3
        np.testing.assert_allclose(study.array[k], expected)


def test_a_damaged_file_among_many_is_named(tmp_path) -> None:
    paths = write(tmp_path, volume(20))
    paths[13].write_bytes(paths[13].read_bytes()[:-40])
    with pytest.raises(StudyError, match=r"IM013\.dcm"):
        load_study(tmp_path)


def test_headers_read_together_equal_headers_read_alone(tmp_path) -> None:
    """What slices share is read once; each must come out as by itself (slow)."""
    paths = write(tmp_path / "a", volume(3))
    paths += write(tmp_path / "b", volume(3), sop=None, EchoTime=3.5)
    changes: list[dict[str, Any]] = [
        {"position": None},
        {"orientation": None},
        {"spacing": None, "ImagerPixelSpacing": [1, 2]},
        {"PatientID": "other"},
        {"PatientID": "other", "PatientName": ""},
        {"BurnedInAnnotation": "YES"},
        {"SliceThickness": 9.0},
        {"SliceThickness": 9.0, "instance": 7},
        {"FrameOfReferenceUID": "1.2.3"},
        {"Modality": "SEG"},
        {"ImageType": ["DERIVED", "SECONDARY"]},
        {"AcquisitionNumber": 4},
    ]
    for number, change in enumerate(changes):
        for twin in range(2):
            options = {"position": (0.0, 0.0, float(twin)), **change}
            ds = dataset(volume(1)[0], **options)
            paths.append(save(ds, tmp_path / f"{number} {twin}.dcm"))
    reader = FrameReader()
    for path in paths:
        assert read_frames(path, reader=reader) == read_frames(path), path.name
