"""What several methods of one image need alike: computed once, kept for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import blake2b
from typing import TypeVar

from torch import Tensor

__all__ = ["Shared", "fingerprint"]

Value = TypeVar("Value")

# Two paths, the segments, two layers' activations, and as much again.
CAPACITY = 16


class Shared:
    """Intermediate results by what they follow from.

    Give the same one to every :func:`~napari_medxai.saliency.compute` of an image,
    and integrated gradients, segments and activations are computed once. Keys hold
    fingerprints of the images, so that a forgotten one does no harm but take memory.
    """

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, object] = OrderedDict()

    def once(self, key: Hashable, make: Callable[[], Value]) -> tuple[Value, bool]:
        """Return the value of a key and whether it was there already."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key], True  # type: ignore[return-value]
        value = make()
        self._values[key] = value
        while len(self._values) > CAPACITY:
            self._values.popitem(last=False)
        return value, False


def fingerprint(tensor: Tensor) -> str:
    """Hash of a tensor's shape, type and values."""
    flat = tensor.detach().contiguous().cpu()
    digest = blake2b(f"{tuple(flat.shape)}|{flat.dtype}|".encode(), digest_size=16)
    digest.update(flat.view(-1).numpy().tobytes())
    return digest.hexdigest()
