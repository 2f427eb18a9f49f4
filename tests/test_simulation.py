"""The simulated sample data: the program that makes it and the shipped files."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from matplotlib.path import Path as Polygon
from PIL import Image

import napari_medxai as mx

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to LPS and back
KINDS = ("glioma", "meningioma", "pituitary")


@pytest.fixture(scope="module")
def sim() -> Iterator[Any]:
    """The simulation's modules, from the folder of the sample data."""
    pytest.importorskip("nilearn")
    folder = str(Path(__file__).resolve().parent.parent / "sample_data")
    sys.path.insert(0, folder)
    try:
        import make
        import simulation
        from simulation import (
            acquisition,
            canvas,
            dicom,
            files,
            look,
            matlab,
            noise,
            samples,
            template,
            tumour,
        )

        yield SimpleNamespace(
            acquisition=acquisition,
            canvas=canvas,
            dicom=dicom,
            files=files,
            look=look,
            make=make,
            matlab=matlab,
            noise=noise,
            samples=samples,
            simulate_slice=simulation.simulate_slice,
            simulate_volume=simulation.simulate_volume,
            template=template,
            tumour=tumour,
        )
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def volume(sim: Any) -> Any:
    return sim.simulate_volume(
        "meningioma", 5, slices=7, spacing=(6.0, 4.0, 3.5), size=64
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def errors_of(path: Path) -> list[str]:
    """What the DICOM validator finds wrong."""
    command = shutil.which("dciodvfy")
    if command is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    done = subprocess.run(
        [command, str(path)], capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith("Error")]


# The parts


def test_field_is_trilinear(sim: Any) -> None:
    field = sim.noise.field(np.random.default_rng(0), step=20.0, channels=2)
    points = np.random.default_rng(1).uniform(-90, 90, (3, 40)).astype(np.float32)
    slow = np.zeros((2, 40))
    for n in range(40):
        at = (points[:, n] - sim.noise.LOW) / 20.0
        base = np.floor(at).astype(int)
        for corner in np.ndindex(2, 2, 2):
            part = np.prod(np.where(corner, at - base, 1 - (at - base)))
            slow[:, n] += part * field.grid[(slice(None), *(base + corner))]
    np.testing.assert_allclose(field(points), slow, atol=1e-4)


def test_distances(sim: Any) -> None:
    points = np.random.default_rng(2).uniform(-30, 30, (3, 60)).astype(np.float32)
    sphere = sim.canvas.ellipsoid(points, (9.0, 9.0, 9.0))
    np.testing.assert_allclose(sphere, np.linalg.norm(points, axis=0) - 9, atol=1e-3)
    start, end = np.array([-10.0, 5, 0]), np.array([12.0, -4, 20])
    along = start + np.linspace(0, 1, 4001)[:, None] * (end - start)
    slow = np.linalg.norm(points.T[:, None] - along, axis=2).min(1)
    fast = sim.canvas.capsule(points, tuple(start), tuple(end))
    np.testing.assert_allclose(fast, slow, atol=1e-2)


def test_pose_inverse(sim: Any) -> None:
    tilt = np.full(3, 10, np.float32)
    for seed in range(5):
        pose = sim.acquisition.Pose.draw(np.random.default_rng(seed), tilt)
        target = np.array([30, -20, 10], np.float32)
        back = pose(pose.inverse(target)[:, None])[:, 0]
        np.testing.assert_allclose(back, target, atol=0.1)


# The tumours are where their kind belongs


def grid_around(made: Any, step: float = 1.5) -> np.ndarray:
    reach = 2.2 * made.radius + 3
    axis = np.arange(-reach, reach, step)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)
    return (points + np.asarray(made.centre)[:, None]).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_place(sim: Any, kind: str) -> None:
    maps = sim.template.load()
    for seed in range(6):
        made = sim.tumour.draw(kind, maps, np.random.default_rng(seed))
        step = max(1.2, made.radius / 12)
        points = grid_around(made, step)
        hull = maps.distance(points)
        inside = made.distance(points, hull) < 0
        assert inside.sum() * step**3 > 150
        if kind == "glioma":
            assert hull[inside].max() < 0
            assert (maps.brightness(points[:, inside]) > 90).mean() > 0.8
        elif kind == "meningioma":
            # From the dura, 1 to 2 mm outside the hull, or from the falx at x = 0.
            gap = np.minimum(np.abs(hull - 1.5), np.abs(points[0]))
            assert gap[inside].min() < 1.5
            assert hull[inside].max() < 2
        else:
            middle = points[:, inside].mean(1)
            assert abs(middle[0]) < 5
            sella = np.array([[0], [6], [-36]], np.float32)
            assert made.distance(sella, maps.distance(sella))[0] < 2


