"""PNG, JPEG, TIFF and BMP by Pillow: pixels without orientation or spacing."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from napari_medxai.errors import StudyError
from napari_medxai.study import Series, Study

from .naming import printable, reason, shown

__all__ = ["load", "read_pixels", "series"]

EXIF_ORIENTATION = 0x0112
BROKEN = (
    OSError,
    SyntaxError,  # Pillow's word for a damaged PNG
    EOFError,
    ValueError,
    TypeError,
    IndexError,
    struct.error,
    zlib.error,
)
ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})


def load(path: Path) -> Study:
    """Read a raster image.

    Parameters
    ----------
    path : Path
        PNG, JPEG, TIFF or BMP with 1, 8 or 16 bits.

    Returns
    -------
    Study
        (row, column) or, in colour, (row, column, 3). Grey in all three channels
        becomes grey; palettes are resolved; EXIF orientation is applied; a file's
        dots per inch say nothing about the patient, so there is no spacing.

    Raises
    ------
    StudyError
        Where the file is damaged, too large, or holds several pages.
    """
    array, notes = read_pixels(path)
    return Study(
        array=array,
        source=path,
        colour=array.ndim == 3,
        identifier=printable(path.name),
        notes=notes,
        files=(path,),
    )


def series(path: Path) -> tuple[Series, ...]:
    """Describe a raster image from its header; a damaged one says so."""
    try:
        with _opened(path) as image:
            columns, rows = image.size
            if image.getexif().get(EXIF_ORIENTATION, 1) >= 5:
                columns, rows = rows, columns
            text = f"{image.format} {columns} x {rows}"
    except StudyError as error:
        return (Series(key=path.name, description=str(error), files=(path,)),)
    shape = (1, rows, columns)
    return (Series(key=path.name, description=text, files=(path,), shape=shape),)


def read_pixels(path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Read pixels, (row, column) or (row, column, 3), and notes on them."""
    notes: list[str] = []
    with _opened(path) as image:
        pages = getattr(image, "n_frames", 1)
        if pages > 1:
            raise StudyError(
                f"{shown(path)}: holds {pages} pages; a raster file is read as one "
                "image. Save the pages as single images or as one NIfTI volume."
            )
        if _is_deep_colour(path):
            notes.append("16 bits per channel were reduced to 8 by the PNG decoder")
        if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
            notes.append("turned upright as its EXIF orientation says")
        upright = ImageOps.exif_transpose(image)
        array = _pixels(upright, notes)
    if array.ndim == 3 and bool((array == array[..., :1]).all()):
        array = np.ascontiguousarray(array[..., 0])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        notes.append(f"{int((~np.isfinite(array)).sum())} values are not finite")
    return array, tuple(notes)


def _pixels(image: Image.Image, notes: list[str]) -> NDArray[Any]:
    mode = image.mode
    if mode in ALPHA_MODES or "transparency" in image.info:
        notes.append("transparency was dropped")
    if mode in {"1", "LA", "La"}:
        image = image.convert("L")
    elif mode.startswith("I;16"):
        # Pillow's own name for the byte order; NumPy's comes out native.
        return np.asarray(image).astype(np.uint16)
    elif mode == "I" and image.format == "PNG":
        return np.asarray(image).astype(np.uint16)
    elif mode not in {"L", "I", "F"}:
        if mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        image = image.convert("RGB")
    return np.array(image)


def _is_deep_colour(path: Path) -> bool:
    """Whether this is a PNG with 16 bits in several channels, which Pillow cuts."""
    with path.open("rb") as file:
        head = file.read(26)
    return (
        head[:4] == b"\x89PNG" and len(head) == 26 and head[24] == 16 and head[25] > 0
    )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open by Pillow; every way to fail becomes a StudyError, no warning leaks."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    except StudyError:
        raise
    except Image.DecompressionBombError as error:
        raise StudyError(
            f"{shown(path)}: is larger than Pillow's limit for a picture "
            f"({2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels); such a file can be an "
            "attack on memory. Make it smaller with a tool you trust."
        ) from error
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
