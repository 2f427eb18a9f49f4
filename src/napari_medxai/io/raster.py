"""PNG, JPEG, TIFF and BMP: pixels without orientation or spacing.

Pillow decodes what it keeps whole; see `deep_raster` for the rest.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from napari_medxai.errors import StudyError
from napari_medxai.study import Series, Study

from . import deep_raster
from .deep_raster import Page
from .naming import printable, reason, shown

__all__ = ["load", "read_pixels", "series"]

EXIF_ORIENTATION = 0x0112
# What files of these extensions hold in practice; others, such as EPS, start programs.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "JPEG2000")
BROKEN = (
    OSError,
    SyntaxError,  # Pillow's word for a damaged PNG
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,  # tifffile's, for a page without the tags it needs
    OverflowError,
    struct.error,
    zlib.error,
)
ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
# How an image stored in EXIF orientation 1 to 8 is put upright.
UPRIGHT: Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a, 1),
}
TURNED = "turned upright as its EXIF orientation says"


def load(path: Path, *, page: str | None = None) -> Study:
    """Read a raster image.

    Parameters
    ----------
    path : Path
        PNG, JPEG, TIFF or BMP of any depth.
    page : str, optional
        Index, from 0, of the page of a TIFF file with several.

    Returns
    -------
    Study
        (row, column) or, in colour, (row, column, 3), in the depth of the file.
        Equal values in all three channels become grey; palettes are resolved; CMYK
        becomes RGB; transparency is ignored, so that the stored colours show where
        it lies; EXIF orientation is applied; WhiteIsZero is inverted. All of this
        is said in the notes. A file's dots per inch say nothing about the patient,
        so there is no spacing.

    Raises
    ------
    StudyError
        Where the file is damaged, too large, has several pages and none is chosen,
        or cannot be decoded without loss.
    """
    array, notes = read_pixels(path, page=page)
    return Study(
        array=array,
        source=path,
        colour=array.ndim == 3,
        identifier=printable(path.name) + ("" if page is None else f"#{page}"),
        notes=notes,
        files=(path,),
        metadata={"format": "raster", "page": page},
    )


def series(path: Path) -> tuple[Series, ...]:
    """List an image's pages from its header; a damaged one says so."""
    try:
        sizes, name = _sizes(path)
    except StudyError as error:
        return (Series(key=path.name, description=str(error), files=(path,)),)
    return tuple(
        Series(
            key=path.name if len(sizes) == 1 else str(number),
            description=f"{name} {columns} x {rows}"
            + (f", page {number} of 0 to {len(sizes) - 1}" if len(sizes) > 1 else ""),
            files=(path,),
            shape=(1, rows, columns),
        )
        for number, (rows, columns) in enumerate(sizes)
    )


