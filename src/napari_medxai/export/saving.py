"""Writing one export where the user says: what save dialogs call."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from napari_medxai.errors import UsageError
from napari_medxai.files import write_atomically
from napari_medxai.report.overlay import picture_bytes
from napari_medxai.results import Explanation
from napari_medxai.study import Study

from .instance import dicom_bytes
from .nifti import nifti_bytes
from .parametric_map import parametric_map
from .picture import burned_in_picture
from .secondary_capture import secondary_captures
from .segmentation import segmentation
from .subject import Subject

__all__ = [
    "save_nifti",
    "save_parametric_map",
    "save_png",
    "save_secondary_captures",
    "save_segmentation",
]


def save_nifti(study: Study, explanation: Explanation, path: str | Path) -> Path:
    """Write a map as NIfTI.

    Parameters
    ----------
    study : Study
    explanation : Explanation
        Of this study.
    path : str or Path
        Ends in ``.nii.gz`` or ``.nii``.

    Raises
    ------
    ExportError
        As :func:`napari_medxai.export.nifti_image`.
    OutputError
        Where it cannot be written.
    UsageError
        Where the name ends otherwise.
    """
    place = _named(path, ".nii.gz", ".nii")
    compressed = place.name.lower().endswith(".gz")
    write_atomically(place, nifti_bytes(study, explanation, compressed=compressed))
    return place


def save_parametric_map(
    study: Study, explanation: Explanation, path: str | Path, *, identify: bool = False
) -> Path:
    """Write a map as DICOM Parametric Map.

    Parameters
    ----------
    study, explanation, identify
        As for :func:`napari_medxai.export.parametric_map`.
    path : str or Path
        Ends in ``.dcm``.

    Raises
    ------
    ExportError, OutputError, UsageError
    """
    place = _named(path, ".dcm")
    ds = parametric_map(study, explanation, identify=identify)
    write_atomically(place, dicom_bytes(ds))
    return place


def save_segmentation(
    study: Study,
    explanation: Explanation,
    path: str | Path,
    *,
    percentile: float = 95.0,
    identify: bool = False,
) -> Path:
    """Write the strongest part of a map as DICOM SEG.

    Parameters
    ----------
    study, explanation, percentile, identify
        As for :func:`napari_medxai.export.segmentation`.
    path : str or Path
        Ends in ``.dcm``.

    Raises
    ------
    ExportError, OutputError, UsageError
    """
    place = _named(path, ".dcm")
    ds = segmentation(study, explanation, percentile=percentile, identify=identify)
    write_atomically(place, dicom_bytes(ds))
    return place


def save_secondary_captures(
    study: Study, explanation: Explanation, path: str | Path, *, identify: bool = False
) -> tuple[Path, ...]:
    """Write the overlays of a map as DICOM Secondary Captures.

    Parameters
    ----------
    study, explanation, identify
        As for :func:`napari_medxai.export.secondary_captures`.
    path : str or Path
        Ends in ``.dcm``; of several slices the first is ``NAME-1.dcm``, and so on.

    Returns
    -------
    tuple of Path

    Raises
    ------
    ExportError, OutputError, UsageError
    """
    place = _named(path, ".dcm")
    several = len(Subject.of(study, explanation).parts) > 1
    written = []
    captures = secondary_captures(study, explanation, identify=identify)
    for number, ds in enumerate(captures, start=1):
        one = place.with_name(f"{place.stem}-{number}.dcm") if several else place
        write_atomically(one, dicom_bytes(ds))
        written.append(one)
    return tuple(written)


def save_png(
    study: Study,
    explanation: Explanation,
    path: str | Path,
    *,
    index: int | None = None,
) -> Path:
    """Write the overlay of one slice as PNG, as in the Secondary Capture.

    Parameters
    ----------
    study : Study
    explanation : Explanation
        Of this study.
    path : str or Path
        Ends in ``.png``.
    index : int, optional
        One of the explained slices; by default the first.

    Raises
    ------
    ExportError, OutputError, UsageError
    """
    place = _named(path, ".png")
    subject = Subject.of(study, explanation)
    for part in subject.parts:
        if index in (None, part.index):
            picture = Image.fromarray(burned_in_picture(subject, part))
            write_atomically(place, picture_bytes(picture, mime="image/png"))
            return place
    raise UsageError(f"slice {index} was not explained.")


def _named(path: str | Path, *endings: str) -> Path:
    place = Path(path).expanduser()
    if not place.name.lower().endswith(endings):
        raise UsageError(f"{place.name}: the name must end in {' or '.join(endings)}.")
    return place
