"""Classes that folders name, and tables that win over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medxai.io import find_cases, load_case

GREY = (np.arange(100, dtype=np.uint8).reshape(10, 10) * 2) + 3


def picture(path: Path, array: np.ndarray = GREY) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def radiographs(root: Path, *classes: str) -> Path:
    """Write the layout of the COVID-19 Radiography Database."""
    for number, name in enumerate(classes):
        for image in ("1.png", "2.png"):
            file = f"{name}-{image}"
            picture(root / name / "images" / file)
            mask = np.zeros_like(GREY)
            mask[number + 1 : 6, 2:9] = 255
            picture(root / name / "masks" / file, np.stack([mask] * 3, axis=-1))
        (root / f"{name}.metadata.xlsx").write_bytes(b"PK\x03\x04")
    (root / "README.md.txt").write_text("about")
    return root


def labels(root: Path, **options) -> dict[str, str | None]:
    return {case.name: case.label for case in find_cases(root, **options).cases}


NAMES = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")


def test_the_layout_of_the_radiography_database(tmp_path) -> None:
    root = radiographs(tmp_path / "COVID-19_Radiography_Dataset", *NAMES)
    # The archive's own folder within another one.
    for top in (root, tmp_path):
        found = find_cases(top)
        assert len(found) == 8
        for case in found.cases:
            name = case.path.parent.parent.name
            assert name in NAMES
            assert (case.label, case.patient) == (name, None)
    assert {one.path.suffix for one in found.skipped} == {".png", ".xlsx", ".txt"}
    study = load_case(found.cases[-1])
    assert found.cases[-1].label == "Viral Pneumonia"
    expected = [[4 <= r < 6 and 2 <= c < 9 for c in range(10)] for r in range(10)]
    np.testing.assert_array_equal(study.masks["mask"], expected)


def test_a_table_wins_and_the_rest_keeps_its_folder(tmp_path) -> None:
    root = radiographs(tmp_path / "db", "COVID", "Normal")
    (root / "labels.csv").write_text("file,label,patient\nCOVID-1.png,doubtful,P9\n")
    found = find_cases(root).cases
    assert [(c.label, c.patient) for c in found] == [
        ("doubtful", "P9"),
        ("COVID", None),
        ("Normal", None),
        ("Normal", None),
    ]
    # A table that was named is the only source of labels.
    only = labels(root, labels=root / "labels.csv")
    assert list(only.values()) == ["doubtful", None, None, None]


def test_folders_that_name_no_class(tmp_path) -> None:
    # One folder alone, and one class folder as the input.
    alone = radiographs(tmp_path / "alone", "COVID")
    assert set(labels(alone).values()) == {None}
    two = radiographs(tmp_path / "two", "COVID", "Normal")
    assert set(labels(two / "COVID").values()) == {None}
    assert set(labels(two / "COVID" / "images").values()) == {None}
    # Data sets side by side, of which one has its own table.
    both = radiographs(tmp_path / "both", "mri", "xray")
    (both / "mri" / "labels.csv").write_text("file,label\nmri-1.png,glioma\n")
    assert list(labels(both).values()) == ["glioma", None, None, None]
    # Folders that hold no "images", whatever they are called.
    for name in ("a", "b"):
        picture(tmp_path / "flat" / name / "1.png")
    assert set(labels(tmp_path / "flat").values()) == {None}


@pytest.mark.parametrize(
    "parts", [("train", "test"), ("Training", "Validation"), ("fold1", "fold2")]
)
def test_parts_of_a_split_are_no_classes(tmp_path, parts) -> None:
    assert set(labels(radiographs(tmp_path / "d", *parts)).values()) == {None}
    # Classes below them are.
    for part in parts:
        radiographs(tmp_path / "e" / part, "sick", "well")
    assert set(labels(tmp_path / "e").values()) == {"sick", "well"}


def test_hidden_folders_are_no_siblings(tmp_path) -> None:
    root = radiographs(tmp_path / "d", "COVID", ".Normal")
    assert set(labels(root).values()) == {None}


def test_masks_of_another_size_as_the_database_has_them(tmp_path) -> None:
    """Images of 299 x 299 with masks of 256 x 256, by the centre of each pixel."""
    small = np.zeros((256, 256), dtype=np.uint8)
    small[60:130, 20:201] = 255
    for name in ("COVID", "Normal"):
        image = np.arange(299 * 299, dtype=np.uint32).reshape(299, 299) % 251
        picture(tmp_path / name / "images" / "1.png", image.astype(np.uint8))
        picture(tmp_path / name / "masks" / "1.png", np.stack([small] * 3, axis=-1))
    case = find_cases(tmp_path).cases[1]
    study = load_case(case)
    assert case.label == "Normal"
    expected = np.zeros((299, 299), dtype=bool)
    for row in range(299):
        for column in range(299):
            y, x = ((at + 0.5) * 256 / 299 for at in (row, column))
            expected[row, column] = small[int(y), int(x)] > 0
    np.testing.assert_array_equal(study.masks["mask"], expected)
    assert any("256 x 256" in note for note in study.notes)
