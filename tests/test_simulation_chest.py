"""The simulated chest radiographs: their geometry, anatomy, opacities and files."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from PIL import Image

import napari_medxai as mx

SIZE = 96
SEED = 41  # a left-sided marker, no frame


@pytest.fixture(scope="module")
def sim() -> Iterator[Any]:
    """The simulation's modules, from the folder of the sample data."""
    folder = str(Path(__file__).resolve().parent.parent / "sample_data")
    sys.path.insert(0, folder)
    try:
        import make
        from simulation import chest
        from simulation.chest import (
            body,
            bones,
            dicom,
            exposure,
            marks,
            opacity,
            radiograph,
            tree,
            view,
        )

        yield SimpleNamespace(
            body=body,
            bones=bones,
            chest=chest,
            dicom=dicom,
            exposure=exposure,
            make=make,
            marks=marks,
            opacity=opacity,
            radiograph=radiograph,
            tree=tree,
            view=view,
        )
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def three(sim: Any) -> dict[str, Any]:
    """The same patient healthy and with each disease, without letters or frame."""
    plain = sim.chest.Extras()
    return {
        kind: sim.chest.simulate_radiograph(kind, SEED, size=SIZE, extras=plain)
        for kind in sim.chest.KINDS
    }


def a_view(sim: Any, seed: int = 0, size: int = 48) -> Any:
    return sim.view.View.draw(np.random.default_rng(seed), size)


def a_body(sim: Any, seed: int = 0) -> Any:
    return sim.body.Body.draw(np.random.default_rng(seed), bedside=False)


def at(*places: tuple[float, float, float]) -> np.ndarray:
    return np.array(places, np.float32).T


# Projection


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_rays_and_projection_are_inverse(sim: Any, seed: int) -> None:
    view = a_view(sim, seed, 16)
    for points in view.planes(70.0):
        row, column, _ = view.project(points)
        expected = np.indices((16, 16)).reshape(2, -1)
        np.testing.assert_allclose(row, expected[0], atol=2e-3)
        np.testing.assert_allclose(column, expected[1], atol=2e-3)


def test_laid_mass(sim: Any) -> None:
    """Against a slow second implementation, and nothing of it is lost."""
    view = a_view(sim, 5)
    rng = np.random.default_rng(3)
    points = rng.uniform([-60, -60, -220], [60, 60, -60], (40, 3)).T.astype(np.float32)
    volumes = rng.uniform(1, 5, 40).astype(np.float32)
    slow = np.zeros((48, 48))
    for point, volume in zip(points.T.astype(float), volumes, strict=True):
        x, y, z = view.turn.astype(float) @ point * view.scale
        gap = 150 + y if view.frontal == "PA" else 150 - y
        grow = view.distance / (view.distance - gap)
        column = (x * grow - view.centre[0]) / view.pixel + 23.5
        row = (view.centre[1] - z * grow) / view.pixel + 23.5
        # A volume of the patient over the area of a pixel at its depth.
        thick = volume * view.scale**3 / (view.pixel / grow) ** 2
        for i in (int(np.floor(row)), int(np.floor(row)) + 1):
            for j in (int(np.floor(column)), int(np.floor(column)) + 1):
                slow[i, j] += thick * (1 - abs(row - i)) * (1 - abs(column - j))
    np.testing.assert_allclose(view.lay(points, volumes), slow, rtol=1e-3, atol=1e-4)


def test_a_slab_is_as_thick_as_it_is(sim: Any) -> None:
    """A layer of points 1 mm apart, each of 2 mm³, is 2 mm of tissue."""
    view = a_view(sim, 6)
    x, z = np.meshgrid(np.arange(-40.0, 40), np.arange(-180.0, -100))
    points = np.stack([x.ravel(), 0 * x.ravel(), z.ravel()]).astype(np.float32)
    laid = view.lay(points, np.full(points.shape[1], 2.0, np.float32))
    middle = laid[22:26, 22:26].mean()
    # Rays cross it at an angle of a few degrees at most.
    assert abs(middle - 2 * view.scale) < 0.05


# Anatomy


