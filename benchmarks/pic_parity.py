"""Information curves beside PAIR's own function on real slices and real maps.

Usage: ``python benchmarks/pic_parity.py FOLDER [--slices N] [--methods LIST]
[--mirror]``, FOLDER with images (``../shared/data/brain-tumor-mri-512``). Prints
Markdown. Every slice is
measured grey and RGB, by AIC and SIC, with the same uint8 image, random mask, map and
predictions; each image is predicted alone, and equal images get equal predictions.

``--mirror`` compares PAIR with itself as well: image, map and mask are mirrored, and
each image is mirrored back before it is coded and predicted. By the definition nothing
changes; what does is the choice among co-circular pixels, which it leaves free.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import napari_medxai as mx
from napari_medxai import metrics, saliency
from napari_medxai.metrics.presets import THRESHOLDS

NEAR_TIE = 0.02


@dataclass
class Line:
    """One slice, map, metric and number of channels."""

    where: str
    ours: float
    theirs: float
    excluded: tuple[bool, bool]
    crashed: bool
    margin: float = float("nan")
    mirrored: float = float("nan")


class Oracle:
    """The network's answer to an image, asked once for each image."""

    def __init__(self, model: mx.Classifier) -> None:
        self.model = model
        self.known: dict[bytes, NDArray[np.float64]] = {}

    def one(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Probabilities of one image, grey or RGB of equal channels."""
        grey = image if image.ndim == 2 else image[..., 0]
        key = grey.tobytes()
        if key not in self.known:
            self.known[key] = self.model.probabilities(grey[None])[0]
        return self.known[key]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Probabilities of a batch, image by image."""
        return np.stack([self.one(image) for image in images])


def reference_auc(
    image: NDArray[np.uint8],
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    score: Callable[[NDArray[np.uint8]], float],
    least: float,
) -> tuple[float, bool, bool, list[float]]:
    """PAIR's area, whether it excluded the image or crashed, and its predictions."""
    from saliency.metrics import pic

    try:
        found = pic.compute_pic_metric(
            img=image,
            saliency_map=values,
            random_mask=mask,
            pred_func=lambda batch: [score(one) for one in batch],
            saliency_thresholds=list(THRESHOLDS),
            min_pred_value=least,
            keep_monotonous=True,
        )
    except pic.ComputePicMetricError:
        return float("nan"), True, False, []
    except (TypeError, ValueError):
        return float("nan"), False, True, []
    return float(found.auc), False, False, [float(p) for p in found.predictions]


def mirrored_auc(
    image: NDArray[np.uint8],
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    score: Callable[[NDArray[np.uint8]], float],
    least: float,
) -> float:
    """PAIR's area with its interpolation mirrored, all else as it is."""
    from saliency.metrics import pic

    coded = pic.estimate_image_entropy

    def back(one: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(one[:, ::-1])

    pic.estimate_image_entropy = lambda one: coded(back(one))
    try:
        auc, *_ = reference_auc(
            back(image), back(values), back(mask), lambda one: score(back(one)), least
        )
    finally:
        pic.estimate_image_entropy = coded
    return auc


def compare(
    name: str,
    image: NDArray[np.uint8],
    values: NDArray[np.float32],
    oracle: Oracle,
    target: int,
    least: float,
    *,
    mirror: bool = False,
) -> list[Line]:
    """Both metrics of one map, ours beside PAIR's."""
    mask = metrics.random_mask(image.shape[:2], seed=0)
    found = metrics.information_curves(
        image, values, oracle, target, random_mask=mask, min_probability=least
    )
    readings: dict[str, Callable[[NDArray[np.uint8]], float]] = {
        "sic": lambda one: float(oracle.one(one)[target]),
        "aic": lambda one: float(oracle.one(one).argmax() == target),
    }
    lines = []
    for metric, score in readings.items():
        ours = getattr(found, metric)
        auc, excluded, crashed, theirs = reference_auc(
            image, values, mask, score, least
        )
        margin = mirrored = float("nan")
        if mirror:
            mirrored = mirrored_auc(image, values, mask, score, least)
        if metric == "aic" and theirs:
            # how near to a tie the answers are that differ
            mine = found.knots.predicted == target
            differ = [i for i, p in enumerate(theirs) if bool(p) != bool(mine[i])]
            margins = [_margin(image, values, mask, oracle, i) for i in differ]
            margin = min(margins, default=float("nan"))
        lines.append(
            Line(
                f"{name} {metric}",
                ours.auc,
                auc,
                (ours.excluded is not None, excluded),
                crashed,
                margin,
                mirrored,
            )
        )
    return lines


def _margin(
    image: NDArray[np.uint8],
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    oracle: Oracle,
    knot: int,
) -> float:
    """Distance of the two surest classes on our image of that knot."""
    t = (0.0, *THRESHOLDS, 1.0)[knot]
    shown = mask if t == 0 else (values >= np.quantile(values, 1 - t)) | mask
    top = np.sort(oracle.one(metrics.blur(image, shown)))[-2:]
    return float(top[1] - top[0])


def table(lines: list[Line], kind: str) -> None:
    """Print one row for each metric, and every AIC that is off."""
    for metric in ("sic", "aic"):
        own = [line for line in lines if line.where.endswith(metric)]
        both = [x for x in own if not any(x.excluded) and not x.crashed]
        if not both:
            continue
        off = np.array([abs(x.ours - x.theirs) for x in both])
        same = sum(x.excluded[0] == x.excluded[1] for x in own if not x.crashed)
        crashed = sum(x.crashed for x in own)
        answered = sum(np.isfinite(x.ours) or x.excluded[0] for x in own if x.crashed)
        print(
            f"| {kind} | {metric.upper()} | {len(own)} | {len(both)} | "
            f"{same} of {len(own) - crashed} | {answered} of {crashed} | "
            f"{np.median(off):.5f} | {off.max():.5f} | {(off <= 0.01).mean():.1%} |"
        )


def mirror_table(by_kind: dict[str, list[Line]]) -> None:
    """Print how far PAIR is from itself, mirrored."""
    print("\nPAIR beside itself, mirrored:\n")
    print(
        "| image | curve | maps | median difference | largest | within 0.01 "
        "| ours off where PAIR is off, too |"
    )
    print("|---|---|---|---|---|---|---|")
    for kind, lines in by_kind.items():
        for metric in ("sic", "aic"):
            own = [x for x in lines if x.where.endswith(metric)]
            own = [x for x in own if np.isfinite([x.mirrored, x.theirs, x.ours]).all()]
            if not own:
                continue
            off = np.array([abs(x.mirrored - x.theirs) for x in own])
            ours = np.array([abs(x.ours - x.theirs) for x in own])
            both = int(((ours > 0.01) & (off > 0.001)).sum())
            print(
                f"| {kind} | {metric.upper()} | {len(own)} | {np.median(off):.5f} | "
                f"{off.max():.5f} | {(off <= 0.01).mean():.1%} | "
                f"{both} of {int((ours > 0.01).sum())} |"
            )


def main() -> None:
    """Print the table and what is off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--methods", default="core")
    parser.add_argument("--channels", default="0,3")
    parser.add_argument("--mirror", action="store_true")
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    from curves_speed import shim_numpy

    shim_numpy()
    model = mx.load_model("brain-tumor-mri", device="cpu")
    paths = sorted(a.folder.rglob("*.png"))
    paths = [p for p in paths if "masks" not in p.parts]
    step = max(1, len(paths) // a.slices)
    methods = saliency.resolve(a.methods)
    by_kind: dict[str, list[Line]] = {"grey": [], "RGB": []}
    oracle = Oracle(model)
    for path in paths[::step][: a.slices]:
        image = model.input(mx.load_study(path), None).image
        x = model.tensor(image[None])
        oracle.known.clear()
        target = int(oracle.one(image).argmax())
        shared = saliency.Shared()
        for method in methods:
            found = saliency.compute(
                method, model.module, x, torch.tensor([target]), shared=shared
            )
            values = found[0].numpy()
            for channels in map(int, a.channels.split(",")):
                shown = np.repeat(image[..., None], 3, axis=-1) if channels else image
                lines = compare(
                    f"{path.name} {method}",
                    shown,
                    values,
                    oracle,
                    target,
                    0.5,
                    mirror=a.mirror,
                )
                by_kind["RGB" if channels else "grey"] += lines
    print(
        "| image | curve | maps | with a curve in both | excluded alike | answered "
        "where PAIR crashes | median difference | largest | within 0.01 |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for kind, lines in by_kind.items():
        if lines:
            table(lines, kind)
    if a.mirror:
        mirror_table(by_kind)
    off = [
        (kind, line)
        for kind, lines in by_kind.items()
        for line in lines
        if abs(line.ours - line.theirs) > 0.01
    ]
    print(f"\nFurther off than 0.01: {len(off)}.")
    for kind, line in off:
        print(
            f"- {kind} {line.where}: {line.ours:.4f} and {line.theirs:.4f}; the "
            f"answers that differ are {line.margin:.4f} from a tie"
        )


if __name__ == "__main__":
    main()
