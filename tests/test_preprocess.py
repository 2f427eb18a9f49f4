"""What the network sees, and the way back to the native grid."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from napari_medxai.errors import ModelError, StudyError
from napari_medxai.preprocess import Preprocessing
from napari_medxai.study import Study

SPEC = Preprocessing(size=(32, 32))


def volume(order, signs, spacing=(4.0, 1.5, 1.0), shape=(6, 20, 30)) -> Study:
    """A volume whose array axes run along the given patient axes."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (patient, sign) in enumerate(zip(order, signs, strict=True)):
        affine[patient, axis] = sign * spacing[axis]
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    return Study(array, Path("v"), affine_lps=affine, spacing=spacing)


def bilinear(image, rows, columns):
    """Bilinear with pixel centres at .5 and edges repeated; loops on purpose."""
    out = np.empty((rows, columns))
    for r in range(rows):
        for c in range(columns):
            y = np.clip((r + 0.5) * image.shape[0] / rows - 0.5, 0, image.shape[0] - 1)
            x = np.clip(
                (c + 0.5) * image.shape[1] / columns - 0.5, 0, image.shape[1] - 1
            )
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, image.shape[0] - 1), min(x0 + 1, image.shape[1] - 1)
            top = image[y0, x0] * (1 - (x - x0)) + image[y0, x1] * (x - x0)
            bottom = image[y1, x0] * (1 - (x - x0)) + image[y1, x1] * (x - x0)
            out[r, c] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out


def test_enlarging_equals_a_plain_bilinear():
    array = np.arange(20 * 20, dtype=np.uint8).reshape(20, 20) % 251
    got = SPEC.apply(Study(array, Path("x"))).image
    low, high = np.percentile(array, (0, 99.9))
    scaled = (np.clip(array, low, high) - low) / (high - low) * 255
    assert np.abs(got - np.rint(bilinear(scaled, 32, 32))).max() <= 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_a_network_pixel_returns_to_its_native_place(order, signs):
    study = volume(order, signs)
    native = np.zeros((20, 30), np.float32)
    native[5, 22] = 1
    array = np.zeros(study.shape, np.float32)
    array[3] = native
    marked = Study(array, Path("m"), affine_lps=study.affine_lps, spacing=study.spacing)
    seen = Preprocessing(size=(120, 120)).apply(marked, 3)
    assert seen.image.max() > 100
    back = seen.to_native(seen.image.astype(np.float32))
    assert np.unravel_index(back.argmax(), back.shape) == (5, 22)
    assert back.shape == (20, 30)


@pytest.mark.parametrize(
    ("order", "signs", "letters"),
    [
        ((2, 1, 0), (1, 1, 1), "axial"),
        ((2, 1, 0), (-1, -1, -1), "axial"),
        ((1, 2, 0), (1, 1, -1), "coronal"),
        ((0, 2, 1), (1, -1, 1), "sagittal"),
        ((0, 1, 2), (1, 1, 1), "sagittal"),
    ],
)
def test_the_network_sees_radiological_convention(order, signs, letters):
    """A mark anterior, superior and on the patient's right ends up where it should."""
    study = volume(order, signs, spacing=(1.0, 1.0, 1.0), shape=(24, 24, 24))
    grid = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), axis=-1)
    mm = grid @ study.affine_lps[:3, :3].T
    right, anterior, superior = -mm[..., 0], -mm[..., 1], mm[..., 2]
    rise = {"axial": anterior, "coronal": superior, "sagittal": superior}[letters]
    side = {"axial": right, "coronal": right, "sagittal": anterior}[letters]
    for values, axis in ((rise, 0), (side, 1)):
        marked = Study(
            values.astype(np.float32),
            Path("m"),
            affine_lps=study.affine_lps,
            spacing=study.spacing,
        )
        image = SPEC.apply(marked, 12).image.astype(float)
        first, last = (
            (image[4], image[-5]) if axis == 0 else (image[:, 4], image[:, -5])
        )
        assert first.mean() > last.mean() + 50


