"""What the network sees, and the way back to the native grid."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import (
    CenterSpatialCrop,
    CropForeground,
    NormalizeIntensity,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
)

import napari_medxai as mx
from napari_medxai.crop import CenterCrop, ForegroundCrop
from napari_medxai.errors import ModelError, StudyError
from napari_medxai.intensity import Intensity, Percentiles, Window, ZScore
from napari_medxai.preprocess import Preprocessing
from napari_medxai.smoothing import BorderSafeSmooth
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
    with pytest.raises(StudyError, match="holes: there is no finite value"):
        SPEC.apply(Study(np.full((4, 4), np.nan), Path("x"), identifier="holes"))


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
    [
        {"size": (0, 3)},
        {"channels": 2},
        {"mean": (0.1, 0.2)},
        {"std": (0.0,)},
        {"crop": CenterCrop((4.0, 4.0, 4.0))},
    ],
)
def test_wrong_specifications_are_refused(change):
    with pytest.raises(ModelError):
        Preprocessing(**{"size": (8, 8), **change})


SPECS = [
    SPEC,
    Preprocessing(
        size=(8, 8, 8),
        intensity=Intensity(
            Percentiles(1, 99, "volume"),
            {"CT": Window(40, 80), "MR": ZScore(3.0, nonzero=True, over="volume")},
        ),
        crop=ForegroundCrop(2.0, 0.2),
    ),
    Preprocessing(size=(8, 8), crop=CenterCrop((30.0, 40.0))),
]


@pytest.mark.parametrize("spec", SPECS)
def test_json_round_trip(spec):
    text = json.dumps(spec.to_json())
    assert Preprocessing.from_json(json.loads(text)) == spec


def test_older_folders_state_percentiles():
    old = {"size": [8, 8], "channels": 1, "mean": [0.5], "std": [0.5]}
    assert Preprocessing.from_json(old) == Preprocessing(size=(8, 8))
    old["percentiles"] = [2, 98]
    rule = Preprocessing.from_json(old).intensity
    assert rule == Intensity(Percentiles(2, 98))
    with pytest.raises(ModelError, match="size"):
        Preprocessing.from_json({"channels": 1})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"percentiles": [5, 5]}, "must rise"),
        ({"percentiles": [5]}, "size, channels"),
        ({"intensity": {"MR": {"percentiles": [0, 99]}}}, "'default'"),
        ({"intensity": {"default": {"window": [40]}}}, "default is damaged"),
        ({"intensity": {"default": {"window": [40, 0]}}}, "width above 0"),
        ({"intensity": {"default": {"window": [1, 2], "over": "slice"}}}, "one of"),
        ({"intensity": {"default": {"levels": [1, 2]}}}, "one of"),
        ({"intensity": {"default": 3}}, "one of"),
        ({"intensity": {"default": {"zscore": {"clip": -1}}}}, "clip above 0"),
        ({"intensity": {"default": {"zscore": {"cut": 1}}}}, "'clip' and 'nonzero'"),
        ({"intensity": {"default": {"zscore": {"nonzero": 1}}}}, "true or false"),
        (
            {"intensity": {"default": {"zscore": {}, "over": "patient"}}},
            "slice or volume",
        ),
        ({"crop": "foreground"}, "damaged"),
        ({"crop": {"foreground": {"margin": 3}}}, "damaged"),
        ({"crop": {"foreground": {"above": 1}}}, "above"),
        ({"crop": {"center": {"size_mm": [0, 3]}}}, "above 0"),
        ({"crop": {"center": {}}}, "damaged"),
        ({"crop": {"corner": {}}}, "not known"),
    ],
)
def test_damaged_statements_are_refused_in_words(change, words):
    data = {"size": [8, 8], "channels": 1, "mean": [0.5], "std": [0.5], **change}
    with pytest.raises(ModelError, match=words):
        Preprocessing.from_json(data)


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


@pytest.mark.parametrize(
    ("shape", "sigma"),
    [
        ((1, 1, 40, 31), (0.0, 0.7, 2.1)),
        ((3, 9, 12, 7), (1.5, 0.0, 3.2)),  # kernels longer than the image
        ((1, 5, 6, 7), (0.0, 0.0, 0.0)),
    ],
)
def test_smoothing_is_monais_divided_by_what_lies_inside(shape, sigma):
    from monai.transforms import GaussianSmooth

    image = torch.from_numpy(np.random.default_rng(2).random(shape, dtype=np.float32))
    monai = GaussianSmooth(sigma=sigma)
    expected = monai(image) / monai(torch.ones_like(image))
    np.testing.assert_allclose(BorderSafeSmooth(sigma)(image), expected, atol=1e-6)


def test_shrinking_averages_instead_of_skipping():
    array = np.zeros((128, 128), np.uint8)
    array[:, ::2] = 255  # stripes finer than the network's pixels
    image = SPEC.apply(Study(array, Path("x"))).image.astype(float)
    assert np.abs(image[4:-4, 4:-4] - 127.5).max() < 12


def plain(rule, *, size=(20, 24)) -> Preprocessing:
    """A network of the image's own size: intensities alone are changed."""
    return Preprocessing(size=size, intensity=Intensity(rule))


