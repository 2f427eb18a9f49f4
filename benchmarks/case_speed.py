"""Measure a whole case on DenseNet121: curves of nine maps, and the default run.

Usage: ``python benchmarks/case_speed.py``. Prints Markdown. The network's weights are
random; its passes are those of a trained one. Where an answer must fall as an image is
blurred, the score is the distance to the image, and the network is asked all the same.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

import napari_medxai as mx
from curves_speed import (
    SIDE,
    free_predictions,
    reference_curves,
    seconds,
    shim_numpy,
    slice_of,
)
from napari_medxai import metrics, saliency
from napari_medxai.models import Classifier, architectures
from napari_medxai.models.folder import ModelCard
from napari_medxai.preprocess import Preprocessing
from napari_medxai.samples import samples


def densenet(channels: int) -> Classifier:
    """Build a classifier of random weights."""
    torch.manual_seed(0)
    card = ModelCard(
        architecture="densenet121",
        classes=("a", "b", "c"),
        preprocessing=Preprocessing(
            size=(SIDE, SIDE),
            channels=channels,
            mean=(0.5,) * channels,
            std=(0.5,) * channels,
        ),
    )
    module = architectures.build("densenet121", classes=3, channels=channels)
    return Classifier(module, card, name="densenet121", digest="", device="cpu")


def nine_maps(image: np.ndarray) -> list[np.ndarray]:
    """Compute the core methods' maps of the bundled classifier."""
    model = mx.load_model("brain-tumor-mri", device="cpu")
    x = model.tensor(image[None])
    shared = saliency.Shared()
    return [
        saliency.compute(name, model.module, x, 0, shared=shared)[0].numpy()
        for name in saliency.resolve("core")
    ]


def bench_given_maps() -> None:
    """Time both curves of nine given maps of one RGB image, forwards included."""
    shim_numpy()
    grey = slice_of(SIDE)
    image = np.stack([grey] * 3, axis=-1)
    model = densenet(3)
    maps = nine_maps(grey)
    mask = metrics.random_mask(grey.shape, seed=0)
    free = free_predictions(grey)

    def predict(batch: np.ndarray) -> np.ndarray:
        model.probabilities(np.asarray(batch))
        return free(batch)

    def ours() -> None:
        prepared = metrics.prepare(image, predict, random_mask=mask)
        found = prepared.curves_of(maps, 0, min_probability=0.0)
        if any(curves["pair"].sic.excluded for curves in found):
            raise RuntimeError("nothing was timed: the image is excluded")

    def single() -> None:
        prepared = metrics.prepare(image, predict, random_mask=mask)
        for values in maps:
            prepared.curves(values, 0, min_probability=0.0)

    def theirs() -> None:
        for values in maps:
            reference_curves(image, values, mask, predict, 0)

    ours()
    rows = {
        "maps together": statistics.median(seconds(ours) for _ in range(3)),
        "map by map, as a run does": statistics.median(
            seconds(single) for _ in range(3)
        ),
    }
    reference = seconds(theirs)
    print("Nine given maps, RGB, DenseNet121, both curves:\n")
    print("| | ours, s | two calls of PAIR a map, s | ratio |\n|---|---|---|---|")
    for name, taken in rows.items():
        print(f"| {name} | {taken:.2f} | {reference:.1f} | {reference / taken:.1f} |")
    print()


@contextmanager
def passes(module: torch.nn.Module) -> Iterator[dict[str, float]]:
    """Add up the time inside the network: forward, and gradients."""
    spent = {"forward": 0.0, "backward": 0.0}
    forward, gradient = module.forward, torch.autograd.grad

    def timed_forward(*arguments: object, **named: object) -> object:
        start = time.perf_counter()
        try:
            return forward(*arguments, **named)
        finally:
            spent["forward"] += time.perf_counter() - start

    def timed_gradient(*arguments: object, **named: object) -> object:
        start = time.perf_counter()
        try:
            return gradient(*arguments, **named)
        finally:
            spent["backward"] += time.perf_counter() - start

    module.forward = timed_forward
    torch.autograd.grad = timed_gradient
    try:
        yield spent
    finally:
        del module.forward
        torch.autograd.grad = gradient


def bench_default_run() -> None:
    """Time the default run without chance beside the time inside its network."""
    model = densenet(1)
    with torch.no_grad():  # a surer head, so that the curves are not excluded
        for parameter in model.module.classifier.parameters():
            parameter.mul_(8)
    settings = mx.Settings(methods=saliency.resolve("core"), min_probability=0.0)
    for path in sorted(samples()["png"].glob("images/*.png")):
        study = mx.load_study(path)
        image = model.input(study).image
        prepared = metrics.prepare(image, model.probabilities)
        target = int(prepared.original_probabilities.argmax())
        if prepared.excluded(target, min_probability=0.0)["pair"][1] is None:
            break
    else:
        raise RuntimeError("every sample is excluded: nothing would be timed")
    for name in ("vanilla_gradient", "gradcam"):  # the first pass loads code
        list(mx.explain(study, model, [name]))
    with passes(model.module) as spent:
        total = seconds(lambda: list(mx.evaluate_study(study, model, settings)))
    inside = sum(spent.values())
    print("One slice, `core`, both curves, no chance, DenseNet121:\n")
    print(
        "| whole, s | forwards, s | gradients, s | whole / passes |\n|---|---|---|---|"
    )
    print(
        f"| {total:.1f} | {spent['forward']:.1f} | {spent['backward']:.1f} | "
        f"{total / inside:.2f} |"
    )


def main() -> None:
    """Print both measurements."""
    warnings.simplefilter("ignore")
    print("## A whole case on DenseNet121\n")
    bench_given_maps()
    bench_default_run()


if __name__ == "__main__":
    main()
