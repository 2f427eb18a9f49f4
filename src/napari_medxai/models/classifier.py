"""A classifier: network, classes and preprocessing, ready to be asked."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_medxai.errors import ModelError
from napari_medxai.preprocess import NetworkInput, Preprocessing
from napari_medxai.study import Study

from .folder import ModelCard, read_folder

__all__ = ["BUNDLED", "Classifier", "Prediction", "bundled", "load_model"]

BUNDLED = Path(__file__).parent / "data"
PRECISIONS = ("fp32", "bf16")
FORWARD_BATCH = 16
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network answers.

    Attributes
    ----------
    probabilities : ndarray of float64
        (K,) for an image or a 3-D network, (slices, K) for a volume under a 2-D
        model; a row of NaN for each slice that was not asked for.
    classes : tuple of str
    """

    probabilities: NDArray[np.float64]
    classes: tuple[str, ...]

    @property
    def label(self) -> str:
        """Most probable class; of a volume, the class of the surest slice."""
        flat = np.nan_to_num(np.atleast_2d(self.probabilities), nan=-1.0)
        return self.classes[int(np.unravel_index(flat.argmax(), flat.shape)[1])]


class Classifier:
    """A network with the preprocessing it was trained with.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits (B, K).
    card : ModelCard
    name, digest : str
        The name it was loaded by, and the hash of its files.
    device : str
        ``auto`` takes a GPU where there is one.
    precision : str
        ``fp32``, or ``bf16`` for bfloat16 autocast.
    batch_size : int or None
        Most images in one pass; None where saliency chooses by memory, and 16 for
        predictions.

    Attributes
    ----------
    module : torch.nn.Module
    classes : tuple of str
    """

    def __init__(
        self,
        module: nn.Module,
        card: ModelCard,
        *,
        name: str,
        digest: str,
        device: str = "auto",
        precision: str = "fp32",
        batch_size: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ModelError(f"precision '{precision}' is unknown; fp32 or bf16.")
        self.device = pick_device(device)
        self.module = module.eval().to(self.device)
        if card.spatial_dims == 2:
            self.module = self.module.to(memory_format=torch.channels_last)
        self.card = card
        self.name = name
        self.digest = digest
        self.precision = precision
        self.batch_size = batch_size

    def with_module(self, module: nn.Module) -> Classifier:
        """Return the same classifier with another network, as it is."""
        other = copy.copy(self)
        other.module = module
        return other

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.card.classes

    @property
    def preprocessing(self) -> Preprocessing:
        """What turns a study into network input."""
        return self.card.preprocessing

    def class_index(self, name: str) -> int:
        """Index of a class by name.

        Raises
        ------
        ModelError
            If the model does not know the class.
        """
        try:
            return self.classes.index(name)
        except ValueError:
            raise ModelError(
                f"model '{self.name}' has no class '{name}'; it knows "
                f"{', '.join(self.classes)}."
            ) from None

    def input(self, study: Study, index: int | None = None) -> NetworkInput:
        """Return the network input image of a slice, see :class:`Preprocessing`."""
        return self.preprocessing.apply(study, index)

    def tensor(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Batch of network input images in the network's units, on its device."""
        return self.preprocessing.tensor(images).to(self.device)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Context of the chosen precision."""
        with torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=self.precision == "bf16",
        ):
            yield

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Softmax probabilities of network input images.

        Parameters
        ----------
        images : ndarray of uint8, shape (B, H, W[, C])

        Returns
        -------
        ndarray of float64, shape (B, K)

        Raises
        ------
        ModelError
            If the network's answer is not finite or has another shape.
        """
        chunks = []
        with torch.inference_mode(), self.autocast():
            size = self.batch_size or FORWARD_BATCH
            for start in range(0, len(images), size):
                x = self.tensor(images[start : start + size])
                if x.ndim == 4:
                    x = x.contiguous(memory_format=torch.channels_last)
                chunks.append(self.module(x).double().cpu())
        logits = torch.cat(chunks)
        if logits.shape != (len(images), len(self.classes)):
            raise ModelError(
                f"model '{self.name}' returned {tuple(logits.shape)} for "
                f"{len(images)} images and {len(self.classes)} classes."
            )
        if not torch.isfinite(logits).all():
            raise ModelError(f"model '{self.name}' returned NaN or infinite logits.")
        result: NDArray[np.float64] = torch.softmax(logits, dim=1).numpy()
        return result

    def predict(
        self,
        study: Study,
        *,
        slices: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> Prediction:
        """Classify a study.

        Parameters
        ----------
        study : Study
        slices : sequence of int, optional
            Of a volume under a 2-D model; all where None.
        progress : callable, optional
            Called as ``progress(done, total)``; may raise to cancel.

        Returns
        -------
        Prediction
        """
        available = self.preprocessing.indices(study)
        wanted = available if slices is None or available == (None,) else tuple(slices)
        rows = []
        for done, index in enumerate(wanted):
            image = self.input(study, index).image
            rows.append(self.probabilities(image[None])[0])
            if progress is not None:
                progress(done + 1, len(wanted))
        if available == (None,):
            return Prediction(rows[0], self.classes)
        table = np.full((study.slices, len(self.classes)), np.nan)
        for index, row in zip(wanted, rows, strict=True):
            table[index] = row
        return Prediction(table, self.classes)


def pick_device(device: str) -> torch.device:
    """Resolve ``auto`` and check that the device exists."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(
            f"device '{device}' is unknown; auto, cpu, cuda or cuda:N."
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device '{device}': no usable GPU here; use cpu or auto.")
    return chosen


def bundled() -> tuple[str, ...]:
    """Names of the classifiers that come with the package."""
    return tuple(sorted(p.parent.name for p in BUNDLED.glob("*/model.json")))


def load_model(
    name: str | Path,
    *,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | str = "auto",
) -> Classifier:
    """Load a bundled classifier or a model folder.

    Parameters
    ----------
    name : str or Path
        A name of :func:`bundled`, or a folder with ``model.json`` and
        ``weights.safetensors``.
    device, precision : str
        See :class:`Classifier`.
    batch_size : int or "auto"
        Most images in one pass; auto chooses by memory.

    Returns
    -------
    Classifier

    Raises
    ------
    ModelError
        If there is no such model, or its files are damaged.
    """
    folder = BUNDLED / str(name) if str(name) in bundled() else Path(name)
    if not folder.is_dir():
        raise ModelError(
            f"no model '{name}': neither bundled ({', '.join(bundled()) or 'none'}) "
            "nor a model folder."
        )
    module, card, digest = read_folder(folder)
    return Classifier(
        module,
        card,
        name=folder.resolve().name,
        digest=digest,
        device=device,
        precision=precision,
        batch_size=None if batch_size == "auto" else _positive(batch_size),
    )


def _positive(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ModelError(f"batch size '{value}' is not a positive number or 'auto'.")
    return number
