"""Ours against PAIR `saliency` and `grad-cam`: time and peak memory.

Usage: ``python benchmarks/methods.py [--networks a,b] [--repeat N] [--only TEXT]``.

Same network, image and parameters; each line is measured in a process of its own, ours
and the peer's by turns, so that the peaks of memory are theirs alone. The peer gets
frozen weights, as ours does: without them it would compute gradients that nobody asked
for. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import napari_medxai as mx
from napari_medxai import saliency
from napari_medxai.saliency.segments import label_images
from napari_medxai.samples import samples

NETWORKS = ("brain-tumor-mri", "densenet121")
CAMS = ("gradcam", "gradcam_pp", "scorecam")
EIGHT = ("vanilla_gradient", "smoothgrad", "integrated_gradients", "guided_ig")
EIGHT += ("xrai", *CAMS)
SIZE = 224
PEER_SCORECAM_BATCH = 16
LONG = 8.0


@dataclass(frozen=True)
class Line:
    """One comparison: a method, how many images, which options of ours.

    `told` says that a CAM is told its layer, as the peer is.
    """

    title: str
    method: str
    images: int = 1
    options: tuple[tuple[str, object], ...] = ()
    goal: float | None = None
    passes: str = ""
    told: bool = True


LINES = (
    Line("vanilla gradient", "vanilla_gradient", passes="1 b"),
    Line("SmoothGrad", "smoothgrad", goal=1.3, passes="25 b"),
    Line("integrated gradients", "integrated_gradients", goal=1.3, passes="25 b"),
    Line("guided IG", "guided_ig", passes="200 b1"),
    Line(
        "guided IG, 8 images, 50 steps",
        "guided_ig",
        images=8,
        options=(("steps", 50),),
        goal=2.0,
        passes="400 b",
    ),
    Line("XRAI", "xrai", passes="200 b"),
    Line("XRAI without its gradients", "xrai_ranking", goal=4.0, passes="1 segments"),
    Line("Grad-CAM", "gradcam", passes="1 b1"),
    Line("Grad-CAM, which finds its layer", "gradcam", told=False, passes="1 b1"),
    Line("Grad-CAM++", "gradcam_pp", passes="1 b1"),
    Line("Score-CAM", "scorecam", goal=1.5, passes="live f"),
    Line("Score-CAM, bf16", "scorecam", options=(("precision", "bf16"),), goal=3.0),
    Line(
        "Score-CAM, the peer's batch of 16",
        "scorecam",
        options=(("batch_size", PEER_SCORECAM_BATCH),),
    ),
    Line(
        "IG, the peer's batch of 1",
        "integrated_gradients",
        options=(("batch_size", 1),),
    ),
    Line("the eight together", "eight", goal=1.8),
)


def load(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Return a network with frozen weights and eight images in its units."""
    torch.manual_seed(0)
    bundled = mx.load_model("brain-tumor-mri")
    slices = sorted(samples()["png"].glob("images/*.png"))[:8]
    images = np.stack([bundled.input(mx.load_study(path)).image for path in slices])
    x = bundled.tensor(images)
    if name == bundled.name:
        module = bundled.module
    else:
        import timm

        module = timm.create_model(name, pretrained=False, num_classes=3).eval()
        x = x.repeat(1, 3, 1, 1)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module, x.contiguous()


