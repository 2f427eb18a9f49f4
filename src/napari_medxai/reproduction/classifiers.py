"""Each architecture trained, and what came out of it."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from napari_medxai.errors import Cancelled, MedXAIError, OutputError
from napari_medxai.training import train

from .material import Material
from .options import ReproductionOptions

__all__ = ["EVALUATION", "MODELS", "RECORD", "Trained", "best_of", "safe", "train_all"]

MODELS = "models"
EVALUATION, RECORD = "evaluation.json", "training.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained classifier, or why there is none.

    Attributes
    ----------
    architecture : str
    folder : Path
        Its model folder.
    evaluation : dict
        ``evaluation.json``; {} where it failed.
    record : dict
        ``training.json``, likewise.
    reason : str
        Why it failed.
    """

    architecture: str
    folder: Path
    evaluation: dict[str, Any]
    record: dict[str, Any]
    reason: str = ""

    def figure(self, name: str, part: str) -> dict[str, float | None]:
        """Value and interval of a figure of a part, as ``evaluation.json`` has them."""
        found: dict[str, float | None] = self.evaluation[part][name]
        return found


def train_all(
    options: ReproductionOptions,
    material: Material,
    cache: Path,
    *,
    quiet: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Trained]:
    """Train the architectures one after the other; one that fails costs itself only.

    Parameters
    ----------
    options : ReproductionOptions
    material : Material
    cache : Path
        Where the network input images are.
    quiet : bool
        No bars and no lines.
    progress : callable, optional
        Called as ``progress(architecture, done, total)``; may raise to cancel.

    Raises
    ------
    OutputError, Cancelled
        These end the run; what is finished stays.
    """
    found = []
    for number, name in enumerate(options.architectures, start=1):
        if not quiet:
            print(
                f"Training {name} ({number} of {len(options.architectures)})",
                file=sys.stderr,
            )
        found.append(_one(options, material, name, cache, quiet, progress))
        if found[-1].reason and not quiet:
            print(f"{name} failed: {found[-1].reason}", file=sys.stderr)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return found


def _one(
    options: ReproductionOptions,
    material: Material,
    name: str,
    cache: Path,
    quiet: bool,
    progress: Callable[[str, int, int], None] | None,
) -> Trained:
    folder = options.out / MODELS / safe(name)
    try:
        train(
            material.folder,
            folder,
            options.settings(
                name,
                split_by=material.split_by,
                validation=material.validation,
                test=material.test,
            ),
            quiet=quiet,
            progress=None if progress is None else lambda i, n: progress(name, i, n),
            cache=cache,
        )
    except (Cancelled, OutputError):
        raise
    except Exception as error:  # noqa: BLE001 - it costs this architecture, not the others
        said = str(error).strip() or "no reason given"
        kind = "" if isinstance(error, MedXAIError) else f"{type(error).__name__}: "
        reason = f"{kind}{said.splitlines()[0]}"
        return Trained(
            architecture=name, folder=folder, evaluation={}, record={}, reason=reason
        )
    return Trained(
        architecture=name,
        folder=folder,
        evaluation=_json(folder / EVALUATION),
        record=_json(folder / RECORD),
    )


def safe(name: str) -> str:
    """Turn an architecture's name into that of a folder."""
    return "".join(c if c.isalnum() or c in "_.-" else "-" for c in name)


def best_of(found: Sequence[Trained]) -> Trained | None:
    """Return the one with the best macro F1 on the selection set, the first of equals.

    Not on the test part: what is reported of that would no longer be a test.
    """
    whole = [one for one in found if not one.reason]
    if not whole:
        return None
    return max(whole, key=lambda one: one.figure("macro_f1", "selection")["value"] or 0)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
