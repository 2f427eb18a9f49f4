"""Tables and words of the report of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from napari_medxai.report.content import Cell, Head, Link, SvgFigure, Table
from napari_medxai.report.wording import (
    NOTHING,
    count_text,
    interval_only,
    interval_text,
    number,
)

from .evaluation import Evaluation, Measured
from .settings import TrainingSettings
from .splitting import Split
from .story import Story

__all__ = [
    "Section",
    "data_table",
    "facts",
    "limits",
    "section",
    "settings_told",
    "title_of",
]

SCORES = (
    ("precision", "Precision", "of those called so, how many are"),
    ("recall", "Recall", "of those that are, how many were found"),
    ("f1", "F1", ""),
    ("auroc", "AUROC", "one against the rest"),
)
# Said elsewhere on the page.
UNTOLD = frozenset(
    {"arch", "size", "channels", "card", "initial_weights", "preprocessing", "device"}
)
NEAR = 0.05  # of 1, within which a temperature changes nothing worth saying


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    key: str
    title: str
    text: str
    unit: str
    overall: Table
    by_class: Table
    calibration: str
    confusion: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]
    confusion_links: tuple[Link, ...]
    figures: tuple[SvgFigure, ...]


def title_of(name: str) -> str:
    """Name a part in words."""
    return "selection set" if name == "selection" else "test part"


def facts(story: Story) -> list[tuple[str, str, str]]:
    """Name, value and small print of what stands at the top."""
    name = "test" if "test" in story.found else "selection"
    found = story.found[name]
    where = f"{title_of(name)}, {_interval(found.figures['macro_f1'])}"
    return [
        ("Macro F1", number(found.figures["macro_f1"].value), where),
        (
            "AUROC",
            number(found.figures["auroc"].value),
            _interval(found.figures["auroc"]),
        ),
        (
            "Calibration error",
            number(found.figures["ece_after"].value),
            _interval(found.figures["ece_after"]),
        ),
        (
            "Images",
            str(sum(sum(n.values()) for n in story.counts.values())),
            ", ".join(f"{name} {sum(n.values())}" for name, n in story.counts.items()),
        ),
        (
            "Epoch kept",
            f"{story.kept_epoch} of {len(story.history)}",
            f"{story.settings.epochs} at most",
        ),
    ]


def _interval(one: Measured) -> str:
    """Write the interval, or that there is none."""
    return interval_only(one) or "no interval"


def section(
    story: Story,
    name: str,
    drawn: Mapping[str, SvgFigure],
    links: Mapping[str, tuple[Link, ...]],
) -> Section:
    """Tell what was measured on a part."""
    found = story.found[name]
    units = (
        f"{count_text(found.units, 'patient')}, drawn with replacement with all their "
        "images"
        if found.unit == "patient"
        else f"{count_text(found.units, 'image')}, since no patients are known: images "
        "of one patient resemble each other, and the true uncertainty is larger"
    )
    return Section(
        key=name,
        title=title_of(name).capitalize(),
        text=f"{count_text(found.n, 'image')}. This is {story.described[name]}.",
        unit=f"Value [95 % interval] over 1000 resamples of {units}.",
        overall=_overall(found),
        by_class=_by_class(found),
        calibration=_calibration(story, name),
        confusion=tuple(
            (label, tuple((int(n), float(n / max(1, row.sum()))) for n in row))
            for label, row in zip(found.classes, found.matrix, strict=True)
        ),
        confusion_links=links[f"confusion-{name}"],
        figures=(drawn[f"reliability-{name}"],),
    )


def _overall(found: Evaluation) -> Table:
    names = (
        ("accuracy", "Accuracy", "share of right answers"),
        ("macro_precision", "Macro precision", "mean over the classes"),
        ("macro_recall", "Macro recall", "balanced accuracy"),
        ("macro_f1", "Macro F1", "mean over the classes"),
        ("auroc", "AUROC", "one against the rest, mean over the classes"),
        ("ece_before", "Calibration error", "without temperature"),
        ("ece_after", "Calibration error", "with temperature"),
    )
    return Table(
        caption="All classes together.",
        heads=(
            Head(title="Figure", number=False),
            Head(title="Value"),
            Head(title="What it is", number=False),
        ),
        rows=tuple(
            (Cell(text=title), _cell(found.figures[key]), Cell(text=note))
            for key, title, note in names
        ),
    )


def _by_class(found: Evaluation) -> Table:
    return Table(
        caption="Class by class.",
        heads=(
            Head(title="Class", number=False),
            Head(title="Images"),
            *(Head(title=title, text=text) for _, title, text in SCORES),
        ),
        rows=tuple(
            (
                Cell(text=name),
                Cell(text=str(n), value=float(n)),
                *(_cell(found.by_class[name][key]) for key, _, _ in SCORES),
            )
            for name, n in zip(found.classes, found.matrix.sum(axis=1), strict=True)
        ),
    )


def _cell(one: Measured) -> Cell:
    return Cell(text=interval_text(one), value=one.value)


def _calibration(story: Story, name: str) -> str:
    if story.temperature is None:
        return (
            "The last layer of this network cannot take a temperature, so that its "
            "probabilities are as the training left them."
        )
    found = story.found[name]
    sure = "too sure" if story.temperature > 1 else "not sure enough"
    if abs(story.temperature - 1) < NEAR:
        sure = "about as sure as it should be"
    text = (
        f"The logits are divided by {number(story.temperature, 2)}, the temperature "
        "with the least negative log-likelihood on the selection set: the network was "
        f"{sure}. It is part of the weights, so that every probability of this model "
        "has it. "
    )
    how = (
        "Here each fifth of the images was given the temperature that the others "
        "suggest, so that no image had a say in its own. "
        if name == "selection"
        else ""
    )
    return (
        f"{text}{how}The negative log-likelihood is {number(found.nll_before)} without "
        f"and {number(found.nll_after)} with temperature."
    )


def data_table(story: Story) -> Table:
    """Count images by part and class."""
    classes = story.card.classes
    return Table(
        caption=f"Images by part and class, split {story.split.words}.",
        heads=(
            Head(title="Part", number=False),
            *(Head(title=name) for name in classes),
            Head(title="Folds", number=False),
        ),
        rows=tuple(
            (
                Cell(text=name),
                *(
                    Cell(text=str(n.get(c, 0)), value=float(n.get(c, 0)))
                    for c in classes
                ),
                Cell(text=_folds(story.split, name)),
            )
            for name, n in story.counts.items()
        ),
    )


def _folds(divided: Split, name: str) -> str:
    if name == "training":
        return ", ".join(sorted({s.fold for s in divided.training}))
    folds = divided.validation_folds if name == "selection" else divided.test_folds
    return ", ".join(folds)


def settings_told(story: Story) -> list[tuple[str, str]]:
    """Name the settings, those that differ from the default recipe's first."""
    plain = TrainingSettings(arch=story.settings.arch)
    said = [
        (one.name, getattr(story.settings, one.name), getattr(plain, one.name))
        for one in fields(story.settings)
        if one.name not in UNTOLD
    ]
    said.sort(key=lambda row: row[1] == row[2])
    return [(name.replace("_", " "), _value(value)) for name, value, _ in said]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(_value, value)) or NOTHING
    return f"{value:g}" if isinstance(value, float) else str(value)


def limits(story: Story) -> list[str]:
    """Say what these figures do not show."""
    said = []
    if "test" not in story.found:
        chosen = (
            "the epoch was" if story.settings.keep == "best" else "the temperature was"
        )
        said.append(
            f"These figures are of the selection set, on which {chosen} chosen. They "
            "are too good. An independent test needs images that had no say: keep a "
            "fold for it (--test)."
        )
    if story.split.by == "image":
        said.append(
            "The images were split at random, image by image. Where a patient has "
            "several, the classifier has seen the patients it is tested on."
        )
    said += [
        "The intervals cover the sampling of images or patients, not the training: "
        "another seed gives another classifier and other figures.",
        "A classifier can win by what comes with a class and is not the disease: the "
        "scanner, the hospital, a marker in the image. These figures cannot show it; "
        "maps of what it looked at can.",
        "It knows the classes of its training and always names one of them.",
    ]
    return said
