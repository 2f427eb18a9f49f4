"""DICOM pixels: MONOCHROME1, rescale, window, colour, compression, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from dicom_files import dataset, save, volume, write_stack
from napari_medxai.errors import StudyError
from napari_medxai.io import find_cases, load_study
from napari_medxai.privacy import pseudonym


@pytest.fixture(autouse=True)
def _salt(tmp_path_factory, monkeypatch) -> None:
    folder = tmp_path_factory.getbasetemp() / "config"
    monkeypatch.setenv("MEDXAI_CONFIG_DIR", str(folder))


@pytest.mark.parametrize("slope", [None, 1.0, 2.0, 0.5, -1.0])
@pytest.mark.parametrize(
    ("dtype", "bits"), [("u1", 8), ("u2", 12), ("u2", 16), ("i2", 12), ("i2", 16)]
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_inversion_then_rescale_and_window(
    tmp_path, dtype, bits, photometric, slope
) -> None:
    signed = dtype[0] == "i"
    low, high = (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    )
    rng = np.random.default_rng(bits)
    stored = rng.integers(low, high + 1, (4, 5)).astype(dtype)
    stored[0, :2] = low, high
    extra = {} if slope is None else {"RescaleSlope": slope, "RescaleIntercept": -24}
    ds = dataset(
        stored,
        bits=bits,
        photometric=photometric,
        WindowCenter=40,
        WindowWidth=80,
        **extra,
    )
    study = load_study(save(ds, tmp_path / "a.dcm"))

    factor, offset = (1.0, 0.0) if slope is None else (slope, -24.0)
    expected = np.empty((4, 5))
    for row in range(4):
        for column in range(5):
            value = int(stored[row, column])
            if photometric == "MONOCHROME1":
                value = -1 - value if signed else 2**bits - 1 - value
            expected[row, column] = factor * value + offset
    np.testing.assert_array_equal(study.array, expected)
    assert study.inverted == (photometric == "MONOCHROME1")
    assert study.array.dtype.kind == ("f" if slope == 0.5 else stored.dtype.kind) or (
        slope is not None and study.array.dtype.kind == "i"
    )
    # The same values are inside the window, before and after the inversion.
    plain = dataset(stored, bits=bits, **extra)
    before = load_study(save(plain, tmp_path / "b.dcm")).array.astype(float)
    inside = (before >= 0) & (before <= 79)
    assert study.window is not None
    np.testing.assert_array_equal(
        (study.array >= study.window[0]) & (study.array <= study.window[1]), inside
    )
    if photometric == "MONOCHROME2":
        assert study.window == (0.0, 79.0)


def test_slopes_differ_between_slices(tmp_path) -> None:
    voxels = volume(3)
    for k in range(3):
        ds = dataset(
            voxels[k],
            position=(0, 0, 2.0 * k),
            modality="PT",
            RescaleSlope=0.5 + k,
            RescaleIntercept=0,
        )
        save(ds, tmp_path / f"{k}.dcm")
    study = load_study(tmp_path)
    expected = [voxels[k] * (0.5 + k) for k in range(3)]
    np.testing.assert_allclose(study.array, expected)


def test_bits_above_the_stored_ones_are_no_pixels(tmp_path) -> None:
    stored = np.array([[1, 2], [3, 4]], dtype=np.uint16)
    ds = dataset(stored | 0x8000, bits=12)
    study = load_study(save(ds, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(study.array, stored)


def test_a_modality_table(tmp_path) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 16])
    table.ModalityLUTType = "US"
    table.add_new("LUTData", "US", [10, 30, 20, 99])
    stored = np.array([[0, 1], [2, 3]], dtype=np.uint8)
    ds = dataset(stored, ModalityLUTSequence=Sequence([table]))
    study = load_study(save(ds, tmp_path / "a.dcm"))
    assert study.array.tolist() == [[10, 30], [20, 99]]


@pytest.mark.parametrize(
    ("function", "width", "expected"),
    [
        (None, 400, (-160, 239)),
        ("LINEAR_EXACT", 400, (-160, 240)),
        (None, 1, (39.5, 40.5)),
        (None, 0, None),
        (None, [80, 400], (0, 79)),
    ],
)
def test_window(tmp_path, function, width, expected) -> None:
    extra = {} if function is None else {"VOILUTFunction": function}
    centre = [40, 50] if isinstance(width, list) else 40
    ds = dataset(volume(1)[0], WindowCenter=centre, WindowWidth=width, **extra)
    assert load_study(save(ds, tmp_path / "a.dcm")).window == expected


def test_a_window_that_is_no_number_costs_the_window_only(tmp_path) -> None:
    path = save(dataset(volume(1)[0], WindowCenter=40, WindowWidth=77), tmp_path / "a")
    data = path.read_bytes()
    assert data.count(b"77") == 1
    path.write_bytes(data.replace(b"77", b"xy"))
    study = load_study(path)
    assert study.window is None
    assert study.array.tolist() == volume(1)[0].tolist()
    note = "the window in the header is not a number and was left out"
    assert note in study.notes


def test_colour(tmp_path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    study = load_study(save(dataset(rgb, photometric="RGB"), tmp_path / "a.dcm"))
    assert study.colour
    assert study.shape == (4, 6)
    np.testing.assert_array_equal(study.array, rgb)
    ds = dataset(rgb, photometric="YBR_FULL")
    study = load_study(save(ds, tmp_path / "b.dcm"))
    y, cb, cr = np.moveaxis(rgb.astype(float), -1, 0)
    # PS3.3 C.7.6.3.1.2
    red = y + 1.402 * (cr - 128)
    green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
    blue = y + 1.772 * (cb - 128)
    expected = np.clip(np.stack([red, green, blue], axis=-1), 0, 255)
    assert np.abs(study.array - expected).max() <= 1


@pytest.mark.parametrize("slices", [1, 3])
def test_palette(tmp_path, slices) -> None:
    stored = np.random.default_rng(1).integers(0, 4, (slices, 4, 5), dtype=np.uint8)
    tables = {
        "Red": [0, 65535, 257 * 7, 257],
        "Green": [0, 0, 257 * 9, 257 * 2],
        "Blue": [65535, 0, 257 * 11, 257 * 3],
    }
    for k in range(slices):
        ds = dataset(stored[k], photometric="PALETTE COLOR", position=(0, 0, 2.0 * k))
        for name, values in tables.items():
            ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [4, 0, 16])
            data = np.array(values, dtype="<u2").tobytes()
            ds.add_new(f"{name}PaletteColorLookupTableData", "OW", data)
        save(ds, tmp_path / f"{k}.dcm")
    study = load_study(tmp_path)
    assert study.colour
    assert study.slices == slices
    lookup = np.array([[0, 0, 255], [255, 0, 0], [7, 9, 11], [1, 2, 3]])
    expected = lookup[stored] if slices > 1 else lookup[stored[0]]
    np.testing.assert_array_equal(study.array, expected)


def test_rle(tmp_path) -> None:
    ds = dataset(volume(1)[0])
    ds.compress(RLELossless)
    study = load_study(save(ds, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(study.array, volume(1)[0])


def jpeg_lossless(path: Path, stored: np.ndarray, **elements: object) -> Path:
    """What pydicom cannot decode by itself: written by GDCM, header set afterwards."""
    import SimpleITK

    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    image = SimpleITK.GetImageFromArray(stored)
    image.SetMetaData("0008|0060", "DX")
    writer.Execute(image)
    ds = pydicom.dcmread(path)
    assert ds.file_meta.TransferSyntaxUID.name.startswith("JPEG Lossless")
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.save_as(path)
    return path


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_gdcm_decodes_stored_values_once(tmp_path, photometric) -> None:
    stored = np.random.default_rng(2).integers(0, 2**16, (16, 12)).astype(np.uint16)
    path = jpeg_lossless(
        tmp_path / "a.dcm",
        stored,
        PhotometricInterpretation=photometric,
        RescaleSlope=2,
        RescaleIntercept=-7,
    )
    study = load_study(path)
    inverted = photometric == "MONOCHROME1"
    values = (65535 - stored.astype(int)) if inverted else stored.astype(int)
    np.testing.assert_array_equal(study.array, 2 * values - 7)
    assert study.inverted == inverted
    assert any("GDCM" in note for note in study.notes)


@pytest.mark.parametrize("part", [0.3, 0.8, 0.99])
def test_cut_files_are_refused_by_name(tmp_path, part) -> None:
    noise = np.random.default_rng(0).integers(0, 99, (64, 64)).astype(np.int16)
    paths = write_stack(tmp_path, np.stack([noise, noise + 1, noise + 2]))
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(StudyError, match=paths[1].name):
        load_study(tmp_path)


def test_a_cut_compressed_file_is_refused(tmp_path) -> None:
    stored = np.random.default_rng(2).integers(0, 2**16, (64, 64)).astype(np.uint16)
    path = jpeg_lossless(tmp_path / "a.dcm", stored)
    ds = pydicom.dcmread(path)
    frames = list(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1))
    ds.PixelData = pydicom.encaps.encapsulate([frames[0][:200]])
    ds.save_as(path)
    with pytest.raises(StudyError, match=r"a\.dcm"):
        load_study(path)


def test_things_that_are_no_dicom_images(tmp_path) -> None:
    (tmp_path / "a.dcm").write_text("just a text " * 40)
    with pytest.raises(StudyError, match=r"a\.dcm.*not DICOM"):
        load_study(tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes(b"")
    with pytest.raises(StudyError, match=r"b\.dcm"):
        load_study(tmp_path / "b.dcm")
    ds = dataset(volume(1)[0], modality="SR")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(ds, keyword)
    save(ds, tmp_path / "c.dcm")
    with pytest.raises(StudyError, match="only SR"):
        load_study(tmp_path / "c.dcm")
    ds = dataset(volume(1)[0])
    del ds.PixelData
    save(ds, tmp_path / "d.dcm")
    with pytest.raises(StudyError, match="no pixels"):
        load_study(tmp_path / "d.dcm")


def test_a_damaged_header_is_left_out_and_said(tmp_path) -> None:
    paths = write_stack(tmp_path, volume())
    raw = paths[4].read_bytes()
    place = raw.index(b"0.75\\0.5")
    paths[4].write_bytes(raw[:place] + b"ab,c\\0.5" + raw[place + 8 :])
    study = load_study(tmp_path)
    assert study.slices == 4
    assert any("1 DICOM file(s) left out: damaged" in n for n in study.notes)
    with pytest.raises(StudyError, match=paths[4].name):
        load_study(paths[4])


def test_a_file_cut_in_its_header_is_left_out_and_said(tmp_path) -> None:
    paths = write_stack(tmp_path, volume())
    raw = paths[4].read_bytes()
    # Before the rows and columns, and at an end of the stack, where no gap shows.
    paths[4].write_bytes(raw[: raw.index(b"MONOCHROME2") - 8])
    study = load_study(tmp_path)
    assert study.slices == 4
    assert any("1 DICOM file(s) left out: damaged" in n for n in study.notes)
    name = "unreadable-" + pseudonym(paths[4].name, prefix="F")
    assert find_cases(tmp_path).cases[-1].name == name


def test_a_report_of_an_image_modality_is_no_damaged_image(tmp_path) -> None:
    write_stack(tmp_path, volume())
    raw_data = dataset(volume(1)[0], modality="MR", series="raw")
    raw_data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66"
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(raw_data, keyword)
    save(raw_data, tmp_path / "raw.dcm")
    assert not load_study(tmp_path).notes


def test_real_monochrome1_radiographs_agree(shared_data) -> None:
    """One radiograph in three syntaxes, one decoded by GDCM: inverted alike."""
    folder = shared_data / "dicom" / "wg04-codecs"
    paths = sorted(folder.glob("*/RG3_*"))
    assert len(paths) == 3
    studies = [load_study(path, masks="none") for path in paths]
    assert all(study.inverted for study in studies)
    raw = pydicom.dcmread(paths[0]).pixel_array.astype(float)
    for study in studies:
        assert np.corrcoef(study.array.ravel()[::97], raw.ravel()[::97])[0, 1] < -0.99
