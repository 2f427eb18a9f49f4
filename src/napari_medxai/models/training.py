"""Training a classifier on labelled images, checkpointed each epoch."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from napari_medxai.errors import UsageError
from napari_medxai.files import write_atomically
from napari_medxai.preprocess import Preprocessing

from .architectures import build, load_initial_weights
from .classifier import Classifier, load_model, pick_device
from .dataset import load_images, read_samples, split
from .evaluation import confusion_matrix, macro_f1, performance
from .folder import ModelCard, write_folder

__all__ = ["TrainingSettings", "train"]

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes
    ----------
    arch : str
    size : tuple of int
        Network input (H, W).
    channels : int
    epochs, batch_size : int
    learning_rate : float
        Peak of the one-cycle schedule (AdamW).
    weight_decay, label_smoothing, ema_decay : float
    precision : str
        ``bf16`` autocast or ``fp32``.
    device : str
    seed : int
    validation : tuple of str
        Folds that choose the epoch.
    initial_weights : Path or None
        ImageNet weights to start from.
    """

    arch: str
    size: tuple[int, int] = (224, 224)
    channels: int = 1
    epochs: int = 16
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    ema_decay: float = 0.995
    precision: str = "bf16"
    device: str = "auto"
    seed: int = 0
    validation: tuple[str, ...] = ()
    initial_weights: Path | None = None
    card: Mapping[str, Any] = field(default_factory=dict)


def train(
    data: Path,
    out: Path,
    settings: TrainingSettings,
    *,
    extra: Sequence[Path] = (),
    quiet: bool = False,
) -> Classifier:
    """Train a classifier and write its model folder.

    The epoch with the best macro F1 on the validation folds (with averaged weights)
    is kept in `out` as a model folder; ``history.csv`` holds each epoch. A run that
    was interrupted continues after its last whole epoch.

    Parameters
    ----------
    data : Path
        See :func:`read_samples`. The validation folds are taken from here only.
    out : Path
        Model folder to write.
    settings : TrainingSettings
    extra : sequence of Path
        Further data folders, for training only (simulated cases, say).
    quiet : bool
        No progress bars.

    Returns
    -------
    Classifier
        The model as it was written, float16 weights included.
    """
    samples = read_samples(data)
    last_fold = max({s.fold for s in samples})
    validation = settings.validation or (last_fold,)
    training, held = split(samples, validation)
    classes = tuple(sorted({s.label for s in samples}))
    for folder in extra:
        training += read_samples(folder)
    unknown = {s.label for s in training} - set(classes)
    if unknown:
        raise UsageError(f"extra data has unknown classes: {', '.join(unknown)}.")
    preprocessing = Preprocessing(
        size=settings.size,
        channels=settings.channels,
        mean=(0.5,) * settings.channels,
        std=(0.5,) * settings.channels,
    )
    card = ModelCard(settings.arch, classes, preprocessing, extra=dict(settings.card))
    arrays = {
        "x": load_images(training, preprocessing, quiet=quiet),
        "y": np.array([classes.index(s.label) for s in training]),
        "vx": load_images(held, preprocessing, quiet=quiet),
        "vy": np.array([classes.index(s.label) for s in held]),
    }
    run = _Run(settings, card, out)
    run.resume()
    while run.epoch < settings.epochs:
        loss = run.one_epoch(arrays["x"], arrays["y"], quiet=quiet)
        matrix = run.validate(arrays["vx"], arrays["vy"])
        run.finish_epoch(loss, matrix)
    return _finish(out, card, arrays, validation)


