"""Names of masks: those of the file, unique, and never the patient's."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from .naming import printable

__all__ = ["identity_words", "safe_name", "unique_name"]

NAMES = ("PatientName", "OtherPatientNames")
NUMBERS = ("PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber")
LONGEST = 64
SUBSTRING = 4
"""From this length on a word of the identity counts wherever it stands in a name;
shorter ones ("Lu") only as a word of their own, and numbers that short never."""


def identity_words(*datasets: Dataset) -> frozenset[str]:
    """Words that give the patient away, case folded, of headers.

    The parts of names; and whole, without punctuation, numbers, the birth date, and
    "names" with digits in them: research identifiers, whose parts are often organs.
    """
    words: set[str] = set()
    for dataset in datasets:
        for text in _values(dataset, NAMES):
            if not any(character.isdigit() for character in text):
                words.update(re.split(r"[\W_]+", text))
            words.add(_bare(text))
        words.update(_bare(text) for text in _values(dataset, NUMBERS))
    return frozenset(
        word
        for word in words
        if len(word) >= SUBSTRING
        or (len(word) > 1 and not word.isdecimal())
        or (word and not word.isascii())
    )


def _values(dataset: Dataset, keywords: Iterable[str]) -> Iterator[str]:
    for keyword in keywords:
        value = dataset.get(keyword)
        for one in value if isinstance(value, MultiValue) else [value]:
            yield str(one or "").casefold()


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", text)


def safe_name(label: object, words: frozenset[str], fallback: str) -> str:
    """Take a structure's label as its name, unless it is empty or tells the patient.

    Parameters
    ----------
    label : object
        SegmentLabel or ROIName; may be None.
    words : frozenset of str
        From `identity_words`.
    fallback : str
        For example "ROI 3".

    Returns
    -------
    str
        On one line, printable, at most 64 characters.
    """
    name = " ".join(printable(str(label or "")).split())[:LONGEST]
    name = "".join(c for c in name if c.isprintable()).strip()
    own, bare = set(re.split(r"[\W_]+", name.casefold())), _bare(name.casefold())
    told = any(
        word in bare if len(word) >= SUBSTRING or not word.isascii() else word in own
        for word in words
    )
    return fallback if told or not name else name


def unique_name(name: str, taken: Container[str]) -> str:
    """Add a number to a name that is taken: "tumour", "tumour 2", "tumour 3"."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name} {number}"
    return unique
