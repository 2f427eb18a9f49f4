"""The files shipped with the package: what they are and how they are made."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from . import dicom, files
from .acquisition import simulate_slice, simulate_volume
from .chest import simulate_radiograph
from .chest.dicom import write_radiograph
from .matlab import write_mat

# Kind, plane and seed; seeds from 910000 are in no training set of this project.
SLICES = (
    ("glioma", "axial", 910001),
    ("glioma", "coronal", 910036),
    ("meningioma", "sagittal", 910003),
    ("meningioma", "axial", 910004),
    ("pituitary", "sagittal", 910030),
    ("pituitary", "coronal", 910037),
)
MAT = ("meningioma", "coronal", 910041)
NIFTI_SEED = 910017
SEG_SEED = 910023
RTSTRUCT_SEED = 910051
# Kind and seed.
RADIOGRAPHS = (
    ("covid19", 910123),
    ("covid19", 910129),
    ("normal", 910103),
    ("normal", 910104),
    ("pneumonia", 910112),
    ("pneumonia", 910115),
)
DX = ("pneumonia", 910105)
CR = ("covid19", 910125)
RADIOGRAPH_SIZE = 384
DICOM_SIZE = 448
COLUMNS = ("file", "label", "patient")


def write(folder: Path) -> None:
    """Write ``brain`` and ``chest`` below a folder, over what is there."""
    _brain(folder / "brain")
    _chest(folder / "chest")


def _brain(folder: Path) -> None:
    for name in (
        "png/images",
        "png/masks",
        "mat",
        "nifti",
        "dicom",
        "dicom-rtstruct",
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for kind, plane, seed in tqdm(SLICES, unit="slice"):
        made = simulate_slice(kind, seed, plane=plane)
        name = f"{kind}-{plane}.png"
        files.write_png(folder / "png" / "images" / name, made.image)
        files.write_png(folder / "png" / "masks" / name, made.mask)
        rows.append({"file": name, "label": kind, "patient": f"sim-{seed}"})
    files.write_csv(folder / "png" / "labels.csv", COLUMNS, rows)

    kind, plane, seed = MAT
    made = simulate_slice(kind, seed, plane=plane)
    write_mat(folder / "mat" / f"{kind}-{plane}.mat", made, patient=f"sim-{seed}")

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

    series = simulate_volume("meningioma", SEG_SEED, slices=22, spacing=(6.5, 0.9, 0.9))
    dicom.write_series(folder / "dicom", series, seed=SEG_SEED)
    series = simulate_volume(
        "pituitary",
        RTSTRUCT_SEED,
        plane="sagittal",
        slices=13,
        spacing=(3.0, 1.1, 1.1),
        size=208,
    )
    target = folder / "dicom-rtstruct"
    dicom.write_series(target, series, seed=RTSTRUCT_SEED, truth="RTSTRUCT")


def _chest(folder: Path) -> None:
    for name in ("png/images", "png/masks", "dicom-dx", "dicom-cr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for n, (kind, seed) in enumerate(tqdm(RADIOGRAPHS, unit="radiograph")):
        made = simulate_radiograph(kind, seed, size=RADIOGRAPH_SIZE)
        name = f"{kind}-{n % 2 + 1}.png"
        files.write_png(folder / "png" / "images" / name, made.image)
        if made.mask.any():
            files.write_png(folder / "png" / "masks" / name, made.mask)
        rows.append({"file": name, "label": kind, "patient": f"sim-{seed}"})
    files.write_csv(folder / "png" / "labels.csv", COLUMNS, rows)
    kind, seed = DX
    made = simulate_radiograph(kind, seed, size=DICOM_SIZE)
    write_radiograph(folder / "dicom-dx", made, seed=seed, modality="DX")
    kind, seed = CR
    made = simulate_radiograph(kind, seed, size=DICOM_SIZE)
    write_radiograph(folder / "dicom-cr", made, seed=seed, modality="CR")
