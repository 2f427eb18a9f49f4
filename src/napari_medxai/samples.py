"""The simulated studies that come with the project, from a wheel or a checkout."""

from __future__ import annotations

from pathlib import Path

from .errors import StudyError

__all__ = ["sample_path", "samples"]

PACKAGED = Path(__file__).parent / "sample_data"
CHECKOUT = Path(__file__).parents[2] / "sample_data"


def samples() -> dict[str, Path]:
    """Sample studies by name: a PNG folder, a NIfTI volume, a DICOM series."""
    root = sample_path()
    return {name: root / name for name in ("png", "nifti", "dicom")}


def sample_path() -> Path:
    """Return the folder that holds the sample studies.

    Raises
    ------
    StudyError
        If the installation lacks them.
    """
    for root in (PACKAGED, CHECKOUT):
        if (root / "png").is_dir():
            return root
    raise StudyError(
        "the sample data is missing from this installation; reinstall napari-medxai."
    )
