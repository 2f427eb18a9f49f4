"""Careful access to pydicom data sets: numbers, functional groups, silence."""

from __future__ import annotations

import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

__all__ = ["BROKEN", "frame_count", "functional", "numbers", "quiet"]

BROKEN = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    ArithmeticError,
    RecursionError,  # sequences nested without end
    struct.error,
    zlib.error,  # of a deflated file
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom raises on damaged files."""

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
_LOGGER = logging.getLogger("pydicom")


class _Silence:
    """What a warning filter compares a message with: all match, where it is quiet."""

    def match(self, text: str) -> bool:
        del text
        return _QUIET.get()


# `warnings.catch_warnings` swaps the filters of the whole process, so that two threads
# leave each other's behind. This filter stays and asks who warns.
_FILTER: Any = ("ignore", _Silence(), Warning, None, 0)


class _Level:
    """The logger's level, raised while any thread is quiet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._level = logging.NOTSET

    def hold(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._level = _LOGGER.level
                _LOGGER.setLevel(logging.CRITICAL + 1)

    def release(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                _LOGGER.setLevel(self._level)


_LEVEL = _Level()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom: its warnings and log quote values, and values can be names.

    Warnings are silenced in the calling thread alone, pydicom's log in the process. It
    can be used from several threads at once and within itself, which costs nothing.
    """
    if _QUIET.get():
        yield
        return
    filters: Any = warnings.filters
    # Others put theirs in front, or start from an empty list, as pytest does.
    if not filters or filters[0] is not _FILTER:
        filters.insert(0, _FILTER)
    _LEVEL.hold()
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)
        _LEVEL.release()


def functional(dataset: Dataset, index: int, sequence: str) -> Dataset | None:
    """Item of a functional group: the frame's own, else the shared one."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for groups in (per_frame[index : index + 1], shared[:1]):
        for group in groups:
            items = group.get(sequence)
            if items:
                item: Dataset = items[0]
                return item
    return None


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Finite numbers of an element; None where absent, empty or of another count."""
    value = dataset.get(keyword)
    if value is None or isinstance(value, str):
        return None
    values = (
        value if isinstance(value, Sequence | pydicom.multival.MultiValue) else [value]
    )
    result = tuple(float(v) for v in values)
    return result if len(result) == count and np.isfinite(result).all() else None


def frame_count(dataset: Dataset) -> int:
    """NumberOfFrames; 1 where it is absent, empty or no number."""
    try:
        return max(1, int(dataset.get("NumberOfFrames") or 1))
    except (TypeError, ValueError):
        return 1