def painted(sim: Any, made: Any, tissue: str) -> tuple[Any, ...]:
    """A tumour painted on even tissue: points, hull, occupancy, value, its look."""
    maps = sim.template.load()
    points = grid_around(made, made.radius / 10)
    hull = maps.distance(points)
    seen = sim.look.look(np.random.default_rng(0))
    canvas = sim.canvas.Canvas(points, getattr(seen, tissue))
    still = np.zeros((3, points.shape[1]), np.float32)
    return points, hull, made.paint(canvas, hull, still, seen), canvas.value, seen


def test_meningioma_is_bright_even_and_has_a_tail(sim: Any) -> None:
    maps = sim.template.load()
    tails = 0
    for seed in range(8):
        made = sim.tumour.draw("meningioma", maps, np.random.default_rng(seed))
        points, hull, part, value, seen = painted(sim, made, "grey")
        inside = value[part > 0.99]
        assert inside.mean() > 1.3 * seen.grey
        assert inside.std() < 0.12 * inside.mean()
        # Outside the tumour only what lies on the dura is brighter than the brain.
        distance = made.distance(points, hull)
        around = (distance > 2) & (value > 1.05 * seen.grey)
        assert (np.abs(hull[around] - 0.9) < 2.2).all()
        tails += bool(around.any())
    assert tails >= 6


def test_oedema_keeps_to_the_white_matter(sim: Any) -> None:
    maps = sim.template.load()
    made = next(
        tumour
        for tumour in (
            sim.tumour.draw("glioma", maps, np.random.default_rng(n)) for n in range(99)
        )
        if tumour.oedema > 8 and tumour.rim
    )
    for tissue, wet in (("white", True), ("grey", False)):
        points, hull, _, value, seen = painted(sim, made, tissue)
        distance = made.distance(points, hull)
        near = (distance > 2) & (distance < 5) & (hull < -6)
        far = distance > 2.5 * made.oedema + 8
        darker = value < 0.92 * getattr(seen, tissue)
        share = darker[near].mean()
        assert share > 0.6 if wet else share == 0
        assert not darker[far].any()


def test_glioma_ring_is_brighter_than_its_centre(sim: Any) -> None:
    maps = sim.template.load()
    drawn = (
        sim.tumour.draw("glioma", maps, np.random.default_rng(n)) for n in range(40)
    )
    rings = [made for made in drawn if made.rim and made.radius > 15][:5]
    for made in rings:
        points, hull, _, value, _ = painted(sim, made, "white")
        distance = made.distance(points, hull)
        shell = value[(distance < -1) & (distance > -0.6 * made.rim - 1)]
        centre = value[distance < -0.55 * made.radius]
        assert shell.mean() > 1.15 * centre.mean()


# Slices and volumes


def test_slice_is_deterministic(sim: Any) -> None:
    first = sim.simulate_slice("glioma", 11)
    again = sim.simulate_slice("glioma", 11)
    other = sim.simulate_slice("glioma", 12)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert (first.image != other.image).mean() > 0.2


@pytest.mark.parametrize(
    ("kind", "plane"),
    [("glioma", "axial"), ("meningioma", "coronal"), ("pituitary", "sagittal")],
)
def test_slice_looks_like_a_slice(sim: Any, kind: str, plane: str) -> None:
    for seed in (21, 22):
        made = sim.simulate_slice(kind, seed, plane=plane)
        assert made.image.dtype == np.uint8
        assert made.image.shape == made.mask.shape == (256, 256)
        assert (made.kind, made.plane) == (kind, plane)
        assert made.mask.sum() >= 60
        assert np.median(made.image[:20, :20]) < 12  # air
        brain = np.median(made.image[made.image > 25])
        assert 40 < brain < 130
        # The tumour can be seen: it differs from its surroundings or is uneven.
        inside = made.image[made.mask].astype(float)
        assert abs(inside.mean() - brain) > 4 or inside.std() > 4
        if kind == "meningioma":
            assert inside.mean() > 1.15 * brain


