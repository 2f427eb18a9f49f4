"""One batch run: cases in, tables and report out. Command line and dock call this."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import report, saliency
from .engine import evaluate, explain_all
from .errors import OutputError, UsageError
from .export import KINDS, explanations_of, export_token, exported
from .facts import reader_notes, run_facts, run_json
from .files import OUTPUT_MARKER, output_errors, write_atomically
from .io import Case, find_cases
from .map_pool import MapPool
from .models import Classifier, load_model
from .options import BatchOptions, export_options, settings_of
from .results import CaseError, CaseResult, Exported, Step
from .settings import Settings
from .study import Study

__all__ = ["BatchOptions", "BatchResult", "BatchStep", "run"]

PICTURE_SIZE = 256
MAPS = ".maps"
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
    export_lines : tuple of str
        What was exported and what could not be, in words.
    """

    out: Path
    page: Path
    n_cases: int
    n_failed: int
    n_resumed: int
    summary: report.Summary
    stage_seconds: Mapping[str, float]
    export_lines: tuple[str, ...] = ()

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
    found = find_cases(
        options.inputs,
        masks=options.masks,
        labels=options.labels,
        resample=options.resample,
    )
    cases = found.cases[: options.limit]
    model = load_model(
        options.model,
        arch=options.arch,
        classes=options.classes or None,
        preprocessing=options.preprocessing,
        trust=options.trust,
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
        with output_errors(options.out):
            shutil.rmtree(options.out / MAPS, ignore_errors=True)
    store.sweep(identify=options.identify)
    ledger = _evaluate(cases, model, settings, store, options, progress)
    stored = [_with_exports(c, options) for c in store.load_all(ledger.keys)]
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
    report.write_measures(out / "measures.csv", stored)
    report.write_summary(out / "summary.csv", summary)
    report.write_curves(out, stored, summary)
    report.write_chance(out / "chance.parquet", stored)
    report.write_errors(out / "errors.csv", errors)
    report.publish(store, stored, out, options.export)
    notes = [*model.notes, *found.notes, *reader_notes(stored, found.skipped)]
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
        exports=bool(export_options(options).kinds),
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
        _export_lines(stored, options),
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

    def known(key: str, study: Study) -> bool:
        return store.has(key, _tokens(study, options))

    pool = _pool(cases, settings, options)
    if pool is not None:
        explain_all(cases, model, settings, pool, tell)
    for result in evaluate(
        cases, model, settings, known=known, pool=pool, progress=tell
    ):
        if result.resumed:
            ledger.resumed += 1
        elif result.outcomes:
            _keep(result, store, options, settings, model, tell)
        else:
            nothing = CaseError(
                result.case.name, "explain", "StudyError", "nothing was measured."
            )
            ledger.errors.extend(result.errors or (nothing,))
            continue
        ledger.keys.append(result.key)
        tell(result.case, Step("done", fraction=1.0))
    return ledger


def _pool(
    cases: Sequence[Case], settings: Settings, options: BatchOptions
) -> MapPool | None:
    """Return where maps are kept: asked for, or each other's chance."""
    of_others = settings.null == "other_case"
    if options.maps is None and not of_others:
        return None
    return MapPool(
        options.maps or options.out / MAPS,
        cases,
        seed=settings.seed,
        donors=settings.chance if of_others else 0,
    )


def _tokens(study: Study, options: BatchOptions) -> dict[str, str]:
    how = export_options(options)
    return {kind: export_token(study, kind, how) for kind in options.export}


def _keep(
    result: CaseResult,
    store: report.Store,
    options: BatchOptions,
    settings: Settings,
    model: Classifier,
    tell: Callable[[Case, Step], None],
) -> None:
    """Draw a finished case's pictures and make all of it durable at once."""
    assert result.study is not None
    start = time.perf_counter()
    tell(result.case, Step("draw", fraction=1.0))
    pictures: dict[str, bytes] = {}
    for view in result.views:
        drawn = report.case_pictures(view, size=PICTURE_SIZE)
        for name, picture in drawn.items():
            content = report.picture_bytes(picture)
            pictures[report.picture_name(view.slice, name)] = content
    seconds = {**result.seconds, "draw": time.perf_counter() - start}

    def exports() -> Iterator[Exported]:
        start = time.perf_counter()
        if "png" in options.export:
            yield from _pngs(result, settings)
        yield from exported(
            study,
            explanations_of(
                study,
                result.outcomes,
                model.classes,
                result.provenance,
                settings.parameters,
            ),
            export_options(options),
            progress=lambda method: tell(
                result.case, Step("export", method, fraction=1.0)
            ),
        )
        seconds["export"] = time.perf_counter() - start

    study = result.study
    store.save(
        replace(result, seconds=seconds),
        pictures,
        exports(),
        _tokens(study, options),
        identified=[k for k in KINDS if k.startswith("dicom") and options.identify],
    )


def _pngs(result: CaseResult, settings: Settings) -> Iterator[Exported]:
    labels = {name: saliency.get(name).label for name in settings.methods}
    for view in result.views:
        first = next(o for o in result.outcomes if o.slice == view.slice)
        drawn = report.export_pictures(
            report.overlay_stem(result.case.name, view.slice),
            view,
            tuple(view.maps),
            labels=labels,
            explained=f"{first.target_class} {first.probability:.2f}",
        )
        for name, content in drawn.items():
            yield Exported("png", "", name, content)


def _with_exports(case: report.StoredCase, options: BatchOptions) -> report.StoredCase:
    """Say with a case's notes and errors what could not be exported this time."""
    missing = [
        one
        for kind in options.export
        for one in case.exports.get(kind, ())
        if one.reason
    ]
    notes = dict.fromkeys(one.reason for one in missing if not one.failed)
    errors = tuple(
        CaseError(case.name, f"export {one.method}", "ExportError", one.reason)
        for one in missing
        if one.failed
    )
    return replace(case, notes=(*case.notes, *notes), errors=(*case.errors, *errors))


def _export_lines(
    stored: Sequence[report.StoredCase], options: BatchOptions
) -> tuple[str, ...]:
    kinds = export_options(options).kinds
    records = [
        one for case in stored for kind in kinds for one in case.exports.get(kind, ())
    ]
    if not records:
        return ()
    files = sum(bool(one.name) for one in records)
    reasons = Counter(one.reason for one in records if one.reason)
    return (
        f"{files} files in {options.out / 'exports'}",
        *(f"  {count} x {reason}" for reason, count in reasons.most_common(5)),
    )


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
