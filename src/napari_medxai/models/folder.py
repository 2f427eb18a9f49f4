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
from .heads import bare, headed, outputs
from .weights import load_fitted

__all__ = [
    "CARD",
    "FIELDS",
    "WEIGHTS",
    "ModelCard",
    "json_of",
    "read_card",
    "read_folder",
    "write_folder",
]

CARD = "model.json"
WEIGHTS = "weights.safetensors"
REQUIRED = ("architecture", "classes", "preprocessing")
FIELDS = (*REQUIRED, "format", "head", "spatial_dims", "target_layer")


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
    head : str
        What the network's outputs mean, one of :data:`.heads.HEADS`: ``softmax``,
        ``sigmoid`` (one output; classes are negative, positive) or ``multilabel``.
    extra : mapping
        Everything else: training data, performance, licence, intended use, limits.
    """

    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    spatial_dims: int = 2
    target_layer: str | None = None
    head: str = "softmax"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the head fits the classes."""
        outputs(self.head, len(self.classes))

    @property
    def outputs(self) -> int:
        """How many outputs the network itself has."""
        return outputs(self.head, len(self.classes))

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``model.json``."""
        return {
            "format": 1,
            "architecture": self.architecture,
            "classes": list(self.classes),
            "head": self.head,
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
    card = read_card(json_of(card_path), str(card_path))
    network = build(
        card.architecture,
        classes=card.outputs,
        channels=card.preprocessing.channels,
        spatial_dims=card.spatial_dims,
        size=card.preprocessing.size,
    )
    content = weights_path.read_bytes()
    try:
        state = load(content)
    except SafetensorError as error:
        raise ModelError(f"{weights_path}: not a safetensors file: {error}.") from error
    what = f"{weights_path}: does not fit '{card.architecture}'"
    load_fitted(network, state, what=what)
    digest = hashlib.sha256(card_path.read_bytes() + content).hexdigest()
    return headed(network, card.head).eval(), card, digest


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
        for key, value in bare(module).state_dict().items()
    }
    write_atomically(folder / WEIGHTS, save(state))
    text = json.dumps(card.to_json(), indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / CARD, text.encode())


def json_of(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ModelError
        If the file is missing, or is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}.") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path}: not a JSON object: {{...}} is needed.")
    return data


def read_card(data: Mapping[str, Any], where: str) -> ModelCard:
    """Make the card that a ``model.json`` states.

    Parameters
    ----------
    data : mapping
        Its content.
    where : str
        Its name, for errors.

    Returns
    -------
    ModelCard

    Raises
    ------
    ModelError
        If something is missing or contradicts itself.
    """
    absent = [key for key in REQUIRED if key not in data]
    if absent:
        raise ModelError(f"{where}: {', '.join(absent)} missing.")
    classes = data["classes"]
    if (
        not isinstance(classes, list | tuple)
        or len(classes) < 2
        or len(set(map(str, classes))) < len(classes)
    ):
        raise ModelError(f"{where}: 'classes' must list at least two different names.")
    preprocessing = Preprocessing.from_json(data["preprocessing"])
    dims = int(data.get("spatial_dims", len(preprocessing.size)))
    if dims != len(preprocessing.size):
        raise ModelError(
            f"{where}: spatial_dims is {dims}, but the size has "
            f"{len(preprocessing.size)} axes."
        )
    return ModelCard(
        architecture=str(data["architecture"]),
        classes=tuple(str(c) for c in classes),
        preprocessing=preprocessing,
        spatial_dims=dims,
        target_layer=data.get("target_layer"),
        head=str(data.get("head", "softmax")),
        extra={k: v for k, v in data.items() if k not in FIELDS},
    )
