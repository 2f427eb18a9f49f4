"""The one engine under docks and batch: explain a study, evaluate cases.

One case flows one way: study, network input, prediction, saliency on the network's
grid, back to the native grid, metrics. Information curves are computed on the
network's grid, localisation on the native one. Nothing here knows Qt.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import metrics, saliency
from .chance_maps import Donors
from .errors import Cancelled, MedXAIError, OutputError
from .io import Case, load_case
from .io.case_sources import UNREADABLE
from .map_pool import MapPool, Maps
from .measure import SliceContext, measure
from .models import Classifier
from .progress import Clock, Progress, reporter, tell
from .provenance import case_key, image_seed, maps_key, provenance
from .results import CaseError, CaseResult, Explanation, Outcome, Step
from .settings import Settings
from .slices import (
    SliceJob,
    job_of,
    resolve_indices,
    saliency_map,
    select_slices,
    target_layer,
    views,
)
from .study import Study

__all__ = ["Settings", "evaluate", "evaluate_study", "explain", "select_slices"]


def explain(
    study: Study,
    model: Classifier,
    methods: Sequence[str] | str = "core",
    *,
    target: str | int = "predicted",
    label: str | None = None,
    slices: str | Sequence[int] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Iterator[Explanation]:
    """Explain a study, one method after the other.

    Parameters
    ----------
    study : Study
    model : Classifier
    methods : sequence of str, or comma list
        Names and groups, see :func:`napari_medxai.saliency.resolve`.
    target : str or int
        ``predicted``, ``label``, a class name or a class index.
    label : str, optional
        The true class, needed for target ``label``.
    slices : str or sequence of int, optional
        Of a volume under a 2-D model: see :func:`select_slices`, or indices.
    parameters : mapping, optional
        Keyword arguments by method.
    seed : int
    progress : callable, optional
        Called with a :class:`Step` at every internal batch; it may raise
        :class:`Cancelled`.

    Yields
    ------
    Explanation

    Raises
    ------
    MethodError, ModelError, StudyError
    """
    names = saliency.resolve(methods if isinstance(methods, str) else tuple(methods))
    indices = resolve_indices(study, model, slices)
    jobs = []
    for done, index in enumerate(indices):
        tell(progress, "predict", "", index, 0.02 * done / len(indices))
        jobs.append(job_of(study, model, index, target, label))
    total = len(names) * len(jobs)
    for m, name in enumerate(names):
        chosen = dict((parameters or {}).get(name, {}))
        native = []
        for j, job in enumerate(jobs):
            report = reporter(
                progress, "explain", name, job.input.slice, m * len(jobs) + j, total
            )
            network_map = saliency_map(model, name, job, chosen, seed, report)
            native.append(job.input.to_native(network_map))
        yield _explanation(study, model, name, jobs, native, chosen, seed)


def evaluate_study(
    study: Study,
    model: Classifier,
    settings: Settings,
    *,
    label: str | None = None,
    subject: str | None = None,
    donors: Donors | None = None,
    given: Maps | None = None,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Explain and measure a study: an outcome for each slice, method and preset.

    Parameters
    ----------
    study : Study
    model : Classifier
    settings : Settings
    label : str, optional
        The true class; AIC then counts it, else the class explained.
    subject : str, optional
        Patient or case, which seeds the chance maps; the study's identifier where
        None.
    donors : Donors, optional
        Maps of other cases, for the null ``other_case``.
    given : mapping, optional
        Maps on the network's grid that were made before, by slice and method.
    progress : callable, optional
        As in :func:`explain`.

    Yields
    ------
    Outcome
        With `map` filled. A method that cannot run on this network yields outcomes
        of status ``failed`` and the next method goes on.
    """
    indices = resolve_indices(study, model, settings.slices)
    total = len(indices) * len(settings.methods)
    # where there is chance, most of the time goes there
    shares = (0.3, 0.1, 0.6) if settings.chance or settings.checks else (0.8, 0.2, 0.0)
    done = 0
    for index in indices:
        tell(progress, "predict", "", index, done / total)
        job = job_of(study, model, index, settings.target, label)
        prepared = metrics.prepare(
            job.input.image,
            model.question(job.target, label)[0],
            presets=settings.presets,
            seed=image_seed(settings.seed, job.input.image),
            volume=model.preprocessing.volumetric,
            progress=reporter(progress, "curves", "", index, done, total, 0.0),
        )
        context = SliceContext(
            study=study,
            model=model,
            settings=settings,
            job=job,
            prepared=prepared,
            label=label,
            subject=study.identifier if subject is None else subject,
            donors=donors,
            given=given or {},
        )
        for name in settings.methods:
            reports = [
                reporter(progress, stage, name, index, done + start, total, share)
                for stage, start, share in (
                    ("explain", 0.0, shares[0]),
                    ("curves", shares[0], shares[1]),
                    ("chance", shares[0] + shares[1], shares[2]),
                )
            ]
            yield from measure(context, name, *reports)
            done += 1
            tell(progress, "explain", name, index, done / total)


def network_maps(
    study: Study,
    model: Classifier,
    settings: Settings,
    *,
    label: str | None = None,
    progress: Progress | None = None,
) -> Maps:
    """Compute the maps of all methods on the network's grid, by slice and method.

    A method that cannot run is left out: :func:`evaluate_study` says why.
    """
    found = {}
    indices = resolve_indices(study, model, settings.slices)
    total = len(indices) * len(settings.methods)
    for place, index in enumerate(indices):
        job = job_of(study, model, index, settings.target, label)
        for m, name in enumerate(settings.methods):
            done = place * len(settings.methods) + m
            report = reporter(progress, "explain", name, index, done, total)
            parameters = settings.parameters.get(name, {})
            try:
                found[index, name] = saliency_map(
                    model, name, job, parameters, settings.seed, report
                )
            except MedXAIError as error:
                if isinstance(error, Cancelled | OutputError):
                    raise
    return found


