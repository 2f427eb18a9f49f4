"""How long it will take and how much memory, before it starts."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_medxai.files import write_atomically
from napari_medxai.models.classifier import pick_device
from napari_medxai.training import TrainingSettings
from napari_medxai.training.augmentation import Augmentation
from napari_medxai.training.batches import steps_per_epoch

from .counting import Work
from .probe import Probe

__all__ = [
    "Estimate",
    "Row",
    "augmentation_seconds",
    "device_text",
    "hours_text",
    "read_estimate",
    "row_of",
    "write_estimate",
]

GIB = 2**30
TRIED = 8  # images that augmentation is timed on


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one architecture will take.

    Attributes
    ----------
    architecture : str
    parameters : int
    training_hours, explaining_hours : float
        NaN where it could not be tried.
    training_gib, explaining_gib : float
        Of the network.
    seconds_per_case : float
    reason : str
        Why it could not be tried.
    """

    architecture: str
    parameters: int = 0
    training_hours: float = math.nan
    explaining_hours: float = math.nan
    training_gib: float = math.nan
    explaining_gib: float = math.nan
    seconds_per_case: float = math.nan
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What everything will take.

    Attributes
    ----------
    rows : tuple of Row
    cases : int
        Explained by each architecture that is explained.
    explained : tuple of str
        Which are; () where the best of them will be.
    device : str
    """

    rows: tuple[Row, ...]
    cases: int
    explained: tuple[str, ...]
    device: str

    @property
    def training_hours(self) -> float:
        """Of all that could be tried."""
        return _sum(r.training_hours for r in self.rows)

    @property
    def explaining_hours(self) -> tuple[float, float]:
        """Least and most: which one will be the best is not known."""
        hours = [r.explaining_hours for r in self.rows if not r.reason]
        if not hours:
            return math.nan, math.nan
        if not self.explained:
            return min(hours), max(hours)
        named = [r for r in self.rows if r.architecture in self.explained]
        total = _sum(r.explaining_hours for r in named)
        return total, total

    def find(self, architecture: str) -> Row | None:
        """Return the row of an architecture."""
        return next((r for r in self.rows if r.architecture == architecture), None)

    def lines(self) -> list[str]:
        """Write it as a table for the terminal."""
        heads = (
            "architecture",
            "weights",
            "training",
            "memory",
            "explaining",
            "memory",
        )
        table = [heads]
        for row in self.rows:
            if row.reason:
                table.append((row.architecture, row.reason, "", "", "", ""))
                continue
            table.append(
                (
                    row.architecture,
                    f"{row.parameters / 1e6:.1f} M",
                    hours_text(row.training_hours),
                    f"{row.training_gib:.1f} GiB",
                    hours_text(row.explaining_hours),
                    f"{row.explaining_gib:.1f} GiB",
                )
            )
        wide = [max(len(r[i]) for r in table if r[2] != "") for i in range(6)]
        lines = [
            "  ".join(
                text.ljust(width) if i == 0 or not row[2] else text.rjust(width)
                for i, (text, width) in enumerate(zip(row, wide, strict=True))
            ).rstrip()
            for row in table
        ]
        low, high = self.explaining_hours
        explaining = hours_text(high)
        if low != high:
            explaining = f"{hours_text(low)} to {hours_text(high)}, by which is best"
        return [
            f"Estimated on {self.device}, from a few seconds with each network:",
            *lines,
            f"Training all: {hours_text(self.training_hours)}. Explaining "
            f"{self.cases} cases: {explaining}. The program itself takes about 1 GiB "
            "of memory more. What is finished already is not done again.",
        ]

    def to_json(self) -> dict[str, Any]:
        """Return everything for ``estimate.json``; what is not known is null."""
        return {
            "device": self.device,
            "cases": self.cases,
            "explained": list(self.explained) or "best",
            "training_hours": _plain(self.training_hours),
            "explaining_hours": [_plain(h) for h in self.explaining_hours],
            "architectures": [
                {key: _plain(value) for key, value in asdict(row).items()}
                for row in self.rows
            ],
        }


def row_of(
    found: Probe,
    settings: TrainingSettings,
    work: Work,
    *,
    training: int,
    judged: int,
    cases: int,
    augmentation: float,
) -> Row:
    """Turn measurements into hours.

    Parameters
    ----------
    found : Probe
    settings : TrainingSettings
    work : Work
        Of one case.
    training, judged, cases : int
        Images that train, that are predicted after each epoch, and that are explained.
    augmentation : float
        Seconds of one image.
    """
    batch = min(settings.batch_size, training)
    steps = steps_per_epoch(training, settings.batch_size) * settings.epochs
    seconds = found.step.of(steps, steps * batch) + steps * batch * augmentation
    # Predictions come in batches: the first part of a pass hardly counts.
    seconds += settings.epochs * judged * found.forward.each
    passes = work.passes
    case = work.seconds
    case += found.forward.of(
        passes.forward_calls,
        passes.forward_images + work.images_per_channel * found.channels,
    )
    case += found.gradient.of(passes.gradient_calls, passes.gradient_images)
    return Row(
        architecture=settings.arch,
        parameters=found.parameters,
        training_hours=seconds / 3600,
        explaining_hours=cases * case / 3600,
        training_gib=found.training_bytes / GIB,
        explaining_gib=found.explaining_bytes / GIB,
        seconds_per_case=case,
    )


def augmentation_seconds(
    images: NDArray[np.uint8], settings: TrainingSettings
) -> float:
    """Time the augmentation of an image."""
    augment = Augmentation(settings.augmentation, settings.size, flip=settings.flip)
    few = images[:TRIED]
    augment(few[0], settings.seed)  # makes the chain
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as training does
    try:
        started = time.perf_counter()
        for i, image in enumerate(few):
            augment(image, settings.seed + i)
        return (time.perf_counter() - started) / len(few)
    finally:
        torch.set_num_threads(threads)


def device_text(device: str) -> str:
    """Name the device that ``auto`` or a name means."""
    chosen = pick_device(device)
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    return f"{chosen.type}, {torch.get_num_threads()} threads"


def hours_text(hours: float) -> str:
    """Write hours as people read them."""
    if math.isnan(hours):
        return "not known"
    if hours < 1:
        return f"{max(1, round(60 * hours))} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:.0f} h"


def write_estimate(path: Path, estimate: Estimate, asked: Mapping[str, Any]) -> None:
    """Write ``estimate.json``, with what was asked."""
    content = {**estimate.to_json(), "asked": dict(asked)}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())


def read_estimate(path: Path, asked: Mapping[str, Any]) -> Estimate | None:
    """Return an estimate that answers the same question; None where there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if found.get("asked") != asked:
        return None
    return Estimate(
        rows=tuple(
            Row(**known)
            for row in found["architectures"]
            if (known := {k: _missing(v) for k, v in row.items()})
        ),
        cases=found["cases"],
        explained=() if found["explained"] == "best" else tuple(found["explained"]),
        device=found["device"],
    )


def _missing(value: Any) -> Any:
    return math.nan if value is None else value


def _sum(values: Any) -> float:
    known: Sequence[float] = [v for v in values if not math.isnan(v)]
    return sum(known) if known else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.4g}")
    return value
