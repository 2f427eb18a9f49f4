"""DICOM exports, read back by pydicom, highdicom, SimpleITK and judged by dciodvfy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from dicom_files import (
    AXIAL,
    SECRETS,
    dataset,
    enhanced,
    normal,
    save,
    uid,
    volume,
    write_stack,
)
from napari_medxai import export, load_study
from napari_medxai.errors import Cancelled, ExportError, UsageError
from napari_medxai.privacy import derived_uid, pseudonym

OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)
ROWS, COLUMNS = 12, 14
IMPULSE = 1000.0
SLICES = (1, 2, 3)
VOXEL = (2, 9, 3)


def voxels(slices: int = 5) -> np.ndarray:
    return volume(slices, ROWS, COLUMNS)


def explained(study, *, slices=SLICES, voxel=VOXEL, **options):
    """Noise with one voxel far above, NaN outside `slices`."""
    values = np.random.default_rng(0).random(study.shape).astype(np.float32)
    values[voxel] = IMPULSE
    if study.is_volume and slices is not None:
        hidden = np.ones(study.slices, dtype=bool)
        hidden[list(slices)] = False
        values[hidden] = np.nan
    how = {"target_class": "glioma", "probability": 0.93, "model": "some-model"}
    return export.explanation_of(study, values, method="gradcam", **(how | options))


def dciodvfy(path: Path) -> None:
    """No line of the validator's may start with "Error"."""
    command = shutil.which("dciodvfy")
    if command is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    done = subprocess.run(
        [command, str(path)], capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert any(line in ("ParametricMap", "Segmentation", "SCImage") for line in lines)
    assert [line for line in lines if line.startswith("Error")] == []


def axial(folder: Path) -> None:
    write_stack(folder, voxels())


def shuffled_oblique(folder: Path) -> None:
    write_stack(folder, voxels(), orientation=OBLIQUE, order=[3, 0, 4, 1, 2])


def tilted(folder: Path) -> None:
    write_stack(folder, voxels(), step=np.array([0.0, 0.7, 2.5]))


def gapped(folder: Path) -> None:
    write_stack(folder, voxels(6))[2].unlink()


def inverted(folder: Path) -> None:
    write_stack(folder, voxels(), photometric="MONOCHROME1")


def multiframe(folder: Path) -> None:
    """Frames from head to feet, so that the study turns them round."""
    places = [(-20.0, 10.0, 40.0 - 2.5 * k) for k in range(5)]
    save(enhanced(voxels(), places), folder / "enhanced.dcm")


STACKS = (axial, shuffled_oblique, tilted, gapped, inverted, multiframe)


def source_frames(folder: Path) -> list[tuple[np.ndarray, np.ndarray, str, int]]:
    """Pixels, position, SOPInstanceUID and frame number, from the files alone."""
    frames = []
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        pixels = ds.pixel_array.reshape(-1, ROWS, COLUMNS)
        for n, array in enumerate(pixels):
            place = ds.get("ImagePositionPatient") or (
                ds.PerFrameFunctionalGroupsSequence[n]
                .PlanePositionSequence[0]
                .ImagePositionPatient
            )
            frames.append((array, np.array(place, float), ds.SOPInstanceUID, n + 1))
    return frames


def true_place(folder: Path, study, voxel) -> tuple[np.ndarray, str, int]:
    """Patient position of a voxel by the standard's equation, and its instance.

    Every voxel of the test volumes has its own value, so the frame is found by it.
    """
    for array, place, sop, frame in source_frames(folder):
        if array[0, 0] == volume(6, ROWS, COLUMNS).flat[first_value(study, voxel[0])]:
            ds = pydicom.dcmread(next(folder.iterdir()))
            turn = np.array(
                ds.get("ImageOrientationPatient")
                or ds.SharedFunctionalGroupsSequence[0]
                .PlaneOrientationSequence[0]
                .ImageOrientationPatient,
                float,
            )
            at = place + turn[:3] * 0.5 * voxel[2] + turn[3:] * 0.75 * voxel[1]
            return at, sop, frame
    raise AssertionError("the slice's frame was not found")


def first_value(study, index: int) -> int:
    """Stored value of a slice's first pixel, from the study's rescaled one."""
    value = study.array[index, 0, 0]
    if study.inverted:  # signed 16 bit
        value = -1 - value
    if study.array.min() < 0 and not study.inverted:
        value = value + 1000  # the intercept of the enhanced object
    return int(value)


def frame_places(ds: Dataset) -> np.ndarray:
    return np.array(
        [
            group.PlanePositionSequence[0].ImagePositionPatient
            for group in ds.PerFrameFunctionalGroupsSequence
        ],
        float,
    )


def place_in(ds: Dataset, frame: int, row: int, column: int) -> np.ndarray:
    """Patient position of a pixel of a multi-frame object (PS3.3 C.7.6.2.1.1)."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    turn = np.array(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float
    )
    between = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    across, down = turn[:3] * between[1] * column, turn[3:] * between[0] * row
    return frame_places(ds)[frame] + across + down


def source_of(ds: Dataset, frame: int) -> tuple[str, int]:
    (derivation,) = ds.PerFrameFunctionalGroupsSequence[frame].DerivationImageSequence
    (item,) = derivation.SourceImageSequence
    assert item.SpatialLocationsPreserved == "YES"
    return item.ReferencedSOPInstanceUID, int(item.get("ReferencedFrameNumber", 1))


@pytest.mark.parametrize("make", STACKS)
def test_a_parametric_map_has_every_value_in_its_place(tmp_path, make):
    make(tmp_path / "in")
    study = load_study(tmp_path / "in")
    explanation = explained(study)
    path = export.save_parametric_map(study, explanation, tmp_path / "map.dcm")
    ds = pydicom.dcmread(path)
    pixels = np.frombuffer(ds.FloatPixelData, "<f4").reshape(3, ROWS, COLUMNS)
    frame, row, column = np.argwhere(pixels == IMPULSE)[0]
    place, sop, number = true_place(tmp_path / "in", study, VOXEL)
    np.testing.assert_allclose(place_in(ds, frame, row, column), place, atol=1e-3)
    assert source_of(ds, frame) == (sop, number)
    # All values, by a second reader; its frames stand in their own order.
    image = hd.imread(path)
    real = image.get_frames(apply_real_world_transform=True)
    np.testing.assert_array_equal(real, pixels)
    ours = sorted(map(bytes, explanation.map[list(SLICES)]))
    assert sorted(map(bytes, pixels)) == ours
    dciodvfy(path)


@pytest.mark.parametrize("make", STACKS)
def test_a_segmentation_has_the_strongest_voxels_in_their_place(tmp_path, make):
    make(tmp_path / "in")
    study = load_study(tmp_path / "in")
    explanation = explained(study)
    path = export.save_segmentation(
        study, explanation, tmp_path / "seg.dcm", percentile=90
    )
    seg = hd.seg.segread(path)
    pixels = seg.pixel_array.astype(bool)
    assert pixels.shape == (3, ROWS, COLUMNS)
    found = {
        tuple(np.round(place_in(seg, f, r, c), 3)) for f, r, c in np.argwhere(pixels)
    }
    wanted = set()
    for k in SLICES:
        cut = np.percentile(explanation.map[k], 90)
        for r, c in np.argwhere(explanation.map[k] >= cut):
            place, _, _ = true_place(tmp_path / "in", study, (k, r, c))
            wanted.add(tuple(np.round(place, 3)))
    assert len(wanted) == 3 * 17  # a tenth of 168 pixels, rounded up
    difference = np.array(sorted(found)) - np.array(sorted(wanted))
    assert np.abs(difference).max() < 2e-3
    dciodvfy(path)


def test_simpleitk_lays_a_segmentation_on_its_images(tmp_path):
    files = write_stack(tmp_path / "in", voxels(), orientation=OBLIQUE)
    study = load_study(tmp_path / "in")
    explanation = explained(study, slices=range(5))
    path = export.save_segmentation(study, explanation, tmp_path / "seg.dcm")
    out = sitk.ReadImage(path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(f) for f in files])
    source = reader.Execute()
    chosen = [export.strongest(part) for part in explanation.map]
    ours = sitk.GetArrayFromImage(out).reshape(5, ROWS, COLUMNS) > 0
    for k, r, c in np.argwhere(ours):
        at = out.TransformIndexToPhysicalPoint((int(c), int(r), int(k)))
        c, r, k = source.TransformPhysicalPointToIndex(at)
        np.testing.assert_allclose(
            source.TransformIndexToPhysicalPoint((c, r, k)), at, atol=1e-3
        )
        assert chosen[k][r, c]
    assert ours.sum() == np.sum(chosen)


@pytest.mark.parametrize("make", STACKS)
def test_secondary_captures_refer_to_their_slices(tmp_path, make):
    make(tmp_path / "in")
    study = load_study(tmp_path / "in")
    paths = export.save_secondary_captures(study, explained(study), tmp_path / "sc.dcm")
    assert [p.name for p in paths] == ["sc-1.dcm", "sc-2.dcm", "sc-3.dcm"]
    captures = [pydicom.dcmread(path) for path in paths]
    assert len({ds.SeriesInstanceUID for ds in captures}) == 1
    assert len({ds.SOPInstanceUID for ds in captures}) == 3
    for k, ds in zip(SLICES, captures, strict=True):
        _, sop, number = true_place(tmp_path / "in", study, (k, 0, 0))
        (item,) = ds.SourceImageSequence
        assert item.ReferencedSOPInstanceUID == sop
        assert item.get("ReferencedFrameNumber", 1) == number
        assert ds.ImageType == ["DERIVED", "SECONDARY"]
        assert ds.ConversionType == "WSD"
    dciodvfy(paths[0])


def test_what_is_burned_in(tmp_path):
    axial(tmp_path / "in")
    study = load_study(tmp_path / "in")
    study = study.with_masks({"a": study.array % 40 < 12})
    values = np.zeros(study.shape, dtype=np.float32)
    values[2, 4:8, 4:8] = np.arange(16).reshape(4, 4)
    explanation = export.explanation_of(study, values, method="gradcam")
    capture = list(export.secondary_captures(study, explanation))[2]
    picture = capture.pixel_array
    assert sitk_pixels(capture, tmp_path).shape == picture.shape
    np.testing.assert_array_equal(sitk_pixels(capture, tmp_path), picture)
    from napari_medxai.export.picture import AMBER, BANNER
    from napari_medxai.report.colours import MASK_COLOUR

    top = picture[:20]
    assert (top == AMBER).all(axis=-1).mean() > 0.5
    assert (top == 0).all(axis=-1).any()  # the words on it
    assert BANNER == "NOT FOR DIAGNOSIS - RESEARCH USE ONLY"
    assert (picture == MASK_COLOUR).all(axis=-1).sum() > 50
    saturated = np.ptp(picture.astype(int), axis=-1) > 60
    assert saturated[40:].any()
    assert capture.ImageComments.startswith(BANNER)
    assert capture.PatientOrientation == ["L", "P"]


def sitk_pixels(ds: Dataset, folder: Path) -> np.ndarray:
    ds.save_as(folder / "again.dcm", enforce_file_format=True)
    return sitk.GetArrayFromImage(sitk.ReadImage(folder / "again.dcm"))[0]


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        (AXIAL, ["L", "P"]),
        ((1, 0, 0, 0, 0, -1), ["L", "F"]),
        ((0, 1, 0, 0, 0, -1), ["P", "F"]),
    ],
)
def test_patient_orientation_follows_the_screen(tmp_path, orientation, letters):
    save(
        dataset(voxels(1)[0], orientation=tuple(map(float, orientation))),
        tmp_path / "a.dcm",
    )
    study = load_study(tmp_path / "a.dcm")
    (capture,) = export.secondary_captures(study, explained(study, voxel=(3, 4)))
    assert list(capture.PatientOrientation) == letters


def all_exports(study, explanation, **options) -> list[Dataset]:
    return [
        export.parametric_map(study, explanation, **options),
        export.segmentation(study, explanation, **options),
        *export.secondary_captures(study, explanation, **options),
    ]


def test_by_default_a_pseudonym_stands_for_the_patient(tmp_path):
    write_stack(
        tmp_path / "in", voxels(), PatientAge="050Y", InstitutionName="Doe Clinic"
    )
    study = load_study(tmp_path / "in")
    for ds in all_exports(study, explained(study)):
        assert ds.PatientID == ds.PatientName == pseudonym("4711-ID") == study.patient
        for keyword in (
            *("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
            *("StudyDate", "StudyTime", "ReferringPhysicianName"),
        ):
            assert ds[keyword].value in ("", None), keyword
        assert "PatientAge" not in ds
        assert "InstitutionName" not in ds
        assert ds.PatientIdentityRemoved == "YES"
        assert ds.DeidentificationMethod
        assert ds.StudyInstanceUID == derived_uid("study", uid("study"))
        assert (ds.ContentDate, ds.ContentTime) == ("19000101", "000000")
        (other,) = ds.StudiesContainingOtherReferencedInstancesSequence
        assert other.StudyInstanceUID == uid("study")
        assert other.ReferencedSeriesSequence[0].SeriesInstanceUID == uid("one")
        text = str(ds)
        assert not [word for word in SECRETS if word in text]


def test_identified_exports_belong_to_the_patient(tmp_path):
    write_stack(tmp_path / "in", voxels(), SpecificCharacterSet="ISO_IR 100")
    for path in (tmp_path / "in").iterdir():
        ds = pydicom.dcmread(path)
        ds.PatientName = "Müller^Änne"
        ds.save_as(path)
    study = load_study(tmp_path / "in")
    explanation = explained(study)
    for number, ds in enumerate(all_exports(study, explanation, identify=True)):
        path = save(ds, tmp_path / f"{number}.dcm")
        ds = pydicom.dcmread(path)
        assert str(ds.PatientName) == "Müller^Änne"
        assert ds.PatientID == "4711-ID"
        assert ds.PatientBirthDate == "19700102"
        assert ds.PatientSex == "F"
        assert ds.AccessionNumber == "ACC-0815"
        assert ds.StudyInstanceUID == uid("study")
        assert (ds.StudyDate, ds.StudyTime, ds.StudyID) == ("20200101", "120000", "1")
        assert (ds.ContentDate, ds.ContentTime) == ("20200101", "120000")
        assert "PatientIdentityRemoved" not in ds
        assert ds.ReferencedSeriesSequence[0].SeriesInstanceUID == uid("one")
        if number < 3:
            dciodvfy(path)
    known = {ds.SOPInstanceUID for ds in all_exports(study, explanation)}
    assert not known & {
        ds.SOPInstanceUID for ds in all_exports(study, explanation, identify=True)
    }


def uids(ds: Dataset) -> set[str]:
    return {str(e.value) for e in ds.iterall() if e.VR == "UI"}


def test_the_same_map_gives_the_same_bytes_and_another_map_new_uids(tmp_path):
    axial(tmp_path / "in")
    study = load_study(tmp_path / "in")
    kinds = export.ExportOptions(kinds=export.KINDS)

    def files(explanation):
        return {x.name: x.content for x in export.exported(study, [explanation], kinds)}

    first = files(explained(study))
    assert first == files(explained(study))
    assert len(first) == 6
    other = files(explained(study, voxel=(2, 1, 1)))
    for name in first.keys() - {"gradcam.nii.gz"}:
        ours, theirs = (
            pydicom.dcmread(pydicom.filebase.DicomBytesIO(f[name]))
            for f in (first, other)
        )
        assert ours.SOPInstanceUID != theirs.SOPInstanceUID
        assert ours.SeriesInstanceUID != theirs.SeriesInstanceUID
        assert ours.StudyInstanceUID == theirs.StudyInstanceUID
        mine = {u for u in uids(ours) if u.startswith("2.25.")}
        assert all(len(u) > 30 and pydicom.uid.UID(u).is_valid for u in mine)
        # Nothing of the libraries' own random UIDs is left.
        assert not [u for u in uids(ours) if u.startswith(hd.UID()[:29])]


def test_what_a_parametric_map_says_of_itself(tmp_path):
    axial(tmp_path / "in")
    study = load_study(tmp_path / "in")
    explanation = explained(study)
    ds = export.parametric_map(study, explanation)
    assert ds.ContentQualification == "RESEARCH"
    assert ds.ContentLabel == "GRADCAM"
    assert "research use only" in ds.ContentDescription
    assert "research use only" in ds.SeriesDescription
    shared = ds.SharedFunctionalGroupsSequence[0]
    (mapping,) = shared.RealWorldValueMappingSequence
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    low = float(np.nanmin(explanation.map))
    assert mapping.DoubleFloatRealWorldValueFirstValueMapped == low
    assert mapping.DoubleFloatRealWorldValueLastValueMapped == IMPULSE
    (window,) = shared.FrameVOILUTSequence
    assert float(window.WindowCenter) == pytest.approx((low + IMPULSE) / 2)
    assert float(window.WindowWidth) == pytest.approx(IMPULSE - low)
    for group in ds.PerFrameFunctionalGroupsSequence:
        said = group.DerivationImageSequence[0].DerivationDescription
        for word in ("Grad-CAM", "glioma 0.93", "some-model", "research use only"):
            assert word in said


def test_what_a_segmentation_says_of_itself(tmp_path):
    axial(tmp_path / "in")
    study = load_study(tmp_path / "in")
    ds = export.segmentation(study, explained(study), percentile=90)
    assert ds.SegmentationType == "BINARY"
    (segment,) = ds.SegmentSequence
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentLabel == "Grad-CAM top 10 %"
    assert "gradcam" in segment.SegmentAlgorithmName
    assert "research use only" in ds.ContentDescription


def test_the_threshold_leaves_ties_at_the_bottom_out():
    values = np.zeros((10, 10), dtype=np.float32)
    values[0, :3] = 1, 2, 3
    np.testing.assert_array_equal(export.strongest(values), values > 0)
    assert not export.strongest(np.ones((4, 4), dtype=np.float32)).any()
    values[1, 1] = np.nan
    assert export.strongest(values, percentile=98).sum() == 2
    ramp = np.arange(100, dtype=np.float32).reshape(10, 10)
    np.testing.assert_array_equal(export.strongest(ramp), ramp >= 95)


def test_long_and_odd_names_fit(tmp_path):
    axial(tmp_path / "in")
    study = load_study(tmp_path / "in")
    odd = "Gliom\\Übergröße\n" * 20
    explanation = explained(study, target_class=odd, model=odd)
    for n, ds in enumerate(all_exports(study, explanation)[:3]):
        dciodvfy(save(ds, tmp_path / f"{n}.dcm"))


def test_radiographs_get_a_secondary_capture_and_a_sentence(tmp_path):
    ds = dataset(
        voxels(1)[0],
        position=None,
        orientation=None,
        modality="CR",
        PatientOrientation=["L", "F"],
        Laterality="R",
    )
    del ds.FrameOfReferenceUID
    study = load_study(save(ds, tmp_path / "a.dcm"))
    explanation = explained(study, voxel=(3, 4))
    results = list(
        export.exported(study, [explanation], export.ExportOptions(kinds=export.KINDS))
    )
    made = {one.kind: one for one in results if one.name}
    assert set(made) == {"nifti", "dicom-sc"}
    reasons = {one.kind: one for one in results if not one.name}
    assert set(reasons) == {"dicom-pm", "dicom-seg"}
    for one in reasons.values():
        assert "no frame of reference" in one.reason
        assert "Secondary Capture" in one.reason
        assert not one.failed
    path = tmp_path / "sc.dcm"
    path.write_bytes(made["dicom-sc"].content)
    capture = pydicom.dcmread(path)
    assert list(capture.PatientOrientation) == ["L", "F"]
    assert capture.Laterality == "R"
    assert "BurnedInAnnotation" not in capture  # the radiograph does not say
    dciodvfy(path)


def test_images_without_a_position_are_not_called_radiographs(tmp_path):
    """As pydicom's emri_small.dcm: a frame of reference, but no place in it."""
    ds = dataset(voxels(1)[0], position=None, orientation=None)
    study = load_study(save(ds, tmp_path / "a.dcm"))
    with pytest.raises(ExportError, match="do not say where in the patient they lie"):
        export.parametric_map(study, explained(study, voxel=(3, 4)))


def test_images_that_show_a_name_get_no_pseudonymous_capture(tmp_path):
    write_stack(tmp_path / "in", voxels(), BurnedInAnnotation="YES")
    study = load_study(tmp_path / "in")
    with pytest.raises(ExportError, match="BurnedInAnnotation"):
        list(export.secondary_captures(study, explained(study)))
    captures = list(export.secondary_captures(study, explained(study), identify=True))
    assert {ds.BurnedInAnnotation for ds in captures} == {"YES"}


def test_images_of_a_scanner_hold_no_writing(tmp_path):
    for said, wanted in (("NO", "NO"), (None, "NO")):
        folder = tmp_path / str(said)
        more = {} if said is None else {"BurnedInAnnotation": said}
        write_stack(
            folder, voxels(), ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], **more
        )
        study = load_study(folder)
        for ds in export.secondary_captures(study, explained(study)):
            assert ds.BurnedInAnnotation == wanted


