"""Decoding of stored pixels: every layout, both decoders, damage, threads, silence."""

from __future__ import annotations

import itertools
import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_files import SECRETS, dataset, enhanced, save, volume
from napari_medxai.errors import StudyError
from napari_medxai.io.dicom_access import quiet
from napari_medxai.io.dicom_decoding import read_layout
from napari_medxai.io.dicom_pixels import read_pixels
from napari_medxai.io.dicom_rescale import Line, invert


def many(frames, **elements):
    """A multi-frame object without functional groups."""
    ds = dataset(frames[0], **elements)
    ds.NumberOfFrames = len(frames)
    ds.PixelData = frames.tobytes()
    ds.PixelData += b"\0" * (len(ds.PixelData) % 2)
    return ds


def read(ds, tmp_path, indices=(0,), **options):
    return read_pixels(save(ds, tmp_path / "a.dcm"), list(indices), **options)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planar_configuration(tmp_path, planar, frames, dtype) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, np.iinfo(dtype).max, (frames, 5, 6, 3)).astype(dtype)
    ds = many(rgb, photometric="RGB")
    if planar:
        ds.PlanarConfiguration = 1
        ds.PixelData = np.moveaxis(rgb, -1, 1).tobytes()
    pixels = read(ds, tmp_path, range(frames))
    np.testing.assert_array_equal(pixels.array, rgb)
    assert pixels.array.dtype == dtype


def test_ybr_with_shared_colour(tmp_path) -> None:
    """YBR_FULL_422: two pixels of a row have one colour (PS3.3 C.7.6.3.1.2)."""
    rng = np.random.default_rng(0)
    light = rng.integers(16, 236, (4, 6))
    blue, red = rng.integers(100, 156, (2, 4, 3))
    row = np.stack([light[:, ::2], light[:, 1::2], blue, red], axis=-1)
    ds = dataset(np.zeros((4, 6, 3), dtype=np.uint8), photometric="YBR_FULL_422")
    ds.PixelData = row.astype(np.uint8).tobytes()
    array = read(ds, tmp_path).array[0]
    cb, cr = np.repeat(blue, 2, axis=1) - 128, np.repeat(red, 2, axis=1) - 128
    expected = np.stack(
        [
            light + 1.402 * cr,
            light - 0.344136 * cb - 0.714136 * cr,
            light + 1.772 * cb,
        ],
        axis=-1,
    )
    assert np.abs(array - np.clip(expected, 0, 255)).max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_one_bit_pixels(tmp_path, photometric) -> None:
    """Frames of 35 bits do not end where bytes do."""
    bits = np.random.default_rng(0).integers(0, 2, (3, 5, 7)).astype(np.uint8)
    ds = many(bits, photometric=photometric)
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    ds.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
    pixels = read(ds, tmp_path, [2, 0])
    expected = bits if photometric == "MONOCHROME2" else 1 - bits
    np.testing.assert_array_equal(pixels.array, expected[[2, 0]])


