"""PNG, JPEG and TIFF: values, grey, palettes, orientation, damage."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medxai.errors import StudyError
from napari_medxai.io import load_study, series

GREY = np.arange(60, dtype=np.uint8).reshape(6, 10) * 4


def saved(path: Path, array: np.ndarray, mode: str | None = None, **options) -> Path:
    image = Image.fromarray(array)
    if mode is not None:
        image = image.convert(mode)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("extension", ["png", "tif", "bmp", "PNG"])
def test_grey_is_read_exactly_and_without_geometry(tmp_path, extension) -> None:
    path = saved(tmp_path / f"a.{extension}", GREY)
    study = load_study(path)
    np.testing.assert_array_equal(study.array, GREY)
    assert study.array.dtype == np.uint8
    assert study.affine_lps is None
    assert study.spacing is None
    assert study.codes is None
    assert study.identifier == path.name
    assert study.files == (path,)
    assert not study.notes


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_sixteen_bits_are_kept(tmp_path, extension) -> None:
    deep = (GREY.astype(np.uint16) * 257) ^ 3
    study = load_study(saved(tmp_path / f"a.{extension}", deep))
    assert study.array.dtype == np.uint16
    np.testing.assert_array_equal(study.array, deep)


def test_float_tiff_with_nan_is_noted(tmp_path) -> None:
    values = GREY.astype(np.float32) / 7
    values[2, 3] = np.nan
    study = load_study(saved(tmp_path / "a.tif", values))
    np.testing.assert_array_equal(study.array, values)
    assert any("1 values are not finite" in note for note in study.notes)


def test_one_bit_becomes_bytes(tmp_path) -> None:
    study = load_study(saved(tmp_path / "a.png", GREY > 100, mode="1"))
    assert study.array.dtype == np.uint8
    np.testing.assert_array_equal(study.array, np.where(GREY > 100, 255, 0))


def test_grey_in_three_channels_is_grey_and_colour_is_colour(tmp_path) -> None:
    rgb = np.stack([GREY, GREY, GREY], axis=-1)
    grey = load_study(saved(tmp_path / "grey.png", rgb))
    assert not grey.colour
    np.testing.assert_array_equal(grey.array, GREY)
    rgb[5, 9, 2] ^= 1
    colour = load_study(saved(tmp_path / "colour.png", rgb))
    assert colour.colour
    assert colour.shape == GREY.shape
    np.testing.assert_array_equal(colour.array, rgb)


def test_alpha_is_dropped_with_a_note(tmp_path) -> None:
    rgba = np.stack([GREY, GREY[::-1], GREY, GREY], axis=-1)
    study = load_study(saved(tmp_path / "a.png", rgba))
    np.testing.assert_array_equal(study.array, rgba[..., :3])
    assert any("transparency" in note for note in study.notes)
    two = load_study(saved(tmp_path / "b.png", rgba[..., [0, 3]].copy()))
    np.testing.assert_array_equal(two.array, GREY)


def test_palette_is_resolved(tmp_path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8))
    image = image.convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "a.png")
    study = load_study(tmp_path / "a.png")
    assert study.colour
    assert study.array.tolist() == [
        [[10, 20, 30], [40, 50, 60]],
        [[70, 80, 90], [40, 50, 60]],
    ]


@pytest.mark.parametrize(
    ("code", "turn"),
    [
        (3, lambda a: np.rot90(a, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a, 1)),
        (5, lambda a: a.T),
    ],
)
def test_exif_orientation_is_applied(tmp_path, code, turn) -> None:
    exif = Image.Exif()
    exif[0x0112] = code
    path = saved(tmp_path / "a.png", GREY, exif=exif)
    study = load_study(path)
    np.testing.assert_array_equal(study.array, turn(GREY))
    assert any("EXIF" in note for note in study.notes)
    assert series(path)[0].shape == (1, *study.array.shape)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def test_deep_colour_is_noted(tmp_path) -> None:
    rows = b"".join(
        b"\0" + struct.pack(">6H", *(257 * v for v in (1, 2, 3, 4, 5, 6)))
        for _ in range(2)
    )
    header = struct.pack(">2I5B", 2, 2, 16, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )
    study = load_study(tmp_path / "a.png")
    assert study.array[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert any("16 bits" in note for note in study.notes)


def test_a_bomb_is_refused(tmp_path) -> None:
    header = struct.pack(">2I5B", 60000, 60000, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + png_chunk(b"IEND", b"")
    )
    with pytest.raises(StudyError, match=r"bomb\.png.*limit"):
        load_study(path)


@pytest.mark.parametrize("extension", ["png", "jpg", "tif"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.9])
def test_cut_files_are_refused_by_name(tmp_path, extension, part) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = saved(tmp_path / f"cut.{extension}", noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(StudyError, match=rf"cut\.{extension}"):
        load_study(path)
    # What is listed must not raise: it fails when it is opened.
    assert len(series(path)) == 1


def test_several_pages_and_strange_files(tmp_path) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(GREY)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(StudyError, match="2 pages"):
        load_study(tmp_path / "a.tif")
    (tmp_path / "notes.xyz").write_text("hello")
    with pytest.raises(StudyError, match="no format"):
        load_study(tmp_path / "notes.xyz")
    with pytest.raises(StudyError, match="no such file"):
        load_study(tmp_path / "absent.png")
    saved(tmp_path / "b.png", GREY)
    with pytest.raises(StudyError, match="no series 'x'"):
        load_study(tmp_path / "b.png", series="x")


def test_real_brain_slice(shared_data) -> None:
    folder = shared_data / "brain-tumor-mri-512"
    path = sorted((folder / "images").iterdir())[0]
    study = load_study(path)
    with Image.open(path) as image:
        np.testing.assert_array_equal(study.array, np.asarray(image.convert("L")))
    with Image.open(folder / "masks" / path.name) as image:
        expected = np.asarray(image.convert("L")) > 0
    np.testing.assert_array_equal(study.masks["mask"], expected)
    assert expected.any()