def test_lossy_images_make_lossy_exports(tmp_path):
    write_stack(
        tmp_path / "in",
        voxels(),
        LossyImageCompression="01",
        LossyImageCompressionRatio=10,
        LossyImageCompressionMethod="ISO_15444_1",
    )
    study = load_study(tmp_path / "in")
    for ds in all_exports(study, explained(study)):
        assert ds.LossyImageCompression == "01"


def test_unknown_patients_stay_apart_and_odd_uids_are_no_references(tmp_path):
    names = set()
    for n in range(2):
        write_stack(
            tmp_path / str(n),
            voxels(),
            PatientID="",
            PatientName="",
            StudyInstanceUID=uid("study", n),
        )
        study = load_study(tmp_path / str(n))
        names.add(export.parametric_map(study, explained(study)).PatientID)
    assert len(names) == 2
    for path in (tmp_path / "1").iterdir():
        raw, sop = path.read_bytes(), pydicom.dcmread(path).SOPInstanceUID.encode()
        path.write_bytes(raw.replace(sop, b"x" * len(sop)))
    study = load_study(tmp_path / "1")
    for ds in all_exports(study, explained(study)):
        assert "SourceImageSequence" not in ds
        assert "StudiesContainingOtherReferencedInstancesSequence" not in ds


def test_what_cannot_be_exported_is_refused_in_words(tmp_path):
    axial(tmp_path / "in")
    study = load_study(tmp_path / "in")
    flat = export.explanation_of(study, np.ones(study.shape), method="gradcam")
    with pytest.raises(ExportError, match="constant"):
        export.segmentation(study, flat)
    export.parametric_map(study, flat)
    holes = explained(study)
    holes.map[1, 0, 0] = np.nan
    with pytest.raises(ExportError, match="NaN"):
        export.parametric_map(study, holes)
    for percentile in (0, 100, -3):
        with pytest.raises(UsageError, match="seg-percentile"):
            export.segmentation(study, explained(study), percentile=percentile)
    with pytest.raises(UsageError, match=r"\.dcm"):
        export.save_segmentation(study, explained(study), tmp_path / "a.nii")
    with pytest.raises(UsageError, match="not explained"):
        export.save_png(study, explained(study), tmp_path / "a.png", index=0)
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    with pytest.raises(ExportError, match="no longer") as caught:
        export.parametric_map(study, explained(study))
    assert "IM0" not in str(caught.value)


