"""What a set of files holds: image stacks, their companions, what is broken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from .dicom_access import BROKEN, quiet
from .dicom_frames import Frame
from .dicom_headers import Companion, FrameReader, read_frames
from .dicom_stacks import Stack, stacks_of
from .dicom_tags import COMPANIONS
from .formats import DICOM_EXTENSIONS, split_name
from .media import read_media

__all__ = ["Companion", "Scan", "Stack", "scan", "scan_file"]


@dataclass(frozen=True)
class Scan:
    """What a set of files holds.

    Attributes
    ----------
    stacks : tuple of Stack
        Images and volumes, by series number and UID.
    companions : tuple of Companion
        SEG, RTSTRUCT, SR and so on.
    broken : tuple of (Path, str)
        Files that begin like DICOM and cannot be read, with the reason.
    ignored : int
        How many files are not DICOM.
    notes : tuple of str
        What is missing.
    """

    stacks: tuple[Stack, ...]
    companions: tuple[Companion, ...]
    broken: tuple[tuple[Path, str], ...]
    ignored: int
    notes: tuple[str, ...] = ()

    def companions_of(self, stack: Stack) -> tuple[Path, ...]:
        """Files of the SEG and RTSTRUCT that may belong to a stack."""
        first = stack.frames[0]
        return tuple(
            one.path
            for one in self.companions
            if one.modality in COMPANIONS
            and one.may_belong_to(first.series_uid, first.frame_uid)
        )


def scan(files: Iterable[Path], *, any_object: bool = False) -> Scan:
    """Read the headers of files and order their frames into stacks.

    Parameters
    ----------
    files : iterable of Path
    any_object : bool
        Whether segmentations, dose grids and maps count as images too.

    Returns
    -------
    Scan
    """
    frames: list[Frame] = []
    companions: list[Companion] = []
    broken: list[tuple[Path, str]] = []
    ignored = 0
    reader = FrameReader()
    with quiet():
        for path in files:
            try:
                found = read_frames(path, any_object=any_object, reader=reader)
            except BROKEN as error:
                # The text of the error could quote a value; its kind cannot.
                broken.append((path, f"damaged DICOM header ({type(error).__name__})"))
                continue
            if found is None and split_name(path)[1] in DICOM_EXTENSIONS:
                broken.append((path, "not DICOM in spite of its name"))
            elif found is None:
                ignored += 1
            elif isinstance(found, Companion):
                companions.append(found)
            else:
                frames.extend(found)
    return Scan(stacks_of(frames), tuple(companions), tuple(broken), ignored)


def scan_file(path: Path) -> Scan:
    """Read one file that the user has named; a DICOMDIR stands for its files.

    Parameters
    ----------
    path : Path
        A DICOM file. A segmentation, a dose grid or a map is an image here.

    Returns
    -------
    Scan

    Raises
    ------
    StudyError
        For a damaged DICOMDIR.
    """
    media = read_media(path)
    if media is None:
        return scan([path], any_object=True)
    return replace(scan(media.files), notes=media.notes)
