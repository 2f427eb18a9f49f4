"""RTSTRUCT: contours on the right slice, the right pixels, and of the right study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from dicom_files import AXIAL, SECRETS, dataset, save, uid, volume, write_stack
from napari_medxai.errors import StudyError
from napari_medxai.io import load_study
from truth_files import Drawn, Ellipsoid, rtstruct, segmentation

OBLIQUE = (0.9541666, -0.2080757, 0.2151061, 0.2785886, 0.880128, -0.3843997)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
SPACING = (0.75, 0.5)  # as dicom_files writes it: rows, columns
ORIGIN = np.array([-20.0, 10.0, 30.0])


def directions(orientation) -> tuple[NDArray, NDArray, NDArray]:
    along = np.array(orientation, dtype=float).reshape(2, 3)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    return along[1], along[0], np.cross(along[0], along[1])


def points(slice_: float, pixels, orientation=AXIAL, step=2.5, shear=0.0) -> NDArray:
    """Millimetres of (row, column) pixels in the plane of a slice."""
    down, across, normal = directions(orientation)
    rows, columns = np.array(pixels, dtype=float).T
    place = ORIGIN + slice_ * (step * normal + shear * down)
    return (
        place
        + rows[:, None] * SPACING[0] * down
        + columns[:, None] * (SPACING[1] * across)
    )


SQUARE = [(0.6, 1.5), (0.6, 4.5), (3.4, 4.5), (3.4, 1.5)]


def square() -> NDArray[np.bool_]:
    mask = np.zeros((6, 7), dtype=bool)
    mask[1:4, 2:5] = True
    return mask


def dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


def shell(orientation, shape=(14, 40, 52)) -> tuple[Ellipsoid, Ellipsoid, NDArray]:
    """An ellipsoid with a hole, turned against the grid, and all pixel centres."""
    down, across, normal = directions(orientation)
    k, r, c = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    centres = (
        ORIGIN
        + k[..., None] * 2.5 * normal
        + r[..., None] * SPACING[0] * down
        + c[..., None] * SPACING[1] * across
    )
    middle = centres.reshape(-1, 3).mean(axis=0) + np.array([0.31, -0.17, 0.23])
    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    outer = Ellipsoid(middle, np.diag([1 / 12.3, 1 / 9.7, 1 / 8.1]) @ turn)
    inner = Ellipsoid(
        middle + np.array([0.7, 0.3, -0.4]), np.diag([0.2, 0.25, 0.3]) @ turn
    )
    return outer, inner, centres


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, SAGITTAL])
def test_rtstruct_and_seg_of_one_structure_agree(tmp_path, orientation) -> None:
    outer, inner, centres = shell(orientation)
    truth = outer.contains(centres) & ~inner.contains(centres)
    files = write_stack(
        tmp_path / "ct",
        np.zeros(truth.shape, np.int16),
        orientation=orientation,
        order=[(5 * k) % 14 for k in range(14)],
    )
    down, across, _ = directions(orientation)
    cuts = [
        Drawn(cut)
        for surface in (outer, inner)
        for plane in centres[:, 0, 0]
        if (cut := surface.cut(plane, across, down)) is not None
    ]
    rtstruct(files, {"shell": cuts}, tmp_path / "rt.dcm")
    segmentation(files, {"shell": truth}, tmp_path / "seg.dcm")
    drawn = load_study(tmp_path / "ct", masks=tmp_path / "rt.dcm").masks["shell"]
    segmented = load_study(tmp_path / "ct", masks=tmp_path / "seg.dcm").masks["shell"]
    np.testing.assert_array_equal(segmented, truth)
    holes = (outer.contains(centres) & ~drawn)[inner.contains(centres)]
    assert truth.sum() > 3000
    assert holes.sum() > 100
    # 240 points stand for each ellipse; nothing else may differ.
    assert dice(drawn, segmented) >= 0.995


def test_tilted_slices_against_a_slow_way(tmp_path) -> None:
    """Each pixel's centre in mm is tested against the ellipse's own formula."""
    step = np.array([0.0, 0.6, 2.4])  # a tilted gantry
    files = write_stack(tmp_path, np.zeros((5, 20, 24), np.int16), step=step)
    middle = ORIGIN + np.array([6.1, 8.3, 4.8])
    ball = Ellipsoid(middle, np.eye(3) / 4.6)
    planes = [ORIGIN + k * step for k in range(5)]
    cuts = [ball.cut(plane, *np.eye(3)[:2]) for plane in planes]
    rtstruct(
        files, {"ball": [Drawn(c) for c in cuts if c is not None]}, tmp_path / "rt.dcm"
    )
    expected = np.zeros((5, 20, 24), dtype=bool)
    for k in range(5):
        for r in range(20):
            for c in range(24):
                centre = planes[k] + [c * SPACING[1], r * SPACING[0], 0]
                expected[k, r, c] = np.linalg.norm(centre - middle) <= 4.6
    mask = load_study(tmp_path).masks["ball"]
    assert expected.sum() > 300
    assert dice(mask, expected) >= 0.99
    assert (mask != expected).sum() <= 4


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, SAGITTAL])
@pytest.mark.parametrize("reverse", [False, True])
def test_contours_go_to_their_slice(tmp_path, orientation, reverse) -> None:
    files = write_stack(
        tmp_path,
        volume(),
        orientation=orientation,
        order=[3, 0, 4, 1, 2],
        reverse_numbers=reverse,
    )
    rois = {
        "one": [Drawn(points(3, SQUARE, orientation))],
        "two": [Drawn(points(0, SQUARE, orientation)[::-1])],
    }
    rtstruct(files, rois, tmp_path / "rt.dcm")
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.array, volume())
    assert list(study.masks) == ["one", "two"]
    for name, place in (("one", 3), ("two", 0)):
        expected = np.zeros((5, 6, 7), dtype=bool)
        expected[place] = square()
        np.testing.assert_array_equal(study.masks[name], expected)
    assert not [note for note in study.notes if "RTSTRUCT" in note]


@pytest.mark.parametrize(
    ("offset", "found", "said"),
    [
        (0.02, 2, None),
        (0.4, 2, "between slices and were put on the nearest"),
        (-0.45, 2, "between slices and were put on the nearest"),
        (0.6, 3, "between slices and were put on the nearest"),
        (2.4, 4, "between slices and were put on the nearest"),
    ],
)
def test_contours_between_slices_go_to_the_nearest(
    tmp_path, offset, found, said
) -> None:
    files = write_stack(tmp_path, volume())
    rtstruct(files, {"one": [Drawn(points(2 + offset, SQUARE))]}, tmp_path / "rt.dcm")
    study = load_study(tmp_path)
    expected = np.zeros((5, 6, 7), dtype=bool)
    expected[found] = square()
    np.testing.assert_array_equal(study.masks["one"], expected)
    notes = [note for note in study.notes if "RTSTRUCT" in note]
    assert bool(notes) == bool(said)
    assert said is None or said in notes[0]


def test_finer_contours_make_no_holes(tmp_path) -> None:
    files = write_stack(tmp_path, volume())
    fine = [Drawn(points(k, SQUARE)) for k in np.arange(0.8, 3.3, 0.2)]
    rtstruct(files, {"one": fine}, tmp_path / "rt.dcm")
    study = load_study(tmp_path)
    expected = np.zeros((5, 6, 7), dtype=bool)
    expected[1:4] = square()
    np.testing.assert_array_equal(study.masks["one"], expected)
    assert any("a nearer one was taken" in note for note in study.notes)


def test_what_is_no_area_is_ignored_and_said(tmp_path) -> None:
    files = write_stack(tmp_path, volume())
    good = Drawn(points(1, SQUARE))
    slanted = points(1, SQUARE)
    slanted[:2, 2] += 6
    rois = {
        "tumour": [
            good,
            good,  # twice the same would cancel
            Drawn(points(2, SQUARE)[:1], kind="POINT"),
            Drawn(points(2, SQUARE), kind="OPEN_PLANAR"),
            Drawn(points(2, SQUARE)[:2]),
            Drawn(points(9, SQUARE)),
            Drawn(slanted),
        ],
        "seeds": [Drawn(points(2, SQUARE)[:1], kind="POINT")],
        "empty": [],
    }
    rtstruct(files, rois, tmp_path / "rt.dcm")
    study = load_study(tmp_path)
    assert list(study.masks) == ["tumour"]
    expected = np.zeros((5, 6, 7), dtype=bool)
    expected[1] = square()
    np.testing.assert_array_equal(study.masks["tumour"], expected)
    text = "\n".join(study.notes)
    for said in (
        "2 contour(s) of type POINT",
        "1 contour(s) of type OPEN_PLANAR",
        "1 contour(s) of fewer than three points",
        "1 contour(s) that were there twice",
        "1 contour(s) lie on no slice",
        "1 contour(s) do not run parallel",
        "2 ROI without a closed contour",
    ):
        assert said in text


def test_a_contour_beyond_the_image_is_cut(tmp_path) -> None:
    files = write_stack(tmp_path, volume())
    wide = [(-9.0, -9.0), (-9.0, 3.5), (2.5, 3.5), (2.5, -9.0)]
    rtstruct(files, {"one": [Drawn(points(1, wide))]}, tmp_path / "rt.dcm")
    study = load_study(tmp_path)
    expected = np.zeros((5, 6, 7), dtype=bool)
    expected[1, :3, :4] = True
    np.testing.assert_array_equal(study.masks["one"], expected)
    assert any("beyond the images" in note for note in study.notes)


def test_a_single_slice_takes_its_own_contours(tmp_path) -> None:
    files = write_stack(tmp_path, volume())
    drawn = [Drawn(points(k, SQUARE)) for k in (1, 2)]
    rtstruct(files, {"one": drawn}, tmp_path / "rt" / "rt.dcm")
    for k, there in ((0, False), (1, True), (2, True)):
        study = load_study(files[k], masks=tmp_path / "rt")
        np.testing.assert_array_equal(study.masks["one"], square() & there)
        assert any("on no slice of these" in note for note in study.notes)


@pytest.mark.parametrize("named", [False, True])
def test_of_another_series_is_refused(tmp_path, named) -> None:
    write_stack(tmp_path / "ct", volume(), series="one")
    other = write_stack(tmp_path / "two", volume(), series="two")
    # In the same frame of reference and at the same place.
    path = rtstruct(other, {"one": [Drawn(points(1, SQUARE))]}, tmp_path / "rt.dcm")
    if named:
        with pytest.raises(StudyError, match=r"rt\.dcm: it refers to other images"):
            load_study(tmp_path / "ct", masks=path)
    else:
        path.rename(tmp_path / "ct" / "rt.dcm")
        study = load_study(tmp_path / "ct" / "IM000.dcm")
        assert not study.masks
        assert "1 RTSTRUCT not used: it refers to other images" in study.notes


def test_of_another_frame_of_reference_is_refused(tmp_path) -> None:
    files = write_stack(tmp_path, volume())
    path = rtstruct(
        files,
        {"one": [Drawn(points(1, SQUARE))]},
        tmp_path / "rt.dcm",
        frame=uid("another"),
    )
    study = load_study(tmp_path)
    assert not study.masks
    assert any("in another frame of reference" in note for note in study.notes)
    with pytest.raises(StudyError, match="in another frame of reference"):
        load_study(tmp_path, masks=path)
    rtstruct(
        files,
        {"one": [Drawn(points(1, SQUARE))]},
        path,
        frame=uid("another"),
        refer=False,
    )
    with pytest.raises(StudyError, match="in another frame of reference"):
        load_study(tmp_path, masks=path)


def test_an_invented_frame_of_reference_where_contours_name_their_image(
    tmp_path,
) -> None:
    files = write_stack(tmp_path, volume())
    images = [str(pydicom.dcmread(file).SOPInstanceUID) for file in files]
    drawn = [Drawn(points(1, SQUARE), image=images[1])]
    path = tmp_path / "rt.dcm"
    rtstruct(files, {"one": drawn}, path, frame=uid("invented"))
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.masks["one"][1], square())
    assert any("name these images and lie in their planes" in n for n in study.notes)
    # Named, but not where that image lies.
    moved = [Drawn(points(1.3, SQUARE), image=images[1])]
    rtstruct(files, {"one": moved}, path, frame=uid("invented"))
    with pytest.raises(StudyError, match="in another frame of reference"):
        load_study(tmp_path, masks=path)


def test_references_by_contour_alone_or_by_frame_alone(tmp_path) -> None:
    files = write_stack(tmp_path, volume())
    image = str(pydicom.dcmread(files[1]).SOPInstanceUID)
    path = tmp_path / "rt.dcm"
    for drawn in (Drawn(points(1, SQUARE), image=image), Drawn(points(1, SQUARE))):
        rtstruct(files, {"one": [drawn]}, path, refer=False)
        np.testing.assert_array_equal(load_study(tmp_path).masks["one"][1], square())
    rtstruct(files, {"one": [Drawn(points(1, SQUARE))]}, path, refer=False, frame="")
    with pytest.raises(StudyError, match="does not say to which images"):
        load_study(tmp_path, masks=path)


def test_a_contour_that_names_another_slice_is_said(tmp_path) -> None:
    files = write_stack(tmp_path, volume())
    image = str(pydicom.dcmread(files[4]).SOPInstanceUID)
    drawn = [Drawn(points(1, SQUARE), image=image)]
    rtstruct(files, {"one": drawn}, tmp_path / "rt.dcm")
    study = load_study(tmp_path)
    np.testing.assert_array_equal(study.masks["one"][1], square())
    assert any("name another image" in note for note in study.notes)


def test_names_are_unique_and_not_the_patients(tmp_path) -> None:
    files = write_stack(tmp_path, volume())
    drawn = [Drawn(points(1, SQUARE))]
    path = rtstruct(files, dict.fromkeys("abcdef", drawn), tmp_path / "rt.dcm")
    rt = pydicom.dcmread(path)
    names = ["GTV", "GTV", "JaneDoe tumour", "gtv 4711-id", "", "Doe,  Jane"]
    for item, name in zip(rt.StructureSetROISequence, names, strict=True):
        item.ROIName = name
    rt.save_as(path)
    study = load_study(tmp_path)
    assert list(study.masks) == ["GTV", "GTV 2", "ROI 3", "ROI 4", "ROI 5", "ROI 6"]


@pytest.mark.parametrize("how", ["points", "text", "roi", "bytes", "none", "far"])
def test_damaged_and_useless_files_say_why(tmp_path, how) -> None:
    files = write_stack(tmp_path / "Doe", volume())
    path = rtstruct(
        files, {"Doe": [Drawn(points(1, SQUARE))]}, tmp_path / "Doe" / "rt.dcm"
    )
    rt = pydicom.dcmread(path)
    contour = rt.ROIContourSequence[0].ContourSequence[0]
    if how == "points":
        contour.ContourData = list(contour.ContourData)[:-1]
    elif how == "text":
        contour.add_new("ContourData", "LO", "no numbers")
    elif how == "roi":
        del rt.ROIContourSequence[0].ReferencedROINumber
    elif how == "none":
        del rt.ROIContourSequence
    elif how == "far":
        contour.ContourData = [float(v) + 400 for v in contour.ContourData]
    rt.save_as(path)
    if how == "bytes":
        path.write_bytes(path.read_bytes()[:-150])
    with pytest.raises(StudyError, match=r"rt\.dcm") as caught:
        load_study(tmp_path / "Doe", masks=path)
    expected = {
        "points": "no points of three",
        "none": "no closed contour",
        "far": "none of its contours lies on the images",
    }.get(how, "cannot be read|no points|no closed contour")
    assert caught.match(expected)
    assert not any(secret in str(caught.value) for secret in SECRETS)
    if how in {"none", "far"}:
        study = load_study(tmp_path / "Doe")
        assert not study.masks
        notes = "\n".join(study.notes)
        assert expected in notes
        assert not any(secret in notes for secret in SECRETS)
        assert "rt.dcm" not in notes


def test_images_without_position_take_no_contours(tmp_path) -> None:
    ds = dataset(volume(1)[0], position=None, orientation=None, modality="CR")
    film = save(ds, tmp_path / "film.dcm")
    path = rtstruct([film], {"one": [Drawn(points(0, SQUARE))]}, tmp_path / "rt.dcm")
    with pytest.raises(StudyError, match="do not say where they lie"):
        load_study(film, masks=path)


def test_hundreds_of_contours(tmp_path) -> None:
    """Rings side by side in every slice: each is filled, none is mixed up."""
    files = write_stack(tmp_path, np.zeros((6, 64, 64), np.int16))
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    drawn, expected = [], np.zeros((6, 64, 64), dtype=bool)
    rows, columns = np.mgrid[:64, :64]
    for k in range(6):
        for row in range(4, 64, 8):
            for column in range(4, 64, 8):
                for radius in (3.3, 1.6):
                    ring = np.stack([np.sin(turn), np.cos(turn)], axis=1) * radius
                    drawn.append(
                        Drawn(points(k, ring + np.array([row + 0.2, column - 0.3])))
                    )
                    expected[k] ^= (
                        np.hypot(rows - row - 0.2, columns - column + 0.3) < radius
                    )
    assert len(drawn) == 768
    rtstruct(files, {"rings": drawn}, tmp_path / "rt.dcm")
    assert dice(load_study(tmp_path).masks["rings"], expected) > 0.99


def outline_area(path: Path, number: int, height: float) -> float:
    """Area in mm2 of the contours of a ROI at a height, by the shoelace formula."""
    total = 0.0
    for item in pydicom.dcmread(path).ROIContourSequence:
        for contour in item.ContourSequence:
            x, y, z = np.array(contour.ContourData, dtype=float).reshape(-1, 3).T
            if item.ReferencedROINumber == number and abs(z[0] - height) < 0.1:
                total += abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    return total


def test_real_structure_sets(shared_data) -> None:
    folder = shared_data / "dicom" / "rtstruct" / "tests"
    images = folder / "mock_data"
    for name in ("invalid_reference_rt", "non_existent_reference_rt"):
        path = images / f"{name}.dcm"
        study = load_study(images, masks=path)
        assert list(study.masks) == ["ROI-1", "ROI-2", "ROI-3", "ROI-4"]
        # Its contours at 70 mm belong to an image that is not here.
        assert any("4 contour(s) lie on no slice" in note for note in study.notes)
        for number, mask in enumerate(study.masks.values(), start=1):
            for k, height in enumerate((60, 65)):
                area = mask[k].sum() * 0.488281**2
                assert area == pytest.approx(
                    outline_area(path, number, height), rel=0.03
                )
    # A square with a hole, in a frame of reference that the writer invented.
    study = load_study(images, masks=images / "rt.dcm")
    assert any("another frame of reference" in note for note in study.notes)
    mask = study.masks["ROI-1"]
    rt = pydicom.dcmread(images / "rt.dcm")
    outer, inner = (
        Outline(np.array(contour.ContourData, dtype=float).reshape(-1, 3)[:, :2])
        for contour in rt.ROIContourSequence[0].ContourSequence
    )
    place = -125 + 0.488281 * np.arange(512)
    centres = np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 2)
    ring = outer.contains_points(centres) & ~inner.contains_points(centres)
    assert ring.sum() > 1000
    np.testing.assert_array_equal(mask[0], ring.reshape(512, 512))
    assert not mask[1].any()
    empty = folder / "empty" / "dummy_rt.dcm"
    with pytest.raises(StudyError, match="refers to other images"):
        load_study(folder / "oriented_data", masks=empty)
    with pytest.raises(StudyError, match="only RTSTRUCT"):
        load_study(folder / "empty")
