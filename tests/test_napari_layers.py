"""Layers: every voxel in its true place, whatever the stored order. No window."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from napari_medxai.display import Screen
from napari_medxai.io import load_study
from napari_medxai.study import Study

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_medxai._napari.layers import Placement, map_to_layer, study_to_layers
from napari_medxai._napari.open_study import add_study
from napari_medxai._napari.overlays import apply_look, look
from napari_medxai._napari.studies import (
    current_slice,
    is_explainable,
    open_study_of,
    show_slice,
)
from napari_medxai._napari.styling import watch

SHAPE = (3, 4, 5)
SPACING = (2.5, 0.5, 1.25)
ORIGIN = (-31.0, 12.5, 77.0)
ORDERS = [
    (order, signs)
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


def oriented(order, signs, tilt=None) -> Study:
    """A volume of distinct values whose axes run along the given LPS axes."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis in range(3):
        affine[order[axis], axis] = signs[axis] * SPACING[axis]
    affine[:3, 3] = ORIGIN
    if tilt is not None:
        affine[:3, :3] = tilt @ affine[:3, :3]
    array = np.arange(60, dtype=np.int16).reshape(SHAPE)
    return Study(
        array,
        Path("volume"),
        affine_lps=affine,
        spacing=SPACING,
        masks={"lesion": array % 7 == 0},
        identifier="case",
    )


def world_of(study: Study, index) -> np.ndarray:
    """The README's sign convention, written out: (inferior, posterior, left)."""
    x, y, z = (study.affine_lps @ [*index, 1])[:3]
    return np.array([-z, y, x])


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_every_voxel_stands_in_its_place(order, signs):
    study = oriented(order, signs)
    image, mask = (Layer.create(*data) for data in study_to_layers(study))
    assert image.axis_labels == ("inferior", "posterior", "left")
    assert all(step > 0 for step in image.scale)
    assert [str(u) for u in image.units] == ["millimeter"] * 3
    shown = np.asarray(image.data)
    for index in np.ndindex(SHAPE):
        (place,) = np.argwhere(shown == study.array[index])
        assert np.allclose(image.data_to_world(place), world_of(study, index))
        assert np.allclose(mask.data_to_world(place), world_of(study, index))
        assert mask.data[tuple(place)] == study.masks["lesion"][index]


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_the_way_back_is_exact(order, signs):
    study = oriented(order, signs)
    placement = Placement.of(study)
    assert np.array_equal(placement.back(placement.turn(study.array)), study.array)
    for index in np.ndindex(SHAPE):
        display = placement.to_display(index)
        assert placement.turn(study.array)[display] == study.array[index]
        assert placement.to_native(display) == index


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_native_slices_are_shown_as_on_the_reports_screen(order, signs):
    """The viewer's first view against the turn that the report uses."""
    study = oriented(order, signs)
    placement = Placement.of(study)
    view = np.transpose(placement.turn(study.array), placement.view_order)
    slices = {slice_.tobytes() for slice_ in map(np.ascontiguousarray, view)}
    screen = Screen.of(study)
    assert slices == {screen.turn(one).tobytes() for one in study.array}


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_an_image_with_orientation_is_turned_like_a_slice(order, signs):
    volume = oriented(order, signs)
    study = Study(
        volume.array[0],
        Path("image"),
        affine_lps=volume.affine_lps,
        spacing=SPACING[1:],
        masks={"lesion": volume.masks["lesion"][0]},
    )
    image, mask = (Layer.create(*data) for data in study_to_layers(study))
    assert np.array_equal(image.data, Screen.of(study).turn(study.array))
    assert np.array_equal(mask.data > 0, Screen.of(study).turn(study.mask))
    names = ("inferior", "posterior", "left")
    for index in np.ndindex(study.shape):
        (place,) = np.argwhere(np.asarray(image.data) == study.array[index])
        true = world_of(study, (0, *index))
        expected = [true[names.index(label)] for label in image.axis_labels]
        assert np.allclose(image.data_to_world(place), expected)


def test_a_tilted_volume_is_shown_straight_about_its_true_centre():
    angle = np.deg2rad(17)
    cos, sin = np.cos(angle), np.sin(angle)
    tilt = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    study = oriented((2, 1, 0), (1, 1, 1), tilt)
    image = Layer.create(*study_to_layers(study)[0])
    centre = (np.array(SHAPE) - 1) / 2
    placement = Placement.of(study)
    got = image.data_to_world(placement.to_display(centre))
    assert np.allclose(got, world_of(study, centre))
    assert np.allclose(image.scale, SPACING)
    assert np.array_equal(image.metadata["medxai"]["affine_lps"], study.affine_lps)


def test_without_orientation_the_array_stays():
    array = np.arange(20, dtype=np.uint8).reshape(4, 5)
    image = Layer.create(*study_to_layers(Study(array, Path("a.png")))[0])
    assert np.array_equal(image.data, array)
    assert [str(u) for u in image.units] == ["pixel", "pixel"]
    spaced = Study(array, Path("a.dcm"), spacing=(0.2, 0.3))
    image = Layer.create(*study_to_layers(spaced)[0])
    assert np.allclose(image.scale, (0.2, 0.3))
    assert [str(u) for u in image.units] == ["millimeter"] * 2


