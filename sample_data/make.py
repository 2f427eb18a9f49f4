"""Make the simulated sample data, or a training set of simulated images.

``python sample_data/make.py samples`` rewrites the files shipped beside this
script; ``python sample_data/make.py training --out DIR --count N --seed S`` writes
a folder of head MRI slices (``--study chest``: of chest radiographs) with masks and
``labels.csv``, and continues where an earlier, interrupted call stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from simulation import KINDS, chest, files, samples, simulate_slice  # noqa: E402

Made = tuple[NDArray[np.uint8], NDArray[np.bool_]]
CLASSES: dict[str, tuple[str, ...]] = {"brain": KINDS, "chest": chest.KINDS}
RADIOGRAPH_SIZE = 256


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    shipped = commands.add_parser("samples", help="rewrite the shipped sample files")
    shipped.add_argument("--out", type=Path, default=HERE, help="default: %(default)s")
    training = commands.add_parser("training", help="write labelled images")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--count", type=int, required=True, help="how many images")
    training.add_argument("--seed", type=int, required=True, help="of the first image")
    training.add_argument("--processes", type=int, default=1)
    training.add_argument("--study", choices=sorted(CLASSES), default="brain")
    training.add_argument(
        "--confounded",
        action="store_true",
        help="chest: each class has its own marker and border, so that a classifier "
        "can win without looking at the lungs",
    )
    chosen = parser.parse_args(arguments)
    if chosen.command == "samples":
        samples.write(chosen.out)
        return 0
    if chosen.count < 1 or chosen.processes < 1:
        training.error("--count and --processes must be at least 1")
    if chosen.confounded and chosen.study != "chest":
        training.error("--confounded needs --study chest")
    make = _slice
    if chosen.study == "chest":
        make = partial(_radiograph, confounded=chosen.confounded)
    classes = CLASSES[chosen.study]
    _training(chosen.out, chosen.count, chosen.seed, chosen.processes, classes, make)
    return 0


def _slice(kind: str, seed: int) -> Made:
    made = simulate_slice(kind, seed)
    return made.image, made.mask


def _radiograph(kind: str, seed: int, *, confounded: bool) -> Made:
    extras = chest.CONFOUNDED[kind] if confounded else None
    made = chest.simulate_radiograph(kind, seed, size=RADIOGRAPH_SIZE, extras=extras)
    return made.image, made.mask


def _training(
    out: Path,
    count: int,
    first: int,
    processes: int,
    classes: tuple[str, ...],
    make: Callable[[str, int], Made],
) -> None:
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)
    seeds = range(first, first + count)
    missing = [seed for seed in seeds if not _done(out, seed)]
    bar = partial(tqdm, total=count, initial=count - len(missing), unit="image")
    one = partial(_one, out, classes, make)
    if processes == 1:
        for seed in bar(missing):
            one(seed)
    else:
        with ProcessPoolExecutor(processes) as pool:
            for _ in bar(pool.map(one, missing, chunksize=4)):
                pass
    rows = [
        {
            "file": _name(seed),
            "label": _kind(seed, classes),
            "fold": 1,
            "patient": f"sim-{seed}",
        }
        for seed in seeds
    ]
    files.write_csv(out / "labels.csv", ("file", "label", "fold", "patient"), rows)


def _name(seed: int) -> str:
    return f"sim-{seed}.png"


def _kind(seed: int, classes: tuple[str, ...]) -> str:
    # From the seed alone, so that a folder may be continued from any other seed.
    return classes[seed % 100_000 % len(classes)]


def _done(out: Path, seed: int) -> bool:
    # The image is written last.
    return (out / "images" / _name(seed)).is_file()


def _one(
    out: Path, classes: tuple[str, ...], make: Callable[[str, int], Made], seed: int
) -> None:
    image, mask = make(_kind(seed, classes), seed)
    if mask.any():
        files.write_png(out / "masks" / _name(seed), mask)
    files.write_png(out / "images" / _name(seed), image)


if __name__ == "__main__":
    raise SystemExit(main())
