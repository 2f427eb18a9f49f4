"""There and back: from the network's grid to the native voxels, through the patient.

What is right is worked out here by hand: a network voxel's centre is carried to
millimetres in the patient with nothing but the affine, the box and the sizes, and from
there to the native voxel whose cell holds it. The directions on a screen are written
out as vectors. Nothing of the package's geometry is used.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medxai.crop import CenterCrop, ForegroundCrop
from napari_medxai.errors import UsageError
from napari_medxai.preprocess import Preprocessing
from napari_medxai.study import Study

ORDERS = list(itertools.permutations(range(3)))
SIGNS = list(itertools.product((1, -1), repeat=3))
ALL = [(order, signs) for order in ORDERS for signs in SIGNS]
# LPS unit vectors: down and to the right on a radiologist's screen, by slice normal.
LEFT, POSTERIOR, SUPERIOR = np.eye(3)
SCREENS = {
    2: (POSTERIOR, LEFT),  # axial
    1: (-SUPERIOR, LEFT),  # coronal
    0: (-SUPERIOR, POSTERIOR),  # sagittal
}


def tilt(degrees: float) -> np.ndarray:
    """A rotation about an axis that is none of the patient's."""
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    a = np.deg2rad(degrees)
    k = np.array(
        [[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]]
    )
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k


def affine_of(order, signs, spacing, degrees=0.0) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (patient, sign) in enumerate(zip(order, signs, strict=True)):
        affine[patient, axis] = sign * spacing[axis]
    affine[:3, :3] = tilt(degrees) @ affine[:3, :3]
    affine[:3, 3] = (-31.7, 12.4, 207.1)
    return affine


def study_of(order, signs, *, shape, spacing, degrees=0.0, array=None) -> Study:
    if array is None:
        array = np.random.default_rng(0).random(shape).astype(np.float32) + 1
    affine = affine_of(order, signs, spacing, degrees)
    return Study(array, Path("v"), affine_lps=affine, spacing=spacing)


class ByHand:
    """Where a network voxel lies in the patient, worked out from the affine."""

    def __init__(self, affine, shape, size, *, crop_mm=None) -> None:
        columns = affine[:3, :3]
        self.spacing = np.linalg.norm(columns, axis=0)
        unit = columns / self.spacing
        nearest = [int(np.abs(unit[:, axis]).argmax()) for axis in range(3)]
        if len(size) == 2:
            down, right = SCREENS[nearest[0]]
            wanted = [None, down, right]
        else:
            wanted = [SUPERIOR, POSTERIOR, LEFT]
        # native axis, direction and voxel count along each of the network's axes
        self.axes, self.signs = [], []
        for direction in wanted:
            if direction is None:
                self.axes.append(0)
                self.signs.append(1)
                continue
            along = direction @ unit
            axis = int(np.abs(along).argmax())
            self.axes.append(axis)
            self.signs.append(1 if along[axis] > 0 else -1)
        self.affine, self.shape = affine, shape
        self.flat = len(size) == 2
        self.size = (1, *size) if self.flat else size
        count = [1 if self.flat and a == 0 else shape[a] for a in range(3)]
        full = [count[axis] for axis in self.axes]
        step = [self.spacing[axis] for axis in self.axes]
        self.start, self.kept = [0, 0, 0], list(full)
        if crop_mm is not None:
            first = 1 if self.flat else 0
            for axis, mm in zip(range(first, 3), crop_mm, strict=True):
                kept = min(full[axis], round(mm / step[axis]))
                self.start[axis] = (
                    full[axis] // 2 - kept // 2 if kept < full[axis] else 0
                )
                self.kept[axis] = kept
        used = [1, 2] if self.flat else [0, 1, 2]
        side = max(self.kept[a] * step[a] for a in used)
        self.total = [
            max(self.kept[a], round(side / step[a])) if a in used else self.kept[a]
            for a in range(3)
        ]
        self.full = full

    def turned(self, place):
        """Continuous place along the turned native axes of a network place."""
        out = []
        for axis in range(3):
            padded = (place[axis] + 0.5) * self.total[axis] / self.size[axis] - 0.5
            before = (self.total[axis] - self.kept[axis]) // 2
            out.append(padded - before + self.start[axis])
        return out

    def millimetres(self, place, index=0):
        """LPS millimetres of a network place."""
        native = np.zeros(3)
        for axis, value in enumerate(self.turned(place)):
            forwards = self.signs[axis] > 0
            native[self.axes[axis]] = value if forwards else self.full[axis] - 1 - value
        if self.flat:
            native[0] = index
        return self.affine[:3, :3] @ native + self.affine[:3, 3]

    def native(self, mm):
        """Continuous native place of LPS millimetres."""
        return np.linalg.solve(self.affine[:3, :3], mm - self.affine[:3, 3])

    def network(self, voxel):
        """Continuous network place of a native voxel's centre."""
        out = []
        for axis in range(3):
            value = voxel[self.axes[axis]]
            value = value if self.signs[axis] > 0 else self.full[axis] - 1 - value
            before = (self.total[axis] - self.kept[axis]) // 2
            inside = value - self.start[axis]
            if not 0 <= inside < self.kept[axis]:
                return None
            scale = self.size[axis] / self.total[axis]
            out.append((inside + before + 0.5) * scale - 0.5)
        return out

    def width(self, axis):
        """A native voxel's width in network voxels, along a network axis."""
        return self.size[axis] / self.total[axis]


