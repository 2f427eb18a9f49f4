"""The methods of a run against each other: areas under the curves, and maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_medxai.metrics.comparison import Comparison, compare_methods

from .aggregates import Agreement
from .records import Row
from .strata import Image, image_of

__all__ = ["agreement_of", "comparisons_of"]

AGREES = "spearman:"


def comparisons_of(
    rows: Sequence[Row], methods: Sequence[str], presets: Sequence[str], *, seed: int
) -> dict[tuple[str, str], Comparison]:
    """Compare the methods' areas on the same images.

    Parameters
    ----------
    rows : sequence of Row
    methods, presets : sequence of str
        All methods of the run take part, the controls and ``random`` too: whether
        random maps come before a method is one of the questions.
    seed : int

    Returns
    -------
    dict of (metric, preset) to Comparison
        Without those with too few methods or units.
    """
    found = {}
    column = {method: i for i, method in enumerate(methods)}
    for preset in presets:
        chosen = [r for r in rows if r.preset == preset and r.method in column]
        units = {image_of(row): row.unit for row in chosen}
        position = {image: i for i, image in enumerate(units)}
        for metric in ("aic", "sic"):
            areas = np.full((len(units), len(methods)), np.nan)
            for row in chosen:
                curve = getattr(row, metric)
                if curve is not None:
                    areas[position[image_of(row)], column[row.method]] = curve.auc
            total = compare_methods(areas, methods, list(units.values()), seed=seed)
            if total is not None:
                found[metric, preset] = total
    return found


def agreement_of(rows: Sequence[Row], methods: Sequence[str]) -> Agreement | None:
    """Put the correlations of the methods' maps together.

    Parameters
    ----------
    rows : sequence of Row
        One an image and method.
    methods : sequence of str

    Returns
    -------
    Agreement or None
        Of the methods that were compared with any other; None where none was.
    """
    position = {method: i for i, method in enumerate(methods)}
    sums = np.zeros((len(methods), len(methods)))
    counts = np.zeros_like(sums, dtype=np.int64)
    images: set[Image] = set()
    for row in rows:
        first = position.get(row.method)
        for name, value in row.measures.items():
            second = position.get(name.removeprefix(AGREES))
            if (
                first is None
                or second is None
                or not name.startswith(AGREES)
                or not np.isfinite(value)
            ):
                continue
            # both ways round: where it is stored for one of the two only
            for pair in ((first, second), (second, first)):
                sums[pair] += value
                counts[pair] += 1
            images.add(image_of(row))
    used = np.flatnonzero(counts.any(axis=0))
    if used.size == 0:
        return None
    chosen = np.ix_(used, used)
    matrix = np.full((used.size, used.size), np.nan)
    np.divide(sums[chosen], counts[chosen], out=matrix, where=counts[chosen] > 0)
    np.fill_diagonal(matrix, 1.0)
    return Agreement(
        methods=tuple(methods[i] for i in used.tolist()), matrix=matrix, n=len(images)
    )