@pytest.mark.parametrize("dtype", ["i1", "u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_other_widths(tmp_path, dtype, photometric) -> None:
    limits = np.iinfo(dtype)
    stored = np.array([[limits.min, limits.max], [1, 7]], dtype=dtype)
    array = read(dataset(stored, photometric=photometric), tmp_path).array[0]
    top = -1 if dtype[0] == "i" else limits.max
    expected = [
        [int(v) if photometric == "MONOCHROME2" else top - int(v) for v in row]
        for row in stored
    ]
    assert array.tolist() == expected


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_floating_point_pixels(tmp_path, keyword) -> None:
    kind = np.float32 if keyword == "FloatPixelData" else np.float64
    values = np.random.default_rng(0).normal(size=(4, 5)).astype(kind)
    ds = dataset(np.zeros((4, 5), dtype=np.uint8))
    for gone in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(ds, gone)
    ds.BitsAllocated = kind().itemsize * 8
    setattr(ds, keyword, values.tobytes())
    setattr(ds, keyword.replace("PixelData", "PixelPaddingValue"), float(values[0, 0]))
    pixels = read(ds, tmp_path)
    assert pixels.array.dtype == kind
    np.testing.assert_array_equal(pixels.array[0], values)
    assert pixels.padding == (values[0, 0], values[0, 0])
    assert pixels.array.flags.writeable


@pytest.mark.parametrize("bits", [1, 5, 10, 12, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_overlays_in_unused_bits_are_no_pixels(tmp_path, bits, signed) -> None:
    low, high = (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    )
    rng = np.random.default_rng(bits)
    values = rng.integers(low, high + 1, (6, 7))
    noise = rng.integers(0, 2**16, (6, 7)) << bits
    words = ((values % 2**bits) | noise).astype(np.uint16)
    ds = dataset(words.view(np.int16) if signed else words, bits=bits)
    np.testing.assert_array_equal(read(ds, tmp_path).array[0], values)


@pytest.mark.parametrize("signed", [False, True])
def test_high_bit(tmp_path, signed) -> None:
    """Old files keep 12 bits at the upper end of the word, as PS3.5 once allowed."""
    low = -2048 if signed else 0
    values = np.random.default_rng(0).integers(low, low + 4096, (6, 7))
    words = (values * 16).astype(np.int16 if signed else np.uint16)
    ds = dataset(words, bits=12, modality="MR")
    ds.HighBit = 15
    pixels = read(ds, tmp_path)
    np.testing.assert_array_equal(pixels.array[0], values)
    assert any("HighBit" in note for note in pixels.notes)


def test_a_wrong_high_bit_is_not_followed(tmp_path) -> None:
    values = np.arange(42, dtype=np.uint16).reshape(6, 7)
    ds = dataset(values, bits=12)
    ds.HighBit = 15
    np.testing.assert_array_equal(read(ds, tmp_path).array[0], values)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4"])
def test_big_endian(tmp_path, dtype) -> None:
    values = np.arange(35).reshape(5, 7).astype(dtype)
    stored = values.astype(f">{dtype}")
    ds = dataset(stored, RescaleSlope=2, RescaleIntercept=-3)
    if dtype == "u1":
        # Bytes in words, and the words are turned.
        ds.PixelData = np.frombuffer(ds.PixelData, dtype=">u2").byteswap().tobytes()
        ds["PixelData"].VR = "OW"
    ds.set_original_encoding(is_implicit_vr=False, is_little_endian=False)
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pixels = read(ds, tmp_path)
    assert pixels.array.dtype.isnative
    np.testing.assert_array_equal(pixels.array[0], 2 * values.astype(int) - 3)


@pytest.mark.parametrize("implicit", [False, True])
def test_a_file_without_file_meta(tmp_path, implicit) -> None:
    ds = dataset(volume(1)[0])
    path = tmp_path / "a.dcm"
    plain = Dataset()
    plain.update(ds)
    pydicom.dcmwrite(path, plain, implicit_vr=implicit, little_endian=True)
    assert b"DICM" not in path.read_bytes()
    np.testing.assert_array_equal(read_pixels(path, [0]).array, volume(1))


def test_what_old_writers_leave_out(tmp_path) -> None:
    ds = dataset(volume(1)[0].astype(np.uint16))
    for keyword in (
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
    ):
        delattr(ds, keyword)
    np.testing.assert_array_equal(read(ds, tmp_path).array, volume(1))


def test_a_frame_count_that_is_no_number(tmp_path) -> None:
    ds = dataset(volume(1)[0])
    ds.NumberOfFrames = 10
    path = save(ds, tmp_path / "a.dcm")
    raw = path.read_bytes()
    assert raw.count(b"IS\x02\x0010") == 1
    path.write_bytes(raw.replace(b"IS\x02\x0010", b"IS\x02\x001A"))
    np.testing.assert_array_equal(read_pixels(path, [0]).array, volume(1))


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless])
def test_some_frames_of_many(tmp_path, syntax) -> None:
    voxels = volume(5).astype(np.uint16)
    ds = many(voxels)
    if syntax:
        ds.compress(syntax)
    path = save(ds, tmp_path / "a.dcm")
    for wanted in ([3], [4, 0, 2], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 1]):
        pixels = read_pixels(path, wanted)
        np.testing.assert_array_equal(pixels.array, voxels[wanted])
        assert pixels.array.flags.writeable
    with pytest.raises(StudyError, match=r"a\.dcm: has 5 frames, not 6"):
        read_pixels(path, [5])


def test_a_data_set_that_was_read_already(tmp_path) -> None:
    """Nothing is read, and what was given stays as it is."""
    ds = pydicom.dcmread(save(dataset(volume(1)[0]), tmp_path / "a.dcm"))
    pixels = read_pixels(tmp_path / "none.dcm", [0], dataset=ds)
    pixels.array[:] = 7
    np.testing.assert_array_equal(ds.pixel_array, volume(1)[0])


def jpeg_lossless(path: Path, stored: np.ndarray) -> Path:
    """Write what pydicom does not decode. GDCM's writer of JPEG 2000 is unsafe."""
    image = SimpleITK.GetImageFromArray(stored, isVector=stored.ndim == 3)
    image.SetMetaData("0008|0060", "OT")
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(image)
    return path


CODECS = {
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
    "JPEG": None,
}


def compressed(path: Path, stored: np.ndarray, codec: str) -> Path:
    if codec == "JPEG":
        return jpeg_lossless(path, stored)
    ds = dataset(stored)
    ds.compress(CODECS[codec])
    return save(ds, path)


def test_colour_that_only_gdcm_decodes(tmp_path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (12, 10, 3)).astype(np.uint8)
    path = jpeg_lossless(tmp_path / "a.dcm", rgb)
    ds = pydicom.dcmread(path)
    assert ds.file_meta.TransferSyntaxUID.name.startswith("JPEG Lossless")
    assert ds.SamplesPerPixel == 3
    pixels = read_pixels(path, [0])
    np.testing.assert_array_equal(pixels.array[0], rgb)
    assert any("GDCM" in note for note in pixels.notes)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_jpeg_2000(tmp_path, dtype) -> None:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    stored = rng.integers(limits.min, limits.max, (64, 48)).astype(dtype)
    ds = dataset(stored)
    ds.compress(JPEG2000Lossless)
    pixels = read(ds, tmp_path)
    np.testing.assert_array_equal(pixels.array[0], stored)
    assert not pixels.notes


def test_sixteen_bit_colour_in_jpeg_2000(tmp_path) -> None:
    """Pillow makes eight bits of it; openjpeg keeps them."""
    rgb = np.random.default_rng(0).integers(0, 2**16, (64, 48, 3)).astype(np.uint16)
    ds = dataset(rgb, photometric="RGB")
    ds.compress(JPEG2000Lossless, use_mct=False)
    pixels = read(ds, tmp_path)
    np.testing.assert_array_equal(pixels.array[0], rgb)
    assert not pixels.notes


def test_the_file_that_gdcm_gets_names_nobody(tmp_path, monkeypatch) -> None:
    """It is a copy on disk, of the pixels alone."""
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8)
    path = jpeg_lossless(tmp_path / "a.dcm", stored)
    ds = pydicom.dcmread(path)
    ds.PatientName, ds.PatientID, ds.AccessionNumber = SECRETS[0], SECRETS[2], "ACC"
    ds.save_as(path)
    seen = []
    plain = Dataset.save_as

    def spy(self, name, **options):
        plain(self, name, **options)
        seen.append(Path(name).read_bytes())

    monkeypatch.setattr(Dataset, "save_as", spy)
    read_pixels(path, [0])
    assert len(seen) == 1
    assert not any(secret.encode() in seen[0] for secret in SECRETS)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9, 0.99])
