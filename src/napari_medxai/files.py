"""Writing so that nothing half-written ever stands under its final name."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from .errors import OutputError

__all__ = ["OUTPUT_MARKER", "output_errors", "write_atomically"]

# Marks an output folder, so that it is never taken for input.
OUTPUT_MARKER = ".napari-medxai-output"

REASONS = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.EACCES: "no permission to write there; choose another output folder",
    errno.EPERM: "no permission to write there; choose another output folder",
    errno.ENOENT: "the folder has vanished; make it again and run again",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another folder",
    errno.EISDIR: "a folder stands where a file is needed; choose another folder",
    errno.EFBIG: "the file would exceed the allowed size; raise the limit",
}


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn a failed write below `path` into an :class:`OutputError` in words."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        reason = REASONS.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(f"cannot write {path}: {reason}.") from error


def write_atomically(
    path: Path, content: bytes | Callable[[IO[bytes]], object]
) -> None:
    """Write a file through a temporary neighbour, fsync and rename.

    Parameters
    ----------
    path : Path
        Final name; its folder is made where it does not exist.
    content : bytes or callable
        A callable is given the open file, for what would not fit into memory twice.

    Raises
    ------
    OutputError
        If it cannot be written; the final name is then as it was before.
    """
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