class _Run:
    """State of one training run: network, optimiser, averaged weights, history."""

    def __init__(self, settings: TrainingSettings, card: ModelCard, out: Path) -> None:
        self.settings, self.card, self.out = settings, card, out
        self.device = pick_device(settings.device)
        torch.manual_seed(settings.seed)
        network = build(
            settings.arch, classes=len(card.classes), channels=settings.channels
        )
        if settings.initial_weights is not None:
            load_initial_weights(network, settings.arch, settings.initial_weights)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        self.optimiser = torch.optim.AdamW(
            _decay_groups(self.network, settings.weight_decay),
            lr=settings.learning_rate,
        )
        self.loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
        self.epoch = 0
        self.best = -1.0
        self.history: list[dict[str, float]] = []

    def resume(self) -> None:
        """Continue from the checkpoint in the output folder, where there is one."""
        path = self.out / CHECKPOINT
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["settings"] != _fingerprint(self.settings):
            raise UsageError(
                f"{path}: made with other settings; choose another output folder or "
                "delete it."
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.best = state["epoch"], state["best"]
        self.history = state["history"]

    def one_epoch(
        self, x: NDArray[np.uint8], y: NDArray[np.int64], *, quiet: bool
    ) -> float:
        """Train once over the data, in an order drawn by seed and epoch."""
        generator = np.random.default_rng([self.settings.seed, self.epoch])
        torch.manual_seed(int(generator.integers(2**31)))
        augment = _augmentation(int(generator.integers(2**31)))
        order = generator.permutation(len(x))
        size = self.settings.batch_size
        # a last batch of one would break batch normalisation
        steps = max(1, len(x) // size)
        self.network.train()
        total = 0.0
        name = f"epoch {self.epoch + 1}/{self.settings.epochs}"
        for step in tqdm(range(steps), desc=name, unit="batch", disable=quiet):
            self._set_rate(self.epoch + step / steps)
            chosen = order[step * size : (step + 1) * size]
            images = torch.stack([_augmented(augment, x[i]) for i in chosen])
            images = (images.to(self.device) - 0.5) / 0.5
            target = torch.from_numpy(y[chosen]).to(self.device)
            with self._autocast():
                logits = self.network(
                    images.contiguous(memory_format=torch.channels_last)
                )
            loss = self.loss(logits.float(), target)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimiser.step()
            self.average.update_parameters(self.network)
            total += float(loss.detach())
        return total / steps

    def validate(self, x: NDArray[np.uint8], y: NDArray[np.int64]) -> NDArray[np.int64]:
        """Confusion matrix of the averaged weights."""
        model = self._classifier()
        predicted = model.probabilities(x).argmax(axis=1)
        return confusion_matrix(y, predicted, len(self.card.classes))

    def finish_epoch(self, loss: float, matrix: NDArray[np.int64]) -> None:
        """Keep the model if it is the best, then write history and checkpoint."""
        score = macro_f1(matrix)
        self.epoch += 1
        row = {"epoch": self.epoch, "loss": loss, "macro_f1": score}
        self.history.append(row)
        if score > self.best:
            self.best = score
            write_folder(self.out, self.average.module, self.card)
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_atomically(self.out / "history.csv", text.getvalue().encode())
        buffer = io.BytesIO()
        torch.save(
            {
                "settings": _fingerprint(self.settings),
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "epoch": self.epoch,
                "best": self.best,
                "history": self.history,
            },
            buffer,
        )
        write_atomically(self.out / CHECKPOINT, buffer.getvalue())
        tqdm.write(
            f"{time.strftime('%H:%M:%S')} epoch {self.epoch}: loss {loss:.4f}, "
            f"macro F1 {score:.4f}, best {self.best:.4f}"
        )

    def _classifier(self) -> Classifier:
        return Classifier(
            self.average.module,
            self.card,
            name="training",
            digest="",
            device=self.settings.device,
            precision=self.settings.precision,
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=self.settings.precision == "bf16",
        )

    def _set_rate(self, progress: float) -> None:
        """One cycle: linear warm-up over 15 % of the epochs, cosine to zero."""
        share = progress / self.settings.epochs
        warm = 0.15
        factor = (
            (share + 1e-3) / warm
            if share < warm
            else 0.5 * (1 + math.cos(math.pi * (share - warm) / (1 - warm)))
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * min(1.0, factor)


def _decay_groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels only, not on norms and biases."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": weights, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _augmentation(seed: int) -> Any:
    from monai.transforms import (
        Compose,
        RandAdjustContrast,
        RandAffine,
        RandFlip,
        RandGaussianNoise,
    )

    compose = Compose(
        [
            RandFlip(prob=0.5, spatial_axis=1),
            RandAffine(
                prob=0.9,
                rotate_range=0.25,
                shear_range=0.1,
                translate_range=(16, 16),
                scale_range=0.15,
                mode="bilinear",
                padding_mode="zeros",
            ),
            RandAdjustContrast(prob=0.6, gamma=(0.6, 1.6)),
            RandGaussianNoise(prob=0.3, std=0.03),
        ]
    )
    compose.set_random_state(seed=seed)
    return compose


def _augmented(augment: Any, image: NDArray[np.uint8]) -> torch.Tensor:
    channels = image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)
    out = augment(torch.from_numpy(np.ascontiguousarray(channels)).float() / 255)
    tensor: torch.Tensor = out.as_tensor() if hasattr(out, "as_tensor") else out
    return tensor.clamp(0, 1)


def _fingerprint(settings: TrainingSettings) -> dict[str, str]:
    return {
        k: str(v) for k, v in asdict(settings).items() if k not in ("card", "device")
    }


def _finish(
    out: Path,
    card: ModelCard,
    arrays: Mapping[str, NDArray[Any]],
    validation: Sequence[str],
) -> Classifier:
    """Measure the written float16 model and put the figures into its card."""
    model = load_model(out)
    predicted = model.probabilities(arrays["vx"]).argmax(axis=1)
    matrix = confusion_matrix(arrays["vy"], predicted, len(card.classes))
    figures = {
        "data": f"fold {', '.join(validation)} of the training data: the selection "
        "set, which chose the epoch; not an independent test",
        **performance(matrix, card.classes),
    }
    measured = replace(card, extra={**card.extra, "performance": figures})
    write_folder(out, model.module, measured)
    return load_model(out)
