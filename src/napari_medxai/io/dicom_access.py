"""Careful access to pydicom data sets: numbers, functional groups, silence."""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

__all__ = ["BROKEN", "functional", "numbers", "quiet"]

BROKEN = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    struct.error,
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom raises on damaged files."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom: its warnings and log quote values, and values can be names."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


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
