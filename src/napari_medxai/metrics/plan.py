"""Which pixels a saliency map reveals under each preset, each mask once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai.metrics.pixels import Pixels
from napari_medxai.metrics.presets import Preset

__all__ = ["BLURRED", "ORIGINAL", "Plan", "group_key", "planned"]

BoolArray = NDArray[np.bool_]

# Slots of the two ends: an array that ends with both is indexed by them.
ORIGINAL, BLURRED = -1, -2


@dataclass(frozen=True, eq=False)
class Plan:
    """The distinct masks of one map, and which preset needs which.

    Attributes
    ----------
    masks
        bool, of the image's spatial shape: True where a pixel is revealed.
    keys
        Digest of each mask.
    index
        By preset, int ``(T,)``: the entry in `masks` of every threshold, or
        :data:`ORIGINAL`, or :data:`BLURRED`.
    fractions
        By preset, float ``(T,)``: part of the pixels that is revealed.
    """

    masks: list[BoolArray]
    keys: list[bytes]
    index: dict[str, NDArray[np.int64]]
    fractions: dict[str, NDArray[np.float64]]


def planned(
    saliency_map: NDArray[Any],
    random_mask: BoolArray,
    pixels: Pixels,
    presets: Mapping[str, Preset],
    seed: int,
) -> Plan:
    """Collect the distinct masks that the presets need of a map."""
    slots = {
        _mask_key(pixels.with_corners(random_mask)): BLURRED,
        _mask_key(np.ones_like(random_mask)): ORIGINAL,
    }
    plan = Plan([], [], {}, {})
    for name, preset in presets.items():
        index, fractions = [], []
        for mask in preset.reveal(saliency_map, preset.thresholds, seed):
            whole = pixels.with_corners(mask | random_mask)
            key = _mask_key(whole)
            if key not in slots:
                slots[key] = len(plan.masks)
                plan.masks.append(whole)
                plan.keys.append(key)
            index.append(slots[key])
            fractions.append(whole.mean())
        plan.index[name] = np.asarray(index, dtype=np.int64)
        plan.fractions[name] = np.asarray(fractions)
    return plan


def group_key(group: Sequence[Plan]) -> bytes:
    """Digest of all masks of several plans, in order."""
    digest = blake2b(digest_size=16)
    for plan in group:
        digest.update(b"".join([*plan.keys, b"|"]))
    return digest.digest()


def _mask_key(mask: BoolArray) -> bytes:
    return blake2b(np.packbits(mask).tobytes(), digest_size=16).digest()