def test_cut_streams_are_refused(tmp_path, codec, part) -> None:
    """No decoder fills up with zeros what is missing."""
    stored = np.random.default_rng(0).integers(0, 2**16, (64, 64)).astype(np.uint16)
    path = compressed(tmp_path / "a.dcm", stored, codec)
    np.testing.assert_array_equal(read_pixels(path, [0]).array[0], stored)
    ds = pydicom.dcmread(path)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    # Of even length: of a padding byte pyjpegls makes ten seconds' work.
    ds.PixelData = encapsulate([frame[: int(len(frame) * part) // 2 * 2]])
    with pytest.raises(StudyError, match=r"^a\.dcm: .*decoded neither by pydicom"):
        read(ds, tmp_path)


@pytest.mark.parametrize("missing", [1, 2, 40, 168])
def test_missing_bytes_are_refused(tmp_path, missing) -> None:
    ds = dataset(volume(1)[0])
    ds.PixelData = ds.PixelData[:-missing] + b"\0" * (missing % 2)
    if missing == 1:
        ds.PixelData = ds.PixelData[:-2]
    with pytest.raises(StudyError, match=r"^a\.dcm: .*fewer pixels|no pixels"):
        read(ds, tmp_path)


def test_bytes_beyond_the_pixels_are_left_out(tmp_path) -> None:
    ds = dataset(volume(1)[0])
    ds.PixelData += b"\1" * 200
    np.testing.assert_array_equal(read(ds, tmp_path).array, volume(1))


def test_what_has_no_order_of_brightness_is_refused(tmp_path) -> None:
    ds = dataset(np.zeros((4, 5, 3), dtype=np.uint8), photometric="HSV")
    with pytest.raises(StudyError, match=r"a\.dcm.*HSV"):
        read(ds, tmp_path)


def test_lossy_values_beyond_the_stored_bits_do_not_wrap() -> None:
    ds = dataset(np.zeros((1, 3), dtype=np.uint16), bits=10)
    stored = np.array([[0, 1023, 1030]], dtype=np.uint16)
    inverted, top = invert(stored, read_layout(ds))
    assert top == 1023
    assert inverted.tolist() == [[1023, 0, -7]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32, np.int64])
def test_a_rescale_never_overflows(dtype) -> None:
    limits = np.iinfo(dtype)
    stored = np.array([limits.min, 0, 1, limits.max], dtype=dtype)
    slopes = (-3.0, 1.0, 2.0, 70000.0, 2.0**40, 1e19, 0.1)
    intercepts = (-1024.0, 0.0, 40000.0, 2.0**33, 0.5)
    for slope, intercept in itertools.product(slopes, intercepts):
        found = Line(slope, intercept).look_up(stored)
        if found.dtype.kind in "iu":
            assert slope.is_integer()
            assert intercept.is_integer()
            expected = [int(slope) * int(v) + int(intercept) for v in stored]
            assert found.tolist() == expected
        else:
            values = stored.astype(float) * slope + intercept
            np.testing.assert_array_equal(found, values)


def test_what_is_not_applied_is_said(tmp_path) -> None:
    ds = dataset(volume(1)[0])
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 2.0, 1.0
    ds.RealWorldValueMappingSequence = Sequence([mapping])
    ds.PixelPresentation = "COLOR"
    ds.DoseGridScaling = "0.5"
    ds.add_new((0x6000, 0x3000), "OW", b"\0\0")
    pixels = read(ds, tmp_path)
    np.testing.assert_array_equal(pixels.array, volume(1))
    said = " ".join(pixels.notes)
    for word in ("real-world", "supplemental", "DoseGridScaling", "overlay"):
        assert word in said
    ds = enhanced(volume(2), [(0, 0, 0), (0, 0, 1)])
    shared = ds.SharedFunctionalGroupsSequence[0]
    shared.RealWorldValueMappingSequence = Sequence([mapping])
    assert any("real-world" in n for n in read(ds, tmp_path, [0, 1]).notes)


def shaken(tmp_path: Path) -> Path:
    """A file whose reading pydicom warns of and logs, with what it holds."""
    ds = dataset(volume(1)[0])
    ds.add_new("SpecificCharacterSet", "CS", "ISO_IR 100")
    path = save(ds, tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"DOE_JANE  "))
    with pytest.warns(UserWarning, match="DOE_JANE"):
        _ = pydicom.dcmread(path).PatientName
    return path


def test_silence(tmp_path, caplog) -> None:
    path = shaken(tmp_path)
    caplog.clear()
    level = logging.getLogger("pydicom").level
    with quiet():
        with quiet():
            assert pydicom.dcmread(path).PatientName
        assert pydicom.dcmread(path).PatientName
    assert not caplog.records
    assert logging.getLogger("pydicom").level == level
    with pytest.warns(UserWarning, match="loud again"):
        warnings.warn("loud again", UserWarning, stacklevel=1)


def test_silence_is_of_one_thread_alone() -> None:
    """Others keep warning, and filters swapped meanwhile by others end as they were."""
    before = list(warnings.filters)
    inside, checked = threading.Event(), threading.Event()

    def work() -> None:
        with quiet():
            inside.set()
            warnings.warn("not heard", UserWarning, stacklevel=1)
            assert checked.wait(10)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        assert inside.wait(10)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match="heard"):
                warnings.warn("heard", UserWarning, stacklevel=1)
            # It ends here, within another's swapped filters.
            checked.set()
            done.result()
        with pytest.raises(UserWarning, match="heard"):
            warnings.warn("heard", UserWarning, stacklevel=1)
    ours = [f for f in warnings.filters if f not in before]
    assert len(ours) <= 1


