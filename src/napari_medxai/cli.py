"""``napari-medxai batch | train | models | methods``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

USAGE = """usage: napari-medxai COMMAND ...

commands:
  batch INPUT... --out DIR        explain and measure studies, write a report
  train DATA --arch NAME --out DIR   train a classifier
  models                          the bundled classifiers
  methods                         the saliency methods

napari-medxai COMMAND --help says more. For research use only.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Dispatch to a command; return the exit status."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or [""]
    if command == "batch":
        from .batch import main as batch

        return batch(rest)
    if command == "train":
        from .train import main as train

        return train(rest)
    if command == "models":
        return _models()
    if command == "methods":
        return _methods()
    print(USAGE, end="", file=sys.stdout if command in ("-h", "--help") else sys.stderr)
    return 0 if command in ("-h", "--help") else 2


def _models() -> int:
    from .models import bundled, load_model

    for name in bundled():
        card = load_model(name).card
        print(f"{name}: {card.architecture}; {', '.join(card.classes)}")
    return 0


def _methods() -> int:
    from . import saliency

    for name in saliency.methods():
        method = saliency.get(name)
        print(f"{name:22} {method.label}. {method.reference}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
