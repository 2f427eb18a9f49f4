"""What a report says: plain values, no knowledge of where they are stored.

Whoever has the numbers fills :class:`ReportData`; :func:`.html.render_report` turns
it into a page. Numbers that do not exist are None (or NaN) and are shown as a dash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_medxai.results import CaseError

__all__ = [
    "CaseBlock",
    "CasePicture",
    "Classification",
    "Estimate",
    "ExclusionCount",
    "Link",
    "MethodFacts",
    "MethodRow",
    "MethodTable",
    "ModelFacts",
    "ReportData",
    "RunFacts",
    "SvgFigure",
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
    """

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = 0
    n_excluded: int = 0


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
class ModelFacts:
    """The classifier, as its card states it.

    Attributes
    ----------
    name, architecture : str
    classes : tuple of str
    training_data, intended_use, limits, licence : str
        Free text; "" where the card says nothing.
    performance : mapping of str to str
        Figures by name, formatted, for example ``{"macro F1": "0.91"}``.
    performance_set : str
        The data they were measured on, for example "the validation split that also
        chose the weights".
    sha256 : str
    intensity : str
        What its preprocessing does to the intensities, by modality.
    """

    name: str
    architecture: str = ""
    classes: tuple[str, ...] = ()
    training_data: str = ""
    performance: Mapping[str, str] = field(default_factory=dict)
    performance_set: str = ""
    intended_use: str = ""
    limits: str = ""
    licence: str = ""
    sha256: str = ""
    intensity: str = ""


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """How a saliency method was run.

    Attributes
    ----------
    name, label, family, reference : str
    parameters : mapping
        With the defaults filled in.
    """

    name: str
    label: str
    family: str = ""
    reference: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What was run on what.

    Attributes
    ----------
    model : ModelFacts
    methods : tuple of MethodFacts
    inputs : str
        What was given, without the path of the machine, for example the folder name.
    n_cases, n_slices : int
        Cases found, and images measured.
    n_patients : int or None
        None where no patients are known: the unit is then the slice.
    n_failed : int
        Cases with an error.
    simulated : bool
        Whether the images are simulated.
    has_masks : bool
        Whether any image has a ground-truth mask.
    command : str
    target : str
        Which class is explained: ``predicted``, ``label`` or a class name.
    seed : int
    device, precision : str
    started : str
        Time in words or ISO 8601.
    seconds : float or None
        Duration.
    stage_seconds : mapping of str to float
        Time by stage, summed over the cases.
    versions : mapping of str to str
    settings : mapping
        Anything else that decides the numbers, by name.
    """

    model: ModelFacts
    methods: tuple[MethodFacts, ...] = ()
    inputs: str = ""
    n_cases: int = 0
    n_slices: int = 0
    n_patients: int | None = None
    n_failed: int = 0
    simulated: bool = False
    has_masks: bool = True
    command: str = ""
    target: str = "predicted"
    seed: int = 0
    device: str = ""
    precision: str = ""
    started: str = ""
    seconds: float | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """One method's results under one preset.

    Attributes
    ----------
    label : str
    baseline : bool
        Whether it is a baseline (random, edge, center) and no explanation.
    aic, sic : Estimate or None
        Areas under the information curves.
    pointing_game, relevance_mass, iou_mask_area : Estimate or None
        Localisation; None without masks.
    """

    label: str
    baseline: bool = False
    aic: Estimate | None = None
    sic: Estimate | None = None
    pointing_game: Estimate | None = None
    relevance_mass: Estimate | None = None
    iou_mask_area: Estimate | None = None


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
class MethodTable:
    """All methods under one preset, with the drawings.

    Attributes
    ----------
    preset : str
    text : str
        What the preset is and how the aggregate was made, in a sentence or two.
    rows : tuple of MethodRow
    figures : tuple of SvgFigure
    """

    preset: str
    text: str = ""
    rows: tuple[MethodRow, ...] = ()
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
class CasePicture:
    """One picture of a case, with what was measured of its map.

    Attributes
    ----------
    title : str
        The method's label, or for the plain image "Image".
    content : bytes
        The picture; empty where there is none, see `missing`.
    mime : str
        ``image/png`` or ``image/webp``.
    alt : str
        What is to be seen, for people who cannot see it; made up where "".
    plain : bool
        True for the image without a map, and for what the network sees: nothing was
        measured.
    missing : str
        Why there is no picture.
    reason : str
        All that is to be said of the row, as in ``results.csv``.
    aic_auc, sic_auc : float or None
    aic_excluded, sic_excluded : str
        Why there is no curve; "" where there is one.
    pointing_hit, relevance_mass, iou_mask_area : float or None
    link : str
        Path of the larger picture relative to the report, or "".
    """

    title: str
    content: bytes = b""
    mime: str = "image/png"
    alt: str = ""
    plain: bool = False
    missing: str = ""
    reason: str = ""
    aic_auc: float | None = None
    sic_auc: float | None = None
    aic_excluded: str = ""
    sic_excluded: str = ""
    pointing_hit: float | None = None
    relevance_mass: float | None = None
    iou_mask_area: float | None = None
    link: str = ""

    @property
    def concerns(self) -> tuple[str, ...]:
        """What makes the map worth nothing, see `saliency.concerns`."""
        parts = self.reason.split("; ")
        return tuple(part for part in parts if part.startswith("the map is "))


@dataclass(frozen=True, kw_only=True)
class CaseBlock:
    """A case that is drawn.

    Attributes
    ----------
    name : str
    slice : int or None
    why : tuple of str
        Why it is drawn: ``best``, ``worst``, ``excluded``, ``drawn by seed`` or any
        words.
    predicted_class, target_class : str
    probabilities : mapping of str to float
        Of all classes.
    label : str or None
    correct : bool or None
    pictures : tuple of CasePicture
    notes : tuple of str
    """

    name: str
    slice: int | None
    why: tuple[str, ...]
    predicted_class: str
    target_class: str
    probabilities: Mapping[str, float]
    label: str | None = None
    correct: bool | None = None
    pictures: tuple[CasePicture, ...] = ()
    notes: tuple[str, ...] = ()


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
    classification: Classification | None = None
    cases: tuple[CaseBlock, ...] = ()
    n_cases_not_drawn: int = 0
    exclusions: tuple[ExclusionCount, ...] = ()
    errors: tuple[CaseError, ...] = ()
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
