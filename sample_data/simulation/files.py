"""Writers of PNG, NIfTI and CSV that never leave half a file behind."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, moved to ``path`` only once all went well."""
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_png(path: Path, array: NDArray[Any]) -> None:
    """Write a grey uint8 image, or a bool mask as 0 and 255."""
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    with replacing(path) as partial:
        Image.fromarray(array).save(partial, format="PNG", optimize=True)


def write_nifti(
    path: Path,
    array: NDArray[Any],
    affine_lps: NDArray[np.float64],
    *,
    axes: str = "RAS",
) -> None:
    """Write a volume as ``.nii.gz``.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz``.
    array : ndarray, shape (slice, row, column)
        A mask is written as a label map of 0 and 1.
    affine_lps : ndarray, shape (4, 4)
        (slice, row, column, 1) to LPS mm.
    axes : str
        Directions of the stored axes, as nibabel names them.
    """
    if array.dtype == bool:
        array = array.astype(np.uint8)
    affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps
    nibabel: Any = nib  # its functions are not annotated
    image = nibabel.Nifti1Image(array, affine_ras)
    source = nibabel.io_orientation(affine_ras)
    target = nibabel.orientations.axcodes2ornt(axes)
    image = image.as_reoriented(nibabel.orientations.ornt_transform(source, target))
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, code="scanner")
    image.set_qform(image.affine, code="scanner")
    image.header["descrip"] = b"simulated, not of any patient"
    with replacing(path) as partial:
        # No time stamp and no name, so that the bytes depend on the content alone.
        partial.write_bytes(gzip.compress(image.to_bytes(), 9, mtime=0))


def write_csv(
    path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]
) -> None:
    """Write rows under a header line."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="\n")