def read_pixels(
    path: Path, *, page: str | None = None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Read pixels, (row, column) or (row, column, 3), and notes on them."""
    notes: list[str] = []
    with _errors(path):
        if deep_raster.is_tiff(path):
            array = _tiff(path, page, notes)
        else:
            array = _by_pillow(path, page, notes)
    if array.ndim == 3:
        array = _flat(path, array, notes)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        notes.append(f"{int((~np.isfinite(array)).sum())} values are not finite")
    return np.ascontiguousarray(array), tuple(notes)


def _sizes(path: Path) -> tuple[list[tuple[int, int]], str]:
    """Rows and columns of each page, put upright, and the format's name."""
    with _errors(path):
        if deep_raster.is_tiff(path):
            pages = [_upright_size(page) for page in deep_raster.tiff_pages(path)]
            if not pages:
                raise StudyError(f"{shown(path)}: has no page.")
            return pages, "TIFF"
        with _opened(path) as image:
            columns, rows = image.size
            if image.getexif().get(EXIF_ORIENTATION, 1) >= 5:
                columns, rows = rows, columns
            return [(rows, columns)] * _frames(image), str(image.format)


def _upright_size(page: Page) -> tuple[int, int]:
    if page.orientation >= 5:
        return page.columns, page.rows
    return page.rows, page.columns


def _frames(image: Image.Image) -> int:
    # The further pictures of an MPO file are previews or views for the other eye.
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def _chosen(path: Path, page: str | None, count: int) -> int:
    if count > 1 and page is None:
        raise StudyError(
            f"{shown(path)}: holds {count} pages; choose one with series= and its "
            f'index, "0" to "{count - 1}". To open them as one volume, save them as '
            "NIfTI."
        )
    if page is None or (count == 1 and page in {path.name, "0"}):
        return 0
    if count == 1:
        raise StudyError(f"{shown(path)}: is one image and has no series '{page}'.")
    if not page.isdecimal() or int(page) >= count:
        raise StudyError(
            f"{shown(path)}: has no page '{page}'; it holds {count}, with the "
            f'indices "0" to "{count - 1}".'
        )
    return int(page)


def _tiff(path: Path, page: str | None, notes: list[str]) -> NDArray[Any]:
    pages = deep_raster.tiff_pages(path)
    if not pages:
        raise StudyError(f"{shown(path)}: has no page.")
    one = pages[_chosen(path, page, len(pages))]
    if one.orientation != 1:
        notes.append(TURNED)
    if one.white_is_zero:
        notes.append("stored with white as zero (WhiteIsZero); inverted")
    if one.plain:
        with _opened(path) as image:
            if one.frame:
                image.seek(one.frame)
            # Pillow turns TIFF itself; the tag is gone once the pixels are loaded.
            return _pixels(path, ImageOps.exif_transpose(image), notes)
    _check_count(path, one.rows * one.columns)
    turn = UPRIGHT[one.orientation]
    return turn(deep_raster.tiff_page(path, one))


def _by_pillow(path: Path, page: str | None, notes: list[str]) -> NDArray[Any]:
    with _opened(path) as image:
        index = _chosen(path, page, _frames(image))
        if index:
            image.seek(index)
        if image.format == "MPO" and getattr(image, "n_frames", 1) > 1:
            notes.append("of its several pictures (MPO) the first is shown")
        turn = image.getexif().get(EXIF_ORIENTATION, 1)
        if turn != 1:
            notes.append(TURNED)
        kind = deep_raster.png_kind(path)
        if kind in deep_raster.COLOUR_16:
            # Decoded once for its checks: Pillow sees damage that others pass over.
            image.load()
            return UPRIGHT.get(turn, UPRIGHT[1])(deep_raster.deep_png(path))
        if kind == deep_raster.GREY_ALPHA_16:
            notes.append("16 bits per channel were reduced to 8 by the PNG decoder")
        return _pixels(path, ImageOps.exif_transpose(image), notes)


def _pixels(path: Path, image: Image.Image, notes: list[str]) -> NDArray[Any]:
    mode = image.mode
    if mode in ALPHA_MODES or "transparency" in image.info:
        _say_alpha(_alpha(image), 255, notes)
    if mode in {"1", "LA", "La"}:
        image = image.convert("L")
    elif mode.startswith("I;16"):
        # Pillow's own name for the byte order; NumPy's comes out native.
        return np.asarray(image).astype(np.uint16)
    elif mode == "I" and image.format == "PNG":
        return np.asarray(image).astype(np.uint16)
    elif mode not in {"L", "I", "F"}:
        if mode in {"CMYK", "LAB", "HSV"}:
            if mode != "CMYK":
                raise StudyError(
                    f"{shown(path)}: has colours of kind {mode}, which cannot be "
                    "read. Save it as RGB."
                )
            notes.append("printing colours (CMYK) were turned to RGB")
        if mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        image = image.convert("RGB")
    return np.array(image)


def _alpha(image: Image.Image) -> NDArray[Any]:
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"}:
        return np.asarray(image.getchannel(image.getbands()[-1]))
    if image.mode in {"P", "L", "RGB", "1"}:
        return np.asarray(image.convert("RGBA").getchannel("A"))
    return np.zeros((1, 1), dtype=np.uint8)  # a colour of 16 bits made transparent


def _say_alpha(alpha: NDArray[Any], opaque: float, notes: list[str]) -> None:
    if bool((alpha < opaque).any()):
        notes.append("transparency was ignored; the stored colours are shown")


def _flat(path: Path, array: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """Drop an alpha channel; make equal channels one."""
    channels = array.shape[-1]
    if channels in (2, 4):
        top = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1.0
        _say_alpha(array[..., -1], top, notes)
        array = array[..., :-1]
    elif channels not in (1, 3):
        raise StudyError(
            f"{shown(path)}: has {channels} channels; one (grey) or three (RGB) can "
            "be shown. Save the channels as single images."
        )
    if bool((array == array[..., :1]).all()):
        if array.shape[-1] > 1:
            notes.append("its three channels are equal; read as grey")
        array = array[..., 0]
    return array


def _check_count(path: Path, count: int) -> None:
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    if count > limit > 0:
        raise _too_large(path)


def _too_large(path: Path) -> StudyError:
    return StudyError(
        f"{shown(path)}: is larger than Pillow's limit for a picture "
        f"({2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels); such a file can be an "
        "attack on memory. Make it smaller with a tool you trust."
    )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open by Pillow, without its warnings.

    As a stream: opened by its name, an uncompressed TIFF of orientation 5 to 8 comes
    out scrambled, because Pillow 13 maps it into memory with its sides exchanged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            yield image


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Every way to fail becomes a StudyError that names the file."""
    try:
        yield
    except StudyError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except UnidentifiedImageError as error:
        raise StudyError(
            f"{shown(path)}: is not a picture that Pillow can read. Check that the "
            "file is whole and that its extension is right."
        ) from error
    except FileNotFoundError as error:
        raise StudyError(f"{shown(path)}: there is no such file.") from error
    except (*BROKEN, MemoryError) as error:
        raise StudyError(
            f"{shown(path)}: "
            f"is damaged or incomplete ({reason(error, path)}). Copy it again."
        ) from error