def slice_of(modality="", *, shape=(20, 24), **options) -> Study:
    array = np.random.default_rng(4).normal(100, 60, shape).astype(np.float32)
    return Study(array, Path("s"), modality=modality, **options)


def square(study: Study) -> Study:
    """Spacing that makes the image square, so that nothing is padded."""
    rows, columns = study.shape[-2:]
    spacing = (*[1.0] * (len(study.shape) - 2), columns / rows, 1.0)
    return replace(study, spacing=spacing)


def byte(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def test_a_window_is_fixed():
    study = square(slice_of("CT"))
    got = plain(Window(40, 80)).apply(study).image
    scaled = ScaleIntensityRange(0, 80, 0, 255, clip=True)(study.array)
    assert np.array_equal(got, byte(np.asarray(scaled)))


def test_percentiles_are_those_of_monai():
    study = square(slice_of())
    got = plain(Percentiles(3, 90)).apply(study).image
    scaled = ScaleIntensityRangePercentiles(3, 90, 0, 255, clip=True)(study.array)
    assert np.array_equal(got, byte(np.asarray(scaled)))


@pytest.mark.parametrize("nonzero", [False, True])
def test_z_scores_are_those_of_monai(nonzero):
    """Within a step, and the network is given z where its std is 1 / (2 clip)."""
    study = square(slice_of())
    study.array[:5] = 0
    spec = replace(plain(ZScore(2.5, nonzero)), std=(1 / 5,))
    image = spec.apply(study).image
    z = np.clip(np.asarray(NormalizeIntensity(nonzero=nonzero)(study.array)), -2.5, 2.5)
    got = spec.tensor(image[None])[0, 0].numpy()
    assert np.abs(got - z).max() <= 2.5 / 255 + 1e-5
    wide = spec.apply(replace(study, spacing=None))
    assert wide.padding[0].all()
    assert (wide.image[0] == 128).all()  # padding has z = 0


def test_statistics_over_the_volume_are_the_same_in_each_slice():
    array = np.stack([np.full((20, 24), v, np.float32) for v in (0, 50, 100)])
    array[:, 3, 4] = 25
    study = square(Study(array, Path("v")))
    rule = Percentiles(0, 100, "volume")
    levels = [int(plain(rule).apply(study, i).image[0, 0]) for i in range(3)]
    assert levels == [0, 128, 255]
    alone = [
        int(plain(Percentiles(0, 100)).apply(study, i).image[0, 0]) for i in range(3)
    ]
    assert alone == [0, 255, 255]
    mean, deviation = array.mean(dtype=float), array.std(dtype=float)
    image = plain(ZScore(4, over="volume")).apply(study, 2).image
    assert image[0, 0] == byte(127.5 + (100 - mean) / deviation / 8 * 255)


def test_the_modality_chooses_the_rule_and_others_are_told():
    intensity = Intensity(Percentiles(), {"CT": Window(40, 80), "MR": ZScore()})
    spec = Preprocessing(size=(20, 24), intensity=intensity)
    for modality, rule in (("CT", Window(40, 80)), ("MR", ZScore()), ("", None)):
        study = square(slice_of(modality))
        expected = plain(rule or Percentiles()).apply(study).image
        assert np.array_equal(spec.apply(study).image, expected)
        assert spec.notes(study) == ()
    study = square(slice_of("US"))
    (note,) = spec.notes(study)
    assert "CT, MR" in note
    assert "none for US" in note
    assert "percentiles 0 and 99.9 of the slice" in note
    assert np.array_equal(
        spec.apply(study).image, plain(Percentiles()).apply(study).image
    )
    assert plain(Percentiles()).notes(study) == ()  # one rule for all: nothing to say


@pytest.mark.parametrize(
    "rule",
    [Percentiles(1, 99), Percentiles(1, 99, "volume"), ZScore(), Window(90, 100)],
)
def test_pixels_without_a_measurement_do_not_count(rule):
    """Padding, NaN and infinity: as if they had the lowest value, measured without."""
    clean = square(slice_of(shape=(2, 20, 24)))
    holes = np.zeros(clean.shape, bool)
    holes[:, 2:6, 3:9] = True
    dirty = clean.array.copy()
    dirty[holes] = np.resize([-2000, -1999.5, np.nan, np.inf, -np.inf], holes.sum())
    study = replace(clean, array=dirty, padding=(-2000.0, -1999.0))
    got = plain(rule).apply(study, 0).image
    values = clean.array[0][~holes[0]]
    scope = clean.array[~holes] if getattr(rule, "over", "") == "volume" else values
    if isinstance(rule, ZScore):
        mean, reach = scope.mean(dtype=float), 4 * scope.std(dtype=float)
        low, high = mean - reach, mean + reach
    elif isinstance(rule, Window):
        low, high = 40, 140
    else:
        low, high = np.percentile(scope.astype(float), (1, 99))
    filled = np.where(holes[0], values.min(), clean.array[0]).astype(float)
    expected = (np.clip(filled, low, high) - low) / (high - low) * 255
    assert np.abs(got - expected).max() <= 0.51
    nothing = replace(study, array=np.full(clean.shape, -2000.0))
    with pytest.raises(StudyError, match="pixel padding"):
        plain(rule).apply(nothing, 0)


def test_a_slice_of_one_value_under_each_rule():
    flat = square(Study(np.full((20, 24), 60.0), Path("f")))
    assert plain(Percentiles()).apply(flat).image.max() == 0
    assert (plain(ZScore()).apply(flat).image == 128).all()
    assert (plain(Window(40, 80)).apply(flat).image == 191).all()
    zeros = replace(flat, array=np.zeros((20, 24)))
    assert (plain(ZScore(nonzero=True)).apply(zeros).image == 128).all()


def test_a_center_crop_is_monais_and_a_large_one_keeps_all():
    study = square(slice_of(shape=(24, 24)))
    for mm in ((13.0, 10.0), (12.0, 99.0)):
        spec = Preprocessing(size=(24, 24), crop=CenterCrop(mm))
        expected = np.zeros((24, 24), np.float32)
        ones = CenterSpatialCrop([int(min(v, 24)) for v in mm])
        part = np.asarray(ones(study.array[None]))[0]
        kept = np.isin(study.array, part)
        expected[kept] = 1
        assert np.array_equal(spec.apply(study).seen, kept)


def test_a_foreground_crop_is_monais():
    array = np.random.default_rng(0).random((30, 26)).astype(np.float32)
    array[8:17, 5:21] += 50
    study = Study(array, Path("f"))
    spec = Preprocessing(size=(8, 8), crop=ForegroundCrop(margin_mm=2, above=0.3))
    crop = CropForeground(
        select_fn=lambda x: x > 20, margin=2, allow_smaller=True, return_coords=True
    )
    _, start, stop = crop(torch.from_numpy(array[None]))
    expected = np.zeros(array.shape, bool)
    expected[start[0] : stop[0], start[1] : stop[1]] = True
    assert np.array_equal(spec.apply(study).seen, expected)
    assert expected.sum() == 13 * 20


def test_the_note_reaches_the_finished_case(samples):
    from napari_medxai.engine import Settings, evaluate
    from napari_medxai.io import find_cases
    from napari_medxai.models import ModelCard, build
    from napari_medxai.models.classifier import Classifier

    intensity = Intensity(Percentiles(), {"CT": Window(40, 80)})
    spec = Preprocessing(size=(16, 16), intensity=intensity)
    module = build("test_efficientnet", classes=2)
    card = ModelCard("test_efficientnet", ("a", "b"), spec)
    model = Classifier(module, card, name="tiny", digest="", device="cpu")
    case = find_cases(samples / "dicom").cases[0]
    settings = Settings(methods=("random",), slices="middle")
    (result,) = evaluate([case], model, settings)
    assert result.outcomes
    assert spec.notes(mx.load_study(samples / "dicom"))[0] in result.notes
