"""Classes that folders name: ``CLASS/images/NAME`` beside ``CLASS/masks/NAME``.

The layout of the COVID-19 Radiography Database. Folder names mean so many things that
they count as classes only where several folders side by side are laid out like this,
none of them has a table of labels, and none is called after a part of a split.
"""

from __future__ import annotations

import re
from pathlib import Path

from .formats import entries, is_hidden

__all__ = ["ClassFolders"]

IMAGE_FOLDER = "images"
LABEL_FILE = "labels.csv"
# Parts of a data set, by which it is often laid out in the same way.
PARTS = frozenset(
    {
        "all",
        "cv",
        "dev",
        "eval",
        "fold",
        "split",
        "test",
        "testing",
        "train",
        "training",
        "val",
        "valid",
        "validation",
    }
)


class ClassFolders:
    """Tells the class of an image by the folders it lies in; looks at each once."""

    def __init__(self) -> None:
        self._classes: dict[Path, frozenset[str]] = {}

    def class_of(self, path: Path, top: Path) -> str | None:
        """Give the name of the class folder, or None where there is none.

        Parameters
        ----------
        path : Path
            The image.
        top : Path
            The folder the user gave; only folders below it name classes.
        """
        folder = path.parent.parent
        if path.parent.name != IMAGE_FOLDER or folder == top:
            return None
        if not folder.is_relative_to(top):
            return None
        if folder.parent not in self._classes:
            self._classes[folder.parent] = _classes(folder.parent)
        return folder.name if folder.name in self._classes[folder.parent] else None


def _classes(parent: Path) -> frozenset[str]:
    folders = [
        entry
        for entry in entries(parent)
        if not is_hidden(entry) and (entry / IMAGE_FOLDER).is_dir()
    ]
    tables = any(
        (folder / place / LABEL_FILE).exists()
        for folder in folders
        for place in ("", IMAGE_FOLDER)
    )
    parts = any(
        re.sub(r"[\W\d_]+", "", folder.name).casefold() in PARTS for folder in folders
    )
    if len(folders) < 2 or tables or parts:
        return frozenset()
    return frozenset(folder.name for folder in folders)
