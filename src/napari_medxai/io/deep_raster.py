"""Raster pixels that Pillow cuts to 8 bits or misreads: deep TIFF and colour PNG.

Pillow 13 halves 16-bit colour, takes unsigned 32-bit for signed and signed 8-bit for
unsigned, and leaves 16-bit WhiteIsZero as it is, all without a word. TIFF files are
therefore looked at by tifffile first, which also decodes those; what it has no codec
for, and 16-bit colour PNG, is decoded by SimpleITK.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC

from napari_medxai.errors import StudyError

from .naming import reason, shown

__all__ = [
    "COLOUR_16",
    "GREY_ALPHA_16",
    "Page",
    "deep_png",
    "is_tiff",
    "png_kind",
    "tiff_page",
    "tiff_pages",
]

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
REDUCED, TRANSPARENCY = 1, 4  # bits of NewSubfileType (TIFF 6.0, section 8)
PNG_START = b"\x89PNG\r\n\x1a\n"
GREY_ALPHA_16 = (16, 4)
COLOUR_16 = ((16, 2), (16, 6))  # without and with alpha


@dataclass(frozen=True)
class Page:
    """A page of a TIFF file.

    Attributes
    ----------
    frame : int
        Its number in the file, which also counts thumbnails.
    rows, columns : int
        As stored, before `orientation`.
    orientation : int
        The tag of this name, 1 to 8 (TIFF 6.0, section 8).
    white_is_zero : bool
        Whether it is to be inverted; Pillow does so itself.
    plain : bool
        Whether Pillow decodes it without loss.
    """

    frame: int
    rows: int
    columns: int
    orientation: int
    white_is_zero: bool
    plain: bool


def is_tiff(path: Path) -> bool:
    """Whether a file begins as TIFF or BigTIFF does, whatever its name."""
    with path.open("rb") as file:
        return file.read(4) in TIFF_STARTS


def png_kind(path: Path) -> tuple[int, int] | None:
    """Bit depth and colour type of a PNG (PNG, section 11.2.1); None for others."""
    with path.open("rb") as file:
        head = file.read(26)
    whole = head.startswith(PNG_START) and len(head) == 26
    return (head[24], head[25]) if whole else None


def tiff_pages(path: Path) -> tuple[Page, ...]:
    """List the pages of a TIFF file, without thumbnails and transparency masks."""
    with tifffile.TiffFile(path) as file:
        return tuple(
            _page(number, page, strange=file.is_bigtiff and file.byteorder == ">")
            for number, page in enumerate(file.pages)
            if isinstance(page, tifffile.TiffPage)
            and not page.subfiletype & (REDUCED | TRANSPARENCY)
        )


def tiff_page(path: Path, page: Page) -> NDArray[Any]:
    """Decode a page that is not `plain`, before its orientation, white not zero.

    Returns
    -------
    ndarray, shape (row, column) or (row, column, channels)
        In the type of the file; 16-bit floats widened to 32.
    """
    with tifffile.TiffFile(path) as file:
        found = file.pages[page.frame]
        if not isinstance(found, tifffile.TiffPage):
            found = found.aspage()
        _check_kind(path, found)
        try:
            array = np.asarray(found.asarray())
        except ValueError as error:
            if "imagecodecs" not in str(error) or len(file.pages) > 1:
                raise
            array = _by_itk(path)
            if array.dtype != np.dtype(found.dtype):
                packing = getattr(found.compression, "name", found.compression)
                raise StudyError(
                    f"{shown(path)}: its compression, {packing}, cannot be decoded in "
                    f"{found.dtype}. Save it without compression."
                ) from error
        separate = array.ndim == 3 and found.planarconfig == 2
        if separate and array.shape[0] == found.samplesperpixel:
            array = np.moveaxis(array, 0, -1)
        if found.photometric == PHOTOMETRIC.MINISWHITE:
            array = _inverted(array)
    if array.shape[:2] != (page.rows, page.columns) or array.ndim > 3:
        raise StudyError(
            f"{shown(path)}: its page has the shape {array.shape}, not rows x columns."
        )
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def deep_png(path: Path) -> NDArray[np.uint16]:
    """Decode a colour PNG of 16 bits, (row, column, 3 or 4)."""
    array = _by_itk(path)
    if array.dtype != np.uint16:
        raise StudyError(f"{shown(path)}: cannot be decoded in 16 bits per channel.")
    return array


def _page(number: int, page: tifffile.TiffPage, *, strange: bool) -> Page:
    """Describe a page; `strange` is a file that Pillow cannot open at all."""
    kind = "" if page.dtype is None else np.dtype(page.dtype).name
    grey = page.photometric == PHOTOMETRIC.MINISBLACK and page.samplesperpixel == 1
    plain = kind in {"uint8", "bool"} or (
        grey and (kind, page.bitspersample) in {("uint16", 16), ("float32", 32)}
    )
    tag = page.tags.get("Orientation")
    turn = tag.value if tag is not None and tag.value in range(1, 9) else 1
    return Page(
        number,
        page.imagelength,
        page.imagewidth,
        int(turn),
        page.photometric == PHOTOMETRIC.MINISWHITE,
        plain and not strange,
    )


def _check_kind(path: Path, page: tifffile.TiffPage) -> None:
    known = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB)
    kind = np.dtype(page.dtype).kind if page.dtype is not None else "?"
    if kind not in "iuf" or page.photometric not in known or page.imagedepth != 1:
        colours = getattr(page.photometric, "name", page.photometric)
        raise StudyError(
            f"{shown(path)}: a TIFF of {page.bitspersample} bits {page.dtype}, "
            f"{colours}, cannot be read without loss. Save it as grey or RGB with 8, "
            "16 or 32 bits."
        )


def _inverted(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "f":
        return -array
    # 2^n - 1 - v where unsigned, -1 - v where signed: all bits turned.
    return ~array


def _by_itk(path: Path) -> NDArray[Any]:
    # It takes a second to load.
    import SimpleITK as sitk

    try:
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    except RuntimeError as error:
        raise StudyError(
            f"{shown(path)}: is damaged or of a kind that cannot be decoded "
            f"({reason(error, path)}). Save it again as a common PNG or TIFF."
        ) from error