def test_a_fault_costs_its_own_file_only(tmp_path, monkeypatch):
    axial(tmp_path / "in")
    study = load_study(tmp_path / "in")
    from napari_medxai.export import files

    def broken(*_, **__):
        raise ValueError("Doe^Jane")

    monkeypatch.setattr(files, "segmentation", broken)
    results = list(
        export.exported(
            study, [explained(study)], export.ExportOptions(kinds=export.KINDS)
        )
    )
    (fault,) = [one for one in results if one.failed]
    assert fault.kind == "dicom-seg"
    assert "ValueError" in fault.reason
    assert "Doe" not in fault.reason
    assert {one.kind for one in results if one.name} == {
        "nifti",
        "dicom-pm",
        "dicom-sc",
    }


def test_a_resampled_stack_refers_to_all_its_files(tmp_path):
    tilted(tmp_path / "in")
    study = load_study(tmp_path / "in", resample=True)
    explanation = explained(study, slices=(1, 2))
    ds = export.parametric_map(study, explanation)
    pixels = np.frombuffer(ds.FloatPixelData, "<f4").reshape(2, *study.shape[1:])
    frame, row, column = np.argwhere(pixels == IMPULSE)[0]
    np.testing.assert_allclose(
        place_in(ds, frame, row, column),
        (study.affine_lps @ [*VOXEL, 1])[:3],
        atol=1e-3,
    )
    every = {pydicom.dcmread(p).SOPInstanceUID for p in (tmp_path / "in").iterdir()}
    for group in ds.PerFrameFunctionalGroupsSequence:
        items = group.DerivationImageSequence[0].SourceImageSequence
        assert {item.ReferencedSOPInstanceUID for item in items} == every
        assert {item.SpatialLocationsPreserved for item in items} == {"NO"}
    (capture, _) = export.secondary_captures(study, explanation)
    assert len(capture.SourceImageSequence) == len(every)
    dciodvfy(save(ds, tmp_path / "map.dcm"))


