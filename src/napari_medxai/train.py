"""``python -m napari_medxai.train DATA --arch NAME --out MODEL_DIR``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import MedXAIError

__all__ = ["main", "parser"]


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    p = argparse.ArgumentParser(
        prog="napari_medxai.train",
        description="Train a classifier on a folder with labels.csv "
        "(file,label,fold) and write a model folder. Interrupted, the same command "
        "continues after its last whole epoch.",
    )
    p.add_argument("data", type=Path, help="folder with labels.csv and images/")
    p.add_argument("--arch", required=True, help="a timm name, or monai:CLASS")
    p.add_argument("--out", type=Path, required=True, help="model folder to write")
    p.add_argument(
        "--extra",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="more training data (never validated on); repeatable",
    )
    p.add_argument("--validate", default="", help="folds, comma list [the last]")
    p.add_argument("--initial-weights", type=Path, help="ImageNet weights to start")
    p.add_argument(
        "--card",
        type=Path,
        help="JSON with text for model.json; another model.json serves too",
    )
    p.add_argument("--epochs", type=int, default=16)
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--learning-rate", type=float, default=1e-3)
    p.add_argument("--size", type=int, default=224)
    p.add_argument("--channels", type=int, choices=(1, 3), default=1)
    p.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    p.add_argument("--device", default="auto")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--quiet", action="store_true")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (0, 2 or 130)."""
    a = parser().parse_args(arguments)
    from .models.folder import FIELDS
    from .models.training import TrainingSettings, train

    try:
        card = json.loads(a.card.read_text(encoding="utf-8")) if a.card else {}
        card = {k: v for k, v in card.items() if k not in (*FIELDS, "performance")}
        settings = TrainingSettings(
            arch=a.arch,
            size=(a.size, a.size),
            channels=a.channels,
            epochs=a.epochs,
            batch_size=a.batch_size,
            learning_rate=a.learning_rate,
            precision=a.precision,
            device=a.device,
            seed=a.seed,
            validation=tuple(f.strip() for f in a.validate.split(",") if f.strip()),
            initial_weights=a.initial_weights,
            card=card,
        )
        model = train(a.data, a.out, settings, extra=a.extra, quiet=a.quiet)
    except (MedXAIError, OSError, json.JSONDecodeError) as error:
        print(f"napari_medxai.train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues.", file=sys.stderr)
        return 130
    print(json.dumps(model.card.extra["performance"], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
