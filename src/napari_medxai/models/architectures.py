"""Networks by name: the paper's nine, and any other timm or MONAI name."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_medxai.errors import ModelError

from .sizes import require_size
from .weights import in_order, read_state

__all__ = [
    "PAPER",
    "VOLUMETRIC",
    "build",
    "load_initial_weights",
    "names",
    "pretrained",
]

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
# Those that MONAI has in 3-D too: its name, and what else it needs to know.
VOLUMETRIC: dict[str, tuple[str, dict[str, Any]]] = {
    "densenet121": ("DenseNet121", {}),
    "resnet50": ("resnet50", {}),
    "efficientnet_b0": ("EfficientNetBN", {"model_name": "efficientnet-b0"}),
}
MONAI = "monai:"


def names() -> tuple[str, ...]:
    """Names of the paper's nine architectures."""
    return tuple(PAPER)


def build(
    name: str,
    *,
    classes: int,
    channels: int = 1,
    spatial_dims: int = 2,
    size: Sequence[int] | None = None,
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
        2 or 3; 3 needs ``densenet121``, ``resnet50``, ``efficientnet_b0`` (MONAI's)
        or a ``monai:`` name.
    size : sequence of int, optional
        (H, W) or (D, H, W) of the images: the network is built for them where its
        weights depend on it (vision transformers), and checked to take them.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ModelError
        If the name is unknown, the network has no 3-D form, or does not take images
        of that size; the text then names the least size that works.
    """
    if size is not None and len(size) != spatial_dims:
        raise ModelError(
            f"architecture '{name}': a size of {len(size)} axes for {spatial_dims}-D."
        )
    if name.startswith(MONAI):
        network = _monai(name, {}, classes, channels, spatial_dims)
    elif spatial_dims == 3:
        if name not in VOLUMETRIC:
            raise ModelError(
                f"architecture '{name}' is 2-D only; for volumes take one of "
                f"{', '.join(VOLUMETRIC)}, or a MONAI name such as "
                "'monai:DenseNet121'."
            )
        theirs, also = VOLUMETRIC[name]
        network = _monai(MONAI + theirs, also, classes, channels, spatial_dims)
    else:
        network = _timm(name, size, num_classes=classes, in_chans=channels)
    if size is not None:
        require_size(
            network, name, channels=channels, size=size, search=not _is_sized(name)
        )
    return network


def pretrained(
    name: str,
    *,
    classes: int,
    channels: int = 1,
    size: Sequence[int] | None = None,
) -> nn.Module:
    """Build a 2-D network with ImageNet weights of timm's hub; needs the internet.

    A one-channel stem gets the sum over RGB; the head is new.

    Parameters
    ----------
    name, classes, channels, size
        As in :func:`build`; no ``monai:`` name.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ModelError
        If the name is unknown, timm has no weights for it, or they cannot be
        downloaded.
    """
    if name.startswith(MONAI):
        raise ModelError(
            f"timm's hub has no weights of '{name}'; start from scratch, or give a "
            "file of initial weights."
        )
    import timm

    found = timm.get_pretrained_cfg(_timm_name(name), allow_unregistered=True)
    if found is None or not found.has_weights:
        raise ModelError(
            f"timm's hub has no weights of '{name}'; start from scratch, or give a "
            "file of initial weights."
        )
    home = f"https://huggingface.co/{found.hf_hub_id}" if found.hf_hub_id else found.url
    try:
        network = _timm(
            name, size, num_classes=classes, in_chans=channels, pretrained=True
        )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"the weights of '{name}' cannot be downloaded ({type(error).__name__}). "
            f"Without internet, download them from {home} on another machine, and give "
            "the file as initial weights (--initial-weights FILE)."
        ) from error
    if size is not None:
        require_size(
            network, name, channels=channels, size=size, search=not _is_sized(name)
        )
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
    with torch.device("meta"):
        reference = build(arch, classes=1000, channels=3).state_dict()
    state = in_order(read_state(path), reference, path, arch)
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


def _timm_name(name: str) -> str:
    import timm

    timm_name = PAPER.get(name, name)
    if not timm.is_model(timm_name):
        close = difflib.get_close_matches(name, [*PAPER, *timm.list_models()], n=3)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise ModelError(f"architecture '{name}' is neither ours nor timm's.{hint}")
    return timm_name


def _is_sized(name: str) -> bool:
    """Whether a network is built for one size, as vision transformers are."""
    import timm

    if name.startswith(MONAI):
        return False
    about = timm.get_pretrained_cfg(_timm_name(name), allow_unregistered=True)
    return about is not None and bool(about.fixed_input_size)


def _timm(name: str, size: Sequence[int] | None, **arguments: Any) -> nn.Module:
    import timm

    timm_name = _timm_name(name)
    if size is not None and _is_sized(name):
        try:
            sized: nn.Module = timm.create_model(
                timm_name, img_size=tuple(size), **arguments
            )
        except (TypeError, AssertionError, ValueError):
            pass  # `require_size` says what size it takes
        else:
            return sized
    network: nn.Module = timm.create_model(timm_name, **arguments)
    return network


def _monai(
    name: str,
    also: dict[str, Any],
    classes: int,
    channels: int,
    spatial_dims: int,
) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import monai.networks.nets as nets
    theirs = name.removeprefix(MONAI)
    factory = getattr(nets, theirs, None)
    if not callable(factory):
        raise ModelError(f"MONAI has no network '{theirs}' (monai.networks.nets).")
    of = factory.__init__ if inspect.isclass(factory) else factory
    accepted = inspect.signature(of).parameters
    arguments: dict[str, Any] = {"spatial_dims": spatial_dims, **also}
    if "pretrained" in accepted:
        arguments["pretrained"] = False  # nothing is downloaded unasked
    arguments["out_channels" if "out_channels" in accepted else "num_classes"] = classes
    # Some take what they pass on by other names without saying so.
    keys = [k for k in ("in_channels", "n_input_channels") if k in accepted]
    for key in keys or ("in_channels", "n_input_channels"):
        try:
            network: nn.Module = factory(**arguments, **{key: channels})
        except (TypeError, ValueError) as error:
            refusal = error
        else:
            return network
    raise ModelError(
        f"MONAI's '{theirs}' cannot be built as a classifier with {arguments}: "
        f"{refusal}"
    ) from refusal
