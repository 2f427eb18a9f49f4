"""Study and its geometry helpers, against slow second implementations."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from napari_medxai.errors import MedXAIError, StudyError
from napari_medxai.study import Study, axis_codes, lps_from_ras, spacing_of

SOURCE = Path("somewhere/head.nii.gz")


def rotation(seed: int, degrees: float = 180.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = np.radians(rng.uniform(-degrees, degrees))
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def test_lps_negates_x_and_y_of_every_point() -> None:
    rng = np.random.default_rng(0)
    ras = np.eye(4)
    ras[:3] = rng.normal(size=(3, 4))
    lps = lps_from_ras(ras)
    for _ in range(5):
        voxel = np.append(rng.integers(0, 50, 3), 1.0)
        x, y, z, _ = ras @ voxel
        np.testing.assert_allclose(lps @ voxel, [-x, -y, z, 1])


def test_spacing_is_the_distance_of_neighbouring_voxels() -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation(3) * np.array([4.0, 0.5, 0.25])
    origin = affine @ [1, 1, 1, 1]
    for axis, expected in enumerate((4.0, 0.5, 0.25)):
        other = np.array([1.0, 1.0, 1.0, 1.0])
        other[axis] += 1
        assert np.linalg.norm(affine @ other - origin) == pytest.approx(expected)
        assert spacing_of(affine)[axis] == pytest.approx(expected)


def test_codes_of_all_axis_orders() -> None:
    letters = {
        (0, 1): "L",
        (0, -1): "R",
        (1, 1): "P",
        (1, -1): "A",
        (2, 1): "S",
        (2, -1): "I",
    }
    seen = set()
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = 0
            for axis in range(3):
                affine[order[axis], axis] = signs[axis] * (axis + 0.5)
            codes = axis_codes(affine)
            assert codes == tuple(letters[order[a], signs[a]] for a in range(3))
            seen.add(codes)
    assert len(seen) == 48


@pytest.mark.parametrize("seed", range(10))
def test_codes_survive_small_rotations(seed: int) -> None:
    affine = np.eye(4)
    axial = np.array([[0, 0, 0.5], [0, 0.5, 0], [3.0, 0, 0]])
    affine[:3, :3] = rotation(seed, degrees=30.0) @ axial
    assert axis_codes(affine) == ("S", "P", "L")


@pytest.mark.parametrize("seed", range(20))
def test_codes_use_each_patient_axis_once(seed: int) -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation(seed)
    pairs = [{"R", "L"}, {"A", "P"}, {"I", "S"}]
    codes = axis_codes(affine)
    assert sorted(next(i for i, p in enumerate(pairs) if c in p) for c in codes) == [
        0,
        1,
        2,
    ]


def test_image_volume_and_colour() -> None:
    image = Study(array=np.zeros((4, 5)), source=SOURCE)
    assert (image.shape, image.is_volume, image.slices) == ((4, 5), False, 1)
    assert image.mask is None
    assert image.codes is None
    colour = Study(array=np.zeros((3, 4, 5, 3)), source=SOURCE, colour=True)
    assert (colour.shape, colour.is_volume, colour.slices) == ((3, 4, 5), True, 3)
    volume = Study(array=np.zeros((3, 4, 5)), source=SOURCE, affine_lps=np.eye(4))
    assert volume.codes == ("L", "P", "S")


def test_masks_are_united_and_added() -> None:
    one, two = np.zeros((2, 4, 5), dtype=bool)
    one[1, 1] = two[2, 2] = True
    study = Study(array=np.zeros((4, 5)), source=SOURCE, notes=("a",))
    marked = study.with_masks({"one": one, "two": two}, "b")
    assert marked.notes == ("a", "b")
    assert not study.masks
    expected = [[(r, c) in {(1, 1), (2, 2)} for c in range(5)] for r in range(4)]
    np.testing.assert_array_equal(marked.mask, expected)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"array": np.zeros(3)}, "shape"),
        ({"array": np.zeros((2, 0))}, "shape"),
        ({"array": np.zeros((2, 3, 4, 3))}, "shape"),
        ({"affine_lps": np.eye(3)}, "4x4"),
        ({"spacing": (1.0, 1.0, 1.0)}, "spacings"),
        ({"masks": {"m": np.zeros((4, 4), dtype=bool)}}, "mask 'm'"),
        ({"masks": {"m": np.zeros((4, 5), dtype=np.uint8)}}, "mask 'm'"),
    ],
)
def test_contradictions_are_refused(change: dict, text: str) -> None:
    fields = {"array": np.zeros((4, 5)), "source": SOURCE} | change
    with pytest.raises(StudyError, match=text) as caught:
        Study(**fields)
    assert "head.nii.gz" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, MedXAIError)
