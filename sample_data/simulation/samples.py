"""The files shipped with the package: what they are and how they are made."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from . import dicom, files
from .acquisition import simulate_slice, simulate_volume

# Kind, plane and seed; seeds from 910000 are in no training set of this project.
SLICES = (
    ("glioma", "axial", 910001),
    ("glioma", "coronal", 910036),
    ("meningioma", "sagittal", 910003),
    ("meningioma", "axial", 910004),
    ("pituitary", "sagittal", 910030),
    ("pituitary", "coronal", 910037),
)
NIFTI_SEED = 910017
DICOM_SEED = 910023
COLUMNS = ("file", "label", "patient")


def write(folder: Path) -> None:
    """Write ``png``, ``nifti`` and ``dicom`` below a folder, over what is there."""
    for name in ("png/images", "png/masks", "nifti", "dicom"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for kind, plane, seed in tqdm(SLICES, unit="slice"):
        made = simulate_slice(kind, seed, plane=plane)
        name = f"{kind}-{plane}.png"
        files.write_png(folder / "png" / "images" / name, made.image)
        files.write_png(folder / "png" / "masks" / name, made.mask)
        rows.append({"file": name, "label": kind, "patient": f"sim-{seed}"})
    files.write_csv(folder / "png" / "labels.csv", COLUMNS, rows)

    volume = simulate_volume(
        "glioma", NIFTI_SEED, slices=20, spacing=(6.0, 1.2, 1.2), size=192
    )
    for ending, array in (("", volume.image), ("_mask", volume.mask)):
        path = folder / "nifti" / f"glioma{ending}.nii.gz"
        files.write_nifti(path, array, volume.affine_lps)
    files.write_csv(
        folder / "nifti" / "labels.csv",
        COLUMNS,
        [{"file": "glioma.nii.gz", "label": "glioma", "patient": f"sim-{NIFTI_SEED}"}],
    )

    series = simulate_volume(
        "meningioma", DICOM_SEED, slices=22, spacing=(6.5, 0.9, 0.9)
    )
    dicom.write_series(folder / "dicom", series, seed=DICOM_SEED)
