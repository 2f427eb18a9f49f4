"""File names that every file system takes."""

from __future__ import annotations

import hashlib
import re

__all__ = ["is_safe", "safe_name"]

SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_name(text: str) -> str:
    """Turn any text into a file name that every file system takes.

    Parameters
    ----------
    text : str
        For example a case's name, with slashes.

    Returns
    -------
    str
        Letters, digits, ``.``, ``_`` and ``-`` only, at most 100 of them, never
        empty. Slashes become ``__``; where anything else had to change, a hash of
        the text is added so that different texts keep different names.
    """
    plain = text.replace("\\", "/").replace("/", "__")
    name = re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "-", plain).strip(".-")[:90]
    if name == plain and "__" not in text and is_safe(name):
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name}-{digest}" if is_safe(name) else digest


def is_safe(name: str) -> bool:
    """Whether a name can be taken as it is."""
    return bool(SAFE.fullmatch(name)) and not RESERVED.fullmatch(name)
