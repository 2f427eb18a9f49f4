"""Networks by name: the paper's nine, and any other timm or MONAI name."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_medxai.errors import ModelError

__all__ = ["PAPER", "build", "load_initial_weights", "names"]

# Brima & Atemkeng (2024), table 1, by timm's names.
PAPER = {
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "resnet50": "resnet50",
    "resnet50v2": "resnetv2_50",
    "xception": "legacy_xception",
    "inception_v3": "inception_v3",
    "inception_resnet_v2": "inception_resnet_v2",
    "densenet121": "densenet121",
    "efficientnet_b0": "efficientnet_b0",
}


def names() -> tuple[str, ...]:
    """Names of the paper's nine architectures."""
    return tuple(PAPER)


def build(
    name: str, *, classes: int, channels: int = 1, spatial_dims: int = 2
) -> nn.Module:
    """Build an untrained network that returns logits (B, classes).

    Parameters
    ----------
    name : str
        One of :func:`names`, any timm architecture, or ``monai:CLASS`` for a
        MONAI network such as ``monai:DenseNet121``.
    classes, channels : int
        Number of outputs and of input channels.
    spatial_dims : int
        2 or 3; 3 needs a ``monai:`` name.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ModelError
        If the name is unknown, or the network has no 3-D form.
    """
    if name.startswith("monai:"):
        return _monai(name.removeprefix("monai:"), classes, channels, spatial_dims)
    if spatial_dims != 2:
        raise ModelError(
            f"architecture '{name}' is 2-D only; for volumes give a MONAI name such "
            "as 'monai:DenseNet121'."
        )
    import timm

    timm_name = PAPER.get(name, name)
    if not timm.is_model(timm_name):
        close = difflib.get_close_matches(name, [*PAPER, *timm.list_models()], n=3)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise ModelError(f"architecture '{name}' is neither ours nor timm's.{hint}")
    network: nn.Module = timm.create_model(
        timm_name, pretrained=False, num_classes=classes, in_chans=channels
    )
    return network


def _monai(name: str, classes: int, channels: int, spatial_dims: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import monai.networks.nets as nets
    factory = getattr(nets, name, None)
    if factory is None:
        raise ModelError(f"MONAI has no network '{name}' (monai.networks.nets).")
    accepted = inspect.signature(factory.__init__).parameters
    arguments: dict[str, Any] = {"spatial_dims": spatial_dims}
    arguments["in_channels" if "in_channels" in accepted else "n_input_channels"] = (
        channels
    )
    arguments["out_channels" if "out_channels" in accepted else "num_classes"] = classes
    try:
        network: nn.Module = factory(**arguments)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"MONAI's '{name}' cannot be built as a classifier with {arguments}: "
            f"{error}"
        ) from error
    return network


def load_initial_weights(network: nn.Module, arch: str, path: Path) -> int:
    """Start a timm network from a file of ImageNet weights (1000 classes, RGB).

    The file's tensors are matched by name or, where the names differ throughout, by
    order and shape. A one-channel stem gets the sum over RGB, which is exact for a
    grey image repeated three times under equal normalisation. The head stays as it
    was initialised.

    Parameters
    ----------
    network : torch.nn.Module
        As :func:`build` returns it.
    arch : str
        Its name.
    path : Path
        A state dict, ``.pth`` (loaded with ``weights_only=True``) or
        ``.safetensors``.

    Returns
    -------
    int
        How many tensors were taken.

    Raises
    ------
    ModelError
        If the file does not fit the architecture.
    """
    state = _read_state(path)
    reference = build(arch, classes=1000, channels=3).state_dict()
    if set(state) != set(reference):
        if len(state) != len(reference) or any(
            a.shape != b.shape
            for a, b in zip(state.values(), reference.values(), strict=True)
        ):
            raise ModelError(
                f"{path.name}: its {len(state)} tensors do not fit '{arch}' with "
                f"{len(reference)} tensors, neither by name nor by order."
            )
        state = OrderedDict(zip(reference, state.values(), strict=True))
    own = network.state_dict()
    taken = {}
    for key, value in state.items():
        if key not in own:
            continue
        if own[key].shape == value.shape:
            taken[key] = value
        elif value.ndim >= 4 and own[key].shape[1] == 1 and value.shape[1] == 3:
            taken[key] = value.sum(dim=1, keepdim=True)
    network.load_state_dict(taken, strict=False)
    return len(taken)


def _read_state(path: Path) -> OrderedDict[str, torch.Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file.")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return OrderedDict(load_file(path))
    state: OrderedDict[str, torch.Tensor] = torch.load(
        path, map_location="cpu", weights_only=True
    )
    return state
