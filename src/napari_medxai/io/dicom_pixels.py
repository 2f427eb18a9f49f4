"""DICOM pixels: decoding, MONOCHROME1, modality LUT, colour, window.

The order is fixed: stored values, MONOCHROME1 inverted once, then the modality LUT
(DICOM PS3.3 C.11.1), so that what is bright is dense in every file.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array

from napari_medxai.errors import StudyError

from .dicom_access import BROKEN, functional, numbers, quiet
from .dicom_headers import read_dataset
from .naming import reason, shown

__all__ = ["Pixels", "read_pixels"]

Window = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Frames of one file after the modality LUT.

    Attributes
    ----------
    array : ndarray, shape (frames, rows, columns) or (frames, rows, columns, 3)
        Integers where slope and intercept are whole numbers, else float32.
    window : tuple of float or None
        (low, high) of the middle frame read, in units of `array`.
    inverted : bool
        Whether stored values were MONOCHROME1.
    notes : tuple of str
        What was out of the ordinary.
    """

    array: NDArray[Any]
    window: Window | None
    inverted: bool
    notes: tuple[str, ...]


def read_pixels(path: Path, indices: list[int], *, name: str = "") -> Pixels:
    """Decode frames of a file.

    Parameters
    ----------
    path : Path
        A DICOM image.
    indices : list of int
        Which frames, from 0, in which order.
    name : str
        What error texts call the file; its own name by default.

    Returns
    -------
    Pixels
        The frames after the modality LUT.

    Raises
    ------
    StudyError
        Where the file is damaged or its compression cannot be decoded.
    """
    notes: list[str] = []
    name = name or shown(path)
    try:
        with quiet():
            dataset = read_dataset(path)
            stored = _decode(name, dataset, notes)
            if stored.ndim == 2 or (stored.ndim == 3 and _samples(dataset) > 1):
                stored = stored[np.newaxis]
            stored = stored[indices]
            return _finish(name, dataset, stored, indices, notes)
    except StudyError:
        raise
    except (*BROKEN, MemoryError) as error:
        raise StudyError(
            f"{name}: the DICOM file is damaged or incomplete "
            f"({type(error).__name__}). Copy it again."
        ) from error


def _samples(dataset: Dataset) -> int:
    return int(dataset.get("SamplesPerPixel") or 1)


def _decode(name: str, dataset: Dataset, notes: list[str]) -> NDArray[Any]:
    if not any(
        key in dataset
        for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    ):
        raise StudyError(
            f"{name}: there are no pixels in this DICOM file; if there "
            "should be, it is cut short: copy it again."
        )
    try:
        return pixel_array(dataset)
    except (*BROKEN, RuntimeError) as error:
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        compressed = syntax is not None and syntax.is_compressed
        if not compressed or _samples(dataset) != 1:
            why = reason(error) if compressed else "fewer pixels than the header says"
            raise StudyError(
                f"{name}: the pixels cannot be decoded ({why}). Copy the file "
                "again, or decompress it with gdcmconv or dcmdjpeg."
            ) from error
        array = _decode_by_gdcm(name, dataset, error)
        notes.append(f"decoded by GDCM, as pydicom could not decode {syntax.name}")
        return array


def _decode_by_gdcm(name: str, dataset: Dataset, first: Exception) -> NDArray[Any]:
    """Decode stored values by the GDCM inside SimpleITK.

    SimpleITK applies the rescale and inverts some MONOCHROME1 files by itself. So it
    gets a copy with nothing but the pixels, which says MONOCHROME2 and no rescale,
    and which carries no patient.
    """
    import SimpleITK

    sitk: Any = SimpleITK  # untyped

    bare = Dataset()
    for keyword in (
        "SamplesPerPixel",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelData",
    ):
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    bare.PhotometricInterpretation = "MONOCHROME2"
    bare.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    bare.SOPInstanceUID = "2.25.1"
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pixels.dcm"
        bare.save_as(copy, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(copy))
        try:
            array: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise StudyError(
                f"{name}: "
                f"the pixels can be decoded neither by pydicom ({reason(first)}) "
                "nor by GDCM. Copy the file again, or decompress it with gdcmconv."
            ) from error
    shape = (int(dataset.Rows), int(dataset.Columns))
    frames = int(dataset.get("NumberOfFrames") or 1)
    if array.shape[-2:] != shape or array.size != frames * shape[0] * shape[1]:
        raise StudyError(
            f"{name}: its compressed pixels have shape {array.shape}, its header "
            f"says {frames} x {shape}. The file is damaged."
        )
    return array.reshape(frames, *shape) if frames > 1 else array.reshape(shape)


