"""From a data folder to the paper's tables: estimate, train, explain, write."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_medxai import saliency
from napari_medxai.files import OUTPUT_MARKER, output_errors, write_atomically
from napari_medxai.training import TrainingSettings
from napari_medxai.training.checkpoint import Folder, check_same, data_digest

from . import published
from .classifiers import MODELS, Trained, best_of, safe, train_all
from .estimate import Estimate
from .explaining import Explained, explain
from .figures import confusion_drawing, curve_drawings
from .material import Material, draw, material, network_images, write_cases
from .mosaic import mosaic, write_mosaic
from .options import ReproductionOptions
from .page import Chapter, Story, render
from .plan import estimated
from .tables import (
    CURVE_COLUMNS,
    TIME_COLUMNS,
    classifier_columns,
    classifier_rows,
    confusion_rows,
    curve_rows,
    time_rows,
    write_table,
)

__all__ = ["Reproduction", "reproduce"]

MARKER_TEXT = b"Output of napari-medxai; never taken for input.\n"
WORK, IMAGES, CASES = ".work", "images", "cases.csv"
RECORD = "reproduction.json"
TABLES = "tables"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reproduction:
    """What was done.

    Attributes
    ----------
    estimate : Estimate
    trained : tuple of Trained
    explained : tuple of Explained
    page : Path or None
        ``report.html``; None where only the estimate was asked for.
    """

    estimate: Estimate
    trained: tuple[Trained, ...] = ()
    explained: tuple[Explained, ...] = ()
    page: Path | None = None

    @property
    def status(self) -> int:
        """Exit status: 0 all done, 1 some architecture or case failed."""
        if self.page is None:
            return int(all(row.reason for row in self.estimate.rows))
        failed = any(one.reason for one in self.trained)
        return int(failed or any(one.reason or one.n_failed for one in self.explained))


def reproduce(
    options: ReproductionOptions,
    *,
    only_estimate: bool = False,
    quiet: bool = False,
    progress: Progress | None = None,
) -> Reproduction:
    """Train, judge, explain, and write the paper's tables and figures.

    Interrupted or killed, the same call continues where it stopped; architectures,
    methods and presets can be added.

    Parameters
    ----------
    options : ReproductionOptions
    only_estimate : bool
        Stop after ``estimate.json``.
    quiet : bool
        No bars and no lines.
    progress : callable, optional
        Called as ``progress(what, done, total)``; may raise :class:`Cancelled`.

    Returns
    -------
    Reproduction

    Raises
    ------
    UsageError, StudyError, MethodError
        Before anything is trained: an option or the data is wrong, the data leaks, or
        the folder holds a run with other settings.
    OutputError
        The output cannot be written.
    """
    out, work = options.out, options.out / WORK
    write_atomically(out / OUTPUT_MARKER, MARKER_TEXT)
    found = material(options, work)
    radiographs = found.dataset == published.RADIOGRAPHS
    if options.recipe == published.PRESET and radiographs and options.epochs is None:
        options = replace(options, epochs=published.EPOCHS[published.RADIOGRAPHS])
    settings = options.settings(options.architectures[0])
    if not only_estimate:
        _keep_apart(out, settings, found)
    cases = draw(found.judged, options.limit, options.seed)
    estimate = estimated(options, found, len(cases), work / IMAGES, quiet=quiet)
    if not quiet:
        print("\n".join(estimate.lines()), file=sys.stderr, flush=True)
    if only_estimate:
        return Reproduction(estimate=estimate)
    if any(not _is_trained(out, name) for name in options.architectures):
        network_images(found, settings, work / IMAGES, quiet=quiet)
    trained = train_all(options, found, work / IMAGES, quiet=quiet, progress=progress)
    best = best_of(trained)
    _write_classifiers(trained, found, best, out)
    table = write_cases(work / CASES, cases)
    explained = [
        explain(
            options,
            one,
            table,
            masks=found.masks,
            quiet=quiet,
            progress=None
            if progress is None
            else lambda at: progress(at.case, at.index, at.total),
        )
        for one in _to_explain(options, trained, best)
    ]
    page = _write_results(options, found, settings, trained, best, explained, estimate)
    result = Reproduction(
        estimate=estimate,
        trained=tuple(trained),
        explained=tuple(explained),
        page=page,
    )
    if result.status == 0:
        with output_errors(work):
            shutil.rmtree(work)
    return result


def _keep_apart(out: Path, settings: TrainingSettings, found: Material) -> None:
    """Refuse to mix classifiers that were trained in different ways."""
    folder = Folder(out)
    folder.record = out / RECORD
    said = {k: v for k, v in settings.fingerprint().items() if k != "arch"}
    said["data"] = data_digest(found.split.parts())
    known = folder.read_record()
    if known:
        check_same(out, known["training"], said)
    else:
        folder.write_record({"training": said})


def _is_trained(out: Path, name: str) -> bool:
    record = Folder(out / MODELS / safe(name)).read_record()
    return record.get("status") == "finished"


def _to_explain(
    options: ReproductionOptions, trained: Sequence[Trained], best: Trained | None
) -> list[Trained]:
    whole = [one for one in trained if not one.reason]
    if options.explain == "best":
        return [best] if best is not None else []
    return [one for one in whole if one.architecture in options.explained_names()]


def _write_classifiers(
    trained: Sequence[Trained], found: Material, best: Trained | None, out: Path
) -> None:
    write_table(
        out / TABLES / "classifiers.csv",
        classifier_columns(found.classes),
        classifier_rows(trained, found, best, out),
    )
    if best is not None:
        write_table(
            out / TABLES / "confusion.csv", *confusion_rows(best, found.part, out)
        )


def _write_results(
    options: ReproductionOptions,
    found: Material,
    settings: TrainingSettings,
    trained: Sequence[Trained],
    best: Trained | None,
    explained: Sequence[Explained],
    estimate: Estimate,
) -> Path:
    """Write what needs the curves: ``curves.csv``, ``times.csv``, figures, the page."""
    out = options.out
    methods = options.resolved_methods
    also = [m for of in ("aic", "sic") for m in published.areas(found.dataset, of)]
    labels = {m: saliency.get(m).label for m in (*methods, *also)}
    rows = curve_rows(explained, methods, options.presets, found.dataset, out)
    write_table(out / TABLES / "curves.csv", CURVE_COLUMNS, rows)
    times = time_rows(trained, explained, estimate, out)
    write_table(out / TABLES / "times.csv", TIME_COLUMNS, times)
    confusion = []
    if best is not None:
        confusion = [confusion_drawing(best, found.part, found.title, out)]
    page = out / "report.html"
    story = Story(
        options=options,
        material=found,
        settings=settings,
        trained=tuple(trained),
        best=best,
        chapters=tuple(_chapter(options, found, one, labels) for one in explained),
        confusion=tuple(confusion),
        estimate=estimate,
        times=tuple(times),
        labels=labels,
    )
    write_atomically(page, render(story).encode())
    return page


def _chapter(
    options: ReproductionOptions,
    found: Material,
    one: Explained,
    labels: dict[str, str],
) -> Chapter:
    if one.summary is None:
        return Chapter(explained=one, figures={})
    methods = options.resolved_methods
    tiles = mosaic(one.cases, found.classes, methods, labels, seed=options.seed)
    files: tuple[str, ...] = ()
    if tiles.rows:
        name = f"mosaic-{safe(one.architecture)}"
        files = write_mosaic(options.out / "figures", name, tiles)
    return Chapter(
        explained=one,
        mosaic=tiles,
        mosaic_files=files,
        figures=curve_drawings(
            options.out,
            one.architecture,
            one.summary,
            options.presets,
            methods,
            labels,
            found.dataset,
        ),
    )
