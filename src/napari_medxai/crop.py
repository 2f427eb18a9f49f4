"""What is cut away before the network: the background, or all but the centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

__all__ = ["CenterCrop", "Crop", "ForegroundCrop", "crop_from_json"]


@dataclass(frozen=True)
class ForegroundCrop:
    """The bounding box of what is brighter than the background.

    Foreground is what lies above the lowest value by more than a share of the range
    up to the 99.9th percentile. Without foreground nothing is cut away.

    Attributes
    ----------
    margin_mm : float
        Added on every side, within the image; pixels where the file has no spacing.
    above : float
        The share, in [0, 1).
    """

    margin_mm: float = 5.0
    above: float = 0.1

    def __post_init__(self) -> None:
        """Check what a model folder may get wrong."""
        if not (0 <= self.margin_mm < np.inf and 0 <= self.above < 1):
            raise ModelError(
                "preprocessing: the foreground crop needs a margin_mm of 0 or more and "
                "'above' in [0, 1)."
            )

    def box(
        self,
        pixels: NDArray[np.float32],
        valid: NDArray[np.bool_],
        spacing: Sequence[float],
        dims: int,
    ) -> tuple[slice, ...]:
        """Find the box.

        Parameters
        ----------
        pixels : ndarray of float32, shape (channels, slices, rows, columns)
            As the network's axes run.
        valid : ndarray of bool
            Pixels that carry a measurement.
        spacing : sequence of float
            mm along the three axes.
        dims : int
            Of the network; under a 2-D one the slice axis is left alone.

        Returns
        -------
        tuple of slice
            With start and stop, along the three axes.
        """
        from monai.transforms.utils import generate_spatial_bounding_box

        extent = pixels.shape[1:]
        values = pixels[valid]
        low, high = float(values.min()), float(np.percentile(values, 99.9))
        foreground = valid & (pixels > low + self.above * (high - low))
        if not foreground.any():
            return tuple(slice(0, n) for n in extent)
        margin = [
            round(self.margin_mm / s) if axis >= 3 - dims else 0
            for axis, s in enumerate(spacing)
        ]
        start, stop = generate_spatial_bounding_box(
            foreground, margin=margin, allow_smaller=True
        )
        return tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return the ``crop`` object of a ``model.json``."""
        return {"foreground": {"margin_mm": self.margin_mm, "above": self.above}}


@dataclass(frozen=True)
class CenterCrop:
    """A box of fixed size around the image's centre.

    Attributes
    ----------
    size_mm : tuple of float
        Along the network's axes (height, width), or (depth, height, width); pixels
        where the file has no spacing. What is smaller stays whole.
    """

    size_mm: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check what a model folder may get wrong."""
        if len(self.size_mm) not in (2, 3) or not 0 < min(self.size_mm) < np.inf:
            raise ModelError(
                "preprocessing: the center crop needs size_mm with two or three "
                "lengths above 0."
            )

    def box(
        self,
        pixels: NDArray[np.float32],
        valid: NDArray[np.bool_],
        spacing: Sequence[float],
        dims: int,
    ) -> tuple[slice, ...]:
        """Find the box, see :meth:`ForegroundCrop.box`."""
        from monai.transforms import CenterSpatialCrop

        del valid
        wanted = [-1] * (3 - dims) + [
            max(1, round(mm / s))
            for mm, s in zip(self.size_mm, spacing[3 - dims :], strict=True)
        ]
        extent = pixels.shape[1:]
        parts = CenterSpatialCrop(roi_size=wanted).compute_slices(extent)
        return tuple(
            slice(*part.indices(n)[:2]) for part, n in zip(parts, extent, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the ``crop`` object of a ``model.json``."""
        return {"center": {"size_mm": list(self.size_mm)}}


Crop = ForegroundCrop | CenterCrop


def crop_from_json(data: Any) -> Crop | None:
    """Read the ``crop`` object of a ``model.json``.

    Parameters
    ----------
    data : object
        None, ``{"foreground": {"margin_mm": 5, "above": 0.1}}`` with both of them
        optional, or ``{"center": {"size_mm": [160, 160]}}``.

    Returns
    -------
    Crop or None

    Raises
    ------
    ModelError
        If it is something else.
    """
    if data is None:
        return None
    try:
        ((kind, options),) = dict(data).items()
        if kind == "foreground":
            return ForegroundCrop(**{key: float(options[key]) for key in options})
        if kind == "center":
            (size,) = (options[key] for key in options if key == "size_mm")
            if len(options) == 1:
                return CenterCrop(tuple(float(mm) for mm in size))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"preprocessing: the crop {data} is damaged: {error}."
        ) from error
    raise ModelError(
        f"preprocessing: the crop {data} is not known; null, 'foreground' with "
        "margin_mm and above, or 'center' with size_mm."
    )
