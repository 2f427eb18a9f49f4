"""Another library at work on the user's network: lent, watched and put back.

captum and pytorch-grad-cam put hooks on the network, replace its layers, clear its
gradients, draw from the global random numbers and print progress bars. Inside
:func:`lent` they may; afterwards, also after an exception or a cancel, everything is
what it was.
"""

from __future__ import annotations

import copy
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_medxai.errors import MedXAIError

from .batching import out_of_memory
from .network import Session

__all__ = ["Watch", "kept", "lent", "per_image", "unshared"]

REASON_LENGTH = 240


def per_image(
    session: Session,
    x: Tensor,
    target: Tensor,
    library: str,
    compute: Callable[[Tensor, int, int], Tensor],
    *,
    expected: int,
) -> Tensor:
    """Run a library's method image by image, so that a map depends on its image alone.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    library
        The library's module, whose progress bars are silenced.
    compute
        Given an image (1, C, *spatial) on the network's device and in its type, its
        class and the largest batch, returns the map (*spatial). Where the device's
        memory does not suffice it is called again with half the batch.
    expected
        Passes that one image is thought to take, for the progress.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial).

    Raises
    ------
    MethodError
        The library cannot run on this network; the text gives its reason.
    """
    maps = []
    most = session.batch_size
    session.expect(expected * len(x))
    for index in range(len(x)):
        image = x[index : index + 1].detach()
        # Contiguous and not channels-last: what the libraries' own `view`s need.
        image = image.to(session.device, session.dtype, copy=True).contiguous()
        chosen, batch, passed = int(target[index]), most, 0
        while True:
            try:
                with lent(session, x[index], chosen, library) as watch:
                    result = compute(image, chosen, batch).detach()
                passed += watch.passed
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if batch == 1:
                    raise session.error(
                        f"there is not enough memory on {session.device} for a single "
                        f"image {tuple(x.shape[1:])}; use a smaller image, or another "
                        "device"
                    ) from error
                passed += watch.passed
                batch //= 2
        maps.append(result.to("cpu", torch.float32))
        # What was expected was a guess; where it was too low, the total has grown.
        session.expect(min(0, passed - expected))
        session.advance(0)
    return torch.stack(maps)


class Watch:
    """What passed through the network, and what of its errors are our own."""

    def __init__(self) -> None:
        self.passed = 0
        self.errors: list[BaseException] = []


@contextmanager
def lent(session: Session, image: Tensor, target: int, library: str) -> Iterator[Watch]:
    """Lend the session's network to a library for one image (C, *spatial).

    Parameters
    ----------
    session
        The run.
    image
        What the random numbers follow from.
    target
        The class explained.
    library
        The library's module.

    Yields
    ------
    Watch
        Counts the passes.

    Raises
    ------
    MethodError
        For whatever the library raises.
    """
    watch = Watch()
    with (
        kept(session.module),
        _seeded(session, image),
        _quiet(library),
        torch.autocast(session.device.type, enabled=False),
        _OutOfPlace(),
    ):
        _watch(session, image.ndim + 1, target, watch)
        try:
            yield watch
        except MedXAIError:
            raise
        except Exception as error:
            if any(error is own for own in watch.errors) or out_of_memory(error):
                raise
            reason = " ".join(str(error).split()) or "it gives no reason"
            if len(reason) > REASON_LENGTH:
                reason = f"{reason[:REASON_LENGTH]}…"
            raise session.error(
                f"{library} cannot run it on this network: {type(error).__name__}: "
                f"{reason}"
            ) from error


@contextmanager
def kept(module: nn.Module) -> Iterator[None]:
    """Put a network back as it was: hooks, layers, attributes, values, gradients.

    Attributes are kept by reference, so nothing is copied; a library that writes into
    the weights themselves would not be undone. captum's LRP does not: it exchanges
    their storage, which is put back.
    """
    states = [(vars(part), _snapshot(vars(part))) for part in module.modules()]
    tensors = [(t, t.data) for t in (*module.parameters(), *module.buffers())]
    gradients = [(p, p.grad, p.requires_grad) for p in module.parameters()]
    try:
        yield
    finally:
        for attributes, (values, contents) in states:
            for name in attributes.keys() - values.keys():
                del attributes[name]
            attributes.update(values)
            for name, content in contents.items():
                # In place: the handles of the user's hooks point to this dict.
                attributes[name].clear()
                attributes[name].update(content)
        for tensor, data in tensors:
            if tensor.data_ptr() != data.data_ptr():
                tensor.data = data
        for parameter, gradient, required in gradients:
            parameter.grad = gradient
            parameter.requires_grad_(required)


