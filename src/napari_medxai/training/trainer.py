"""Train a classifier, calibrate it, measure it, and write its model folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_medxai.errors import UsageError
from napari_medxai.intensity import Intensity
from napari_medxai.models import Classifier, ModelCard, build, load_model
from napari_medxai.models.architectures import load_initial_weights, pretrained
from napari_medxai.preprocess import Preprocessing

from .checkpoint import Folder, check_same, data_digest
from .images import Images, read_images
from .loop import Labelled, Run
from .optimisation import class_weights
from .outcome import Part, write_outcome
from .samples import Sample, read_samples
from .settings import HUB, IMAGENET, TrainingSettings
from .splitting import (
    Split,
    refuse_shared_patients,
    refuse_shared_pixels,
    split,
)

__all__ = ["train"]

Progress = Callable[[int, int], None]


def train(
    data: Path,
    out: Path,
    settings: TrainingSettings,
    *,
    extra: Sequence[Path] = (),
    quiet: bool = False,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Classifier:
    """Train a classifier and write its model folder, with a report.

    Interrupted or killed, the same call continues from the last checkpoint; with
    ``settings.deterministic`` it ends with the same weights as one that was not. After
    its end it returns the model that is there.

    Parameters
    ----------
    data : Path
        See :func:`read_samples`. Selection set and test part are taken from here only.
    out : Path
        Model folder to write: ``model.json``, ``weights.safetensors``,
        ``predictions.csv``, ``evaluation.json``, ``history.csv``, ``training.json``,
        ``report.html`` and ``figures/``.
    settings : TrainingSettings
    extra : sequence of Path
        Further data folders, for training only (simulated cases, say).
    quiet : bool
        No progress bars and no lines.
    progress : callable, optional
        Called as ``progress(done, total)`` with images while reading, then with steps
        of training; may raise to cancel.
    cache : Path, optional
        A folder for network input images, which other trainings on the same data can
        use and which stays. Without it they lie in `out` while the training lasts.

    Returns
    -------
    Classifier
        The model as it was written, float16 weights included.

    Raises
    ------
    UsageError
        If the data cannot be split, leaks between the parts, or `out` holds something
        else.
    StudyError, ModelError, OutputError
        If an image cannot be read, the architecture does not fit, or a file cannot be
        written.
    """
    samples = read_samples(data)
    divided = split(
        samples,
        by=settings.split_by,
        validation=settings.validation,
        test=settings.test,
        folds=settings.folds,
        seed=settings.seed,
    )
    classes = tuple(sorted({s.label for s in samples}))
    parts = {**divided.parts()}
    for folder in extra:
        parts["training"] += tuple(read_samples(folder))
    _check_extra(parts, classes, divided)
    folder_ = Folder(out)
    fingerprint = _fingerprint(settings, parts)
    if _is_finished(folder_, fingerprint):
        if not quiet:
            print(f"{out}: already trained with these settings.", file=sys.stderr)
        return load_model(out, device=settings.device)
    spec = Preprocessing.from_json(
        {
            "size": settings.size,
            "channels": settings.channels,
            "intensity": Intensity().to_json(),
            "mean": (0.5,) * settings.channels,
            "std": (0.5,) * settings.channels,
            **settings.preprocessing,
        }
    )
    images = {
        name: read_images(
            part,
            spec,
            cache or folder_.images,
            quiet=quiet,
            name=f"reading, {name}",
            progress=progress,
        )
        for name, part in parts.items()
        if part
    }
    keep = refuse_shared_pixels(
        parts,
        {name: images[name].digests if part else () for name, part in parts.items()},
        drop=settings.drop_duplicates,
    )
    spec = _normalised(spec, settings, images["training"])
    card = ModelCard(
        architecture=settings.arch,
        classes=classes,
        preprocessing=spec,
        spatial_dims=settings.spatial_dims,
        extra=dict(settings.card),
    )
    labels = {
        name: np.array([classes.index(s.label) for s in part], dtype=np.int64)
        for name, part in parts.items()
    }
    run = Run(
        _network(settings, len(classes)),
        settings,
        card,
        folder_,
        fingerprint,
        class_weights(
            settings, [parts["training"][i].label for i in keep["training"]], classes
        ),
    )
    run.train(
        *(
            Labelled(images[name], labels[name], np.array(keep[name]))
            for name in ("training", "selection")
        ),
        quiet=quiet,
        progress=progress,
    )
    judged = [
        Part(name, parts[name], images[name], labels[name])
        for name in ("selection", "test")
        if parts[name]
    ]
    write_outcome(
        run,
        judged,
        divided,
        training=[parts["training"][i] for i in keep["training"]],
        dropped=len(parts["training"]) - len(keep["training"]),
    )
    shutil.rmtree(folder_.work, ignore_errors=True)
    return load_model(out, device=settings.device)


def _check_extra(
    parts: dict[str, tuple[Sample, ...]], classes: Sequence[str], divided: Split
) -> None:
    unknown = {s.label for s in parts["training"]} - set(classes)
    if unknown:
        raise UsageError(
            f"extra data has unknown classes: {', '.join(sorted(unknown))}."
        )
    if divided.by != "image":
        refuse_shared_patients(parts)


def _fingerprint(
    settings: TrainingSettings, parts: dict[str, tuple[Sample, ...]]
) -> dict[str, str]:
    found = {**settings.fingerprint(), "data": data_digest(parts)}
    if settings.deterministic:
        found["threads"] = str(torch.get_num_threads())
    return found


def _is_finished(folder: Folder, fingerprint: dict[str, str]) -> bool:
    """Whether the training stands there whole; make the folder ready where not."""
    record = folder.read_record()
    if not record:
        if (folder.out / "model.json").is_file():
            raise UsageError(
                f"{folder.out}: holds a model that was not trained there. Choose "
                "another output folder."
            )
        folder.write_record({"status": "running", "fingerprint": fingerprint})
        return False
    check_same(folder.out, record.get("fingerprint", {}), fingerprint)
    return bool(record.get("status") == "finished")


def _normalised(
    spec: Preprocessing, settings: TrainingSettings, images: Images
) -> Preprocessing:
    if settings.normalise == "imagenet":
        mean, std = IMAGENET[settings.channels]
        return replace(spec, mean=mean, std=std)
    if settings.normalise == "half":
        return spec
    counts = _histogram(images.pixels(), settings.channels)
    levels = np.arange(256) / 255
    total = counts.sum(axis=1)
    middle = counts @ levels / total
    spread = np.sqrt(np.maximum(counts @ levels**2 / total - middle**2, 1e-12))
    return replace(
        spec,
        mean=tuple(round(float(v), 6) for v in middle),
        std=tuple(round(float(v), 6) for v in spread),
    )


def _histogram(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.float64]:
    """How often each of the 256 values occurs, (channels, 256)."""
    counts = np.zeros((channels, 256))
    colour = channels == 3 and pixels.shape[-1] == 3
    for image in pixels:
        for c in range(channels):
            values = image[..., c] if colour else image
            counts[c] += np.bincount(values.ravel(), minlength=256)
    return counts


def _network(settings: TrainingSettings, classes: int) -> nn.Module:
    torch.manual_seed(settings.seed)
    start, volumes = settings.initial_weights, settings.spatial_dims == 3
    if start is not None and volumes:
        raise UsageError(
            "initial weights are for networks of images; train volumes from scratch."
        )
    if start == HUB:
        return pretrained(
            settings.arch,
            classes=classes,
            channels=settings.channels,
            size=settings.size,
        )
    network = build(
        settings.arch,
        classes=classes,
        channels=settings.channels,
        spatial_dims=settings.spatial_dims,
        size=settings.size,
    )
    if start is not None:
        load_initial_weights(network, settings.arch, Path(start))
    return network
