"""Models that are brought along: a MONAI bundle, TorchScript, weights, a factory.

Nothing that can execute code is loaded unless the user trusts it: TorchScript, MONAI
bundles and factories. Weights alone are read with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_medxai.errors import ModelError

from .architectures import build
from .bundle import import_from, read_bundle
from .classifier import Classifier
from .description import card_of, described
from .folder import ModelCard
from .heads import bare
from .probe import probed
from .weights import (
    first_channels,
    load_fitted,
    misfit,
    read_state,
    without_prefix,
)

__all__ = [
    "Loaded",
    "Said",
    "from_bundle",
    "from_factory",
    "from_torchscript",
    "from_weights",
    "is_frozen",
]

BLOCK = 1 << 20


@dataclass(frozen=True)
class Loaded:
    """A model as it was loaded.

    Attributes
    ----------
    module : torch.nn.Module
        Returns one logit for each class; in eval mode, on the CPU.
    card : ModelCard
    name, digest : str
    notes : tuple of str
        What was found out or put right when it was loaded.
    kind : str
        What it is, in words.
    """

    module: nn.Module
    card: ModelCard
    name: str
    digest: str
    notes: tuple[str, ...] = ()
    kind: str = "model folder"


@dataclass(frozen=True)
class Said:
    """What the user says of a model.

    Attributes
    ----------
    arch : str or None
    classes : tuple of str or None
    preprocessing : Path or None
    trust : bool
        Whether it may execute code.
    """

    arch: str | None
    classes: tuple[str, ...] | None
    preprocessing: Path | None
    trust: bool

    def require_trust(self, what: str, executes: str) -> None:
        """Raise ModelError unless the user trusts what can execute code."""
        if not self.trust:
            raise ModelError(
                f"{what}: {executes} Load it only if you trust where it comes from: "
                "--trust (trust=True)."
            )

    def card(
        self,
        what: str,
        data: dict[str, Any],
        *,
        channels: int | None = None,
        because: str = "",
    ) -> ModelCard:
        """Make the card, see :func:`.description.card_of`."""
        return card_of(
            data,
            what=what,
            arch=self.arch,
            classes=self.classes,
            channels=channels,
            because=because,
        )


def from_weights(path: Path, said: Said) -> Loaded:
    """Load a state dict into the network that the user names."""
    what = path.name
    state = read_state(path)
    data = described(said.preprocessing, path.parent)
    if said.arch is None and "architecture" not in data:
        raise ModelError(
            f"{what}: weights alone do not say which network they are of; name it: "
            "--arch NAME, such as densenet121 (`napari-medxai models` lists names)."
        )
    card = said.card(what, data, channels=first_channels(state))

    def built(outputs: int) -> nn.Module:
        return build(
            card.architecture,
            classes=outputs,
            channels=card.preprocessing.channels,
            spatial_dims=card.spatial_dims,
            size=card.preprocessing.size,
        )

    network = built(card.outputs)
    state_of = network.state_dict()
    fitted = without_prefix(state, state_of)
    single = len(card.classes) == 2 and "head" not in data
    if single and misfit(fitted, state_of) is not None:
        other = built(1)
        if misfit(fitted, other.state_dict()) is None:
            network = other
    load_fitted(network, fitted, what=f"{what}: as '{card.architecture}'")
    module, card, notes = probed(
        network.eval(), card, what=what, stated_head="head" in data
    )
    digest = _digest(card, _contents(path))
    return Loaded(module, card, path.name, digest, notes, "weights (state dict)")


def from_torchscript(path: Path, said: Said) -> Loaded:
    """Load a TorchScript file."""
    what = path.name
    said.require_trust(what, "TorchScript is a program that runs when it is loaded.")
    data = {"architecture": "TorchScript", **described(said.preprocessing, path.parent)}
    card = said.card(what, data)
    network = _torchscript(path)
    module, card, notes = probed(network, card, what=what, stated_head="head" in data)
    digest = _digest(card, _contents(path))
    return Loaded(module, card, path.name, digest, notes, "TorchScript")


def from_bundle(folder: Path, said: Said) -> Loaded:
    """Load the folder of a MONAI bundle."""
    what = folder.resolve().name
    said.require_trust(what, "a MONAI bundle's configuration executes code.")
    bundle = read_bundle(folder)
    own = described(said.preprocessing, folder)
    data = {**bundle.data, **own}
    card = said.card(what, data, because=bundle.because)
    network = bundle.network
    if network is None:
        assert bundle.script is not None
        network = _torchscript(bundle.script)
    module, card, notes = probed(
        network.eval(), card, what=what, stated_head="head" in data
    )
    found = () if "preprocessing" in own else bundle.notes
    digest = _digest(card, _contents(*bundle.files))
    return Loaded(module, card, what, digest, (*found, *notes), "MONAI bundle")


def from_factory(name: str, said: Said) -> Loaded:
    """Call ``package.module:function``."""
    said.require_trust(name, "a factory is Python code that is run.")
    made, source = _called(name)
    if isinstance(made, Classifier):
        digest = _digest(made.card, [source, *_tensors(made.module)])
        module, card, notes = probed(
            bare(made.module).cpu().eval(), made.card, what=name, stated_head=True
        )
        return Loaded(module, card, name, digest, notes, "factory")
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"{name}: returned a {type(made).__name__}; a torch.nn.Module or a "
            "Classifier is needed."
        )
    data = {"architecture": name, **described(said.preprocessing, None)}
    card = said.card(name, data, channels=first_channels(made.state_dict()))
    digest = _digest(card, [source, *_tensors(made)])
    module, card, notes = probed(
        made.cpu().eval(), card, what=name, stated_head="head" in data
    )
    return Loaded(module, card, name, digest, notes, "factory")


def _called(name: str) -> tuple[Any, bytes]:
    """Call a factory; return what it made, and the source of its module."""
    module_name, _, function_name = name.partition(":")
    with import_from(Path.cwd()):
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise ModelError(
                f"{name}: '{module_name}' cannot be imported ({error}); it must be "
                "installed, or lie in the folder where the command runs."
            ) from error
        function = getattr(module, function_name, None)
        if not callable(function):
            raise ModelError(f"{name}: '{module_name}' has no such function.")
        try:
            made = function()
        except Exception as error:
            raise ModelError(
                f"{name}: it raised {type(error).__name__}: {error}. A factory is "
                "called without arguments."
            ) from error
    try:
        source = inspect.getsource(module).encode()
    except (OSError, TypeError):
        source = b""  # compiled: its weights and its name remain
    return made, source


def is_frozen(module: nn.Module) -> bool:
    """Whether a network is TorchScript whose weights are constants of its code."""
    scripted = any(isinstance(m, torch.jit.ScriptModule) for m in module.modules())
    return scripted and not module.state_dict()


def _torchscript(path: Path) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit announces its retirement
            network: nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
                str(path), map_location="cpu"
            )
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path.name}: TorchScript that cannot be loaded "
            f"({str(error).strip().splitlines()[0]})."
        ) from error
    return network.eval()


def _digest(card: ModelCard, contents: Iterable[bytes]) -> str:
    """Hash what is said of a model and what it is."""
    digest = hashlib.sha256(json.dumps(card.to_json(), sort_keys=True).encode())
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def _contents(*paths: Path) -> Iterable[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block


def _tensors(module: nn.Module) -> Iterable[bytes]:
    for key, value in module.state_dict().items():
        yield key.encode()
        yield value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
