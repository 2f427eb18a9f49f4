"""Siemens mosaics: many slices tiled into one picture, each given its own place.

The header describes the whole picture as if it were one slice, so its position is
that of a corner which lies outside the patient. Tile size, direction of the slices
and their number stand in the vendor's private CSA header.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from .dicom_access import BROKEN, quiet

__all__ = ["Mosaic", "cut", "read_mosaic"]

PARALLEL = 1e-3


@dataclass(frozen=True)
class Mosaic:
    """The slices of a mosaic.

    Attributes
    ----------
    rows, columns : int
        Of one tile.
    positions : tuple of tuple of float
        ImagePositionPatient of each tile, in their order in the picture: row by row.
    remark : str
        What is out of the ordinary, or "".
    """

    rows: int
    columns: int
    positions: tuple[tuple[float, ...], ...]
    remark: str


def read_mosaic(
    path: Path,
    *,
    rows: int,
    columns: int,
    position: tuple[float, ...] | None,
    orientation: tuple[float, ...] | None,
    spacing: tuple[float, ...] | None,
    step: float | None,
) -> Mosaic:
    """Compute where the tiles of a mosaic lie.

    The first tile's corner is the picture's corner moved inwards by half of what the
    picture is larger than a tile, as the vendor centres the picture where the tile
    should be. The slices follow each other along the normal, in the direction of
    SliceNormalVector of the CSA header (as nibabel's ``MosaicWrapper``).

    Parameters
    ----------
    path : Path
        The file, for its private elements.
    rows, columns : int
        Of the whole picture.
    position, orientation, spacing : tuple of float or None
        ImagePositionPatient, ImageOrientationPatient, PixelSpacing.
    step : float or None
        SpacingBetweenSlices in mm.

    Returns
    -------
    Mosaic

    Raises
    ------
    ValueError
        Where something is missing that the geometry needs. The text says what, as
        the end of a sentence that begins "is a Siemens mosaic".
    """
    csa = _csa(path)
    if csa is None:
        raise ValueError(
            "without the CSA header that says how its slices lie (scanners with XA "
            "software leave it out, and so do some anonymisers)"
        )
    count = _numbers(csa, "NumberOfImagesInMosaic", 1)
    normal = _numbers(csa, "SliceNormalVector", 3)
    if count is None or count[0] < 1 or normal is None:
        raise ValueError("whose CSA header gives no number of slices or no direction")
    if position is None or orientation is None or spacing is None or not step:
        raise ValueError(
            "without ImagePositionPatient, ImageOrientationPatient, PixelSpacing or "
            "SpacingBetweenSlices"
        )
    number = round(count[0])
    side = math.ceil(math.sqrt(number))
    if rows % side or columns % side:
        raise ValueError(
            f"whose {columns} x {rows} pixels do not divide into {side} x {side} tiles"
        )
    row_way, column_way = np.array(orientation[:3]), np.array(orientation[3:])
    across = np.cross(row_way, column_way)
    along = float(across @ np.array(normal))
    if abs(abs(along) - 1) > PARALLEL:
        raise ValueError("whose slice direction is not perpendicular to its pixels")
    high, wide = rows // side, columns // side
    first = (
        np.array(position)
        + row_way * spacing[1] * (columns - wide) / 2
        + column_way * spacing[0] * (rows - high) / 2
    )
    way = across * math.copysign(step, along)
    places = tuple(tuple(float(v) for v in first + k * way) for k in range(number))
    order = _numbers(csa, "ProtocolSliceNumber", 1)
    remark = ""
    if order is not None and order[0] > 0:
        remark = (
            "the mosaic's first tile is not the protocol's first slice; the direction "
            "of SliceNormalVector was followed: compare with another series"
        )
    return Mosaic(high, wide, places, remark)


def cut(picture: NDArray[Any], tile: int, rows: int, columns: int) -> NDArray[Any]:
    """Take one tile out of a mosaic.

    Parameters
    ----------
    picture : ndarray, shape (rows, columns)
        Of the whole mosaic.
    tile : int
        From 0, row by row.
    rows, columns : int
        Of one tile.

    Returns
    -------
    ndarray, shape (rows, columns)
        A view.
    """
    down, right = divmod(tile, picture.shape[1] // columns)
    return picture[down * rows : (down + 1) * rows, right * columns :][:, :columns]


def _csa(path: Path) -> dict[str, Any] | None:
    """Read the CSA image header's tags; None where there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls the module experimental
        from nibabel.nicom import csareader
    reader: Any = csareader  # untyped
    with quiet():
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        try:
            found = reader.get_csa_header(header)
        except (*BROKEN, reader.CSAReadError):
            return None
    tags: dict[str, Any] | None = found and found.get("tags")
    return tags


def _numbers(tags: dict[str, Any], name: str, count: int) -> tuple[float, ...] | None:
    items = (tags.get(name) or {}).get("items") or ()
    try:
        values = tuple(float(item) for item in items)
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and np.isfinite(values).all() else None
