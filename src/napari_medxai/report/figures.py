"""The drawings of the report and of the dock: one builder for both.

Everything is built on :class:`matplotlib.figure.Figure` without pyplot, so that it
works in threads, without a screen and inside Qt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .drawing import blank, dress, fill, method_label, rank_key, remark, thinned
from .styles import THEMES, Theme, line_styles
from .vector import save_figures, svg_text
from .wording import estimate_parts, interval_text

__all__ = ["bar_figure", "curve_figure", "save_figures", "svg_text"]

X_LABEL = "Share of the image's information revealed{gap}(normalised {entropy})"
Y_LABELS = {
    "AIC": "Normalised accuracy",
    "SIC": "Normalised probability of the explained class",
}
NARROW = 6.5  # inches, below which labels are broken and the legend has one column


def curve_figure(
    curves: Mapping[str, Any],
    *,
    metric: Literal["AIC", "SIC"],
    title: str = "",
    labels: Mapping[str, str] | None = None,
    theme: Theme = "light",
    baseline: str = "random",
    legend: Literal["right", "below", "none"] = "right",
    bands: bool = True,
    entropy: str = "WebP size",
    figure: Figure | None = None,
) -> Figure:
    """Draw the information curves of several methods.

    Parameters
    ----------
    curves : mapping of str to object
        By method: with ``.x`` and ``.y`` (points,), ``.value`` or ``.auc`` and,
        where known, ``.ci_low``, ``.ci_high`` and the band ``.y_low``, ``.y_high``:
        a :class:`~napari_medxai.metrics.Aggregate` or
        :class:`~napari_medxai.metrics.InformationCurve`.
    metric : {"AIC", "SIC"}
    title : str
    labels : mapping of str to str, optional
        Names of the methods for people.
    theme : {"light", "dark"}
    baseline : str
        The method that is drawn in gray dashes, and named as baseline.
    legend : {"right", "below", "none"}
        Where the methods are named, with AUC and interval, best first.
    bands : bool
        Whether the intervals' bands are drawn, where there are any.
    entropy : str
        What the preset measures the information by.
    figure : Figure, optional
        Drawn into after it is cleared; else a new one.

    Returns
    -------
    Figure
    """
    colours = THEMES[theme]
    fresh = blank(figure, (8.4, 4.6), theme)
    axes = dress(fresh.add_subplot(), theme, title=title)
    styles = line_styles(curves, theme=theme, baseline=baseline)
    ordered = sorted(curves, key=lambda name: rank_key(curves[name]))
    handles = []
    for name in ordered:
        curve, style = curves[name], styles[name]
        text = f"{method_label(name, labels, baseline)}  {interval_text(curve)}"
        line: dict[str, Any] = {
            "color": style.colour,
            "linestyle": style.dashes,
            "linewidth": 1.6,
            "label": text,
        }
        x, y = thinned(curve.x), thinned(curve.y)
        if not np.isfinite(y).all():
            handles.append(Line2D([], [], **{**line, "color": "none"}))
            continue
        if bands:
            low, high = (getattr(curve, n, None) for n in ("y_low", "y_high"))
            fill(axes, curve.x, low, high, style.colour)
        (drawn,) = axes.plot(x, y, solid_capstyle="round", **line)
        handles.append(drawn)
    if not axes.lines:
        remark(axes, "No image has a curve: all were excluded.", colours.quiet)
    narrow = fresh.get_figwidth() < NARROW
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1.02),
        xlabel=X_LABEL.format(gap="\n" if narrow else " ", entropy=entropy),
        ylabel=Y_LABELS[metric],
    )
    axes.grid(visible=True, color=colours.grid, linewidth=0.8)
    if legend != "none" and handles:
        beside = legend == "right"
        fresh.legend(
            handles=handles,
            loc="outside right upper" if beside else "outside lower center",
            ncols=1 if beside or narrow else 2,
            title=f"{metric} area under the curve",
            frameon=False,
            labelcolor=colours.ink,
            handlelength=3.2,
            fontsize=8.5,
            title_fontproperties={"size": 9},
            alignment="left",
        ).get_title().set_color(colours.quiet)
    return fresh


def bar_figure(
    values: Mapping[str, Any],
    *,
    label: str,
    title: str = "",
    labels: Mapping[str, str] | None = None,
    theme: Theme = "light",
    baseline: str = "random",
    figure: Figure | None = None,
) -> Figure:
    """Draw one number by method as dots with intervals, best at the top.

    Parameters
    ----------
    values : mapping of str to object
        By method: with ``.value`` (or ``.auc``) and, where known, ``.ci_low`` and
        ``.ci_high``.
    label : str
        What the number is, for the axis.
    title, labels, theme, figure
        As in :func:`curve_figure`.
    baseline : str
        The method whose value goes on as a vertical line.

    Returns
    -------
    Figure
    """
    colours = THEMES[theme]
    height = 1.15 + 0.3 * max(1, len(values))
    fresh = blank(figure, (8.4, height), theme)
    axes = dress(fresh.add_subplot(), theme, title=title)
    styles = line_styles(values, theme=theme, baseline=baseline)
    ordered = sorted(values, key=lambda name: rank_key(values[name]))
    reference = estimate_parts(values[baseline])[0] if baseline in values else None
    if reference is not None:
        axes.axvline(
            reference,
            color=colours.baseline,
            linestyle=styles[baseline].dashes,
            linewidth=1.2,
            zorder=1,
            label=method_label(baseline, labels, baseline),
        )
    for row, name in enumerate(ordered):
        value, low, high = estimate_parts(values[name])
        colour = styles[name].colour
        if value is None:
            axes.text(0.01, row, "no value", color=colours.quiet, va="center", size=8.5)
            continue
        if low is not None and high is not None:
            axes.hlines(row, low, high, color=colour, linewidth=2, zorder=2)
        face = colours.paper if name == baseline else colour
        axes.plot(
            [value],
            [row],
            marker="o",
            markersize=6.5,
            markerfacecolor=face,
            markeredgecolor=colour,
            markeredgewidth=1.6,
            linestyle="none",
            zorder=3,
            label=method_label(name, labels, baseline),
        )
    names = [method_label(name, labels, baseline) for name in ordered]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(1, len(names)) - 0.4, -0.6)
    axes.set_xlim(*_limits(values))
    axes.set_xlabel(label)
    axes.tick_params(axis="y", length=0, labelcolor=colours.ink)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x", color=colours.grid, linewidth=0.8)
    for row, name in enumerate(ordered):
        axes.text(
            1.02,
            row,
            interval_text(values[name]),
            transform=axes.get_yaxis_transform(),
            color=colours.ink,
            size=8.5,
            va="center",
        )
    if not values:
        remark(axes, "No method was measured.", colours.quiet)
    return fresh


def _limits(values: Mapping[str, Any]) -> tuple[float, float]:
    """Range of an axis: [0, 1], or more where the numbers go further."""
    found = [
        n for value in values.values() for n in estimate_parts(value) if n is not None
    ]
    low, high = min([0.0, *found]), max([1.0, *found])
    return (low * 1.05 if low < 0 else 0.0), (high * 1.05 if high > 1 else 1.0)
