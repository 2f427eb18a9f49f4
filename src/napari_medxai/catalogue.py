"""``napari-medxai models``: which classifiers there are, and whether one fits."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import MedXAIError, MethodError

if TYPE_CHECKING:
    from .models import Classifier, ModelCard
    from .models.foreign import Loaded

__all__ = ["main", "parser"]

FITS, MISFITS = 0, 1
WIDTH = 88
TAPPING = "gradcam, gradcam_pp and scorecam"


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    p = argparse.ArgumentParser(
        prog="napari-medxai models",
        description="List the bundled classifiers and the architectures that have a "
        "name here; with --check say whether a model of your own fits.",
        epilog="Exit status: 0 done or fits, 1 does not fit, 2 wrong usage.",
    )
    p.add_argument(
        "--check",
        metavar="MODEL",
        help="a bundled name, a model folder, a MONAI bundle, a TorchScript file, "
        "weights with --arch, or package.module:function",
    )
    p.add_argument("--arch", help="the network of a file of weights, such as resnet50")
    p.add_argument(
        "--classes",
        metavar="NAME,NAME",
        help="the classes in the order of the outputs, where the model does not say",
    )
    p.add_argument(
        "--preprocessing",
        type=Path,
        metavar="FILE",
        help="JSON that says how images become input [model.json beside the model]",
    )
    p.add_argument(
        "--trust",
        action="store_true",
        help="load what can execute code: TorchScript, MONAI bundles, factories",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    p = parser()
    a = p.parse_args(arguments)
    if a.check is None:
        if a.arch or a.classes or a.preprocessing or a.trust:
            p.error("--arch, --classes, --preprocessing and --trust go with --check")
        for line in _listed():
            print(line)
        return FITS
    from .models.loading import classifier, load

    try:
        found = load(
            a.check,
            arch=a.arch,
            classes=None if a.classes is None else _names(a.classes),
            preprocessing=a.preprocessing,
            trust=a.trust,
        )
        for line in _checked(found, classifier(found)):
            print(line)
    except MedXAIError as error:
        print(f"napari-medxai models: {error}", file=sys.stderr)
        return MISFITS
    return FITS


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _listed() -> Iterator[str]:
    from .models.architectures import PAPER, VOLUMETRIC
    from .models.folder import CARD, json_of, read_card
    from .models.loading import BUNDLED, bundled

    yield "Bundled classifiers (--model NAME):"
    for name in bundled():
        path = BUNDLED / name / CARD
        card = read_card(json_of(path), name)
        yield f"  {name}"
        for line in _described(card):
            yield from textwrap.wrap(
                line, WIDTH, initial_indent="    ", subsequent_indent=" " * 17
            )
    yield ""
    yield "Architectures (--arch NAME), and what timm calls them:"
    for name, theirs in PAPER.items():
        dims = "2-D and 3-D (MONAI)" if name in VOLUMETRIC else "2-D"
        yield f"  {name:20} {theirs:20} {dims}"
    yield "Any other timm architecture has its own name, MONAI's are monai:CLASS."
    yield ""
    yield "`napari-medxai models --check MODEL` says whether one of your own fits."


def _described(card: ModelCard) -> Iterator[str]:
    """Say what a card states, a line for each thing."""
    p = card.preprocessing
    yield f"classes      {', '.join(card.classes)} ({card.head})"
    yield f"network      {card.architecture}"
    size = " x ".join(map(str, p.size))
    axes = f", axes {p.axes}" if p.axes else ""
    yield f"input        {p.channels} channel(s) of {size}{axes}"
    yield f"intensities  {p.intensity.words()}"
    performance = card.extra.get("performance")
    if isinstance(performance, Mapping):
        yield f"performance  {_performance(performance)}"
    for key in ("intended_use", "limits", "licence"):
        if isinstance(card.extra.get(key), str):
            yield f"{key.replace('_', ' '):12} {card.extra[key]}"


def _performance(figures: Mapping[str, Any]) -> str:
    numbers = [
        f"{key.replace('_', ' ')} {value:.3f}"
        for key, value in figures.items()
        if isinstance(value, float)
    ]
    on = f" on {figures['n']} images" if "n" in figures else ""
    data = f" ({figures['data']})" if "data" in figures else ""
    return f"{', '.join(numbers) or 'not stated'}{on}{data}"


def _checked(found: Loaded, model: Classifier) -> Iterator[str]:
    """Say what a model is and which methods can explain it."""
    import numpy as np
    import torch

    from . import saliency

    yield f"{found.name}: fits ({found.kind})."
    yield from _described(found.card)
    p = found.card.preprocessing
    colour = (p.channels,) if p.channels > 1 else ()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1, *p.size, *colour), dtype=np.uint8)
    answer = model.probabilities(noise)[0]
    pairs = zip(found.card.classes, answer, strict=True)
    yield f"of noise     {', '.join(f'{name} {value:.3f}' for name, value in pairs)}"
    x = model.tensor(noise)
    module, target = model.explained(int(answer.argmax()))
    try:
        saliency.compute("vanilla_gradient", module, x, torch.tensor([target]))
        yield "gradients    yes: gradient, path and region methods can run"
    except MethodError as error:
        yield f"gradients    no: {error}"
    try:
        layer = found.card.target_layer or saliency.find_target_layer(module, x)
        yield f"layer        {layer}: {TAPPING} read it"
    except MethodError as error:
        yield f"layer        none, so not {TAPPING}: {error}"
    for note in model.notes:
        yield f"note         {note}"
