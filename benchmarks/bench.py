"""Measure what the documentation states, in one run on one machine.

Usage: ``python benchmarks/bench.py [--repeat N] [--model NAME]``. Prints Markdown.
Times are wall-clock medians; compare only within one run.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

import napari_medxai as mx
from napari_medxai import saliency
from napari_medxai.samples import samples


def median_seconds(work: Callable[[], object], repeat: int) -> float:
    """Return the median wall-clock time of `repeat` runs after one to warm up."""
    work()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def bench_methods(model: mx.Classifier, image: np.ndarray, repeat: int) -> None:
    """Time every core method on one slice, and the unavoidable passes."""
    x = model.tensor(image[None]).contiguous(memory_format=torch.channels_last)
    many = x.repeat(32, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        forward = median_seconds(lambda: model.module(many), repeat) / 32

    def forward_backward() -> None:
        leaf = many.clone().requires_grad_()
        torch.autograd.grad(model.module(leaf)[:, 0].sum(), leaf)

    for parameter in model.module.parameters():
        parameter.requires_grad_(False)
    both = median_seconds(forward_backward, repeat) / 32
    print(f"One forward of a batch of 32: {forward * 1e3:.1f} ms an image; forward ")
    print(f"and backward to the input: {both * 1e3:.1f} ms an image.\n")
    print("| method | seconds a slice |\n|---|---|")
    total = 0.0
    for name in saliency.resolve("core"):
        seconds = median_seconds(
            lambda n=name: saliency.compute(n, model.module, x, 0), repeat
        )
        total += seconds
        print(f"| {name} | {seconds:.2f} |")
    print(f"| all nine | {total:.2f} |\n")


def main() -> None:
    """Print all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--model", default="brain-tumor-mri")
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    model = mx.load_model(a.model)
    loaded = time.perf_counter() - start
    study = mx.load_study(next(iter(sorted(samples()["png"].glob("images/*.png")))))
    image = model.input(study).image
    print(f"# {platform.machine()}, {torch.get_num_threads()} threads, {model.name}\n")
    print(f"Loading torch, MONAI and the model: {loaded:.1f} s.\n")
    bench_methods(model, image, a.repeat)
    settings = mx.Settings(methods=saliency.resolve("core"))
    start = time.perf_counter()
    list(mx.evaluate_study(study, model, settings))
    print(f"One slice, `core`, both curves: {time.perf_counter() - start:.1f} s.")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 1 if platform.system() == "Darwin" else 1024
    print(f"Peak resident memory of this run: {peak * scale / 2**20:.0f} MiB.")


if __name__ == "__main__":
    main()