def evaluate(
    cases: Iterable[Case],
    model: Classifier,
    settings: Settings,
    *,
    known: Callable[[str, Study], bool] | None = None,
    pool: MapPool | None = None,
    progress: Callable[[Case, Step], None] | None = None,
) -> Iterator[CaseResult]:
    """Evaluate cases one after the other; a bad case costs that case only.

    Parameters
    ----------
    cases : iterable of Case
    model : Classifier
    settings : Settings
    known : callable, optional
        Told a case's key (see :func:`case_key`) and study; where it answers True the
        case is not computed again and its result carries nothing but the key.
    pool : MapPool, optional
        Maps of all cases, see :func:`explain_all`; needed by the null
        ``other_case``.
    progress : callable, optional
        Called as ``progress(case, step)``; may raise :class:`Cancelled`.

    Yields
    ------
    CaseResult
        With `errors` filled and no outcomes where the case could not be read.
    """
    for case in cases:
        yield _evaluate_case(case, model, settings, known, pool, progress)


def explain_all(
    cases: Iterable[Case],
    model: Classifier,
    settings: Settings,
    pool: MapPool,
    progress: Callable[[Case, Step], None] | None = None,
) -> None:
    """Fill the pool with the maps of all cases; a bad case has none."""
    for case in cases:

        def report(step: Step, case: Case = case) -> None:
            if progress is not None:
                progress(case, step)

        try:
            report(Step("read"))
            study = load_case(case)
            key = maps_key(case, study, model, settings)
            if not pool.has(key):
                maps = network_maps(
                    study, model, settings, label=case.label, progress=report
                )
                pool.save(key, maps)
            pool.keys[case.name] = key
        except (Cancelled, OutputError):
            raise
        except Exception:  # noqa: BLE001 - `evaluate` reads it again, and says why
            continue


def _evaluate_case(
    case: Case,
    model: Classifier,
    settings: Settings,
    known: Callable[[str, Study], bool] | None,
    pool: MapPool | None,
    progress: Callable[[Case, Step], None] | None,
) -> CaseResult:
    clock = Clock()

    def report(step: Step) -> None:
        clock.enter(step.stage)
        if progress is not None:
            progress(case, step)

    stage = "read"
    key = ""
    notes: tuple[str, ...] = ()
    try:
        report(Step("read"))
        study = load_case(case)
        others = pool.digest(case.name) if pool and settings.chance else ""
        key = case_key(case, study, model, settings, others=others)
        notes = (*study.notes, *model.preprocessing.notes(study))
        if known is not None and known(key, study):
            return CaseResult(case=case, key=key, resumed=True)
        stage = "explain"
        outcomes = tuple(
            evaluate_study(
                study,
                model,
                settings,
                label=case.label,
                subject=case.patient or case.name,
                donors=None if pool is None else pool.donors(case.name),
                given=None if pool is None else pool.maps(case.name),
                progress=report,
            )
        )
        return CaseResult(
            case=case,
            key=key,
            outcomes=outcomes,
            views=tuple(views(study, model, outcomes)),
            errors=_method_errors(case, outcomes),
            notes=notes,
            seconds=clock.stop(),
            provenance=provenance(study, model, settings.seed),
            study=study,
        )
    except (Cancelled, OutputError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a file does, the run goes on
        failure = CaseError(
            case.name, stage, type(error).__name__, _in_words(error, case, stage)
        )
        return CaseResult(
            case=case, key=key, errors=(failure,), notes=notes, seconds=clock.stop()
        )


def _in_words(error: Exception, case: Case, stage: str) -> str:
    """Say what went wrong, without the folders of this machine."""
    if isinstance(error, OSError) and error.strerror:
        return f"{case.name}: {error.strerror}."
    text = str(error) or type(error).__name__
    private = case.series is not None or case.name.startswith(UNREADABLE)
    if private and stage == "read" and not isinstance(error, MedXAIError):
        # Libraries quote headers and paths, and these name patients.
        text = type(error).__name__
    text = text.replace(f"{case.path.parent}{os.sep}", "")
    return text if isinstance(error, MedXAIError) else f"{case.name}: {text}"


def _method_errors(case: Case, outcomes: Sequence[Outcome]) -> tuple[CaseError, ...]:
    failed = {(o.slice, o.method): o.reason for o in outcomes if o.status == "failed"}
    return tuple(
        CaseError(
            case.name,
            method if index is None else f"{method}, slice {index}",
            "MethodError",
            reason,
        )
        for (index, method), reason in failed.items()
    )


def _explanation(
    study: Study,
    model: Classifier,
    name: str,
    jobs: Sequence[SliceJob],
    native: Sequence[NDArray[np.float32]],
    parameters: Mapping[str, Any],
    seed: int,
) -> Explanation:
    indices = tuple(j.input.slice for j in jobs if j.input.slice is not None)
    if indices:
        volume = np.full(study.shape, np.nan, dtype=np.float32)
        for index, part in zip(indices, native, strict=True):
            volume[index] = part
    else:
        volume = native[0]
    return Explanation(
        method=name,
        map=volume,
        target=jobs[0].target,
        target_class=model.classes[jobs[0].target],
        slices=indices,
        targets=tuple(j.target for j in jobs),
        target_classes=tuple(model.classes[j.target] for j in jobs),
        probabilities=np.stack([j.probabilities for j in jobs]),
        provenance={
            **provenance(study, model, seed),
            "method": name,
            "parameters": {**saliency.get(name).parameters, **parameters},
            "target_layer": target_layer(model, name, jobs[0], parameters),
        },
    )
