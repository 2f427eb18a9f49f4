"""Drawings of the other checks: agreement, and the randomised network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .drawing import blank, dress, method_label, remark
from .styles import COLOURS, THEMES, Theme, line_styles
from .wording import number

__all__ = ["cascade_figure", "heat_figure"]

DEEPEST = 0.62  # opacity of a cell of 1: text stays legible on it in both themes


def heat_figure(
    values: Any,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    theme: Theme = "light",
) -> Figure:
    """Draw correlations as a table whose cells are as deep as they are far from 0.

    Parameters
    ----------
    values : array-like, shape (rows, columns)
        In [-1, 1]; NaN leaves a cell empty.
    rows, columns : sequence of str
        Labels.
    theme : {"light", "dark"}

    Returns
    -------
    Figure
        Blue for agreement, red for opposite order.
    """
    colours = THEMES[theme]
    side = 0 if theme == "light" else 1
    matrix = np.asarray(values, dtype=np.float64).reshape(len(rows), len(columns))
    height = 1.3 + 0.36 * max(1, len(rows))
    figure = blank(None, (8.4, height), theme)
    axes = dress(figure.add_subplot(), theme)
    for (i, j), value in np.ndenumerate(matrix):
        if not np.isfinite(value):
            continue
        name = "blue" if value >= 0 else "vermilion"
        axes.add_patch(
            Rectangle(
                (j - 0.48, i - 0.46),
                0.96,
                0.92,
                facecolor=COLOURS[name][side],
                edgecolor="none",
                alpha=DEEPEST * min(1.0, abs(float(value))),
            )
        )
        axes.text(
            j,
            i,
            number(value, 2),
            color=colours.ink,
            size=8.5,
            ha="center",
            va="center",
        )
    axes.set_xlim(-0.5, max(1, len(columns)) - 0.5)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=colours.ink)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if not matrix.size:
        remark(axes, "No two methods were compared.", colours.quiet)
    return figure


def cascade_figure(
    lines: Mapping[str, Sequence[float]],
    stages: Sequence[str],
    *,
    labels: Mapping[str, str] | None = None,
    theme: Theme = "light",
    baseline: str = "random",
) -> Figure:
    """Draw how like the original a map stays as ever more layers are randomised.

    Parameters
    ----------
    lines : mapping of str to sequence of float
        By method: mean rank correlation with the original map after each stage; NaN
        where it was not measured.
    stages : sequence of str
        From the head down to the input, each with all before it.
    labels, theme, baseline
        As for :func:`.figures.curve_figure`.

    Returns
    -------
    Figure
    """
    colours = THEMES[theme]
    figure = blank(None, (8.4, 3.5), theme)
    axes = dress(figure.add_subplot(), theme)
    styles = line_styles(lines, theme=theme, baseline=baseline)
    places = np.arange(len(stages) + 1)
    lowest = 0.0
    for name, values in lines.items():
        y = np.array([1.0, *values], dtype=np.float64)
        lowest = min(lowest, float(np.nanmin(y)))
        axes.plot(
            places,
            y,
            color=styles[name].colour,
            linestyle=styles[name].dashes,
            linewidth=1.6,
            marker="o",
            markersize=4,
            label=method_label(name, labels, baseline),
        )
    axes.axhline(0, color=colours.quiet, linewidth=0.8)
    names = ["trained", *stages]
    slanted: dict[str, Any] = {}
    if max(map(len, names)) > 10:
        slanted = {"rotation": 20, "ha": "right"}
    axes.set_xticks(places, names, **slanted)
    axes.set_ylim(min(-0.05, 1.08 * lowest), 1.04)
    axes.set_xlabel("Randomised, from the head down to this stage")
    axes.set_ylabel("Rank correlation with the original map")
    axes.grid(visible=True, axis="y", color=colours.grid, linewidth=0.8)
    if lines:
        figure.legend(
            loc="outside right upper",
            frameon=False,
            labelcolor=colours.ink,
            handlelength=3.2,
            fontsize=8.5,
        )
    else:
        remark(axes, "No method was checked.", colours.quiet)
    return figure
