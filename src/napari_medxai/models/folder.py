"""Model folders: ``model.json`` beside ``weights.safetensors``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_medxai.errors import ModelError
from napari_medxai.files import write_atomically
from napari_medxai.preprocess import Preprocessing

from .architectures import build

__all__ = ["FIELDS", "ModelCard", "read_folder", "write_folder"]

CARD = "model.json"
WEIGHTS = "weights.safetensors"
REQUIRED = ("architecture", "classes", "preprocessing")
FIELDS = (*REQUIRED, "format", "spatial_dims", "target_layer")


@dataclass(frozen=True)
class ModelCard:
    """What ``model.json`` states.

    Attributes
    ----------
    architecture : str
    classes : tuple of str
    preprocessing : Preprocessing
    spatial_dims : int
    target_layer : str or None
        Dotted name for the CAM family; None finds it automatically.
    extra : mapping
        Everything else: training data, performance, licence, intended use, limits.
    """

    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    spatial_dims: int = 2
    target_layer: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``model.json``."""
        return {
            "format": 1,
            "architecture": self.architecture,
            "classes": list(self.classes),
            "spatial_dims": self.spatial_dims,
            "target_layer": self.target_layer,
            "preprocessing": self.preprocessing.to_json(),
            **self.extra,
        }


def read_folder(folder: Path) -> tuple[nn.Module, ModelCard, str]:
    """Read a model folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    module : torch.nn.Module
        In eval mode, float32, on the CPU.
    card : ModelCard
    digest : str
        SHA-256 over ``model.json`` and the weights, in hexadecimal.

    Raises
    ------
    ModelError
        If a file is missing, damaged, or does not fit the architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    card_path, weights_path = folder / CARD, folder / WEIGHTS
    for path in (card_path, weights_path):
        if not path.is_file():
            raise ModelError(
                f"{folder}: no {path.name}; a model folder holds {CARD} and {WEIGHTS}."
            )
    card = _read_card(card_path)
    module = build(
        card.architecture,
        classes=len(card.classes),
        channels=card.preprocessing.channels,
        spatial_dims=card.spatial_dims,
    )
    content = weights_path.read_bytes()
    try:
        state = load(content)
    except SafetensorError as error:
        raise ModelError(f"{weights_path}: not a safetensors file: {error}.") from error
    own = module.state_dict()
    missing = sorted(set(own) - set(state))
    unknown = sorted(set(state) - set(own))
    wrong = sorted(k for k in set(own) & set(state) if own[k].shape != state[k].shape)
    if missing or unknown or wrong:
        raise ModelError(
            f"{weights_path}: does not fit '{card.architecture}' with "
            f"{len(card.classes)} classes and {card.preprocessing.channels} input "
            f"channel(s): {len(missing)} tensors missing, {len(unknown)} unknown, "
            f"{len(wrong)} of another shape"
            f" ({', '.join((missing + unknown + wrong)[:3])})."
        )
    module.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()})
    digest = hashlib.sha256(card_path.read_bytes() + content).hexdigest()
    return module.eval(), card, digest


def write_folder(folder: Path, module: nn.Module, card: ModelCard) -> None:
    """Write a model folder, floating tensors as float16.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    module : torch.nn.Module
    card : ModelCard
    """
    from safetensors.torch import save

    state = {
        key: (value.to(torch.float16) if value.is_floating_point() else value)
        .detach()
        .cpu()
        .contiguous()
        for key, value in module.state_dict().items()
    }
    write_atomically(folder / WEIGHTS, save(state))
    text = json.dumps(card.to_json(), indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / CARD, text.encode())


def _read_card(path: Path) -> ModelCard:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}.") from error
    absent = [key for key in REQUIRED if key not in data]
    if absent:
        raise ModelError(f"{path}: {', '.join(absent)} missing.")
    classes = data["classes"]
    if (
        not isinstance(classes, list)
        or len(classes) < 2
        or len(set(classes)) < len(classes)
    ):
        raise ModelError(f"{path}: 'classes' must list at least two different names.")
    preprocessing = Preprocessing.from_json(data["preprocessing"])
    dims = int(data.get("spatial_dims", 2))
    if dims != len(preprocessing.size):
        raise ModelError(
            f"{path}: spatial_dims is {dims}, but the size has "
            f"{len(preprocessing.size)} axes."
        )
    return ModelCard(
        architecture=str(data["architecture"]),
        classes=tuple(str(c) for c in classes),
        preprocessing=preprocessing,
        spatial_dims=dims,
        target_layer=data.get("target_layer"),
        extra={k: v for k, v in data.items() if k not in FIELDS},
    )
