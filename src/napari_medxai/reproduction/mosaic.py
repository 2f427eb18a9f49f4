"""Maps by class: one case of each, and what every method makes of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from napari_medxai.files import write_atomically
from napari_medxai.report import StoredCase
from napari_medxai.report.blocks import CasePicture
from napari_medxai.report.drawing import blank
from napari_medxai.report.overlay import DISCLAIMER
from napari_medxai.report.records import Row
from napari_medxai.report.styles import THEMES
from napari_medxai.report.vector import save_figures
from napari_medxai.report.wording import number

__all__ = ["Mosaic", "mosaic", "write_mosaic"]

TILE = 1.15  # inches
DPI = 220
LINE = 12  # letters of a method's name on a line


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture: empty where a method has no map."""

    title: str
    content: bytes
    reason: str = ""

    def pixels(self, shape: tuple[int, int] | None) -> NDArray[np.uint8]:
        """Return the picture, cut to `shape`: what stands below is the colour bar."""
        picture = np.asarray(Image.open(io.BytesIO(self.content)).convert("RGB"))
        return picture if shape is None else picture[: shape[0], : shape[1]]

    def cut(self, shape: tuple[int, int]) -> CasePicture:
        """Return the picture alone, for a page."""
        if not self.content:
            return CasePicture(title=self.title, missing=self.reason)
        stream = io.BytesIO()
        Image.fromarray(self.pixels(shape)).save(stream, "WEBP", quality=85, method=4)
        return CasePicture(
            title=self.title, content=stream.getvalue(), mime="image/webp"
        )


@dataclass(frozen=True, eq=False)
class MosaicRow:
    """One case.

    Attributes
    ----------
    label : str
        Its class, which was predicted.
    case : str
    slice : int or None
    probability : float
    shape : tuple of int
        Rows and columns of the picture without the colour bar.
    tiles : tuple of Tile
        The image, then the methods.
    """

    label: str
    case: str
    slice: int | None
    probability: float
    shape: tuple[int, int]
    tiles: tuple[Tile, ...]

    def pictures(self) -> list[CasePicture]:
        """Pictures for a page."""
        return [tile.cut(self.shape) for tile in self.tiles]


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Rows of cases, columns of methods.

    Attributes
    ----------
    titles : tuple of str
    rows : tuple of MosaicRow
    missing : tuple of str
        Classes of which no image that was explained is classified right.
    outlined : bool
        Whether a lesion is outlined in some.
    """

    titles: tuple[str, ...]
    rows: tuple[MosaicRow, ...]
    missing: tuple[str, ...]
    outlined: bool


def mosaic(
    cases: Sequence[StoredCase],
    classes: Sequence[str],
    methods: Sequence[str],
    labels: Mapping[str, str],
    *,
    seed: int,
) -> Mosaic:
    """Draw one rightly classified case of each class.

    Parameters
    ----------
    cases : sequence of StoredCase
    classes, methods : sequence of str
    labels : mapping of str to str
        Names of the methods for people.
    seed : int
    """
    rows, missing = [], []
    outlined = False
    for position, label in enumerate(classes):
        units = {
            (case.name, row.slice): (case, row)
            for case in cases
            for row in case.rows
            if row.label == label and row.correct and (row.slice, "") in case.pictures
        }
        if not units:
            missing.append(label)
            continue
        order = sorted(units, key=lambda unit: (unit[0], unit[1] or 0))
        drawn = np.random.default_rng([seed, position]).integers(len(order))
        case, row = units[order[int(drawn)]]
        rows.append(_row(case, row, methods, labels))
        outlined |= any(r.localization for r in case.rows if r.slice == row.slice)
    return Mosaic(
        titles=("Image", *(labels[m] for m in methods)),
        rows=tuple(rows),
        missing=tuple(missing),
        outlined=outlined,
    )


def _row(
    case: StoredCase, row: Row, methods: Sequence[str], labels: Mapping[str, str]
) -> MosaicRow:
    plain = Tile("Image", case.pictures[row.slice, ""].read_bytes())
    failed = {
        r.method: r.reason
        for r in case.rows
        if r.slice == row.slice and r.status != "ok"
    }
    tiles = [plain]
    for method in methods:
        path = case.pictures.get((row.slice, method))
        content = path.read_bytes() if path is not None else b""
        tiles.append(Tile(labels[method], content, failed.get(method, "no map")))
    height, width = plain.pixels(None).shape[:2]
    return MosaicRow(
        label=str(row.label),
        case=case.name,
        slice=row.slice,
        probability=row.probability,
        shape=(height, width),
        tiles=tuple(tiles),
    )


def write_mosaic(folder: Path, name: str, found: Mosaic) -> tuple[str, ...]:
    """Write a mosaic as PNG, SVG and PDF.

    Returns
    -------
    tuple of str
        File names.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    figure = _figure(found)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Disclaimer": DISCLAIMER})
    write_atomically(folder / f"{name}.png", stream.getvalue())
    paths = save_figures(folder, {name: figure})
    return (f"{name}.png", *(path.name for path in paths))


def _figure(found: Mosaic) -> Figure:
    colours = THEMES["light"]
    across, down = len(found.titles), len(found.rows)
    tallest = max(row.shape[0] / row.shape[1] for row in found.rows)
    size = (TILE * across + 0.35, TILE * tallest * down + 0.62)
    figure = blank(None, size, "light")
    grid = figure.subplots(down, across, squeeze=False)
    figure.set_layout_engine(
        "constrained", w_pad=0.015, h_pad=0.015, wspace=0.0, hspace=0.0
    )
    for row, places in zip(found.rows, grid, strict=True):
        for column, (tile, axes) in enumerate(zip(row.tiles, places, strict=True)):
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if tile.content:
                axes.imshow(tile.pixels(row.shape), interpolation="nearest")
            else:
                axes.text(
                    0.5,
                    0.5,
                    "no map",
                    transform=axes.transAxes,
                    ha="center",
                    color=colours.quiet,
                    size=8,
                )
            if row is found.rows[0]:
                axes.set_title(_broken(tile.title), size=8, color=colours.ink, pad=3)
            if column == 0:
                axes.set_ylabel(
                    f"{row.label}\np = {number(row.probability, 2)}",
                    size=8.5,
                    color=colours.ink,
                )
    outline = "Outline: the ground-truth mask. " if found.outlined else ""
    figure.supxlabel(
        f"{outline}Colour: the strongest fifth of each map. {DISCLAIMER}",
        size=7.5,
        color=colours.quiet,
        x=0.01,
        ha="left",
    )
    return figure


def _broken(title: str) -> str:
    """Break a name between words where it is long."""
    lines = [""]
    for word in title.split():
        if lines[-1] and len(lines[-1]) + len(word) >= LINE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
