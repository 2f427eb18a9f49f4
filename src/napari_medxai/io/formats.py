"""Which file is what: formats by name and content, mask names, natural order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from napari_medxai.errors import StudyError
from napari_medxai.files import OUTPUT_MARKER

from .naming import printable, reason, shown

__all__ = [
    "KNOWN_EXTENSIONS",
    "OUTPUT_MARKER",
    "READABLE",
    "Kind",
    "entries",
    "exists",
    "expanded",
    "is_dicom",
    "is_file",
    "is_folder",
    "is_hidden",
    "is_mask_name",
    "kind_of",
    "mask_remainder",
    "name_tokens",
    "names_in",
    "natural_key",
    "split_name",
    "walk",
]

Kind = Literal["raster", "nifti", "dicom", "matlab", "archive"]

# What a run makes within a folder of results that is its input as well.
OUTPUT_FOLDERS = frozenset({"overlays", "exports", "figures", ".cases"})

RASTER_EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
NIFTI_EXTENSIONS = (".nii.gz", ".nii", ".hdr", ".img")
DICOM_EXTENSIONS = (".dcm", ".dicom", ".ima")
MATLAB_EXTENSIONS = (".mat",)
ARCHIVE_EXTENSIONS = (".zip",)
KNOWN_EXTENSIONS = (
    RASTER_EXTENSIONS
    + NIFTI_EXTENSIONS
    + DICOM_EXTENSIONS
    + MATLAB_EXTENSIONS
    + ARCHIVE_EXTENSIONS
)
READABLE = "PNG, JPEG, TIFF, BMP, NIfTI, DICOM, .mat of MATLAB, and .zip of these"

MASK_WORDS = frozenset(
    {
        "label",
        "labelmap",
        "labelmaps",
        "labels",
        "mask",
        "masks",
        "roi",
        "rois",
        "seg",
        "segmentation",
        "segmentations",
        "segs",
    }
)
# Dropped beside a mask word ("tumour_mask"), but no sign of a mask on their own.
COMPANION_WORDS = frozenset({"tumour", "tumor"})

# The groups a DICOM file without preamble begins with, in both byte orders.
BARE_STARTS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")

# Python turns no longer runs of digits into numbers; damaged UIDs can have them.
MANY = 1000


def split_name(path: Path) -> tuple[str, str]:
    """Split a file's name into stem and known extension (lower case, or "").

    ``a.nii.gz`` gives ``("a", ".nii.gz")``; ``1.2.840.113`` gives itself and "".
    """
    lower = path.name.lower()
    for extension in KNOWN_EXTENSIONS:
        if lower.endswith(extension) and len(lower) > len(extension):
            return path.name[: -len(extension)], extension
    return path.name, ""


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, with a preamble or, plausibly, without."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except (OSError, ValueError):
        return False
    if head[128:132] == b"DICM":
        return True
    # Low element numbers come first in a data set; ASCII text never looks like this.
    return (
        head[:2] in BARE_STARTS
        and len(head) == 132
        and (head[2] == 0 or head[3] == 0)
        and max(head[2], head[3]) < 0x20
    )


def kind_of(path: Path) -> Kind | None:
    """Tell a file's format by its extension, else by its first bytes."""
    extension = split_name(path)[1]
    if extension in RASTER_EXTENSIONS:
        return "raster"
    if extension == ".img" and is_dicom(path):
        return "dicom"
    if extension in NIFTI_EXTENSIONS:
        return "nifti"
    if extension in MATLAB_EXTENSIONS:
        return "matlab"
    if extension in ARCHIVE_EXTENSIONS:
        return "archive"
    if extension in DICOM_EXTENSIONS or is_dicom(path):
        return "dicom"
    return None


def name_tokens(path: Path) -> tuple[str, ...]:
    """Words of a file's name, lower case: ``PreScan_T1.nii`` -> pre, scan, t1."""
    return tuple(
        word.casefold()
        for token in _tokens(path)
        for word in ([token] if token.casefold() in MASK_WORDS else _humps(token))
    )


