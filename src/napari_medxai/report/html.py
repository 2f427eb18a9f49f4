"""The report as one self-contained HTML page; see `page`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .content import (
    CaseBlock,
    CasePicture,
    Classification,
    Estimate,
    MethodRow,
    ReportData,
)
from .page import render_page
from .wording import (
    NOTHING,
    count_text,
    duration,
    estimate_parts,
    number,
    wilson,
)

__all__ = ["render_report"]

TEMPLATE = "template.html.j2"
# Key of a MethodRow's value, heading, what it means.
COLUMNS = (
    ("aic", "AIC area", "accuracy kept as the map reveals the image"),
    ("aic_chance", "AIC and chance", "share of its chance maps below the map"),
    ("sic", "SIC area", "probability kept as the map reveals the image"),
    ("sic_chance", "SIC and chance", "share of its chance maps below the map"),
    ("pointing_hit", "Peak in mask", "share of maps whose maximum lies in the mask"),
    ("relevance_mass", "Relevance in mask", "part of the positive relevance inside"),
    ("relevance_rank", "Top pixels in mask", "of as many as the mask has"),
    (
        "iou_mask_area",
        "IoU at mask area",
        "overlap of the mask with as many top pixels",
    ),
    ("iou_otsu", "IoU at Otsu", "overlap of the mask with the map cut by Otsu"),
    ("average_precision", "Average precision", "the map as a detector of the mask"),
    ("peak_distance_mm", "Peak to lesion", "in mm; smaller is better"),
    ("insertion_auc", "Insertion area", "larger is better"),
    ("deletion_auc", "Deletion area", "smaller is better"),
    (
        "randomised_spearman",
        "Rank correlation",
        "with the trained network's map; smaller is better",
    ),
    ("randomised_ssim", "SSIM", "to the trained network's map; smaller is better"),
)
CONSTANT_LIMITS = (
    "Scattered random pixels are a strong sampler for these curves: interpolated, they "
    "give back nearly the whole image in few bytes, while a smooth map reveals one "
    "spot. Beating “random”, or losing to it, says neither that a map is informative "
    "nor that it is not.",
    "AIC leaves out every image that stays right when it is blurred, and with few "
    "classes those are the images of the class the classifier falls back to. Read an "
    "area together with what was excluded.",
    "The intervals cover the sampling of cases, not the training of the "
    "classifier: another training run can give other maps and other numbers.",
    "A map that lies on the lesion agrees with the mask. It does not prove that the "
    "classifier used the lesion, nor that its answer is right.",
)
NO_PATIENTS = (
    "No patients are known, so that everything counts slices, not patients. Slices of "
    "one patient resemble each other, and the true uncertainty is larger."
)
SIMULATED = (
    "The images are simulated. The figures show that the software works; they say "
    "nothing about patients."
)


def render_report(data: ReportData) -> str:
    """Turn the report's values into one self-contained HTML page.

    Parameters
    ----------
    data : ReportData
        All text is escaped; only the drawings are taken over as they are.

    Returns
    -------
    str
        HTML, to be stored as UTF-8.
    """
    run = data.run
    patients = run.n_patients
    facts = [
        ("Cases", count_text(run.n_cases, "case"), ""),
        ("Images measured", count_text(run.n_slices, "slice"), ""),
        (
            "Patients",
            "not known" if patients is None else count_text(patients, "patient"),
            "the unit is the slice" if patients is None else "",
        ),
    ]
    if data.classification is not None and data.classification.n_labelled:
        found = data.classification
        facts.append(
            (
                "Classifier right",
                f"{found.n_correct} of {found.n_labelled}",
                _accuracy(found),
            )
        )
    facts.append(("Errors", count_text(run.n_failed, "case") + " failed", ""))
    return render_page(
        TEMPLATE,
        __package__,
        filters=_filters(),
        data=data,
        run=run,
        model=run.model,
        summary=_summary(data),
        facts=facts,
        tables=[(table, _TableView.of(table.rows)) for table in data.tables],
        sections=[(part, _TableView.of(part.methods)) for part in data.sections],
        cases=list(enumerate(data.cases, start=1)),
        limits=_limits(data),
        stages=_stages(run.stage_seconds),
    )


def _filters() -> dict[str, Callable[..., Any]]:
    return {
        "only_value": lambda e: number(estimate_parts(e)[0]),
        "data_uri": _data_uri,
        "hit": _hit,
        "setting": _setting,
        "accuracy": _accuracy,
        "exclusions": _exclusions,
        "facts_of": _picture_facts,
    }


@dataclass(frozen=True)
class _Column:
    """A column of the methods' table: shown where any method has a value."""

    key: str
    title: str
    text: str
    counts: str