def test_silence_of_many_threads_leaves_the_log_as_it_was() -> None:
    logger = logging.getLogger("pydicom")
    logger.setLevel(logging.INFO)
    barrier = threading.Barrier(6)

    def work(_: int) -> None:
        barrier.wait()
        for _ in range(200):
            with quiet():
                assert not logger.isEnabledFor(logging.CRITICAL)

    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(logging.NOTSET)


def test_threads_read_what_one_reads(tmp_path) -> None:
    """Of each decoder, several at once."""
    rng = np.random.default_rng(0)
    expected, paths = [], []
    for number in range(24):
        stored = rng.integers(0, 4096, (40, 50)).astype(np.uint16)
        path = tmp_path / f"{number}.dcm"
        codec = ("", *CODECS)[number % 5]
        if codec:
            compressed(path, stored, codec)
        else:
            save(dataset(stored, bits=12), path)
        expected.append(stored)
        paths.append(path)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda path: read_pixels(path, [0]).array[0], paths * 3))
    for array, stored in zip(found, expected * 3, strict=True):
        np.testing.assert_array_equal(array, stored)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("limit", [None, 12, -7])
@pytest.mark.parametrize("line", [None, (1, -1024), (-2, 5), (0.3, 0.7)])
def test_padding(tmp_path, photometric, dtype, limit, line) -> None:
    """The range marks the pixels that hold a padding value, and no other."""
    signed = dtype is np.int16
    if limit is not None and limit < 0 and not signed:
        limit = 30
    low = -20 if signed else 0
    stored = np.random.default_rng(0).integers(low, low + 40, (8, 9)).astype(dtype)
    value = -3 if signed else 20
    stored[0] = value
    ends = sorted((value, value if limit is None else limit))
    vr = "SS" if signed else "US"
    ds = dataset(stored, photometric=photometric)
    ds.add_new("PixelPaddingValue", vr, value)
    if limit is not None:
        ds.add_new("PixelPaddingRangeLimit", vr, limit)
    if line:
        ds.RescaleSlope, ds.RescaleIntercept = line
    plain = dataset(stored, photometric=photometric)
    if line:
        plain.RescaleSlope, plain.RescaleIntercept = line
    kept = read(plain, tmp_path)
    pixels = read(ds, tmp_path)
    assert kept.padding is None
    np.testing.assert_array_equal(pixels.array, kept.array)
    assert pixels.padding is not None
    first, last = pixels.padding
    inside = (pixels.array[0] >= first) & (pixels.array[0] <= last)
    np.testing.assert_array_equal(inside, (stored >= ends[0]) & (stored <= ends[1]))


