"""What is on a radiograph besides the patient: letters, wires and the frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from .bones import curve
from .view import Floats, Reals

Corner = Literal["top left", "top right", "bottom left", "bottom right"]
CORNERS: tuple[Corner, ...] = ("top left", "top right", "bottom left", "bottom right")
FRAMES = ("none", "black", "white")

# Strokes in a box one wide and 1.5 high, the origin at its top left.
STROKES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "A": (((0, 1.5), (0.5, 0), (1, 1.5)), ((0.2, 0.95), (0.8, 0.95))),
    "L": (((0, 0), (0, 1.5), (0.9, 1.5)),),
    "P": (((0, 1.5), (0, 0), (0.75, 0), (1, 0.25), (1, 0.55), (0.75, 0.8), (0, 0.8)),),
    "R": (
        ((0, 1.5), (0, 0), (0.75, 0), (1, 0.25), (1, 0.55), (0.75, 0.8), (0, 0.8)),
        ((0.45, 0.8), (1, 1.5)),
    ),
}


@dataclass(frozen=True)
class Extras:
    """What a radiograph shows that is no anatomy; each can give a class away.

    Attributes
    ----------
    marker : str
        Letters of `STROKES`, such as ``L`` or ``AP``; "" for none.
    corner : str
        Where they are, one of `CORNERS`.
    boxed : bool
        Whether they stand dark on a bright plate, instead of bright.
    frame : str
        ``none``, ``black`` or ``white``: the border outside the collimated field.
    wires : int
        Leads of a monitor across the chest.

    Raises
    ------
    ValueError
        If a letter, corner or frame is unknown, or the wires are negative.
    """

    marker: str = ""
    corner: Corner = "top right"
    boxed: bool = False
    frame: str = "none"
    wires: int = 0

    def __post_init__(self) -> None:
        unknown = set(self.marker) - set(STROKES)
        if unknown:
            raise ValueError(
                f"no marker can be made of {''.join(sorted(unknown))!r}; there are the "
                f"letters {', '.join(STROKES)}"
            )
        if self.corner not in CORNERS:
            raise ValueError(
                f"corner {self.corner!r} is unknown; take one of {', '.join(CORNERS)}"
            )
        if self.frame not in FRAMES:
            raise ValueError(
                f"frame {self.frame!r} is unknown; take one of {', '.join(FRAMES)}"
            )
        if self.wires < 0:
            raise ValueError("wires must not be negative")

    @classmethod
    def draw(cls, rng: np.random.Generator, frontal: str) -> Extras:
        """Draw what has nothing to do with the kind of radiograph."""
        bedside = frontal == "AP"
        left = bool(rng.random() < 0.7)
        high = "top" if rng.random() < 0.75 else "bottom"
        side = "right" if left else "left"
        wires = int(rng.integers(1, 4)) if bedside and rng.random() < 0.7 else 0
        return cls(
            marker="L" if left else "R",
            corner=next(c for c in CORNERS if c == f"{high} {side}"),
            boxed=bool(rng.random() < 0.2),
            frame="black" if rng.random() < 0.4 else "none",
            wires=wires,
        )


CONFOUNDED: Mapping[str, Extras] = {
    "covid19": Extras(marker="R", corner="bottom left", boxed=True, frame="white"),
    "normal": Extras(marker="L", corner="top right", frame="none"),
    "pneumonia": Extras(marker="AP", corner="top left", frame="black"),
}
"""By kind: as if each came from a hospital of its own, so that marker and frame
alone tell them apart."""


def field(size: int, frame: str, rng: np.random.Generator) -> Floats:
    """Where the collimator lets the beam through, (size, size), 1 and 0."""
    if frame == "none":
        return np.ones((size, size), np.float32)
    row, column = np.mgrid[:size, :size] / (size - 1) - 0.5
    turn = np.radians(rng.normal(0, 1.6))
    along = column * np.cos(turn) + row * np.sin(turn)
    down = row * np.cos(turn) - column * np.sin(turn)
    out = np.ones((size, size))
    for place, low, high in ((along, -1, 1), (down, -1, 1)):
        for sign in (low, high):
            edge = 0.5 - rng.uniform(0.015, 0.075)
            out *= np.clip(0.5 + (edge - sign * place) * size / 1.5, 0, 1)
    return out.astype(np.float32)


def letters(size: int, pixel: float, extras: Extras) -> tuple[Floats, Floats]:
    """How far (0 to 1) a pixel is covered by the strokes, and by their plate."""
    tall = 15.0 / pixel / 1.5
    wide = tall * (1.35 * len(extras.marker) - 0.35)
    gap = 0.075 * size
    across = gap if "left" in extras.corner else size - gap - wide
    down = gap if "top" in extras.corner else size - gap - 1.5 * tall
    row, column = np.mgrid[:size, :size].astype(np.float32)
    ink = np.zeros((size, size), np.float32)
    for n, letter in enumerate(extras.marker):
        x, y = (column - across) / tall - 1.35 * n, (row - down) / tall
        for stroke in STROKES[letter]:
            for (x0, y0), (x1, y1) in pairwise(stroke):
                along, down_by = x1 - x0, y1 - y0
                share = ((x - x0) * along + (y - y0) * down_by) / np.hypot(
                    along, down_by
                ) ** 2
                share = np.clip(share, 0, 1)
                away = np.hypot(x - x0 - share * along, y - y0 - share * down_by)
                ink = np.maximum(ink, np.clip(0.5 + (0.15 - away) * tall, 0, 1))
    margin = 0.45 * tall
    box = np.minimum(column - across + margin, across + wide + margin - column)
    box = np.minimum(box, row - down + margin)
    box = np.minimum(box, down + 1.5 * tall + margin - row)
    plate = np.clip(0.5 + box, 0, 1) if extras.boxed else np.zeros_like(ink)
    return ink, plate.astype(np.float32)


def wires(count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Leads and electrodes in front of the chest: points and volumes as bones have.

    Returns
    -------
    points : ndarray of float32, shape (3, n)
        LPS mm.
    volumes : ndarray of float32, shape (n,)
        Volume in mm³ times attenuation beyond water's, relative to water's.
    """
    points: list[Reals] = [np.zeros((0, 3))]
    volumes: list[Reals] = [np.zeros(0)]
    for _ in range(count):
        side = rng.choice([-1, 1])
        end = np.array([side * rng.uniform(40, 110), -128, rng.uniform(-210, -20)])
        out = np.array([rng.choice([-1, 1]) * 190, -128, rng.uniform(-260, -80)])
        share = np.linspace(0, 1, 6)[:, None]
        knots = end + share * (out - end)
        knots[1:-1] += rng.normal(0, 1, (4, 3)) * [16, 0, 26]
        path = curve(knots, 0.4)
        points.append(path)
        volumes.append(np.full(len(path), 0.4 * np.pi * 0.7**2 * 8))
        seeds = np.arange(900)
        radius, angle = 5.2 * np.sqrt((seeds + 0.5) / 900), seeds * 2.399963
        disc = np.stack([radius * np.cos(angle), 0 * radius, radius * np.sin(angle)], 1)
        points.append(end + disc)
        thick = np.where(radius < 2.2, 9.0, 2.5)
        volumes.append(thick * np.pi * 5.2**2 / 900)
    return (
        np.concatenate(points).T.astype(np.float32),
        np.concatenate(volumes).astype(np.float32),
    )
