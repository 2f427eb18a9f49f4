"""``python -m napari_medxai.train DATA --arch NAME --out MODEL_DIR``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import MedXAIError, UsageError

__all__ = ["main", "parser", "settings_of"]

# Options whose names are those of settings, with their types.
NUMBERS = {
    "epochs": (int, "how often all images are seen"),
    "batch_size": (int, "images in a batch; every batch is full"),
    "learning_rate": (float, "its peak (AdamW) or its beginning (SGD)"),
    "learning_rate_decay": (float, "SGD: rate / (1 + this * step)"),
    "momentum": (float, "SGD"),
    "weight_decay": (float, "on kernels and matrices"),
    "clip": (float, "largest norm of the gradient; 0 lets it be"),
    "ema_decay": (float, "of the averaged weights that are kept; 0 averages nothing"),
    "label_smoothing": (float, ""),
    "mixup": (float, "share of the batches that are mixed"),
    "mixup_alpha": (float, "of mixup's Beta distribution"),
    "folds": (int, "how many to make where the data has none"),
    "patience": (int, "stop after so many epochs without improvement; 0 never"),
    "checkpoint_minutes": (float, "between checkpoints within an epoch"),
    "workers": (int, "processes that augment; -1 chooses by device"),
    "seed": (int, ""),
}
CHOICES = {
    "recipe": (("default", "brima2024"), "where the other options start from"),
    "optimiser": (("adamw", "sgd"), ""),
    "normalise": (
        ("half", "data", "imagenet"),
        "to -1..1, by mean and deviation of the training part, or ImageNet's",
    ),
    "augmentation": (("none", "light", "strong"), ""),
    "precision": (("fp32", "bf16"), "bfloat16 autocast, or float32"),
    "keep": (("best", "last"), "which epoch: best macro F1 on the selection set"),
    "split_by": (
        ("auto", "fold", "patient", "image"),
        "auto: the folds of the data, else patients; images only where you say so",
    ),
}
# What a card file says of another model.
MEASURED = ("performance", "test_performance", "temperature")


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    p = argparse.ArgumentParser(
        prog="napari_medxai.train",
        description="Train a classifier on labelled images or volumes, and write a "
        "model folder with a report. Interrupted or killed, the same command "
        "continues. Options that are not given are those of the recipe.",
    )
    p.add_argument(
        "data",
        type=Path,
        help="a folder with labels.csv (file, label, optionally fold, patient, mask), "
        "a folder for each class, or Cheng's .mat files",
    )
    p.add_argument(
        "--arch",
        required=True,
        help="one of the paper's nine, a timm name, or monai:CLASS",
    )
    p.add_argument("--out", type=Path, required=True, help="model folder to write")
    p.add_argument(
        "--extra",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="more training data (never validated on); repeatable",
    )
    p.add_argument(
        "--validate",
        metavar="FOLDS",
        help="comma list: the selection set, which chooses the epoch [the last fold]",
    )
    p.add_argument(
        "--test", metavar="FOLDS", help="comma list: kept for a test at the end [none]"
    )
    p.add_argument(
        "--initial-weights",
        metavar="FILE",
        help="ImageNet weights to start from, or 'hub' to download timm's [scratch]",
    )
    p.add_argument(
        "--size",
        type=int,
        nargs="+",
        metavar="N",
        help="of the network's input: one number (a square), rows and columns, or "
        "slices, rows and columns for volumes",
    )
    p.add_argument("--channels", type=int, choices=(1, 3))
    p.add_argument(
        "--class-weights",
        metavar="WEIGHTS",
        help="none, balanced, or a comma list in alphabetical order of the classes",
    )
    p.add_argument(
        "--preprocessing",
        type=Path,
        metavar="FILE",
        help="JSON with 'intensity' and 'crop' as in a model.json",
    )
    p.add_argument(
        "--card",
        type=Path,
        metavar="FILE",
        help="JSON with text for model.json; another model.json serves too",
    )
    p.add_argument("--device")
    for name, (choices, text) in CHOICES.items():
        p.add_argument(_option(name), choices=choices, help=text)
    for name, (kind, text) in NUMBERS.items():
        p.add_argument(_option(name), type=kind, metavar="N", help=text)
    p.add_argument(
        "--no-flip",
        dest="flip",
        action="store_false",
        default=None,
        help="augmentation leaves left and right as they are",
    )
    p.add_argument(
        "--drop-duplicates",
        action="store_true",
        default=None,
        help="leave images that also stand in another part out of the training part",
    )
    p.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="the same weights each time, also after a kill",
    )
    p.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep the images as the network sees them here, for other trainings",
    )
    p.add_argument("--quiet", action="store_true", help="neither bars nor lines")
    return p


def settings_of(a: argparse.Namespace) -> Any:
    """Make a ``TrainingSettings`` of the options given.

    Raises
    ------
    UsageError
        If a value is wrong.
    """
    from .models.folder import FIELDS
    from .training import TrainingSettings

    names = (*NUMBERS, *CHOICES, "channels", "device")
    names += ("flip", "drop_duplicates", "deterministic")
    given = {name: getattr(a, name) for name in names if getattr(a, name) is not None}
    recipe = given.pop("recipe", "default")
    if a.size is not None:
        if len(a.size) > 3:
            raise UsageError("--size takes one, two or three numbers.")
        given["size"] = tuple(a.size * 2 if len(a.size) == 1 else a.size)
    for option, name in (("validate", "validation"), ("test", "test")):
        text = getattr(a, option)
        if text is not None:
            given[name] = tuple(f.strip() for f in text.split(",") if f.strip())
    if a.class_weights is not None:
        given["class_weights"] = _weights(a.class_weights)
    if a.initial_weights is not None:
        hub = a.initial_weights == "hub"
        given["initial_weights"] = "hub" if hub else Path(a.initial_weights)
    if a.preprocessing is not None:
        given["preprocessing"] = _json(a.preprocessing)
    if a.card is not None:
        said = _json(a.card)
        given["card"] = {k: v for k, v in said.items() if k not in (*FIELDS, *MEASURED)}
    return TrainingSettings.of(recipe, arch=a.arch, **given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (0, 2 or 130)."""
    a = parser().parse_args(arguments)
    from .training import train

    try:
        model = train(
            a.data,
            a.out,
            settings_of(a),
            extra=a.extra,
            quiet=a.quiet,
            cache=a.cache,
        )
    except (MedXAIError, OSError) as error:
        print(f"napari_medxai.train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues.", file=sys.stderr)
        return 130
    for key in ("performance", "test_performance"):
        if key in model.card.extra:
            print(json.dumps(model.card.extra[key], indent=2))
    if not a.quiet:
        print(f"{a.out / 'report.html'}", file=sys.stderr)
    return 0


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _weights(text: str) -> str | tuple[float, ...]:
    if text in ("none", "balanced"):
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--class-weights {text}: none, balanced, or numbers apart by commas."
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: an object {{...}} is needed.")
    return value


if __name__ == "__main__":
    sys.exit(main())
