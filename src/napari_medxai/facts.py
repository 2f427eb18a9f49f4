"""What a run says of itself: in the report, and in ``run.json``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import report, saliency
from .models import Classifier
from .options import BatchOptions
from .provenance import versions
from .samples import sample_path
from .settings import Settings

__all__ = ["reader_notes", "run_facts", "run_json"]


def run_facts(
    options: BatchOptions,
    model: Classifier,
    settings: Settings,
    n_cases: int,
    n_failed: int,
    summary: report.Summary,
) -> dict[str, Any]:
    """Collect the fields of the report's ``RunFacts`` that are known beforehand."""
    extra = model.card.extra
    figures = extra.get("performance", {})
    performance = {
        key.replace("_", " "): f"{figures[key]:.3f}"
        for key in ("macro_f1", "accuracy")
        if isinstance(figures.get(key), int | float)
    }
    if "n" in figures:
        performance["images"] = str(figures["n"])
    return {
        "model": report.ModelFacts(
            name=model.name,
            architecture=model.card.architecture,
            classes=model.classes,
            training_data=_text(extra.get("training_data", "")),
            performance=performance,
            performance_set=_text(figures.get("data", "")),
            intended_use=_text(extra.get("intended_use", "")),
            limits=_text(extra.get("limits", "")),
            licence=_text(extra.get("licence", "")),
            sha256=model.digest,
        ),
        "methods": tuple(
            report.MethodFacts(
                name=name,
                label=saliency.get(name).label,
                family=saliency.get(name).family,
                reference=saliency.get(name).reference,
                parameters={
                    **saliency.get(name).parameters,
                    **settings.parameters.get(name, {}),
                },
            )
            for name in settings.methods
        ),
        "inputs": ", ".join(path.resolve().name for path in options.inputs),
        "n_cases": n_cases,
        "n_patients": summary.units if summary.unit == "patients" else None,
        "n_failed": n_failed,
        "simulated": _simulated(options.inputs),
        "command": _command(options),
        "target": settings.target,
        "seed": settings.seed,
        "device": str(model.device),
        "precision": model.precision,
        "versions": versions(),
        "settings": {
            "slices": settings.slices or "mask, else middle",
            "presets": ", ".join(settings.presets),
            "masks": options.masks,
            "min_probability": settings.min_probability,
            "batch_size": model.batch_size,
        },
    }


def _simulated(inputs: Sequence[Path]) -> bool:
    root = sample_path().resolve()
    return all(path.resolve().is_relative_to(root) for path in inputs)


def _command(options: BatchOptions) -> str:
    """Return the command without its folders, which may say more than they should."""
    names = " ".join(path.resolve().name for path in options.inputs)
    return (
        f"python -m napari_medxai.batch {names} --out {options.out.resolve().name} "
        f"--model {Path(options.model).name} --methods {options.methods} "
        f"--target {options.target} --seed {options.seed}"
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return " ".join(f"{k}: {_text(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " ".join(_text(v) for v in value)
    return str(value)


def reader_notes(
    stored: Sequence[report.StoredCase], skipped: Sequence[Any]
) -> list[str]:
    """Count what the readers noted and passed over."""
    counts = Counter(note for case in stored for note in case.notes)
    notes = [
        note if n == 1 else f"{note} ({n} cases)" for note, n in counts.most_common(20)
    ]
    passed = Counter(one.reason for one in skipped)
    notes += [
        f"{n} file(s) passed over: {reason}." for reason, n in passed.most_common()
    ]
    return notes


def run_json(
    facts: Mapping[str, Any], resumed: int, stored: Sequence[report.StoredCase]
) -> bytes:
    """Return the content of ``run.json``."""
    content = {
        **facts,
        "model": asdict(facts["model"]),
        "methods": [asdict(m) for m in facts["methods"]],
        "n_resumed": resumed,
        "cases": {
            case.name: {
                "key": case.key,
                "input_sha256": case.provenance.get("input_sha256"),
            }
            for case in stored
        },
    }
    return (json.dumps(content, indent=2, default=str) + "\n").encode()
