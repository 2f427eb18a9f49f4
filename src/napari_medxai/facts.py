"""What a run says of itself: in the report, and in ``run.json``."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from . import report, saliency
from .errors import MethodError
from .io import Case
from .io.case_sources import UNREADABLE
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
    cases: Sequence[Case],
    n_failed: int,
    summary: report.Summary,
) -> dict[str, Any]:
    """Collect the fields of the report's ``RunFacts`` that are known beforehand."""
    extra = model.card.extra
    stated = extra.get("performance")
    figures = stated if isinstance(stated, Mapping) else {}
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
            intensity=model.preprocessing.intensity.words(),
        ),
        "methods": tuple(
            report.MethodFacts(
                name=name,
                label=saliency.get(name).label,
                family=saliency.get(name).family,
                reference=saliency.get(name).reference,
                parameters={
                    **saliency.get(name).parameters,
                    **_layer(name, model),
                    **settings.parameters.get(name, {}),
                },
            )
            for name in settings.methods
        ),
        "inputs": _inputs(options, cases),
        "n_cases": len(cases),
        "n_patients": summary.units if summary.unit == "patients" else None,
        "n_failed": n_failed,
        "simulated": _simulated(options.inputs),
        "command": _command(options, cases),
        "target": settings.target,
        "seed": settings.seed,
        "device": str(model.device),
        "precision": model.precision,
        "versions": versions(),
        "settings": {
            "slices": settings.slices or "mask, else middle",
            "presets": ", ".join(settings.presets),
            "masks": _masks(options, cases),
            "min_probability": settings.min_probability,
            "chance": settings.chance,
            "null": settings.null,
            "checks": ", ".join(settings.checks),
            "batch_size": model.batch_size or "auto",
            "limit": options.limit or "none",
            "labels": "given" if options.labels else "labels.csv beside the images",
            "export": ", ".join(options.export) or "none",
            "seg_percentile": options.seg_percentile,
            "identify": "yes" if options.identify else "no",
            "resample": "yes" if options.resample else "no",
        },
    }


def _simulated(inputs: Sequence[Path]) -> bool:
    root = sample_path().resolve()
    return all(path.resolve().is_relative_to(root) for path in inputs)


def _inputs(options: BatchOptions, cases: Sequence[Case]) -> str:
    """Name the inputs; not those of DICOM, whose folders often name patients."""
    dicom = sum(_private(case) for case in cases)
    if dicom:
        return "DICOM studies" if dicom == len(cases) else "DICOM and other studies"
    return ", ".join(path.resolve().name for path in options.inputs)


def _command(options: BatchOptions, cases: Sequence[Case]) -> str:
    """Return the command without folders, which may say more than they should."""
    private = any(_private(case) for case in cases)
    inputs = ["INPUT"] if private else [p.resolve().name for p in options.inputs]
    out = "DIR" if private else options.out.resolve().name
    parts = ["python", "-m", "napari_medxai.batch", *inputs, "--out", out]
    names = {"presets": "pic", "assignments": "set"}
    for option in fields(options):
        value = getattr(options, option.name)
        if option.name in ("inputs", "out", "overwrite") or value == option.default:
            continue
        flag = "--" + names.get(option.name, option.name).replace("_", "-")
        if value is True:
            parts.append(flag)
            continue
        if option.name == "assignments":
            parts += [word for one in value for word in (flag, one)]
            continue
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        if option.name in ("model", "masks", "labels", "preprocessing"):
            text = Path(text).name
        if option.name == "masks":
            text = _masks(options, cases)
        if option.name == "labels" and private:
            text = "LABELS"
        parts += [flag, text or "none"]
    return shlex.join(parts)


def _private(case: Case) -> bool:
    """Whether the names of a case's files and folders can be a patient's."""
    return case.series is not None or case.name.startswith(UNREADABLE)


def _masks(options: BatchOptions, cases: Sequence[Case]) -> str:
    """Say where masks were looked for, without a folder that names a patient."""
    if options.masks in ("auto", "none"):
        return options.masks
    if any(_private(case) for case in cases):
        return "MASKS"
    return Path(options.masks).resolve().name


def _layer(name: str, model: Classifier) -> dict[str, str]:
    """Layer that a class activation map reads, found as the method finds it."""
    if "target_layer" not in saliency.get(name).parameters:
        return {}
    if model.card.target_layer is not None:
        return {"target_layer": model.card.target_layer}
    size = model.preprocessing.size
    blank = model.tensor(np.zeros((1, *size), dtype=np.uint8))
    try:
        return {"target_layer": saliency.find_target_layer(model.module, blank)}
    except MethodError as error:
        return {"target_layer": f"none found: {error}"}


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
    made_with = {
        json.dumps(c.provenance.get("versions"), sort_keys=True) for c in stored
    }
    if len(made_with) > 1:
        notes.append(
            f"The cases were computed with {len(made_with)} different sets of library "
            "versions, since the run was continued after an update."
        )
    passed = Counter(one.reason for one in skipped if one.path.name != "labels.csv")
    masks = passed.pop("a mask", 0)
    if masks:
        notes.append(f"{masks} mask files, used as ground truth of their images.")
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