def _finish(
    name: str,
    dataset: Dataset,
    stored: NDArray[Any],
    indices: list[int],
    notes: list[str],
) -> Pixels:
    photometric = str(dataset.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(stored, dataset)
        if colours.dtype == np.uint16:
            colours = (colours >> 8).astype(np.uint8)
        return Pixels(colours[..., :3], None, False, tuple(notes))
    if _samples(dataset) > 1:
        return Pixels(stored[..., :3], None, False, tuple(notes))
    top, inverted = 0, photometric == "MONOCHROME1"
    if stored.dtype.kind in "iu":
        signed = int(dataset.PixelRepresentation) == 1
        bits = int(dataset.BitsStored)
        stored = _clean(stored, bits, signed)
        top = -1 if signed else 2**bits - 1
        if inverted:
            stored = (top - stored.astype(np.int64)).astype(stored.dtype)
    elif inverted:
        raise StudyError(
            f"{name}: MONOCHROME1 is not defined for floating-point pixels."
        )
    slices: list[NDArray[Any]] = []
    window: Window | None = None
    for number, frame in enumerate(indices):
        group = functional(dataset, frame, "PixelValueTransformationSequence")
        values, mapping = _rescale(group or dataset, stored[number], notes)
        slices.append(values)
        if number == len(indices) // 2:
            voi = functional(dataset, frame, "FrameVOILUTSequence") or dataset
            window = _window(voi)
            if window is not None and inverted:
                window = _mirrored(window, mapping, top, notes)
    # Frames may differ in type where one has a whole-numbered slope and one has not.
    return Pixels(np.stack(slices), window, inverted, tuple(dict.fromkeys(notes)))


def _clean(stored: NDArray[Any], bits: int, signed: bool) -> NDArray[Any]:
    """Drop what old files keep above the stored bits (overlays); extend the sign."""
    width = stored.dtype.itemsize * 8
    if not 0 < bits < width:
        return stored
    if signed:
        shift = width - bits
        extended: NDArray[Any] = (stored << shift) >> shift
        return extended
    masked: NDArray[Any] = stored & stored.dtype.type(2**bits - 1)
    return masked


def _rescale(
    dataset: Dataset, stored: NDArray[Any], notes: list[str]
) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Apply the modality LUT; also return (slope, intercept), None for a table."""
    if dataset.get("ModalityLUTSequence"):
        table: NDArray[Any] = apply_modality_lut(stored, dataset)
        return table, None
    slope = numbers(dataset, "RescaleSlope", 1)
    intercept = numbers(dataset, "RescaleIntercept", 1)
    if slope is None or intercept is None:
        return stored, (1.0, 0.0)
    if slope[0] == 0:
        notes.append("the rescale slope in the header is 0 and was not applied")
        return stored, (1.0, 0.0)
    mapping = (slope[0], intercept[0])
    if mapping == (1.0, 0.0):
        return stored, mapping
    values = apply_modality_lut(stored, dataset)
    whole = stored.dtype.kind in "iu" and all(v.is_integer() for v in mapping)
    if not whole:
        return values.astype(np.float32), mapping
    return values.astype(_integer_type(stored, mapping)), mapping


def _integer_type(stored: NDArray[Any], mapping: tuple[float, float]) -> np.dtype[Any]:
    """Smallest signed type for every value the stored type can take after rescale."""
    limits = np.iinfo(stored.dtype)
    # 12 bits in a 16-bit word: CT after its intercept still fits 16 bits signed.
    low, high = int(stored.min()), int(stored.max())
    ends = [mapping[0] * v + mapping[1] for v in (low, high)]
    if limits.bits <= 16 and min(ends) >= -(2**15) and max(ends) < 2**15:
        return np.dtype(np.int16)
    if min(ends) >= -(2**31) and max(ends) < 2**31:
        return np.dtype(np.int32)
    return np.dtype(np.int64)


def _window(dataset: Dataset) -> Window | None:
    """First window as (low, high); LINEAR and LINEAR_EXACT of PS3.3 C.11.2.1."""
    ends = []
    for keyword in ("WindowCenter", "WindowWidth"):
        value = dataset.get(keyword)
        if value is None or value == "":
            return None
        many = hasattr(value, "__iter__") and not isinstance(value, str)
        values = list(value) if many else [value]
        if not values:
            return None
        ends.append(float(values[0]))
    centre, width = ends
    if not np.isfinite(ends).all() or width <= 0:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if function == "LINEAR" and width > 1:
        return (centre - width / 2, centre + width / 2 - 1)
    return (centre - width / 2, centre + width / 2)


def _mirrored(
    window: Window,
    mapping: tuple[float, float] | None,
    top: int,
    notes: list[str],
) -> Window | None:
    """Follow the inversion v -> top - v through the rescale: w -> c - w."""
    if mapping is None:
        notes.append("the window was dropped: MONOCHROME1 with a modality table")
        return None
    turn = mapping[0] * top + 2 * mapping[1]
    return (turn - window[1], turn - window[0])
