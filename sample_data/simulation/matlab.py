"""Writer of a slice in the form of the brain tumour data set's ``.mat`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from skimage import measure

from .acquisition import Simulated
from .files import replacing
from .tumour import Kind

CODES: dict[Kind, int] = {"meningioma": 1, "glioma": 2, "pituitary": 3}
USER_BLOCK = 512
CORNERS = 60


def write_mat(path: Path, made: Simulated, *, patient: str) -> None:
    """Write a MATLAB v7.3 file with a structure ``cjdata``.

    Its fields are those of Cheng et al.: ``image`` (int16), ``label``, ``PID``,
    ``tumorBorder`` (x1, y1, x2, y2... with the first pixel's centre at (1, 1)) and
    ``tumorMask``.

    Parameters
    ----------
    path : Path
        Ends in ``.mat``.
    made : Simulated
        A slice.
    patient : str
        PID.
    """
    skimage: Any = measure  # its functions are not annotated
    padded = np.pad(made.mask, 1).astype(float)
    outline = max(skimage.find_contours(padded, 0.5), key=len) - 1
    picked = outline[np.linspace(0, len(outline) - 1, CORNERS).astype(int)]
    border = (picked[:, ::-1] + 1).reshape(-1, 1)
    fields: dict[str, tuple[NDArray[Any], str]] = {
        "image": (made.image.astype(np.int16) * np.int16(8), "int16"),
        "label": (np.array([[float(CODES[made.kind])]]), "double"),
        "PID": (np.array([[ord(c) for c in patient]], np.uint16), "char"),
        "tumorBorder": (border, "double"),
        "tumorMask": (made.mask.astype(np.uint8), "logical"),
    }
    with replacing(path) as partial:
        with h5py.File(partial, "w", userblock_size=USER_BLOCK) as file:
            group = file.create_group("cjdata")
            group.attrs["MATLAB_class"] = np.bytes_("struct")
            for name, (array, kind) in fields.items():
                # MATLAB stores columns first. No time stamps: the same bytes again.
                item = group.create_dataset(
                    name,
                    data=np.ascontiguousarray(array.T),
                    compression="gzip" if array.size > 1000 else None,
                    track_times=False,
                )
                item.attrs["MATLAB_class"] = np.bytes_(kind)
                if kind in ("char", "logical"):
                    size = 2 if kind == "char" else 1
                    item.attrs["MATLAB_int_decode"] = np.int32(size)
        with partial.open("r+b") as stream:
            stream.write(_header())


def _header() -> bytes:
    text = b"MATLAB 7.3 MAT-file, simulated, not of any patient".ljust(116)
    return text + bytes(8) + b"\x00\x02IM"
