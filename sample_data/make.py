"""Make the simulated sample data, or a training set of simulated slices.

``python sample_data/make.py samples`` rewrites the files shipped beside this
script; ``python sample_data/make.py training --out DIR --count N --seed S`` writes
a folder of slices with masks and ``labels.csv``, and continues where an earlier,
interrupted call stopped.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from simulation import KINDS, files, samples, simulate_slice  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    shipped = commands.add_parser("samples", help="rewrite the shipped sample files")
    shipped.add_argument("--out", type=Path, default=HERE, help="default: %(default)s")
    training = commands.add_parser("training", help="write labelled slices")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--count", type=int, required=True, help="how many slices")
    training.add_argument("--seed", type=int, required=True, help="of the first slice")
    training.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    if chosen.command == "samples":
        samples.write(chosen.out)
        return 0
    if chosen.count < 1 or chosen.processes < 1:
        training.error("--count and --processes must be at least 1")
    _training(chosen.out, chosen.count, chosen.seed, chosen.processes)
    return 0


def _training(out: Path, count: int, first: int, processes: int) -> None:
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)
    seeds = range(first, first + count)
    missing = [seed for seed in seeds if not _done(out, seed)]
    bar = partial(tqdm, total=count, initial=count - len(missing), unit="slice")
    if processes == 1:
        for seed in bar(missing):
            _one(out, seed)
    else:
        with ProcessPoolExecutor(processes) as pool:
            for _ in bar(pool.map(partial(_one, out), missing, chunksize=4)):
                pass
    rows = [
        {"file": _name(seed), "label": _kind(seed), "fold": 1, "patient": f"sim-{seed}"}
        for seed in seeds
    ]
    files.write_csv(out / "labels.csv", ("file", "label", "fold", "patient"), rows)


def _name(seed: int) -> str:
    return f"sim-{seed}.png"


def _kind(seed: int) -> str:
    # From the seed alone, so that a folder may be continued from any other seed.
    return KINDS[seed % 100_000 % len(KINDS)]


def _done(out: Path, seed: int) -> bool:
    # The image is written last.
    return (out / "images" / _name(seed)).is_file()


def _one(out: Path, seed: int) -> None:
    made = simulate_slice(_kind(seed), seed)
    files.write_png(out / "masks" / _name(seed), made.mask)
    files.write_png(out / "images" / _name(seed), made.image)


if __name__ == "__main__":
    raise SystemExit(main())
