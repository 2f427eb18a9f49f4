"""Does the chest classifier look at lungs, or at where a radiograph comes from.

Usage: ``python benchmarks/chest_bias.py FOLDER [--fold N]``, FOLDER being
``../shared/data/chest-xray``. Prints Markdown for ``docs/bias.md``. Every class of that
data comes from a hospital of its own. On the test part of the bundled classifier:

- what is left of its answers where the middle of the image is blanked (lungs gone,
  borders and markers left), and where the frame is;
- which share of each map's relevance lies in the frame, beside the frame's share of the
  image's area.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap
from tqdm import tqdm

import napari_medxai as mx
from napari_medxai import saliency
from napari_medxai.training import read_samples, split

METHODS = ("gradcam", "integrated_gradients", "smoothgrad")
FRAME = 0.15  # of each side


def frame(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the outer part of an image, True there."""
    outer = np.ones(shape, dtype=bool)
    rows, columns = (round(FRAME * n) for n in shape)
    outer[rows:-rows, columns:-columns] = False
    return outer


def blanked(images: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill a part of each image with the image's mean."""
    result = images.copy()
    for image in result:
        image[where] = round(float(image.mean()))
    return result


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="chest-xray-covid")
    parser.add_argument("--fold", default="1", help="the test part of its training")
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    model = mx.load_model(a.model, device="cpu")
    divided = split(read_samples(a.folder), by="patient", test=(a.fold,), seed=0)
    samples = divided.parts()["test"]
    images = np.stack([model.input(s.load()).image for s in tqdm(samples, "reading")])
    truth = np.array([model.class_index(s.label) for s in samples])
    outer = frame(images.shape[1:])
    print(f"{len(samples)} radiographs of the test part (fold {a.fold}).\n")
    print(f"| shown | accuracy | {' | '.join(f'{c}, found' for c in model.classes)} |")
    print("|---" * (2 + len(model.classes)) + "|")
    for name, shown in (
        ("the whole image", images),
        (f"only the frame, {FRAME:.0%} of each side", blanked(images, ~outer)),
        ("only the middle", blanked(images, outer)),
    ):
        right = model.probabilities(shown).argmax(axis=1) == truth
        cells = [f"{right.mean():.3f}"]
        for k in range(len(model.classes)):
            own = right[truth == k]
            cells.append(f"{own.sum()} of {len(own)}")
        print(f"| {name} | {' | '.join(cells)} |")
    shares: dict[str, list[float]] = {name: [] for name in METHODS}
    targets = model.probabilities(images).argmax(axis=1)
    for image, target in zip(tqdm(images, "explaining"), targets, strict=True):
        x = model.tensor(image[None])
        shared = saliency.Shared()
        for name in METHODS:
            found = saliency.compute(
                name, model.module, x, torch.tensor([int(target)]), shared=shared
            )
            positive = np.maximum(found[0].numpy(), 0).astype(np.float64)
            total = positive.sum()
            shares[name].append(
                float(positive[outer].sum() / total) if total else np.nan
            )
    print(f"\nThe frame is {outer.mean():.0%} of the image's area.\n")
    print(f"| share of relevance in the frame | {' | '.join(model.classes)} |")
    print("|---" * (1 + len(model.classes)) + "|")
    for name in METHODS:
        values = np.array(shares[name])
        cells = []
        for k in range(len(model.classes)):
            own = values[(targets == k) & np.isfinite(values)]
            ci = bootstrap((own,), np.mean, rng=np.random.default_rng(0))
            low, high = ci.confidence_interval
            cells.append(f"{own.mean():.2f} [{low:.2f}, {high:.2f}]")
        print(f"| {saliency.get(name).label} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
