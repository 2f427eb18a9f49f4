"""Pseudonyms: names for patients and series that do not give the identity away.

A pseudonym is a keyed hash (BLAKE2b, RFC 7693) of the identifier. The key, called
salt here, is made once for each user and never leaves the configuration folder, so
that the same patient has the same name in every table of this user, and nobody
without the salt can try identifiers until one fits.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from .errors import OutputError

__all__ = ["CONFIG_VARIABLE", "config_folder", "derived_uid", "pseudonym"]

CONFIG_VARIABLE = "MEDXAI_CONFIG_DIR"
"""Environment variable that moves the configuration folder."""

SALT_BYTES = 32
DIGITS = 10


def config_folder() -> Path:
    """Folder of the user's configuration; the salt lies in it.

    Returns
    -------
    Path
        ``$MEDXAI_CONFIG_DIR`` where set, else the platform's own place. It need
        not exist yet.
    """
    chosen = os.environ.get(CONFIG_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("napari-medxai"))


def pseudonym(value: str, *, prefix: str = "P") -> str:
    """Name a patient, study or series without its identity.

    Parameters
    ----------
    value : str
        The identifier, for example DICOM's PatientID. Surrounding blanks do not
        count, as in DICOM.
    prefix : str
        ``"P"`` for a patient, ``"S"`` for a series. It enters the hash, so that a
        patient and a series with the same identifier do not look alike.

    Returns
    -------
    str
        For example ``"P-3f9a1c2277"``: the prefix and 40 bits of the keyed hash.

    Raises
    ------
    OutputError
        Where the salt can neither be read nor made.
    """
    digest = hashlib.blake2b(
        # The bytes of a file's name may be no UTF-8.
        value.strip().encode("utf-8", "backslashreplace"),
        key=_salt(config_folder()),
        digest_size=DIGITS // 2,
        person=prefix.encode()[:16],
    )
    return f"{prefix}-{digest.hexdigest()}"


def derived_uid(*parts: str) -> str:
    """Make a DICOM UID that is always the same for the same parts and salt.

    Parameters
    ----------
    *parts : str
        What the UID is for, for example ``"study"`` and the source's
        StudyInstanceUID. Nobody without the salt can go back from one to the other.

    Returns
    -------
    str
        ``2.25.`` and the decimal value of a UUID (DICOM PS3.5 B.2), here one of
        version 8 (RFC 9562 5.8) whose free bits are 122 of a keyed BLAKE2b hash.

    Raises
    ------
    OutputError
        Where the salt can neither be read nor made.
    """
    digest = hashlib.blake2b(
        # Each part with its length, so that ("a", "bc") is not ("ab", "c").
        b"".join(
            len(data).to_bytes(8, "big") + data
            for data in (part.encode("utf-8", "backslashreplace") for part in parts)
        ),
        key=_salt(config_folder()),
        digest_size=16,
        person=b"uid",
    )
    number = int.from_bytes(digest.digest(), "big")
    number = number & ~(0xF << 76) | 8 << 76  # version
    number = number & ~(0b11 << 62) | 0b10 << 62  # variant
    return f"2.25.{number}"


@lru_cache(maxsize=8)
def _salt(folder: Path) -> bytes:
    path = folder / "salt"
    try:
        if not path.exists():
            _make_salt(path)
        salt = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{path}: the salt for pseudonyms cannot be read or made "
            f"({type(error).__name__}). Give a folder that can be written to in the "
            f"environment variable {CONFIG_VARIABLE}, or delete the damaged file."
        ) from error
    if len(salt) != SALT_BYTES:
        raise OutputError(
            f"{path}: the salt for pseudonyms is damaged ({len(salt)} bytes instead "
            f"of {SALT_BYTES}). Delete the file; pseudonyms will then change."
        )
    return salt


def _make_salt(path: Path) -> None:
    """Write the salt whole or not at all; of several processes one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file with mode 0600.
    handle, name = tempfile.mkstemp(prefix=".salt-", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(SALT_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                raise
            except OSError:
                # No hard links here (FAT, some network folders).
                if not path.exists():
                    draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
