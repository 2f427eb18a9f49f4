"""Studies as MONAI tensors, through MONAI's LoadImage and a reader of our own.

MONAI's own DICOM reader sorts by InstanceNumber, merges series and hides gaps. So it
is given the study whose slices are already ordered and checked. The reader is handed
over at call time, as one given to the constructor is dropped silently when it fails.

This module imports MONAI, which takes seconds: import it where it is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.transforms.io.array import LoadImage
from monai.utils.enums import MetaKeys, SpaceKeys
from numpy.typing import NDArray

from napari_medxai.study import Study, lps_from_ras

__all__ = ["StudyReader", "metatensor"]


class StudyReader(ImageReader):  # type: ignore[misc, unused-ignore]
    """A MONAI reader that holds one study.

    Parameters
    ----------
    study : Study
        Pixels in order, with their affine.
    """

    def __init__(self, study: Study) -> None:
        self._study = study

    def verify_suffix(self, filename: Any) -> bool:
        """Accept the study's own source and files, and nothing else."""
        names = [filename] if isinstance(filename, str) else list(filename)
        own = {str(path) for path in (self._study.source, *self._study.files)}
        return all(str(name) in own for name in names)

    def read(self, data: Any, **kwargs: Any) -> Study:
        """Return the study; its pixels were read when it was opened."""
        return self._study

    def get_data(self, img: Study) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return pixels and the metadata MONAI's spatial transforms use.

        The affine takes array indices, (slice, row, column) or (row, column), to
        MONAI's RAS millimetres. For an image, whose plane in space MONAI's 2-D
        transforms cannot express, it is its spacing alone.
        """
        affine = np.eye(len(img.shape) + 1)
        if img.is_volume and img.affine_lps is not None:
            # The flip between RAS and LPS is its own inverse.
            affine = lps_from_ras(img.affine_lps)
        elif img.spacing is not None:
            affine = np.diag([*img.spacing, 1.0])
        return img.array, {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.array(img.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if img.colour else float("nan"),
        }


def metatensor(
    study: Study,
    *,
    dtype: type | np.dtype[Any] = np.float32,
    files: Sequence[str] | None = None,
) -> Any:
    """Return a study as a channel-first MetaTensor.

    Parameters
    ----------
    study : Study
        From `load_study`.
    dtype : dtype
        Of the tensor.
    files : sequence of str, optional
        What MONAI records as the source; the study's identifier by default, so that
        no path enters the metadata.

    Returns
    -------
    monai.data.MetaTensor, shape (channels, *spatial)
        With ``.affine`` onto RAS millimetres.
    """
    with warnings.catch_warnings():
        # It makes every reader it knows, and one complains that it has no GPU codec.
        warnings.simplefilter("ignore")
        load = LoadImage(dtype=dtype, ensure_channel_first=True, expanduser=False)
    return load(list(files or [study.identifier]), reader=StudyReader(study))
