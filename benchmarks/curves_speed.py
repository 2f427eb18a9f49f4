"""Measure how fast the information curves are, how that scales, and what they hold.

Usage: ``python benchmarks/curves_speed.py [--repeat N] [--largest PIXELS]``. Prints
Markdown. Predictions are free, so that the work on the images alone is timed. Times
are wall-clock medians; ours and PAIR's runs take turns, so that a ratio is of one
machine in one state.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from napari_medxai import metrics
from napari_medxai.samples import samples

SIDE = 224
SIDES = (128, 224, 256, 512, 1024)
THRESHOLDS = [0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34]
THRESHOLDS += [0.5, 0.75]


def reference_curves(
    image: np.ndarray,
    saliency_map: np.ndarray,
    mask: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
    target: int,
) -> None:
    """Call PAIR's function twice, as its users do: once for SIC, once for AIC."""
    from saliency.metrics import pic

    for reading in (
        lambda p: p[:, target],
        lambda p: (p.argmax(axis=1) == target).astype(float),
    ):
        try:
            pic.compute_pic_metric(
                img=image,
                saliency_map=saliency_map,
                random_mask=mask,
                pred_func=lambda x, r=reading: r(predict(x)),
                saliency_thresholds=THRESHOLDS,
                min_pred_value=0.0,
                keep_monotonous=True,
            )
        except pic.ComputePicMetricError as error:
            print(f"(the reference excluded the image: {error})")


def shim_numpy() -> None:
    """Give PAIR 0.2.1 the two NumPy names that NumPy 2.4 has removed."""
    if not hasattr(np, "trapz"):
        np.trapz = np.trapezoid  # noqa: NPY201 - the name that PAIR calls
    quantile = np.quantile

    def with_interpolation(*args: object, **kwargs: object) -> object:
        if "interpolation" in kwargs:
            kwargs["method"] = kwargs.pop("interpolation")
        return quantile(*args, **kwargs)

    np.quantile = with_interpolation


def slice_of(side: int, *, grain: float = 0.0) -> np.ndarray:
    """Return the first sample picture, grey, scaled to a square, with added noise.

    An enlarged picture without it holds no more than its blurred form, and would be
    excluded.
    """
    path = min(samples()["png"].glob("images/*.png"))
    grey = np.asarray(Image.open(path).convert("L").resize((side, side)))
    noise = np.random.default_rng(1).normal(scale=grain, size=grey.shape)
    return np.clip(np.round(grey + noise), 0, 255).astype(np.uint8)


def maps_of(side: int) -> dict[str, np.ndarray]:
    """Make one smooth map and one of pixel noise."""
    rows, columns = np.mgrid[:side, :side] * SIDE / side
    return {
        "smooth": np.exp(-((rows - 90) ** 2 + (columns - 120) ** 2) / 2000.0),
        "noise": np.random.default_rng(0).random((side, side)),
    }


def free_predictions(image: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Be surer the nearer a batch is to the image: free, and never excluded."""

    def predict(batch: np.ndarray) -> np.ndarray:
        flat = batch.reshape(len(batch), *image.shape, -1)[..., 0]
        distance = np.abs(flat[:, ::8, ::8] - image[::8, ::8].astype(float))
        score = np.exp(-distance.mean(axis=(1, 2)))
        return np.stack([score, 1 - score], axis=1)

    return predict


def our_curves(image: np.ndarray, saliency_map: np.ndarray, mask: np.ndarray) -> None:
    """Both curves of one map, as a user asks for them."""
    grey = image if image.ndim == 2 else image[..., 0]
    curves = metrics.information_curves(
        image,
        saliency_map,
        free_predictions(grey),
        0,
        random_mask=mask,
        min_probability=0.0,
    )
    if curves.sic.excluded:
        raise RuntimeError(f"nothing was timed: {curves.sic.excluded}")


def seconds(work: Callable[[], object]) -> float:
    """Return the wall-clock time of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bench_against_reference(repeat: int) -> None:
    """Time both curves of a map against two calls of the reference."""
    shim_numpy()
    grey = slice_of(SIDE)
    mask = metrics.random_mask(grey.shape, seed=0)
    print("| image, map | ours, s | two calls of PAIR, s | ratio |\n|---|---|---|---|")
    for kind, picture in (("grey", grey), ("RGB", np.stack([grey] * 3, axis=-1))):
        for name, values in maps_of(SIDE).items():
            our_curves(picture, values, mask)
            ours, theirs = [], []
            for _ in range(repeat):
                theirs.append(
                    seconds(
                        lambda p=picture, v=values: reference_curves(
                            p, v, mask, free_predictions(grey), 0
                        )
                    )
                )
                each = [
                    seconds(lambda p=picture, v=values: our_curves(p, v, mask))
                    for _ in range(3)
                ]
                ours.append(statistics.median(each))
            ratio = statistics.median(t / o for t, o in zip(theirs, ours, strict=True))
            print(
                f"| {kind}, {name} | {statistics.median(ours):.2f}"
                f" | {statistics.median(theirs):.2f} | {ratio:.1f} |"
            )
    print()


def bench_scaling(repeat: int, largest: int) -> None:
    """Time both curves of a grey image from 128² pixels up."""
    print("Growth: the time, and the time for n log n as a multiple of the smallest's.")
    print("At most 1.0 is growth no faster than n log n.\n")
    print("| map | pixels | s | for n log n |\n|---|---|---|---|")
    for name in maps_of(SIDE):
        base = None
        for side in [s for s in SIDES if s <= largest]:
            image, values = slice_of(side, grain=6.0), maps_of(side)[name]
            mask = metrics.random_mask(image.shape, seed=0)
            our_curves(image, values, mask)
            taken = statistics.median(
                seconds(lambda i=image, v=values, m=mask: our_curves(i, v, m))
                for _ in range(repeat)
            )
            unit = taken / (side**2 * math.log(side**2))
            base = base or unit
            print(f"| {name} | {side}² | {taken:.2f} | {unit / base:.2f} |")
    print()


def peak_mebibytes() -> float:
    """Return the greatest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # where rusage counts what the parent held before the exec
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_memory(kind: str, name: str) -> None:
    """Print this fresh process's peak before and after the curves of one map."""
    grey = slice_of(SIDE)
    image = grey if kind == "grey" else np.stack([grey] * 3, axis=-1)
    before = peak_mebibytes()
    our_curves(image, maps_of(SIDE)[name], metrics.random_mask(grey.shape, seed=0))
    print(f"| {kind}, {name} | {before:.0f} | {peak_mebibytes():.0f} |")


def bench_memory() -> None:
    """Measure the peak memory of the curves of one map, each in a fresh process."""
    print("| image, map | MiB after the imports | peak, MiB |\n|---|---|---|")
    for kind in ("grey", "RGB"):
        for name in maps_of(SIDE):
            sys.stdout.flush()
            command = [sys.executable, __file__, "--memory", kind, name]
            subprocess.run(command, check=True)
    print()


def main() -> None:
    """Print all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--largest", type=int, default=SIDES[-1])
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    if a.memory:
        measure_memory(*a.memory)
        return
    print("## Information curves: both curves of one map, predictions free\n")
    bench_against_reference(a.repeat)
    bench_scaling(a.repeat, a.largest)
    bench_memory()


if __name__ == "__main__":
    main()
