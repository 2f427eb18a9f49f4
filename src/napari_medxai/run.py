"""One batch run: cases in, tables and report out. Command line and dock call this."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import report, saliency
from .engine import evaluate
from .errors import OutputError, UsageError
from .facts import reader_notes, run_facts, run_json
from .files import OUTPUT_MARKER, output_errors, write_atomically
from .io import Case, find_cases
from .models import Classifier, load_model
from .options import BatchOptions, settings_of
from .results import CaseError, CaseResult, Step
from .settings import Settings

__all__ = ["BatchOptions", "BatchResult", "BatchStep", "run"]

PICTURE_SIZE = 256
MARKER_TEXT = b"Output of napari-medxai; never taken for input.\n"


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
    stage_seconds : mapping of str to float
        Time by stage over all cases.
    """

    out: Path
    page: Path
    n_cases: int
    n_failed: int
    n_resumed: int
    summary: report.Summary
    stage_seconds: Mapping[str, float]

    @property
    def status(self) -> int:
        """Exit status: 0 all done, 1 some case failed."""
        return 1 if self.n_failed else 0


@dataclass
class _Ledger:
    """What is known while the cases go by."""

    keys: list[str] = field(default_factory=list)
    errors: list[CaseError] = field(default_factory=list)
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
    settings = settings_of(options)
    found = find_cases(options.inputs, masks=options.masks, labels=options.labels)
    cases = found.cases[: options.limit]
    model = load_model(
        options.model,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch_size,
    )
    _check_target(options.target, cases, model)
    _keep_apart(options, cases)
    _make_output(options.out)
    write_atomically(options.out / OUTPUT_MARKER, MARKER_TEXT)
    store = report.Store(options.out)
    if options.overwrite:
        store.clear()
    store.sweep()
    ledger = _evaluate(cases, model, settings, store, options, progress)
    stored = list(store.load_all(ledger.keys))
    errors = _all_errors(cases, ledger, stored)
    failed = len({e.case for e in errors})
    summary = report.summarise(
        stored, settings.methods, settings.presets, seed=settings.seed
    )
    facts = run_facts(options, model, settings, cases, failed, summary)
    elapsed = time.perf_counter() - clock
    facts.update(
        started=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started)),
        seconds=round(elapsed, 1),
        stage_seconds=_stage_seconds(stored),
    )
    out = options.out
    report.write_results(out / "results.csv", stored)
    report.write_summary(out / "summary.csv", summary)
    report.write_curves(out, stored, summary)
    report.write_errors(out / "errors.csv", errors)
    exported = ledger.keys if "png" in options.export else []
    store.publish(exported, out / "overlays")
    notes = reader_notes(stored, found.skipped)
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
    write_atomically(out / "run.json", run_json(facts, ledger.resumed, stored))
    return BatchResult(
        out,
        page,
        len(cases),
        failed,
        ledger.resumed,
        summary,
        facts["stage_seconds"],
    )


def _keep_apart(options: BatchOptions, cases: Sequence[Case]) -> None:
    """Refuse a folder of images as output: its marker would hide them from then on."""
    out = options.out.resolve()
    if out in {path.resolve() for path in options.inputs}:
        return
    inside = sum(case.path.resolve().is_relative_to(out) for case in cases)
    if inside:
        raise UsageError(
            f"the output folder '{options.out.name}' holds {inside} of the input's "
            "images; choose another one, so that results and images stay apart."
        )


def _make_output(out: Path) -> None:
    """Make the output folder; where that cannot be done, the command is wrong."""
    try:
        with output_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            if not os.access(out, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OutputError as error:
        raise UsageError(str(error)) from error


def _check_target(target: str, cases: Sequence[Case], model: Classifier) -> None:
    """Refuse a class that cannot be explained before the first case runs."""
    if target == "label":
        if not any(case.label for case in cases):
            raise UsageError(
                "target is 'label', but no case has one; give --labels or put a "
                "labels.csv beside the images."
            )
    elif target != "predicted":
        model.class_index(target)


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

    def known(key: str) -> bool:
        return store.has(key, exported="png" in options.export)

    for result in evaluate(cases, model, settings, known=known, progress=tell):
        if result.resumed:
            ledger.resumed += 1
        elif result.outcomes:
            tell(result.case, Step("draw", fraction=1.0))
            _keep(result, store, options, settings)
        else:
            nothing = CaseError(
                result.case.name, "explain", "StudyError", "nothing was measured."
            )
            ledger.errors.extend(result.errors or (nothing,))
            continue
        ledger.keys.append(result.key)
        tell(result.case, Step("done", fraction=1.0))
    return ledger


def _keep(
    result: CaseResult, store: report.Store, options: BatchOptions, settings: Settings
) -> None:
    """Draw a finished case's pictures and make all of it durable at once."""
    start = time.perf_counter()
    pictures: dict[str, bytes] = {}
    exports: dict[str, bytes] = {}
    labels = {name: saliency.get(name).label for name in settings.methods}
    for view in result.views:
        for method in (None, *view.maps):
            drawn = report.overlay_picture(view, method, size=PICTURE_SIZE)
            name = report.picture_name(view.slice, method or "")
            pictures[name] = report.picture_bytes(drawn)
        if "png" in options.export:
            first = next(o for o in result.outcomes if o.slice == view.slice)
            exports |= report.export_pictures(
                report.overlay_stem(result.case.name, view.slice),
                view,
                tuple(view.maps),
                labels=labels,
                explained=f"{first.target_class} {first.probability:.2f}",
            )
    seconds = {**result.seconds, "draw": time.perf_counter() - start}
    result = replace(result, seconds=seconds)
    store.save(result, pictures, exports if "png" in options.export else None)


def _stage_seconds(stored: Sequence[report.StoredCase]) -> dict[str, float]:
    """Time by stage over all cases, those of earlier parts of the run included."""
    total: Counter[str] = Counter()
    for case in stored:
        total.update(case.seconds)
    return {stage: round(seconds, 2) for stage, seconds in sorted(total.items())}


def _all_errors(
    cases: Sequence[Case], ledger: _Ledger, stored: Sequence[report.StoredCase]
) -> list[CaseError]:
    order = {case.name: i for i, case in enumerate(cases)}
    errors = ledger.errors + [e for case in stored for e in case.errors]
    return sorted(errors, key=lambda e: (order.get(e.case, -1), e.stage, e.detail))
