"""What the network sees, and the exact way back to the native grid.

One slice (or volume) goes through MONAI transforms in this order: intensity range
by percentiles, orientation to radiological convention where the file knows its
orientation, zero padding to a physical square (cube), resize, rounding to 8 bit.
That 8-bit picture is *the network input image*: information curves are computed
on it, and the recorded probability is the network's answer to it. Training uses
the same code, so that training and inspection cannot drift apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from .display import OPPOSITE, screen_codes
from .errors import ModelError, StudyError
from .study import Study

if TYPE_CHECKING:
    from monai.transforms import Compose

__all__ = ["NetworkInput", "Preprocessing"]

FLIP_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """One network input image with its way back.

    Attributes
    ----------
    image : ndarray of uint8, shape (H, W) or (H, W, 3); (D, H, W) for 3-D networks
        The network input image on the network's grid.
    slice : int or None
        Index along the native slice axis; None for an image or a whole volume.
    native_shape : tuple of int
        Shape of the native slice, (rows, columns), or of the native volume.
    """

    image: NDArray[np.uint8]
    slice: int | None
    native_shape: tuple[int, ...]
    _compose: Compose = field(repr=False)
    _operations: Sequence[Any] = field(repr=False)
    _affine: torch.Tensor = field(repr=False)

    def to_native(self, saliency: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Bring a map from the network's grid back onto the native grid.

        Parameters
        ----------
        saliency : ndarray, shape (H, W) or (D, H, W)
            A map on the network's grid.

        Returns
        -------
        ndarray of float32
            The map on the native slice (rows, columns) or volume, linearly
            interpolated. Values keep their scale.
        """
        from monai.data.meta_tensor import MetaTensor
        from monai.transforms.utils import convert_applied_interp_mode

        data = torch.as_tensor(np.ascontiguousarray(saliency, dtype=np.float32))
        flat = data.ndim == 2
        tensor = MetaTensor(
            data[None, None] if flat else data[None], affine=self._affine
        )
        tensor.applied_operations = convert_applied_interp_mode(
            self._operations, mode="trilinear", align_corners=False
        )
        native = np.asarray(self._compose.inverse(tensor))[0]
        result: NDArray[np.float32] = (native[0] if flat else native).astype(np.float32)
        if result.shape != self.native_shape:
            raise StudyError(
                f"a map of shape {saliency.shape} returned as {result.shape}, not as "
                f"the native {self.native_shape}."
            )
        return result


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing a model was trained with, as its model folder states it.

    Attributes
    ----------
    size : tuple of int
        (H, W), or (D, H, W) for a 3-D network.
    channels : int
        Input channels of the network, 1 or 3.
    percentiles : tuple of float
        Intensities at these percentiles of the slice become 0 and 255.
    mean, std : tuple of float
        Per channel, in units of 0 to 1, applied after division by 255.
    """

    size: tuple[int, ...]
    channels: int = 1
    percentiles: tuple[float, float] = (0.0, 99.9)
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        """Check what a model folder may get wrong."""
        if len(self.size) not in (2, 3) or min(self.size) < 1:
            raise ModelError(f"preprocessing: size {self.size} is not 2-D or 3-D.")
        if self.channels not in (1, 3):
            raise ModelError(f"preprocessing: {self.channels} channels; 1 or 3 needed.")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ModelError(
                f"preprocessing: mean and std need {self.channels} value(s) each."
            )
        low, high = self.percentiles
        if not 0 <= low < high <= 100 or min(self.std) <= 0:
            raise ModelError("preprocessing: percentiles or std out of range.")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocessing:
        """Build from the ``preprocessing`` object of a ``model.json``."""
        try:
            low, high = data.get("percentiles", cls.percentiles)
            return cls(
                size=tuple(int(s) for s in data["size"]),
                channels=int(data["channels"]),
                percentiles=(float(low), float(high)),
                mean=tuple(float(v) for v in data["mean"]),
                std=tuple(float(v) for v in data["std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                "model.json: 'preprocessing' needs size, channels, percentiles, mean "
                f"and std ({type(error).__name__}: {error})."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the ``preprocessing`` object of a ``model.json``."""
        return {
            "size": list(self.size),
            "channels": self.channels,
            "percentiles": list(self.percentiles),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @property
    def volumetric(self) -> bool:
        """Whether the network takes volumes."""
        return len(self.size) == 3

    def indices(self, study: Study) -> tuple[int | None, ...]:
        """Slice indices to run one by one; (None,) for an image or a 3-D network."""
        if self.volumetric:
            if not study.is_volume:
                raise ModelError(
                    f"{study.identifier}: an image was given to a model that needs "
                    "volumes."
                )
            return (None,)
        return tuple(range(study.slices)) if study.is_volume else (None,)

    def apply(self, study: Study, index: int | None = None) -> NetworkInput:
        """Compute the network input image of one slice, image or volume.

        Parameters
        ----------
        study : Study
        index : int, optional
            Slice along array axis 0; None for an image or a 3-D network.

        Returns
        -------
        NetworkInput

        Raises
        ------
        StudyError
            If the slice does not exist or holds no finite value.
        """
        from monai.data.meta_tensor import MetaTensor

        pixels = self._native(study, index)
        native_shape = pixels.shape[1:] if self.volumetric else pixels.shape[2:]
        affine = self._affine_ras(study, index)
        tensor = MetaTensor(torch.from_numpy(self._intensity(pixels)), affine=affine)
        compose = self._compose(study, pixels.shape[1:])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI notes each affine it updates
            out = compose(tensor)
        image = np.clip(np.rint(np.asarray(out)), 0, 255).astype(np.uint8)
        image = np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image[0]
        image = image if self.volumetric else image[0]
        return NetworkInput(
            image=np.ascontiguousarray(image),
            slice=index,
            native_shape=tuple(int(n) for n in native_shape),
            _compose=compose,
            _operations=out.applied_operations,
            _affine=out.affine,
        )

    def tensor(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Turn a batch of network input images into the network's units.

        Parameters
        ----------
        images : ndarray of uint8, shape (B, H, W[, C]), or (B, D, H, W)

        Returns
        -------
        Tensor of float32, shape (B, channels, *spatial)
        """
        x = torch.from_numpy(np.ascontiguousarray(images)).float() / 255
        dims = len(self.size)
        x = x.unsqueeze(1) if x.ndim == dims + 1 else x.movedim(-1, 1)
        shape = (1, -1) + (1,) * dims
        x = x.expand(-1, self.channels, *([-1] * dims))
        normalised: torch.Tensor = (x - self._mean.view(shape)) / self._std.view(shape)
        return normalised

    @cached_property
    def _mean(self) -> torch.Tensor:
        return torch.tensor(self.mean)

    @cached_property
    def _std(self) -> torch.Tensor:
        return torch.tensor(self.std)

    def _native(self, study: Study, index: int | None) -> NDArray[np.float32]:
        """Channel-first float pixels with a slice axis: (C, S, R, C)."""
        if index is not None and not 0 <= index < study.slices:
            raise StudyError(
                f"{study.identifier}: slice {index} does not exist; there are "
                f"{study.slices}."
            )
        array = study.array if index is None else study.array[index]
        if not study.is_volume or index is not None:
            array = array[None]
        data = np.asarray(array, dtype=np.float32)
        if study.colour and self.channels == 1:
            data = (data @ LUMINANCE.astype(np.float32))[..., None]
        elif not study.colour:
            data = data[..., None]
        return np.moveaxis(data, -1, 0)

    def _intensity(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale to 0..255 by the percentiles, the same for all channels."""
        from monai.transforms import ScaleIntensityRangePercentiles

        finite = np.isfinite(pixels)
        if not finite.any():
            raise StudyError("the slice holds no finite value; nothing to classify.")
        if not finite.all():
            pixels = np.where(finite, pixels, pixels[finite].min())
        low, high = np.percentile(pixels, self.percentiles)
        if high <= low:  # constant up to a few pixels: fall back on the full range
            low, high = float(pixels.min()), float(pixels.max())
            if high <= low:
                return np.zeros_like(pixels)
            scaled = (np.clip(pixels, low, high) - low) / (high - low) * 255
            return scaled.astype(np.float32)
        scale = ScaleIntensityRangePercentiles(
            *self.percentiles, b_min=0.0, b_max=255.0, clip=True
        )
        return np.asarray(scale(pixels), dtype=np.float32)

    def _affine_ras(self, study: Study, index: int | None) -> torch.Tensor | None:
        if study.affine_lps is None:
            return None
        affine = FLIP_TO_RAS @ study.affine_lps
        if index is not None:
            shift = np.eye(4)
            shift[0, 3] = index
            affine = affine @ shift
        return torch.from_numpy(affine)

    def _compose(self, study: Study, shape: tuple[int, ...]) -> Compose:
        """Orientation, physical padding and resize, as one invertible chain."""
        from monai.transforms import Compose, Orientation, Resize, SpatialPad

        from .smoothing import BorderSafeSmooth

        spacing = list(study.spacing) if study.spacing is not None else [1.0] * 3
        spacing = [1.0, *spacing] if len(spacing) == 2 else spacing
        extent = list(shape)
        steps: list[Any] = []
        codes = study.codes
        if codes is not None:
            wanted = self._screen_codes(codes)
            order = [_axis_of(codes, code) for code in wanted]
            spacing = [spacing[a] for a in order]
            extent = [extent[a] for a in order]
            steps.append(Orientation(axcodes="".join(wanted), labels=None))
        first = 0 if self.volumetric else 1
        side = max(n * s for n, s in zip(extent[first:], spacing[first:], strict=True))
        padded = [
            max(n, round(side / s))
            for n, s in zip(extent[first:], spacing[first:], strict=True)
        ]
        size = list(self.size) if self.volumetric else [1, *self.size]
        padded = padded if self.volumetric else [1, *padded]
        steps.append(SpatialPad(spatial_size=padded, mode="constant"))
        # as skimage.transform.resize and MONAI choose it, but without dark borders
        sigma = [max(0.0, (n / m - 1) / 2) for n, m in zip(padded, size, strict=True)]
        steps.append(BorderSafeSmooth(sigma))
        steps.append(Resize(spatial_size=size, mode="trilinear", align_corners=False))
        return Compose(steps)

    def _screen_codes(self, codes: tuple[str, str, str]) -> tuple[str, str, str]:
        """Radiological directions for the grid, keeping the slice axis in place.

        A 3-D network gets (superior, posterior, left); a 2-D one keeps the slice
        axis the study has, since that axis is not mixed into the picture.
        """
        if self.volumetric:
            return ("S", "P", "L")
        return (codes[0], *screen_codes(codes))


def _axis_of(codes: tuple[str, str, str], code: str) -> int:
    return next(a for a, c in enumerate(codes) if c in (code, OPPOSITE[code]))
