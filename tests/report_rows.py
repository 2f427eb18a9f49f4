"""Handmade rows of finished cases for the tests of tables and summaries."""

from __future__ import annotations

import numpy as np

from napari_medxai.io import Case
from napari_medxai.metrics import (
    InformationCurve,
    InformationCurves,
    Knots,
    Localization,
)
from napari_medxai.metrics.chance import Chance, ChanceCurves
from napari_medxai.report import Row, StoredCase
from napari_medxai.results import CaseResult, Outcome


def curve(metric: str, level: float | None, preset: str = "pair") -> InformationCurve:
    """Curve of two knots at one height; None is excluded."""
    if level is None:
        return InformationCurve.from_knots(metric, excluded="too unsure", preset=preset)
    return InformationCurve.from_knots(
        metric, [0.0, 0.5], [level, level], preset=preset
    )


def random_curve(
    metric: str, rng: np.random.Generator, preset: str, shift: float = 0.0
) -> InformationCurve:
    """Curve of five random knots; `shift` raises it."""
    x, y = np.sort(rng.random((2, 5)), axis=1)
    return InformationCurve.from_knots(
        metric, x, np.clip(y + shift, 0, 1), preset=preset
    )


def chance_curves(
    own: InformationCurve | None, curves, asked: int
) -> ChanceCurves | None:
    """Chance of one metric: areas of all, rank and p-value by counting."""
    if own is None or own.excluded is not None:
        return None
    areas = np.array([c.auc for c in curves])
    above = int((areas >= own.auc).sum())
    return ChanceCurves(
        areas=areas,
        curves=tuple(curves[:20]),
        rank=float((areas < own.auc).sum() + (areas == own.auc).sum() / 2),
        p_value=(above + 1) / (len(areas) + 1) if asked >= 199 else float("nan"),
    )


def chance(null="surrogate", *, aic=None, sic=None, asked=2) -> Chance:
    """Chance of a row, from ``(own curve, chance curves)`` of each metric."""
    against = {
        name: None if pair is None else chance_curves(*pair, asked)
        for name, pair in (("aic", aic), ("sic", sic))
    }
    n = max((len(one.areas) for one in against.values() if one), default=0)
    return Chance(null=null, asked=asked, n=n, **against)


def place(mass: float = 0.5) -> Localization:
    """Localisation of which the relevance mass is given."""
    return Localization(
        pointing_hit=1.0,
        relevance_mass=mass,
        relevance_rank=0.5,
        iou_mask_area=0.5,
        iou_otsu=0.5,
        average_precision=0.5,
        peak_distance_mm=float("nan"),
        constant=False,
    )


def row(case, patient, method, mass, level, *, label="a", target="b", **changes) -> Row:
    """Row of one method; `level` is the height of its SIC, AIC is excluded."""
    values = {
        "case": case,
        "patient": patient,
        "method": method,
        "preset": "pair",
        "slice": None,
        "status": "ok",
        "reason": "",
        "predicted_class": target,
        "probability": 0.9,
        "target_class": target,
        "label": label,
        "correct": False,
        "aic": curve("aic", None),
        "sic": curve("sic", level),
        "knots": None,
        "localization": place(mass),
    }
    return Row(**(values | changes))


def case(name: str, *rows: Row) -> StoredCase:
    """Finished case of these rows, without files."""
    return StoredCase(
        name=name,
        key=name,
        rows=rows,
        probabilities={},
        errors=(),
        notes=(),
        seconds={},
        provenance={},
    )


def outcome(method: str, rng: np.random.Generator, **changes) -> Outcome:
    """Outcome with random curves and three chance maps of each."""
    preset = changes.get("preset", "pair")
    own = {m: random_curve(m, rng, preset) for m in ("aic", "sic")}
    numbers = np.array([0.0, 0.4, 1.0])
    values = {
        "method": method,
        "preset": preset,
        "slice": None,
        "status": "ok",
        "reason": "",
        "predicted_class": "b",
        "probability": 0.9,
        "target_class": "b",
        "label": "a",
        "correct": False,
        "probabilities": np.array([0.1, 0.9]),
        "curves": InformationCurves(
            **own,
            knots=Knots(
                thresholds=numbers,
                revealed=numbers,
                sizes=numbers,
                probabilities=numbers,
                predicted=np.array([0, 1, 1]),
            ),
            preset=preset,
            target=1,
            label=0,
        ),
        "localization": place(),
        "chance": chance(
            **{
                m: (own[m], [random_curve(m, rng, preset) for _ in range(3)])
                for m in ("aic", "sic")
            },
            asked=3,
        ),
    }
    return Outcome(**(values | changes))


def result(*outcomes: Outcome, name="a", patient=None) -> CaseResult:
    """Finished case of these outcomes."""
    return CaseResult(
        case=Case(name, None, patient=patient), key="k" * 8, outcomes=outcomes
    )