def slow_value(hand: ByHand, values: np.ndarray, voxel) -> float:
    """Interpolate a map for one native voxel, with loops and no matrices."""
    place = hand.network(voxel)
    if place is None:
        return 0.0
    shares = []
    for axis in range(3):
        size, width = hand.size[axis], hand.width(axis)
        share = {}
        if width <= 1:
            at = min(max(place[axis], 0.0), size - 1.0)
            low = int(np.floor(at))
            share[low] = 1 - (at - low)
            if at > low:
                share[low + 1] = at - low
        else:
            low, high = place[axis] - width / 2, place[axis] + width / 2
            for j in range(size):
                part = min(high, j + 0.5) - max(low, j - 0.5)
                if part > 0:
                    share[j] = part / width
        shares.append(share)
    total = 0.0
    for (i, a), (j, b), (k, c) in itertools.product(*(s.items() for s in shares)):
        total += a * b * c * values[i, j, k]
    return total


# Spacings that leave no tie in rounding to whole voxels.
CASES = [
    # size, shape, spacing: enlarged, made smaller, mixed; odd and even; cube and flat
    ((23, 23), (3, 8, 11), (5.03, 1.47, 0.98)),
    ((7, 10), (3, 18, 25), (3.01, 0.71, 0.69)),
    ((9, 8), (2, 7, 16), (4.1, 2.03, 0.51)),
    ((9, 12, 7), (5, 8, 14), (3.02, 1.01, 0.89)),
    ((6, 5, 16), (9, 6, 8), (0.99, 2.04, 1.31)),
]


