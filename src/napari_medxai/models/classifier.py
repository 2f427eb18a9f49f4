"""A classifier: network, classes and preprocessing, ready to be asked."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_medxai.errors import ModelError
from napari_medxai.preprocess import NetworkInput, Preprocessing
from napari_medxai.study import Study

from .folder import ModelCard
from .heads import TwoClasses, probabilities

__all__ = ["Classifier", "Prediction", "pick_device"]

PRECISIONS = ("fp32", "bf16")
FORWARD_BATCH = 16
THRESHOLD = 0.5
BETWEEN_LABELS = "|"
MULTILABEL_NOTE = (
    "Several classes may be true at once: probabilities are sigmoids, and curves and "
    "'correct' ask whether the class explained is there, at 0.5."
)
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
        Returns logits (B, K), one for each class, see :mod:`.heads`.
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
    notes : tuple of str
        What was found out when it was loaded.

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
        notes: Sequence[str] = (),
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
        self.notes = (*notes, *([MULTILABEL_NOTE] if self.multilabel else ()))
        self._alone: dict[int, nn.Module] = {}

    def with_module(self, module: nn.Module) -> Classifier:
        """Return the same classifier with another network, as it is."""
        other = copy.copy(self)
        other.module = module
        other._alone = {}
        return other

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.card.classes

    @property
    def preprocessing(self) -> Preprocessing:
        """What turns a study into network input."""
        return self.card.preprocessing

    @property
    def multilabel(self) -> bool:
        """Whether several classes may be true at once."""
        return self.card.head == "multilabel"

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

    def label_indices(self, label: str | None) -> tuple[int, ...]:
        """Return the indices of the classes that a label names; () where of none.

        One, or under a multi-label head several, as in ``effusion|mass``.
        """
        several = self.multilabel and label is not None
        named = label.split(BETWEEN_LABELS) if several and label else [label]
        return tuple(self.classes.index(n) for n in named if n in self.classes)

    def correct(
        self, found: NDArray[np.float64], target: int, label: str | None
    ) -> bool | None:
        """Whether the answer agrees with the label; None without one.

        The most probable class is the label. Under a multi-label head: the class
        explained is said to be there (at least 0.5) where it is, and not elsewhere.
        """
        if label is None:
            return None
        if not self.multilabel:
            return self.classes[int(found.argmax())] == label
        return bool(found[target] >= THRESHOLD) == (target in self.label_indices(label))

    def question(
        self, target: int, label: str | None
    ) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.float64]], int, int | None]:
        """Return what information curves ask, of which class, and which is true.

        Parameters
        ----------
        target : int
            The class explained.
        label : str or None

        Returns
        -------
        predict : callable
            Images (B, H, W[, C]) -> probabilities. Under a multi-label head those of
            the class explained, (absent, present), so that a curve is one-vs-rest.
        target : int
            The class explained, among what `predict` returns.
        label : int or None
            The true one; None where it is not known.
        """
        true = self.label_indices(label)
        if not self.multilabel:
            return self.probabilities, target, true[0] if true else None

        def predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
            present = self.probabilities(images)[:, target]
            return np.stack([1 - present, present], axis=1)

        return predict, 1, int(target in true) if true else None

    def explained(self, target: int) -> tuple[nn.Module, int]:
        """Return the network that saliency methods are given, and the class in it.

        Under a multi-label head it answers for the class explained alone, as two
        classes (absent, present), so that its softmax is that class's sigmoid.
        """
        if not self.multilabel:
            return self.module, target
        if target not in self._alone:
            self._alone[target] = TwoClasses(self.module, target).eval()
        return self._alone[target], 1

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
        """Probabilities of the classes on network input images.

        Parameters
        ----------
        images : ndarray of uint8, shape (B, H, W[, C])

        Returns
        -------
        ndarray of float64, shape (B, K)
            Rows add up to 1, except under a multi-label head.

        Raises
        ------
        ModelError
            If the network's answer is not finite or has another shape.
        """
        chunks = []
        # not inference_mode: TorchScript that was differentiated once refuses it
        with torch.no_grad(), self.autocast():
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
        result: NDArray[np.float64] = probabilities(logits, self.card.head).numpy()
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