@dataclass(frozen=True)
class _TableView:
    """Methods and measures, with what all rows share moved to the headings."""

    rows: tuple[MethodRow, ...]
    columns: tuple[_Column, ...]

    @classmethod
    def of(cls, rows: tuple[MethodRow, ...]) -> _TableView:
        columns = []
        for key, title, text in COLUMNS:
            found = [row.values[key] for row in rows if key in row.values]
            if found:
                counts = {_counts(e) for e in found}
                shared = counts.pop() if len(counts) == 1 else ""
                columns.append(_Column(key, title, text, shared))
        return cls(rows, tuple(columns))

    @property
    def tested(self) -> bool:
        """Whether any column is a test against chance."""
        return any(column.key.endswith("_chance") for column in self.columns)

    @property
    def wide(self) -> bool:
        """Whether intervals have to stand below their values."""
        return len(self.columns) > 5

    def groups(self) -> Iterable[tuple[str, list[tuple[str, list[_Shown]]]]]:
        """Explanations, then baselines: (kind, [(label, cells)])."""
        for kind in ("method", "baseline"):
            rows = [r for r in self.rows if r.baseline == (kind == "baseline")]
            if rows:
                yield (
                    kind,
                    [(r.label, [self._cell(r, c) for c in self.columns]) for r in rows],
                )

    def _cell(self, row: MethodRow, column: _Column) -> _Shown:
        estimate = row.values.get(column.key)
        if estimate is None:
            return _Shown(None, "")
        counts = "" if column.counts else _counts(estimate)
        return _Shown(estimate, ", ".join(filter(None, (estimate.note, counts))))


@dataclass(frozen=True)
class _Shown:
    """An estimate in a table and its small print."""

    estimate: Estimate | None
    note: str


def _counts(estimate: Estimate) -> str:
    if not estimate.n + estimate.n_excluded:
        return ""
    if not estimate.n_excluded:
        return f"n {estimate.n}"
    return f"n {estimate.n}, {estimate.n_excluded} excluded"


def _summary(data: ReportData) -> str:
    """Say in a sentence what was run on what."""
    run, model = data.run, data.run.model
    target = {
        "predicted": "the class it predicted",
        "label": "the class of the label",
    }.get(run.target, f"the class “{run.target}”")
    text = (
        f"{count_text(len(run.methods), 'saliency method')} explaining why the "
        f"classifier “{model.name}” answered {target}"
    )
    return f"{text}, on {run.inputs}." if run.inputs else f"{text}."


def _accuracy(found: Classification) -> str:
    """Share with its Wilson interval."""
    low, high = wilson(found.n_correct, found.n_labelled)
    share = found.n_correct / found.n_labelled if found.n_labelled else None
    return f"{number(share)} [{number(low, 2)}, {number(high, 2)}]"


def _limits(data: ReportData) -> list[str]:
    """List the run's own limits, then those of every report."""
    limits = list(data.limits)
    if data.run.simulated:
        limits.insert(0, SIMULATED)
    # the caller may have said it already, with numbers
    if data.run.n_patients is None and not any("not patients" in t for t in limits):
        limits.append(NO_PATIENTS)
    return [*limits, *CONSTANT_LIMITS]


def _stages(seconds: Mapping[str, float]) -> list[tuple[str, str, float]]:
    total = sum(seconds.values())
    return [
        (stage, duration(spent), spent / total if total > 0 else 0.0)
        for stage, spent in seconds.items()
    ]


def _data_uri(picture: CasePicture) -> str:
    if picture.mime not in ("image/png", "image/webp"):
        raise ValueError(f"'{picture.mime}' cannot be embedded; use PNG or WebP.")
    return f"data:{picture.mime};base64,{base64.b64encode(picture.content).decode()}"


def _hit(value: float) -> str:
    if value in (0.0, 1.0):
        return "yes" if value else "no"
    return f"{number(value, 2)} (tied)"


def _picture_facts(picture: CasePicture) -> list[tuple[str, str, str]]:
    """(name, value, why it is missing) of all that was measured of a map."""
    facts = []
    for name, area, excluded in (
        ("AIC", picture.aic_auc, picture.aic_excluded),
        ("SIC", picture.sic_auc, picture.sic_excluded),
    ):
        if excluded:
            facts.append((name, "excluded", excluded))
        elif area is not None:
            facts.append((name, number(area), ""))
    if picture.pointing_hit is not None:
        facts.append(("Peak in mask", _hit(picture.pointing_hit), ""))
    if picture.relevance_mass is not None:
        facts.append(("Relevance in mask", number(picture.relevance_mass, 2), ""))
    if picture.iou_mask_area is not None:
        facts.append(("IoU", number(picture.iou_mask_area, 2), ""))
    return facts


def _exclusions(case: CaseBlock) -> list[str]:
    """Say once for all methods why a case has no curve."""
    measured = [p for p in case.pictures if not p.plain and not p.missing]
    sentences = []
    for metric in ("AIC", "SIC"):
        by_reason: dict[str, list[str]] = {}
        for picture in measured:
            reason = getattr(picture, f"{metric.lower()}_excluded")
            if reason:
                by_reason.setdefault(reason, []).append(picture.title)
        for reason, titles in by_reason.items():
            whom = "" if len(titles) == len(measured) else f" for {', '.join(titles)}"
            sentences.append(f"{metric} excluded{whom}: {reason}.")
    return sentences


def _setting(value: Any) -> str:
    """Write a parameter's value."""
    if value is None or value == "" or value == ():
        return NOTHING
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_setting(v)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_setting(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