def impulses(hand: ByHand, rng):
    """Network voxels inside the native image, a corner of the grid among them."""
    spots = [tuple(int(rng.integers(n)) for n in hand.size) for _ in range(5)]
    spots.append(tuple(n // 2 for n in hand.size))
    return spots


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize(("size", "shape", "spacing"), CASES)
def test_an_impulse_returns_to_its_voxel(size, shape, spacing, crop):
    """For all 48 axis orders and flips, straight and oblique."""
    rng = np.random.default_rng(3)
    index = 1
    for number, (order, signs) in enumerate(ALL):
        study = study_of(
            order, signs, shape=shape, spacing=spacing, degrees=17.0 * (number % 2)
        )
        crop_mm = [6.5, 7.2, 5.0][-len(size) :] if crop else None
        spec = Preprocessing(
            size=size, crop=CenterCrop(tuple(crop_mm)) if crop else None
        )
        flat = len(size) == 2
        seen = spec.apply(study, index if flat else None)
        hand = ByHand(study.affine_lps, shape, size, crop_mm=crop_mm)
        assert seen.image.shape == tuple(size)
        assert seen.native_shape == (shape[1:] if flat else shape)
        for spot in impulses(hand, rng):
            values = np.zeros(hand.size, np.float32)
            values[spot] = 3.0
            back = seen.to_native(values[0] if flat else values)
            turned = hand.turned(spot)
            outside = any(
                not -0.5 <= t - s <= n - 0.5
                for t, s, n in zip(turned, hand.start, hand.kept, strict=True)
            )
            if outside:  # in the padding, or where nothing was kept
                continue
            mm = hand.millimetres(spot, index)
            true = hand.native(mm)
            peak = np.argwhere(back == back.max())[0]
            peak = np.array([index, *peak]) if flat else peak
            for axis in range(3):
                native_axis = hand.axes[axis]
                # half a cell, of whichever grid has the larger ones
                reach = 0.5 * max(1.0, 1 / hand.width(axis)) + 1e-5
                assert abs(peak[native_axis] - true[native_axis]) <= reach
            assert back.max() > 0
            for voxel in [peak, *rng.integers(0, shape, (4, 3))]:
                if flat:
                    voxel[0] = 0
                got = back[tuple(voxel[1:])] if flat else back[tuple(voxel)]
                assert got == pytest.approx(slow_value(hand, values, voxel), abs=1e-5)


@pytest.mark.parametrize(("size", "shape", "spacing"), CASES)
def test_every_value_of_a_map_returns(size, shape, spacing):
    """All voxels of a random map, against loops; a constant stays that constant."""
    rng = np.random.default_rng(5)
    order, signs = (1, 2, 0), (-1, 1, -1)
    study = study_of(order, signs, shape=shape, spacing=spacing, degrees=11.0)
    flat = len(size) == 2
    for crop_mm in (None, [6.5, 7.2, 5.0][-len(size) :]):
        crop = None if crop_mm is None else CenterCrop(tuple(crop_mm))
        seen = Preprocessing(size=size, crop=crop).apply(study, 1 if flat else None)
        hand = ByHand(study.affine_lps, shape, size, crop_mm=crop_mm)
        values = rng.normal(size=hand.size).astype(np.float32)
        back = seen.to_native(values[0] if flat else values)
        expected = np.zeros((1, *shape[1:]) if flat else shape)
        inside = np.zeros(expected.shape, bool)
        for voxel in np.ndindex(expected.shape):
            expected[voxel] = slow_value(hand, values, voxel)
            inside[voxel] = hand.network(voxel) is not None
        np.testing.assert_allclose(back, expected[0] if flat else expected, atol=1e-5)
        np.testing.assert_array_equal(seen.seen, inside[0] if flat else inside)
        constant = seen.to_native(np.full(size, 0.3, np.float32))
        assert set(np.unique(constant)) <= {np.float32(0.0), np.float32(0.3)}
        np.testing.assert_array_equal(constant > 0, seen.seen)


def test_a_nearly_coronal_oblique_keeps_screen_and_network_together():
    """Turned by 40 degrees: the assignment of axes is that of the screen."""
    study = study_of(
        (1, 2, 0), (1, -1, 1), shape=(3, 12, 14), spacing=(3.0, 1.0, 1.0), degrees=40.0
    )
    from napari_medxai.display import Screen, window_image

    seen = Preprocessing(size=(14, 14)).apply(study, 1)
    native = Screen.of(study).turn(seen.native_image(interpolation="linear"))
    shown = Screen.of(study).turn(window_image(study, 1)).astype(float)
    assert np.corrcoef(native.ravel(), shown.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("size", [(40, 40), (15, 18), (16, 14, 18)])
def test_a_blob_in_the_patient_appears_in_its_place(size):
    """Forwards, for all 48: centre of a blob of given millimetres, to a tenth pixel."""
    shape, spacing = (16, 26, 30), (2.0, 1.2, 1.0)
    flat = len(size) == 2
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    for number, (order, signs) in enumerate(ALL):
        degrees = 9.0 * (number % 2)
        affine = affine_of(order, signs, spacing, degrees)
        hand = ByHand(affine, shape, size)
        spot = [0, 0.55 * size[-2], 0.42 * size[-1]]
        if not flat:
            spot[0] = 0.6 * size[0]
        index = 9
        centre = hand.millimetres(spot, index)
        distance = np.linalg.norm(
            grid @ affine[:3, :3].T + affine[:3, 3] - centre, axis=-1
        )
        array = (1000 * np.exp(-((distance / 3.5) ** 2))).astype(np.float32)
        study = Study(array, Path("b"), affine_lps=affine, spacing=spacing)
        spec = Preprocessing.from_json(
            {
                "size": size,
                "channels": 1,
                "percentiles": [0, 100],
                "mean": [0.5],
                "std": [0.5],
            }
        )
        image = spec.apply(study, index if flat else None).image.astype(float)
        weights = np.where(image > 40, image, 0)
        found = [
            (weights * position).sum() / weights.sum()
            for position in np.indices(image.shape)
        ]
        expected = spot[1:] if flat else spot
        assert np.abs(np.subtract(found, expected)).max() < 0.12


def test_where_the_network_is_coarser_it_equals_torch():
    """An independent library, in the case that it gets right."""
    array = np.random.default_rng(0).random((40, 29)).astype(np.float32)
    seen = Preprocessing(size=(17, 13)).apply(Study(array, Path("x")))
    values = np.random.default_rng(1).normal(size=(17, 13)).astype(np.float32)
    padded = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None],
        size=(40, 40),
        mode="bilinear",
        align_corners=False,
    )[0, 0].numpy()
    np.testing.assert_allclose(seen.to_native(values), padded[:, 5:34], atol=1e-5)


def test_nothing_of_a_finer_map_is_lost():
    """Point sampling would miss most impulses; the mean keeps the sum of each."""
    seen = Preprocessing(size=(28, 28)).apply(Study(np.eye(4), Path("x")))
    for row, column in np.ndindex(28, 28):
        values = np.zeros((28, 28), np.float32)
        values[row, column] = 49.0
        back = seen.to_native(values)
        assert back[row // 7, column // 7] == pytest.approx(1.0)
        assert back.sum() == pytest.approx(1.0)


def test_images_without_and_with_orientation():
    """A radiograph of 2:1 pixels: rows stay rows, and flips are undone."""
    array = np.zeros((10, 16), np.float32)
    array[2, 13] = 1
    for affine in (None, affine_of((1, 2, 0), (1, 1, -1), (1.0, 2.0, 1.0))):
        study = Study(array, Path("r"), affine_lps=affine, spacing=(2.0, 1.0))
        seen = Preprocessing(size=(40, 40)).apply(study)
        row, column = np.unravel_index(seen.image.argmax(), (40, 40))
        assert (row < 20) == (affine is None)  # superior is up
        assert (column > 20) == (affine is None)  # left is to the right
        back = seen.to_native(seen.image.astype(np.float32))
        assert np.unravel_index(back.argmax(), back.shape) == (2, 13)


def test_the_network_image_on_the_native_grid():
    rng = np.random.default_rng(0)
    shape, spacing = (4, 12, 20), (3.0, 2.0, 1.0)
    study = study_of((2, 0, 1), (1, -1, 1), shape=shape, spacing=spacing)
    spec = Preprocessing(size=(9, 9), crop=CenterCrop((16.0, 14.0)))
    layer = spec.native_image(study, [1, 3])
    assert layer.shape == shape
    assert np.isnan(layer[[0, 2]]).all()
    for index in (1, 3):
        seen = spec.apply(study, index)
        hand = ByHand(study.affine_lps, shape, (9, 9), crop_mm=[16.0, 14.0])
        for _ in range(60):
            voxel = np.array([0, *rng.integers(0, shape[1:])])
            place = hand.network(voxel)
            expected = 0.0
            if place is not None:
                near = [int(np.floor(p + 0.5)) for p in place[1:]]
                expected = float(seen.image[tuple(near)])
            assert layer[index][tuple(voxel[1:])] == expected
        linear = spec.native_image(study, [index], interpolation="linear")[index]
        np.testing.assert_array_equal(
            linear, seen.to_native(seen.image.astype(np.float32))
        )
    with pytest.raises(UsageError, match="cubic"):
        spec.apply(study, 1).native_image(interpolation="cubic")
    with pytest.raises(UsageError, match=r"\(9, 9\)"):
        spec.apply(study, 1).to_native(np.zeros((9, 8), np.float32))


def test_colour_and_volumes_on_the_native_grid():
    colour = np.random.default_rng(0).integers(0, 255, (12, 9, 3)).astype(np.uint8)
    study = Study(colour, Path("c"), colour=True)
    spec = Preprocessing(size=(12, 12), channels=3, mean=(0,) * 3, std=(1,) * 3)
    layer = spec.native_image(study)
    assert layer.shape == colour.shape
    np.testing.assert_array_equal(layer, spec.apply(study).image[:, 1:10])
    volume = study_of((2, 1, 0), (1, 1, 1), shape=(6, 5, 4), spacing=(1.0, 1.0, 1.0))
    layer = Preprocessing(size=(6, 6, 6)).native_image(volume)
    assert layer.shape == (6, 5, 4)
    image = Preprocessing(size=(6, 6, 6)).apply(volume).image
    np.testing.assert_array_equal(layer, image[:, :5, 1:5])


def test_padding_and_foreground_are_told():
    array = np.zeros((20, 30), np.float32)
    array[6:12, 10:21] = 50
    study = Study(array, Path("f"), spacing=(2.0, 1.0))
    spec = Preprocessing(size=(22, 22), crop=ForegroundCrop(margin_mm=4.0))
    seen = spec.apply(study)
    expected = np.zeros((20, 30), bool)
    expected[4:14, 6:25] = True  # 4 mm are two rows and four columns
    np.testing.assert_array_equal(seen.seen, expected)
    # 20 mm x 19 mm: one column is added behind, a pixel of 20/22 mm lies in it
    assert seen.padding[:, -1].all()
    assert not seen.padding[:, :-1].any()
    assert not seen.image[seen.padding].any()
    back = seen.to_native(np.ones((22, 22), np.float32))
    np.testing.assert_array_equal(back, expected.astype(np.float32))
    empty = spec.apply(Study(np.full((20, 30), 3.0), Path("e"), spacing=(2.0, 1.0)))
    assert empty.seen.all()