def test_padding_written_with_the_other_sign(tmp_path) -> None:
    """GE: -2000 in signed pixels, 63536 in the header."""
    stored = np.full((4, 5), -2000, dtype=np.int16)
    stored[1] = 40
    ds = dataset(stored, RescaleSlope=1, RescaleIntercept=-1024)
    ds.add_new("PixelPaddingValue", "US", 63536)
    assert read(ds, tmp_path).padding == (-3024, -3024)
    ds = dataset(stored.view(np.uint16))
    ds.add_new("PixelPaddingValue", "SS", -2000)
    assert read(ds, tmp_path).padding == (63536, 63536)


def test_padding_that_no_pixel_can_have(tmp_path) -> None:
    ds = dataset(np.zeros((4, 5), dtype=np.uint16), bits=12)
    ds.add_new("PixelPaddingValue", "US", 63536)
    pixels = read(ds, tmp_path)
    assert pixels.padding is None
    assert any("PixelPaddingValue" in note for note in pixels.notes)


def test_padding_of_frames_with_their_own_rescale(tmp_path) -> None:
    places = [(0.0, 0.0, float(k)) for k in range(3)]
    ds = enhanced(volume(3), places, slopes=[2, 2, 2])
    ds.add_new("PixelPaddingValue", "SS", 5)
    assert read(ds, tmp_path, [0, 1, 2]).padding == (-990, -990)
    ds = enhanced(volume(3), places, slopes=[2, 3, 2])
    ds.add_new("PixelPaddingValue", "SS", 5)
    pixels = read(ds, tmp_path, [0, 1, 2])
    assert pixels.padding is None
    assert any("PixelPaddingValue" in note for note in pixels.notes)
    assert read(ds, tmp_path, [1]).padding == (-985, -985)


def test_padding_with_a_modality_table(tmp_path) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 16])
    table.add_new("LUTData", "US", [10, 30, 20, 99])
    ds = dataset(
        np.zeros((2, 2), dtype=np.uint8), ModalityLUTSequence=Sequence([table])
    )
    ds.add_new("PixelPaddingValue", "US", 0)
    pixels = read(ds, tmp_path)
    assert pixels.padding is None
    assert any("PixelPaddingValue" in note for note in pixels.notes)


def test_a_sigmoid_window_is_said(tmp_path) -> None:
    ds = dataset(
        volume(1)[0], WindowCenter=40, WindowWidth=80, VOILUTFunction="SIGMOID"
    )
    pixels = read(ds, tmp_path)
    assert pixels.window == (0, 80)
    assert any("sigmoid" in note for note in pixels.notes)
