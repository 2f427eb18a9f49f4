"""The reproduction as one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_medxai import saliency
from napari_medxai.provenance import versions
from napari_medxai.report.blocks import CasePicture
from napari_medxai.report.comparing import presets_section
from napari_medxai.report.content import Cell, Head, Link, SvgFigure, Table
from napari_medxai.report.page import render_page
from napari_medxai.report.presets import preset_text
from napari_medxai.report.wording import (
    NOTHING,
    count_text,
    duration,
    interval_text,
    number,
)
from napari_medxai.training import TrainingSettings
from napari_medxai.training.evaluation import Measured

from . import published
from .areas import area_tables, curves_text
from .classifiers import Trained
from .contrast import contrast_table, limits
from .estimate import Estimate, hours_text
from .explaining import EXPLAINED, Explained
from .material import Material
from .mosaic import Mosaic
from .options import ReproductionOptions
from .tables import Row

__all__ = ["Chapter", "Story", "render"]

TEMPLATE = "reproduction.html.j2"
TITLE = "The paper's tables and figures on this data"


@dataclass(frozen=True, kw_only=True, eq=False)
class Chapter:
    """What is drawn of one architecture that was explained.

    Attributes
    ----------
    explained : Explained
    mosaic : Mosaic or None
    mosaic_files : tuple of str
        In ``figures/``.
    figures : mapping of str to sequence of SvgFigure
        ``areas``, and the curves by preset.
    """

    explained: Explained
    mosaic: Mosaic | None = None
    mosaic_files: tuple[str, ...] = ()
    figures: Mapping[str, Sequence[SvgFigure]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Story:
    """All that the page tells.

    Attributes
    ----------
    options : ReproductionOptions
    material : Material
    settings : TrainingSettings
        Of any of the architectures.
    trained : tuple of Trained
    best : Trained or None
    chapters : tuple of Chapter
    confusion : tuple of SvgFigure
    estimate : Estimate
    times : tuple of Row
        Rows of ``times.csv``.
    labels : mapping of str to str
        Names of the methods for people.
    """

    options: ReproductionOptions
    material: Material
    settings: TrainingSettings
    trained: tuple[Trained, ...]
    best: Trained | None
    chapters: tuple[Chapter, ...]
    confusion: tuple[SvgFigure, ...]
    estimate: Estimate
    times: tuple[Row, ...]
    labels: Mapping[str, str]


def render(story: Story) -> str:
    """Turn a story into one self-contained HTML page.

    Returns
    -------
    str
        HTML, to be stored as UTF-8. All text is escaped; only the drawings are taken
        over as they are.
    """
    options, material = story.options, story.material
    failures = [(t.architecture, t.reason) for t in story.trained if t.reason]
    for chapter in story.chapters:
        one = chapter.explained
        if one.reason:
            failures.append((f"Explaining {one.architecture}", one.reason))
        if one.n_failed:
            text = (
                f"{count_text(one.n_failed, 'case')} of {one.n_cases} with errors; see "
                f"{one.folder.relative_to(options.out).as_posix()}/errors.csv."
            )
            failures.append((f"Explaining {one.architecture}", text))
    return render_page(
        TEMPLATE,
        __package__,
        filters={"data_uri": _data_uri},
        title=f"{TITLE}{', a quick run' if options.quick else ''}",
        summary=_summary(story),
        facts=_facts(story),
        failures=failures,
        contrast=contrast_table(options, material, story.settings),
        classifiers_text=_classifiers_text(story),
        classifiers=_classifiers(story),
        confusion=story.confusion,
        times=_times(story),
        explained=[_chapter(story, chapter) for chapter in story.chapters],
        limits=limits(
            options, material, story.trained, [c.explained for c in story.chapters]
        ),
        files=_files(story),
        versions=versions(),
        seed=options.seed,
    )


def _summary(story: Story) -> str:
    whole = sum(not one.reason for one in story.trained)
    families = [saliency.get(m).family for m in story.options.resolved_methods]
    methods = sum(family != "baseline" for family in families)
    baselines = len(families) - methods
    against = f" and {count_text(baselines, 'baseline')}" if baselines else ""
    return (
        f"{whole} of {count_text(len(story.trained), 'architecture')} trained and "
        f"judged on the {story.material.title}, "
        f"{count_text(methods, 'saliency method')}{against} with accuracy and softmax "
        "information curves, beside the figures that Brima & Atemkeng (2024) published."
    )


def _facts(story: Story) -> list[tuple[str, str, str]]:
    material = story.material
    facts = [
        ("Images", str(sum(map(len, material.split.parts().values()))), material.words),
        ("Judged", str(len(material.judged)), material.title),
    ]
    if story.best is not None:
        found = _measured(story.best.figure("macro_f1", material.part))
        facts.append(
            ("Best macro F1", number(found.value), f"{story.best.architecture}")
        )
    done = [c.explained for c in story.chapters if c.explained.summary]
    if done:
        each = f"by {len(done)} classifiers" if len(done) > 1 else done[0].architecture
        facts.append(("Explained", count_text(done[0].n_cases, "case"), each))
    hours = sum(row["hours"] for row in story.times)
    facts.append(("Took", duration(3600 * hours), story.estimate.device))
    return facts


def _classifiers_text(story: Story) -> str:
    text = (
        f"Figures of the {story.material.title}, with 95 % bootstrap intervals. The "
        "best is that with the highest macro F1 on the selection set"
    )
    if story.best is None:
        return f"{text}: none could be trained."
    text += f": {story.best.architecture}."
    known = published.F1.get((story.material.dataset, "inception_resnet_v2"))
    if known is not None:
        counts = published.CONFUSION[story.material.dataset]
        right = ", ".join(f"{a} of {b} {name}" for name, (a, b) in counts.items())
        text += (
            f" Published: InceptionResNetV2, F1 {known.value} ({right}), {known.note}, "
            "which is not comparable with a split that keeps patients apart."
        )
    return text


def _classifiers(story: Story) -> Table:
    classes, part = story.material.classes, story.material.part
    beside = any(
        (story.material.dataset, one.architecture) in published.F1
        for one in story.trained
    )
    heads = [
        Head(title="Architecture", number=False),
        Head(title="Macro F1"),
        *(Head(title="F1", text=name) for name in classes),
        Head(title="Accuracy"),
        Head(title="AUROC", text="one against the rest"),
        Head(title="Calibration error"),
    ]
    if beside:
        heads.append(Head(title="Published F1"))
    rows = []
    for one in story.trained:
        cells = [Cell(text=one.architecture, strong=one is story.best)]
        if one.reason:
            cells[0] = Cell(text=one.architecture, note="failed, see above")
            cells += [Cell(text=NOTHING)] * (len(heads) - 1)
            rows.append(tuple(cells))
            continue
        found = one.evaluation[part]
        cells.append(_cell(found["macro_f1"]))
        cells += [_cell(found["classes"][name]["f1"]) for name in classes]
        cells += [_cell(found[key]) for key in ("accuracy", "auroc", "ece_after")]
        if beside:
            known = published.F1.get((story.material.dataset, one.architecture))
            text = NOTHING if known is None else str(known.value)
            cells.append(Cell(text=text, value=known.value if known else None))
        rows.append(tuple(cells))
    return Table(
        caption=f"{story.material.title.capitalize()}; each row is from "
        f"models/ARCHITECTURE/evaluation.json, “{part}”.",
        heads=tuple(heads),
        rows=tuple(rows),
    )


def _cell(found: Mapping[str, float | None]) -> Cell:
    one = _measured(found)
    value, _, interval = interval_text(one).partition(" ")
    return Cell(text=value, value=one.value, note=interval)


def _measured(found: Mapping[str, float | None]) -> Measured:
    nan = float("nan")
    return Measured(**{k: nan if v is None else v for k, v in found.items()})


def _times(story: Story) -> Table:
    return Table(
        caption="What was estimated before it started, and what it took.",
        heads=(
            Head(title="Architecture", number=False),
            Head(title="What", number=False),
            Head(title="Estimated"),
            Head(title="Took"),
        ),
        rows=tuple(
            (
                Cell(text=row["architecture"]),
                Cell(text=row["stage"]),
                _hours(row["estimated_hours"]),
                _hours(row["hours"]),
            )
            for row in story.times
        ),
    )


def _hours(hours: float | None) -> Cell:
    if hours is None or hours != hours:
        return Cell(text=NOTHING)
    text = duration(3600 * hours) if hours < 1 else hours_text(hours)
    return Cell(text=text, value=hours)


def _chapter(story: Story, chapter: Chapter) -> dict[str, Any]:
    one, presets = chapter.explained, story.options.presets
    methods = story.options.resolved_methods
    section = None
    if one.summary is not None:
        section = presets_section(
            one.summary, one.cases, presets, methods, story.labels
        )
    return {
        "name": one.architecture,
        "reason": one.reason,
        "mosaic": chapter.mosaic,
        "mosaic_files": chapter.mosaic_files,
        "page": f"{EXPLAINED}/{one.folder.name}/report.html",
        "text": curves_text(story.options, story.material, one),
        "tables": area_tables(story.options, story.material, one, story.labels),
        "areas": chapter.figures.get("areas", ()),
        "points": () if section is None else section.points,
        "curves": [
            (preset, preset_text(preset), chapter.figures[preset])
            for preset in presets
            if preset in chapter.figures
        ],
    }


def _files(story: Story) -> list[Link]:
    links = [
        Link(path="tables/classifiers.csv", text="figures of every architecture"),
        Link(path="tables/curves.csv", text="areas, the published ones beside them"),
        Link(path="tables/times.csv", text="hours, estimated and real"),
        Link(path="figures/", text="drawings as SVG and PDF, mosaics also as PNG"),
        Link(path="estimate.json", text="what was estimated before it started"),
        Link(path="models/", text="the trained classifiers, each with its own report"),
        Link(path=f"{EXPLAINED}/", text="the runs of the batch, each with its report"),
    ]
    if story.confusion:
        links.insert(
            1, Link(path="tables/confusion.csv", text="confusion matrix of the best")
        )
    return links


def _data_uri(picture: CasePicture) -> str:
    return f"data:{picture.mime};base64,{base64.b64encode(picture.content).decode()}"
