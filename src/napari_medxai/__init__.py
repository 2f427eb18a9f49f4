"""Explain medical image classifiers, and measure how far to trust the explanation.

Importing this package loads neither torch, monai, Qt nor napari; each name below
loads what it needs at its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import export, metrics, saliency
    from .engine import Settings, evaluate, evaluate_study, explain
    from .errors import MedXAIError, StudyError
    from .io import load_study, series
    from .models import Classifier, load_model
    from .study import Study

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "MedXAIError",
    "Settings",
    "Study",
    "StudyError",
    "__version__",
    "evaluate",
    "evaluate_study",
    "explain",
    "export",
    "load_model",
    "load_study",
    "metrics",
    "saliency",
    "series",
]

_HOMES = {
    "Classifier": ".models",
    "MedXAIError": ".errors",
    "Settings": ".engine",
    "Study": ".study",
    "StudyError": ".errors",
    "evaluate": ".engine",
    "evaluate_study": ".engine",
    "explain": ".engine",
    "load_model": ".models",
    "load_study": ".io",
    "series": ".io",
}


def __getattr__(name: str) -> Any:
    """Load public names on first use (PEP 562)."""
    if name in ("export", "metrics", "saliency"):
        return importlib.import_module(f".{name}", __name__)
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name], __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
