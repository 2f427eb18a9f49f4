"""Models by name, whatever they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medxai.errors import ModelError

from .bundle import METADATA
from .classifier import Classifier
from .folder import CARD, WEIGHTS, read_folder
from .foreign import (
    Loaded,
    Said,
    from_bundle,
    from_factory,
    from_torchscript,
    from_weights,
    is_frozen,
)
from .weights import is_torchscript

__all__ = ["BUNDLED", "bundled", "classifier", "load", "load_model"]

BUNDLED = Path(__file__).parent / "data"
FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def bundled() -> tuple[str, ...]:
    """Names of the classifiers that come with the package."""
    return tuple(sorted(p.parent.name for p in BUNDLED.glob("*/model.json")))


def load_model(
    name: str | Path,
    *,
    arch: str | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: str | Path | None = None,
    trust: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | str = "auto",
) -> Classifier:
    """Load a classifier: bundled, from a model folder, or brought along.

    Parameters
    ----------
    name : str or Path
        A name of :func:`bundled`; a folder with ``model.json`` and
        ``weights.safetensors``; the folder of a MONAI bundle; a TorchScript file; a
        state dict (``.pt``, ``.pth``, ``.safetensors``); or
        ``package.module:function``, which returns a network or a :class:`Classifier`.
    arch : str, optional
        Of a state dict: see :func:`.architectures.build`.
    classes : sequence of str, optional
        In the order of the outputs, where the model does not say.
    preprocessing : str or Path, optional
        A JSON file like ``model.json``, whole or in part; else a ``model.json`` beside
        the file is looked for.
    trust : bool
        Load what can execute code: TorchScript, MONAI bundles, factories.
    device, precision : str
        See :class:`Classifier`.
    batch_size : int or "auto"
        Most images in one pass; auto chooses by memory.

    Returns
    -------
    Classifier

    Raises
    ------
    ModelError
        If there is no such model, its files are damaged, it is not trusted, or it does
        not fit what is said of it.
    """
    found = load(
        name,
        arch=arch,
        classes=classes,
        preprocessing=None if preprocessing is None else Path(preprocessing),
        trust=trust,
    )
    return classifier(found, device=device, precision=precision, batch_size=batch_size)


def classifier(
    found: Loaded,
    *,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | str = "auto",
) -> Classifier:
    """Make a classifier of what was loaded; parameters as of :func:`load_model`.

    Raises
    ------
    ModelError
        If a setting is wrong, or the network cannot be moved to the device.
    """
    if is_frozen(found.module) and device not in ("auto", "cpu"):
        raise ModelError(
            f"{found.name}: frozen TorchScript cannot be moved to '{device}'; use the "
            "device cpu, or save it without torch.jit.freeze."
        )
    device = "cpu" if is_frozen(found.module) else device
    return Classifier(
        found.module,
        found.card,
        name=found.name,
        digest=found.digest,
        device=device,
        precision=precision,
        batch_size=None if batch_size == "auto" else _positive(batch_size),
        notes=found.notes,
    )


def load(
    name: str | Path,
    *,
    arch: str | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Path | None = None,
    trust: bool = False,
) -> Loaded:
    """Load any kind of model without making a classifier of it.

    Parameters
    ----------
    name, arch, classes, preprocessing, trust
        See :func:`load_model`.

    Returns
    -------
    Loaded

    Raises
    ------
    ModelError
        As :func:`load_model`.
    """
    said = Said(arch, None if classes is None else tuple(classes), preprocessing, trust)
    path = BUNDLED / str(name) if str(name) in bundled() else Path(name)
    if path.is_dir():
        if (path / CARD).is_file() and not (path / METADATA).is_file():
            return _folder(path, said)
        if (path / METADATA).is_file():
            return from_bundle(path, said)
        raise ModelError(
            f"{path}: no model.json; a model folder holds {CARD} and {WEIGHTS}, a "
            f"MONAI bundle {METADATA.as_posix()}."
        )
    if path.is_file():
        return (
            from_torchscript(path, said)
            if is_torchscript(path)
            else from_weights(path, said)
        )
    if FACTORY.fullmatch(str(name)):
        return from_factory(str(name), said)
    raise ModelError(
        f"no model '{name}': neither bundled ({', '.join(bundled()) or 'none'}) nor a "
        "model folder, a MONAI bundle, a file of weights or TorchScript, or a factory "
        "package.module:function."
    )


def _folder(path: Path, said: Said) -> Loaded:
    if said.arch or said.classes or said.preprocessing:
        raise ModelError(
            f"{path.name}: a model folder states its architecture, classes and "
            f"preprocessing in {CARD}; leave --arch, --classes and --preprocessing "
            "out, or change them there."
        )
    module, card, digest = read_folder(path)
    return Loaded(module, card, path.resolve().name, digest)


def _positive(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ModelError(f"batch size '{value}' is not a positive number or 'auto'.")
    return number
