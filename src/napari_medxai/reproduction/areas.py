"""Areas under the curves as tables, the published ones beside them."""

from __future__ import annotations

from collections.abc import Mapping

from napari_medxai.report.content import Cell, Head, Table
from napari_medxai.report.method_tables import estimate as shown
from napari_medxai.report.wording import NOTHING, count_text, interval_text, number

from . import published
from .explaining import Explained
from .figures import METRICS
from .material import Material
from .options import ReproductionOptions

__all__ = ["area_tables", "curves_text"]


def curves_text(
    options: ReproductionOptions, material: Material, one: Explained
) -> str:
    """Say what the tables hold."""
    text = (
        f"{count_text(one.n_cases, 'case')} of the {material.title}: area under "
        "the median curve over images, the more the better."
    )
    if material.dataset:
        text += (
            " The published areas are those written in the paper's figures, for "
            f"{published.TITLES[material.dataset]}; the difference is that of "
            f"“{_nearest(options)}”."
        )
    return text


def _nearest(options: ReproductionOptions) -> str:
    """Preset whose areas are held against the published ones."""
    presets = options.presets
    return published.PRESET if published.PRESET in presets else presets[0]


def area_tables(
    options: ReproductionOptions,
    material: Material,
    one: Explained,
    labels: Mapping[str, str],
) -> list[Table]:
    """Show the areas by method and preset, a table for each metric.

    Parameters
    ----------
    options : ReproductionOptions
    material : Material
    one : Explained
    labels : mapping of str to str
        Names of the methods for people.
    """
    if one.summary is None:
        return []
    tables = []
    for metric in METRICS:
        known = published.areas(material.dataset, metric)
        heads = [Head(title="Method", number=False)]
        for preset in options.presets:
            line = one.summary.find(options.resolved_methods[0], metric, preset=preset)
            n = f"n {line.n}, {line.n_excluded} excluded" if line else ""
            heads.append(Head(title=preset, text=n))
        if known:
            heads += [
                Head(title="Published"),
                Head(title="Difference", text=f"{_nearest(options)} − published"),
            ]
        methods = options.resolved_methods
        rows = [_area_row(options, labels, one, metric, m, known) for m in methods]
        rows += [
            _area_row(options, labels, one, metric, m, known)
            for m in known
            if m not in methods
        ]
        tables.append(
            Table(
                caption=f"{metric.upper()}: area under the median curve "
                "[95 % interval].",
                heads=tuple(heads),
                rows=tuple(rows),
            )
        )
    return tables


def _area_row(
    options: ReproductionOptions,
    labels: Mapping[str, str],
    one: Explained,
    metric: str,
    method: str,
    known: Mapping[str, published.Published],
) -> tuple[Cell, ...]:
    assert one.summary is not None
    ran = method in options.resolved_methods
    cells = [Cell(text=labels[method], note="" if ran else "not run")]
    values: dict[str, float | None] = {}
    for preset in options.presets:
        found = shown(one.summary.find(method, metric, preset=preset))
        text = NOTHING if found is None else interval_text(found)
        values[preset] = None if found is None else found.value
        cells.append(Cell(text=text, value=values[preset]))
    if known:
        theirs = known.get(method)
        stated = theirs.value if theirs else None
        note = theirs.note if theirs else ""
        cells.append(
            Cell(text=number(stated), value=stated, note=note)
            if stated is not None
            else Cell(text=note or NOTHING)
        )
        own = values[_nearest(options)]
        gap = None if own is None or stated is None or own != own else own - stated
        sign = "+" if gap is not None and gap >= 0.0005 else ""
        cells.append(Cell(text=f"{sign}{number(gap)}", value=gap))
    return tuple(cells)
