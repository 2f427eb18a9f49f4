"""Network input images on disk, computed once and read as they are needed.

All images of a part lie in one ``.npy`` file that is mapped into memory, so that a data
set may be larger than the memory, and training starts at once when it continues.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from napari_medxai.errors import StudyError
from napari_medxai.files import output_errors, write_atomically
from napari_medxai.preprocess import Preprocessing

from .samples import Sample

__all__ = ["Images", "read_images"]

VERSION = 1  # rises where the same files give other images


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a part.

    Attributes
    ----------
    path : Path
        ``.npy`` file of uint8, (N, H, W[, C]) or (N, D, H, W).
    digests : tuple of str
        Hash of each image.
    """

    path: Path
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.digests)

    def pixels(self) -> NDArray[np.uint8]:
        """Map the images into memory; what is written there never reaches the file."""
        mapped: NDArray[np.uint8] = np.load(self.path, mmap_mode="c")
        return mapped


def read_images(
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    folder: Path,
    *,
    quiet: bool = False,
    name: str = "reading",
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Compute the network input images of all samples, as inspection computes them.

    Parameters
    ----------
    samples : sequence of Sample
    preprocessing : Preprocessing
    folder : Path
        Where they are kept. Files of the same samples under the same preprocessing
        are used again.
    quiet : bool
        No progress bar.
    name : str
        What the progress bar says.
    progress : callable, optional
        Called as ``progress(done, total)``; may raise to cancel.

    Returns
    -------
    Images

    Raises
    ------
    StudyError
        If a file cannot be read, or some images are grey and others in colour.
    """
    key = _key(samples, preprocessing)
    path, facts = folder / f"{key}.npy", folder / f"{key}.json"
    if path.is_file() and facts.is_file():
        return Images(path, tuple(json.loads(facts.read_text())))
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{key}.partial"
    digests: list[str] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many small operations: waking threads costs more
    array: NDArray[np.uint8] | None = None
    try:
        for i, sample in enumerate(
            tqdm(samples, desc=name, unit="image", disable=quiet, mininterval=1)
        ):
            image = _image(sample, preprocessing)
            if array is None:
                with output_errors(partial):
                    array = np.lib.format.open_memmap(
                        partial,
                        mode="w+",
                        dtype=np.uint8,
                        shape=(len(samples), *image.shape),
                    )
            if image.shape != array.shape[1:]:
                raise StudyError(
                    f"{sample.name}: its image has the shape {image.shape}, those "
                    f"before it {array.shape[1:]}: grey and colour mixed? Use one "
                    "channel."
                )
            array[i] = image
            digests.append(hashlib.sha256(image.tobytes()).hexdigest())
            if progress is not None:
                progress(i + 1, len(samples))
        if isinstance(array, np.memmap):
            array.flush()
        del array
        with output_errors(path):
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        torch.set_num_threads(threads)
    write_atomically(facts, json.dumps(digests).encode())
    return Images(path, tuple(digests))


def _image(sample: Sample, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    study = sample.load()
    if study.is_volume and not preprocessing.volumetric:
        if study.slices > 1:
            raise StudyError(
                f"{sample.name}: a volume, and the network takes images. For volumes "
                "give three numbers, as in --size 96 96 96."
            )
        return preprocessing.apply(study, 0).image
    if preprocessing.volumetric and not study.is_volume:
        raise StudyError(
            f"{sample.name}: an image, and the network takes volumes. For images give "
            "two numbers, as in --size 224 224."
        )
    return preprocessing.apply(study).image


def _key(samples: Sequence[Sample], preprocessing: Preprocessing) -> str:
    """Hash of the files (path, size and time of change) and of what is made of them."""
    said = preprocessing.to_json()
    parts: list[Any] = [
        VERSION,
        {k: v for k, v in said.items() if k not in ("mean", "std")},
    ]
    for sample in samples:
        for path in _files(sample):
            stat = path.stat()
            parts.append((str(path.resolve()), stat.st_size, stat.st_mtime_ns))
        parts.append(None)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _files(sample: Sample) -> Sequence[Path]:
    if sample.case is not None and sample.case.files:
        return sample.case.files
    if sample.path.is_dir():
        return sorted(path for path in sample.path.rglob("*") if path.is_file())
    return (sample.path,)
