"""Stored pixels of a DICOM file: by pydicom, else by the GDCM inside SimpleITK."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from napari_medxai.errors import StudyError

from .dicom_access import BROKEN, frame_count
from .naming import reason

__all__ = ["Layout", "decode", "read_layout"]

KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
AGAIN = "Copy the file again, or decompress it with gdcmconv or dcmdjpeg."

# Not all that GDCM's decoders keep between calls is known to be safe in threads.
_GDCM = threading.Lock()


@dataclass(frozen=True)
class Layout:
    """How pixels are stored (PS3.3 C.7.6.3, PS3.5 section 8).

    Attributes
    ----------
    rows, columns, samples, frames : int
        The shape.
    allocated, stored, high : int
        BitsAllocated, BitsStored and HighBit.
    signed : bool
        Whether PixelRepresentation is 1.
    photometric : str
        PhotometricInterpretation.
    planar : int
        PlanarConfiguration.
    keyword : str
        The element that holds the pixels.
    syntax : UID
        The transfer syntax.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: int
    keyword: str
    syntax: UID

    @property
    def whole(self) -> bool:
        """Whether pixels are whole numbers."""
        return self.keyword == "PixelData"

    @property
    def little(self) -> bool:
        """Whether the least significant byte comes first."""
        return bool(self.syntax.is_little_endian)

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value that the stored bits can hold."""
        if self.signed:
            return -(2 ** (self.stored - 1)), 2 ** (self.stored - 1) - 1
        return 0, 2**self.stored - 1

    @property
    def size(self) -> int:
        """Bytes of all frames where they are not compressed."""
        bits = self.rows * self.columns * self.samples * self.frames * self.allocated
        if self.photometric == "YBR_FULL_422":
            # Two pixels share their colour.
            bits = bits // 3 * 2
        return -(-bits // 8)


def read_layout(dataset: Dataset) -> Layout:
    """Read the Image Pixel module, with what old writers leave out filled in.

    Raises
    ------
    ValueError
        Where there are no pixels.
    One of `BROKEN`
        Where an element that cannot be guessed is missing.
    """
    held = [key for key in KEYWORDS if key in dataset]
    if not held or not len(dataset[held[0]].value or b""):
        raise ValueError(
            "there are no pixels in this DICOM file; if there should be, it is cut "
            "short: copy it again"
        )
    allocated = int(dataset.BitsAllocated)
    stored = int(dataset.get("BitsStored") or allocated)
    if not 0 < stored <= allocated:
        stored = allocated
    high = dataset.get("HighBit")
    return Layout(
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        frames=frame_count(dataset),
        allocated=allocated,
        stored=stored,
        high=stored - 1 if high is None else int(high),
        signed=int(dataset.get("PixelRepresentation") or 0) == 1,
        photometric=str(dataset.get("PhotometricInterpretation") or "MONOCHROME2"),
        planar=int(dataset.get("PlanarConfiguration") or 0),
        keyword=held[0],
        syntax=_syntax(dataset, dataset[held[0]].is_undefined_length),
    )


def _syntax(dataset: Dataset, encapsulated: bool) -> UID:
    """TransferSyntaxUID; of a file without file meta how it was read."""
    meta = getattr(dataset, "file_meta", None) or {}
    syntax = meta.get("TransferSyntaxUID")
    if syntax:
        return UID(syntax)
    if encapsulated:
        raise ValueError("the pixels are compressed and the TransferSyntaxUID is lost")
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def decode(
    dataset: Dataset, layout: Layout, indices: Sequence[int], name: str
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Decode frames to stored values, or to RGB where the file is YBR.

    Parameters
    ----------
    dataset : Dataset
        With its pixels.
    layout : Layout
        Of that data set.
    indices : sequence of int
        Frames, from 0, in the order wanted.
    name : str
        What error texts call the file.

    Returns
    -------
    frames : ndarray, shape (frames, rows, columns) or (frames, rows, columns, samples)
        In the machine's byte order; it can be a read-only view of the data set.
    notes : tuple of str
        Where pydicom could not decode it.

    Raises
    ------
    StudyError
        Where pixels are missing or neither pydicom nor GDCM decodes them.
    """
    if max(indices) >= layout.frames:
        raise StudyError(f"{name}: has {layout.frames} frames, not {max(indices) + 1}.")
    compressed = layout.syntax.is_encapsulated
    held = len(dataset[layout.keyword].value)
    # GDCM would fill with zeros what is missing.
    if not compressed and held < layout.size:
        raise StudyError(
            f"{name}: the pixels cannot be decoded (fewer pixels than the header says: "
            f"{held} of {layout.size} bytes). Copy the file again."
        )
    try:
        array = _by_pydicom(dataset, layout, indices)
    except (*BROKEN, RuntimeError) as error:
        array = _by_gdcm(dataset, layout, indices, name, error)
        note = f"decoded by GDCM, as pydicom could not decode {layout.syntax.name}"
        return array, (note,)
    note = ""
    if not compressed and layout.whole:
        array, note = _clean(array, layout)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array, (note,) if note else ()


