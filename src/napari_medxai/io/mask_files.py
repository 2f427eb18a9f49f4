"""Find the mask files that belong to an image, by where they lie and their names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_medxai.errors import StudyError

from .formats import (
    MASK_WORDS,
    NIFTI_EXTENSIONS,
    RASTER_EXTENSIONS,
    entries,
    is_hidden,
    is_mask_name,
    kind_of,
    mask_remainder,
    name_tokens,
    names_in,
    split_name,
)
from .naming import shown

__all__ = ["MASK_FOLDER", "Beside", "beside", "inside"]

MASK_FOLDER = "masks"
IMAGE_FOLDER = "images"
ENDINGS = ("_mask", "-mask", "_masks", "_seg", "-seg", "_segmentation", "_label")
MASK_HINT = re.compile("|".join(sorted(MASK_WORDS)), re.IGNORECASE)
MASK_EXTENSIONS = RASTER_EXTENSIONS + NIFTI_EXTENSIONS


@dataclass(frozen=True)
class Beside:
    """Masks found near an image.

    Attributes
    ----------
    paths : tuple of Path
        Empty where there is none.
    plain : bool
        Whether the file's name or folder leaves no doubt.
    """

    paths: tuple[Path, ...]
    plain: bool


def beside(image: Path) -> Beside:
    """Find the masks of an image that lie near it.

    Tried in this order, the first that finds something wins: the same name, or the
    same stem, in a folder ``masks`` (within the image's folder, or beside a folder
    ``images`` that holds it); ``NAME_mask.*``, ``NAME_seg.*``, ``NAME-mask.*`` in its
    own folder; a file there that is a mask by its name and whose other words begin
    the name of this image, of the same format, and of no other.

    Parameters
    ----------
    image : Path
        A raster, NIfTI or DICOM file. One that is itself a mask by its name has none.

    Returns
    -------
    Beside
        The files, and whether the last and least certain of the rules found them.

    Raises
    ------
    StudyError
        Where a folder ``masks`` holds several files of the same stem.
    """
    if is_mask_name(image) and kind_of(image) != "dicom":
        return Beside((), plain=True)
    for candidate in _places(image):
        found = _named(candidate)
        if found is not None and found != image:
            return Beside((found,), plain=True)
    stem = split_name(image)[0]
    endings = [
        path
        for ending in ENDINGS
        for path in _with_stem(image.parent, stem + ending)
        if path != image
    ]
    if endings:
        return Beside(tuple(endings), plain=True)
    return Beside(_by_words(image), plain=False)


def inside(image: Path, folder: Path) -> tuple[Path, ...]:
    """Find the mask of an image in a folder that the user named.

    The longest end of the image's path counts: ``FOLDER/b/1.png`` before
    ``FOLDER/1.png`` for an image ``.../b/1.png``. A name may carry an ending such as
    ``_mask``.
    """
    parts = image.parts
    for start in range(max(1, len(parts) - 6), len(parts)):
        candidate = folder.joinpath(*parts[start:])
        found = _named(candidate)
        if found is not None and found != image:
            return (found,)
        stem = split_name(candidate)[0]
        for ending in ENDINGS:
            paths = _with_stem(candidate.parent, stem + ending)
            if paths:
                return (_single(paths, candidate),)
    return ()


def _places(image: Path) -> Iterable[Path]:
    yield image.parent / MASK_FOLDER / image.name
    for ancestor in image.parents:
        if ancestor.name == IMAGE_FOLDER:
            yield ancestor.parent / MASK_FOLDER / image.relative_to(ancestor)
            return


def _named(candidate: Path) -> Path | None:
    """Return the file itself, or the one with its stem and another extension."""
    if candidate.is_file():
        return candidate
    paths = _with_stem(candidate.parent, split_name(candidate)[0])
    return _single(paths, candidate) if paths else None


def _single(paths: list[Path], candidate: Path) -> Path:
    if len(paths) > 1:
        names = ", ".join(shown(path, split_name(path)[1]) for path in paths)
        raise StudyError(
            f"{shown(candidate)}: has several masks in one folder: {names}. Keep one, "
            "or name one with masks=."
        )
    return paths[0]


def _with_stem(folder: Path, stem: str) -> list[Path]:
    """Files of this stem; asked one by one, as folders of masks can be large."""
    if not folder.is_dir():
        return []
    found = []
    for extension in MASK_EXTENSIONS:
        if extension == ".img":
            continue  # the .hdr stands for the pair
        for path in (folder / (stem + extension), folder / (stem + extension.upper())):
            if path.is_file():
                # A file system that ignores case finds one file under both names.
                found.append(path)
                break
    return found


def _by_words(image: Path) -> tuple[Path, ...]:
    # Looked at for each image of what can be a large folder: the cheap test first.
    if not MASK_HINT.search("\n".join(names_in(image.parent))):
        return ()
    names = [path for path in entries(image.parent) if not is_hidden(path)]
    masks = [path for path in names if is_mask_name(path) and path != image]
    extension = split_name(image)[1]
    images = [
        name_tokens(path)
        for path in names
        if split_name(path)[1] == extension and not is_mask_name(path)
    ]
    own = name_tokens(image)
    found = []
    for mask in masks:
        words = mask_remainder(mask)
        if words is None or split_name(mask)[1] != extension:
            continue
        fits = [tokens for tokens in images if tokens[: len(words)] == words]
        if len(fits) == 1 and fits[0] == own and mask.is_file():
            found.append(mask)
    return tuple(found)