def test_planes_agree_in_space(sim: Any) -> None:
    centroids = []
    for plane in ("axial", "coronal", "sagittal"):
        made = sim.simulate_volume(
            "pituitary", 3, plane=plane, slices=15, spacing=(3.0, 3.0, 3.0), size=72
        )
        index = np.argwhere(made.mask).mean(0)
        centroids.append(made.affine_lps @ [*index, 1])
    np.testing.assert_allclose(centroids[1], centroids[0], atol=0.8)
    np.testing.assert_allclose(centroids[2], centroids[0], atol=0.8)


@pytest.mark.parametrize(
    ("plane", "directions"),
    [
        # LPS directions of slice, row and column index.
        ("axial", [[0, 0, 1], [0, 1, 0], [1, 0, 0]]),
        ("coronal", [[0, -1, 0], [0, 0, -1], [1, 0, 0]]),
        ("sagittal", [[-1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    ],
)
def test_affine_is_radiological(
    sim: Any, plane: str, directions: list[list[float]]
) -> None:
    made = sim.simulate_volume(
        "glioma", 4, plane=plane, slices=2, spacing=(5.0, 8.0, 7.0), size=32
    )
    expected = np.asarray(directions).T * [5.0, 8.0, 7.0]
    np.testing.assert_allclose(made.affine_lps[:3, :3], expected, atol=1e-12)


def test_sides(sim: Any) -> None:
    """A tumour on the patient's right is in the left half of the picture."""
    for seed, plane in ((0, "axial"), (1, "coronal")):
        patient = sim.acquisition._patient("meningioma", seed)
        x = patient.tumour.centre[0]
        assert abs(x) > 30
        made = sim.simulate_slice("meningioma", seed, plane=plane)
        columns = np.argwhere(made.mask)[:, 1]
        assert (columns.mean() < 127.5) == (x > 0)


def test_anatomy_is_the_right_way_up(sim: Any) -> None:
    """The face, with its air spaces, is in front; the neck is below."""
    made = sim.simulate_slice("pituitary", 8, plane="sagittal")
    rows = np.flatnonzero((made.image > 30).any(1))
    assert rows[0] > 0
    assert rows[-1] == 255
    row, column = np.argwhere(made.mask).mean(0)
    assert 100 < row < 200
    assert column < 127.5


def test_volume_middle(volume: Any) -> None:
    area = volume.mask.sum((1, 2))
    assert area[len(area) // 2] >= 0.8 * area.max()
    assert volume.image.dtype == np.int16
    assert volume.image.min() >= 0


def test_errors(sim: Any) -> None:
    with pytest.raises(ValueError, match=r"'angioma'.*glioma, meningioma, pituitary"):
        sim.simulate_slice("angioma", 0)
    with pytest.raises(ValueError, match=r"'oblique'.*axial, coronal, sagittal"):
        sim.simulate_slice("glioma", 0, plane="oblique")
    with pytest.raises(ValueError, match="slices=0"):
        sim.simulate_volume("glioma", 0, slices=0)


# Files


def test_nifti(sim: Any, volume: Any, tmp_path: Path) -> None:
    for axes in ("RAS", "LPI", "SAL"):
        path = tmp_path / f"{axes}.nii.gz"
        sim.files.write_nifti(path, volume.image, volume.affine_lps, axes=axes)
        read: Any = nib.load(path)
        assert "".join(nib.aff2axcodes(read.affine)) == axes
        # Every stored voxel, taken to LPS and into the made volume, is the same.
        data = np.asarray(read.dataobj)
        stored = np.stack(np.indices(data.shape)).reshape(3, -1)
        stored = np.vstack([stored, np.ones(stored.shape[1])])
        index = np.linalg.inv(volume.affine_lps) @ FLIP @ read.affine @ stored
        rounded = np.rint(index[:3]).astype(int)
        np.testing.assert_allclose(index[:3], rounded, atol=1e-3)
        np.testing.assert_array_equal(volume.image[tuple(rounded)], data.ravel())


@pytest.fixture(scope="module")
def series(sim: Any, volume: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom")
    sim.dicom.write_series(folder, volume, seed=5)
    return folder


def test_dicom_by_simpleitk(volume: Any, series: Path) -> None:
    reader = sitk.ImageSeriesReader()
    (identifier,) = [
        name
        for name in reader.GetGDCMSeriesIDs(str(series))
        if len(reader.GetGDCMSeriesFileNames(str(series), name)) > 1
    ]
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series), identifier))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.image)
    for index in np.ndindex(2, 2, 2):
        k, i, j = (int(n) for n in np.array(index) * np.array(volume.image.shape) // 2)
        point = image.TransformIndexToPhysicalPoint((j, i, k))
        expected = volume.affine_lps @ [k, i, j, 1]
        np.testing.assert_allclose(point, expected[:3], atol=1e-4)


def test_dicom_by_pydicom(volume: Any, series: Path) -> None:
    paths = sorted(series.glob("IM*.dcm"))
    read = [pydicom.dcmread(path) for path in paths]
    height = [float(d.ImagePositionPatient[2]) for d in read]
    assert height != sorted(height)
    assert height != sorted(height, reverse=True)
    for found in read:
        k = found.InstanceNumber - 1
        row, column = np.reshape(
            [float(v) for v in found.ImageOrientationPatient], (2, 3)
        )
        affine = np.eye(4)
        affine[:3, 1] = column * float(found.PixelSpacing[0])
        affine[:3, 2] = row * float(found.PixelSpacing[1])
        affine[:3, 0] = np.cross(row, column) * float(found.SpacingBetweenSlices)
        affine[:3, 3] = [float(v) for v in found.ImagePositionPatient]
        affine[:3, 3] -= k * affine[:3, 0]
        np.testing.assert_allclose(affine, volume.affine_lps, atol=1e-6)
        np.testing.assert_array_equal(found.pixel_array, volume.image[k])
        assert str(found.PatientName) == "Simulated^Meningioma"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({found[keyword].value for found in read}) == 1
    assert len({found.SOPInstanceUID for found in read}) == len(read)


def test_seg(volume: Any, series: Path) -> None:
    read = [pydicom.dcmread(path) for path in series.glob("IM*.dcm")]
    read.sort(key=lambda found: int(found.InstanceNumber))
    segmentation = hd.seg.segread(series / "SEG0001.dcm")
    pixels = segmentation.get_pixels_by_source_instance(
        [found.SOPInstanceUID for found in read],
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(pixels[..., 0].astype(bool), volume.mask)
    assert segmentation.SegmentationType == "BINARY"
    assert segmentation.FrameOfReferenceUID == read[0].FrameOfReferenceUID
    assert segmentation.StudyInstanceUID == read[0].StudyInstanceUID


def test_dicom_is_deterministic(
    sim: Any, volume: Any, series: Path, tmp_path: Path
) -> None:
    sim.dicom.write_series(tmp_path, volume, seed=5)
    names = sorted(path.name for path in series.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        assert (tmp_path / name).read_bytes() == (series / name).read_bytes()


@pytest.fixture(scope="module")
def outlined(sim: Any, volume: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rtstruct")
    sim.dicom.write_series(folder, volume, seed=5, truth="RTSTRUCT")
    return folder


def test_rtstruct(volume: Any, outlined: Path) -> None:
    """Its polygons, filled by another library, are the mask again."""
    found = pydicom.dcmread(outlined / "RTSTRUCT0001.dcm")
    images = [pydicom.dcmread(path) for path in outlined.glob("IM*.dcm")]
    slices = {d.SOPInstanceUID: d.InstanceNumber - 1 for d in images}
    filled = np.zeros(volume.mask.shape, int)
    back = np.linalg.inv(volume.affine_lps)
    for contour in found.ROIContourSequence[0].ContourSequence:
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        points = np.reshape([float(v) for v in contour.ContourData], (-1, 3))
        assert len(points) == contour.NumberOfContourPoints
        index = np.column_stack([points, np.ones(len(points))]) @ back.T
        k = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        np.testing.assert_allclose(index[:, 0], k, atol=1e-3)
        centres = np.argwhere(np.ones(volume.mask.shape[1:]))
        inside = Polygon(index[:, 1:3]).contains_points(centres)
        filled[k] += inside.reshape(volume.mask.shape[1:])
    np.testing.assert_array_equal(filled % 2 == 1, volume.mask)
    study = mx.load_study(outlined)
    assert list(study.masks) == ["tumour"]
    assert study.masks["tumour"].sum() == volume.mask.sum()


@pytest.mark.parametrize("name", ["series", "outlined"])
def test_dicom_is_valid_and_says_it_is_simulated(
    name: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(name)
    for path in (folder / "IM0001.dcm", *folder.glob("[SR]*.dcm")):
        found = pydicom.dcmread(path)
        assert str(found.PatientName).startswith("Simulated^")
        text = found.get("ImageComments") or found.StructureSetDescription
        assert text.startswith("Simulated")
        assert errors_of(path) == []


def test_mat(sim: Any, tmp_path: Path) -> None:
    made = sim.simulate_slice("pituitary", 31, plane="axial")
    path = tmp_path / "1.mat"
    sim.matlab.write_mat(path, made, patient="sim-31")
    again = tmp_path / "2.mat"
    sim.matlab.write_mat(again, made, patient="sim-31")
    assert path.read_bytes() == again.read_bytes()
    assert path.read_bytes().startswith(b"MATLAB 7.3 MAT-file")
    with h5py.File(path) as file:
        data = file["cjdata"]
        assert data["label"][()].item() == 3
        assert "".join(map(chr, data["PID"][()].ravel())) == "sim-31"
        # MATLAB stores columns first.
        np.testing.assert_array_equal(data["image"][()].T, made.image.astype(int) * 8)
        np.testing.assert_array_equal(data["tumorMask"][()].T != 0, made.mask)
        border = data["tumorBorder"][()].reshape(-1, 2) - 1
    rows, columns = np.nonzero(made.mask)
    spans = zip(border.T, (columns, rows), strict=True)
    for line, pixels in spans:
        assert abs(line.min() - (pixels.min() - 0.5)) < 1.5
        assert abs(line.max() - (pixels.max() + 0.5)) < 1.5
    study = mx.load_study(path)
    assert study.notes == ()
    assert study.metadata["label"] == "pituitary"
    np.testing.assert_array_equal(study.masks["tumour"], made.mask)


def test_training_set(sim: Any, tmp_path: Path) -> None:
    out = tmp_path / "set"
    command = ["training", "--out", str(out), "--count", "3", "--seed", "700000"]
    assert sim.make.main(command) == 0
    rows = rows_of(out / "labels.csv")
    assert [row["label"] for row in rows] == list(KINDS)
    assert rows[1] == {
        "file": "sim-700001.png",
        "label": "meningioma",
        "fold": "1",
        "patient": "sim-700001",
    }
    for row in rows:
        image = np.asarray(Image.open(out / "images" / row["file"]))
        mask = np.asarray(Image.open(out / "masks" / row["file"]))
        assert image.shape == mask.shape == (256, 256)
        assert set(np.unique(mask)) == {0, 255}
    assert len(list((out / "images").iterdir())) == 3
    # An interrupted call is continued: only what is missing is made.
    lost, kept = (out / "images" / rows[n]["file"] for n in (0, 1))
    before, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    (out / "labels.csv").unlink()
    assert sim.make.main(command) == 0
    assert lost.read_bytes() == before
    assert kept.stat().st_mtime_ns == stamp
    assert rows_of(out / "labels.csv") == rows


def test_failed_write_leaves_nothing(sim: Any, tmp_path: Path) -> None:
    def fail() -> None:
        with sim.files.replacing(tmp_path / "a.txt") as partial:
            partial.write_text("half", encoding="utf-8")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []
