"""Progress and threads of the information curves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

from napari_medxai.errors import MetricError

Progress: TypeAlias = Callable[[int, int], object]
Item = TypeVar("Item")
Result = TypeVar("Result")


def report(progress: Progress | None, done: int, total: int) -> None:
    """Call `progress` where there is one; what it raises stops the work."""
    if progress is not None:
        progress(done, total)


def thread_count(threads: int | None) -> int:
    """Threads asked for, or the processors at hand, at most 4."""
    if threads is None:
        return min(4, os.cpu_count() or 1)
    if threads < 1:
        raise MetricError(f"threads is {threads}; it must be 1 or more")
    return threads


@contextmanager
def mapped(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    threads: int,
) -> Iterator[Iterator[Result]]:
    """``map`` in threads, in order; drops what has not begun when left early."""
    if threads == 1 or len(items) < 2:
        yield map(function, items)
        return
    executor = ThreadPoolExecutor(max_workers=threads)
    try:
        yield executor.map(function, items)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
