"""The reader contribution: files and folders to layers.

`get_reader` looks at names and first bytes only and never raises; the function it
returns loads, and raises :class:`~napari_medxai.errors.StudyError` in plain words.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from napari_medxai.errors import StudyError
from napari_medxai.io import load_study, series
from napari_medxai.io.dicom import load_stack
from napari_medxai.io.dicom_series import scan
from napari_medxai.io.formats import kind_of, walk
from napari_medxai.study import Study

from .layers import LayerData, study_to_layers
from .styling import watch_current_viewer

__all__ = ["MAX_SERIES", "get_reader", "read_layers"]

PathOrPaths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Reader = Callable[[PathOrPaths], list[LayerData]]

# Folders are opened whole up to this many series; a larger one needs a choice.
MAX_SERIES = 8
# So many files of a folder are looked at to tell whether it is for us.
GLANCE = 200


def get_reader(path: PathOrPaths) -> Reader | None:
    """Return the function that reads `path`, or None where it is not for us.

    Parameters
    ----------
    path : path or list of paths
        A file, a folder, or files to be opened together.
    """
    try:
        paths = _as_paths(path)
        # An empty name would be the folder the program was started in.
        if not path or not paths or not all(_is_ours(one) for one in paths):
            return None
    except (OSError, ValueError, TypeError, RuntimeError):
        # npe2 asks every reader about every path, however odd.
        return None
    return read_layers


def read_layers(path: PathOrPaths) -> list[LayerData]:
    """Load a path and return its layers.

    Parameters
    ----------
    path : path or list of paths
        DICOM files given together are grouped into series.

    Returns
    -------
    list of LayerData

    Raises
    ------
    StudyError
        Where something cannot be read, or a folder holds too many series.
    """
    watch_current_viewer()
    studies = _studies(_as_paths(path))
    return [layer for study in studies for layer in study_to_layers(study)]


def _studies(paths: Sequence[Path]) -> list[Study]:
    if len(paths) == 1:
        only = paths[0]
        # An archive, a DICOMDIR or an enhanced object can hold several series.
        many = only.is_dir() or kind_of(only) in ("archive", "dicom")
        return _folder(only) if many else [load_study(only)]
    together = [p for p in paths if p.is_file() and kind_of(p) == "dicom"]
    studies: list[Study] = []
    if together:
        found = scan(together)
        studies += [
            load_stack(stack, stack.files[0].parent, found) for stack in found.stacks
        ]
        if not studies:
            raise StudyError(
                f"none of these {len(together)} DICOM files holds an image series."
            )
    for path in paths:
        if path not in together:
            studies += _folder(path) if path.is_dir() else [load_study(path)]
    return studies


def _folder(folder: Path) -> list[Study]:
    found = series(folder)
    if len(found) > MAX_SERIES:
        raise StudyError(
            f"{folder.name}: holds {len(found)} images or series. Choose one with "
            "Layers > Data > Open study…, or evaluate the whole folder in the dock "
            "Information curves."
        )
    return [load_study(folder, series=one.key) for one in found]


def _as_paths(path: PathOrPaths) -> list[Path]:
    if isinstance(path, str | os.PathLike):
        return [Path(path)]
    return [Path(one) for one in path]


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return any(kind_of(one) is not None for one in islice(walk(path), GLANCE))
    return path.is_file() and kind_of(path) is not None
