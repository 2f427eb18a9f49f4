"""Chance maps' areas and curves of a finished case: ``chance.npz`` and its way back.

One file a case, read only where the numbers are needed: ten thousand cases with
their chance maps would not fit into memory. The arrays are

- ``index``, int64 ``(m, 4)``: row in ``case.json``, metric (0 AIC, 1 SIC), number of
  areas, number of curves;
- ``knots``, int64: number of knots of each curve;
- ``areas``, ``x``, ``y``, float64: all areas, and all knots, one after the other.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import OutputError
from napari_medxai.metrics import InformationCurve

if TYPE_CHECKING:
    from napari_medxai.metrics.chance import Chance
    from napari_medxai.metrics.presets import Metric
    from napari_medxai.results import Outcome

__all__ = [
    "CHANCE_FILE",
    "ChanceFile",
    "StoredChance",
    "StoredCurves",
    "chance_of",
    "chance_record",
    "pack_chance",
]

CHANCE_FILE = "chance.npz"
METRICS: tuple[Metric, ...] = ("aic", "sic")

FloatArray: TypeAlias = NDArray[np.float64]
Knots: TypeAlias = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class ChanceFile:
    """``chance.npz`` of a case, unread.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of its content, as ``case.json`` states it.
    """

    path: Path
    sha256: str

    def check(self) -> None:
        """Prove that the file is the one that was written.

        Raises
        ------
        ValueError
            If it is another one.
        OSError
            If it is not there.
        """
        if hashlib.sha256(self.path.read_bytes()).hexdigest() != self.sha256:
            raise ValueError(f"{self.path.name} is not as it was written")

    def entry(self, row: int, metric: str) -> tuple[FloatArray, tuple[Knots, ...]]:
        """Areas of a row's chance maps, and the knots of the first ones' curves.

        Read-only views of the arrays of the whole file.

        Raises
        ------
        OutputError
            If the file is damaged.
        """
        with self._damage_told():
            return _parsed(self)[row, metric]

    def size(self) -> int:
        """Bytes on the disk.

        Raises
        ------
        OutputError
            If the file is gone.
        """
        with self._damage_told():
            return self.path.stat().st_size

    @contextlib.contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise OutputError(
                f"{self.path}: the stored chance maps are damaged ({error}); run the "
                "same command with --overwrite."
            ) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredCurves:
    """How one curve stands among those of its chance maps.

    Attributes
    ----------
    rank : float
        Chance maps below the map and half of those equal, 0 to the number drawn.
    p_value : float
        NaN where too few chance maps were asked for.
    metric, preset : str
    file : ChanceFile
        Where the rest is; read when it is asked for.
    row : int
        Position of the row in ``case.json``.
    """

    rank: float
    p_value: float
    metric: Metric
    preset: str
    file: ChanceFile = field(repr=False)
    row: int = field(repr=False)

    @property
    def areas(self) -> FloatArray:
        """Area under the curve of every chance map drawn."""
        return self.file.entry(self.row, self.metric)[0]

    @property
    def knots(self) -> tuple[Knots, ...]:
        """Knots (x, y) of the curves of the first chance maps."""
        return self.file.entry(self.row, self.metric)[1]

    @property
    def curves(self) -> tuple[InformationCurve, ...]:
        """The curves of the first chance maps."""
        return tuple(
            InformationCurve.from_knots(self.metric, x, y, preset=self.preset)
            for x, y in self.knots
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredChance:
    """A map of a finished case against chance, as it was stored.

    Attributes
    ----------
    null : str
        What the chance maps were.
    asked, n : int
        Chance maps asked for, and drawn before the answer was clear.
    aic, sic : StoredCurves or None
        None where the curve is excluded.
    """

    null: str
    asked: int
    n: int
    aic: StoredCurves | None
    sic: StoredCurves | None


def chance_record(chance: Chance | StoredChance) -> dict[str, Any]:
    """Return what ``case.json`` holds of a row's chance."""
    record: dict[str, Any] = {
        "null": chance.null,
        "asked": chance.asked,
        "n": chance.n,
    }
    for metric in METRICS:
        curves = getattr(chance, metric)
        record[metric] = curves and {
            "rank": float(curves.rank),
            "p_value": None if math.isnan(curves.p_value) else float(curves.p_value),
        }
    return record


def chance_of(
    record: Mapping[str, Any], row: int, preset: str, file: ChanceFile
) -> StoredChance:
    """Put a row's chance together from ``case.json`` and the file beside it."""

    def curves(metric: Metric) -> StoredCurves | None:
        stored = record[metric]
        if stored is None:
            return None
        p_value = stored["p_value"]
        return StoredCurves(
            rank=float(stored["rank"]),
            p_value=math.nan if p_value is None else float(p_value),
            metric=metric,
            preset=preset,
            file=file,
            row=row,
        )

    return StoredChance(
        null=str(record["null"]),
        asked=int(record["asked"]),
        n=int(record["n"]),
        aic=curves("aic"),
        sic=curves("sic"),
    )


def pack_chance(outcomes: Sequence[Outcome]) -> bytes | None:
    """Return the content of ``chance.npz``; None where no row has chance."""
    index: list[tuple[int, int, int, int]] = []
    areas: list[FloatArray] = []
    knots: list[Knots] = []
    for row, outcome in enumerate(outcomes):
        for code, metric in enumerate(METRICS):
            found = outcome.chance and getattr(outcome.chance, metric)
            if not found:
                continue
            index.append((row, code, len(found.areas), len(found.curves)))
            areas.append(np.asarray(found.areas, dtype=np.float64))
            knots += [(curve.knots_x, curve.knots_y) for curve in found.curves]
    if all(outcome.chance is None for outcome in outcomes):
        return None
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        index=np.array(index, dtype=np.int64).reshape(-1, 4),
        knots=np.array([x.size for x, _ in knots], dtype=np.int64),
        areas=_joined(areas),
        x=_joined([x for x, _ in knots]),
        y=_joined([y for _, y in knots]),
    )
    return buffer.getvalue()


def _joined(parts: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate([np.empty(0), *parts])


# The rows of a case are asked one after the other: one file is enough.
@lru_cache(maxsize=1)
def _parsed(
    file: ChanceFile,
) -> dict[tuple[int, str], tuple[FloatArray, tuple[Knots, ...]]]:
    with np.load(file.path, allow_pickle=False) as arrays:
        index, lengths = arrays["index"], arrays["knots"]
        areas, x, y = arrays["areas"], arrays["x"], arrays["y"]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    if (areas.size, lengths.size) != tuple(index[:, 2:].sum(axis=0)) or not (
        x.size == y.size == ends[-1]
    ):
        raise ValueError("its arrays do not fit together")
    for array in (areas, x, y):
        if not np.all((array >= 0) & (array <= 1)):
            raise ValueError("it holds numbers outside of 0..1")
        array.flags.writeable = False
    found = {}
    first_area = first_curve = 0
    for row, code, n_areas, n_curves in index.tolist():
        bounds = ends[first_curve : first_curve + n_curves + 1]
        found[row, METRICS[code]] = (
            areas[first_area : first_area + n_areas],
            tuple((x[a:b], y[a:b]) for a, b in pairwise(bounds)),
        )
        first_area += n_areas
        first_curve += n_curves
    return found
