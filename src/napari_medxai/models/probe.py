"""A network that is not ours is tried once, against what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_medxai.errors import ModelError

from .folder import ModelCard
from .heads import Unsquashed, headed
from .sizes import in_words

__all__ = ["probed"]

# Sizes that networks are trained at, tried where the stated one fails.
SIDES = {2: (224, 256, 299, 512, 384, 128, 96, 64, 48, 32, 28), 3: (96, 128, 64, 32)}
SUMS_TO_ONE = 1e-3
SAME = 1e-3
# What only changes the shape or type of an activation's result.
TRANSPARENT = ("View", "Squeeze", "Unsqueeze", "Select", "ToCopy", "Clone", "Reshape")


def probed(
    network: nn.Module, card: ModelCard, *, what: str, stated_head: bool
) -> tuple[nn.Module, ModelCard, tuple[str, ...]]:
    """Pass black images and noise through a network, and check what comes out.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode, on the CPU.
    card : ModelCard
        What is said of it.
    what : str
        The model, for errors.
    stated_head : bool
        Whether the head was said; else one output for two classes is a sigmoid.

    Returns
    -------
    module : torch.nn.Module
        Returns one logit for each class: the network, or wrapped.
    card : ModelCard
    notes : tuple of str
        What was found and put right.

    Raises
    ------
    ModelError
        With a sentence for what does not fit: channels, size, count of classes, kind
        of output, NaN, or answers that change.
    """

    def refuse(sentence: str) -> ModelError:
        return ModelError(f"{what}: {sentence}")

    black, noise = _images(card)
    try:
        with torch.enable_grad():
            answer = network(noise.clone().requires_grad_(True))
        _require_logits(answer, len(noise), refuse)
        with torch.no_grad():
            others = [network(x.clone()) for x in (noise, noise[:1], black)]
    except ModelError:
        raise
    except Exception as error:
        raise refuse(_diagnosed(network, card, error)) from error
    for other, count in zip(others, (len(noise), 1, 1), strict=True):
        _require_logits(other, count, refuse)
    rows = answer.detach().reshape(len(noise), -1)
    again, single, dark = (o.reshape(len(o) if o.ndim else 1, -1) for o in others)
    card, notes = _counted(rows.shape[1], card, stated_head, refuse)
    for name, values in (("noise", rows), ("a black image", dark)):
        if not torch.isfinite(values).all():
            raise refuse(
                f"it answers NaN or infinity to {name}; its weights or the mean and "
                "std of the preprocessing are wrong."
            )
    scale = float(rows.abs().max()) + 1e-6
    if float((again - rows).abs().max()) > SAME * scale:
        raise refuse(
            "it gives two answers to the same image: something random, such as "
            "dropout, stays on in eval mode; switch it off."
        )
    if float((single - rows[:1]).abs().max()) > SAME * scale:
        raise refuse(
            "its answer to an image depends on the other images of the batch; a "
            "normalisation stays in training mode."
        )
    if float((dark - rows[:1]).abs().max()) <= 1e-6 * scale:
        notes = (*notes, "It answers the same to a black image and to noise.")
    if not answer.requires_grad:
        notes = (
            *notes,
            "Its answer carries no gradient: only methods that need none can run.",
        )
    network, said = _unsquashed(network, card, answer, torch.cat([rows, dark]), refuse)
    return headed(network, card.head).eval(), card, (*notes, *said)


def _images(card: ModelCard) -> tuple[Tensor, Tensor]:
    """Return a black image, and two of noise, as the network is given them."""
    p = card.preprocessing
    colour = (p.channels,) if p.channels > 1 else ()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, *p.size, *colour), dtype=np.uint8)
    return p.tensor(np.zeros_like(noise[:1])), p.tensor(noise)


def _require_logits(
    answer: Any, count: int, refuse: Callable[[str], ModelError]
) -> None:
    advice = (
        "give a factory package.module:function that returns a network whose forward "
        "returns the logits (B, K) alone."
    )
    if isinstance(answer, Mapping):
        raise refuse(
            f"it returns a dict ({', '.join(map(str, list(answer)[:5]))}), not a "
            f"tensor; {advice}"
        )
    if isinstance(answer, tuple | list):
        raise refuse(f"it returns {len(answer)} things, not one tensor; {advice}")
    if not isinstance(answer, Tensor):
        raise refuse(f"it returns a {type(answer).__name__}, not a tensor; {advice}")
    flat = answer.ndim == 1 or (answer.ndim == 0 and count == 1)
    if answer.ndim > 2:
        raise refuse(
            f"it returns {tuple(answer.shape)} for {count} image(s); a classifier "
            "returns (B, K): one number for each class."
        )
    if not flat and len(answer) != count:
        raise refuse(f"it returns {len(answer)} rows for {count} images.")
    if flat and answer.numel() != count:
        raise refuse(f"it returns {answer.numel()} numbers for {count} images.")


def _counted(
    count: int,
    card: ModelCard,
    stated_head: bool,
    refuse: Callable[[str], ModelError],
) -> tuple[ModelCard, tuple[str, ...]]:
    """Compare the outputs with the classes; one output for two is a sigmoid."""
    if count == card.outputs:
        return card, ()
    if count == 1 and len(card.classes) == 2 and not stated_head:
        negative, positive = card.classes
        note = f"One output: taken as the logit of '{positive}' against '{negative}'."
        return replace(card, head="sigmoid"), (note,)
    if card.head == "sigmoid":
        raise refuse(
            f"a sigmoid head has one output, but it has {count}; state the head "
            "'softmax' or 'multilabel'."
        )
    raise refuse(
        f"it has {count} output(s), but {len(card.classes)} classes are named "
        f"({', '.join(card.classes)})."
    )


def _unsquashed(
    network: nn.Module,
    card: ModelCard,
    answer: Tensor,
    values: Tensor,
    refuse: Callable[[str], ModelError],
) -> tuple[nn.Module, tuple[str, ...]]:
    """Undo a softmax or sigmoid that the network itself ends in."""
    within = bool(((values >= 0) & (values <= 1)).all())
    if not within:
        return network, ()
    sums = (values.sum(dim=1) - 1).abs().max()
    if card.head == "softmax":
        if float(sums) <= SUMS_TO_ONE:
            return Unsquashed(network, sigmoid=False), (
                "Its outputs are probabilities already (they add up to 1): their "
                "logarithm is taken as the logits.",
            )
        if _ends_in_sigmoid(network, answer):
            raise refuse(
                "it ends in a sigmoid for each class, and these do not add up to 1; "
                "state the head 'multilabel' in the model.json."
            )
    elif _ends_in_sigmoid(network, answer):
        return Unsquashed(network, sigmoid=True), (
            "It ends in a sigmoid: the logits are taken back from its probabilities.",
        )
    return network, ()


def _ends_in_sigmoid(network: nn.Module, answer: Tensor) -> bool:
    """Tell by the operation that made the answer."""
    node = answer.grad_fn
    while node is not None:
        name = node.name()
        if "Sigmoid" in name:
            return "LogSigmoid" not in name
        if not any(word in name for word in TRANSPARENT) or not node.next_functions:
            return False
        node = node.next_functions[0][0]
    return False


def _diagnosed(network: nn.Module, card: ModelCard, error: Exception) -> str:
    """Say why a forward failed: channels, size, or in the network's own words."""
    p = card.preprocessing
    other = 3 if p.channels == 1 else 1
    stated = f"{p.channels} channel(s) of {in_words(p.size)}"
    if _works(network, other, p.size):
        return (
            f"it takes {other} channel(s), but the preprocessing gives it {p.channels};"
            " state 'channels', and as many values of mean and std."
        )
    for channels in (p.channels, other):
        for side in SIDES[len(p.size)]:
            size = (side,) * len(p.size)
            if _works(network, channels, size):
                also = (
                    "" if channels == p.channels else f" and with {channels} channel(s)"
                )
                return (
                    f"it does not take images of {in_words(p.size)}; it does of "
                    f"{in_words(size)}{also}. State the size it was trained at."
                )
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = (lines or [type(error).__name__])[-1].strip().rstrip(".")
    return f"it fails on an image of {stated}: {reason}."


def _works(network: nn.Module, channels: int, size: tuple[int, ...]) -> bool:
    try:
        with torch.no_grad():
            network(torch.zeros(1, channels, *size))
    except Exception:  # noqa: BLE001 - whatever another's network raises
        return False
    return True
