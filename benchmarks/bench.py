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
from napari_medxai import metrics, saliency
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


def reference_curves(
    image: np.ndarray,
    saliency_map: np.ndarray,
    mask: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
    target: int,
) -> None:
    """Call PAIR's function twice, as its users do: once for SIC, once for AIC."""
    from saliency.metrics import pic

    thresholds = [0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34]
    thresholds += [0.5, 0.75]
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
                saliency_thresholds=thresholds,
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


def bench_curves(image: np.ndarray, repeat: int) -> None:
    """Time both curves of a map against two calls of the reference."""
    shim_numpy()
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    smooth = np.exp(-((rows - 90) ** 2 + (columns - 120) ** 2) / 2000.0)
    noise = rng.random(image.shape)

    def predict(batch: np.ndarray) -> np.ndarray:
        """Be surer the nearer the batch is to the image: free, and never excluded."""
        flat = batch.reshape(len(batch), *image.shape, -1).mean(axis=-1)
        distance = np.abs(flat - image).mean(axis=(1, 2))
        score = np.exp(-distance)
        return np.stack([score, 1 - score], axis=1)

    mask = metrics.random_mask(image.shape, seed=0)
    print("| image, map | ours, s | two calls of PAIR, s | ratio |\n|---|---|---|---|")
    for kind, picture in (("grey", image), ("RGB", np.stack([image] * 3, axis=-1))):
        for name, values in (("smooth", smooth), ("noise", noise)):

            def ours(p: np.ndarray = picture, v: np.ndarray = values) -> None:
                metrics.information_curves(
                    p, v, predict, 0, random_mask=mask, min_probability=0.0
                )

            def theirs(p: np.ndarray = picture, v: np.ndarray = values) -> None:
                reference_curves(p, v, mask, predict, 0)

            a = median_seconds(ours, repeat)
            start = time.perf_counter()
            theirs()
            b = time.perf_counter() - start
            print(f"| {kind}, {name} | {a:.2f} | {b:.2f} | {b / a:.1f} |")
    print()


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
    bench_curves(image, a.repeat)
    settings = mx.Settings(methods=saliency.resolve("core"))
    start = time.perf_counter()
    list(mx.evaluate_study(study, model, settings))
    print(f"One slice, `core`, both curves: {time.perf_counter() - start:.1f} s.")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 1 if platform.system() == "Darwin" else 1024
    print(f"Peak resident memory of this run: {peak * scale / 2**20:.0f} MiB.")


if __name__ == "__main__":
    main()
