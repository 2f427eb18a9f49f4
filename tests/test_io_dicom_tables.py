"""Lookup tables of DICOM: modality, VOI, palette; by pydicom and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian

from dicom_files import dataset, save
from napari_medxai.errors import StudyError
from napari_medxai.io.dicom_pixels import read_pixels
from napari_medxai.io.dicom_tables import Table, read_table

CHANNELS = ("Red", "Green", "Blue")


def table_item(values, *, first=0, bits=16, vr="US", kind="<u2") -> Dataset:
    item = Dataset()
    descriptor_vr = "SS" if first < 0 else "US"
    item.add_new("LUTDescriptor", descriptor_vr, [len(values), first, bits])
    listed = [int(v) for v in values]
    data = np.array(listed, dtype=kind).tobytes() if vr == "OW" else listed
    item.add_new("LUTData", vr, data)
    return item


def palette_image(stored, tables, *, first=0, bits=16, segmented=0, kind="<u2"):
    ds = dataset(stored, photometric="PALETTE COLOR")
    count = segmented or len(tables[0])
    for name, values in zip(CHANNELS, tables, strict=True):
        vr = "SS" if first < 0 else "US"
        descriptor = [count % 2**16, first, bits]
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", vr, descriptor)
        data = np.array(values, dtype=kind).tobytes()
        prefix = "Segmented" if segmented else ""
        keyword = f"{prefix}{name}PaletteColorLookupTableData"
        ds.add_new(keyword, "OW", data + b"\0" * (len(data) % 2))
    return ds


def save_big(ds, path):
    """Write values that are big-endian already."""
    ds.set_original_encoding(is_implicit_vr=False, is_little_endian=False)
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    return save(ds, path)


def slow(stored, tables, first, shift):
    """Colours one pixel at a time."""
    result = np.empty((*stored.shape, 3), dtype=np.uint8)
    for place, value in np.ndenumerate(stored):
        for channel, values in enumerate(tables):
            index = min(max(int(value) - first, 0), len(values) - 1)
            result[(*place, channel)] = int(values[index]) >> shift
    return result


@pytest.mark.parametrize("first", [0, 5, -3])
@pytest.mark.parametrize(("bits", "kind"), [(8, "u1"), (16, "<u2")])
def test_a_palette(tmp_path, first, bits, kind) -> None:
    rng = np.random.default_rng(bits)
    dtype = np.int16 if first < 0 else np.uint8
    stored = rng.integers(-5 if first < 0 else 0, 40, (6, 7)).astype(dtype)
    tables = rng.integers(0, 2**bits, (3, 20))
    ds = palette_image(stored, tables, first=first, bits=bits, kind=kind)
    pixels = read_pixels(save(ds, tmp_path / "a.dcm"), [0])
    assert pixels.array.dtype == np.uint8
    expected = slow(stored, tables, first, bits - 8)
    np.testing.assert_array_equal(pixels.array[0], expected)
    np.testing.assert_array_equal(apply_color_lut(stored, ds) >> (bits - 8), expected)


def test_a_palette_of_more_entries_than_a_byte_counts(tmp_path) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 4096, (9, 9)).astype(np.uint16)
    tables = rng.integers(0, 256, (3, 4096))
    ds = palette_image(stored, tables, bits=8, kind="u1")
    array = read_pixels(save(ds, tmp_path / "a.dcm"), [0]).array
    np.testing.assert_array_equal(array[0], slow(stored, tables, 0, 0))


def test_a_palette_of_as_many_entries_as_there_are_values(tmp_path) -> None:
    stored = np.array([[0, 65535], [1, 40000]], dtype=np.uint16)
    ramp = np.arange(65536)
    ds = palette_image(stored, [ramp, ramp[::-1], ramp])
    array = read_pixels(save(ds, tmp_path / "a.dcm"), [0]).array
    np.testing.assert_array_equal(array[0, ..., 0], stored >> 8)
    np.testing.assert_array_equal(array[0, ..., 1], (65535 - stored) >> 8)


def test_eight_bit_colours_in_sixteen_bit_entries(tmp_path) -> None:
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3)
    tables = np.array([[0, 50, 255, 7, 8, 9]] * 3)
    ds = palette_image(stored, tables, bits=16)
    array = read_pixels(save(ds, tmp_path / "a.dcm"), [0]).array
    np.testing.assert_array_equal(array[0], slow(stored, tables, 0, 0))


def test_a_palette_of_a_big_endian_file(tmp_path) -> None:
    stored = np.arange(6, dtype=np.uint16).reshape(2, 3)
    tables = np.array([[0, 9000, 65535, 700, 32768, 255]] * 3)
    ds = palette_image(stored.astype(">u2"), tables, kind=">u2")
    array = read_pixels(save_big(ds, tmp_path / "a.dcm"), [0]).array
    np.testing.assert_array_equal(array[0], slow(stored, tables, 0, 8))


SEGMENTS = [
    # Two entries, a rising line, a falling line, one entry.
    [0, 2, 10, 20, 1, 5, 100, 1, 3, 40, 0, 1, 250],
    [0, 1, 0, 1, 254, 254],
]


@pytest.mark.parametrize("words", SEGMENTS)
@pytest.mark.parametrize(("bits", "kind"), [(8, "u1"), (16, "<u2")])
def test_a_segmented_palette(tmp_path, words, bits, kind) -> None:
    """As pydicom expands it."""
    values = list(words)
    if bits == 16:
        values = [0, 2, 100, 30000, 1, 7, 65535, 1, 3, 40, 0, 1, 250]
    count = {13: 11, 6: 255}[len(words)] if bits == 8 else 13
    stored = np.arange(count + 3, dtype=np.uint16).reshape(1, -1)
    ds = palette_image(stored, [values] * 3, bits=bits, segmented=count, kind=kind)
    array = read_pixels(save(ds, tmp_path / "a.dcm"), [0]).array
    expected = apply_color_lut(np.minimum(stored, count - 1), ds)
    np.testing.assert_array_equal(array[0], expected >> (bits - 8))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_segmented_palette_that_repeats_itself(tmp_path, bits, byteorder) -> None:
    """An indirect segment names its target by a byte offset, lower word first."""
    head = [0, 2, 10, 200, 1, 4, 100]
    # Two segments from the first on, then one from the line on.
    if bits == 16:
        kind, tail = f"{byteorder}u2", [2, 2, 0, 0, 2, 1, 8, 0]
    else:
        kind, tail = "u1", [2, 2, 0, 0, 0, 0, 2, 1, 4, 0, 0, 0]
    words = head + tail
    if kind == "u1" and byteorder == ">":
        # Bytes lie in words, and the words are turned.
        words = np.array([*words, 0]).reshape(-1, 2)[:, ::-1].ravel().tolist()
    write = save if byteorder == "<" else save_big
    first = second = [10, 200, 175, 150, 125, 100]
    expected = np.array([*first, *second, 100, 100, 100, 100])
    stored = np.arange(len(expected), dtype=np.uint16).reshape(1, -1)
    ds = palette_image(
        stored.astype(f"{byteorder}u2"),
        [words] * 3,
        bits=bits,
        segmented=len(expected),
        kind=kind,
    )
    array = read_pixels(write(ds, tmp_path / "a.dcm"), [0]).array
    np.testing.assert_array_equal(array[0, 0, :, 0], expected)


@pytest.mark.parametrize(
    "words",
    [
        [],
        [1, 3, 40],  # begins with a line
        [0, 9, 1, 2],  # cut short
        [7, 1, 0],  # of no known kind
        [0, 1, 5, 2, 1, 3, 0],  # refers to the middle of a segment
        [0, 1, 5, 2, 1, 6, 0],  # refers to itself
    ],
)
def test_a_damaged_segmented_palette_is_refused(tmp_path, words) -> None:
    stored = np.zeros((2, 2), dtype=np.uint8)
    ds = palette_image(stored, [words] * 3, segmented=4)
    with pytest.raises(StudyError, match=r"a\.dcm"):
        read_pixels(save(ds, tmp_path / "a.dcm"), [0])


def test_a_palette_image_without_palette_is_refused(tmp_path) -> None:
    ds = dataset(np.zeros((2, 2), dtype=np.uint8), photometric="PALETTE COLOR")
    with pytest.raises(StudyError, match=r"a\.dcm"):
        read_pixels(save(ds, tmp_path / "a.dcm"), [0])


@pytest.mark.parametrize("first", [0, 1000, -20])
@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_modality_table(tmp_path, first, vr, bits) -> None:
    rng = np.random.default_rng(bits)
    values = rng.integers(0, 2**bits, 50)
    dtype = np.int16 if first < 0 else np.uint16
    stored = rng.integers(max(first - 5, -30), first + 60, (8, 9)).clip(
        0 if first >= 0 else None
    )
    ds = dataset(
        stored.astype(dtype),
        ModalityLUTSequence=Sequence(
            [table_item(values, first=first, bits=bits, vr=vr)]
        ),
    )
    array = read_pixels(save(ds, tmp_path / "a.dcm"), [0]).array
    expected = [[values[min(max(v - first, 0), 49)] for v in row] for row in stored]
    np.testing.assert_array_equal(array[0], expected)
    if bits == 16:
        np.testing.assert_array_equal(
            array[0], apply_modality_lut(stored.astype(np.int32), ds)
        )


def test_a_modality_table_of_an_inverted_image(tmp_path) -> None:
    """Stored values are inverted once, then looked up; the window cannot follow."""
    table = table_item([10, 30, 20, 99])
    ds = dataset(
        np.array([[0, 1], [2, 3]], dtype=np.uint8),
        bits=2,
        photometric="MONOCHROME1",
        ModalityLUTSequence=Sequence([table]),
        WindowCenter=50,
        WindowWidth=100,
    )
    pixels = read_pixels(save(ds, tmp_path / "a.dcm"), [0])
    assert pixels.array.tolist() == [[[99, 20], [30, 10]]]
    assert pixels.window is None
    assert any("window was dropped" in note for note in pixels.notes)


def test_the_first_input_is_signed_where_the_pixels_are() -> None:
    """Many writers, and readers, make it unsigned."""
    item = table_item([1, 2, 3], first=65534)
    assert read_table(item, signed=True, little=True).first == -2
    assert read_table(item, signed=False, little=True).first == 65534


def test_two_eight_bit_entries_to_a_word() -> None:
    item = table_item([0x0201, 0x0403], bits=8)
    item.LUTDescriptor = [4, 0, 8]
    assert read_table(item, signed=False, little=True).values.tolist() == [1, 2, 3, 4]


def test_inputs_beyond_a_table_get_its_ends() -> None:
    table = Table(2, np.array([7, 8, 9], dtype=np.uint8))
    inputs = np.array([0, 255, 2, 4], dtype=np.uint8)
    assert table.look_up(inputs).tolist() == [7, 9, 7, 9]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_window_from_a_voi_table(tmp_path, photometric) -> None:
    """It spans what the table tells apart."""
    values = [0] * 10 + list(range(0, 4000, 100)) + [3900] * 30
    ds = dataset(
        np.arange(100, dtype=np.uint8).reshape(10, 10),
        photometric=photometric,
        RescaleSlope=1,
        RescaleIntercept=-50,
        VOILUTSequence=Sequence([table_item(values, first=-20, bits=12)]),
    )
    pixels = read_pixels(save(ds, tmp_path / "a.dcm"), [0])
    table = Table(-20, np.array(values))
    plain = np.arange(100) - 50
    shown = table.look_up(plain)
    # MONOCHROME1 shows low values bright, and the array has them high.
    array = pixels.array.ravel()
    if photometric == "MONOCHROME1":
        np.testing.assert_array_equal(array, 255 - 100 - plain)
    assert pixels.window is not None
    low, high = pixels.window
    dark, bright = shown == 0, shown == 3900
    if photometric == "MONOCHROME1":
        dark, bright = bright, dark
    np.testing.assert_array_equal(array <= low, dark)
    np.testing.assert_array_equal(array >= high, bright)
    assert any("VOI table" in note for note in pixels.notes)


def test_a_window_goes_before_a_voi_table(tmp_path) -> None:
    ds = dataset(
        np.zeros((2, 2), dtype=np.uint8),
        WindowCenter=40,
        WindowWidth=80,
        VOILUTSequence=Sequence([table_item([0, 1, 2])]),
    )
    pixels = read_pixels(save(ds, tmp_path / "a.dcm"), [0])
    assert pixels.window == (0, 79)
    assert not pixels.notes


def test_a_constant_voi_table_gives_no_window(tmp_path) -> None:
    ds = dataset(
        np.zeros((2, 2), dtype=np.uint8),
        VOILUTSequence=Sequence([table_item([5, 5, 5])]),
    )
    pixels = read_pixels(save(ds, tmp_path / "a.dcm"), [0])
    assert pixels.window is None
    assert any("constant" in note for note in pixels.notes)
