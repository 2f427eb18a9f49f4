"""Classifiers: architectures, model folders, bundled ones and training."""

from __future__ import annotations

from .architectures import build, names
from .classifier import Classifier, Prediction, bundled, load_model
from .folder import ModelCard, read_folder, write_folder

__all__ = [
    "Classifier",
    "ModelCard",
    "Prediction",
    "build",
    "bundled",
    "load_model",
    "names",
    "read_folder",
    "write_folder",
]
