"""Keep freed memory at hand between passes, where the C library would give it back.

glibc maps blocks above 32 MB anew each time, and returns the top of its heap to the
system as soon as it is free. A network frees its activations after every pass, so that
each pass faults hundreds of megabytes in again: a third of the time of a gradient on a
CPU (``benchmarks/methods.py``).
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

__all__ = ["keep_freed_memory"]

# Parameters of mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_BLOCK = 256 * 2**20
KEPT = 2**30


@cache
def keep_freed_memory() -> bool:
    """Ask glibc, once in a process, to keep up to 1 GiB that is free.

    Returns
    -------
    bool
        Whether it does; False on other systems and C libraries, and where the user
        has set ``MALLOC_TRIM_THRESHOLD_`` or ``MALLOC_MMAP_THRESHOLD_``.
    """
    if not sys.platform.startswith("linux"):
        return False
    if {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False  # another C library, such as musl
    done = mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK), mallopt(M_TRIM_THRESHOLD, KEPT)
    return all(done)
