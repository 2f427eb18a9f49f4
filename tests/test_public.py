"""The public surface: names, the `napari-medxai` command, the packaged samples."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import napari_medxai as mx
from napari_medxai.cli import main
from napari_medxai.samples import samples

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", mx.__all__)
def test_every_public_name_exists(name):
    assert getattr(mx, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = mx.nonsense


def test_command_lists_methods_and_models(capsys):
    assert main(["methods"]) == 0
    out = capsys.readouterr().out
    for name in mx.saliency.methods():
        assert name in out
    assert main(["models"]) == 0
    assert "glioma, meningioma, pituitary" in capsys.readouterr().out


def test_command_dispatches_and_refuses(capsys, tmp_path):
    assert main(["batch", str(tmp_path / "no"), "--out", str(tmp_path / "o")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main([]) == 2
    assert main(["dance"]) == 2
    assert main(["--help"]) == 0
    assert "research use only" in capsys.readouterr().out


def test_samples_are_there():
    for path in samples().values():
        assert any(p.is_file() for p in path.rglob("*"))


@pytest.mark.slow
def test_a_wheel_carries_samples_weights_and_manifest(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for part in (
        "napari_medxai/napari.yaml",
        "napari_medxai/py.typed",
        "napari_medxai/report/template.html.j2",
        "napari_medxai/models/data/brain-tumor-mri/weights.safetensors",
        "napari_medxai/models/data/chest-xray-covid/weights.safetensors",
        "napari_medxai/sample_data/brain/png/labels.csv",
        "napari_medxai/sample_data/brain/nifti/glioma_mask.nii.gz",
        "napari_medxai/sample_data/chest/dicom-dx/SEG0001.dcm",
    ):
        assert part in names
    assert sum("sample_data/brain/dicom/IM" in n for n in names) >= 20
    assert wheel.stat().st_size < 25e6  # two classifiers, 7 MB each