def test_anisotropic_pixels_become_square():
    array = np.zeros((1, 20, 60), np.float32)
    array[0, 5:15, 15:45] = 1  # 30 mm x 30 mm
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 1.0], [0, 3.0, 0], [1.0, 0, 0]]
    study = Study(array, Path("a"), affine_lps=affine, spacing=(1.0, 3.0, 1.0))
    image = Preprocessing(size=(60, 60)).apply(study, 0).image > 127
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1


def test_input_is_scaled_by_percentiles_and_eight_bit():
    rng = np.random.default_rng(1)
    array = rng.normal(1000, 200, (40, 40)).astype(np.int16)
    array[0, 0] = 30000
    image = SPEC.apply(Study(array, Path("x"))).image
    assert image.dtype == np.uint8
    assert image.max() >= 200


def test_nan_and_constant_slices():
    array = np.full((10, 10), 7.0)
    assert SPEC.apply(Study(array, Path("x"))).image.max() == 0
    array[3:, 3:] = np.nan
    array[5, 5] = 9
    assert SPEC.apply(Study(array, Path("x"))).image.max() > 0
    with pytest.raises(StudyError, match="no finite value"):
        SPEC.apply(Study(np.full((4, 4), np.nan), Path("x")))


def test_tensor_units():
    x = SPEC.tensor(np.array([[[0, 255]]], np.uint8))
    assert x.shape == (1, 1, 1, 2)
    assert x.flatten().tolist() == [-1.0, 1.0]
    colour = Preprocessing(size=(8, 8), channels=3, mean=(0, 0, 0), std=(1, 1, 1))
    x = colour.tensor(np.full((2, 8, 8), 51, np.uint8))
    assert x.shape == (2, 3, 8, 8)
    assert x.unique().tolist() == pytest.approx([0.2])


def test_colour_becomes_luminance():
    array = np.zeros((8, 8, 3), np.uint8)
    array[:4] = (255, 0, 0)
    array[4:] = (0, 255, 0)
    image = Preprocessing(size=(8, 8)).apply(Study(array, Path("c"), colour=True)).image
    assert image[6, 4] > image[1, 4]  # green is brighter than red


@pytest.mark.parametrize(
    "change",
    [{"size": (0, 3)}, {"channels": 2}, {"mean": (0.1, 0.2)}, {"percentiles": (5, 5)}],
)
def test_wrong_specifications_are_refused(change):
    with pytest.raises(ModelError):
        Preprocessing(**{"size": (8, 8), **change})


def test_json_round_trip():
    assert Preprocessing.from_json(SPEC.to_json()) == SPEC
    with pytest.raises(ModelError, match="size"):
        Preprocessing.from_json({"channels": 1})


def test_a_volume_model_takes_whole_volumes():
    study = volume((2, 1, 0), (1, -1, 1))
    spec = Preprocessing(size=(16, 16, 16))
    assert spec.indices(study) == (None,)
    seen = spec.apply(study)
    assert seen.image.shape == (16, 16, 16)
    assert seen.to_native(seen.image.astype(float)).shape == study.shape
    with pytest.raises(ModelError, match="needs volumes"):
        spec.indices(Study(np.zeros((4, 4)), Path("x")))


def test_shrinking_keeps_the_border_bright():
    """MONAI's own anti-aliasing would darken it: 214 instead of 255 in the corners."""
    array = np.full((512, 512), 200, np.uint8)
    array[250:260, 250:260] = 0
    image = Preprocessing(size=(224, 224)).apply(Study(array, Path("x"))).image
    assert image[0].min() == image[:, -1].min() == 255


def test_shrinking_averages_instead_of_skipping():
    array = np.zeros((128, 128), np.uint8)
    array[:, ::2] = 255  # stripes finer than the network's pixels
    image = SPEC.apply(Study(array, Path("x"))).image.astype(float)
    assert np.abs(image[4:-4, 4:-4] - 127.5).max() < 12
