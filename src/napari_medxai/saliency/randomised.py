"""The same network without what it learned: weights randomised, scale kept."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from napari_medxai.errors import MethodError

from .network import Session

__all__ = ["cascade", "randomised"]

RUN = "randomised network"
# Least variance of a channel, as a share of the layer's mean variance.
LEAST_VARIANCE = 1e-3


@dataclass(frozen=True, eq=False)
class _Unit:
    """A module with weights or running statistics of its own."""

    name: str
    module: nn.Module
    parameters: tuple[tuple[str, Tensor], ...]


def randomised(
    module: nn.Module, *, seed: int, images: Tensor | None = None
) -> nn.Module:
    """Copy a network and randomise everything it learned.

    The entries of each weight tensor are permuted among themselves. So every tensor
    keeps the scale, balance of signs and sparsity that training gave it, and loses
    what it detects. That works for every kind of layer, and for parameters that
    belong to none. A fresh initialisation does not: PyTorch's default lets the
    activations of networks without normalisation fade (logits of a trained plain CNN
    then differ between images by 0.02 % of their size), and 24 of 60 Grad-CAM maps of
    two vision transformers came out empty, against 4 of 60 here. Then the running
    statistics of batch normalisation are estimated anew from `images`, in one pass,
    so that activations neither vanish nor explode.

    A tensor of one entry, or of equal entries, stays as it is. What the architecture
    alone sees (place, contrast) stays too: that is the point of the comparison.

    Parameters
    ----------
    module
        Any network that returns logits (B, K). It is left as it was.
    seed
        Of the permutations. They follow from the seed and the parameters' names
        alone, not from PyTorch's global random numbers or the device.
    images
        Float tensor (B, C, *spatial) in the network's units; a few images, of the
        kind that will be explained. May be None for a network without running
        statistics.

    Returns
    -------
    torch.nn.Module
        The copy, in evaluation mode, its parameters without gradient.

    Raises
    ------
    MethodError
        The network cannot be copied, has no weights, or needs images to estimate its
        statistics; or its logits are not finite on them.

    References
    ----------
    Adebayo et al.: Sanity checks for saliency maps. NeurIPS 2018, section 4.1.
    """
    network = _frozen_copy(module)
    units = _units(network)
    _permute_all(units, seed)
    _settle(network, units, images)
    return network


def cascade(
    module: nn.Module, *, seed: int, images: Tensor | None = None, stages: int = 5
) -> Iterator[tuple[str, nn.Module]]:
    """Randomise a network step by step, from the head down to the input.

    "Cascading randomisation" of Adebayo et al. 2018. The first stage randomises the
    last module with weights, the head; the other stages divide the rest into groups
    of equally many modules, in the order in which they run. After the last stage the
    network equals that of :func:`randomised`. Statistics of batch normalisation are
    estimated anew in the part that is randomised; below it they stay as learned.

    Parameters
    ----------
    module, seed, images
        As of :func:`randomised`. Without images, and in TorchScript, the order is
        that in which the modules are registered.
    stages
        How many networks to yield; fewer where there are fewer modules with weights.

    Yields
    ------
    tuple of str and torch.nn.Module
        The name of the module nearest to the input that is randomised so far, and
        the network. It is one copy, changed in place when the next stage is asked
        for: use it before. So a cascade needs the memory of one network more.

    Raises
    ------
    MethodError
        As :func:`randomised`, or `stages` is no positive number.
    """
    if stages < 1:
        raise MethodError(f"stages must be a positive number, not {stages!r}")
    network = _frozen_copy(module)
    units = _units(network)
    ran = _running_order(network, images)
    ordered = _from_head(units, ran)
    done: list[_Unit] = []
    for group in _groups(ordered, stages, head=_head(ordered, ran)):
        _permute_all(group, seed)
        done += group
        # Those above have a new input too.
        _settle(network, done, images)
        executed = [unit.name for unit in group if unit.name in ran]
        yield (executed or [unit.name for unit in group])[-1], network


def _frozen_copy(module: nn.Module) -> nn.Module:
    try:
        with torch.inference_mode(False), torch.no_grad():
            network = copy.deepcopy(module)
    except (RuntimeError, TypeError) as error:
        raise MethodError(
            f"{RUN}: {type(module).__name__} cannot be copied ({error}); remove what "
            "copy.deepcopy cannot copy, such as the old torch.nn.utils.weight_norm"
        ) from error
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    return network


def _units(network: nn.Module) -> list[_Unit]:
    """Modules with parameters or statistics; a shared parameter counts once."""
    seen: set[int] = set()
    units = []
    for name, module in network.named_modules():
        own = []
        for key, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                own.append((f"{name}.{key}", parameter))
        if own or _has_statistics(module):
            units.append(_Unit(name, module, tuple(own)))
    if not seen:
        raise MethodError(
            f"{RUN}: {type(network).__name__} has no weights that can be randomised; "
            "a frozen TorchScript network keeps them as constants"
        )
    return units


def _has_statistics(module: nn.Module) -> bool:
    # By their names: libraries bring batch normalisations of their own.
    return isinstance(getattr(module, "running_mean", None), Tensor) and isinstance(
        getattr(module, "running_var", None), Tensor
    )


def _takes_hooks(module: nn.Module) -> bool:
    return not isinstance(module, torch.jit.ScriptModule)


# Order


def _running_order(network: nn.Module, images: Tensor | None) -> dict[str, int]:
    """When each module runs first, by name; empty without images."""
    order: dict[str, int] = {}
    if images is None:
        return order
    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if not _takes_hooks(module):
                continue

            def note(_: nn.Module, __: Any, name: str = name) -> None:
                order.setdefault(name, len(order))

            hooks.callback(module.register_forward_pre_hook(note).remove)
        _pass(network, images[:1])
    return order


def _from_head(units: Sequence[_Unit], ran: dict[str, int]) -> list[_Unit]:
    """Units from the last that runs to the first.

    A module that is not called itself, such as the output projection of PyTorch's
    attention, has the place of the nearest module around it that is.
    """
    if not ran:
        return list(reversed(units))

    def place(unit: _Unit) -> tuple[int, bool]:
        name = unit.name
        while name and name not in ran:
            name = name.rpartition(".")[0]
        return -ran[name], unit.name in ran

    return sorted(units, key=place)


def _head(ordered: Sequence[_Unit], ran: dict[str, int]) -> int:
    """How many of the units are up to and with the head."""
    for count, unit in enumerate(ordered, start=1):
        if unit.parameters and (not ran or unit.name in ran):
            return count
    return 1


def _groups(ordered: list[_Unit], stages: int, *, head: int) -> Iterator[list[_Unit]]:
    if stages == 1:
        yield ordered
        return
    yield ordered[:head]
    rest = ordered[head:]
    count = min(stages - 1, len(rest))
    for i in range(count):
        yield rest[i * len(rest) // count : (i + 1) * len(rest) // count]


# Weights and statistics


def _permute_all(units: Sequence[_Unit], seed: int) -> None:
    for unit in units:
        for name, parameter in unit.parameters:
            _permute(name, parameter, seed)


def _permute(name: str, parameter: Tensor, seed: int) -> None:
    digest = sha256(f"{seed}|{name}".encode()).digest()
    number = int.from_bytes(digest[:8], "little") & (2**63 - 1)
    generator = torch.Generator("cpu").manual_seed(number)
    order = torch.randperm(parameter.numel(), generator=generator)
    values = parameter.detach().reshape(-1)[order.to(parameter.device)]
    with torch.no_grad():
        parameter.copy_(values.reshape(parameter.shape))


def _settle(network: nn.Module, units: Sequence[_Unit], images: Tensor | None) -> None:
    """Estimate the running statistics of these units from the images, in one pass."""
    waiting = {unit.name: unit.module for unit in units if _has_statistics(unit.module)}
    if not waiting:
        return
    if images is None:
        raise MethodError(
            f"{RUN}: {type(network).__name__} normalises by running statistics, which "
            "must be estimated anew; give a few images"
        )
    if not all(_takes_hooks(module) for module in waiting.values()):
        raise MethodError(
            f"{RUN}: TorchScript hides where a network estimates its running "
            "statistics; give the network as an ordinary module"
        )
    with ExitStack() as hooks:

        def estimate(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            _estimate(module, inputs[0])

        for module in waiting.values():
            hooks.callback(module.register_forward_pre_hook(estimate).remove)
        _pass(network, images)


def _estimate(module: Any, x: Tensor) -> None:
    """Set a normalisation's statistics to those of its input."""
    mean: Tensor = module.running_mean
    variance: Tensor = module.running_var
    channels_first = x.ndim > 1 and x.shape[1] == mean.numel()
    values = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    values = values.movedim(1 if channels_first else -1, 0).flatten(1)
    if values.shape[1] == 1:
        # One value a channel has no variance: take the layer's.
        values = values.reshape(1, -1).expand(mean.numel(), -1)
    spread = values.var(dim=1, correction=0)
    # A channel that is constant on these images must not explode on others.
    spread = spread.clamp_min(LEAST_VARIANCE * float(spread.mean()))
    mean.copy_(values.mean(dim=1))
    variance.copy_(spread)


def _pass(network: nn.Module, images: Tensor) -> None:
    session = Session(RUN, network)
    with torch.inference_mode(False), torch.no_grad():
        session.call(session.prepare(images))
