"""The VOI window of a header as a range of values (PS3.3 C.11.2)."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from .dicom_tables import read_table

__all__ = ["Range", "voi_window"]

Range = tuple[float, float]


def voi_window(
    holder: Dataset, *, signed: bool, little: bool
) -> tuple[Range | None, str]:
    """Read the first window, or make one of the first VOI table.

    Parameters
    ----------
    holder : Dataset
        The image, or an item of its FrameVOILUTSequence.
    signed : bool
        Whether values after the modality LUT can be negative.
    little : bool
        Byte order of the file.

    Returns
    -------
    window : tuple of float or None
        (low, high): what is darker than low is black, what is brighter than high is
        white, in units after the modality LUT.
    note : str
        Where this is not quite what the header says; else "".

    Notes
    -----
    LINEAR and LINEAR_EXACT are straight lines between low and high (C.11.2.1.2). Of
    SIGMOID it is the tangent at the centre, which reaches black and white there. Of
    a table it is the range of inputs over which the output changes.
    """
    try:
        ends = [_first(holder, "WindowCenter"), _first(holder, "WindowWidth")]
    except (ValueError, TypeError, OverflowError):
        return None, "the window in the header is not a number and was left out"
    if ends[0] is not None and ends[1] is not None and ends[1] > 0:
        centre, width = ends[0], ends[1]
        function = str(holder.get("VOILUTFunction") or "LINEAR").upper()
        low, high = centre - width / 2, centre + width / 2
        if function == "LINEAR" and width > 1:
            return (low, high - 1), ""
        if function == "SIGMOID":
            return (low, high), "the window's sigmoid is shown as a straight line"
        return (low, high), ""
    tables = holder.get("VOILUTSequence")
    if not tables:
        return None, ""
    table = read_table(tables[0], signed=signed, little=little)
    changes = np.flatnonzero(np.diff(table.values.astype(np.int64)))
    if not len(changes):
        return None, "the VOI table in the header is constant and was left out"
    return (
        (float(table.first + changes[0]), float(table.first + changes[-1] + 1)),
        "the window is a straight line over the range of the header's VOI table",
    )


def _first(holder: Dataset, keyword: str) -> float | None:
    """First value of an element, None where it is absent, empty or not finite."""
    value = holder.get(keyword)
    if value is None or value == "":
        return None
    if hasattr(value, "__iter__") and not isinstance(value, str):
        value = next(iter(value), None)
        if value is None or value == "":
            return None
    number = float(value)
    return number if np.isfinite(number) else None