def ours(line: Line, module: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """Return our computation of a line."""
    options = dict(line.options)
    x = x[: line.images]
    target = torch.zeros(len(x), dtype=torch.long)
    if line.method == "eight":

        def together() -> None:
            shared = saliency.Shared()
            for name in EIGHT:
                saliency.compute(name, module, x, target, shared=shared)

        return together
    if line.method == "xrai_ranking":
        attribution = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        return lambda: saliency.compute(
            "xrai", module, x, target, attribution=attribution
        )
    if line.told and line.method in CAMS:  # as the peer is
        options["target_layer"] = saliency.find_target_layer(module, x)
    return lambda: saliency.compute(line.method, module, x, target, **options)


def peer(line: Line, module: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """Return the reference package's computation of a line."""
    if line.method == "eight":
        each = [peer(Line("", name), module, x) for name in EIGHT]
        return lambda: [work() for work in each]
    options = {name: value for name, value in line.options if name == "steps"}
    if line.method in CAMS:
        return peer_cam(line.method, module, x[: line.images])
    return peer_pair(line.method, module, x[: line.images], options)


def peer_cam(method: str, module: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """Return a class activation map of grad-cam."""
    import pytorch_grad_cam as library
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kinds = {
        "gradcam": library.GradCAM,
        "gradcam_pp": library.GradCAMPlusPlus,
        "scorecam": library.ScoreCAM,
    }
    layer = module.get_submodule(saliency.find_target_layer(module, x))

    x = x.clone().requires_grad_(True)  # with frozen weights it needs a graph

    def work() -> None:
        with kinds[method](model=module, target_layers=[layer]) as cam:
            cam.batch_size = PEER_SCORECAM_BATCH
            cam(x, targets=[ClassifierOutputTarget(0)] * len(x))

    return work


def peer_pair(
    method: str, module: nn.Module, x: torch.Tensor, options: dict[str, object]
) -> Callable[[], object]:
    """Return a method of PAIR, image by image as it takes them."""
    shim_numpy()
    from saliency import core

    def call(
        batch: np.ndarray, call_model_args: object = None, expected_keys: object = None
    ) -> dict[str, np.ndarray]:
        leaf = torch.from_numpy(np.moveaxis(np.asarray(batch, np.float32), -1, 1))
        leaf = leaf.contiguous().requires_grad_(True)
        value = module(leaf)[:, 0].sum()
        (gradient,) = torch.autograd.grad(value, leaf)
        return {core.INPUT_OUTPUT_GRADIENTS: np.moveaxis(gradient.numpy(), 1, -1)}

    pictures = [np.moveaxis(image.numpy(), 0, -1) for image in x]
    rng = np.random.default_rng(1)
    attribution = rng.normal(size=pictures[0].shape)
    steps = {"x_steps": options["steps"]} if options else {}
    kinds: dict[str, Callable[[np.ndarray], object]] = {
        "vanilla_gradient": lambda p: core.GradientSaliency().GetMask(p, call),
        "smoothgrad": lambda p: core.GradientSaliency().GetSmoothedMask(p, call),
        "integrated_gradients": lambda p: core.IntegratedGradients().GetMask(p, call),
        "guided_ig": lambda p: core.GuidedIG().GetMask(p, call, **steps),
        "xrai": lambda p: core.XRAI().GetMask(p, call),
        "xrai_ranking": lambda p: core.XRAI().GetMask(
            p, call, base_attribution=attribution
        ),
    }
    return lambda: [kinds[method](picture) for picture in pictures]


def shim_numpy() -> None:
    """Give PAIR 0.2.1 the argument that NumPy 2.4 has removed."""
    quantile = np.quantile

    def with_interpolation(*args: object, **kwargs: object) -> object:
        if "interpolation" in kwargs:
            kwargs["method"] = kwargs.pop("interpolation")
        return quantile(*args, **kwargs)

    np.quantile = with_interpolation


def child(network: str, index: int, side: str, repeat: int) -> None:
    """Measure one side of one line and print it as JSON."""
    warnings.simplefilter("ignore")
    module, x = load(network)
    saliency.methods()  # loads the code, as `peer` does the packages'
    line = LINES[index]
    work = (ours if side == "ours" else peer)(line, module, x)
    with torch.inference_mode():
        module(x[:1])
    before = peak(afresh=True)
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
        if times[-1] > LONG:
            break  # warming up is nothing beside it
    print(json.dumps({"seconds": min(times), "memory": peak() - before}))


def peak(*, afresh: bool = False) -> float:
    """Peak resident memory in MiB: since the last call `afresh`, where that is known.

    `getrusage` would give the peak of the process that started this one, too.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kilobytes / (2**20 if platform.system() == "Darwin" else 1024)
    if afresh:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return float(lines["VmHWM"].split()[0]) / 1024


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def passes(network: str) -> dict[str, float]:
    """Fastest measured pass an image, and the channels that Score-CAM must score."""
    module, x = load(network)
    result = {"f": np.inf, "b": np.inf}
    for count in (1, 2, 4, 8, 16):
        batch = x[:1].repeat(count, 1, 1, 1)
        batch = batch.contiguous(memory_format=torch.channels_last)

        def forward(batch: torch.Tensor = batch) -> None:
            with torch.inference_mode():
                module(batch)

        def backward(batch: torch.Tensor = batch) -> None:
            leaf = batch.clone().requires_grad_()
            torch.autograd.grad(module(leaf)[:, 0].sum(), leaf)

        for key, work in (("f", forward), ("b", backward)):
            work()
            start = [time.perf_counter() for _ in range(4) if work() is None]
            gaps = np.diff([*start, time.perf_counter()])[:-1]
            result[key] = min(result[key], float(gaps.min()) / count)
            if count == 1 and key == "b":
                result["b1"] = float(gaps.min())
    image = x[0].numpy()
    result["segments"] = min(timed(lambda: label_images(image)) for _ in range(3))
    seen = []
    name = saliency.find_target_layer(module, x)
    handle = module.get_submodule(name).register_forward_hook(
        lambda _, __, output: seen.append(output.detach()[0].flatten(1))
    )
    with torch.inference_mode():
        module(x[:1])
    handle.remove()
    maps = seen[-1]
    result["live"] = len(torch.unique(maps[maps.amax(1) > maps.amin(1)], dim=0))
    result["channels"] = len(maps)
    return result


def limit(line: Line, costs: dict[str, float]) -> float | None:
    """Seconds of the passes that cannot be avoided, at the fastest measured pass."""
    if not line.passes:
        return None
    count, kind = line.passes.split()
    return (costs["live"] if count == "live" else float(count)) * costs[kind]


def measured(network: str, index: int, side: str, repeat: int) -> dict[str, float]:
    """Run one side of one line in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--child",
        f"{network},{index},{side},{repeat}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(network: str, repeat: int, only: str) -> None:
    """Print the table of one network."""
    costs = passes(network)
    print(f"\n## {network}, {SIZE}×{SIZE}\n")
    print(
        f"Fastest pass an image: forward {costs['f'] * 1e3:.1f} ms, forward and "
        f"backward {costs['b'] * 1e3:.1f} ms (batch of 1: {costs['b1'] * 1e3:.1f} ms). "
        f"The six segmentations of XRAI one by one: {costs['segments'] * 1e3:.0f} ms. "
        f"{costs['live']:.0f} of {costs['channels']:.0f} channels of the target layer "
        "differ and are not constant.\n"
    )
    print("| | ours, s | peer, s | ratio | goal | limit | ours, MiB | peer, MiB |")
    print("|---|---|---|---|---|---|---|---|")
    peers: dict[object, list[dict[str, float]]] = {}
    for index, line in enumerate(LINES):
        if only and only not in line.title:
            continue
        a = [measured(network, index, "ours", 2) for _ in range(repeat)]
        # What is an option of ours alone is compared with the peer as it is.
        alike = (line.method, line.images)
        if alike not in peers:
            peers[alike] = [measured(network, index, "peer", 2) for _ in range(repeat)]
        b = peers[alike]
        mine = statistics.median(one["seconds"] for one in a)
        theirs = statistics.median(one["seconds"] for one in b)
        least = limit(line, costs)
        print(
            f"| {line.title} | {mine:.3f} | {theirs:.3f} | {theirs / mine:.1f} "
            f"| {line.goal or ''} | {f'{theirs / least:.1f}' if least else ''} "
            f"| {max(one['memory'] for one in a):.0f} "
            f"| {max(one['memory'] for one in b):.0f} |",
            flush=True,
        )


def main() -> None:
    """Print all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--only", default="", help="lines with this in their title")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        network, index, side, repeat = a.child.split(",")
        child(network, int(index), side, int(repeat))
        return
    print(f"# {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    for network in a.networks.split(","):
        compare(network, a.repeat, a.only)


if __name__ == "__main__":
    main()