def test_organs_are_in_their_places(sim: Any) -> None:
    for seed in range(5):
        body = a_body(sim, seed)
        inside = at((-75, 0, -120), (75, 0, -120), (-60, 0, -40), (60, 40, -190))
        assert (body.lungs(inside) < 0).all()
        # Neck, spine, heart, liver, arm.
        outside = at((0, 0, 40), (0, 66, -150), (25, -25, -185), (-60, 0, -280))
        assert (body.lungs(outside) > 0).all()
        # The heart reaches further to the left; the right dome is the higher one.
        left, right = (body.mediastinum(at((s * 62, -25, -195)))[0] for s in (1, -1))
        assert left < 0 < right
        assert body.domes[0] > body.domes[1]
        if body.stomach:
            gas = at((58, -8, body.domes[1] - 13 - 17 * body.stomach))
            assert body.gas(gas)[0] < 0
            assert body.density(gas)[0][0] < 0.1
        windpipe = at((-2, 20, -40))
        assert body.windpipe(windpipe)[0] < 0
        density, lung = body.density(at((-75, 0, -120), (-60, 0, -280), (0, -400, 0)))
        assert 0.1 < density[0] < 0.4
        assert abs(density[1] - 1) < 0.02
        assert density[2] == 0
        assert (lung > 0.5).tolist() == [True, False, False]


def test_bones_are_outside_the_lungs(sim: Any) -> None:
    body = a_body(sim, 1)
    points, volumes = sim.bones.skeleton(body, np.random.default_rng(0))
    assert (volumes > 0).all()
    depth = body.lungs(points)
    assert np.average(depth < -4, weights=volumes) < 0.05
    # Twelve pairs of ribs, both sides alike.
    right, left = (volumes[points[0] * side > 30].sum() for side in (-1, 1))
    assert abs(right / left - 1) < 0.02


def test_vessels_taper_from_the_hilum(sim: Any) -> None:
    body = a_body(sim, 2)
    grown = sim.tree.grow(
        body, np.random.default_rng(1), trunks=8, radius=5.0, smallest=0.6
    )
    for side, hilum in zip((-1, 1), sim.tree.HILA, strict=True):
        mine = grown.points[0] * side > 0
        away = np.linalg.norm(grown.points[:, mine].T - hilum, axis=1)
        volume = grown.volumes[mine]
        near, far = volume[away < 25].mean(), volume[away > 70].mean()
        assert near > 4 * far
    # Many branches, nearly all in the lungs.
    depth = body.lungs(grown.points)
    assert np.average(depth < 3, weights=grown.volumes) > 0.75


# Opacities


def test_consolidation_keeps_to_one_lobe(sim: Any) -> None:
    body = a_body(sim, 3)
    points = np.random.default_rng(0).uniform(
        [-130, -80, -250], [130, 80, 0], (20000, 3)
    )
    points = points.T.astype(np.float32)
    points = points[:, body.lungs(points) < 0]
    x, y, z = points
    lower = z < -62 - 1.17 * (70 - y)
    lobes = {
        "right upper": (x < 0) & ~lower & (z > -118),
        "right middle": (x < 0) & ~lower & (z < -118),
        "right lower": (x < 0) & lower,
        "left upper": (x > 0) & ~lower,
        "left lower": (x > 0) & lower,
    }
    seen = set()
    for seed in range(14):
        sick = sim.opacity.draw("pneumonia", body, np.random.default_rng(seed))
        share = sick(points)
        own = lobes[sick.lobe]
        assert share[own].max() > 0.5
        assert np.average(own, weights=share) > 0.97
        seen.add(sick.lobe)
    assert len(seen) >= 4


def test_ground_glass_is_peripheral_and_on_both_sides(sim: Any) -> None:
    body = a_body(sim, 4)
    points = np.random.default_rng(0).uniform(
        [-130, -80, -250], [130, 80, 0], (20000, 3)
    )
    points = points.T.astype(np.float32)
    points = points[:, body.lungs(points) < 0]
    depth = -body.cage(points)
    for seed in range(6):
        share = sim.opacity.draw("covid19", body, np.random.default_rng(seed))(points)
        right = share[points[0] < 0].sum() / share.sum()
        assert 0.12 < right < 0.88
        assert np.average(depth, weights=share) < 0.8 * depth.mean()
        # Denser than normal lung, thinner than consolidation.
        assert 0.2 < np.quantile(share[share > 0.05], 0.9) < 0.95
    healthy = sim.opacity.draw("normal", body, np.random.default_rng(0))
    assert not healthy(points).any()