def is_mask_name(path: str | Path) -> bool:
    """Whether a file's name says that it is a mask and not an image.

    One of its words is mask, seg, segmentation, label, labels, labelmap or roi. Words
    end at anything but letters and digits, and also at digits and capitals:
    ``mask2``, ``tumorMask``. Short words inside such a compound do not count, as they
    come up by chance in random names: ``x7seg9k``.
    """
    return any(_says_mask(token) for token in _tokens(Path(path)))


def mask_remainder(path: Path) -> tuple[str, ...] | None:
    """Words of a mask's name without those that make it a mask; None if it is none."""
    if not is_mask_name(path):
        return None
    bare = [re.sub(r"^(\D+)(\d+)$", r"\1 \2", word) for word in name_tokens(path)]
    return tuple(
        part
        for word, split in zip(name_tokens(path), bare, strict=True)
        for part in (split.split() if split.split()[0] in MASK_WORDS else [word])
        if part not in MASK_WORDS and part not in COMPANION_WORDS
    )


def _tokens(path: Path) -> list[str]:
    return [t for t in re.split(r"[\W_]+", split_name(path)[0]) if t]


def _humps(token: str) -> list[str]:
    """Split at capitals: ``tumorMask`` and ``CTMask`` in two."""
    return re.split(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", token)


def _says_mask(token: str) -> bool:
    if token.casefold() in MASK_WORDS:
        return True
    words = [
        word.casefold()
        for hump in _humps(token)
        for word in re.split(r"\d+", hump)
        if word
    ]
    return any(
        word in MASK_WORDS and (len(word) > 3 or number in (0, len(words) - 1))
        for number, word in enumerate(words)
    )


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which "a2" comes before "a10"; total and stable."""
    parts = re.split(r"(\d+)", text)
    keys = [
        (0, int(p), p) if p.isdecimal() and len(p) < MANY else (1, 0, p.casefold())
        for p in parts
    ]
    return (*keys, (2, 0, text))


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is hidden or the litter of an archive tool."""
    return path.name.startswith(".") or path.name in {"__MACOSX", "Thumbs.db"}


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; StudyError where nobody may look."""
    try:
        return path.exists()
    except OSError as error:
        raise StudyError(f"{shown(path)}: cannot be read ({reason(error)}).") from error


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is of none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder, as `is_file` does."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def expanded(path: str | Path) -> Path:
    """Write ``~`` out; StudyError for what cannot be a path."""
    try:
        if "\0" in str(path):
            raise ValueError("it holds a NUL")
        return Path(path).expanduser()
    except (RuntimeError, ValueError) as error:
        raise StudyError(
            f"'{printable(str(path)).replace(chr(0), '?')}' is no path "
            f"({reason(error)}). Write it out in full."
        ) from error


def names_in(folder: Path) -> list[str]:
    """Names in a folder, in no order and quickly; none where it cannot be read."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - a Path for each takes ten times as long
    except OSError:
        return []


def entries(folder: Path) -> list[Path]:
    """List a folder in natural order; StudyError where that is not possible."""
    try:
        return sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise StudyError(
            f"{shown(folder)}: the folder cannot be read ({reason(error)}). Check its "
            "permissions."
        ) from error


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in natural order, without hidden ones.

    Folders of results, which hold `OUTPUT_MARKER`, are left out; where `folder` is
    one itself, the folders of pictures in it are.
    """
    own = (folder / OUTPUT_MARKER).is_file()
    for entry in entries(folder):
        if is_hidden(entry):
            continue
        if entry.is_dir():
            results = own and entry.name in OUTPUT_FOLDERS
            # A link to a folder could lead round in a circle.
            if not (results or entry.is_symlink() or (entry / OUTPUT_MARKER).is_file()):
                yield from walk(entry)
        elif entry.is_file():
            yield entry
