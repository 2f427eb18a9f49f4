"""Studies as ``.zip``: extracted once, safely, into a private folder.

The folder is made for this process alone and removed when it ends. What an archive
says of itself is not trusted: names, sizes and kinds of its members are checked
before and while they are written.
"""

from __future__ import annotations

import atexit
import hashlib
import lzma
import os
import shutil
import stat
import tempfile
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from napari_medxai.errors import StudyError

from .naming import reason, shown

__all__ = ["MAX_BYTES", "MAX_MEMBERS", "extract", "extracted"]

MAX_BYTES = 16 * 2**30
MAX_MEMBERS = 100_000
CHUNK = 2**20
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)

_lock = threading.Lock()
_folders: dict[str, Path] = {}


def extracted(
    path: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS
) -> Path:
    """Extract an archive, or return where it was extracted before.

    Parameters
    ----------
    path : Path
        A ``.zip`` file. One of the same content is extracted once in a process.
    max_bytes, max_members : int
        An archive that holds more is refused: a small file can hide an enormous one.

    Returns
    -------
    Path
        A folder of the archive's name, within a folder that only this user may
        enter and that is removed when the process ends.

    Raises
    ------
    StudyError
        Where the archive is damaged, encrypted or too large, or a member is a link
        or would lie outside the folder.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StudyError(f"{shown(path)}: cannot be read ({reason(error)}).") from error
    with _lock:
        known = _folders.get(digest)
        if known is not None and known.is_dir():
            return known
        private = Path(tempfile.mkdtemp(prefix="napari-medxai-"))
        folder = private / path.name
        try:
            folder.mkdir()
            extract(path, folder, max_bytes=max_bytes, max_members=max_members)
        except BaseException:
            shutil.rmtree(private, ignore_errors=True)
            raise
        # A process that was forked from this one must not take the folder away.
        atexit.register(_remove, private, os.getpid())
        _folders[digest] = folder
        return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def extract(
    path: Path,
    folder: Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
) -> None:
    """Extract an archive into an empty folder, as `extracted` does."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            places = _checked(path, members, folder, max_bytes, max_members)
            # The library reads no more of a member than its size as it was checked.
            for member, place in zip(members, places, strict=True):
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, place.open("xb") as target:
                    shutil.copyfileobj(source, target, CHUNK)
    except StudyError:
        raise
    except BROKEN as error:
        raise StudyError(
            f"{shown(path)}: the archive cannot be extracted ({reason(error)}). Copy "
            "it again, or extract it yourself and open the folder."
        ) from error


def _checked(
    path: Path,
    members: list[zipfile.ZipInfo],
    folder: Path,
    max_bytes: int,
    max_members: int,
) -> list[Path]:
    """Where each member goes; StudyError where one of them may not be written."""
    if len(members) > max_members:
        raise StudyError(
            f"{shown(path)}: holds {len(members)} files, more than the limit of "
            f"{max_members}. If you trust it, extract it and open the folder."
        )
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise StudyError(
            f"{shown(path)}: holds more than {max_bytes / 2**30:.3g} GiB when "
            "extracted. If you trust it, extract it and open the folder."
        )
    places: dict[Path, None] = {}
    for member in members:
        if member.flag_bits & 0x1:
            raise StudyError(
                f"{shown(path)}: is encrypted. Extract it with its password and open "
                "the folder."
            )
        place = _place(member, folder)
        if place is None or place in places:
            raise StudyError(
                f"{shown(path)}: holds a link, a file twice, or a file that would lie "
                "outside its folder; such an archive is not extracted."
            )
        places[place] = None
    return list(places)


def _place(member: zipfile.ZipInfo, folder: Path) -> Path | None:
    mode = member.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return None
    # The original name: the library cuts at a NUL and changes separators by system.
    name = member.orig_filename.replace("\\", "/")
    inner = PurePosixPath(name)
    odd = any(part == ".." or ":" in part or "\0" in part for part in inner.parts)
    if odd or inner.is_absolute() or not inner.parts:
        return None
    place = folder.joinpath(*inner.parts)
    return place if place.is_relative_to(folder) else None
