"""The simulated files that are shipped: whole, small, read with their masks."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from napari_medxai.io import find_cases, load_case

ROOT = Path(__file__).resolve().parent.parent / "sample_data"
KINDS = ("glioma", "meningioma", "pituitary")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_size() -> None:
    shipped = [path for path in ROOT.rglob("*") if path.is_file()]
    assert 60 < len(shipped) < 150
    assert sum(path.stat().st_size for path in shipped) < 12e6


@pytest.mark.parametrize(
    ("study", "count", "without"), [("brain", 10, 0), ("chest", 8, 2)]
)
def test_every_case_is_read_with_its_mask(study: str, count: int, without: int) -> None:
    found = find_cases(ROOT / study)
    assert len(found) == count
    bare = 0
    for case in found.cases:
        opened = load_case(case)
        if not opened.masks:
            assert case.label == "normal"
            bare += 1
            continue
        (mask,) = opened.masks.values()
        assert mask.shape == opened.array.shape
        assert 0.001 < mask.mean() < 0.25
    assert bare == without


def test_every_dicom_says_that_it_is_simulated() -> None:
    paths = sorted(ROOT.rglob("*.dcm"))
    assert len(paths) == 22 + 1 + 13 + 1 + 4
    classes = set()
    for path in paths:
        found = pydicom.dcmread(path, stop_before_pixels=True)
        assert str(found.PatientName).startswith("Simulated^")
        text = found.get("ImageComments") or found.StructureSetDescription
        assert "Simulated, not of any patient" in text
        photometric = found.get("PhotometricInterpretation", "")
        classes.add((str(found.Modality), str(photometric)))
    assert classes == {
        ("MR", "MONOCHROME2"),
        ("SEG", "MONOCHROME2"),
        ("RTSTRUCT", ""),
        ("DX", "MONOCHROME2"),
        ("CR", "MONOCHROME1"),
    }


def test_png(samples: Path) -> None:
    rows = rows_of(samples / "png" / "labels.csv")
    assert sorted(row["label"] for row in rows) == sorted(2 * KINDS)
    for row in rows:
        image = np.asarray(Image.open(samples / "png" / "images" / row["file"]))
        mask = np.asarray(Image.open(samples / "png" / "masks" / row["file"])) > 0
        assert image.dtype == np.uint8
        assert image.shape == mask.shape == (256, 256)
        assert 200 < mask.sum() < 6000


def test_volumes(samples: Path) -> None:
    (row,) = rows_of(samples / "nifti" / "labels.csv")
    image: Any = nib.load(samples / "nifti" / row["file"])
    mask: Any = nib.load(samples / "nifti" / "glioma_mask.nii.gz")
    np.testing.assert_array_equal(image.affine, mask.affine)
    nifti = np.asarray(mask.dataobj).transpose(2, 1, 0)
    segmentation = hd.seg.segread(samples / "dicom" / "SEG0001.dcm")
    sources = [pydicom.dcmread(path) for path in (samples / "dicom").glob("IM*.dcm")]
    sources.sort(key=lambda found: float(found.ImagePositionPatient[2]))
    dicom = segmentation.get_pixels_by_source_instance(
        [found.SOPInstanceUID for found in sources],
        assert_missing_frames_are_empty=True,
    )[..., 0]
    for stack in (nifti, dicom):
        area = stack.sum((1, 2), dtype=int)
        assert 4 <= (area > 0).sum() <= 9
        assert area[len(area) // 2] >= 0.8 * area.max()


@pytest.mark.parametrize("study", ["brain", "chest"])
def test_shipped_is_what_the_program_makes(
    study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nilearn")
    monkeypatch.syspath_prepend(str(ROOT))
    for name in [n for n in sys.modules if n.partition(".")[0] == "simulation"]:
        monkeypatch.delitem(sys.modules, name)
    from simulation import samples as shipped

    if study == "brain":
        kind, plane, seed = shipped.SLICES[0]
        made: Any = shipped.simulate_slice(kind, seed, plane=plane)
        name = f"{kind}-{plane}.png"
    else:
        kind, seed = shipped.RADIOGRAPHS[0]
        made = shipped.simulate_radiograph(kind, seed, size=shipped.RADIOGRAPH_SIZE)
        name = f"{kind}-1.png"
    folder = ROOT / study / "png"
    image = np.asarray(Image.open(folder / "images" / name)).astype(int)
    mask = np.asarray(Image.open(folder / "masks" / name)) > 0
    # Another processor's rounding may move a grey level or an edge pixel, and where
    # quanta are counted now and then one count.
    off = np.abs(image - made.image)
    assert (off > 2).mean() < (0 if study == "brain" else 0.01) + 1e-9
    assert (mask != made.mask).sum() <= 3
