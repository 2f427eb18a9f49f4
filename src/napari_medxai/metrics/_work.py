"""Progress and threads of the information curves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeAlias

from napari_medxai.errors import MetricError

Progress: TypeAlias = Callable[[int, int], object]


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
def workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads; what has not begun is dropped when left early."""
    executor = ThreadPoolExecutor(max_workers=threads)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
