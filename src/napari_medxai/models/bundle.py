"""MONAI bundles: a network, its weights, and what it says of its images.

MONAI Bundle Specification: ``configs/metadata.json``, ``configs/inference.json`` (or
``.yaml``), ``models/model.pt`` or ``models/model.ts``. The configuration is a program:
reading it executes what it says, so that a bundle must be trusted.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from napari_medxai.errors import ModelError
from napari_medxai.preprocess import Preprocessing

from .folder import json_of
from .transforms import Unknown, preprocessing_of
from .weights import load_fitted, read_state, without_prefix

__all__ = ["METADATA", "Bundle", "import_from", "read_bundle"]

METADATA = Path("configs") / "metadata.json"
INFERENCE = tuple(
    Path("configs") / f"inference.{end}" for end in ("json", "yaml", "yml")
)
STATE, SCRIPT = Path("models") / "model.pt", Path("models") / "model.ts"
NETWORKS = ("network_def", "network", "net")
TRANSFORMS = ("preprocessing", "pre_transforms", "inference_transforms", "transforms")
ABOUT = {
    "description": "description",
    "authors": "attribution",
    "copyright": "licence",
    "intended_use": "intended_use",
    "data_source": "training_data",
}


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds.

    Attributes
    ----------
    network : torch.nn.Module or None
        With its weights; None where there is only TorchScript.
    script : Path or None
        The TorchScript file, where there is no network.
    data : dict
        What it says, as in a ``model.json``.
    because : str
        Why `data` has no preprocessing, as a sentence.
    notes : tuple of str
    files : tuple of Path
        What decides its answers, for the hash.
    """

    network: nn.Module | None
    script: Path | None
    data: dict[str, Any]
    because: str
    notes: tuple[str, ...]
    files: tuple[Path, ...]


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle; this executes its configuration.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Bundle

    Raises
    ------
    ModelError
        If a file is missing or damaged, or the weights do not fit the network.
    """
    metadata = json_of(folder / METADATA)
    config = next((folder / c for c in INFERENCE if (folder / c).is_file()), None)
    parser = None if config is None else _parser(folder, config)
    with import_from(folder, forget=True):
        network = None if parser is None else _network(folder, parser)
    script = None
    if network is None:
        script = folder / SCRIPT
        if not script.is_file():
            raise ModelError(
                f"{folder.name}: no network: a bundle holds {SCRIPT.as_posix()}, or "
                f"{STATE.as_posix()} and configs/inference.json with 'network_def'."
            )
    formats = metadata.get("network_data_format", {})
    prediction = _only(formats.get("outputs"))
    data: dict[str, Any] = {
        "architecture": "TorchScript" if network is None else type(network).__name__,
        **{ours: metadata[key] for key, ours in ABOUT.items() if key in metadata},
    }
    classes = _classes(prediction)
    if classes:
        data["classes"] = classes
    because = ""
    notes: tuple[str, ...] = ()
    with import_from(folder, forget=True):
        head = None if parser is None else _head(parser, prediction)
        if head is not None:
            data["head"] = head
        try:
            preprocessing, notes = _preprocessing(formats.get("inputs"), parser)
            data["preprocessing"] = preprocessing.to_json()
        except Unknown as error:
            because = str(error)
    files = sorted(
        path
        for part in ("configs", "models", "scripts")
        for path in (folder / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    return Bundle(network, script, data, because, notes, tuple(files))


@contextmanager
def import_from(folder: Path, *, forget: bool = False) -> Iterator[None]:
    """Let Python code in a folder be imported, after all that is installed.

    Parameters
    ----------
    folder : Path
    forget : bool
        Whether its modules are forgotten afterwards: all bundles call theirs
        ``scripts``.
    """
    before = set(sys.modules)
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before if forget else ():
            home = getattr(sys.modules[name], "__file__", None)
            if home and Path(home).is_relative_to(folder):
                del sys.modules[name]


def _parser(folder: Path, config: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.bundle import ConfigParser
    parser = ConfigParser()
    try:
        parser.read_config(str(config))
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{folder.name}: {config.name} cannot be read ({type(error).__name__})."
        ) from error
    parser["bundle_root"] = str(folder)
    return parser


def _network(folder: Path, parser: Any) -> nn.Module | None:
    """Build the network that the configuration defines, and load its weights."""
    key = next((k for k in NETWORKS if k in parser.get()), None)
    if key is None or not (folder / STATE).is_file():
        return None
    if isinstance(parser[key], Mapping) and "pretrained" in parser[key]:
        parser[f"{key}#pretrained"] = False  # its weights lie in the bundle
    try:
        network = parser.get_parsed_content(key)
    except Exception as error:
        raise ModelError(
            f"{folder.name}: its '{key}' cannot be built: {_reason(error)}."
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{folder.name}: its '{key}' is a {type(network).__name__}, not a network."
        )
    network = network.cpu()
    state = without_prefix(read_state(folder / STATE), network.state_dict())
    load_fitted(network, state, what=f"{folder.name}: {STATE.as_posix()}")
    return network


def _reason(error: Exception) -> str:
    """Say the first cause: the parser wraps what the network raised."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(".")


