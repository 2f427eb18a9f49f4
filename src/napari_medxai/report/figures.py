"""The drawings of the report and of the dock: one builder for both.

Everything is built on :class:`matplotlib.figure.Figure` without pyplot, so that it
works in threads, without a screen and inside Qt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

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
POINTS = 201  # a drawing shows no more; the curves have 1001


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
    fresh, axes = _blank(figure, (8.4, 4.6), title, theme)
    styles = line_styles(curves, theme=theme, baseline=baseline)
    ordered = sorted(curves, key=lambda name: _rank(curves[name]))
    handles = []
    for name in ordered:
        curve, style = curves[name], styles[name]
        text = f"{_label(name, labels, baseline)}  {interval_text(curve)}"
        line: dict[str, Any] = {
            "color": style.colour,
            "linestyle": style.dashes,
            "linewidth": 1.6,
            "label": text,
        }
        x, y = _thinned(curve.x), _thinned(curve.y)
        if not np.isfinite(y).all():
            handles.append(Line2D([], [], **{**line, "color": "none"}))
            continue
        if bands:
            _band(axes, x, curve, style.colour)
        (drawn,) = axes.plot(x, y, solid_capstyle="round", **line)
        handles.append(drawn)
    if not axes.lines:
        _remark(axes, "No image has a curve: all were excluded.", colours.quiet)
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
    fresh, axes = _blank(figure, (8.4, height), title, theme)
    styles = line_styles(values, theme=theme, baseline=baseline)
    ordered = sorted(values, key=lambda name: _rank(values[name]))
    reference = estimate_parts(values[baseline])[0] if baseline in values else None
    if reference is not None:
        axes.axvline(
            reference,
            color=colours.baseline,
            linestyle=styles[baseline].dashes,
            linewidth=1.2,
            zorder=1,
            label=_label(baseline, labels, baseline),
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
            label=_label(name, labels, baseline),
        )
    names = [_label(name, labels, baseline) for name in ordered]
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
        _remark(axes, "No method was measured.", colours.quiet)
    return fresh


def _blank(
    figure: Figure | None, size: tuple[float, float], title: str, theme: Theme
) -> tuple[Figure, Axes]:
    """Return a cleared figure and its themed axes."""
    colours = THEMES[theme]
    if figure is None:
        figure = Figure(figsize=size)
    else:
        figure.clear()
    figure.set_layout_engine("constrained")
    figure.set_facecolor(colours.paper)
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", color=colours.ink, fontsize=10.5, pad=10)
    axes.tick_params(colors=colours.quiet, labelsize=8.5)
    for side, spine in axes.spines.items():
        spine.set_color(colours.quiet)
        spine.set_linewidth(0.8)
        spine.set_visible(side in ("left", "bottom"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=colours.ink, fontsize=9)
    return figure, axes


def _band(axes: Axes, x: NDArray[np.float64], curve: Any, colour: str) -> None:
    if getattr(curve, "y_low", None) is None or getattr(curve, "y_high", None) is None:
        return
    low, high = _thinned(curve.y_low), _thinned(curve.y_high)
    if np.isfinite(low).all() and np.isfinite(high).all():
        axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)


def _thinned(values: Any) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.size <= POINTS:
        return array
    chosen = np.linspace(0, array.size - 1, POINTS).round().astype(np.intp)
    thinned: NDArray[np.float64] = array[chosen]
    return thinned


def _rank(value: Any) -> float:
    middle = estimate_parts(value)[0]
    return float("inf") if middle is None else -middle


def _limits(values: Mapping[str, Any]) -> tuple[float, float]:
    """Range of an axis: [0, 1], or more where the numbers go further."""
    found = [
        n for value in values.values() for n in estimate_parts(value) if n is not None
    ]
    low, high = min([0.0, *found]), max([1.0, *found])
    return (low * 1.05 if low < 0 else 0.0), (high * 1.05 if high > 1 else 1.0)


def _label(name: str, labels: Mapping[str, str] | None, baseline: str) -> str:
    text = (labels or {}).get(name, name)
    return f"{text} (baseline)" if name == baseline else text


def _remark(axes: Axes, text: str, colour: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, color=colour, ha="center")