def test_colour_stays_colour():
    array = np.zeros((4, 5, 3), np.uint8)
    array[1, 2] = (9, 8, 7)
    image = Layer.create(*study_to_layers(Study(array, Path("a"), colour=True))[0])
    assert image.rgb
    assert image.ndim == 2
    assert tuple(image.data[1, 2]) == (9, 8, 7)


def test_the_window_of_the_header_comes_first():
    array = np.arange(100, dtype=np.int16).reshape(10, 10)
    plain = study_to_layers(Study(array, Path("a")))[0][1]["contrast_limits"]
    assert plain == pytest.approx(np.percentile(array, (0.5, 99.8)))
    windowed = Study(array, Path("a"), window=(20.0, 40.0))
    assert study_to_layers(windowed)[0][1]["contrast_limits"] == (20.0, 40.0)
    constant = Study(np.full((4, 4), 7.0), Path("a"))
    low, high = study_to_layers(constant)[0][1]["contrast_limits"]
    assert low < high


def test_a_map_lies_over_its_study_with_nan_where_nothing_was_explained():
    study = oriented((1, 2, 0), (1, -1, -1))
    values = np.full(SHAPE, np.nan, np.float32)
    values[1] = np.arange(20).reshape(4, 5)
    image = Layer.create(*study_to_layers(study)[0])
    over = Layer.create(*map_to_layer(study, values, "map"))
    assert np.allclose(over.affine.affine_matrix, image.affine.affine_matrix)
    assert np.allclose(over.scale, image.scale)
    assert np.allclose(over.translate, image.translate)
    back = Placement.of(study).back(over.data)
    assert np.array_equal(back, values, equal_nan=True)


def test_masks_are_outlines_and_the_acquired_plane_is_shown_first():
    viewer = ViewerModel()
    watch(viewer)
    watch(viewer)
    study = oriented((0, 1, 2), (1, 1, 1))  # sagittal slices
    image, mask = add_study(viewer, study)
    assert mask.contour == 1
    assert image.name == "case"
    assert viewer.dims.order[0] == 2
    opened = open_study_of(image)
    for index in range(SHAPE[0]):
        show_slice(viewer, opened, index)
        assert current_slice(viewer, opened) == index


def test_a_layer_of_another_reader_becomes_a_study():
    layer = Image(np.arange(24.0).reshape(2, 3, 4), name="other")
    opened = open_study_of(layer)
    assert opened.foreign
    assert opened.study.affine_lps is None
    assert np.array_equal(opened.study.array, layer.data)
    assert "orientation" in opened.study.notes[0]
    assert is_explainable(layer)
    assert not is_explainable(Image(np.zeros((2, 2, 2, 2))))


def test_no_name_of_a_patient_reaches_a_layer(samples):
    study = load_study(samples / "dicom")
    for _, arguments, _ in study_to_layers(study):
        assert "Simulated" not in arguments["name"]
        assert study.identifier in arguments["name"]


class TestLook:
    def test_threshold_is_the_percentile_of_what_was_explained(self):
        values = np.arange(101, dtype=float).reshape(1, 101)
        with_gap = np.vstack([values, np.full((1, 101), np.nan)])
        for case in (values, with_gap):
            got = look(case, 80)
            assert got.limits == (80.0, 100.0)
            assert not got.signed
            assert not got.constant

    def test_a_signed_map_is_centred_on_zero(self):
        got = look(np.linspace(-2, 6, 81), 50)
        assert got.signed
        assert got.limits == (-6.0, 6.0)
        positions = np.linspace(-6, 6, len(got.colors))
        hidden = got.colors[:, 3] == 0
        assert np.array_equal(hidden, np.abs(positions) <= got.threshold)
        assert np.allclose(got.colors[0, :3], got.colors[0, :3])
        assert got.colors[0, 2] > got.colors[0, 0]  # blue below zero
        assert got.colors[-1, 0] > got.colors[-1, 2]  # red above

    @pytest.mark.parametrize("value", [0.0, 3.0, -1.0])
    def test_a_constant_map_shows_nothing(self, value):
        got = look(np.full((3, 3), value), 90)
        assert got.constant
        assert not got.colors[:, 3].any()

    def test_many_ties_at_the_top_still_show(self):
        values = np.zeros(100)
        values[:50] = 1
        got = look(values, 90)
        assert got.limits == (0.0, 1.0)

    def test_nothing_finite(self):
        assert look(np.full(4, np.nan), 90).constant

    def test_a_layer_takes_it(self):
        layer = Image(np.arange(100, dtype=np.float32).reshape(10, 10))
        for percentile in (90, 10, 95):
            chosen = look(layer.data, percentile)
            apply_look(layer, chosen)
            assert layer.contrast_limits == pytest.approx(list(chosen.limits))
            drawn = layer.colormap.map(np.array([0.0, 1.0, np.nan], np.float32))
            assert drawn[0, 3] == 0
            assert drawn[1, 3] == 1
            assert drawn[2, 3] == 0
