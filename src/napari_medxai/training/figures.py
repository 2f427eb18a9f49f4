"""Drawings of a training: learning curves, confusion matrix, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from napari_medxai.report.drawing import blank, dress
from napari_medxai.report.styles import COLOURS, THEMES

from .calibration import Reliability

__all__ = ["confusion_figure", "learning_figure", "reliability_figure"]

BLUE, ORANGE = COLOURS["blue"][0], COLOURS["vermilion"][0]
COLOUR = THEMES["light"]


def learning_figure(history: Sequence[Mapping[str, float]], kept: int) -> Figure:
    """Draw losses, and macro F1 on the selection set, epoch by epoch.

    Parameters
    ----------
    history : sequence of mapping
        Rows of ``history.csv``.
    kept : int
        The epoch whose weights were kept; marked.

    Returns
    -------
    Figure
    """
    figure = blank(None, (8.4, 3.4), "light")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    dress(left, "light", title="Loss")
    dress(right, "light", title=f"Macro F1 on the selection set; epoch {kept} kept")
    for key, name, colour, dashes in (
        ("loss", "training, augmented", BLUE, "--"),
        ("selection_loss", "selection set", ORANGE, "-"),
    ):
        left.plot(
            epochs,
            [row[key] for row in history],
            dashes,
            color=colour,
            label=name,
            lw=1.6,
        )
    right.plot(epochs, [row["macro_f1"] for row in history], color=ORANGE, lw=1.6)
    chosen = next(row for row in history if row["epoch"] == kept)
    for axes, value in ((left, chosen["selection_loss"]), (right, chosen["macro_f1"])):
        axes.plot([kept], [value], "o", color=ORANGE, ms=6)
        axes.grid(visible=True, color=COLOUR.grid, linewidth=0.8)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(epochs) == 1:
            axes.set_xlim(0, 2)
    left.legend(frameon=False, fontsize=8.5, labelcolor=COLOUR.ink)
    return figure


def confusion_figure(
    matrix: NDArray[np.int64], classes: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw counts by true and predicted class, shaded by their share of the true class.

    Parameters
    ----------
    matrix : ndarray of int, (classes, classes)
        Rows the truth, columns the prediction.
    classes : sequence of str
    title : str

    Returns
    -------
    Figure
    """
    side = 1.6 + 0.75 * len(classes)
    figure = blank(None, (side + 0.9, side), "light")
    axes = dress(figure.add_subplot(), "light", title=title)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    picture = np.empty((*matrix.shape, 4))
    picture[..., :3] = to_rgb(BLUE)
    picture[..., 3] = 0.55 * shares  # transparent, so that it stands on any paper
    axes.imshow(picture)
    for (row, column), n in np.ndenumerate(matrix):
        axes.text(
            column, row, str(n), ha="center", va="center", color=COLOUR.ink, fontsize=10
        )
    places = range(len(classes))
    axes.set_xticks(places, classes, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, classes)
    axes.set(xlabel="Predicted class", ylabel="True class")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def reliability_figure(
    panels: Mapping[str, Reliability], *, errors: Mapping[str, str]
) -> Figure:
    """Draw accuracy against confidence in bins of equal mass.

    Parameters
    ----------
    panels : mapping of str to Reliability
        By title.
    errors : mapping of str to str
        What to write into each panel: its calibration error.

    Returns
    -------
    Figure
    """
    figure = blank(None, (4.2 * len(panels), 4.0), "light")
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    # where the least confident bin stands decides what is worth drawing
    low = min(min(p.confidence.min(), p.accuracy.min()) for p in panels.values())
    start = max(0.0, np.floor(10 * low) / 10 - 0.02)
    for axes, (title, panel) in zip(row, panels.items(), strict=True):
        dress(axes, "light", title=title)
        _reliability(axes, panel, start)
        axes.text(
            0.97,
            0.05,
            errors[title],
            transform=axes.transAxes,
            ha="right",
            fontsize=9,
            color=COLOUR.ink,
        )
    return figure


def _reliability(axes: Axes, panel: Reliability, start: float) -> None:
    axes.plot([0, 1], [0, 1], color=COLOUR.baseline, ls=(0, (3, 2.4)), lw=1)
    for x, y in zip(panel.confidence, panel.accuracy, strict=True):
        axes.plot([x, x], [x, y], color=BLUE, lw=1.2, alpha=0.5)
    axes.plot(panel.confidence, panel.accuracy, "o", color=BLUE, ms=5)
    axes.set(
        xlim=(start, 1.02),
        ylim=(start, 1.02),
        xlabel="Mean probability of the predicted class",
        ylabel="Share of right answers",
    )
    axes.set_aspect("equal")
    axes.grid(visible=True, color=COLOUR.grid, linewidth=0.8)
