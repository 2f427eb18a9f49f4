"""Where a NIfTI volume lies: sform, qform, units, and what they get wrong.

NIfTI-1.1 (nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE") knows two
affines. The sform is used where its code is above 0, as nibabel and most viewers do;
else the qform; where both codes are 0 the header declares no orientation.
"""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from napari_medxai.study import lps_from_ras, spacing_of

__all__ = ["geometry"]

MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
APART = 1e-2  # mm, between two affines or two spacings that ought to be equal


def geometry(
    image: Any, notes: list[str]
) -> tuple[NDArray[np.float64] | None, tuple[float, float, float] | None]:
    """Work out affine and spacing.

    Parameters
    ----------
    image : nibabel image
        NIfTI or Analyze.
    notes : list of str
        What disagrees or is missing is added.

    Returns
    -------
    affine_lps : ndarray, shape (4, 4), or None
        (k, j, i, 1) to LPS mm; None where the header declares no orientation.
    spacing : tuple of float or None
        mm along (k, j, i); None where the header has none.
    """
    header: Any = image.header
    if not isinstance(header, nib.Nifti1Header):
        notes.append("an Analyze file, which does not say how the patient lies")
        return None, _spacing(header, 1.0)
    unit = _unit(header, notes)
    spacing = _spacing(header, unit)
    sform = _sform(header, unit, notes)
    qform = _qform(header, unit, notes)
    if sform is None and qform is None:
        if int(header["sform_code"]) == int(header["qform_code"]) == 0:
            notes.append("no orientation in the header (sform and qform codes are 0)")
            return None, spacing
        return None, None
    if sform is not None and qform is not None:
        corners = _corners(image.shape)
        gap = np.linalg.norm((sform @ corners - qform @ corners)[:3], axis=0).max()
        if gap > APART:
            notes.append(
                f"sform and qform disagree by up to {gap:.3g} mm; the sform is used"
            )
    ras = sform if sform is not None else qform
    assert ras is not None
    affine = lps_from_ras(ras)[:, [2, 1, 0, 3]]
    own = spacing_of(affine)
    if qform is None and spacing is not None:
        longer = [axis for axis in range(3) if _long(image.shape, 2 - axis)]
        if any(abs(own[a] - spacing[a]) > APART for a in longer):
            notes.append(
                f"pixdim says {_text(spacing)} mm, the sform {_text(own)} mm; the "
                "sform is used"
            )
    return affine, own


def _unit(header: Any, notes: list[str]) -> float:
    try:
        name = header.get_xyzt_units()[0]
    except KeyError:
        name = ""
    if name not in MILLIMETRES:
        notes.append("xyzt_units names no known unit of length; mm were taken")
        return 1.0
    return MILLIMETRES[name]


def _spacing(header: Any, unit: float) -> tuple[float, float, float] | None:
    zooms = [abs(float(zoom)) * unit for zoom in header.get_zooms()[:3]]
    zooms += [1.0] * (3 - len(zooms))
    if min(zooms) <= 0 or not np.isfinite(zooms).all():
        return None
    return (zooms[2], zooms[1], zooms[0])


def _sform(header: Any, unit: float, notes: list[str]) -> NDArray[np.float64] | None:
    if int(header["sform_code"]) <= 0:
        return None
    return _sound(np.array(header.get_sform(), dtype=float), "sform", unit, notes)


def _qform(header: Any, unit: float, notes: list[str]) -> NDArray[np.float64] | None:
    if int(header["qform_code"]) <= 0:
        return None
    try:
        affine = np.array(header.get_qform(), dtype=float)
    except (ValueError, HeaderDataError):
        affine = np.full((4, 4), np.nan)  # a quaternion longer than one
    return _sound(affine, "qform", unit, notes)


def _sound(
    affine: NDArray[np.float64], name: str, unit: float, notes: list[str]
) -> NDArray[np.float64] | None:
    """Scale an affine to mm; None where it maps a volume onto less than a volume."""
    axes = np.linalg.norm(affine[:3, :3], axis=0)
    finite = bool(np.isfinite(affine).all()) and bool((axes > 0).all())
    # The volume of a voxel against that of a box with its edges.
    if not finite or abs(np.linalg.det(affine[:3, :3] / axes)) < 1e-6:
        notes.append(f"the affine in the header ({name}) is degenerate, and not used")
        return None
    affine[:3] *= unit
    return affine


def _corners(shape: tuple[int, ...]) -> NDArray[np.float64]:
    ends = [[0, n - 1] for n in (*shape, 1, 1, 1)[:3]]
    grid = np.stack(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    return np.vstack([grid, np.ones(grid.shape[1])]).astype(float)


def _long(shape: tuple[int, ...], axis: int) -> bool:
    return len(shape) > axis and shape[axis] > 1


def _text(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.4g}" for value in reversed(spacing))
