"""Labelled images for training: ``labels.csv`` with file, label and fold."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from napari_medxai.errors import StudyError, UsageError
from napari_medxai.io import load_study
from napari_medxai.preprocess import Preprocessing

__all__ = ["Sample", "load_images", "read_samples", "split"]


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes
    ----------
    path : Path
    label : str
    fold : str
        "" where the table has no folds.
    """

    path: Path
    label: str
    fold: str


def read_samples(data: Path) -> list[Sample]:
    """Read ``labels.csv`` of a data folder.

    Parameters
    ----------
    data : Path
        Holds ``labels.csv`` with the columns file, label and optionally fold; the
        files lie in ``images/`` or beside the table.

    Returns
    -------
    list of Sample

    Raises
    ------
    UsageError
        If the table or a file is missing.
    """
    table = data / "labels.csv"
    if not table.is_file():
        raise UsageError(f"{data}: no labels.csv with the columns file, label, fold.")
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        absent = {"file", "label"} - set(reader.fieldnames or ())
        if absent:
            raise UsageError(f"{table}: column {', '.join(sorted(absent))} missing.")
        rows = list(reader)
    samples = []
    for row in rows:
        candidates = (data / "images" / row["file"], data / row["file"])
        path = next((p for p in candidates if p.is_file()), None)
        if path is None:
            raise UsageError(f"{table}: {row['file']} is not in {data}.")
        samples.append(Sample(path, row["label"], row.get("fold") or ""))
    if not samples:
        raise UsageError(f"{table}: no rows.")
    return samples


def split(
    samples: Sequence[Sample], validation: Sequence[str]
) -> tuple[list[Sample], list[Sample]]:
    """Split by fold; every class must stand on both sides.

    Raises
    ------
    UsageError
        If a fold does not exist or a class is missing on one side.
    """
    folds = {s.fold for s in samples}
    unknown = set(validation) - folds
    if unknown or not validation:
        raise UsageError(
            f"validation fold {', '.join(sorted(unknown)) or '(none)'} does not "
            f"exist; the data has {', '.join(sorted(f or '(empty)' for f in folds))}."
        )
    held = [s for s in samples if s.fold in validation]
    rest = [s for s in samples if s.fold not in validation]
    for name, part in (("training", rest), ("validation", held)):
        missing = {s.label for s in samples} - set(Counter(s.label for s in part))
        if missing:
            raise UsageError(f"no {', '.join(sorted(missing))} in the {name} folds.")
    return rest, held


def load_images(
    samples: Sequence[Sample], preprocessing: Preprocessing, *, quiet: bool = False
) -> NDArray[np.uint8]:
    """Network input images of all samples, exactly as inspection computes them.

    Returns
    -------
    ndarray of uint8, shape (N, H, W[, C])
    """
    images = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many small operations: waking threads costs more
    try:
        for sample in tqdm(samples, desc="reading", unit="image", disable=quiet):
            study = load_study(sample.path, masks="none")
            if study.is_volume:
                raise StudyError(f"{sample.path}: a volume; this trains on images.")
            images.append(preprocessing.apply(study).image)
    finally:
        torch.set_num_threads(threads)
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise StudyError(
            f"images of {len(shapes)} different shapes {sorted(shapes)}: grey and "
            "colour mixed? Use channels=1."
        )
    return np.stack(images)
