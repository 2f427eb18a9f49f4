"""From stored values to units: inversion, modality LUT and pixel padding.

The order is fixed: stored values, MONOCHROME1 inverted once, then the modality LUT
(DICOM PS3.3 C.11.1), so that what is bright is dense in every file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .dicom_access import numbers
from .dicom_decoding import Layout
from .dicom_tables import Table, read_table
from .dicom_window import Range

__all__ = ["Line", "Mapping", "invert", "padding", "read_mapping"]


@dataclass(frozen=True)
class Line:
    """RescaleSlope and RescaleIntercept."""

    slope: float = 1.0
    intercept: float = 0.0

    def look_up(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Map values: to integers where slope and intercept are whole, else float64."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return stored
        whole = self.slope.is_integer() and self.intercept.is_integer()
        kind = self._integers(stored) if whole and stored.dtype.kind in "iu" else None
        if kind is None:
            values: NDArray[Any] = stored.astype(np.float64)
            values *= self.slope
            values += self.intercept
            return values
        # A cast of its own would pass over the pixels once more.
        options: Any = {"dtype": kind, "casting": "unsafe"}
        if self.slope == 1:
            values = np.add(stored, int(self.intercept), **options)
        else:
            values = np.multiply(stored, int(self.slope), **options)
            values += kind.type(self.intercept)
        return values

    def follow(self, window: Range) -> Range:
        """Map a range of stored values."""
        ends = sorted(self.slope * end + self.intercept for end in window)
        return ends[0], ends[1]

    def mirror(self, window: Range, top: int) -> Range:
        """Follow the inversion v -> top - v through the rescale: w -> c - w."""
        turn = self.slope * top + 2 * self.intercept
        return turn - window[1], turn - window[0]

    def _integers(self, stored: NDArray[Any]) -> np.dtype[Any] | None:
        """Smallest signed type for all results and steps between, if there is one."""
        if not stored.size:
            return np.dtype(np.int16)
        products = [int(self.slope) * int(v) for v in (stored.min(), stored.max())]
        sums = [product + int(self.intercept) for product in products]
        wanted = [*products, *sums, int(self.intercept)]
        for kind in (np.int16, np.int32, np.int64):
            limits = np.iinfo(kind)
            if limits.min <= min(wanted) and max(wanted) <= limits.max:
                return np.dtype(kind)
        return None


Mapping = Line | Table


def read_mapping(holder: Dataset, layout: Layout) -> tuple[Mapping, str]:
    """Read the modality LUT.

    Parameters
    ----------
    holder : Dataset
        The image, or an item of its PixelValueTransformationSequence.
    layout : Layout
        Of its pixels.

    Returns
    -------
    mapping : Line or Table
        A line of slope 1 and intercept 0 where there is no modality LUT.
    note : str
        What was out of the ordinary, or "".
    """
    tables = holder.get("ModalityLUTSequence")
    if tables and layout.whole:
        table = read_table(tables[0], signed=layout.signed, little=layout.little)
        return table, ""
    slope = numbers(holder, "RescaleSlope", 1)
    intercept = numbers(holder, "RescaleIntercept", 1)
    if slope is None or intercept is None:
        return Line(), ""
    if slope[0] == 0:
        return Line(), "the rescale slope in the header is 0 and was not applied"
    return Line(slope[0], intercept[0]), ""


def invert(stored: NDArray[Any], layout: Layout) -> tuple[NDArray[Any], int]:
    """Invert MONOCHROME1: 2^BitsStored - 1 - v, or -1 - v where signed.

    Returns
    -------
    inverted : ndarray
        Of the same type, or a wider one where lossy compression left values that the
        stored bits cannot hold.
    top : int
        What values were subtracted from.
    """
    if layout.signed:
        # -1 - v is ~v.
        return np.invert(stored), -1
    top = layout.limits[1]
    if int(stored.max()) > top:
        return top - stored.astype(np.int64), top
    return stored.dtype.type(top) - stored, top


def padding(
    dataset: Dataset, layout: Layout, top: int | None, mapping: Mapping
) -> tuple[Range | None, str]:
    """Read the values that stand for "no pixel here" (PS3.3 C.7.5.1.1.2).

    Parameters
    ----------
    dataset : Dataset
        Holds PixelPaddingValue and maybe PixelPaddingRangeLimit, as stored values.
    layout : Layout
        Of its pixels.
    top : int or None
        What stored values were subtracted from, if they were inverted.
    mapping : Line or Table
        The modality LUT that followed.

    Returns
    -------
    padding : tuple of float or None
        The closed range in units after inversion and modality LUT.
    note : str
        Why there is none although the header names one, or "".
    """
    prefix = layout.keyword.removesuffix("PixelData")
    keyword = f"{prefix}PixelPadding"
    value = numbers(dataset, f"{keyword}Value", 1)
    if value is None:
        return None, ""
    ends = [*value, *(numbers(dataset, f"{keyword}RangeLimit", 1) or value)]
    if layout.whole:
        bits = min(16, layout.allocated)
        low, high = layout.limits
        # It is written as the pixels are, but often read with the other sign.
        ends = [(int(v) - low) % 2**bits + low for v in ends]
        if max(ends) > high:
            return None, (
                "the PixelPaddingValue in the header is none that the pixels can have "
                "and was left out"
            )
    if top is not None:
        ends = [top - end for end in ends]
    if isinstance(mapping, Table):
        return None, (
            "the PixelPaddingValue in the header was left out, as the modality table "
            "gives other values the same result"
        )
    return mapping.follow((min(ends), max(ends))), ""
