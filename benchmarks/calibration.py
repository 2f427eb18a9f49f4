"""Does the test against chance keep its level, and does it find what is there.

Usage: ``python benchmarks/calibration.py [--quick] [--workers N]``.

Prints Markdown for ``docs/calibration.md``. Everything is simulated: images of
40 x 40 pixels, a head-like body of random texture on dark ground; in two of three
classes a disk of stripes is planted at a random place, and the stripes' direction
decides the class. A small network is trained on them. All areas are those of the
softmax information curve (SIC) under the preset ``corrected``. All draws are seeded.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor, nn

from napari_medxai import saliency
from napari_medxai.metrics.body import body_mask
from napari_medxai.metrics.chance import BASE, FULL, against_chance
from napari_medxai.metrics.nulls import random_pixels, ranked_like, surrogate
from napari_medxai.metrics.pic import prepare
from napari_medxai.metrics.statistics import rank_test
from napari_medxai.saliency.randomised import randomised

SIZE = 40
PRESET = "corrected"
DATA_SET = 4  # cases of a data set whose maps know nothing
PLANTED_SET = 40  # cases of a data set with a planted cue
REPETITIONS = 300
SPECTRA = ("blobs", "blobs, 60 % zeros", "1/f", "white noise")
Map = NDArray[np.float32]

HOW = """\
Made by `python benchmarks/calibration.py`. Simulated images of 40 × 40 pixels: a body
of random texture on dark ground; in two of three classes a disk of stripes is planted
at a random place in it, and the stripes' direction decides the class. A small network
is trained on 2400 of them (accuracy on new ones {accuracy:.3f}). Areas are those of
the softmax information curve under the preset `corrected`."""
DRAWN = """\
The map that is tested knows nothing either, and is drawn apart from its chance maps:
for `surrogate` a random field of its own, with the spectrum named, put into the body;
its chance maps are made from it alone. For `random_pixels` scattered pixels, for
`other_case` the Grad-CAM map of another image, for `random_network` that of a further
randomised network. A p-value is that of one case with 199 chance maps, drawn in
sequence. Kolmogorov: one-sided test for p-values smaller than uniform ones. Mean rank:
share of the first 20 chance maps that the map is above, 0.5 under the null."""
SETS = """
Every data set has cases of its own and is tested by `metrics.statistics.rank_test`
with 20 chance maps; `surrogate` takes the four spectra in turn. A random network serves
every case, so that a data set is one draw of it (`shared`), and every data set has
networks of its own. A case without a curve is left out. With 300
data sets the share of alarms has a standard error of 0.013."""
PLANTED = """\
The map of Grad-CAM, and the cue itself. Data sets are drawn from the cases, without
replacement within a set."""


@dataclass(frozen=True)
class Task:
    """One map against its chance maps.

    `what` names the map, `number` seeds the image, `draw` all else.
    """

    what: str
    number: int
    k: int = BASE
    draw: int = 0


@dataclass(frozen=True)
class Found:
    """The map's area, those of the chance maps, and the case's p-value."""

    own: float
    areas: NDArray[np.float64]
    p_value: float


# Images and network


def simulate(number: int, kind: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw an image of class `kind` (0: nothing planted), and where the cue lies."""
    rng = np.random.default_rng([number, kind])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    centre = (SIZE - 1) / 2 + rng.uniform(-1, 1, 2)
    radii = SIZE * rng.uniform(0.38, 0.45, 2)
    body = np.hypot((rows - centre[0]) / radii[0], (columns - centre[1]) / radii[1]) < 1
    image = rng.uniform(0, 10, (SIZE, SIZE))
    for sigma in (1.5, 4):
        texture = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), sigma)
        image = image + body * (60 + 18 * texture / texture.std())
    cue = np.zeros((SIZE, SIZE), dtype=np.bool_)
    if kind:
        inner = ndimage.binary_erosion(body, iterations=5)
        row, column = rng.choice(np.argwhere(inner))
        cue = np.hypot(rows - row, columns - column) < 4
        stripes = np.sin(
            np.pi / 2 * (rows if kind == 1 else columns) + rng.uniform(0, 6)
        )
        image = image + 45 * cue * stripes
    return np.clip(image, 0, 255).astype(np.uint8), cue


def tensor(images: NDArray[np.uint8]) -> Tensor:
    """Give the network's units, (B, 1, H, W)."""
    return (torch.from_numpy(images).float()[:, None] - 100) / 50


