"""Lists on the screen: aligned, plain characters, nothing that moves a cursor."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["aligned", "figure", "printable"]


def printable(text: str, longest: int = 0) -> str:
    """Text from a file as one line of plain ASCII; cut where it is too long.

    Control characters, which could drive a terminal, become escapes.
    """
    plain = "".join(
        c if " " <= c <= "~" else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )
    return f"{plain[: longest - 3]}..." if 3 < longest < len(plain) else plain


def figure(value: float | None, *, signed: bool = False, digits: int = 4) -> str:
    """Write a number with significant digits; ``-`` for None and NaN."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:{'+' if signed else ''}.{digits}g}"


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Lay rows of cells out in columns.

    Parameters
    ----------
    rows : sequence of sequence of str
        All equally long.
    right : sequence of int
        Columns of numbers, whose right edges are aligned.

    Returns
    -------
    list of str
        Lines without spaces at their ends.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
