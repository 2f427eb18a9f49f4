"""Classifiers: architectures, model folders, bundled ones, and those of others."""

from __future__ import annotations

from .architectures import build, names
from .classifier import Classifier, Prediction
from .folder import ModelCard, read_folder, write_folder
from .loading import bundled, load_model

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
