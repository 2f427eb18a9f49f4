"""Open a file or folder: list what it holds, and load one thing of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from napari_medxai.errors import StudyError
from napari_medxai.study import Series, Study

from . import matlab, nifti, raster
from .archive import extracted
from .dicom import listing, load_stack, pick
from .dicom_series import Scan, scan, scan_file
from .formats import (
    READABLE,
    Kind,
    exists,
    expanded,
    is_mask_name,
    kind_of,
    split_name,
    walk,
)
from .mask_files import MASK_FOLDER
from .masks import find_masks
from .naming import shown
from .regular import regularised

__all__ = ["Contents", "finished", "load_study", "read_contents", "series"]


@dataclass(frozen=True)
class Contents:
    """What a folder holds.

    Attributes
    ----------
    images : tuple of Path
        Raster, NIfTI and MATLAB files in natural order, masks left out.
    scan : Scan
        Its DICOM files.
    masks : tuple of Path
        Files that are masks, by their name or folder.
    archives : tuple of Path
        ``.zip`` files: opened where they are named themselves, not within a folder.
    others : tuple of Path
        Files of no known format.
    """

    images: tuple[Path, ...]
    scan: Scan
    masks: tuple[Path, ...]
    archives: tuple[Path, ...]
    others: tuple[Path, ...]


def read_contents(folder: Path, truth: str | Path | None = None) -> Contents:
    """Sort the files below a folder; of DICOM files the headers are read.

    Parameters
    ----------
    folder : Path
        Searched recursively, without folders of results.
    truth : str, Path or None
        The masks, as `load_study` takes them: a file or folder of them below
        `folder` is no image.

    Returns
    -------
    Contents
        In natural order.
    """
    given = _below(folder, truth)
    images: list[Path] = []
    dicoms: list[Path] = []
    masks: list[Path] = []
    archives: list[Path] = []
    others: list[Path] = []
    for path in walk(folder):
        kind = kind_of(path)
        relative = path.relative_to(folder)
        if kind is None:
            others.append(path)
        elif given is not None and path.is_relative_to(given):
            masks.append(path)
        elif kind == "archive":
            archives.append(path)
        elif kind == "dicom":
            dicoms.append(path)
        elif is_mask_name(path) or MASK_FOLDER in relative.parts[:-1]:
            masks.append(path)
        elif kind == "matlab" and matlab.other(path) is not None:
            others.append(path)
        elif not _is_second_of_pair(path):
            images.append(path)
    found = scan(dicoms)
    # Files that began like DICOM and were none after all.
    counted = replace(found, ignored=found.ignored + len(others))
    return Contents(
        tuple(images), counted, tuple(masks), tuple(archives), tuple(others)
    )


def _below(folder: Path, truth: str | Path | None) -> Path | None:
    """Where below a folder, as it will be walked, the named masks lie, if they do."""
    if truth is None or truth in ("auto", "none"):
        return None
    root, place = folder.resolve(), expanded(truth).resolve()
    if place == root or not place.is_relative_to(root):
        return None
    return folder / place.relative_to(root)


def _is_second_of_pair(path: Path) -> bool:
    """Whether this is the .img whose .hdr stands for both."""
    stem, extension = split_name(path)
    return extension == ".img" and any(
        path.with_name(stem + ending).is_file() for ending in (".hdr", ".HDR")
    )


def series(path: str | Path) -> tuple[Series, ...]:
    """List what a file or folder holds, from headers only.

    Parameters
    ----------
    path : str or Path
        An image file, a DICOMDIR, or a folder or ``.zip``, searched recursively. In
        folders, files that are masks by their name or lie in a folder ``masks`` do
        not count.

    Returns
    -------
    tuple of Series
        Each with the key that `load_study` takes. A damaged file is listed with the
        reason in its description.

    Raises
    ------
    StudyError
        Where the path does not exist or holds no image.
    """
    place = _opened(path)
    if place.is_dir():
        contents = read_contents(place)
        found = _folder_series(place, contents)
        if not found:
            raise StudyError(
                f"no image found in {shown(place)}. {READABLE} can be read"
                f"{_within(contents)}."
            )
        return found
    if _kind(place) != "dicom":
        return _series_of(place)
    holdings = scan_file(place)
    if not holdings.stacks:
        pick(holdings, place, None)  # raises with the reason
    return tuple(stack.series() for stack in holdings.stacks)


def load_study(
    path: str | Path,
    *,
    series: str | None = None,
    masks: str | Path | None = "auto",
    resample: bool = False,
) -> Study:
    """Open a study.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF, BMP, NIfTI, ``.mat`` or DICOM file, or a folder, ``.zip``
        or DICOMDIR that holds one image or DICOM series, or several of which
        `series` picks one.
    series : str, optional
        A key from `napari_medxai.series`: a SeriesInstanceUID or the pseudonym made
        of it, a file's name within a folder, the index of a volume in a 4-D NIfTI.
    masks : str, Path or None
        ``"auto"`` finds ground truth beside the image, ``"none"`` or None leaves it
        out, anything else is a mask file or a folder of masks.
    resample : bool
        Whether slices that are tilted or unevenly spaced are resampled onto a regular
        grid, their masks with them (see `regular.regularised`). Otherwise they are
        kept as they are, and `Study.notes` says so.

    Returns
    -------
    Study
        Pixels after rescale on their native grid, affine and masks.

    Raises
    ------
    StudyError
        Where nothing can be read, several things could be and none is chosen, or a
        mask does not fit. The text says what to do.
    """
    place = _opened(path)
    companions = None
    if place.is_dir():
        study, companions = _load_folder(place, series, masks)
    else:
        study = _load_file(place, series)
    return finished(study, masks, companions, resample=resample)


def finished(
    study: Study,
    masks: str | Path | None,
    companions: tuple[Path, ...] | None,
    *,
    resample: bool,
) -> Study:
    """Add its masks to a study and, where asked for, make its grid regular.

    Parameters
    ----------
    study : Study
        As it was read.
    masks : str, Path or None
        As for `load_study`.
    companions : tuple of Path or None
        The DICOM files that may hold its masks, None where nobody has looked.
    resample : bool
        As for `load_study`. Masks are read on the grid they were drawn on.

    Returns
    -------
    Study
    """
    found, notes = find_masks(study, masks, companions=companions)
    # A .mat holds its mask itself.
    own = study.masks if masks == "auto" else {}
    study = study.with_masks(found or own, *notes)
    return regularised(study) if resample else study


def _opened(path: str | Path) -> Path:
    """Return the file or folder itself; of an archive the folder it was put in."""
    place = expanded(path)
    if not exists(place):
        raise StudyError(f"{shown(place)}: there is no such file or folder.")
    if place.is_file() and kind_of(place) == "archive":
        return extracted(place)
    return place


def _kind(path: Path) -> Kind:
    kind = kind_of(path)
    if kind is None:
        raise StudyError(
            f"{shown(path)}: is of no format that can be read; {READABLE} can."
        )
    return kind


def _load_file(path: Path, key: str | None) -> Study:
    kind = _kind(path)
    if kind == "nifti":
        return nifti.load(path, volume=None if key == path.name else key)
    if kind == "raster":
        return raster.load(path, page=None if key == path.name else key)
    if kind == "matlab":
        if key not in (None, path.name):
            raise StudyError(f"{shown(path)}: is one image and has no series '{key}'.")
        return matlab.load(path)
    found = scan_file(path)
    return load_stack(pick(found, path, key), path, found)


def _folder_series(folder: Path, contents: Contents) -> tuple[Series, ...]:
    result = [stack.series() for stack in contents.scan.stacks]
    for path in contents.images:
        name = path.relative_to(folder).as_posix()
        for one in _series_of(path):
            key = name if one.key == path.name else f"{name}#{one.key}"
            result.append(replace(one, key=key))
    return tuple(result)


def _series_of(path: Path) -> tuple[Series, ...]:
    kind = kind_of(path)
    if kind == "nifti":
        return nifti.series(path)
    return raster.series(path) if kind == "raster" else matlab.series(path)


def _load_folder(
    folder: Path, key: str | None, masks: str | Path | None
) -> tuple[Study, tuple[Path, ...] | None]:
    """Load one thing of a folder; for DICOM also what may hold its masks."""
    contents = read_contents(folder, masks)
    if key is not None:
        for path in contents.images:
            name = path.relative_to(folder).as_posix()
            if key == name:
                return _load_file(path, None), None
            if key.startswith(f"{name}#"):
                return _load_file(path, key.removeprefix(f"{name}#")), None
    if contents.images:
        count = len(contents.images) + len(contents.scan.stacks)
        if key is None and count == 1:
            return _load_file(contents.images[0], None), None
        if key is None:
            raise StudyError(
                f"{shown(folder)}: holds {count} images or series; choose one with "
                f"series=:\n{_listing(folder, contents)}"
            )
        if not any(key in {one.key, one.identifier} for one in contents.scan.stacks):
            raise StudyError(
                f"{shown(folder)}: has no series '{key}'; it holds:\n"
                f"{_listing(folder, contents)}"
            )
    elif not contents.scan.stacks and not contents.scan.broken:
        found = " but masks" if contents.masks else ""
        if not contents.scan.companions:
            raise StudyError(
                f"no image found in {shown(folder)}{found}. {READABLE} can be read"
                f"{_within(contents)}."
            )
    stack = pick(contents.scan, folder, key)
    study = load_stack(stack, folder, contents.scan)
    return study, contents.scan.companions_of(stack)


def _within(contents: Contents) -> str:
    """Say where the images may be."""
    within = contents.archives
    return "; a .zip within a folder where it is named itself" if within else ""


def _listing(folder: Path, contents: Contents, limit: int = 20) -> str:
    """First keys of a folder, without opening its images."""
    lines = [listing([stack]) for stack in contents.scan.stacks[:limit]]
    left = max(0, limit - len(lines))
    lines += [f"  {p.relative_to(folder).as_posix()}" for p in contents.images[:left]]
    more = len(contents.scan.stacks) + len(contents.images) - len(lines)
    return "\n".join(lines) + (f"\n  and {more} more" if more > 0 else "")
