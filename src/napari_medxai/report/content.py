"""What a report says: plain values, no knowledge of where they are stored.

Whoever has the numbers fills :class:`ReportData`; :func:`.html.render_report` turns
it into a page. Numbers that do not exist are None (or NaN) and are shown as a dash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from napari_medxai.results import CaseError

from .blocks import CaseBlock, CasePicture
from .runfacts import MethodFacts, ModelFacts, RunFacts

__all__ = [
    "CaseBlock",
    "CasePicture",
    "Cell",
    "Classification",
    "Estimate",
    "ExclusionCount",
    "Head",
    "Link",
    "MethodFacts",
    "MethodRow",
    "MethodTable",
    "ModelFacts",
    "ReportData",
    "RunFacts",
    "Said",
    "Section",
    "SvgFigure",
    "Table",
]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An aggregate with its uncertainty.

    Attributes
    ----------
    value, ci_low, ci_high : float or None
        Shown as ``0.512 [0.43, 0.60]``; None or NaN where there is none.
    n : int
        Images (slices) that take part.
    n_excluded : int
        Images left out.
    mark : bool
        Whether it is better than chance after correction.
    note : str
        What is to be said with it: the value of chance, a p-value.
    """

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = 0
    n_excluded: int = 0
    mark: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A file beside the report.

    Attributes
    ----------
    path : str
        Relative to the report, with forward slashes; not yet percent-encoded.
    text : str
        What it holds.
    """

    path: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """One method's results.

    Attributes
    ----------
    label : str
    baseline : bool
        Whether it is a baseline (random, edge, center) and no explanation.
    values : mapping of str to Estimate
        By the keys of `html.COLUMNS`; what was not measured is not there.
    """

    label: str
    baseline: bool = False
    values: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SvgFigure:
    """A drawing, inlined.

    Attributes
    ----------
    svg : str
        From :func:`napari_medxai.report.figures.svg_text`. Inserted as it is.
    caption : str
    links : tuple of Link
        The same drawing as files.
    """

    svg: str
    caption: str
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Said:
    """A sentence on one method.

    Attributes
    ----------
    label : str
        The method, as it is called elsewhere in the page.
    text : str
        Goes on after the label.
    better : bool
        Whether it says that the method is better than chance.
    """

    label: str
    text: str
    better: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a table.

    Attributes
    ----------
    text : str
    value : float or None
        What it is sorted by, and a sign that it is a number.
    note : str
        In small print below.
    strong : bool
    """

    text: str
    value: float | None = None
    note: str = ""
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Head:
    """Heading of a column: its name, what it means, and whether it holds numbers."""

    title: str
    text: str = ""
    number: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """Any table.

    Attributes
    ----------
    caption : str
    heads : tuple of Head
    rows : tuple of tuple of Cell
        Each as long as `heads`.
    """

    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, kw_only=True)
class MethodTable:
    """All methods under one preset, with the drawings.

    Attributes
    ----------
    preset : str
    text : str
        What the preset is and how the aggregate was made, in a sentence or two.
    rows : tuple of MethodRow
    figures : tuple of SvgFigure
    chance : str
        What the methods were tested against; "" where they were not.
    test : str
        How, and what was left out.
    sentences : tuple of Said
        What the test says of each method.
    pairs : tuple of Table
        Methods against each other.
    """

    preset: str
    text: str = ""
    rows: tuple[MethodRow, ...] = ()
    figures: tuple[SvgFigure, ...] = ()
    chance: str = ""
    test: str = ""
    sentences: tuple[Said, ...] = ()
    pairs: tuple[Table, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page that is there only where something was measured.

    Attributes
    ----------
    key : str
        Its anchor: letters and hyphens.
    name : str
        Short, for the table of contents.
    title : str
    paragraphs : tuple of str
    points : tuple of str
        Sentences that are listed.
    methods : tuple of MethodRow
        Measures by method, shown as the main table is.
    tables : tuple of Table
    figures : tuple of SvgFigure
    """

    key: str
    name: str
    title: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    methods: tuple[MethodRow, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[SvgFigure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Classification:
    """How often the classifier was right.

    Attributes
    ----------
    n_labelled, n_correct : int
        Images with a label, and those among them predicted right.
    classes : tuple of str
    confusion : tuple of tuple of int
        Counts, a row for each true class and a column for each predicted one; empty
        where not known.
    """

    n_labelled: int
    n_correct: int
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExclusionCount:
    """How many images were left out of a metric, for which reason.

    Attributes
    ----------
    metric, preset, class_name, reason : str
    n, total : int
        Images left out for the reason, and images of the class.
    methods : str
        The methods concerned, in words ("all methods").
    """

    metric: str
    class_name: str
    reason: str
    n: int
    total: int
    preset: str = ""
    methods: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything a report says.

    Attributes
    ----------
    title : str
    run : RunFacts
    tables : tuple of MethodTable
        One for each preset.
    sections : tuple of Section
        What else was measured.
    classification : Classification or None
        None without labels.
    cases : tuple of CaseBlock
    n_cases_not_drawn : int
        How many more there are in the tables and the overlays.
    exclusions : tuple of ExclusionCount
    errors : tuple of CaseError
    notes : tuple of str
    limits : tuple of str
        Limits of this run, beyond those that hold for every report.
    links : tuple of Link
    """

    title: str
    run: RunFacts
    tables: tuple[MethodTable, ...] = ()
    sections: tuple[Section, ...] = ()
    classification: Classification | None = None
    cases: tuple[CaseBlock, ...] = ()
    n_cases_not_drawn: int = 0
    exclusions: tuple[ExclusionCount, ...] = ()
    errors: tuple[CaseError, ...] = ()
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
