"""The simulated sample data: the program that makes it and the shipped files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image

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
            make=make,
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
        points = grid_around(made)
        hull = maps.distance(points)
        inside = made.distance(points, hull) < 0
        assert inside.sum() * 1.5**3 > 150
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


# The shipped files


def test_shipped_size(samples: Path) -> None:
    folders = [samples / name for name in ("png", "nifti", "dicom")]
    shipped = [path for folder in folders for path in folder.rglob("*")]
    assert 20 < sum(path.is_file() for path in shipped) < 60
    assert sum(path.stat().st_size for path in shipped if path.is_file()) < 8e6


def test_shipped_png(samples: Path) -> None:
    rows = rows_of(samples / "png" / "labels.csv")
    assert sorted(row["label"] for row in rows) == sorted(2 * KINDS)
    for row in rows:
        image = np.asarray(Image.open(samples / "png" / "images" / row["file"]))
        mask = np.asarray(Image.open(samples / "png" / "masks" / row["file"])) > 0
        assert image.dtype == np.uint8
        assert image.shape == mask.shape == (256, 256)
        assert 200 < mask.sum() < 6000


def test_shipped_volumes(samples: Path) -> None:
    (row,) = rows_of(samples / "nifti" / "labels.csv")
    image: Any = nib.load(samples / "nifti" / row["file"])
    mask: Any = nib.load(samples / "nifti" / "glioma_mask.nii.gz")
    np.testing.assert_array_equal(image.affine, mask.affine)
    nifti = np.asarray(mask.dataobj).transpose(2, 1, 0)
    segmentation = hd.seg.segread(samples / "dicom" / "SEG0001.dcm")
    sources = [pydicom.dcmread(path) for path in (samples / "dicom").glob("IM*.dcm")]
    sources.sort(key=lambda found: float(found.ImagePositionPatient[2]))
    dicom = segmentation.get_pixels_by_source_instance(
        [found.SOPInstanceUID for found in sources],
        assert_missing_frames_are_empty=True,
    )[..., 0]
    for stack in (nifti, dicom):
        area = stack.sum((1, 2), dtype=int)
        assert 4 <= (area > 0).sum() <= 7
        assert area[len(area) // 2] >= 0.8 * area.max()


def test_shipped_is_what_the_program_makes(sim: Any, samples: Path) -> None:
    kind, plane, seed = sim.samples.SLICES[0]
    made = sim.simulate_slice(kind, seed, plane=plane)
    name = f"{kind}-{plane}.png"
    image = np.asarray(Image.open(samples / "png" / "images" / name)).astype(int)
    mask = np.asarray(Image.open(samples / "png" / "masks" / name)) > 0
    # Another processor's rounding may move a grey level or an edge pixel.
    assert np.abs(image - made.image).max() <= 2
    assert (mask != made.mask).sum() <= 3