def test_exports_can_be_cancelled_between_files(tmp_path):
    axial(tmp_path / "in")
    study = load_study(tmp_path / "in")
    steps = []

    def stop(method):
        steps.append(method)
        if len(steps) == 2:
            raise Cancelled("enough")

    going = export.exported(
        study,
        [explained(study)],
        export.ExportOptions(kinds=export.KINDS),
        progress=stop,
    )
    assert next(going).kind == "nifti"
    with pytest.raises(Cancelled):
        next(going)
    assert steps == ["gradcam"] * 2


def test_a_picture_is_saved_and_says_research(tmp_path):
    axial(tmp_path / "in")
    study = load_study(tmp_path / "in")
    path = export.save_png(study, explained(study), tmp_path / "a.png", index=2)
    captures = list(export.secondary_captures(study, explained(study)))
    from PIL import Image

    picture = Image.open(path)
    np.testing.assert_array_equal(np.array(picture), captures[1].pixel_array)
    assert "research use only" in picture.text["Disclaimer"].lower()


def test_real_images_make_accepted_exports(shared_data, tmp_path):
    """Mosaics, enhanced objects, radiographs, a scout: what occurs in hospitals."""
    from napari_medxai.io import find_cases, load_case

    options = export.ExportOptions(kinds=export.KINDS)
    rng = np.random.default_rng(0)
    seen = 0
    for name in ("ct-head-mixed-series", "highdicom", "rtstruct", "siemens-mosaic"):
        cases = [
            case
            for case in find_cases(shared_data / "dicom" / name).cases
            if case.series is not None
        ]
        for case in cases[:2]:
            study = load_case(case)
            values = rng.random(study.shape).astype(np.float32)
            if study.is_volume:
                values[2:] = np.nan
            explanation = export.explanation_of(study, values, method="xrai")
            for one in export.exported(study, [explanation], options):
                assert not one.failed, one.reason
                if one.kind.startswith("dicom") and one.name:
                    path = tmp_path / one.name
                    path.write_bytes(one.content)
                    dciodvfy(path)
                    seen += 1
    assert seen > 10


def test_normals_of_the_test_stacks_are_what_the_tests_think():
    np.testing.assert_allclose(normal(AXIAL), [0, 0, 1])
    np.testing.assert_allclose(np.linalg.norm(normal(OBLIQUE)), 1)
