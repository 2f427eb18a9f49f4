"""After training: temperature, figures, tables, report and the model folder."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai.files import write_atomically
from napari_medxai.models import Classifier, ModelCard, load_model, write_folder
from napari_medxai.provenance import versions

from .calibration import (
    cross_fitted,
    fit_temperature,
    fold_temperature,
    with_temperature,
)
from .evaluation import Evaluation, evaluate, performance
from .images import Images
from .loop import Run
from .report import write_report
from .samples import Sample
from .splitting import Split
from .story import Story

__all__ = ["Part", "write_outcome"]

LEAST = 1e-300
RESEARCH = "For research use only; not a medical device, not for diagnosis."
TITLES = {"selection": "selection set", "test": "test part"}


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the data that the classifier is measured on.

    Attributes
    ----------
    name : str
        ``selection`` or ``test``.
    samples : tuple of Sample
    images : Images
    labels : ndarray of int, (N,)
    """

    name: str
    samples: tuple[Sample, ...]
    images: Images
    labels: NDArray[np.int64]

    @property
    def unit(self) -> str:
        """``patient`` where every image has one, else ``image``."""
        return "patient" if all(s.patient for s in self.samples) else "image"

    @property
    def units(self) -> list[str]:
        """Patient of each image, or its number."""
        if self.unit == "patient":
            return [str(s.patient) for s in self.samples]
        return [str(i) for i in range(len(self.samples))]


def write_outcome(
    run: Run,
    parts: Sequence[Part],
    divided: Split,
    *,
    training: Sequence[Sample],
    dropped: int,
) -> None:
    """Calibrate the kept network, measure it, and write everything.

    Parameters
    ----------
    run : Run
        Finished.
    parts : sequence of Part
        The selection set, and the test part where there is one.
    divided : Split
    training : sequence of Sample
        Who trained, extra data included.
    dropped : int
        Images left out of them because they also stand in another part.
    """
    settings, out = run.settings, run.folder.out
    temperature, model = _calibrated(run, parts[0])
    answers = {part.name: model.probabilities(part.images.pixels()) for part in parts}
    found = {
        part.name: _evaluated(
            part, answers[part.name], temperature, model.classes, settings.seed
        )
        for part in parts
    }
    write_atomically(
        out / "predictions.csv", _predictions(parts, answers, model.classes)
    )
    described = {
        part.name: _described(part, divided, kept=settings.keep) for part in parts
    }
    evaluation = {
        "temperature": temperature,
        **{
            name: {"data": described[name], **one.to_json()}
            for name, one in found.items()
        },
        "versions": versions(),
    }
    _write_json(out / "evaluation.json", evaluation)
    card = _card(run.card, found, described, temperature, training, divided)
    counts = {
        "training": Counter(s.label for s in training),
        **{part.name: Counter(s.label for s in part.samples) for part in parts},
    }
    write_report(
        out,
        Story(
            settings=settings,
            card=card,
            split=divided,
            counts=counts,
            dropped=dropped,
            history=tuple(run.history),
            kept_epoch=run.kept_epoch,
            seconds=run.seconds,
            device=str(run.device),
            temperature=temperature,
            described=described,
            found=found,
            versions=versions(),
        ),
    )
    write_folder(out, model.module, card)
    run.folder.write_record(
        {
            "status": "finished",
            "fingerprint": run.fingerprint,
            "settings": settings.to_json(),
            "kept_epoch": run.kept_epoch,
            "epochs": run.epoch,
            "seconds": round(run.seconds, 1),
            "device": str(run.device),
            "images": {name: dict(sorted(n.items())) for name, n in counts.items()},
            "left_out": dropped,
            "split": divided.words,
            "versions": versions(),
        }
    )


def _calibrated(run: Run, selection: Part) -> tuple[float | None, Classifier]:
    """Fold the temperature into the kept network, and return it as it is stored."""
    network = run.kept_network()
    model = Classifier(
        network,
        run.card,
        name=run.folder.out.name,
        digest="",
        device=str(run.device),
        batch_size=run.settings.batch_size,
    )
    logits = _logarithms(model.probabilities(selection.images.pixels()))
    temperature: float | None = fit_temperature(logits, selection.labels)
    example = model.tensor(selection.images.pixels()[:2])
    if not fold_temperature(model.module, float(temperature or 1), example):
        temperature = None
    stored = run.folder.work / "model"
    write_folder(stored, model.module, run.card)
    return temperature, load_model(
        stored, device=str(run.device), batch_size=run.settings.batch_size
    )


def _logarithms(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-probabilities, which are logits but for a constant."""
    result: NDArray[np.float64] = np.log(np.maximum(probabilities, LEAST))
    return result


def _evaluated(
    part: Part,
    answers: NDArray[np.float64],
    temperature: float | None,
    classes: Sequence[str],
    seed: int,
) -> Evaluation:
    """Measure a part; the selection set's own temperatures are cross-fitted."""
    before, after = answers, answers
    if temperature is not None:
        raw = _logarithms(answers) * temperature
        before = with_temperature(raw, 1.0)
        if part.name == "selection":
            after = cross_fitted(raw, part.labels, part.units, seed=seed)
    return evaluate(
        answers,
        part.labels,
        classes,
        part.units,
        unit=part.unit,
        before=before,
        after=after,
        seed=seed,
    )


def _described(part: Part, divided: Split, *, kept: str) -> str:
    folds = divided.validation_folds if part.name == "selection" else divided.test_folds
    where = f"fold {', '.join(folds)} of the training data"
    if part.name == "test":
        return f"{where}: the test part, which nothing was chosen on"
    chose = "the epoch and " if kept == "best" else ""
    return (
        f"{where}: the selection set, which chose {chose}the temperature; not an "
        "independent test"
    )


def _card(
    card: ModelCard,
    found: dict[str, Evaluation],
    described: dict[str, str],
    temperature: float | None,
    training: Sequence[Sample],
    divided: Split,
) -> ModelCard:
    by_class = ", ".join(
        f"{label} {n}"
        for label, n in sorted(Counter(s.label for s in training).items())
    )
    extra: dict[str, Any] = {
        "training_data": f"{len(training)} images ({by_class}), split {divided.words}.",
        "intended_use": RESEARCH,
        **card.extra,
        "temperature": None if temperature is None else round(temperature, 4),
        "performance": {
            "data": described["selection"],
            **performance(found["selection"]),
        },
    }
    if "test" in found:
        extra["test_performance"] = {
            "data": described["test"],
            **performance(found["test"]),
        }
    return replace(card, extra=extra)


def _predictions(
    parts: Sequence[Part],
    answers: dict[str, NDArray[np.float64]],
    classes: Sequence[str],
) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", "fold", "patient", "part", *classes])
    for part in parts:
        for sample, row in zip(part.samples, answers[part.name], strict=True):
            writer.writerow(
                [
                    sample.name or sample.path.name,
                    sample.label,
                    sample.fold,
                    sample.patient or "",
                    part.name,
                    *(f"{p:.9g}" for p in row),
                ]
            )
    return text.getvalue().encode()


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, text.encode())
