"""What a foreign model does not say of itself: classes and preprocessing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medxai.errors import ModelError

from .folder import CARD, ModelCard, json_of, read_card

__all__ = ["card_of", "described", "missing_preprocessing"]

TEMPLATE_SIZE = 224
EXPLAINED = """\
  size       height and width of the image that the network takes; three numbers
             (depth first) for volumes
  channels   1 (grey) or 3 (colour, or grey three times)
  intensity  which values of an image become 0 and 255. "percentiles": [0, 99.9] of
             the slice (or "over": "volume"); or {"window": [level, width]} in the
             image's units; or {"zscore": {"clip": 4, "nonzero": false}} for images
             scaled to mean 0 and deviation 1 (then mean 0.5, std 0.125). Besides
             "default", modalities may have their own: "MR", "CT", "DX" ...
  crop       null; {"foreground": {"margin_mm": 5}}; {"center": {"size_mm": [160, 160]}}
  mean, std  for each channel: the network is given (value / 255 - mean) / std.
             0 and 1 give it 0 to 1; 0.5 and 0.5 give it -1 to 1; ImageNet's are
             [0.485, 0.456, 0.406] and [0.229, 0.224, 0.225]
  head       "softmax" (one class is true), "sigmoid" (one output for two classes,
             negative and positive) or "multilabel" (any may be true)"""


def described(preprocessing: Path | None, beside: Path | None) -> dict[str, Any]:
    """Read what the user says of a model.

    Parameters
    ----------
    preprocessing : Path or None
        The file of ``--preprocessing``: a ``model.json``, whole or in part, or the
        ``preprocessing`` object alone.
    beside : Path or None
        Folder in which a ``model.json`` is looked for otherwise.

    Returns
    -------
    dict
        Content of a ``model.json``, or part of it; empty where nothing is said.

    Raises
    ------
    ModelError
        If a file is given and cannot be read.
    """
    if preprocessing is not None:
        data = json_of(preprocessing)
    elif beside is not None and (beside / CARD).is_file():
        data = json_of(beside / CARD)
    else:
        return {}
    return {"preprocessing": data} if "size" in data else data


def card_of(
    data: dict[str, Any],
    *,
    what: str,
    arch: str | None,
    classes: Sequence[str] | None,
    channels: int | None = None,
    because: str = "",
) -> ModelCard:
    """Make the card of a foreign model from what is known of it.

    Parameters
    ----------
    data : dict
        As :func:`described` returns it.
    what : str
        The model, for errors.
    arch, classes : optional
        Of the command line; they win over `data`.
    channels : int, optional
        What the network is known to take, for the guide.
    because : str
        Why there is no preprocessing, for the guide.

    Returns
    -------
    ModelCard

    Raises
    ------
    ModelError
        If classes or preprocessing are missing; the text says what to write.
    """
    known = dict(data)
    if arch is not None:
        known["architecture"] = arch
    if classes is not None:
        known["classes"] = list(classes)
    if "preprocessing" not in known:
        raise ModelError(
            missing_preprocessing(known, what=what, channels=channels, because=because)
        )
    if "classes" not in known:
        raise ModelError(
            f"{what}: which classes it knows is not said. Name them in the order of "
            f"its outputs: --classes NAME,NAME,..., or 'classes' in {CARD}."
        )
    return read_card(known, what)


def missing_preprocessing(
    data: dict[str, Any], *, what: str, channels: int | None, because: str
) -> str:
    """Write a guide: a JSON to paste, and what each number means."""
    count = channels if channels in (1, 3) else 1
    example: dict[str, Any] = {
        **{key: data[key] for key in ("architecture", "classes") if key in data},
        "head": data.get("head", "softmax"),
        "preprocessing": {
            "size": [TEMPLATE_SIZE, TEMPLATE_SIZE],
            "channels": count,
            "intensity": {"default": {"percentiles": [0, 99.9], "over": "slice"}},
            "crop": None,
            "mean": [0.5] * count,
            "std": [0.5] * count,
        },
    }
    reason = f" {because}" if because else ""
    return (
        f"{what}: nothing says how an image becomes the network's input.{reason} Put "
        f"the numbers of its training into this, save it as {CARD} beside the model "
        "(or anywhere, and give it with --preprocessing FILE):\n\n"
        f"{json.dumps(example, indent=2)}\n\n{EXPLAINED}\n"
    )