def test_mask_is_the_water_along_the_ray(sim: Any) -> None:
    """Every tenth pixel again: its ray alone, in steps a third as long."""
    seed = SEED
    made = sim.chest.simulate_radiograph(
        "pneumonia", seed, size=40, extras=sim.chest.Extras()
    )
    np.testing.assert_array_equal(made.mask, made.added >= sim.radiograph.VISIBLE)
    rng = np.random.default_rng([seed, 11])
    view = sim.view.View.draw(rng, 40)
    body = sim.body.Body.draw(rng, bedside=view.frontal == "AP")
    kind = sim.chest.KINDS.index("pneumonia")
    sick = sim.opacity.draw("pneumonia", body, np.random.default_rng([seed, 13, kind]))
    step = sim.radiograph.STEP / 3
    picked = np.arange(0, 1600, 7)
    slow = np.zeros(len(picked))
    for points in view.planes(step):
        here = np.ascontiguousarray(points[:, picked])
        aerated = np.clip(0.5 - body.lungs(here) / 4, 0, 1)
        aerated = np.where(body.outline(here) < 2, aerated, 0)
        slow += step * aerated * sick(here) * (1 - body.lung)
    fast = made.added.ravel()[picked]
    assert slow.max() > 15
    np.testing.assert_allclose(fast, slow, atol=1.5)


# Radiographs


def test_opacities_are_brighter_than_the_same_lungs_without(three: Any) -> None:
    healthy = three["normal"]
    assert not healthy.mask.any()
    assert not healthy.added.any()
    for kind in ("pneumonia", "covid19"):
        made = three[kind]
        assert 0.01 < made.mask.mean() < 0.25
        rise = made.image.astype(float) - healthy.image
        # The display is scaled to the whole picture, which moves all of it a little.
        clear = (made.added == 0) & (healthy.image < 200)
        much = made.added > 15
        assert rise[much].mean() > rise[clear].mean() + 8
    assert three["pneumonia"].lobe
    assert three["covid19"].lobe == ""


def test_picture_is_the_right_way_round(sim: Any, three: Any) -> None:
    """Each organ is seen where its place in the patient projects to."""
    made = three["normal"]
    np.testing.assert_allclose(made.image, made.deep / 4095 * 255, atol=0.51)
    view = sim.view.View.draw(np.random.default_rng([SEED, 11]), SIZE)
    assert view.pixel == made.spacing

    def grey(*place: float) -> float:
        row, column, _ = view.project(at(place))
        i, j = round(float(row[0])), round(float(column[0]))
        return float(made.image[i - 2 : i + 3, j - 2 : j + 3].mean())

    for side in (-1, 1):
        lung = grey(side * 75, 0, -110)
        assert lung < grey(0, 60, -110) - 30
        assert lung < grey(side * 62, 0, -275) - 40
    # The heart lies more to the patient's left, which is to the picture's right.
    assert grey(55, -25, -195) > grey(-62, -25, -195) + 20
    _, right, _ = view.project(at((-60, 0, -150)))
    assert right[0] < SIZE / 2


def test_deterministic(sim: Any, three: Any) -> None:
    plain = sim.chest.Extras()
    again = sim.chest.simulate_radiograph("covid19", SEED, size=SIZE, extras=plain)
    np.testing.assert_array_equal(again.deep, three["covid19"].deep)
    np.testing.assert_array_equal(again.mask, three["covid19"].mask)
    assert (three["normal"].deep != again.deep).mean() > 0.1


def test_scatter_and_quanta(sim: Any) -> None:
    """Scatter lowers contrast; more quanta, less noise."""
    path = np.full((64, 64), 60, np.float32)
    path[:, 32:] = 200
    shown = {}
    for scatter in (0.0, 1.0):
        for quanta in (1e3, 1e5):
            taken = sim.exposure.Exposure(
                scatter, quanta, 0.4, 0.0, 0.0, 1.0, 1.0, 99.0
            )
            signal = taken.signal(path, 4.0, np.random.default_rng(0))
            halves = signal[:, :24], signal[:, -24:]
            shown[scatter, quanta] = (
                halves[1].mean() - halves[0].mean(),
                halves[0].std(),
            )
    assert abs(shown[0.0, 1e5][0] - 140 * sim.exposure.WATER) < 0.1
    assert shown[1.0, 1e5][0] < 0.93 * shown[0.0, 1e5][0]
    assert shown[0.0, 1e3][1] > 4 * shown[0.0, 1e5][1]


# What gives a class away


