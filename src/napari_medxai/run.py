"""One batch run: cases in, tables and report out. Command line and dock call this."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import report, saliency
from .engine import Settings, evaluate
from .errors import UsageError
from .files import output_errors, write_atomically
from .io import Case, find_cases
from .metrics import preset_names
from .models import Classifier, load_model
from .provenance import versions
from .results import CaseError, CaseResult, Step
from .samples import sample_path

__all__ = ["BatchOptions", "BatchResult", "BatchStep", "run"]

EXPORTS = ("png",)
PICTURE_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """What the batch's command line says; defaults as there.

    Attributes
    ----------
    inputs : tuple of Path
    out : Path
    model : str
    methods : str
        Comma list of names and groups.
    target, masks : str
    labels : Path or None
    slices : str or None
    presets, export : tuple of str
    device, precision : str
    batch_size : int or "auto"
    seed : int
    limit : int or None
    overwrite : bool
    report_cases : int
    """

    inputs: tuple[Path, ...]
    out: Path
    model: str = "brain-tumor-mri"
    methods: str = "core"
    target: str = "predicted"
    masks: str = "auto"
    labels: Path | None = None
    slices: str | None = None
    presets: tuple[str, ...] = ("pair",)
    export: tuple[str, ...] = ("png",)
    device: str = "auto"
    precision: str = "fp32"
    batch_size: int | str = "auto"
    seed: int = 0
    limit: int | None = None
    overwrite: bool = False
    report_cases: int = 50


@dataclass(frozen=True)
class BatchStep:
    """Progress of a run: which of how many cases, and how far in it."""

    index: int
    total: int
    case: str
    step: Step


@dataclass(frozen=True, eq=False)
class BatchResult:
    """What a run left.

    Attributes
    ----------
    out, page : Path
        The output folder, and ``report.html`` in it.
    n_cases, n_failed, n_resumed : int
    summary : Summary
    """

    out: Path
    page: Path
    n_cases: int
    n_failed: int
    n_resumed: int
    summary: report.Summary

    @property
    def status(self) -> int:
        """Exit status: 0 all done, 1 some case failed."""
        return 1 if self.n_failed else 0


@dataclass
class _Ledger:
    """What is known while the cases go by."""

    keys: list[str] = field(default_factory=list)
    errors: list[CaseError] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)
    resumed: int = 0


def run(
    options: BatchOptions,
    *,
    progress: Callable[[BatchStep], None] | None = None,
) -> BatchResult:
    """Run a batch, or continue one.

    Parameters
    ----------
    options : BatchOptions
    progress : callable, optional
        Called at every internal batch; may raise :class:`Cancelled`. Finished cases
        stay, and the same options continue.

    Returns
    -------
    BatchResult

    Raises
    ------
    UsageError, MethodError, ModelError, StudyError
        Before the first case: an option, the model or the input is wrong.
    OutputError
        The output cannot be written.
    """
    started, clock = time.time(), time.perf_counter()
    settings = _settings(options)
    found = find_cases(options.inputs, masks=options.masks, labels=options.labels)
    cases = found.cases[: options.limit]
    model = load_model(
        options.model,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch_size,
    )
    if options.target not in ("predicted", "label"):
        model.class_index(options.target)
    with output_errors(options.out):
        options.out.mkdir(parents=True, exist_ok=True)
    store = report.Store(options.out)
    if options.overwrite:
        store.clear()
    ledger = _evaluate(cases, model, settings, store, options, progress)
    stored = list(store.load_all(ledger.keys))
    errors = _all_errors(cases, ledger, stored)
    failed = len({e.case for e in errors})
    summary = report.summarise(
        stored, settings.methods, settings.presets, seed=settings.seed
    )
    facts = _facts(options, model, settings, len(cases), failed, summary)
    elapsed = time.perf_counter() - clock
    facts.update(
        started=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started)),
        seconds=round(elapsed, 1),
        stage_seconds={k: round(v, 2) for k, v in sorted(ledger.seconds.items())},
    )
    out = options.out
    report.write_results(out / "results.csv", stored)
    report.write_summary(out / "summary.csv", summary)
    report.write_curves(out, stored, summary)
    report.write_errors(out / "errors.csv", errors)
    notes = _notes(stored, found.skipped)
    data = report.assemble(
        out,
        stored,
        summary,
        report.RunFacts(**facts),
        errors,
        title=f"Saliency report: {facts['inputs']}",
        presets=settings.presets,
        drawn=options.report_cases,
        overlays="png" in options.export,
        notes=notes,
    )
    page = out / "report.html"
    write_atomically(page, report.render_report(data).encode())
    write_atomically(out / "run.json", _run_json(facts, settings, ledger, stored))
    return BatchResult(out, page, len(cases), failed, ledger.resumed, summary)


def _settings(options: BatchOptions) -> Settings:
    methods = tuple(saliency.resolve(options.methods))
    known = preset_names()
    for preset in options.presets:
        if preset not in known:
            raise UsageError(f"preset '{preset}' is unknown; {', '.join(known)}.")
    for export in options.export:
        if export not in EXPORTS:
            raise UsageError(f"export '{export}' is unknown; png or none.")
    if options.limit is not None and options.limit < 1:
        raise UsageError("limit must be at least 1.")
    if options.slices not in (None, "mask", "middle", "all"):
        first, colon, last = options.slices.partition(":")
        numbers = all(not part or part.lstrip("-").isdigit() for part in (first, last))
        if not colon or not numbers:
            raise UsageError(
                f"slices '{options.slices}' is not mask, middle, all or A:B."
            )
    return Settings(
        methods=methods,
        target=options.target,
        slices=options.slices,
        presets=tuple(options.presets),
        seed=options.seed,
    )


def _evaluate(
    cases: Sequence[Case],
    model: Classifier,
    settings: Settings,
    store: report.Store,
    options: BatchOptions,
    progress: Callable[[BatchStep], None] | None,
) -> _Ledger:
    ledger = _Ledger()
    position = {case.name: i for i, case in enumerate(cases)}

    def tell(case: Case, step: Step) -> None:
        if progress is not None:
            progress(BatchStep(position[case.name], len(cases), case.name, step))

    for result in evaluate(cases, model, settings, known=store.has, progress=tell):
        if result.resumed:
            ledger.resumed += 1
        elif result.outcomes:
            _keep(result, store, options, settings)
        else:
            ledger.errors.extend(result.errors)
            continue
        ledger.keys.append(result.key)
        ledger.seconds.update(result.seconds)
        tell(result.case, Step("done", fraction=1.0))
    return ledger


def _keep(
    result: CaseResult, store: report.Store, options: BatchOptions, settings: Settings
) -> None:
    """Draw a case's pictures, export them, and make the case durable, in this order.

    The record comes last: a case that has one has its exports too.
    """
    pictures = {}
    for view in result.views:
        for method in (None, *view.maps):
            drawn = report.overlay_picture(view, method, size=PICTURE_SIZE)
            name = report.picture_name(view.slice, method or "")
            pictures[name] = report.picture_bytes(drawn)
        if "png" in options.export:
            report.export_pngs(
                options.out / "overlays",
                report.overlay_stem(result.case.name, view.slice),
                view,
                tuple(view.maps),
            )
    store.save(result, pictures)


def _all_errors(
    cases: Sequence[Case], ledger: _Ledger, stored: Sequence[report.StoredCase]
) -> list[CaseError]:
    order = {case.name: i for i, case in enumerate(cases)}
    errors = ledger.errors + [e for case in stored for e in case.errors]
    return sorted(errors, key=lambda e: (order.get(e.case, -1), e.stage, e.detail))


def _facts(
    options: BatchOptions,
    model: Classifier,
    settings: Settings,
    n_cases: int,
    n_failed: int,
    summary: report.Summary,
) -> dict[str, Any]:
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


def _notes(stored: Sequence[report.StoredCase], skipped: Sequence[Any]) -> list[str]:
    counts = Counter(note for case in stored for note in case.notes)
    notes = [
        note if n == 1 else f"{note} ({n} cases)" for note, n in counts.most_common(20)
    ]
    passed = Counter(one.reason for one in skipped)
    notes += [
        f"{n} file(s) passed over: {reason}." for reason, n in passed.most_common()
    ]
    return notes


def _run_json(
    facts: dict[str, Any],
    settings: Settings,
    ledger: _Ledger,
    stored: Sequence[report.StoredCase],
) -> bytes:
    content = {
        **facts,
        "model": asdict(facts["model"]),
        "methods": [asdict(m) for m in facts["methods"]],
        "n_resumed": ledger.resumed,
        "cases": {
            case.name: {
                "key": case.key,
                "input_sha256": case.provenance.get("input_sha256"),
            }
            for case in stored
        },
    }
    return (json.dumps(content, indent=2, default=str) + "\n").encode()
