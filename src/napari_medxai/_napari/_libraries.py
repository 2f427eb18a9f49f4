"""Loading torch beside OpenGL without a crash.

Mesa's drivers and triton each bring an LLVM of their own. Once napari's window has
loaded Mesa's, importing triton kills the process with a segmentation fault, and
torchvision imports it by way of torch._dynamo. Nothing here compiles with triton, so
it is kept out of such a process; torch then says that triton is missing.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["keep_triton_out"]

MAPS = Path("/proc/self/maps")


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
