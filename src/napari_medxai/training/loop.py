"""The training loop: steps, epochs, checkpoints, early stopping."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from napari_medxai.errors import UsageError
from napari_medxai.files import write_atomically
from napari_medxai.models import Classifier, ModelCard
from napari_medxai.models.classifier import pick_device

from .augmentation import Augmentation, mixed
from .batches import batches, steps_per_epoch
from .checkpoint import Folder, check_same
from .images import Images
from .metrics import confusion_matrix, macro_f1, negative_log_likelihood
from .optimisation import Average, learning_rate, optimiser
from .settings import TrainingSettings

__all__ = ["Labelled", "Run"]

Progress = Callable[[int, int], None]
NEVER = (-1.0, -float("inf"))


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images, the numbers of their classes, and which of them count.

    Attributes
    ----------
    images : Images
    labels : ndarray of int, (N,)
    chosen : ndarray of int
        Numbers of the images that take part; all of them by default.
    """

    images: Images
    labels: NDArray[np.int64]
    chosen: NDArray[np.int64]


class Run:
    """One training: the network and everything that changes with it.

    Parameters
    ----------
    network : torch.nn.Module
        As it begins.
    settings : TrainingSettings
    card : ModelCard
        With the preprocessing that normalises.
    folder : Folder
    fingerprint : mapping
        What must be the same when the run continues.
    weights : Tensor or None
        Weight of each class in the loss.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: TrainingSettings,
        card: ModelCard,
        folder: Folder,
        fingerprint: Mapping[str, str],
        weights: torch.Tensor | None,
    ) -> None:
        self.settings, self.card, self.folder = settings, card, folder
        self.fingerprint = dict(fingerprint)
        self.device = pick_device(settings.device)
        self.network = self._laid_out(network)
        self.average = Average(self.network, settings.ema_decay)
        self.optimiser = optimiser(self.network, settings)
        self.loss = nn.CrossEntropyLoss(
            label_smoothing=settings.label_smoothing,
            weight=None if weights is None else weights.to(self.device),
        )
        shape = (1, -1) + (1,) * settings.spatial_dims
        spec = card.preprocessing
        self._mean = torch.tensor(spec.mean, device=self.device).view(shape)
        self._std = torch.tensor(spec.std, device=self.device).view(shape)
        self.epoch, self.step = 0, 0
        self.best, self.kept_epoch, self.stale = NEVER, 0, 0
        self.seconds, self.total_loss = 0.0, 0.0
        self.history: list[dict[str, float]] = []
        self._since = self._saved = time.monotonic()
        self._resume()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or enough of them brought nothing."""
        patience = self.settings.patience
        return self.epoch >= self.settings.epochs or (
            patience > 0 and self.stale >= patience
        )

    def train(
        self,
        training: Labelled,
        selection: Labelled,
        *,
        quiet: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Train until the end; continue where a checkpoint stands.

        Parameters
        ----------
        training, selection : Labelled
        quiet : bool
            Neither bars nor lines.
        progress : callable, optional
            Called with the steps done and all steps; may raise to cancel.
        """
        settings = self.settings
        steps = steps_per_epoch(len(training.chosen), settings.batch_size)
        total = steps * settings.epochs
        source = batches(
            training.images,
            training.labels,
            training.chosen,
            Augmentation(settings.augmentation, settings.size, flip=settings.flip),
            size=settings.batch_size,
            epochs=settings.epochs,
            seed=settings.seed,
            start=(self.epoch, self.step),
            workers=_workers(settings, self.device),
            pinned=self.device.type == "cuda",
        )
        self._since = self._saved = time.monotonic()
        with _determinism(settings, self.device), contextlib.closing(source):
            while not self.finished:
                name = f"epoch {self.epoch + 1}/{settings.epochs}"
                with tqdm(
                    total=steps,
                    initial=self.step,
                    desc=name,
                    unit="batch",
                    leave=False,
                    disable=quiet,
                ) as bar:
                    while self.step < steps:
                        self._one_step(*next(source), total=total, steps=steps)
                        bar.update()
                        if progress is not None:
                            progress(self.epoch * steps + self.step, total)
                        if self.step < steps:
                            self._save_in_time()
                self._finish_epoch(selection, steps, quiet=quiet)

    def _one_step(
        self, images: torch.Tensor, labels: torch.Tensor, *, total: int, steps: int
    ) -> None:
        settings = self.settings
        # dropout and the like, the same wherever a run continues
        draw = np.random.SeedSequence([settings.seed, self.epoch, self.step])
        torch.manual_seed(int(draw.generate_state(1)[0]))
        rate = learning_rate(settings, self.epoch * steps + self.step, total)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        x = images.to(self.device, non_blocking=True)
        target = nn.functional.one_hot(
            labels.to(self.device), len(self.card.classes)
        ).float()
        x, target = mixed(
            x,
            target,
            share=settings.mixup,
            alpha=settings.mixup_alpha,
            generator=np.random.default_rng(draw),
        )
        x = (x.expand(-1, settings.channels, *settings.size) - self._mean) / self._std
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        self.network.train()
        with torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=settings.precision == "bf16",
        ):
            logits = self.network(x)
        loss = self.loss(logits.float(), target)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        self.optimiser.step()
        self.average.update()
        self.total_loss += float(loss.detach())
        self.step += 1
        if not np.isfinite(self.total_loss):
            raise UsageError(
                f"the loss is not finite in epoch {self.epoch + 1}, step {self.step}: "
                "choose a lower --learning-rate, or --precision fp32."
            )

    def _finish_epoch(self, selection: Labelled, steps: int, *, quiet: bool) -> None:
        """Measure the selection set, keep the weights if they are the best, save."""
        answers = self.classifier().probabilities(selection.images.pixels())
        matrix = confusion_matrix(
            selection.labels, answers.argmax(axis=1), len(self.card.classes)
        )
        score = macro_f1(matrix)
        loss = negative_log_likelihood(answers, selection.labels)
        self._clock()
        self.epoch, self.step = self.epoch + 1, 0
        self.history.append(
            {
                "epoch": self.epoch,
                "loss": self.total_loss / steps,
                "selection_loss": loss,
                "macro_f1": score,
                "learning_rate": float(self.optimiser.param_groups[0]["lr"]),
                "seconds": round(self.seconds, 1),
            }
        )
        self.total_loss = 0.0
        better = (score, -loss) > self.best
        if better:
            self.best, self.stale = (score, -loss), 0
        else:
            self.stale += 1
        if better or self.settings.keep == "last":
            self.kept_epoch = self.epoch
            self.folder.save(
                self.folder.kept, {"weights": self.average.module.state_dict()}
            )
        self._save()
        self._write_history()
        if not quiet:
            row = self.history[-1]
            tqdm.write(
                f"{time.strftime('%H:%M:%S')} epoch {self.epoch}: loss "
                f"{row['loss']:.4f}, selection set: loss {loss:.4f}, macro F1 "
                f"{score:.4f} (best {self.best[0]:.4f})",
                file=sys.stderr,
            )

    def classifier(self) -> Classifier:
        """Averaged weights as they are now, as a classifier."""
        return Classifier(
            self.average.module,
            self.card,
            name="training",
            digest="",
            device=str(self.device),
            precision=self.settings.precision,
            batch_size=self.settings.batch_size,
        )

    def kept_network(self) -> nn.Module:
        """Return the network with the weights that were kept, on the CPU."""
        state = self.folder.load(self.folder.kept, torch.device("cpu"))
        if state is None:
            raise UsageError(
                f"{self.folder.kept}: missing; delete the folder {self.folder.out}."
            )
        self.network.load_state_dict(state["weights"])
        return self.network.eval().to("cpu")

    def _laid_out(self, network: nn.Module) -> nn.Module:
        network = network.to(self.device)
        if self.settings.spatial_dims == 2:
            network = network.to(memory_format=torch.channels_last)
        return network

    def _clock(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now

    def _save_in_time(self) -> None:
        if time.monotonic() - self._saved >= 60 * self.settings.checkpoint_minutes:
            self._save()

    def _save(self) -> None:
        self._clock()
        self.folder.save(
            self.folder.checkpoint,
            {
                "fingerprint": self.fingerprint,
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "epoch": self.epoch,
                "step": self.step,
                "total_loss": self.total_loss,
                "best": list(self.best),
                "kept_epoch": self.kept_epoch,
                "stale": self.stale,
                "seconds": self.seconds,
                "history": self.history,
            },
        )
        self._saved = time.monotonic()

    def _resume(self) -> None:
        state = self.folder.load(self.folder.checkpoint, self.device)
        if state is None:
            return
        check_same(self.folder.out, state["fingerprint"], self.fingerprint)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.total_loss, self.seconds = state["total_loss"], state["seconds"]
        self.best = (float(state["best"][0]), float(state["best"][1]))
        self.kept_epoch, self.stale = state["kept_epoch"], state["stale"]
        self.history = state["history"]

    def _write_history(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(
            text, fieldnames=list(self.history[0]), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(self.history)
        write_atomically(self.folder.out / "history.csv", text.getvalue().encode())


def _workers(settings: TrainingSettings, device: torch.device) -> int:
    """Choose how many processes augment, where the settings leave it open."""
    if settings.workers >= 0:
        return settings.workers
    return min(8, (os.cpu_count() or 1) - 1) if device.type == "cuda" else 0


@contextlib.contextmanager
def _determinism(settings: TrainingSettings, device: torch.device) -> Iterator[None]:
    """Deterministic algorithms where asked for, else the fastest ones."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
    )
    if settings.deterministic and device.type == "cuda":
        # cuBLAS reads it when it starts, and refuses to be deterministic without
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic
    try:
        yield
    except RuntimeError as error:
        if settings.deterministic and "deterministic" in str(error):
            raise UsageError(
                f"this network has no deterministic training here: {error} Leave "
                "--deterministic out."
            ) from error
        raise
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