def network() -> nn.Sequential:
    """Return three convolutions and the largest value of each map."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 3)),
    ).eval()


def train(count: int = 2400, epochs: int = 8) -> tuple[nn.Sequential, float]:
    """Train on simulated images; return the network and its accuracy on new ones."""
    module = network().train()
    kinds = torch.arange(count) % 3
    x = tensor(np.stack([simulate(i, int(k))[0] for i, k in enumerate(kinds)]))
    optimiser = torch.optim.Adam(module.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.randperm(count, generator=generator).split(64):
            loss = nn.functional.cross_entropy(module(x[batch]), kinds[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    module.eval()
    kinds = torch.arange(300) % 3
    images = [simulate(10**6 + i, int(k))[0] for i, k in enumerate(kinds)]
    with torch.no_grad():
        right = module(tensor(np.stack(images))).argmax(1) == kinds
    return module, float(right.float().mean())


# One map against chance, in a worker

STATE: dict[str, nn.Module] = {}


def start(weights: dict[str, Tensor]) -> None:
    """Load the trained network into a worker."""
    torch.set_num_threads(1)
    module = network()
    module.load_state_dict(weights)
    STATE["trained"] = module


@lru_cache(maxsize=64)
def random_network(seed: int) -> nn.Module:
    """Return the trained network without what it learned."""
    return randomised(STATE["trained"], seed=seed)


def gradcam(module: nn.Module, image: NDArray[np.uint8], kind: int) -> Map:
    """Grad-CAM of the class planted."""
    found = saliency.compute("gradcam", module, tensor(image[None]), kind)
    return found[0].numpy()


def kind_of(number: int) -> int:
    """Class of a case: one of those with a cue."""
    return 1 + number % 2


def null_field(spectrum: str, seed: int, body: NDArray[np.bool_]) -> Map:
    """Draw a random field of its own, confined to the body, as surrogates are.

    It is cut from a field four times as long, so that it does not wrap around.
    """
    rng = np.random.default_rng(seed)
    n = 4 * SIZE
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
    amplitude = np.exp(-((2 * np.pi * 5 * frequency) ** 2) / 4)
    if spectrum == "white noise":
        amplitude = np.ones_like(frequency)
    elif spectrum == "1/f":
        amplitude = 1 / np.maximum(frequency, 1 / n)
    noise = np.fft.rfft2(rng.standard_normal((n, n)))
    field = np.fft.irfft2(noise * amplitude, s=(n, n))[:SIZE, :SIZE]
    values = np.sort(rng.standard_normal(field.size))
    if "zeros" in spectrum:
        values = np.maximum(values - np.quantile(values, 0.6), 0)
    result = np.empty(field.shape, dtype=np.float32)
    result.flat[np.lexsort((field.ravel(), body.ravel()))] = values
    return result


def solve(task: Task) -> Found | None:
    """Compare one map with its chance maps; None where it has no curve."""
    kind = kind_of(task.number)
    image, cue = simulate(2_000_000 + task.number, kind)
    body = body_mask(image)
    null, _, detail = task.what.partition(": ")
    seed = 1000 * (1 + task.number) + 10**7 * task.draw

    def other(j: int) -> Map:
        """Grad-CAM of another case."""
        far = 3_000_000 + 1000 * task.number + j
        return gradcam(STATE["trained"], simulate(far, kind)[0], kind)

    def random(j: int) -> Map:
        """Grad-CAM of a random network; the same network in every case."""
        return gradcam(random_network(10**5 * task.draw + j), image, kind)

    own: Map
    draw: Callable[[int], Map]
    if null == "random_pixels":
        own = random_pixels(gradcam(STATE["trained"], image, kind), seed=seed + 999)
        draw = lambda j: random_pixels(own, seed=seed + j)  # noqa: E731
    elif null == "other_case":
        own = other(999)
        draw = lambda j: ranked_like(own, other(j), seed=seed + j)  # noqa: E731
    elif null == "random_network":
        own = random(999)
        draw = lambda j: ranked_like(own, random(j), seed=seed + j)  # noqa: E731
    else:
        if detail in SPECTRA:
            own = null_field(detail, seed + 999, body)
        elif detail == "gradcam":
            own = gradcam(STATE["trained"], image, kind)
        else:
            own = ndimage.gaussian_filter(cue.astype(np.float32), 1.0) * cue
        draw = lambda j: surrogate(own, body, seed=seed + j)  # noqa: E731

    def predict(images: NDArray[np.uint8]) -> NDArray[Any]:
        with torch.no_grad():
            return STATE["trained"](tensor(images)).softmax(1).numpy()

    prepared = prepare(image, predict, presets=(PRESET,), seed=task.number, threads=1)
    curves = prepared.curves(own, kind)
    found = against_chance(prepared, curves, draw, null=null, k=task.k, target=kind)[
        PRESET
    ].sic
    if found is None:
        return None
    return Found(curves[PRESET].sic.auc, found.areas, found.p_value)


# Tables


def table(found: Iterable[Found]) -> NDArray[np.float64]:
    """Areas (cases, 1 + BASE): the map's and those of the first chance maps."""
    return np.stack([np.append(f.own, f.areas[:BASE]) for f in found])


def alarms(sets: Iterable[NDArray[np.float64]], *, shared: bool = False) -> float:
    """Share of the data sets whose test says 5 %."""
    p = [
        rank_test(areas, list(range(len(areas))), n_bootstrap=0, shared=shared).p_value
        for areas in sets
    ]
    return float(np.mean(np.array(p) <= 0.05))


def redrawn(
    areas: NDArray[np.float64], size: int, repetitions: int
) -> Iterable[NDArray[np.float64]]:
    """Yield data sets drawn from the cases."""
    rng = np.random.default_rng(0)
    for _ in range(repetitions):
        yield areas[rng.choice(len(areas), min(size, len(areas)), replace=False)]


