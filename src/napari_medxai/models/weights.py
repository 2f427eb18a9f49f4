"""State dicts: read without executing anything, unwrapped, fitted to a network."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_medxai.errors import ModelError

__all__ = [
    "State",
    "first_channels",
    "in_order",
    "is_torchscript",
    "load_fitted",
    "misfit",
    "read_state",
    "without_prefix",
]

State = Mapping[str, Tensor]
# Where checkpoints keep the network beside the optimiser and the rest.
HOLDERS = ("state_dict", "model_state_dict", "model", "network", "net")
SAFE = ".safetensors"


def is_torchscript(path: Path) -> bool:
    """Tell a TorchScript archive from what ``torch.save`` writes."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_state(path: Path) -> OrderedDict[str, Tensor]:
    """Read a state dict; nothing in the file is executed.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or a file of ``torch.save`` (loaded with
        ``weights_only=True``): a state dict, or a checkpoint that holds one.

    Returns
    -------
    dict of str to Tensor
        On the CPU.

    Raises
    ------
    ModelError
        If there is no such file, it is damaged, or holds something else.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file.")
    if path.suffix == SAFE:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return OrderedDict(load_file(path))
        except SafetensorError as error:
            raise ModelError(f"{path}: not a safetensors file: {error}.") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name}: holds Python objects besides tensors, which could execute "
            "code. Save the network's weights alone: torch.save(network.state_dict(), "
            "FILE)."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path.name}: not a file of weights ({type(error).__name__}); a state "
            "dict as .pt, .pth or .safetensors is needed."
        ) from error
    return OrderedDict(_unwrapped(content, path))


def load_fitted(network: nn.Module, state: State, *, what: str) -> None:
    """Load a state dict whose every tensor must fit.

    Parameters
    ----------
    network : torch.nn.Module
    state : mapping of str to Tensor
    what : str
        The file and the network, for the error.

    Raises
    ------
    ModelError
        If a tensor is missing, unknown, or of another shape.
    """
    own = network.state_dict()
    reason = misfit(state, own)
    if reason is not None:
        raise ModelError(f"{what}: {reason}")
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()})


def misfit(state: State, own: State) -> str | None:
    """Say in a sentence what of a state dict does not fit; None where all does."""
    missing = sorted(set(own) - set(state))
    unknown = sorted(set(state) - set(own))
    wrong = sorted(k for k in set(own) & set(state) if own[k].shape != state[k].shape)
    if not (missing or unknown or wrong):
        return None
    if wrong and not (missing or unknown):
        heads = {(state[k].shape[0], own[k].shape[0]) for k in wrong}
        tails = {tuple(state[k].shape[1:]) == tuple(own[k].shape[1:]) for k in wrong}
        if len(heads) == 1 and tails == {True}:
            ((theirs, ours),) = heads
            return (
                f"the network of these weights has {theirs} output(s), but {ours} "
                f"are needed for the classes that are named ({', '.join(wrong)})."
            )
        if len(wrong) == 1 and state[wrong[0]].ndim > 3:
            theirs, ours = state[wrong[0]].shape[1], own[wrong[0]].shape[1]
            return (
                f"the network of these weights takes {theirs} channel(s), but the "
                f"preprocessing gives it {ours} ({wrong[0]})."
            )
    return (
        f"the weights do not fit: {len(missing)} tensors missing, {len(unknown)} "
        f"unknown, {len(wrong)} of another shape "
        f"({', '.join((missing + unknown + wrong)[:3])})."
    )


def first_channels(state: State) -> int | None:
    """Count the channels that the first convolution takes; None without one."""
    for value in state.values():
        if value.ndim in (4, 5):
            return int(value.shape[1])
    return None


def in_order(
    state: State, reference: State, path: Path, arch: str
) -> OrderedDict[str, Tensor]:
    """Name tensors as the reference does: by name, else by order and shape.

    Raises
    ------
    ModelError
        If they fit neither way.
    """
    if set(state) == set(reference):
        return OrderedDict(state)
    if len(state) != len(reference) or any(
        a.shape != b.shape
        for a, b in zip(state.values(), reference.values(), strict=True)
    ):
        raise ModelError(
            f"{path.name}: its {len(state)} tensors do not fit '{arch}' with "
            f"{len(reference)} tensors, neither by name nor by order."
        )
    return OrderedDict(zip(reference, state.values(), strict=True))


def _unwrapped(content: Any, path: Path) -> State:
    """Find the state dict in what a file holds."""
    if _is_state(content):
        state: State = content
        return state
    held = (
        {key: value for key, value in content.items() if _is_state(value)}
        if isinstance(content, Mapping)
        else {}
    )
    named = [key for key in HOLDERS if key in held] or list(held)
    if named and (named[0] in HOLDERS or len(named) == 1):
        inner: State = held[named[0]]
        return inner
    found = f" It holds {', '.join(map(str, held))}." if held else ""
    raise ModelError(
        f"{path.name}: no state dict, a mapping of names to tensors, was found in "
        f"it.{found} Save the weights alone: torch.save(network.state_dict(), FILE)."
    )


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(value, Tensor) for value in content.values())
    )


def without_prefix(state: State, own: State) -> State:
    """Drop what wrappers (DataParallel, Lightning, torch.compile) put before names."""
    while state and not set(state) & set(own):
        heads = {key.partition(".")[0] for key in state}
        if len(heads) != 1 or any("." not in key for key in state):
            break
        state = {key.partition(".")[2]: value for key, value in state.items()}
    return state
