"""Batches of augmented images, in an order that seed and epoch decide.

What an image becomes depends on seed, epoch and its number, never on the process that
makes it or on what came before: a run continues in the middle of an epoch as if it had
never stopped, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from .augmentation import Augmentation
from .images import Images

__all__ = ["batches", "steps_per_epoch"]

Place = tuple[int, int]  # epoch and image


class _Augmented(Dataset[tuple[torch.Tensor, int]]):
    """Augmented images by epoch and number; the file is opened by each process."""

    def __init__(
        self,
        images: Images,
        labels: NDArray[np.int64],
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.images, self.labels = images, labels
        self.augmentation, self.seed = augmentation, seed
        self._pixels: NDArray[np.uint8] | None = None

    def __getitem__(self, place: Any) -> tuple[torch.Tensor, int]:
        if self._pixels is None:
            self._pixels = self.images.pixels()
        epoch, index = place
        seed = np.random.SeedSequence([self.seed, epoch, index]).generate_state(1)[0]
        return self.augmentation(self._pixels[index], int(seed)), int(
            self.labels[index]
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}


class _Order:
    """Numbers of the images of each batch, from a step of an epoch to the end."""

    def __init__(
        self,
        chosen: NDArray[np.int64],
        size: int,
        epochs: int,
        seed: int,
        start: Place,
    ) -> None:
        self.chosen, self.size, self.epochs = chosen, size, epochs
        self.seed, self.start = seed, start

    def __iter__(self) -> Iterator[list[Place]]:
        first, skipped = self.start
        for epoch in range(first, self.epochs):
            order = np.random.default_rng([self.seed, epoch]).permutation(self.chosen)
            begin = skipped if epoch == first else 0
            for step in range(begin, steps_per_epoch(len(self.chosen), self.size)):
                batch = order[step * self.size : (step + 1) * self.size]
                yield [(epoch, int(i)) for i in batch]


def steps_per_epoch(n: int, size: int) -> int:
    """How many full batches `n` images give; one, where they do not fill it."""
    return max(1, n // size)


def batches(
    images: Images,
    labels: NDArray[np.int64],
    chosen: NDArray[np.int64],
    augmentation: Augmentation,
    *,
    size: int,
    epochs: int,
    seed: int,
    start: Place = (0, 0),
    workers: int = 0,
    pinned: bool = False,
) -> Generator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the batches of a whole training, from a step of an epoch on.

    Parameters
    ----------
    images : Images
    labels : ndarray of int, (N,)
    chosen : ndarray of int
        Numbers of the images that take part.
    augmentation : Augmentation
    size : int
        Images in a batch; each batch is full where there are as many images.
    epochs, seed : int
    start : tuple of int
        Epoch and step to begin with.
    workers : int
        Processes that augment; they live until the iterator is closed.
    pinned : bool
        Whether batches are put where a GPU fetches them faster.

    Yields
    ------
    images : Tensor of float32, (B, C, *spatial), 0 to 1
    labels : Tensor of int64, (B,)
    """
    loader = DataLoader(
        _Augmented(images, labels, augmentation, seed),
        batch_sampler=_Order(chosen, size, epochs, seed, start),
        num_workers=workers,
        pin_memory=pinned,
    )
    source = iter(loader)
    threads = torch.get_num_threads()
    while True:
        torch.set_num_threads(1)  # many small operations: waking threads costs more
        try:
            batch = next(source, None)
        finally:
            torch.set_num_threads(threads)
        if batch is None:
            return
        yield batch[0], batch[1]