def _only(formats: Any) -> dict[str, Any]:
    """Return the format of the image, or of the prediction."""
    if not isinstance(formats, Mapping) or not formats:
        return {}
    first = next(iter(formats.values()))
    return dict(first) if isinstance(first, Mapping) else {}


def _classes(prediction: Mapping[str, Any]) -> list[str]:
    named = prediction.get("channel_def")
    if not isinstance(named, Mapping) or len(named) < 2:
        return []
    return [str(named[key]) for key in sorted(named, key=int)]


def _head(parser: Any, prediction: Mapping[str, Any]) -> str | None:
    """Read the head from the activations that come after the network."""
    for one in _transforms(parser, ("postprocessing", "post_transforms")) or ():
        if "Activations" in str(one.get("_target_", "")):
            if one.get("sigmoid") is True:
                single = prediction.get("num_channels") in (None, 1)
                return "sigmoid" if single else "multilabel"
            if one.get("softmax") is True:
                return "softmax"
    return None


def _preprocessing(inputs: Any, parser: Any) -> tuple[Preprocessing, tuple[str, ...]]:
    image = _only(inputs)
    name = next(iter(inputs)) if isinstance(inputs, Mapping) and inputs else "image"
    transforms = None if parser is None else _transforms(parser, TRANSFORMS)
    if transforms is None:
        raise Unknown("Its configuration lists no preprocessing.")
    shape = image.get("spatial_shape")
    fixed = isinstance(shape, Sequence) and all(isinstance(n, int) for n in shape)
    size = list(shape) if fixed and shape else None
    for one in transforms:
        if "spatial_size" in one and isinstance(one["spatial_size"], list):
            size = size or list(one["spatial_size"])
    channels = image.get("num_channels")
    if channels not in (1, 3):
        raise Unknown(f"Its metadata state {channels} channels; 1 or 3 are possible.")
    return preprocessing_of(
        transforms,
        channels=int(channels),
        size=size,
        value_range=image.get("value_range") or None,
        dims=len(size or (0, 0)),
        image=name,
    )


def _transforms(parser: Any, keys: Sequence[str]) -> list[dict[str, Any]] | None:
    """List transforms with their arguments, expressions and references resolved."""
    for key in keys:
        config = parser.get(key)
        where = f"{key}#transforms" if isinstance(config, Mapping) else key
        listed = config.get("transforms") if isinstance(config, Mapping) else config
        if not isinstance(listed, list):
            continue
        found = []
        for i, one in enumerate(listed):
            if not isinstance(one, Mapping):
                return None
            if one.get("_disabled_") in (True, "true"):
                continue
            found.append(
                {
                    name: parser.get_parsed_content(f"{where}#{i}#{name}")
                    if isinstance(value, str) and value[:1] in ("@", "$")
                    else value
                    for name, value in one.items()
                }
            )
        return found
    return None
