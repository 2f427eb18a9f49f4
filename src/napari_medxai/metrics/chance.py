"""How a saliency map's information curves stand among those of chance maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import MetricError
from napari_medxai.metrics._units import TIE
from napari_medxai.metrics._work import Progress, report
from napari_medxai.metrics.curve import InformationCurve, InformationCurves
from napari_medxai.metrics.presets import Metric

__all__ = ["BASE", "FULL", "NULLS", "Chance", "ChanceCurves", "against_chance"]

FloatArray: TypeAlias = NDArray[np.float64]

NULLS = ("surrogate", "random_pixels", "other_case", "random_network")
BASE = 20  # always drawn, so that a data set has equally many of every image
FULL = 199  # least that give a p-value: 0.005 can be reached
ENOUGH = 10  # chance maps that reach the map: the answer is clear
CHUNK = 20  # drawn at once beyond BASE

METRICS: tuple[Metric, ...] = ("aic", "sic")


class Curves(Protocol):
    """What is needed of :class:`~napari_medxai.metrics.prepared.PreparedImage`."""

    def curves_of(
        self,
        maps: Iterable[NDArray[Any]],
        target: int,
        *,
        label: int | None = None,
        min_probability: float = 0.8,
        progress: Progress | None = None,
    ) -> Iterator[dict[str, InformationCurves]]:
        """Curves of several maps, by preset, in their order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ChanceCurves:
    """One metric's chance curves under one preset.

    Attributes
    ----------
    areas
        float ``(n,)``: area under the curve of every chance map drawn.
    curves
        Curves of the first ``min(n, BASE)``.
    rank
        Chance maps below the map and half of those equal to it, 0 to n. Areas within
        1e-6 of each other are equal: a network in float32 moves them by some 1e-7
        with its batch.
    p_value
        Probability that a map drawn from the null does as well; NaN where fewer than
        ``FULL`` were asked for. ``(g + 1) / (k + 1)`` with g of all k chance maps
        reaching the map's area; ``10 / l`` where the tenth that does was number l
        (Besag & Clifford 1991, doi:10.1093/biomet/78.2.301).
    """

    areas: FloatArray = field(repr=False)
    curves: tuple[InformationCurve, ...] = field(repr=False)
    rank: float
    p_value: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Chance:
    """A map against chance, under one preset.

    Attributes
    ----------
    null
        What a chance map is, one of ``NULLS``.
    asked
        Chance maps asked for.
    n
        Chance maps drawn; fewer where the answer was clear before, 0 where no curve
        was to be had.
    aic, sic
        None where the image is excluded.
    """

    null: str
    asked: int
    n: int
    aic: ChanceCurves | None
    sic: ChanceCurves | None


def against_chance(
    prepared: Curves,
    own: Mapping[str, InformationCurves],
    draw: Callable[[int], NDArray[Any]],
    *,
    null: str,
    k: int,
    target: int,
    label: int | None = None,
    min_probability: float = 0.8,
    progress: Progress | None = None,
) -> dict[str, Chance]:
    """Rank a map's curves among those of chance maps.

    The first ``min(k, BASE)`` chance maps are always drawn. Beyond them drawing stops
    as soon as ten of them reach the area of every curve there is, looked at every 20
    maps.

    Parameters
    ----------
    prepared
        The image.
    own
        The map's curves by preset, of the same target, label and min_probability.
    draw
        ``j -> map``: chance map number j, from 0 on; called when it is needed.
    null
        What is drawn, one of ``NULLS``.
    k
        Most chance maps.
    target, label, min_probability
        As of :meth:`~napari_medxai.metrics.prepared.PreparedImage.curves`.
    progress
        Called as ``progress(done, k)``, at least once a group of forwards; what it
        raises stops the work.

    Returns
    -------
    dict of str to Chance
        By preset, as `own`.

    Raises
    ------
    MetricError
        If the null is unknown or k is no positive number; and what `draw` and
        `prepared` raise.
    """
    if null not in NULLS:
        raise MetricError(
            f"null {null!r} is unknown; choose one of: {', '.join(NULLS)}"
        )
    if k < 1:
        raise MetricError(f"{k} chance maps asked for; it must be 1 or more")
    wanted = [
        (preset, metric)
        for preset, curves in own.items()
        for metric in METRICS
        if getattr(curves, metric).excluded is None
    ]
    areas: dict[tuple[str, Metric], list[float]] = {key: [] for key in wanted}
    kept: dict[tuple[str, Metric], list[InformationCurve]] = {k: [] for k in wanted}
    done = 0

    def step(_: int, __: int) -> None:
        report(progress, done, k)

    while wanted and done < k:
        size = min(k - done, CHUNK if done else BASE)
        drawn = prepared.curves_of(
            map(draw, range(done, done + size)),
            target,
            label=label,
            min_probability=min_probability,
            progress=step,
        )
        for found in drawn:
            done += 1
            for preset, metric in wanted:
                curve = getattr(found[preset], metric)
                areas[preset, metric].append(curve.auc)
                if done <= BASE:
                    kept[preset, metric].append(curve)
            report(progress, done, k)
        if done >= BASE and all(
            np.count_nonzero(_reaching(areas[key], _own_area(own, key))) >= ENOUGH
            for key in wanted
        ):
            break
    report(progress, k, k)

    def standing(preset: str, metric: Metric) -> ChanceCurves | None:
        key = (preset, metric)
        if key not in areas:
            return None
        return _standing(areas[key], kept[key], _own_area(own, key), k)

    return {
        preset: Chance(
            null=null,
            asked=k,
            n=done,
            aic=standing(preset, "aic"),
            sic=standing(preset, "sic"),
        )
        for preset in own
    }


def _own_area(own: Mapping[str, InformationCurves], key: tuple[str, Metric]) -> float:
    curve: InformationCurve = getattr(own[key[0]], key[1])
    return curve.auc


def _reaching(areas: list[float], own: float) -> NDArray[np.bool_]:
    return np.asarray(areas) >= own - TIE


def _standing(
    areas: list[float], curves: list[InformationCurve], own: float, asked: int
) -> ChanceCurves:
    values = np.asarray(areas, dtype=np.float64)
    reaching = _reaching(areas, own)
    equal = reaching & (values <= own + TIE)
    p_value = float("nan")
    if asked >= FULL:
        hits = np.flatnonzero(reaching)
        if hits.size >= ENOUGH:
            p_value = ENOUGH / float(hits[ENOUGH - 1] + 1)
        else:
            p_value = (hits.size + 1) / (asked + 1)
    return ChanceCurves(
        areas=values,
        curves=tuple(curves),
        rank=float(np.count_nonzero(~reaching) + 0.5 * np.count_nonzero(equal)),
        p_value=p_value,
    )
