"""Which file is what: formats by name and content, mask names, natural order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

__all__ = [
    "KNOWN_EXTENSIONS",
    "Kind",
    "is_dicom",
    "is_hidden",
    "is_mask_name",
    "kind_of",
    "mask_remainder",
    "name_tokens",
    "natural_key",
    "split_name",
    "walk",
]

Kind = Literal["raster", "nifti", "dicom"]

RASTER_EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
NIFTI_EXTENSIONS = (".nii.gz", ".nii", ".hdr", ".img")
DICOM_EXTENSIONS = (".dcm", ".dicom", ".ima")
KNOWN_EXTENSIONS = RASTER_EXTENSIONS + NIFTI_EXTENSIONS + DICOM_EXTENSIONS

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
    except OSError:
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
    if extension in DICOM_EXTENSIONS or is_dicom(path):
        return "dicom"
    return None


def name_tokens(path: Path) -> tuple[str, ...]:
    """Words of a file's name, lower case: ``Pre_Mask.nii.gz`` -> pre, mask."""
    stem = split_name(path)[0].casefold()
    return tuple(token for token in re.split(r"[\W_]+", stem) if token)


def is_mask_name(path: str | Path) -> bool:
    """Whether a file's name says that it is a mask and not an image.

    One of its words is mask, seg, segmentation, label, labels, labelmap or roi.
    """
    return any(token in MASK_WORDS for token in name_tokens(Path(path)))


def mask_remainder(path: Path) -> tuple[str, ...] | None:
    """Words of a mask's name without those that make it a mask; None if it is none."""
    if not is_mask_name(path):
        return None
    return tuple(
        token
        for token in name_tokens(path)
        if token not in MASK_WORDS and token not in COMPANION_WORDS
    )


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which "a2" comes before "a10"; total and stable."""
    parts = re.split(r"(\d+)", text)
    keys = [(0, int(p), p) if p.isdecimal() else (1, 0, p.casefold()) for p in parts]
    return (*keys, (2, 0, text))


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is hidden or the litter of an archive tool."""
    return path.name.startswith(".") or path.name in {"__MACOSX", "Thumbs.db"}


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in natural order, without hidden ones."""
    entries = sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    for entry in entries:
        if is_hidden(entry):
            continue
        if entry.is_dir():
            # A link to a folder could lead round in a circle.
            if not entry.is_symlink():
                yield from walk(entry)
        elif entry.is_file():
            yield entry
