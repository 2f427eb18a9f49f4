"""Figures as SVG and PDF whose bytes depend on the drawing alone."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from napari_medxai.files import write_atomically

from .styles import COLOURS, THEMES

__all__ = ["save_figures", "svg_text"]

SALT = "napari-medxai"
NO_DATES = {"svg": {"Date": None}, "pdf": {"CreationDate": None, "ModDate": None}}
# Which custom property of the page stands in for which colour of the light theme.
PROPERTIES = {
    THEMES["light"].ink: "--figure-ink",
    THEMES["light"].quiet: "--figure-quiet",
    THEMES["light"].grid: "--figure-grid",
    THEMES["light"].baseline: "--figure-baseline",
    THEMES["light"].paper: "--figure-paper",
    **{light: f"--figure-{name}" for name, (light, _) in COLOURS.items()},
}


def save_figures(folder: Path, figures: Mapping[str, Figure]) -> tuple[Path, ...]:
    """Write figures as SVG and PDF, without dates.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    figures : mapping of str to Figure
        By file name without its ending.

    Returns
    -------
    tuple of Path
        ``NAME.svg`` and ``NAME.pdf`` of each.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    paths = []
    for name, figure in figures.items():
        for kind in ("svg", "pdf"):
            path = folder / f"{name}.{kind}"
            write_atomically(path, _rendered(figure, kind, outlines=True))
            paths.append(path)
    return tuple(paths)


def svg_text(figure: Figure, *, name: str, alt: str) -> str:
    """Return a figure as SVG for inlining in HTML.

    Text stays text. Colours of the light theme become custom properties of the page
    (with themselves as fallback), so that the drawing follows the page's theme.

    Parameters
    ----------
    figure : Figure
        Built with ``theme="light"``.
    name : str
        Unique in the page; put before all identifiers.
    alt : str
        What the drawing shows, for people who cannot see it.

    Returns
    -------
    str
        An ``<svg>`` element that fetches nothing.
    """
    text = _rendered(figure, "svg", outlines=False).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*<style.*?</style>", "", text, flags=re.DOTALL)  # not the page's
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for colour, name_ in PROPERTIES.items():
        text = re.sub(rf": {colour}\b", f": var({name_}, {colour})", text)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    opening = f'<svg role="img" aria-label="{escape(alt)}"'
    if size is not None:
        opening += f' viewBox="0 0 {size[1]} {size[2]}"'
    return re.sub(
        r"<svg[^>]*>",
        lambda _: (
            f'{opening} xmlns="http://www.w3.org/2000/svg"'
            ' xmlns:xlink="http://www.w3.org/1999/xlink">'
        ),
        text,
        count=1,
    )


def _rendered(figure: Figure, kind: str, *, outlines: bool) -> bytes:
    stream = io.BytesIO()
    settings: Any = {
        "svg.hashsalt": SALT,
        "svg.fonttype": "path" if outlines else "none",
        "pdf.fonttype": 42,
        "font.family": ["DejaVu Sans"],
    }
    # a copy, since each drawing moves the layout a little further
    copy: Figure = pickle.loads(pickle.dumps(figure))
    with matplotlib.rc_context(settings):
        copy.savefig(stream, format=kind, metadata=NO_DATES[kind])
    return stream.getvalue()
