"""The drawing of a comparison: differences by method with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from matplotlib.figure import Figure

from napari_medxai.report.drawing import blank, dress, remark
from napari_medxai.report.styles import THEMES, Theme, line_styles
from napari_medxai.report.wording import number

from .pairing import PairedDifference

__all__ = ["difference_text", "forest_figure"]


def difference_text(one: PairedDifference) -> str:
    """Write a difference with its sign and interval, ``+0.021 [−0.010, 0.052]``."""
    if not isfinite(one.difference):
        return number(None)
    sign = "+" if round(one.difference, 3) > 0 else ""
    text = f"{sign}{number(one.difference)}"
    if not (isfinite(one.ci_low) and isfinite(one.ci_high)):
        return text
    return f"{text} [{number(one.ci_low)}, {number(one.ci_high)}]"


def forest_figure(
    differences: Sequence[PairedDifference],
    *,
    label: str,
    labels: Mapping[str, str] | None = None,
    theme: Theme = "light",
) -> Figure:
    """Draw differences B − A as dots with intervals around a line at zero.

    Parameters
    ----------
    differences : sequence of PairedDifference
        One metric under one preset; those without a value are named as such.
    label : str
        What is compared, for the axis.
    labels : mapping of str to str, optional
        Names of the methods for people.
    theme : {"light", "dark"}

    Returns
    -------
    Figure
        A filled dot differs after Holm's correction (p ≤ 0.05), an open one does not.
    """
    colours = THEMES[theme]
    figure = blank(None, (8.4, 1.0 + 0.3 * max(1, len(differences))), theme)
    axes = dress(figure.add_subplot(), theme)
    ordered = sorted(
        differences,
        key=lambda d: -d.difference if isfinite(d.difference) else float("inf"),
    )
    styles = line_styles([d.method for d in ordered], theme=theme)
    axes.axvline(0, color=colours.quiet, linewidth=1.0, zorder=1)
    for row, one in enumerate(ordered):
        colour = styles[one.method].colour
        if isfinite(one.ci_low) and isfinite(one.ci_high):
            axes.hlines(row, one.ci_low, one.ci_high, color=colour, linewidth=2)
        if isfinite(one.difference):
            axes.plot(
                [one.difference],
                [row],
                marker="o",
                markersize=6.5,
                markerfacecolor=colour if one.told_apart else colours.paper,
                markeredgecolor=colour,
                markeredgewidth=1.6,
                linestyle="none",
                zorder=3,
            )
        axes.text(
            1.02,
            row,
            difference_text(one) if isfinite(one.difference) else "no pairs",
            transform=axes.get_yaxis_transform(),
            color=colours.ink if isfinite(one.difference) else colours.quiet,
            size=8.5,
            va="center",
        )
    names = [(labels or {}).get(d.method, d.method) for d in ordered]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(1, len(names)) - 0.4, -0.6)
    axes.set_xlim(*_limits(ordered))
    axes.set_xlabel(f"{label}, B − A")
    axes.tick_params(axis="y", length=0, labelcolor=colours.ink)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x", color=colours.grid, linewidth=0.8)
    if not ordered:
        remark(axes, "Nothing was compared.", colours.quiet)
    return figure


def _limits(differences: Sequence[PairedDifference]) -> tuple[float, float]:
    """Range that shows zero and every interval, with a margin."""
    ends = [0.0]
    for one in differences:
        ends += [v for v in (one.difference, one.ci_low, one.ci_high) if isfinite(v)]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin
