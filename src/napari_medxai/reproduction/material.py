"""The images: who trains, who is judged, who is explained."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_medxai.files import write_atomically
from napari_medxai.intensity import Intensity
from napari_medxai.io.formats import kind_of
from napari_medxai.preprocess import Preprocessing
from napari_medxai.training import (
    Sample,
    Split,
    TrainingSettings,
    read_samples,
    split,
)
from napari_medxai.training.images import Images, read_images
from napari_medxai.training.splitting import refuse_shared_pixels

from . import published
from .options import ReproductionOptions

__all__ = [
    "Material",
    "draw",
    "material",
    "network_images",
    "network_input",
    "write_cases",
]

QUICK_TRAINING, QUICK_JUDGED = 16, 8  # images of a class in a quick run
QUICK_DATA = "data"


@dataclass(frozen=True, eq=False)
class Material:
    """The data of a reproduction.

    Attributes
    ----------
    folder : Path
        What training reads: the user's data, or the few of ``--quick``.
    split : Split
    by : str
        What the user's folds keep together: ``fold``, ``patient`` or ``image``.
    split_by : str
        How training is to split `folder`.
    validation, test : tuple of str
        Folds, likewise.
    words : str
        How the user's data was split.
    classes : tuple of str
    n_available : int
        Images of the user's data.
    dataset : str
        Which of the paper's data sets has these classes, or "".
    """

    folder: Path
    split: Split
    by: str
    split_by: str
    validation: tuple[str, ...]
    test: tuple[str, ...]
    words: str
    classes: tuple[str, ...]
    n_available: int
    dataset: str

    @property
    def part(self) -> str:
        """``test`` where there is a test part, else ``selection``."""
        return "test" if self.split.test else "selection"

    @property
    def title(self) -> str:
        """What the judged part is called."""
        return "test part" if self.split.test else "selection set"

    @property
    def judged(self) -> tuple[Sample, ...]:
        """Images that figures come from, and that can be explained."""
        return self.split.test or self.split.selection

    @property
    def masks(self) -> str:
        """Where the batch looks for masks that no table names.

        Cheng's files and DICOM hold their own. Other files beside an image can be
        outlines of organs, as in the COVID-19 Radiography Database.
        """
        own = {"matlab", "dicom"}
        held = any(s.path.is_dir() or kind_of(s.path) in own for s in self.judged)
        return "auto" if held else "none"


def material(options: ReproductionOptions, work: Path) -> Material:
    """Read what a data folder holds and split it.

    Parameters
    ----------
    options : ReproductionOptions
    work : Path
        Where the table of a quick run is written.

    Raises
    ------
    UsageError, StudyError
        If the data cannot be read or split.
    """
    samples = read_samples(options.data)
    divided = split(
        samples,
        by=options.split_by,
        validation=options.validation,
        test=options.test,
        folds=options.folds,
        seed=options.seed,
    )
    classes = tuple(sorted({s.label for s in samples}))
    found = Material(
        folder=options.data,
        split=divided,
        by=divided.by,
        split_by=divided.by,
        validation=options.validation,
        test=options.test,
        words=divided.words,
        classes=classes,
        n_available=len(samples),
        dataset=published.dataset_of(classes),
    )
    return _few(found, work / QUICK_DATA, options.seed) if options.quick else found


def _few(found: Material, folder: Path, seed: int) -> Material:
    """Take some images of each class and part, in the parts that they were in."""
    parts = {
        name: draw(
            part,
            (QUICK_TRAINING if name == "training" else QUICK_JUDGED)
            * len(found.classes),
            seed,
        )
        for name, part in found.split.parts().items()
    }
    by_image = found.by == "image"
    rows = [
        {
            "file": _relative(_file(sample), folder),
            "label": sample.label,
            "fold": name,
            # "image" was said by a user who knows that patients are shared
            "patient": "" if by_image else sample.patient or "",
            "mask": _relative(sample.mask, folder) if sample.mask else "",
        }
        for name, part in parts.items()
        for sample in part
    ]
    _write(folder / "labels.csv", ("file", "label", "fold", "patient", "mask"), rows)
    test = ("test",) if parts["test"] else ()
    chosen = split(
        read_samples(folder), by="fold", validation=("selection",), test=test
    )
    return replace(
        found,
        folder=folder,
        split=chosen,
        split_by="fold",
        validation=("selection",),
        test=test,
    )


def draw(samples: Sequence[Sample], count: int | None, seed: int) -> list[Sample]:
    """Draw samples, the classes in turn, in the order that they stand in.

    Parameters
    ----------
    samples : sequence of Sample
    count : int or None
        All where None, or where there are no more.
    seed : int
        A larger draw with the same seed holds the smaller one.
    """
    if count is None or count >= len(samples):
        return list(samples)
    queues = []
    for number, label in enumerate(sorted({s.label for s in samples})):
        own = [i for i, sample in enumerate(samples) if sample.label == label]
        order = np.random.default_rng([seed, number]).permutation(len(own))
        queues.append([own[i] for i in order])
    longest = max(len(queue) for queue in queues)
    in_turn = [q[k] for k in range(longest) for q in queues if k < len(q)]
    return [samples[i] for i in sorted(in_turn[:count])]


def network_input(settings: TrainingSettings) -> Preprocessing:
    """Return how a file becomes a network input image, before it is normalised."""
    return Preprocessing.from_json(
        {
            "size": settings.size,
            "channels": settings.channels,
            "intensity": Intensity().to_json(),
            "mean": (0.5,) * settings.channels,
            "std": (0.5,) * settings.channels,
            **settings.preprocessing,
        }
    )


def network_images(
    found: Material, settings: TrainingSettings, cache: Path, *, quiet: bool
) -> dict[str, Images]:
    """Make the images as the networks see them, and refuse those on both sides.

    Training finds them in `cache`; done here, a leak is told before the hours start.

    Raises
    ------
    UsageError
        If the same pixels stand in two parts.
    StudyError
        If a file cannot be read.
    """
    spec = network_input(settings)
    parts = {name: part for name, part in found.split.parts().items() if part}
    images = {
        name: read_images(part, spec, cache, quiet=quiet, name=f"reading, {name}")
        for name, part in parts.items()
    }
    refuse_shared_pixels(
        parts,
        {name: one.digests for name, one in images.items()},
        drop=settings.drop_duplicates,
    )
    return images


def write_cases(path: Path, samples: Sequence[Sample]) -> Path:
    """Write images as a table for the batch."""
    rows = [
        {
            "image": str(_file(sample).resolve()),
            "mask": str(sample.mask.resolve()) if sample.mask else "",
            "label": sample.label,
            "patient": sample.patient or "",
        }
        for sample in samples
    ]
    _write(path, ("image", "mask", "label", "patient"), rows)
    return path


def _file(sample: Sample) -> Path:
    """One file where there is one: its folder can hold other series."""
    files = sample.case.files if sample.case is not None else ()
    return files[0] if len(files) == 1 else sample.path


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _write(path: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
