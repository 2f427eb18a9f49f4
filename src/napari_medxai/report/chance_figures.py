"""Drawings of how methods stand to chance, and to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .drawing import blank, dress, fill, method_label, rank_key, remark, thinned
from .figures import X_LABEL, Y_LABELS
from .styles import THEMES, Theme, line_styles
from .wording import estimate_parts, number

__all__ = ["chance_figure", "mean_rank_figure", "share_figure"]

COLUMNS = 4
HALF = 0.5
FEW = 101  # points of a curve in a small panel


def chance_figure(
    curves: Mapping[str, Any],
    bands: Mapping[str, Any],
    *,
    metric: Literal["AIC", "SIC"],
    labels: Mapping[str, str] | None = None,
    theme: Theme = "light",
    baseline: str = "random",
    entropy: str = "WebP size",
) -> Figure:
    """Draw each method's curve before the band of its own chance maps.

    A panel for each method: chance maps keep the values of the map they stand for,
    so that each method has chance maps of its own, and no band serves two.

    Parameters
    ----------
    curves : mapping of str to object
        As for :func:`.figures.curve_figure`.
    bands : mapping of str to object
        By method: with ``.x``, ``.low``, ``.middle`` and ``.high`` (points,). Methods
        without one are left out.
    metric, labels, theme, baseline, entropy
        As for :func:`.figures.curve_figure`.

    Returns
    -------
    Figure
    """
    colours = THEMES[theme]
    names = sorted((n for n in curves if n in bands), key=lambda n: rank_key(curves[n]))
    rows = max(1, -(-len(names) // COLUMNS))
    columns = max(1, -(-len(names) // rows))
    figure = blank(None, (8.4, 0.95 + 1.95 * rows), theme)
    if not names:
        axes = dress(figure.add_subplot(), theme)
        remark(axes, "No chance maps were measured.", colours.quiet)
        return figure
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    styles = line_styles(curves, theme=theme, baseline=baseline)
    for i, axes in enumerate(grid.flat):
        if i >= len(names):
            axes.set_visible(False)
            continue
        name = names[i]
        curve, band = curves[name], bands[name]
        dress(axes, theme, title=method_label(name, labels, baseline), size=9)
        axes.title.set_position((0, 1))
        fill(axes, band.x, band.low, band.high, colours.baseline, alpha=0.3, points=FEW)
        axes.plot(
            thinned(band.x, FEW),
            thinned(band.middle, FEW),
            color=colours.quiet,
            linewidth=0.9,
        )
        fill(
            axes,
            curve.x,
            getattr(curve, "y_low", None),
            getattr(curve, "y_high", None),
            styles[name].colour,
            alpha=0.22,
            points=FEW,
        )
        axes.plot(
            thinned(curve.x, FEW),
            thinned(curve.y, FEW),
            color=styles[name].colour,
            linewidth=1.7,
        )
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes.tick_params(labelsize=8, labelbottom=i + columns >= len(names))
        axes.grid(visible=True, color=colours.grid, linewidth=0.7)
    label: dict[str, Any] = {"color": colours.ink, "fontsize": 9}
    figure.supxlabel(X_LABEL.format(gap=" ", entropy=entropy), **label)
    figure.supylabel(Y_LABELS[metric].replace(" of the", "\nof the"), **label)
    figure.legend(
        handles=[
            Line2D([], [], color=colours.ink, linewidth=1.7, label="the method"),
            Line2D([], [], color=colours.quiet, linewidth=0.9, label="chance, middle"),
            Patch(color=colours.baseline, alpha=0.3, label="chance, 95 % of its maps"),
        ],
        loc="outside upper left",
        ncols=3,
        frameon=False,
        labelcolor=colours.ink,
        fontsize=8.5,
        title=f"{metric}, each method before its own chance maps",
        title_fontproperties={"size": 10.5},
        alignment="left",
    ).get_title().set_color(colours.ink)
    return figure


def share_figure(
    shares: Mapping[str, Mapping[str, Any]],
    *,
    labels: Mapping[str, str] | None = None,
    theme: Theme = "light",
    baseline: str = "random",
) -> Figure:
    """Draw which share of its chance maps a method's map stands above.

    Parameters
    ----------
    shares : mapping of str to mapping of str to object
        By metric (a panel each), then by method: with ``.value`` in [0, 1], where
        known ``.ci_low`` and ``.ci_high``, and ``.mark``: whether it is better than
        chance after correction. Only then the mark is filled.
    labels, theme, baseline
        As for :func:`.figures.curve_figure`.

    Returns
    -------
    Figure
    """
    colours = THEMES[theme]
    last = list(shares)[-1] if shares else ""
    names = list(dict.fromkeys(n for of in shares.values() for n in of))
    names.sort(key=lambda n: rank_key(shares[last].get(n)))
    figure = blank(None, (8.4, 1.25 + 0.3 * max(1, len(names))), theme)
    panels = figure.subplots(1, max(1, len(shares)), sharey=True, squeeze=False)[0]
    styles = line_styles(names, theme=theme, baseline=baseline)
    for axes, (metric, found) in zip(panels, shares.items(), strict=False):
        dress(axes, theme, title=metric)
        axes.axvline(HALF, color=colours.baseline, linewidth=1.2, zorder=1)
        axes.text(
            HALF,
            1.0,
            "chance",
            transform=axes.get_xaxis_transform(),
            color=colours.quiet,
            size=8,
            ha="center",
            va="bottom",
        )
        for row, name in enumerate(names):
            _dot(axes, row, found.get(name), styles[name].colour, theme)
        axes.set(xlim=(-0.02, 1.02), xticks=(0, 0.25, 0.5, 0.75, 1))
        axes.set_xlabel("Share of chance maps below the map")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=colours.ink)
        axes.grid(visible=True, axis="x", color=colours.grid, linewidth=0.8)
    panels[0].set_yticks(
        range(len(names)), [method_label(n, labels, baseline) for n in names]
    )
    panels[0].set_ylim(max(1, len(names)) - 0.4, -0.6)
    if not names:
        remark(
            dress(panels[0], theme), "Nothing was tested against chance.", colours.quiet
        )
    return figure


def mean_rank_figure(
    comparisons: Mapping[str, Any],
    *,
    labels: Mapping[str, str] | None = None,
    theme: Theme = "light",
    baseline: str = "random",
) -> Figure:
    """Draw mean ranks with the critical difference (Demšar 2006, JMLR 7, figure 1).

    Parameters
    ----------
    comparisons : mapping of str to object
        By metric (a panel each): with ``.methods``, ``.mean_ranks`` (1 is best) and
        ``.critical_difference``.
    labels, theme, baseline
        As for :func:`.figures.curve_figure`.

    Returns
    -------
    Figure
        Thick lines join methods whose mean ranks differ by less than the critical
        difference.
    """
    heights = [_height(c) for c in comparisons.values()]
    figure = blank(None, (8.4, 0.25 + 0.27 * sum(heights)), theme)
    panels = figure.subplots(
        max(1, len(heights)), 1, squeeze=False, height_ratios=heights or None
    )[:, 0]
    for axes, (metric, found) in zip(panels, comparisons.items(), strict=False):
        _ranked(axes, metric, found, labels, theme, baseline)
    if not comparisons:
        remark(
            dress(panels[0], theme), "No methods were compared.", THEMES[theme].quiet
        )
    return figure


def _dot(axes: Axes, row: int, share: Any, colour: str, theme: Theme) -> None:
    colours = THEMES[theme]
    value, low, high = estimate_parts(share)
    if value is None:
        axes.text(HALF, row, " not tested ", color=colours.quiet, size=8, va="center")
        return
    if low is not None and high is not None:
        axes.hlines(row, low, high, color=colour, linewidth=2, zorder=2)
    axes.plot(
        [value],
        [row],
        marker="o",
        markersize=6.5,
        markerfacecolor=colour if share.mark else colours.paper,
        markeredgecolor=colour,
        markeredgewidth=1.6,
        linestyle="none",
        zorder=3,
    )


def cliques(ranks: Sequence[float], width: float) -> list[tuple[int, int]]:
    """Longest runs of sorted ranks that lie within `width`, of two and more.

    Parameters
    ----------
    ranks : sequence of float
        Ascending.
    width : float
        The critical difference.

    Returns
    -------
    list of tuple
        (first, last) positions.
    """
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        near = [i for i in range(len(ranks)) if ranks[i] - ranks[first] < width]
        last = max(near, default=first)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def _sorted(comparison: Any) -> tuple[list[str], list[float]]:
    pairs = sorted(
        zip(comparison.mean_ranks, comparison.methods, strict=True),
        key=lambda pair: pair[0],
    )
    return [name for _, name in pairs], [float(rank) for rank, _ in pairs]


def _height(comparison: Any) -> float:
    _, ranks = _sorted(comparison)
    bars = len(cliques(ranks, comparison.critical_difference))
    return 3.4 + 0.5 * bars + 0.85 * -(-len(ranks) // 2)


def _ranked(
    axes: Axes,
    metric: str,
    comparison: Any,
    labels: Mapping[str, str] | None,
    theme: Theme,
    baseline: str,
) -> None:
    """Draw one scale: best left, each name on the nearer side."""
    colours = THEMES[theme]
    names, ranks = _sorted(comparison)
    width = float(comparison.critical_difference)
    count = len(ranks)
    dress(axes, theme, title=f"{metric}, mean rank (1 is best)")
    margin = 0.42 * (count - 1)
    axes.set(xlim=(1 - margin, count + margin), ylim=(_height(comparison) - 2.2, -1.4))
    axes.axis("off")
    line: dict[str, Any] = {
        "color": colours.ink,
        "linewidth": 1.0,
        "solid_capstyle": "butt",
    }
    axes.plot([1, count], [0, 0], **line)
    for place in range(1, count + 1):
        axes.plot([place, place], [0, -0.18], **line)
        axes.text(
            place,
            -0.3,
            str(place),
            color=colours.quiet,
            size=8.5,
            ha="center",
            va="bottom",
        )
    if np.isfinite(width):
        start = count + margin - min(width, count - 1.0)
        axes.plot([start, count + margin], [-1.1, -1.1], **{**line, "linewidth": 1.6})
        _beside(axes, start, -1.1, f"critical difference {number(width, 2)}", "right")
        axes.texts[-1].set_color(colours.quiet)
    joined = cliques(ranks, width)
    for i, (first, last) in enumerate(joined):
        level = 0.42 + 0.5 * i
        axes.plot(
            [ranks[first] - 0.04, ranks[last] + 0.04],
            [level, level],
            color=colours.quiet,
            linewidth=4,
            alpha=0.8,
            solid_capstyle="butt",
        )
    styles = line_styles(names, theme=theme, baseline=baseline)
    top = 0.42 + 0.5 * len(joined) + 0.55
    half = -(-count // 2)
    for i, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        left = i < half
        level = top + 0.85 * (i if left else count - 1 - i)
        end = 1 - 0.06 * margin if left else count + 0.06 * margin
        axes.plot(
            [rank, rank, end], [0, level, level], color=colours.quiet, linewidth=0.8
        )
        axes.plot([rank], [0], "o", color=styles[name].colour, markersize=5, zorder=3)
        label, mean = method_label(name, labels, baseline), number(rank, 2)
        text = f"{label}  {mean}" if left else f"{mean}  {label}"
        _beside(axes, end, level, text, "right" if left else "left")
        axes.texts[-1].set_color(colours.ink)


def _beside(axes: Axes, x: float, y: float, text: str, align: str) -> None:
    axes.annotate(
        text,
        (x, y),
        xytext=(-5 if align == "right" else 5, 0),
        textcoords="offset points",
        size=9,
        ha=align,
        va="center",
    )
