"""Every method against its chance maps, over the images of a run.

Two families are corrected after Holm, each for one metric, preset and null: the
methods that look at the network, whose verdicts are the question of the run; and the
controls (``edge``, ``center``, ``random``), which know nothing of the network and show
what beating this null is worth. A control can neither cost a method its significance
nor lend it any.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_medxai import saliency
from napari_medxai.metrics import InformationCurve
from napari_medxai.metrics.statistics import RankTest, holm, rank_test

from .aggregates import EVERY, NAN, Band, SummaryLine
from .records import Row
from .stored_chance import Knots, StoredCurves

if TYPE_CHECKING:
    from napari_medxai.metrics.chance import ChanceCurves
    from napari_medxai.metrics.presets import Metric

__all__ = [
    "METRICS",
    "RANK",
    "Verdict",
    "always_drawn",
    "rank_line",
    "verdicts",
    "with_chance",
]

RANK = "{metric}_chance_rank"
METRICS: tuple[Metric, ...] = ("aic", "sic")
READ_AT_ONCE = 200_000_000  # bytes of chance files; a few times that in memory
BLOCK = 64  # points of the grid whose medians are taken at once

Key = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """One method under one metric and preset against its chance maps.

    Attributes
    ----------
    null : str
    test : RankTest
        Of the first chance maps of each image, as many as all images have.
    n_excluded_units : int
        Units that have no image left.
    mean, median_curve : float
        Mean area of the chance maps, and the area under the median curve of all of
        them.
    band : Band
    p_adjusted : float
        Corrected after Holm within the family.
    """

    null: str
    test: RankTest
    n_excluded_units: int
    mean: float
    median_curve: float
    band: Band
    p_adjusted: float = NAN


@dataclass(kw_only=True, eq=False)
class _Drawn:
    """What was drawn for one method, metric and preset; an entry an image."""

    own: list[float] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    areas: list[NDArray[np.float64]] = field(default_factory=list)
    knots: list[list[Knots]] = field(default_factory=list)
    excluded: set[str] = field(default_factory=set)


def verdicts(
    rows: Sequence[Row],
    methods: Sequence[str],
    presets: Sequence[str],
    null: str,
    *,
    seed: int,
) -> dict[Key, Verdict]:
    """Test all methods against their chance maps.

    Parameters
    ----------
    rows : sequence of Row
        In an order that does not depend on the run; those of one case together.
    methods, presets : sequence of str
    null : str
        Which chance maps; rows with others do not count.
    seed : int

    Returns
    -------
    dict of (method, metric, preset) to Verdict
        Without those that have no image with chance maps.

    Notes
    -----
    The unit is the patient, or the case where no patient is known. The test uses the
    first chance maps, which are always drawn; those that are drawn for the p-value
    of a single case stop early where the answer is clear, so their number depends on
    the answer.
    """
    found: dict[Key, Verdict] = {}
    rows = [r for r in rows if r.chance is not None and r.chance.null == null]
    for some in _portions(rows, methods):
        drawn = _drawn([r for r in rows if r.method in some])
        for key in itertools.product(some, METRICS, presets):
            # taken out, so that what was tested need not be kept
            one = drawn.pop(key, None)
            if one is not None and one.own:
                found[key] = _verdict(one, key[1], key[2], null, seed)
    looking = [m for m in methods if saliency.get(m).needs_network]
    controls = [m for m in methods if m not in looking]
    for preset in presets:
        for metric in METRICS:
            for family in (looking, controls):
                keys = [k for m in family if (k := (m, metric, preset)) in found]
                adjusted = holm([found[k].test.p_value for k in keys])
                for key, p in zip(keys, adjusted, strict=True):
                    found[key] = replace(found[key], p_adjusted=float(p))
    return found


def with_chance(line: SummaryLine, verdict: Verdict | None) -> SummaryLine:
    """Add a verdict to a line over all images; other lines stay as they are.

    The p-value is that of the rank test, on the ``mean`` as on the ``median_curve``
    line: the aggregate itself is not tested.
    """
    if verdict is None or line.class_ != EVERY or line.aggregation == "mean_curve":
        return line
    value = verdict.mean if line.aggregation == "mean" else verdict.median_curve
    return replace(
        line,
        null=verdict.null,
        chance_value=value,
        p_value=verdict.test.p_value,
        p_adjusted=verdict.p_adjusted,
        effect_size=verdict.test.effect,
    )


def rank_line(method: str, metric: str, preset: str, verdict: Verdict) -> SummaryLine:
    """Put a verdict's effect on a line of its own, with its interval."""
    test = verdict.test
    return SummaryLine(
        method,
        RANK.format(metric=metric),
        preset,
        "mean",
        EVERY,
        test.n_units,
        verdict.n_excluded_units,
        test.effect,
        test.ci_low,
        test.ci_high,
        null=verdict.null,
        chance_value=0.5,
        p_value=test.p_value,
        p_adjusted=verdict.p_adjusted,
        effect_size=test.effect,
    )


