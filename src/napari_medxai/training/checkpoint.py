"""What a training needs to go on: files that are whole or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from napari_medxai.errors import UsageError
from napari_medxai.files import write_atomically

from .samples import Sample

__all__ = ["Folder", "check_same", "data_digest"]

RECORD = "training.json"
WORK = ".training"


class Folder:
    """Files of a training within its output folder.

    Parameters
    ----------
    out : Path
        The model folder. What is needed only while training lies in ``.training``.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.work = out / WORK
        self.images = self.work / "images"
        self.checkpoint = self.work / "checkpoint.pt"
        self.kept = self.work / "kept.pt"
        self.record = out / RECORD

    def read_record(self) -> dict[str, Any]:
        """Return what ``training.json`` says; {} where there is none."""
        if not self.record.is_file():
            return {}
        try:
            found: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise UsageError(
                f"{self.record}: not valid JSON ({error}); delete it or choose another "
                "output folder."
            ) from error
        return found

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write ``training.json``."""
        text = json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n"
        write_atomically(self.record, text.encode())

    def save(self, path: Path, state: Mapping[str, Any]) -> None:
        """Write tensors and plain values."""
        write_atomically(path, lambda file: torch.save(dict(state), file))

    def load(self, path: Path, device: torch.device) -> dict[str, Any] | None:
        """Read what :meth:`save` wrote; None where there is none."""
        if not path.is_file():
            return None
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        return state


def data_digest(parts: Mapping[str, Sequence[Sample]]) -> str:
    """Hash of names, labels, folds, patients and sizes of all samples."""
    said = [
        [
            name,
            [(s.name, s.label, s.fold, s.patient, _size(s.path)) for s in samples],
        ]
        for name, samples in parts.items()
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def check_same(out: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse to go on with other settings or data.

    Raises
    ------
    UsageError
        It names what is different.
    """
    different = sorted(
        f"{key} {before.get(key, 'unset')} before, {now.get(key, 'unset')} now"
        for key in {*before, *now}
        if before.get(key) != now.get(key)
    )
    if different:
        raise UsageError(
            f"{out}: made with other settings ({'; '.join(different)}). Choose another "
            "output folder, or delete this one."
        )