def _snapshot(
    attributes: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, dict[Any, Any]]]:
    contents = {
        name: dict(value)
        for name, value in attributes.items()
        if isinstance(value, dict)
    }
    return dict(attributes), contents


class _OutOfPlace(TorchFunctionMode):
    """Lets ``relu(x, inplace=True)`` and the like write beside their input."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _: Any,
        args: tuple[Any, ...] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:
        named = dict(named or {})
        if named.get("inplace") is True:
            named["inplace"] = False
        return function(*args, **named)


def _watch(session: Session, dimensions: int, target: int, watch: Watch) -> None:
    """Check and count every pass, whoever makes it; :func:`kept` takes it away."""

    def before(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            return None
        (batch,) = inputs
        if batch.ndim != dimensions:
            raise ValueError(
                f"it made {batch.ndim} axes of an input with {dimensions}, as it "
                "does with volumes it has no rule for"
            )
        if not torch.is_grad_enabled():
            return None
        # The parameters carry no gradient here, so the input must; the copy lets a
        # network overwrite its input in place.
        if not batch.requires_grad:
            batch = batch.detach().requires_grad_(True)
        return (batch.clone(),)

    def after(_: nn.Module, inputs: tuple[Any, ...], logits: Any) -> None:
        try:
            if not isinstance(logits, Tensor) or logits.ndim != 2:
                raise session.error(
                    "the network must return logits (B, K); wrap it in a module that "
                    "does"
                )
            if target >= logits.shape[1]:
                raise session.error(
                    f"class {target} does not exist: the network has "
                    f"{logits.shape[1]} classes, counted from 0"
                )
            session.require_finite(logits, "the network's logits")
            watch.passed += len(logits)
            session.advance(len(logits))
        except BaseException as error:
            watch.errors.append(error)
            raise

    session.module.register_forward_pre_hook(before)
    session.module.register_forward_hook(after)


@contextmanager
def _seeded(session: Session, image: Tensor) -> Iterator[None]:
    """Seed every global generator from the image; leave them as they were."""
    seed = session.generator(image).initial_seed()
    device = session.device
    devices = [device.index or 0] if device.type == "cuda" else []
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=devices):
        try:
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)  # noqa: NPY002


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    """No warnings and no progress bars of the library."""
    silent = SimpleNamespace(tqdm=_bar, trange=lambda *ends, **_: range(*ends))
    changed: list[tuple[ModuleType, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name, module in list(sys.modules.items()):
                bar = getattr(module, "tqdm", None)
                if name.partition(".")[0] == library and bar is not None:
                    changed.append((module, bar))
                    replaced = silent if isinstance(bar, ModuleType) else _bar
                    module.tqdm = replaced  # type: ignore[attr-defined]
            yield
        finally:
            for module, bar in changed:
                module.tqdm = bar  # type: ignore[attr-defined]


def _bar(iterable: Iterable[Any] | None = None, *_: Any, **__: Any) -> Iterable[Any]:
    return () if iterable is None else iterable


class _Turns(nn.Module):
    """Copies of a module without parameters, one for each time it is called."""

    def __init__(self, module: nn.Module, calls: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(copy.deepcopy(module) for _ in range(calls))
        self.turn = 0

    def forward(self, *inputs: Any, **named: Any) -> Any:
        part = self.each[self.turn % len(self.each)]
        self.turn += 1
        return part(*inputs, **named)


def unshared(session: Session, x: Tensor) -> None:
    """Give each use of a reused ReLU (or the like) a module of its own.

    captum's DeepLift and LRP keep what a module saw on the module, so that one used
    twice in a pass, as in torchvision's ResNet, cannot be explained. Only modules
    without parameters and children are taken apart, which changes no value. Called
    inside :func:`lent`, which undoes it.
    """
    network, calls = session.module, Counter[nn.Module]()
    simple = {
        part
        for part in network.modules()
        if next(part.parameters(), None) is None
        and next(part.buffers(), None) is None
        and next(part.children(), None) is None
        and part is not network
    }
    handles = [
        part.register_forward_pre_hook(lambda part, _: calls.update([part]))
        for part in simple
    ]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    turns = {part: _Turns(part, count) for part, count in calls.items() if count > 1}
    if not turns:
        return
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child in turns:
                parent._modules[name] = turns[child].train(child.training)

    def restart(*_: Any) -> None:
        for part in turns.values():
            part.turn = 0

    network.register_forward_pre_hook(restart)
