"""How well the approximations agree with what they approximate.

Usage: ``python benchmarks/agreement.py [FOLDER] [--limit N] [--model NAME]``.

FOLDER holds images; the project's own samples by default. Prints Markdown: the rank
correlation (Spearman) of the maps over the pixels, median and range over the images.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import napari_medxai as mx
from napari_medxai import saliency
from napari_medxai.samples import samples


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=samples()["png"])
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--model", default="brain-tumor-mri")
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    model = mx.load_model(a.model)
    named = [(n, saliency.get(n).approximates) for n in saliency.methods()]
    pairs = [(fast, exact) for fast, exact in named if exact is not None]
    named_bf16 = ("scorecam, bf16", "scorecam")
    found: dict[tuple[str, str], list[float]] = {
        pair: [] for pair in (*pairs, named_bf16)
    }
    images = sorted(a.folder.glob("images/*"))[: a.limit]
    for path in images:
        image = model.input(mx.load_study(path, masks="none")).image
        x = model.tensor(image[None])
        target = int(model.probabilities(image[None])[0].argmax())
        shared, maps = saliency.Shared(), {}
        for name in dict.fromkeys(name for pair in pairs for name in pair):
            result = saliency.compute(name, model.module, x, target, shared=shared)
            maps[name] = result[0].numpy().ravel()
        result = saliency.compute("scorecam", model.module, x, target, precision="bf16")
        maps["scorecam, bf16"] = result[0].numpy().ravel()
        for fast, exact in found:
            statistic = float(spearmanr(maps[fast], maps[exact]).statistic)
            found[fast, exact].append(statistic)
    print(f"{len(images)} images, {model.name}\n")
    print("| approximation | of | Spearman, median | lowest | highest |")
    print("|---|---|---|---|---|")
    for (fast, exact), values in found.items():
        median, low, high = np.median(values), min(values), max(values)
        print(f"| {fast} | {exact} | {median:.3f} | {low:.3f} | {high:.3f} |")


if __name__ == "__main__":
    main()