def test_letters_and_frames(sim: Any) -> None:
    extras = sim.chest.Extras(marker="R", corner="bottom left")
    ink, plate = sim.marks.letters(128, 3.0, extras)
    row, column = np.argwhere(ink > 0.5).mean(0)
    assert row > 96
    assert column < 32
    assert not plate.any()
    boxed = sim.chest.Extras(marker="AP", corner="top right", boxed=True)
    ink, plate = sim.marks.letters(128, 3.0, boxed)
    assert (plate[ink > 0.5] == 1).all()
    assert plate.sum() > 2 * ink.sum()
    view = a_view(sim, 1, 64)
    grey = np.full((64, 64), 0.5, np.float32)
    for frame, shade in (("white", 0.9), ("black", 0.1), ("none", 0.5)):
        shown = sim.chest.Extras(frame=frame)
        open_ = sim.marks.field(64, frame, np.random.default_rng(1))
        framed = sim.radiograph._framed(grey, open_, shown, view)
        edge = framed[0, 0]
        assert edge > shade if frame == "white" else edge <= shade
        np.testing.assert_array_equal(framed[12:52, 12:52], 0.5)


def test_confounded_classes_differ_outside_the_lungs(sim: Any) -> None:
    assert set(sim.chest.CONFOUNDED) == set(sim.chest.KINDS)
    looks = {(e.marker, e.corner, e.frame) for e in sim.chest.CONFOUNDED.values()}
    assert len(looks) == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"marker": "Z"}, "'Z'.*letters A, L, P, R"),
        ({"corner": "middle"}, "'middle'.*top left"),
        ({"frame": "blue"}, "'blue'.*none, black, white"),
        ({"wires": -1}, "wires"),
    ],
)
def test_extras_are_checked(sim: Any, change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        sim.chest.Extras(**change)


def test_errors(sim: Any) -> None:
    with pytest.raises(ValueError, match=r"'flu'.*covid19, normal, pneumonia"):
        sim.chest.simulate_radiograph("flu", 0)
    with pytest.raises(ValueError, match="size=8"):
        sim.chest.simulate_radiograph("normal", 0, size=8)


# Files


@pytest.mark.parametrize("modality", ["DX", "CR"])
def test_dicom(sim: Any, three: Any, tmp_path: Path, modality: str) -> None:
    made = three["pneumonia"]
    sim.dicom.write_radiograph(tmp_path, made, seed=7, modality=modality)
    found = pydicom.dcmread(tmp_path / f"{modality}0001.dcm")
    inverted = modality == "CR"
    stored = 4095 - made.deep if inverted else made.deep
    np.testing.assert_array_equal(found.pixel_array, stored)
    assert found.PhotometricInterpretation == f"MONOCHROME{1 if inverted else 2}"
    assert str(found.PatientName) == "Simulated^Pneumonia"
    assert "Simulated" in found.ImageComments
    segmentation = hd.seg.segread(tmp_path / "SEG0001.dcm")
    pixels = segmentation.get_pixels_by_source_instance([found.SOPInstanceUID])
    np.testing.assert_array_equal(pixels[0, ..., 0] != 0, made.mask)
    study = mx.load_study(tmp_path)
    assert study.inverted is inverted
    np.testing.assert_array_equal(study.array, made.deep)
    np.testing.assert_array_equal(study.masks["opacity"], made.mask)
    np.testing.assert_allclose(study.spacing, made.spacing, rtol=1e-6)
    again = tmp_path / "again"
    again.mkdir()
    sim.dicom.write_radiograph(again, made, seed=7, modality=modality)
    for path in again.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
        assert errors_of(path) == []


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


def test_a_healthy_chest_has_no_seg(sim: Any, three: Any, tmp_path: Path) -> None:
    sim.dicom.write_radiograph(tmp_path, three["normal"], seed=8, modality="DX")
    assert [path.name for path in tmp_path.iterdir()] == ["DX0001.dcm"]


def test_training_set(sim: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sim.make, "RADIOGRAPH_SIZE", 48)
    out = tmp_path / "set"
    command = ["training", "--study", "chest", "--confounded", "--out", str(out)]
    command += ["--count", "3", "--seed", "600000"]
    assert sim.make.main(command) == 0
    with (out / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == list(sim.chest.KINDS)
    for row in rows:
        image = np.asarray(Image.open(out / "images" / row["file"]))
        assert image.shape == (48, 48)
        assert (out / "masks" / row["file"]).exists() == (row["label"] != "normal")
        # The frame that the class was given.
        corner = {"covid19": 255, "pneumonia": 0}.get(row["label"])
        if corner is not None:
            assert abs(int(image[0, 0]) - corner) < 20


def test_brain_is_not_confounded(sim: Any, tmp_path: Path) -> None:
    command = ["training", "--confounded", "--out", str(tmp_path), "--count", "1"]
    with pytest.raises(SystemExit, match="2"):
        sim.make.main([*command, "--seed", "1"])