def mean_rank(sets: list[NDArray[np.float64]]) -> str:
    """Mean share of the chance maps that the map is above, with its error."""
    areas = np.concatenate(sets)
    own, chance = areas[:, :1], areas[:, 1:]
    share = ((own > chance + 1e-6) + 0.5 * (abs(own - chance) <= 1e-6)).mean(axis=1)
    return f"{share.mean():.3f} ± {share.std() / np.sqrt(len(share)):.3f}"


def uniformity(p: NDArray[np.float64]) -> list[str]:
    """Shares below three levels, and Kolmogorov's one-sided test for small ones."""
    excess = max(max(np.mean(p <= a) - a for a in np.unique(p)), 0.0)
    shares = [f"{np.mean(p <= level + 1e-12):.3f}" for level in (0.01, 0.05, 0.1)]
    return [*shares, f"{stats.ksone.sf(excess, len(p)):.2f}"]


def row(*cells: object) -> None:
    """Print a line of a table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*cells: str) -> None:
    """Print the head of a table."""
    print()
    row(*cells)
    row(*("---" for _ in cells))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="an eighth of the cases")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    a = parser.parse_args()
    share = 8 if a.quick else 1
    began = time.perf_counter()
    module, accuracy = train()
    note(began, "trained")
    pool = ProcessPoolExecutor(
        a.workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start,
        initargs=(module.state_dict(),),
    )

    def every(tasks: list[Task]) -> list[Found | None]:
        found = list(pool.map(solve, tasks, chunksize=4))
        note(began, f"{tasks[0].what}: {len(tasks)} maps")
        return found

    def solved(tasks: list[Task]) -> list[Found]:
        return [f for f in every(tasks) if f is not None]

    def data_sets(tasks: list[Task], size: int) -> list[NDArray[np.float64]]:
        found = every(tasks)
        sets = [found[i : i + size] for i in range(0, len(found), size)]
        return [table(f for f in one if f is not None) for one in sets if any(one)]

    with pool:
        print("# Calibration of the tests against chance\n")
        print(HOW.format(accuracy=accuracy))
        print("\n## Maps that are drawn from the null\n")
        print(DRAWN)
        pools = {}
        for group, (what, cases) in enumerate(
            (
                *((f"surrogate: {spectrum}", 30) for spectrum in SPECTRA),
                ("random_pixels", 40),
                ("other_case", 40),
                ("random_network", 60),
            )
        ):
            first = 1000 * group
            pools[what] = solved(
                [
                    Task(what, first + i, FULL, 10**4 + i)
                    for i in range(-(-cases // share))
                ]
            )
        single(pools)
        repetitions = REPETITIONS // share
        print(SETS)
        head("null", "data sets", "of cases", "mean rank", "alarms at 5 %")
        for group, null in enumerate(("surrogate", "random_pixels", "other_case")):
            spectra = [f"surrogate: {s}" for s in SPECTRA]
            names = spectra if null == "surrogate" else [null]
            tasks = [
                Task(names[i % len(names)], 100_000 * (1 + group) + i)
                for i in range(repetitions * DATA_SET)
            ]
            sets = data_sets(tasks, DATA_SET)
            row(null, len(sets), DATA_SET, mean_rank(sets), f"{alarms(sets):.3f}")
        tasks = [
            Task("random_network", 10_000 + 2 * rep + i, draw=rep)
            for rep in range(repetitions)
            for i in range(2)
        ]
        sets = data_sets(tasks, 2)
        for shared in (True, False):
            name = "random_network" + ("" if shared else ", cases taken as independent")
            rate = alarms(sets, shared=shared)
            row(name, len(sets), 2, mean_rank(sets), f"{rate:.3f}")
        print("\n## A cue planted at random places, against `surrogate`\n")
        print(PLANTED)
        head("map", "cases", "mean rank", "data sets of 40 that beat it")
        for name in ("gradcam", "true cue"):
            what = f"surrogate: {name}"
            tasks = [Task(what, 20_000 + i) for i in range(160 // share)]
            areas = table(solved(tasks))
            won = alarms(redrawn(areas, PLANTED_SET, repetitions))
            row(name, len(areas), mean_rank([areas]), f"{won:.3f}")
    minutes = (time.perf_counter() - began) / 60
    print(f"\n{minutes:.0f} minutes, worker processes: {a.workers}.")


def single(pools: dict[str, list[Found]]) -> None:
    """Table of the p-values of single cases."""
    head(
        "null", "maps", "p ≤ 0.01", "p ≤ 0.05", "p ≤ 0.1", "Kolmogorov, p", "mean rank"
    )
    joined = [f for name, found in pools.items() if "surr" in name for f in found]
    for name, found in {**pools, "surrogate: all": joined}.items():
        p = np.array([f.p_value for f in found])
        p = p[~np.isnan(p)]
        row(name, len(p), *uniformity(p), mean_rank([table(found)]))


def note(began: float, what: str) -> None:
    """Tell how far it is."""
    print(f"{time.perf_counter() - began:6.0f} s  {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
