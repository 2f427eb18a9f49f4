"""What the network sees, and the exact way back to the native grid.

One slice (or volume) goes this way: intensities are scaled to 0 to 255 by the rule
that the model states for the modality, the axes are turned to radiological convention
where the file knows its orientation, what the model crops is cut away, the rest is
padded to a physical square (cube), resized, and rounded to 8 bit. That 8-bit picture
is *the network input image*: information curves are computed on it, and the recorded
probability is the network's answer to it. Training uses the same code, so that
training and inspection cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .crop import Crop, crop_from_json
from .errors import ModelError, StudyError, UsageError
from .grid import Grid, Turn
from .inputs import NetworkInput
from .intensity import Intensity, Percentiles, measured
from .study import Study

__all__ = ["NetworkInput", "Preprocessing"]

AXIS = re.compile("(-?)([zyx])")
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing a model was trained with, as its model folder states it.

    Attributes
    ----------
    size : tuple of int
        (H, W), or (D, H, W) for a 3-D network.
    channels : int
        Input channels of the network, 1 or 3.
    intensity : Intensity
        Which intensities become 0 and 255, by modality.
    crop : Crop or None
        What is cut away first.
    mean, std : tuple of float
        Per channel, in units of 0 to 1, applied after division by 255.
    axes : str
        How the network's axes run, for one that was trained on turned images: a
        letter for each, ``z`` to the superior, ``y`` down the picture (posterior of
        an axial slice), ``x`` to its right (the patient's left), ``-`` for the other
        way. ``""`` is ``yx``, or ``zyx`` in 3-D. MONAI's ``LoadImage`` gives ``xy``,
        and after ``Orientation("RAS")`` ``-x-yz``.
    """

    size: tuple[int, ...]
    channels: int = 1
    intensity: Intensity = field(default_factory=Intensity)
    crop: Crop | None = None
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    axes: str = ""

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
        if min(self.std) <= 0:
            raise ModelError("preprocessing: std must be above 0.")
        letters = "yx" if len(self.size) == 2 else "zyx"
        named = [letter for _, letter in AXIS.findall(self.axes)]
        if self.axes and (sorted(named) != sorted(letters) or AXIS.sub("", self.axes)):
            raise ModelError(
                f"preprocessing: axes '{self.axes}' must name each of "
                f"{', '.join(letters)} once, with - before those that run the other "
                "way."
            )
        lengths = getattr(self.crop, "size_mm", self.size)
        if len(lengths) != len(self.size):
            raise ModelError(
                f"preprocessing: the crop has {len(lengths)} lengths, the network "
                f"{len(self.size)} axes."
            )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocessing:
        """Build from the ``preprocessing`` object of a ``model.json``.

        Parameters
        ----------
        data : mapping
            ``size``, ``channels``, ``mean``, ``std``; optionally ``intensity`` (see
            :mod:`napari_medxai.intensity`) and ``crop`` (see
            :func:`napari_medxai.crop.crop_from_json`) and ``axes``. Older folders
            state ``percentiles`` (two numbers) in place of ``intensity``.

        Returns
        -------
        Preprocessing

        Raises
        ------
        ModelError
            If something is missing or wrong.
        """
        try:
            if "intensity" in data:
                intensity = Intensity.from_json(data["intensity"])
            else:
                low, high = data.get("percentiles", (Percentiles.low, Percentiles.high))
                intensity = Intensity(Percentiles(float(low), float(high)))
            return cls(
                size=tuple(int(s) for s in data["size"]),
                channels=int(data["channels"]),
                intensity=intensity,
                crop=crop_from_json(data.get("crop")),
                mean=tuple(float(v) for v in data["mean"]),
                std=tuple(float(v) for v in data["std"]),
                axes=str(data.get("axes", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                "model.json: 'preprocessing' needs size, channels, mean and std "
                f"({type(error).__name__}: {error})."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the ``preprocessing`` object of a ``model.json``."""
        return {
            "size": list(self.size),
            "channels": self.channels,
            "intensity": self.intensity.to_json(),
            "crop": None if self.crop is None else self.crop.to_json(),
            "mean": list(self.mean),
            "std": list(self.std),
            **({"axes": self.axes} if self.axes else {}),
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

    def notes(self, study: Study) -> tuple[str, ...]:
        """Return what a careful person wants to know of a study under this model."""
        return self.intensity.notes(study)

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
            If the slice does not exist or no pixel of it carries a measurement.
        """
        pixels, valid = self._native(study, index)
        scaled, fill = self.intensity.scale(study, pixels, valid)
        grid = self._grid(study, pixels, valid)
        turned = grid.turn.there(scaled)[(slice(None), *grid.box)]
        out = _resized(torch.from_numpy(np.ascontiguousarray(turned)), grid, fill)
        image = np.clip(np.rint(np.asarray(out)), 0, 255).astype(np.uint8)
        image = np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image[0]
        image = image if self.volumetric else image[0]
        shape = pixels.shape[1:] if self.volumetric else pixels.shape[2:]
        return NetworkInput(np.ascontiguousarray(image), index, shape, grid)

    def native_image(
        self,
        study: Study,
        slices: Sequence[int] | None = None,
        *,
        interpolation: str = "nearest",
    ) -> NDArray[np.float32]:
        """Return what the network sees of a study, on the native grid: a layer.

        Parameters
        ----------
        study : Study
        slices : sequence of int, optional
            Of a volume under a 2-D model; all where None.
        interpolation : {"nearest", "linear"}
            See :meth:`NetworkInput.native_image`.

        Returns
        -------
        ndarray of float32
            Of the study's shape, colour last where the network input image has it.
            0 to 255; NaN in the slices that were not asked for.
        """
        indices = self.indices(study)
        if indices == (None,):
            return self.apply(study).native_image(interpolation=interpolation)
        layer: NDArray[np.float32] | None = None
        for index in indices if slices is None else slices:
            part = self.apply(study, index).native_image(interpolation=interpolation)
            if layer is None:
                layer = np.full((study.slices, *part.shape), np.nan, dtype=np.float32)
            layer[index] = part
        if layer is None:
            raise UsageError(f"{study.identifier}: no slice was asked for.")
        return layer

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

    def _native(
        self, study: Study, index: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Channel-first float pixels with a slice axis, and which of them count."""
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
        # pixel padding is defined for one sample per pixel (DICOM PS3.3 C.7.5.1.1.2)
        valid = measured(data, None if study.colour else study.padding)
        return np.moveaxis(data, -1, 0), np.moveaxis(valid, -1, 0)

    def _turned(self, turn: Turn) -> Turn:
        """Turn on from radiological convention to the network's own."""
        if not self.axes:
            return turn
        named = AXIS.findall(self.axes)
        first = [] if self.volumetric else [0]
        return turn.then(
            [*first, *("zyx".index(letter) for _, letter in named)],
            [*(False for _ in first), *(sign == "-" for sign, _ in named)],
        )

    def _grid(
        self, study: Study, pixels: NDArray[np.float32], valid: NDArray[np.bool_]
    ) -> Grid:
        """Lay the network's grid over the native one."""
        turn = self._turned(Turn.of(study.codes, volumetric=self.volumetric))
        native = (1.0, *(study.spacing or (1.0,) * len(study.shape)))[-3:]
        spacing = [native[axis] for axis in turn.order]
        extent = [pixels.shape[1 + axis] for axis in turn.order]
        box = tuple(slice(0, n) for n in extent)
        if self.crop is not None:
            box = self.crop.box(
                turn.there(pixels), turn.there(valid), spacing, len(self.size)
            )
        return Grid.square(turn, extent, box, spacing, self.size)


def _resized(pixels: torch.Tensor, grid: Grid, fill: float) -> torch.Tensor:
    """Pad and resize turned and cropped pixels to the network's grid."""
    from monai.transforms import Compose, Pad, Resize

    from .smoothing import BorderSafeSmooth

    # as skimage.transform.resize and MONAI choose it, but without dark borders
    sigma = [
        max(0.0, (n / m - 1) / 2) for n, m in zip(grid.padded, grid.size, strict=True)
    ]
    chain = Compose(
        [
            Pad(to_pad=[(0, 0), *grid.padding], mode="constant", value=fill),
            BorderSafeSmooth(sigma),
            Resize(spatial_size=grid.size, mode="trilinear", align_corners=False),
        ]
    )
    out: torch.Tensor = chain(pixels)
    return out
