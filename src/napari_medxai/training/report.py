"""The report of a training: one self-contained page, and its figures as files."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from napari_medxai.files import write_atomically
from napari_medxai.report.content import Link, SvgFigure
from napari_medxai.report.page import render_page
from napari_medxai.report.vector import save_figures, svg_text
from napari_medxai.report.wording import number

from .calibration import BINS
from .figures import confusion_figure, learning_figure, reliability_figure
from .sections import data_table, facts, limits, section, settings_told, title_of
from .story import Story

__all__ = ["write_report"]

TEMPLATE = "template.html.j2"
FILES = (
    ("model.json", "the model card"),
    ("weights.safetensors", "the weights"),
    ("predictions.csv", "the probabilities of every image"),
    ("evaluation.json", "every figure of this page"),
    ("history.csv", "the figures of every epoch"),
    ("training.json", "settings and versions"),
)


def write_report(out: Path, story: Story) -> None:
    """Write ``report.html`` and ``figures/`` (SVG and PDF).

    Parameters
    ----------
    out : Path
        The model folder.
    story : Story

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    figures = _figures(story)
    save_figures(out / "figures", {name: one[0] for name, one in figures.items()})
    links = {
        name: tuple(
            Link(path=f"figures/{name}.{kind}", text=kind.upper())
            for kind in ("svg", "pdf")
        )
        for name in figures
    }
    drawn = {
        name: SvgFigure(
            svg=svg_text(figure, name=name, alt=caption),
            caption=caption,
            links=links[name],
        )
        for name, (figure, caption) in figures.items()
        if caption
    }
    page = render_page(
        TEMPLATE,
        __package__,
        story=story,
        settings=story.settings,
        title=f"Training of {story.settings.arch}",
        facts=facts(story),
        learning=(drawn["learning"],),
        parts=[section(story, name, drawn, links) for name in story.found],
        data=data_table(story),
        told=settings_told(story),
        limits=limits(story),
        files=[Link(path=path, text=text) for path, text in FILES],
    )
    write_atomically(out / "report.html", page.encode())


def _figures(story: Story) -> dict[str, tuple[Figure, str]]:
    kept = "best on the selection set" if story.settings.keep == "best" else "the last"
    figures = {
        "learning": (
            learning_figure(story.history, story.kept_epoch),
            f"Learning curves. The dot is the epoch that was kept, {kept}. The loss of "
            "training is that of augmented, mixed and smoothed examples, so that it "
            "may lie above the other.",
        )
    }
    for name, found in story.found.items():
        title = title_of(name)
        figures[f"confusion-{name}"] = (
            confusion_figure(found.matrix, found.classes),
            "",  # the page has it as a table
        )
        panels = {"Without temperature": found.before}
        if story.temperature is not None:
            panels["With temperature"] = found.after
        errors = dict(zip(panels, ("ece_before", "ece_after"), strict=False))
        figures[f"reliability-{name}"] = (
            reliability_figure(
                panels,
                errors={
                    panel: f"calibration error {number(found.figures[key].value)}"
                    for panel, key in errors.items()
                },
            ),
            f"Reliability on the {title}: each dot is one of at most {BINS} bins with "
            "as many images each. On the dashed line a probability is the share of "
            "right answers; below it the classifier is too sure.",
        )
    return figures
