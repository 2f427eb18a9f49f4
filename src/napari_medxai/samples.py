"""The simulated studies that come with the project, from a wheel or a checkout."""

from __future__ import annotations

from pathlib import Path

from .errors import StudyError

__all__ = ["sample_path", "samples"]

PACKAGED = Path(__file__).parent / "sample_data"
CHECKOUT = Path(__file__).parents[2] / "sample_data"


def samples() -> dict[str, Path]:
    """Sample studies by name.

    Returns
    -------
    dict of str to Path
        Of the brain ``png``, ``nifti``, ``mat``, ``dicom`` (with a SEG) and
        ``dicom-rtstruct``; of the chest ``chest-png``, ``chest-dx`` and
        ``chest-cr``, the last MONOCHROME1.
    """
    root = sample_path()
    brain = ("png", "nifti", "mat", "dicom", "dicom-rtstruct")
    chest = {"chest-png": "png", "chest-dx": "dicom-dx", "chest-cr": "dicom-cr"}
    return {
        **{name: root / "brain" / name for name in brain},
        **{name: root / "chest" / folder for name, folder in chest.items()},
    }


def sample_path() -> Path:
    """Return the folder that holds the sample studies.

    Raises
    ------
    StudyError
        If the installation lacks them.
    """
    for root in (PACKAGED, CHECKOUT):
        if (root / "brain").is_dir():
            return root
    raise StudyError(
        "the sample data is missing from this installation; reinstall napari-medxai."
    )
