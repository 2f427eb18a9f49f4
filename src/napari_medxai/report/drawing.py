"""What all drawings share: themed axes, labels of methods, thinned curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .styles import THEMES, Theme
from .wording import estimate_parts

__all__ = ["blank", "dress", "fill", "method_label", "rank_key", "remark", "thinned"]

POINTS = 201  # a drawing shows no more; the curves have 1001


def blank(figure: Figure | None, size: tuple[float, float], theme: Theme) -> Figure:
    """Return a cleared figure on the theme's paper."""
    if figure is None:
        figure = Figure(figsize=size)
    else:
        figure.clear()
    figure.set_layout_engine("constrained")
    figure.set_facecolor(THEMES[theme].paper)
    return figure


def dress(axes: Axes, theme: Theme, *, title: str = "", size: float = 10.5) -> Axes:
    """Give axes the theme's colours and two spines."""
    colours = THEMES[theme]
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", color=colours.ink, fontsize=size, pad=10)
    axes.tick_params(colors=colours.quiet, labelsize=8.5)
    for side, spine in axes.spines.items():
        spine.set_color(colours.quiet)
        spine.set_linewidth(0.8)
        spine.set_visible(side in ("left", "bottom"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=colours.ink, fontsize=9)
    return axes


def fill(
    axes: Axes,
    x: Any,
    low: Any,
    high: Any,
    colour: str,
    *,
    alpha: float = 0.1,
    points: int = POINTS,
) -> None:
    """Draw a band between two lines; not where one of them is missing."""
    if low is None or high is None:
        return
    below, above = thinned(low, points), thinned(high, points)
    if np.isfinite(below).all() and np.isfinite(above).all():
        axes.fill_between(
            thinned(x, points), below, above, color=colour, alpha=alpha, linewidth=0
        )


def thinned(values: Any, points: int = POINTS) -> NDArray[np.float64]:
    """Return as many points of a curve as a drawing can show."""
    array = np.asarray(values, dtype=np.float64)
    if array.size <= points:
        return array
    chosen = np.linspace(0, array.size - 1, points).round().astype(np.intp)
    fewer: NDArray[np.float64] = array[chosen]
    return fewer


def rank_key(value: Any) -> float:
    """Sort by this for the largest estimate first, missing ones last."""
    middle = estimate_parts(value)[0]
    return float("inf") if middle is None else -middle


def method_label(name: str, labels: Mapping[str, str] | None, baseline: str) -> str:
    """Name of a method for people; the baseline is called one."""
    text = (labels or {}).get(name, name)
    return f"{text} (baseline)" if name == baseline else text


def remark(axes: Axes, text: str, colour: str) -> None:
    """Write where there is nothing to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, color=colour, ha="center")
