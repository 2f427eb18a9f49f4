"""The drawings of the methods under one preset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from .chance_figures import chance_figure, mean_rank_figure, share_figure
from .content import Link, SvgFigure
from .figures import bar_figure, curve_figure, save_figures, svg_text
from .presets import axis_text
from .sentences import null_words
from .standings import Standing
from .summary import Summary
from .wording import interval_only

__all__ = ["METRICS", "drawn", "method_figures"]

METRICS: tuple[Literal["aic", "sic"], ...] = ("aic", "sic")


def drawn(out: Path, stem: str, build: Callable[[], Figure], caption: str) -> SvgFigure:
    """Draw a figure, for the page and as files.

    Parameters
    ----------
    out : Path
        The output folder.
    stem : str
        File name without its ending; a preset's colon becomes a hyphen.
    build : callable
        Returns the figure in the light theme.
    caption : str
    """
    name = stem.replace(":", "-")
    figure = build()
    # the layout is found once, not for each of the three files
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    paths = save_figures(out / "figures", {name: figure})
    return SvgFigure(
        svg=svg_text(figure, name=name, alt=caption),
        caption=caption,
        links=tuple(
            Link(path=f"figures/{p.name}", text=p.suffix[1:].upper()) for p in paths
        ),
    )


def method_figures(
    out: Path,
    summary: Summary,
    preset: str,
    methods: Sequence[str],
    labels: Mapping[str, str],
    found: Mapping[str, Mapping[str, Standing]],
) -> list[SvgFigure]:
    """Draw curves, areas, standing to chance and mean ranks of one preset.

    Parameters
    ----------
    out : Path
        The output folder; drawings go to ``figures/``.
    summary : Summary
    preset : str
    methods : sequence of str
    labels : mapping of str to str
    found : mapping
        The :func:`.standings.standings`; empty where nothing was tested.
    """
    figures = []
    for metric in METRICS:
        figures += _metric_figures(out, summary, metric, preset, methods, labels)
    shares = {
        metric.upper(): {
            name: of[metric].share
            for name, of in found.items()
            if metric in of and of[metric].share.value is not None
        }
        for metric in METRICS[::-1]
    }
    shares = {metric: of for metric, of in shares.items() if of}
    if shares:
        words = null_words(summary.null).maps
        sure = any(interval_only(s) for of in shares.values() for s in of.values())
        over = f", with its 95 % bootstrap interval over {summary.unit}" if sure else ""
        figures.append(
            drawn(
                out,
                f"chance-{preset}",
                lambda: share_figure(shares, labels=labels),
                f"Share of its chance maps that a map stands above, on average{over}; "
                f"chance maps are {words}. A filled mark: better than chance after "
                "Holm's correction.",
            )
        )
    compared = {
        metric.upper(): comparison
        for metric in METRICS[::-1]
        if (comparison := summary.comparisons.get((metric, preset))) is not None
    }
    if compared:
        figures.append(
            drawn(
                out,
                f"ranks-{preset}",
                lambda: mean_rank_figure(compared, labels=labels),
                f"Mean rank of each method's area over {summary.unit}. Lines join "
                "methods nearer to each other than Nemenyi's critical difference at "
                "5 % (Demšar 2006): ranks alone do not tell these apart. The paired "
                "tests stand below.",
            )
        )
    return figures


def _metric_figures(
    out: Path,
    summary: Summary,
    metric: Literal["aic", "sic"],
    preset: str,
    methods: Sequence[str],
    labels: Mapping[str, str],
) -> list[SvgFigure]:
    lines = {m: summary.find(m, metric, preset=preset) for m in methods}
    curves = {m: v.curve for m, v in lines.items() if v and v.curve is not None}
    if not curves:
        return []
    name: Any = metric.upper()
    values = {m: v for m, v in lines.items() if v is not None and v.n > 0}
    # of this metric: exclusions can leave it fewer units than the run has
    sure = any(isfinite(line.ci_low) for line in values.values())
    band = " with the bootstrap band" if sure else ""
    interval = f", 95 % bootstrap interval over {summary.unit}" if sure else ""
    entropy = axis_text(preset)
    figures = [
        drawn(
            out,
            f"{metric}-{preset}",
            lambda: curve_figure(
                curves,
                metric=name,
                title=f"{name}, median curve",
                labels=labels,
                entropy=entropy,
            ),
            f"{name}: median over images{band}.",
        )
    ]
    bands = {m: b for m in curves if (b := summary.bands.get((m, metric, preset)))}
    if bands:
        figures.append(
            drawn(
                out,
                f"{metric}-chance-{preset}",
                lambda: chance_figure(
                    curves, bands, metric=name, labels=labels, entropy=entropy
                ),
                f"{name}: each method's median curve{band} before the median curves "
                "of its chance maps: gray, their middle and 95 % of them. Chance maps "
                "keep a map's own values, so that each method has its own.",
            )
        )
    figures.append(
        drawn(
            out,
            f"{metric}-auc-{preset}",
            lambda: bar_figure(
                values,
                label=f"Area under the {name}",
                title=f"Area under the {name} by method",
                labels=labels,
            ),
            f"Area under the {name}{interval}.",
        )
    )
    return figures
