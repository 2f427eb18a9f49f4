"""Training: labelled images to a model folder with its report."""

from __future__ import annotations

from .samples import Sample, read_samples
from .settings import RECIPES, TrainingSettings
from .splitting import Split, split
from .trainer import train

__all__ = [
    "RECIPES",
    "Sample",
    "Split",
    "TrainingSettings",
    "read_samples",
    "split",
    "train",
]
