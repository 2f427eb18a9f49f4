"""The sample data contribution: the project's simulated studies."""

from __future__ import annotations

from napari_medxai.io import load_study
from napari_medxai.samples import samples

from .layers import LayerData, study_to_layers
from .styling import watch_current_viewer

__all__ = [
    "chest",
    "dicom",
    "dicom_rtstruct",
    "nifti",
    "png_axial",
    "png_coronal",
    "png_sagittal",
]


def dicom() -> list[LayerData]:
    """Open the DICOM series with a meningioma and its segmentation."""
    return _open("dicom")


def dicom_rtstruct() -> list[LayerData]:
    """Open the sagittal DICOM series with a pituitary tumour and its RTSTRUCT."""
    return _open("dicom-rtstruct")


def chest() -> list[LayerData]:
    """Open the DICOM chest radiograph with a pneumonia and its segmentation."""
    return _open("chest-dx")


def nifti() -> list[LayerData]:
    """Open the NIfTI volume with a glioma."""
    return _open("nifti")


def png_axial() -> list[LayerData]:
    """Open the axial PNG slice with a glioma."""
    return _open("png", "images/glioma-axial.png")


def png_coronal() -> list[LayerData]:
    """Open the coronal PNG slice with a pituitary tumour."""
    return _open("png", "images/pituitary-coronal.png")


def png_sagittal() -> list[LayerData]:
    """Open the sagittal PNG slice with a meningioma."""
    return _open("png", "images/meningioma-sagittal.png")


def _open(name: str, series: str | None = None) -> list[LayerData]:
    watch_current_viewer()
    return study_to_layers(load_study(samples()[name], series=series))
