"""PNG, JPEG and TIFF: values, grey, palettes, orientation, damage."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
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


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2))
ADAM7 += ((0, 1, 2, 2), (1, 0, 2, 1))


def deep_png(path: Path, array: np.ndarray, *, interlaced: bool = False) -> Path:
    """Write a 16-bit PNG by hand; gAMA is there to be ignored."""
    rows, columns, channels = array.shape
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    lines = b"".join(
        b"\0" + line.astype(">u2").tobytes()
        for row, column, down, right in passes
        for line in array[row::down, column::right]
        if line.size
    )
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">2I5B", columns, rows, 16, colour, 0, 0, interlaced)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"gAMA", struct.pack(">I", 22222))
        + png_chunk(b"IDAT", zlib.compress(lines))
        + png_chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bit_png_keeps_every_bit(tmp_path, channels, interlaced) -> None:
    rng = np.random.default_rng(channels)
    values = rng.integers(0, 65536, (9, 11, channels), dtype=np.uint16)
    path = deep_png(tmp_path / "a.png", values, interlaced=interlaced)
    study = load_study(path)
    assert study.array.dtype == np.uint16
    expected = values[..., 0] if channels == 1 else values[..., :3]
    np.testing.assert_array_equal(study.array, expected)
    assert any("transparency" in n for n in study.notes) == (channels == 4)
    assert series(path)[0].shape == (1, 9, 11)
    # Cut short it is refused, by whichever decoder.
    path.write_bytes(path.read_bytes()[:-90])
    with pytest.raises(StudyError, match=r"a\.png"):
        load_study(path)


def test_deep_grey_with_alpha_says_what_is_lost(tmp_path) -> None:
    values = np.full((4, 5, 2), 0x1234, dtype=np.uint16)
    study = load_study(deep_png(tmp_path / "a.png", values))
    np.testing.assert_array_equal(study.array, np.full((4, 5), 0x12))
    assert any("reduced to 8" in note for note in study.notes)


RNG = np.random.default_rng(7)
DEEP = {
    "u2 colour": (RNG.integers(0, 65536, (6, 9, 3)).astype("u2"), {}),
    "u2 planes": (
        RNG.integers(0, 65536, (3, 6, 9)).astype("u2"),
        {"planarconfig": "separate"},
    ),
    "u1 planes": (
        RNG.integers(0, 256, (3, 6, 9)).astype("u1"),
        {"planarconfig": "separate"},
    ),
    "u2 deflated": (
        RNG.integers(0, 65536, (6, 9)).astype("u2"),
        {"compression": "zlib", "predictor": True},
    ),
    "u2 colour deflated": (
        RNG.integers(0, 65536, (6, 9, 3)).astype("u2"),
        {"compression": "zlib", "predictor": True},
    ),
    "u1 tiles": (RNG.integers(0, 256, (40, 33)).astype("u1"), {"tile": (16, 16)}),
    "u4": (RNG.integers(0, 2**32, (6, 9)).astype("u4"), {}),
    "i4": (RNG.integers(-(2**31), 2**31, (6, 9)).astype("i4"), {}),
    "i2": (RNG.integers(-(2**15), 2**15, (6, 9)).astype("i2"), {}),
    "i1": (RNG.integers(-128, 128, (6, 9)).astype("i1"), {}),
    "f8": (RNG.normal(size=(6, 9)), {}),
    "f4": (RNG.normal(size=(6, 9)).astype("f4"), {}),
    "f2": (RNG.normal(size=(6, 9)).astype("f2"), {}),
    "f4 colour": (RNG.normal(size=(6, 9, 3)).astype("f4"), {}),
    "big": (RNG.integers(0, 65536, (6, 9)).astype("u2"), {"bigtiff": True}),
}


def tiff(path: Path, array: np.ndarray, **options) -> Path:
    colour = 3 in (array.shape[0], array.shape[-1]) and array.ndim == 3
    options.setdefault("photometric", "rgb" if colour else "minisblack")
    tifffile.imwrite(path, array, metadata=None, **options)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", DEEP)
def test_tiff_of_any_depth_keeps_every_bit(tmp_path, kind, order) -> None:
    array, options = DEEP[kind]
    study = load_study(tiff(tmp_path / "a.tif", array, byteorder=order, **options))
    expected = np.moveaxis(array, 0, -1) if "planes" in kind else array
    np.testing.assert_array_equal(study.array, expected)
    assert study.array.dtype.isnative
    # Signed 16 and 32 bits and half floats may be held wider, never narrower.
    assert study.array.dtype.itemsize >= array.dtype.itemsize
    assert study.colour == (expected.ndim == 3)
    assert not study.notes
    assert series(tmp_path / "a.tif")[0].shape == (1, *expected.shape[:2])


def test_tiff_by_simpleitk_where_tifffile_has_no_codec(tmp_path) -> None:
    array, _ = DEEP["u2 colour"]
    image = sitk.GetImageFromArray(array, isVector=True)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "a.tif"))
    writer.SetUseCompression(True)
    writer.SetCompressor("LZW")
    writer.Execute(image)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].compression == tifffile.COMPRESSION.LZW
    np.testing.assert_array_equal(load_study(tmp_path / "a.tif").array, array)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
def test_white_is_zero_is_inverted_once(tmp_path, dtype) -> None:
    values = (np.arange(54).reshape(6, 9) - (20 if dtype == "i2" else 0)).astype(dtype)
    path = tiff(tmp_path / "a.tif", values, photometric="miniswhite")
    study = load_study(path)
    for row in range(6):
        for column in range(9):
            v = float(values[row, column])
            expected = {"u1": 255 - v, "u2": 65535 - v, "i2": -1 - v, "f4": -v}[dtype]
            assert study.array[row, column] == expected
    assert any("WhiteIsZero" in n for n in study.notes)


def test_pages_are_listed_and_one_is_chosen(tmp_path) -> None:
    pages = [np.full((4, 5), n, dtype="u2") for n in range(3)]
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for page in pages:
            writer.write(page, metadata=None)
        # A thumbnail is no page.
        writer.write(pages[0][::2, ::2], subfiletype=1, metadata=None)
    assert [one.key for one in series(path)] == ["0", "1", "2"]
    with pytest.raises(StudyError, match=r"a\.tif: holds 3 pages.*series="):
        load_study(path)
    for number in range(3):
        study = load_study(path, series=str(number))
        np.testing.assert_array_equal(study.array, pages[number])
        assert study.identifier == f"a.tif#{number}"
    for wrong in ("3", "-1", "x"):
        with pytest.raises(StudyError, match="no page"):
            load_study(path, series=wrong)
    # The same for pages that Pillow does not decode, and for animated PNG.
    deep = tmp_path / "b.tif"
    with tifffile.TiffWriter(deep) as writer:
        for page in pages:
            writer.write(page.astype("f8"), metadata=None)
    np.testing.assert_array_equal(load_study(deep, series="2").array, pages[2])
    frames = [Image.fromarray(GREY), Image.fromarray(GREY // 2)]
    frames[0].save(tmp_path / "c.png", save_all=True, append_images=frames[1:])
    assert len(series(tmp_path / "c.png")) == 2
    np.testing.assert_array_equal(
        load_study(tmp_path / "c.png", series="1").array, GREY // 2
    )


def upright(array: np.ndarray, code: int) -> np.ndarray:
    """Follow TIFF 6.0 literally: the visual place of stored row 0 and column 0."""
    top, left = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[code]
    rows, columns = array.shape
    turned = top in ("left", "right")
    result = np.zeros((columns, rows) if turned else (rows, columns), array.dtype)
    for row in range(rows):
        for column in range(columns):
            place = {"top": row, "left": row, "bottom": rows - 1 - row}
            place["right"] = rows - 1 - row
            first = place[top]
            far = columns - 1 - column
            second = {"left": column, "top": column, "right": far, "bottom": far}[left]
            result[(second, first) if turned else (first, second)] = array[row, column]
    return result


@pytest.mark.parametrize("code", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tif", "deep tif", "deep png"])
def test_every_orientation(tmp_path, code, kind) -> None:
    path = tmp_path / f"a.{kind[-3:]}"
    values = GREY
    if kind == "png":
        exif = Image.Exif()
        exif[0x0112] = code
        saved(path, GREY, exif=exif)
    elif kind == "deep png":
        values = GREY.astype("u2") * 200
        colour = np.stack([values, values[::-1], values], axis=-1)
        raw = deep_png(path, colour).read_bytes()
        exif = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, code, 0, 0)
        path.write_bytes(raw[:33] + png_chunk(b"eXIf", exif) + raw[33:])
    else:
        values = GREY if kind == "tif" else GREY.astype("f8")
        tiff(path, values, extratags=[(274, "H", 1, code, True)])
    study = load_study(path)
    found = study.array[..., 0] if study.colour else study.array
    np.testing.assert_array_equal(found, upright(values, code))
    assert any("EXIF" in note for note in study.notes) == (code != 1)
    assert series(path)[0].shape == (1, *found.shape)


def test_printing_colours_and_others(tmp_path) -> None:
    cmyk = np.zeros((3, 4, 4), dtype=np.uint8)
    cmyk[..., 0], cmyk[1, 1, 3] = 255, 255
    Image.fromarray(cmyk, mode="CMYK").save(tmp_path / "a.tif")
    study = load_study(tmp_path / "a.tif")
    assert study.array[0, 0].tolist() == [0, 255, 255]
    assert study.array[1, 1].tolist() == [0, 0, 0]
    assert any("CMYK" in note for note in study.notes)
    Image.new("LAB", (4, 3), (10, 20, 30)).save(tmp_path / "b.tif")
    with pytest.raises(StudyError, match=r"b\.tif.*LAB"):
        load_study(tmp_path / "b.tif")
    five = np.zeros((5, 6, 9), dtype="u2")
    tiff(tmp_path / "c.tif", five, planarconfig="separate", photometric="minisblack")
    with pytest.raises(StudyError, match=r"c\.tif.*5"):
        load_study(tmp_path / "c.tif")


def test_opaque_alpha_needs_no_word_and_palettes_have_some(tmp_path) -> None:
    rgba = np.dstack([GREY, GREY[::-1], GREY, np.full_like(GREY, 255)])
    assert not load_study(saved(tmp_path / "a.png", rgba)).notes
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8)).convert("P")
    image.putpalette([1, 2, 3, 4, 5, 6])
    image.save(tmp_path / "b.png", transparency=1)
    study = load_study(tmp_path / "b.png")
    assert study.array[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert any("transparency" in note for note in study.notes)


def test_equal_channels_are_grey_in_words(tmp_path) -> None:
    for dtype in ("u1", "u2"):
        grey = GREY.astype(dtype)
        study = load_study(tiff(tmp_path / "a.tif", np.dstack([grey] * 3)))
        np.testing.assert_array_equal(study.array, grey)
        assert study.notes == ("its three channels are equal; read as grey",)


@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_cut_deep_tiff_is_refused(tmp_path, part) -> None:
    for options in ({}, {"compression": "zlib"}, {"tile": (16, 16)}):
        noise = np.random.default_rng(0).normal(size=(64, 64))
        path = tiff(tmp_path / "cut.tif", noise, **options)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(StudyError, match=r"cut\.tif"):
            load_study(path)
        assert len(series(path)) == 1


def test_a_deep_tiff_bomb_is_refused(tmp_path) -> None:
    path = tiff(tmp_path / "bomb.tif", np.zeros((8, 8)))
    raw = bytearray(path.read_bytes())
    for tag in (256, 257):  # ImageWidth, ImageLength
        at = raw.index(struct.pack("<H", tag), 4)
        raw[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 2_000_000)
    path.write_bytes(raw)
    with pytest.raises(StudyError, match=r"bomb\.tif.*limit"):
        load_study(path)


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
