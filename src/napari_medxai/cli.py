"""``napari-medxai COMMAND``: one name for all command lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

USAGE = """usage: napari-medxai COMMAND ...

commands:
  batch INPUT... --out DIR        explain and measure studies, write a report
  compare RUN_A RUN_B             two runs on the same cases, paired
  check RUN --require FILE        a run against an acceptance protocol
  train DATA --arch NAME --out DIR   train a classifier
  reproduce DATA --out DIR        the paper: train, explain, its tables and figures
  fetch cheng [--out DIR]         download the paper's brain slices
  models [--check MODEL]          the bundled classifiers; whether one of yours fits
  methods [NAME or GROUP ...]     the saliency methods; of those named, parameters

napari-medxai COMMAND --help says more. For research use only.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Dispatch to a command; return the exit status."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or [""]
    if command == "batch":
        from .batch import main as batch

        return batch(rest)
    if command == "compare":
        from .compare import main as compare

        return compare(rest)
    if command == "check":
        from .check import main as check

        return check(rest)
    if command == "train":
        from .train import main as train

        return train(rest)
    if command == "reproduce":
        from .reproduce import main as reproduce

        return reproduce(rest)
    if command == "fetch":
        from .fetch import main as fetch

        return fetch(rest)
    if command == "models":
        from .catalogue import main as catalogue

        return catalogue(rest)
    if command == "methods":
        return _methods(rest)
    print(USAGE, end="", file=sys.stdout if command in ("-h", "--help") else sys.stderr)
    return 0 if command in ("-h", "--help") else 2


def _methods(names: Sequence[str]) -> int:
    from . import saliency
    from .errors import MethodError
    from .saliency.parameters import described

    try:
        chosen = saliency.resolve(list(names) or "all")
    except MethodError as error:
        print(error, file=sys.stderr)
        return 2
    for name in chosen:
        method = saliency.get(name)
        about = method.approximates
        note = f" An approximation of {about}." if about else ""
        print(f"{name:24} {method.label}. {method.reference}.{note}")
        if names:
            print(f"    {method.summary}")
            for line in described(method):
                print(f"    {line}")
    if not names:
        print("Groups: core, baselines, all, captum:all, gradcam:all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
