"""Numbers in words: one way of writing them in pictures, drawings and pages."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt
from typing import Any

__all__ = [
    "NOTHING",
    "count_text",
    "duration",
    "estimate_parts",
    "interval_only",
    "interval_text",
    "listed",
    "number",
    "significant",
    "wilson",
]

NOTHING = "–"
MINUS = "−"


def number(value: float | None, digits: int = 3) -> str:
    """Write fixed decimals with a true minus sign; a dash for None and NaN."""
    if value is None or not isfinite(value):
        return NOTHING
    # adding 0 after rounding: no "−0.00"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


def significant(value: float, digits: int = 3) -> str:
    """Write significant digits with a true minus sign."""
    return f"{value:.{digits}g}".replace("-", MINUS)


def estimate_parts(value: Any) -> tuple[float | None, float | None, float | None]:
    """Value and interval of an aggregate as finite floats, None where there are none.

    Parameters
    ----------
    value : object
        With ``.value`` (or ``.auc``) and, where known, ``.ci_low`` and ``.ci_high``.
    """
    middle = getattr(value, "value", getattr(value, "auc", None))
    found = (middle, getattr(value, "ci_low", None), getattr(value, "ci_high", None))
    checked = [float(v) if v is not None and isfinite(v) else None for v in found]
    return checked[0], checked[1], checked[2]


def interval_text(value: Any) -> str:
    """Write an aggregate with its interval, as in ``0.512 [0.43, 0.60]``.

    Parameters
    ----------
    value : object
        As for :func:`estimate_parts`.

    Returns
    -------
    str
        Without brackets where there is no interval; a dash without a value.
    """
    middle = number(estimate_parts(value)[0])
    return f"{middle} {interval_only(value)}".rstrip()


def interval_only(value: Any) -> str:
    """Write an aggregate's interval alone, as in ``[0.43, 0.60]``; "" without one."""
    middle, low, high = estimate_parts(value)
    if middle is None or low is None or high is None:
        return ""
    return f"[{number(low, 2)}, {number(high, 2)}]"


def count_text(n: int, singular: str, plural: str = "") -> str:
    """Write ``1 case`` or ``3 cases``, thousands apart."""
    word = singular if n == 1 else plural or f"{singular}s"
    return f"{n:,} {word}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def listed(words: Sequence[str]) -> str:
    """Write ``a``, ``a and b`` or ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def duration(seconds: float | None) -> str:
    """Write seconds as people do: ``4.2 s``, ``3 min 20 s``, ``1 h 12 min``."""
    if seconds is None or not isfinite(seconds):
        return NOTHING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, after Wilson (1927); (0, 1) where `n` is 0."""
    if n == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if hits == 0 else middle - half
    return low, 1.0 if hits == n else middle + half