def _by_pydicom(
    dataset: Dataset, layout: Layout, indices: Sequence[int]
) -> NDArray[Any]:
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "number_of_frames": layout.frames,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "pixel_keyword": layout.keyword,
        "pixel_vr": dataset[layout.keyword].VR,
        "allow_excess_frames": False,
    }
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        options["extended_offsets"] = (
            dataset.ExtendedOffsetTable,
            dataset.ExtendedOffsetTableLengths,
        )
    source = dataset[layout.keyword].value
    decoder = get_decoder(layout.syntax)
    if not layout.syntax.is_encapsulated:
        options |= {"view_only": True, "correct_unused_bits": False}
    elif len(indices) < layout.frames:
        frames = decoder.iter_array(source, indices=list(indices), **options)
        return np.stack([frame for frame, _ in frames])
    array: NDArray[Any] = decoder.as_array(source, **options)[0]
    return _picked(array, layout, indices)


def _picked(
    array: NDArray[Any], layout: Layout, indices: Sequence[int]
) -> NDArray[Any]:
    """Frames of all of a file's, without a copy where all are wanted in order."""
    colour = (layout.samples,) if layout.samples > 1 else ()
    array = array.reshape(layout.frames, layout.rows, layout.columns, *colour)
    if list(indices) == list(range(layout.frames)):
        return array
    return array[list(indices)]


def _clean(array: NDArray[Any], layout: Layout) -> tuple[NDArray[Any], str]:
    """Drop what old files keep beside the stored bits (overlays); extend the sign.

    As pydicom does. It leaves out HighBit, which old files set higher than
    BitsStored - 1. It is followed where the bits below are empty: where HighBit is
    wrong, they are not.
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    spare = array.dtype.itemsize * 8 - layout.stored
    if layout.allocated == 1 or not spare:
        return array, ""
    note = ""
    below = layout.high + 1 - layout.stored
    if 0 < below <= spare and not (array & array.dtype.type(2**below - 1)).any():
        array = array >> below
        note = f"pixels were taken from the upper bits, as HighBit is {layout.high}"
    low, high = layout.limits
    if low <= array.min() and array.max() <= high:
        return array, note
    if layout.signed:
        return (array << spare) >> spare, note
    return array & array.dtype.type(high), note


def _by_gdcm(
    dataset: Dataset,
    layout: Layout,
    indices: Sequence[int],
    name: str,
    first: Exception,
) -> NDArray[Any]:
    """Decode stored values by the GDCM inside SimpleITK.

    SimpleITK applies the rescale and inverts some MONOCHROME1 files by itself. So it
    gets a copy with nothing but the pixels, which says MONOCHROME2 and no rescale,
    and which carries no patient.
    """
    import SimpleITK

    sitk: Any = SimpleITK  # untyped

    why = _why(first)
    with tempfile.TemporaryDirectory() as folder, _GDCM:
        copy = Path(folder) / "pixels.dcm"
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(copy))
        try:
            _bare(dataset, layout).save_as(copy, enforce_file_format=True)
            array: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
        except (*BROKEN, RuntimeError) as error:
            raise StudyError(
                f"{name}: the pixels ({layout.syntax.name}) can be decoded neither by "
                f"pydicom ({why}) nor by GDCM. {AGAIN}"
            ) from error
    shape: tuple[int, ...] = (layout.frames, layout.rows, layout.columns)
    if layout.samples > 1:
        shape += (layout.samples,)
    if array.size != np.prod(shape) or array.shape[-len(shape) + 1 :] != shape[1:]:
        raise StudyError(
            f"{name}: its pixels have shape {array.shape}, its header says {shape}. "
            "The file is damaged."
        )
    return _picked(array, layout, indices)


def _why(error: Exception) -> str:
    """Say in one line why pydicom failed: what its first decoder says."""
    lines = [line.strip() for line in reason(error).splitlines()] or [""]
    line = lines[1] if lines[0].startswith("Unable to decode") and lines[1:] else ""
    return re.sub("[()]", "", line or lines[0].rstrip(":"))[:160]


def _bare(dataset: Dataset, layout: Layout) -> Dataset:
    """Make a data set of the pixels alone."""
    bare = Dataset()
    bare.SamplesPerPixel = layout.samples
    bare.PhotometricInterpretation = (
        layout.photometric if layout.samples > 1 else "MONOCHROME2"
    )
    if layout.samples > 1:
        bare.PlanarConfiguration = layout.planar
    if layout.frames > 1:
        bare.NumberOfFrames = layout.frames
    bare.Rows, bare.Columns = layout.rows, layout.columns
    bare.BitsAllocated, bare.BitsStored = layout.allocated, layout.stored
    bare.HighBit = layout.high
    bare.PixelRepresentation = int(layout.signed)
    bare[layout.keyword] = dataset[layout.keyword]
    bare.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    bare.SOPInstanceUID = "2.25.1"
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = layout.syntax
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    return bare
