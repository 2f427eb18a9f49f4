"""Faults of other libraries that would end the process, kept from doing so.

Mesa's drivers and triton each bring an LLVM of their own. Once napari's window has
loaded Mesa's, importing triton kills the process with a segmentation fault, and
torchvision imports it by way of torch._dynamo. Nothing here compiles with triton, so
it is kept out of such a process; torch then says that triton is missing.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

__all__ = ["keep_none_alive", "keep_triton_out"]

MAPS = Path("/proc/self/maps")
PLENTY = 2**40


def keep_triton_out() -> bool:
    """Make `import triton` fail where it would crash.

    Returns
    -------
    bool
        Whether triton is kept out.
    """
    if "triton" in sys.modules:
        return sys.modules["triton"] is None
    if not MAPS.is_file() or "libLLVM" not in MAPS.read_text(errors="replace"):
        return False
    sys.modules["triton"] = None  # type: ignore[assignment]
    return True


def keep_none_alive() -> bool:
    """Make None as good as immortal, as Python 3.12 does.

    PySide6 6.12 gives up a reference to None that it does not hold, once for each
    worker (`QRunnable.run`). Before Python 3.12 the process then aborts when it ends
    ("deallocating None").

    Returns
    -------
    bool
        Whether it was needed and done.
    """
    counted = sys.implementation.name == "cpython" and sys.version_info < (3, 12)
    if not counted or sys.getrefcount(None) > PLENTY:
        return False
    count = ctypes.c_ssize_t.from_address(id(None))  # ob_refcnt comes first
    count.value += 2 * PLENTY
    return True