def always_drawn(curves: StoredCurves | ChanceCurves) -> NDArray[np.float64]:
    """Areas of the first chance maps, which are drawn whatever the answer."""
    if isinstance(curves, StoredCurves):
        return curves.areas[: len(curves.knots)]
    return curves.areas[: len(curves.curves)]


def _portions(rows: Sequence[Row], methods: Sequence[str]) -> list[Sequence[str]]:
    """Methods whose chance maps can be in memory together.

    A file holds a case's chance maps of all methods: one pass reads each once, but
    keeps all of them.
    """
    files = {
        curves.file
        for row in rows
        for metric in METRICS
        if isinstance(curves := getattr(row.chance, metric), StoredCurves)
    }
    size = sum(file.size() for file in files)
    each = max(1, len(methods) // (1 + size // READ_AT_ONCE))
    return [methods[i : i + each] for i in range(0, len(methods), each)]


def _drawn(rows: Sequence[Row]) -> dict[Key, _Drawn]:
    """Collect chance maps by method, metric and preset, each file read once."""
    found: dict[Key, _Drawn] = {}
    for row in rows:
        for metric in METRICS:
            one = found.setdefault((row.method, metric, row.preset), _Drawn())
            own: InformationCurve | None = getattr(row, metric)
            curves = getattr(row.chance, metric)
            if own is None or own.excluded is not None or curves is None:
                one.excluded.add(row.unit)
                continue
            knots = _knots(curves)
            one.own.append(own.auc)
            one.units.append(row.unit)
            one.areas.append(always_drawn(curves).copy())
            one.knots.append(knots)
    return found


def _knots(curves: StoredCurves | ChanceCurves) -> list[Knots]:
    """Copy the knots, so that the arrays of the whole file need not be kept."""
    if isinstance(curves, StoredCurves):
        return [(x.copy(), y.copy()) for x, y in curves.knots]
    return [(c.knots_x, c.knots_y) for c in curves.curves]


def _verdict(
    drawn: _Drawn, metric: Metric, preset: str, null: str, seed: int
) -> Verdict:
    members = min(len(knots) for knots in drawn.knots)
    areas = np.array([one[:members] for one in drawn.areas])
    test = rank_test(
        np.column_stack([np.array(drawn.own), areas]),
        drawn.units,
        shared=null == "random_network",  # the same networks explain every case
        seed=seed,
    )
    x, ys = _curves(drawn.knots, members, metric, preset)
    each, pooled = _median_curves(ys)
    low, middle, high = np.percentile(each, (2.5, 50, 97.5), axis=0)
    return Verdict(
        null=null,
        test=test,
        n_excluded_units=len(drawn.excluded - set(drawn.units)),
        mean=float(areas.mean()),
        median_curve=float(np.trapezoid(pooled, x)),
        band=Band(x=x, low=low, middle=middle, high=high, members=members),
    )


def _curves(
    knots: Sequence[Sequence[Knots]], members: int, metric: Metric, preset: str
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Build the curves ``(members, images, points)``; single precision for memory."""
    x = InformationCurve.from_knots(metric, *knots[0][0], preset=preset).x
    ys = np.empty((members, len(knots), x.size), dtype=np.float32)
    for image, own in enumerate(knots):
        for member, (kx, ky) in enumerate(own[:members]):
            curve = InformationCurve.from_knots(metric, kx, ky, preset=preset)
            ys[member, image] = curve.y
    return x, ys


def _median_curves(
    ys: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median over the images of each member, and over images and members."""
    members, _, points = ys.shape
    each, pooled = np.empty((members, points)), np.empty(points)
    for start in range(0, points, BLOCK):
        block = slice(start, start + BLOCK)
        part = np.ascontiguousarray(np.moveaxis(ys[:, :, block], 2, 0))
        each[:, block] = np.median(part, axis=2).T
        pooled[block] = np.median(part.reshape(len(part), -1), axis=1)
    return each, pooled
