"""``python -m napari_medxai.reproduce DATA --out DIR``: the paper, on your data."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from .errors import Cancelled, MedXAIError, OutputError

__all__ = ["main", "parser"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    p = argparse.ArgumentParser(
        prog="napari_medxai.reproduce",
        description="Train the paper's nine architectures, judge them, explain the "
        "best with eight saliency methods and random, and write the paper's tables and "
        "figures with what was published beside them. Says first how long it will "
        "take. Interrupted or killed, the same command continues. For research use "
        "only.",
        epilog="Exit status: 0 all done, 1 some architecture or case failed (the rest "
        "is complete) or the output could not be written, 2 wrong usage, 130 "
        "interrupted.",
    )
    p.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="a folder with labels.csv (file, label, optionally fold, patient, mask), "
        "a folder for each class, or Cheng's .mat files",
    )
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument(
        "--arch",
        metavar="LIST",
        help="comma list of architectures [the nine; with --quick efficientnet_b0 and "
        "densenet121]",
    )
    p.add_argument(
        "--recipe",
        default="default",
        help="how to train: default, or brima2024 (the paper's) [%(default)s]",
    )
    p.add_argument(
        "--validate", metavar="FOLDS", help="comma list: selection set [the last fold]"
    )
    p.add_argument(
        "--test",
        metavar="FOLDS",
        help="comma list: kept for the test, which is judged and explained [none: the "
        "selection set is]",
    )
    p.add_argument(
        "--split-by",
        choices=("auto", "fold", "patient", "image"),
        help="auto: the folds of the data, else patients; images only where you say so",
    )
    p.add_argument(
        "--folds", type=int, help="how many to make where there are none [5]"
    )
    p.add_argument(
        "--drop-duplicates",
        action="store_true",
        help="leave images that also stand in another part out of the training part",
    )
    p.add_argument("--epochs", type=int, help="instead of the recipe's")
    p.add_argument(
        "--size",
        type=int,
        nargs="+",
        metavar="N",
        help="of the networks' input, instead of the recipe's: rows and columns, or "
        "slices, rows and columns for volumes",
    )
    p.add_argument(
        "--batch-size", type=int, help="of training, instead of the recipe's"
    )
    p.add_argument(
        "--initial-weights",
        metavar="FILE",
        help="ImageNet weights to start from (of one --arch), or 'hub' to download "
        "timm's [scratch, as the paper]",
    )
    p.add_argument(
        "--methods", default="core", help="as for napari-medxai batch [%(default)s]"
    )
    p.add_argument(
        "--pic",
        default="pair,brima2024,corrected",
        help="comma list of definitions of the information curves [%(default)s]",
    )
    p.add_argument(
        "--explain",
        default="best",
        metavar="WHICH",
        help="best (by macro F1 on the selection set), all, or a comma list of "
        "architectures [%(default)s]",
    )
    p.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="cases explained, drawn by class and seed [all; 6 with --quick]",
    )
    p.add_argument("--device", default="auto", help="auto, cpu or cuda:N [%(default)s]")
    p.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        help="of training and explaining [the recipe's, and fp32]",
    )
    p.add_argument("--seed", type=int, default=0)
    p.add_argument(
        "--quick",
        action="store_true",
        help="a small run to try it: few images, 64 x 64, 2 epochs",
    )
    p.add_argument(
        "--estimate",
        action="store_true",
        help="stop after the estimate of hours and memory",
    )
    p.add_argument("--quiet", action="store_true", help="neither bars nor lines")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0 all done, 1 some architecture or case failed or the output could not be
        written, 2 wrong usage, 130 interrupted.
    """
    a = parser().parse_args(arguments)
    try:
        return _run(a)
    except OutputError as error:
        return _fail(FAILED, f"{error} What is finished is kept.")
    except (Cancelled, KeyboardInterrupt):
        return _fail(
            INTERRUPTED,
            "interrupted; what is finished is kept, the same command continues.",
        )
    except MedXAIError as error:
        return _fail(USAGE, str(error))


def _run(a: argparse.Namespace) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, while they load
        from .reproduction import ReproductionOptions, reproduce

    start = a.initial_weights
    options = ReproductionOptions.of(
        quick=a.quick,
        data=a.data,
        out=a.out,
        architectures=_names(a.arch),
        recipe=a.recipe,
        validation=_names(a.validate),
        test=_names(a.test),
        split_by=a.split_by,
        folds=a.folds,
        drop_duplicates=a.drop_duplicates or None,
        epochs=a.epochs,
        size=None
        if a.size is None
        else tuple(a.size * 2 if len(a.size) == 1 else a.size),
        batch_size=a.batch_size,
        precision=a.precision,
        methods=a.methods,
        presets=_names(a.pic),
        explain=a.explain,
        limit=a.limit,
        initial_weights=start if start in (None, "hub") else Path(start),
        device=a.device,
        seed=a.seed,
    )
    result = reproduce(options, only_estimate=a.estimate, quiet=a.quiet)
    if result.page is not None:
        for one in result.trained:
            if one.reason:
                print(f"{one.architecture}: {one.reason}", file=sys.stderr)
        print(f"Report: {result.page}")
    return result.status


def _names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _fail(status: int, message: str) -> int:
    print(f"napari_medxai.reproduce: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
