"""The drawings: curves of each preset, and areas beside the published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from napari_medxai.report import Summary, SummaryLine
from napari_medxai.report.content import SvgFigure
from napari_medxai.report.drawing import blank, dress, rank_key, remark
from napari_medxai.report.figures import curve_figure
from napari_medxai.report.method_figures import drawn
from napari_medxai.report.presets import axis_text
from napari_medxai.report.styles import COLOURS, THEMES
from napari_medxai.training.figures import confusion_figure

from . import published
from .classifiers import Trained, safe
from .published import Published

__all__ = ["areas_figure", "confusion_drawing", "curve_drawings"]

METRICS = ("sic", "aic")
SHAPES = ("o", "s", "^", "v", "P", "X")
INKS = ("blue", "orange", "green", "pink", "wine", "teal")


def confusion_drawing(one: Trained, part: str, title: str, out: Path) -> SvgFigure:
    """Draw the confusion matrix of a classifier, for the page and as files."""
    found = one.evaluation[part]["confusion_matrix"]
    return drawn(
        out,
        f"confusion-{safe(one.architecture)}",
        lambda: confusion_figure(
            np.array(found["counts"], dtype=np.int64), found["classes"]
        ),
        f"{one.architecture} on the {title}: images by true and predicted class, "
        "shaded by their share of the true class.",
    )


def curve_drawings(
    out: Path,
    architecture: str,
    summary: Summary,
    presets: Sequence[str],
    methods: Sequence[str],
    labels: Mapping[str, str],
    dataset: str,
) -> dict[str, list[SvgFigure]]:
    """Draw the areas under all presets, and the aggregated curves of each.

    Parameters
    ----------
    out : Path
        The output folder; drawings go to ``figures/``.
    architecture : str
    summary : Summary
    presets, methods : sequence of str
    labels : mapping of str to str
    dataset : str
        Which of the paper's data sets' figures stand beside.

    Returns
    -------
    dict of str to list of SvgFigure
        ``areas``, and the curves by preset.
    """
    name = safe(architecture)
    figures: dict[str, list[SvgFigure]] = {"areas": []}
    for metric in METRICS:
        known = published.areas(dataset, metric)
        lines = {
            preset: {
                m: line
                for m in methods
                if (line := summary.find(m, metric, preset=preset)) and line.n
            }
            for preset in presets
        }
        if any(lines.values()):
            beside = "; ◇ what was published" if _numbers(known, methods) else ""
            sure = any(isfinite(v.ci_low) for of in lines.values() for v in of.values())
            interval = f", 95 % bootstrap interval over {summary.unit}" if sure else ""
            figures["areas"].append(
                drawn(
                    out,
                    f"{metric}-areas-{name}",
                    partial(
                        areas_figure,
                        lines,
                        known,
                        methods=methods,
                        metric=metric,
                        labels=labels,
                    ),
                    f"Area under the median {metric.upper()} by method and preset"
                    f"{interval}{beside}.",
                )
            )
        for preset in presets:
            curves = {
                m: line.curve
                for m, line in lines[preset].items()
                if line.curve is not None
            }
            if curves:
                figures.setdefault(preset, []).append(
                    drawn(
                        out,
                        f"{metric}-{preset}-{name}",
                        partial(_curve, curves, metric, preset, labels),
                        f"{metric.upper()} under “{preset}”: median over images.",
                    )
                )
    return figures


def _curve(
    curves: Mapping[str, Any], metric: str, preset: str, labels: Mapping[str, str]
) -> Figure:
    name: Any = metric.upper()
    return curve_figure(
        curves,
        metric=name,
        title=f"{name}, median curve, “{preset}”",
        labels=labels,
        entropy=axis_text(preset),
    )


def areas_figure(
    lines: Mapping[str, Mapping[str, SummaryLine]],
    known: Mapping[str, Published],
    *,
    methods: Sequence[str],
    metric: str,
    labels: Mapping[str, str],
) -> Figure:
    """Draw the areas under the curves as dots, a row for each method.

    Parameters
    ----------
    lines : mapping of str to mapping of str to SummaryLine
        By preset and method.
    known : mapping of str to Published
        Published areas by method.
    methods : sequence of str
    metric : str
        ``aic`` or ``sic``.
    labels : mapping of str to str

    Returns
    -------
    Figure
    """
    colours = THEMES["light"]
    first = next(of for of in lines.values() if of)
    ordered = sorted(methods, key=lambda m: rank_key(first.get(m)))
    step = 0.2
    height = 1.3 + len(ordered) * (0.18 + 0.13 * len(lines))
    figure = blank(None, (8.4, height), "light")
    axes = dress(
        figure.add_subplot(), "light", title=f"Area under the {metric.upper()}"
    )
    start = -step * (len(lines) - 1) / 2
    for number, (preset, of) in enumerate(lines.items()):
        colour = COLOURS[INKS[number % len(INKS)]][0]
        shape = SHAPES[number % len(SHAPES)]
        for row, method in enumerate(ordered):
            line = of.get(method)
            if line is None or not isfinite(line.value):
                continue
            y = row + start + step * number
            if isfinite(line.ci_low):
                axes.hlines(y, line.ci_low, line.ci_high, color=colour, lw=1.4)
            axes.plot([line.value], [y], shape, color=colour, ms=4.5)
        axes.plot([], [], shape, color=colour, ms=4.5, label=f"“{preset}”")
    numbers = _numbers(known, ordered)
    for method, value in numbers.items():
        axes.plot(
            [value],
            [ordered.index(method)],
            "D",
            mfc="none",
            mec=colours.ink,
            ms=7,
            mew=1.2,
        )
    if numbers:
        axes.plot([], [], "D", mfc="none", mec=colours.ink, ms=7, label="published")
    axes.set_yticks(range(len(ordered)), [labels.get(m, m) for m in ordered])
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(f"Area under the median {metric.upper()}")
    axes.tick_params(axis="y", length=0, labelcolor=colours.ink)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x", color=colours.grid, linewidth=0.8)
    for row in range(1, len(ordered)):
        axes.axhline(row - 0.5, color=colours.grid, linewidth=0.6)
    if not any(lines.values()):
        remark(axes, "No image has a curve.", colours.quiet)
    figure.legend(
        loc="outside right upper",
        frameon=False,
        labelcolor=colours.ink,
        fontsize=8.5,
        alignment="left",
    )
    return figure


def _numbers(
    known: Mapping[str, Published], methods: Sequence[str]
) -> dict[str, float]:
    """Return the published areas of these methods that are numbers."""
    return {
        m: one.value
        for m, one in known.items()
        if m in methods and one.value is not None
    }
