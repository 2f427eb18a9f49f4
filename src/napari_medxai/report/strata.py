"""Which images count for which class or stratum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_medxai.metrics.statistics import THIRDS, thirds

from .aggregates import EVERY
from .records import Row

__all__ = ["STRATA", "Image", "class_masks", "image_of", "strata_of", "stratum_masks"]

SIZES = tuple(f"lesion {third}" for third in THIRDS)
RIGHT, WRONG = "predicted right", "predicted wrong"
STRATA = (*SIZES, RIGHT, WRONG)

Image = tuple[str, int | None]
Masks = dict[str, NDArray[np.bool_]]


def image_of(row: Row) -> Image:
    """Case and slice of a row: what all methods and presets share."""
    return row.case, row.slice


def strata_of(rows: Sequence[Row]) -> Mapping[Image, frozenset[str]]:
    """Name the strata of each image.

    Parameters
    ----------
    rows : sequence of Row
        Of all methods.

    Returns
    -------
    mapping of (case, slice) to frozenset of str
        Of `STRATA`. Thirds are those of the images with a lesion, whatever the
        method; images of equal size share one. There are none where all fall into
        the same. Without a label a prediction is neither right nor wrong.
    """
    once: dict[Image, Row] = {}
    for row in rows:
        once.setdefault(image_of(row), row)
    sizes = np.array([row.lesion_mm2 for row in once.values()], dtype=float)
    sizes[~(sizes > 0)] = np.nan
    names = thirds(sizes)
    if len(set(names) - {""}) < 2:
        names = ("",) * len(once)
    found = {}
    for (image, row), third in zip(once.items(), names, strict=True):
        strata = {f"lesion {third}"} if third else set()
        if row.correct is not None:
            strata.add(RIGHT if row.correct else WRONG)
        found[image] = frozenset(strata)
    return found


def class_masks(rows: Sequence[Row], classes: Sequence[str]) -> Masks:
    """Say for all rows and for each class which of `rows` belong to it."""
    own = np.array([row.stratum for row in rows], dtype=object)
    every = np.ones(len(rows), dtype=np.bool_)
    return {EVERY: every, **{name: own == name for name in classes}}


def stratum_masks(rows: Sequence[Row], strata: Mapping[Image, frozenset[str]]) -> Masks:
    """Say for each stratum that holds any image which of `rows` belong to it."""
    own = [strata[image_of(row)] for row in rows]
    used = frozenset().union(*strata.values())
    return {
        name: np.array([name in one for one in own], dtype=np.bool_)
        for name in STRATA
        if name in used
    }
