"""The docks' jobs: explain a study, measure it, or measure a folder by the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_medxai.results import Explanation, Outcome
from napari_medxai.study import Study

from .catalogue import load_cached
from .choices import Request
from .measured import Measured, from_summary
from .runner import Job, Reporter
from .wording import words

__all__ = ["FolderDone", "explain_job", "folder_job", "known_label", "study_job"]


@dataclass(frozen=True)
class FolderDone:
    """A finished batch."""

    measured: Measured
    report: Path
    cases: int
    failed: int
    resumed: int


def explain_job(
    request: Request, labels: dict[str, str], slices: dict[int, str]
) -> Job:
    """Job that yields the explanations asked for.

    Parameters
    ----------
    request : Request
        With a study.
    labels : dict
        Name on screen by method.
    slices : dict
        What to call a slice, by its index in the array.
    """

    def job(report: Reporter) -> Iterator[Explanation]:
        report(None, "Loading the engine")
        from napari_medxai import engine

        model = load_cached(request.model, report)
        assert request.opened is not None

        yield from engine.explain(
            request.opened.study,
            model,
            request.methods,
            target=request.target,
            slices=request.slices,
            progress=lambda step: report(step.fraction, words(step, labels, slices)),
        )

    return job


def study_job(request: Request, preset: str, labels: dict[str, str]) -> Job:
    """Job that yields the outcomes of the open study, as they are ready."""

    def job(report: Reporter) -> Iterator[Outcome | str]:
        report(None, "Loading the engine")
        import napari_medxai as mx

        model = load_cached(request.model, report)
        assert request.opened is not None
        study = request.opened.study
        label = known_label(study, model.classes)
        if label is not None:
            yield f"True class: {label} (from labels.csv)."
        settings = mx.Settings(
            methods=request.methods,
            target=request.target,
            slices=as_range(request.slices),
            presets=(preset,),
        )
        yield from mx.evaluate_study(
            study,
            model,
            settings,
            label=label,
            progress=lambda step: report(step.fraction, words(step, labels)),
        )

    return job


def folder_job(
    folder: Path, out: Path, request: Request, preset: str, labels: dict[str, str]
) -> Job:
    """Job that runs the batch over a folder and yields a `FolderDone`."""

    def job(report: Reporter) -> Iterator[FolderDone]:
        report(None, "Loading the engine")
        from napari_medxai.run import BatchOptions, BatchStep, run

        def progress(at: BatchStep) -> None:
            share = (at.index + at.step.fraction) / max(1, at.total)
            where = f"Case {min(at.index + 1, at.total)} of {at.total}"
            report(min(1.0, share), f"{where}: {words(at.step, labels)}")

        result = run(
            BatchOptions(
                inputs=(folder,),
                out=out,
                model=request.model,
                methods=",".join(request.methods),
                target=request.target,
                slices=request.slices if isinstance(request.slices, str) else None,
                presets=(preset,),
            ),
            progress=progress,
        )
        yield FolderDone(
            measured=from_summary(result.summary, request.methods, preset),
            report=result.page,
            cases=result.n_cases,
            failed=result.n_failed,
            resumed=result.n_resumed,
        )

    return job


def known_label(study: Study, classes: tuple[str, ...]) -> str | None:
    """Return the true class that a ``labels.csv`` beside the study names, if any."""
    if not study.files:
        return None
    from napari_medxai.io.labels import LabelFinder

    label = LabelFinder(None).lookup(study.files, study.files[0].parent).label
    return label if label in classes else None


def as_range(slices: str | tuple[int, ...] | None) -> str | None:
    """Write one slice's index as the engine's settings take it."""
    if isinstance(slices, tuple):
        return f"{slices[0]}:{slices[-1] + 1}"
    return slices
