"""What there is to choose from: methods, models, presets; and the model cache.

All of this loads torch, so docks ask for it in a worker.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medxai.errors import ModelError

from .runner import Reporter

if TYPE_CHECKING:
    from napari_medxai.models import Classifier

__all__ = [
    "FAMILIES",
    "Catalogue",
    "MethodEntry",
    "ModelEntry",
    "catalogue_job",
    "load_cached",
    "model_entry",
]

FAMILIES = {
    "gradient": "Gradient methods",
    "path": "Path methods",
    "region": "Region methods",
    "cam": "Class activation maps",
    "baseline": "Baselines, which see no network",
    "other": "Other methods",
}
KEPT_MODELS = 2

_models: dict[tuple[str, int], Classifier] = {}
_loading = threading.Lock()


@dataclass(frozen=True)
class MethodEntry:
    """A saliency method as the list shows it."""

    name: str
    label: str
    family: str
    tooltip: str


@dataclass(frozen=True)
class ModelEntry:
    """A model as the list shows it: what `load_model` takes, and its classes."""

    name: str
    path: str
    classes: tuple[str, ...]
    tooltip: str
    volumetric: bool = False


@dataclass(frozen=True)
class Catalogue:
    """Everything a dock offers."""

    methods: tuple[MethodEntry, ...]
    models: tuple[ModelEntry, ...]
    presets: tuple[str, ...]

    def label(self, method: str) -> str:
        """Return the name on screen of a method."""
        return next((m.label for m in self.methods if m.name == method), method)


def catalogue_job(report: Reporter) -> Iterator[Catalogue]:
    """Job that yields the catalogue."""
    report(None, "Loading methods and models")
    yield _catalogue()


@cache
def _catalogue() -> Catalogue:
    from napari_medxai import metrics, models, saliency
    from napari_medxai.models.loading import BUNDLED

    methods = []
    for name in saliency.methods():
        method = saliency.get(name)
        tooltip = "\n".join(filter(None, (method.summary, method.reference)))
        methods.append(MethodEntry(name, method.label, method.family, tooltip))
    return Catalogue(
        methods=tuple(methods),
        models=tuple(model_entry(BUNDLED / name) for name in models.bundled()),
        presets=tuple(metrics.preset_names()),
    )


def model_entry(folder: Path) -> ModelEntry:
    """Read what the lists need of a model folder, without loading its weights.

    Raises
    ------
    ModelError
        If it is no model folder.
    """
    card = folder / "model.json"
    if not card.is_file():
        raise ModelError(
            f"{folder.name}: no model.json; choose a folder with model.json and "
            "weights.safetensors."
        )
    try:
        data: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
        classes = tuple(str(name) for name in data["classes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder.name}: model.json cannot be read ({type(error).__name__})."
        ) from error
    parts = [
        f"Architecture: {data.get('architecture', 'unknown')}",
        f"Classes: {', '.join(classes)}",
    ]
    for key, title in (("intended_use", "Intended use"), ("limits", "Limits")):
        if isinstance(data.get(key), str):
            parts.append(f"{title}: {data[key]}")
    return ModelEntry(
        name=folder.name,
        path=str(folder),
        classes=classes,
        tooltip="\n".join(parts),
        volumetric=data.get("spatial_dims", 2) == 3,
    )


def load_cached(path: str, report: Reporter) -> Classifier:
    """Load a model in the worker, or take it from the cache.

    Raises
    ------
    ModelError
        If it cannot be loaded.
    """
    stamps = [p.stat().st_mtime_ns for p in Path(path).glob("*") if p.is_file()]
    key = (path, hash(tuple(sorted(stamps))))
    with _loading:
        if key not in _models:
            report(None, f"Loading model {Path(path).name}")
            from napari_medxai.models import load_model

            _models[key] = load_model(Path(path))
            while len(_models) > KEPT_MODELS:
                del _models[next(iter(_models))]
        model = _models[key]
    report.check()
    return model
