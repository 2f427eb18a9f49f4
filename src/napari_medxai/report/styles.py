"""Colours and line styles of the drawings, one for each method on either theme."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["THEMES", "LineStyle", "Theme", "ThemeColours", "line_styles"]

Theme: TypeAlias = Literal["light", "dark"]
Dashes: TypeAlias = tuple[int, tuple[float, ...]]

SOLID: Dashes = (0, ())
DASHED: Dashes = (0, (5, 2))
DOTTED: Dashes = (0, (1.2, 1.6))
DASHDOT: Dashes = (0, (6, 1.8, 1.2, 1.8))
BASELINE: Dashes = (0, (3, 2.4))
# Okabe & Ito's colours for all kinds of colour vision, and two of Tol's, each for
# light and for dark paper.
COLOURS: dict[str, tuple[str, str]] = {
    "orange": ("#c77f00", "#f0b033"),
    "vermilion": ("#c8500a", "#ff8a4c"),
    "sky": ("#2f94cf", "#7cc8f5"),
    "blue": ("#005f9e", "#5aa2f0"),
    "green": ("#00805c", "#35c79b"),
    "pink": ("#b8568f", "#e9a1ca"),
    "purple": ("#6f3d9c", "#bb96e8"),
    "wine": ("#882255", "#e0709f"),
    "olive": ("#77772a", "#c3c35e"),
    "teal": ("#1a7f8a", "#5ccfd9"),
}
# Families share a dash pattern, so that the curves are told apart without colour.
KNOWN: dict[str, tuple[str, Dashes]] = {
    "vanilla_gradient": ("orange", DOTTED),
    "smoothgrad": ("vermilion", DOTTED),
    "integrated_gradients": ("sky", DASHED),
    "guided_ig": ("blue", DASHED),
    "blur_ig": ("teal", DASHED),
    "smoothgrad_ig": ("olive", DASHED),
    "xrai": ("green", SOLID),
    "fast_xrai": ("olive", SOLID),
    "gradcam": ("pink", DASHDOT),
    "gradcam_pp": ("purple", DASHDOT),
    "scorecam": ("wine", SOLID),
}
BASELINES = {"random": BASELINE, "edge": DOTTED, "center": DASHDOT}


@dataclass(frozen=True)
class ThemeColours:
    """Colours of everything that is not data."""

    paper: str
    ink: str
    quiet: str
    grid: str
    baseline: str


THEMES: Mapping[Theme, ThemeColours] = {
    "light": ThemeColours("#ffffff", "#1d2733", "#5b6774", "#dfe4e9", "#737e89"),
    "dark": ThemeColours("#1b1f24", "#e4e8ec", "#a2acb6", "#39414a", "#97a1ab"),
}


@dataclass(frozen=True)
class LineStyle:
    """How one method is drawn."""

    colour: str
    dashes: Dashes


def line_styles(
    methods: Iterable[str], *, theme: Theme, baseline: str = "random"
) -> dict[str, LineStyle]:
    """Give each method its colour and dashes.

    Known methods look alike in all drawings; others take what is left over in their
    order. The baselines are gray.

    Parameters
    ----------
    methods : iterable of str
    theme : {"light", "dark"}
    baseline : str
        Name of the method that is drawn as the baseline.

    Returns
    -------
    dict of str to LineStyle
    """
    names = list(methods)
    side = 0 if theme == "light" else 1
    used = {KNOWN[n] for n in names if n in KNOWN}
    spare = [
        (colour, dashes)
        for dashes in (SOLID, DASHED, DASHDOT, DOTTED)
        for colour in COLOURS
        if (colour, dashes) not in used
    ]
    styles = {}
    unknown = 0
    for name in names:
        if name == baseline or name in BASELINES:
            dashes = BASELINE if name == baseline else BASELINES[name]
            styles[name] = LineStyle(THEMES[theme].baseline, dashes)
        elif name in KNOWN:
            colour, dashes = KNOWN[name]
            styles[name] = LineStyle(COLOURS[colour][side], dashes)
        else:
            colour, dashes = spare[unknown % len(spare)]
            unknown += 1
            styles[name] = LineStyle(COLOURS[colour][side], dashes)
    return styles
