"""The comparison of two runs as one self-contained HTML page, and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from math import isfinite
from typing import Any

import jinja2
from markupsafe import Markup

from napari_medxai.report.overlay import DISCLAIMER
from napari_medxai.report.vector import svg_text
from napari_medxai.report.wording import count_text, number

from .differing import SettingDifference
from .finished import FinishedRun
from .forest import difference_text, forest_figure
from .pairing import CLASSIFIER, GROUPS, PairedDifference, Pairing, group_of
from .wording import direction, metric_label

__all__ = ["COLUMNS", "RunHead", "comparison_csv", "head_of", "render_comparison"]

COLUMNS = tuple(field.name for field in fields(PairedDifference))
TEMPLATE = "compare.html.j2"
STYLE = "page.css"
LISTED = 50  # cases of one run only that the page names
LIMITS = (
    "The differences belong to these images. The intervals cover the sampling of "
    "patients, not the training of a classifier: another training run can give other "
    "numbers.",
    "Where two runs explain different classes of an image, or different classifiers "
    "see it, a difference of areas mixes the classifier and the map.",
    "The correction covers the methods of one metric and preset, not all metrics of "
    "the page together. Decide which metric counts before you look.",
    "No difference found is not the same as no difference: read the interval.",
)


@dataclass(frozen=True, kw_only=True)
class RunHead:
    """What the comparison says of a run.

    Attributes
    ----------
    letter : str
        ``A`` or ``B``.
    name : str
        The folder's name; "" where it could name a patient.
    """

    letter: str
    name: str
    model: str
    inputs: str
    started: str
    n_cases: int
    n_images: int
    n_failed: int
    sha256: str


@dataclass(frozen=True)
class _Family:
    """The methods under one metric and preset."""

    title: str
    note: str
    rows: tuple[PairedDifference, ...]
    drawing: Markup | None


def head_of(run: FinishedRun, letter: str) -> RunHead:
    """Collect what is said of a run.

    The names of output folders of DICOM runs are left out, as in ``run.json``.
    """
    facts, model = run.facts, run.facts.get("model")
    inputs = _text(facts.get("inputs"))
    return RunHead(
        letter=letter,
        name="" if inputs.startswith("DICOM") else run.folder.resolve().name,
        model=_text(model.get("name")) if isinstance(model, Mapping) else "",
        inputs=inputs,
        started=_text(facts.get("started")),
        n_cases=len(run.cases),
        n_images=len(run.images),
        n_failed=len(run.errors),
        sha256=run.hashes["results.csv"],
    )


def comparison_csv(pairing: Pairing) -> str:
    """Return ``compare.csv``: a row for each metric, preset and method."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in pairing.differences:
        writer.writerow([_cell(getattr(one, column)) for column in COLUMNS])
    return text.getvalue()


def render_comparison(
    pairing: Pairing,
    heads: Sequence[RunHead],
    settings: Sequence[SettingDifference],
    *,
    labels: Mapping[str, str],
    seed: int,
) -> str:
    """Turn a comparison into one self-contained HTML page.

    Parameters
    ----------
    pairing : Pairing
    heads : sequence of RunHead
        Of A and B.
    settings : sequence of SettingDifference
    labels : mapping of str to str
        Names of the methods for people.
    seed : int
        As it was compared with.

    Returns
    -------
    str
        HTML, to be stored as UTF-8. All text is escaped; only the drawings are taken
        over as they are.
    """
    groups = [
        (title, f"group-{i}", list(_families(pairing, title, labels)))
        for i, title in enumerate(GROUPS)
    ]
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            pairing=pairing,
            heads=heads,
            settings=settings,
            apart=[d for d in pairing.differences if d.told_apart],
            groups=[group for group in groups if group[2]],
            classifier=CLASSIFIER,
            labels=labels,
            listed=LISTED,
            limits=LIMITS,
            seed=seed,
            disclaimer=DISCLAIMER,
            style=Markup(_style()),
            policy=(
                "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
                "form-action 'none'"
            ),
        )
    )


def _families(
    pairing: Pairing, group: str, labels: Mapping[str, str]
) -> Iterator[_Family]:
    chosen = [d for d in pairing.differences if group_of(d.metric, d.method) == group]
    if group == CLASSIFIER:
        if chosen:
            yield _Family("", "", tuple(chosen), None)
        return
    for metric, preset in dict.fromkeys((d.metric, d.preset) for d in chosen):
        rows = tuple(d for d in chosen if (d.metric, d.preset) == (metric, preset))
        title = metric_label(metric)
        drawing = None
        if any(d.difference for d in rows if isfinite(d.difference)):
            figure = forest_figure(rows, label=title, labels=labels)
            drawing = Markup(
                svg_text(
                    figure,
                    name=f"{metric}-{preset}",
                    alt=f"{title}{f', {preset}' if preset else ''}: difference B minus "
                    "A by method, with intervals; the numbers stand in the table.",
                )
            )
        yield _Family(
            f"{title}, preset “{preset}”" if preset else title,
            direction(metric),
            rows,
            drawing,
        )


def _style() -> str:
    """Return the report's style sheet, so that both pages look alike."""
    return (resources.files("napari_medxai.report") / STYLE).read_text("utf-8")


def _environment() -> jinja2.Environment:
    folder = resources.files(__package__)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda n: (folder / n).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        count=count_text,
        difference=difference_text,
        metric=metric_label,
        p=_p,
    )
    return environment


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else number(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if isfinite(value) else ""
    return str(value)
