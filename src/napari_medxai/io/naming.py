"""How files are named in notes, error texts and tables.

Names of DICOM files and folders often hold a patient's name. A person who opens a
file by its path may read its name in an error; a run over many cases writes errors
into tables and reports, and there the case's own name, a pseudonym, stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["anonymous", "named_as", "printable", "reason", "shown"]

_STAND_IN: ContextVar[str | None] = ContextVar("stand_in", default=None)


@contextmanager
def named_as(name: str) -> Iterator[None]:
    """Within this context `shown` gives `name` for every file.

    Parameters
    ----------
    name : str
        For example a case's pseudonym.
    """
    token = _STAND_IN.set(name)
    try:
        yield
    finally:
        _STAND_IN.reset(token)


def anonymous() -> bool:
    """Whether file names are to be kept out of texts."""
    return _STAND_IN.get() is not None


def shown(path: Path, part: str = "") -> str:
    """Name a file in an error text.

    Parameters
    ----------
    path : Path
        The file; never more than its last part is given.
    part : str
        What it is, for where its name may not be given: "its mask", "instance 7".

    Returns
    -------
    str
        The file's name; within `named_as` the name given there, with `part`.
    """
    stand_in = _STAND_IN.get()
    if stand_in is None:
        return printable(path.name or path.resolve().name or str(path))
    return f"{stand_in}, {part}" if part else stand_in


def printable(text: str) -> str:
    r"""Write bytes that are no UTF-8 as backslash sequences.

    Names on disk can hold any bytes; Python keeps those it cannot decode as lone
    surrogates, which no UTF-8 file can take.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def reason(error: BaseException, path: Path | None = None) -> str:
    """Say why something failed, without the paths that many errors quote.

    Parameters
    ----------
    error : BaseException
        From the system or a library.
    path : Path, optional
        The file, whose name is not repeated.
    """
    text = str(error)
    if isinstance(error, OSError) and (error.strerror or error.filename):
        text = error.strerror or ""
    quoted = path is not None and path.name in text
    if not text or quoted or "/" in text or "\\" in text:
        return type(error).__name__
    return printable(text)
