"""A saliency map as NIfTI on the grid of its images.

Where the images are a NIfTI file the map gets that file's voxel order, affine, codes
and units, so that any viewer lays it on the original. Else the affine is the study's,
turned to RAS. Where the images have no orientation the file says so (sform and qform
codes 0) and has the spacing only.
"""

from __future__ import annotations

import gzip
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from napari_medxai.errors import ExportError
from napari_medxai.results import Explanation
from napari_medxai.study import Study

from .subject import RESEARCH, Subject

__all__ = ["nifti_bytes", "nifti_image"]

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
ORTHOGONAL = 1e-5
LARGEST = np.iinfo(np.int16).max  # voxels along an axis of NIfTI-1


def nifti_image(study: Study, explanation: Explanation) -> Any:
    """Make a NIfTI image of a saliency map.

    Parameters
    ----------
    study : Study
    explanation : Explanation
        Of this study.

    Returns
    -------
    nibabel.Nifti1Image
        float32 (i, j, k), NaN in the slices that were not explained; NIfTI-2 where
        an axis is too long for NIfTI-1.

    Raises
    ------
    ExportError
        Where the map is not of this study, or its NIfTI file has changed or gone.
    """
    subject = Subject.of(study, explanation)
    values = explanation.map if study.is_volume else explanation.map[None]
    voxels = np.asarray(values.transpose(2, 1, 0), dtype=np.float32)
    kind = nib.Nifti1Image if max(voxels.shape) <= LARGEST else nib.Nifti2Image
    if study.metadata.get("format") == "nifti" and not study.metadata.get("resampled"):
        image = _like_the_file(study, kind, voxels)
    else:
        image = _by_affine(study, kind, voxels)
    finite = voxels[np.isfinite(voxels)]
    image.header["descrip"] = f"napari-medxai {subject.method}, {RESEARCH}".encode()[
        :79
    ]
    image.header["cal_min"] = finite.min()
    image.header["cal_max"] = finite.max()
    return image


def nifti_bytes(
    study: Study, explanation: Explanation, *, compressed: bool = True
) -> bytes:
    """Encode :func:`nifti_image` as ``.nii.gz``, or as ``.nii``.

    The same map gives the same bytes: no file name and no time stand in them.
    """
    content: bytes = nifti_image(study, explanation).to_bytes()
    return gzip.compress(content, compresslevel=6, mtime=0) if compressed else content


def _like_the_file(study: Study, kind: Any, voxels: NDArray[np.float32]) -> Any:
    """Copy the geometry of the file the images came from."""
    try:
        source: Any = nib.load(study.files[0])
    except (OSError, EOFError, ValueError, ImageFileError) as error:
        raise ExportError(
            f"{study.files[0].name} can no longer be read ({type(error).__name__}); "
            "put it back and run again"
        ) from error
    shape = tuple(source.shape[:3])
    if shape + (1,) * (3 - len(shape)) != voxels.shape:
        raise ExportError(
            f"{study.files[0].name} has changed since it was opened; open it again"
        )
    header: Any = source.header
    if "sform_code" not in header:  # Analyze says no orientation
        return _by_affine(study, kind, voxels)
    image = kind(voxels, None)
    zooms = tuple(float(z) for z in header.get_zooms()[:3])
    image.header.set_zooms(zooms + (1.0,) * (3 - len(zooms)))
    sform, sform_code = header.get_sform(coded=True)
    qform, qform_code = header.get_qform(coded=True)
    # The qform first: setting it changes the zooms, to what they are.
    if qform_code:
        image.set_qform(qform, int(qform_code))
    if sform_code:
        image.set_sform(sform, int(sform_code))
    unit = header.get_xyzt_units()[0]
    if unit != "unknown":
        image.header.set_xyzt_units(xyz=unit)
    return image


def _by_affine(study: Study, kind: Any, voxels: NDArray[np.float32]) -> Any:
    if study.affine_lps is None:
        image = kind(voxels, None)
        if study.spacing is not None:
            zooms = study.spacing if study.is_volume else (1.0, *study.spacing)
            image.header.set_zooms(tuple(reversed(zooms)))
            image.header.set_xyzt_units(xyz="mm")
        return image
    ras = (FLIP @ study.affine_lps)[:, [2, 1, 0, 3]]
    image = kind(voxels, ras)
    image.set_sform(ras, SCANNER)
    directions = ras[:3, :3] / np.linalg.norm(ras[:3, :3], axis=0)
    sheared = np.abs(directions.T @ directions - np.eye(3)).max() > ORTHOGONAL
    # A qform holds no shear (tilted gantry): better none than a wrong one.
    image.set_qform(ras, 0 if sheared else SCANNER, strip_shears=True)
    image.header.set_xyzt_units(xyz="mm")
    return image
