"""Writing on pictures with the font that comes with matplotlib."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "PAPER",
    "PEN",
    "draw_centred",
    "draw_edge_letters",
    "font",
    "small_size",
    "text_strip",
]

PAPER = (17, 17, 17)
PEN = (205, 205, 205)
BRIGHT = (255, 255, 255)
BLACK = (0, 0, 0)


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans at a size in pixels: the same on every machine."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def small_size(width: int) -> int:
    """Size of small letters on a picture of this width."""
    return max(10, min(18, round(width * 0.042)))


def draw_edge_letters(
    draw: ImageDraw.ImageDraw,
    letters: tuple[str, str, str, str],
    width: int,
    height: int,
) -> None:
    """Write (top, bottom, left, right) at the middle of the edges."""
    face = font(max(9, round(min(width, height) * 0.055)))
    inset = 4
    places = (
        (width / 2, inset, "ma"),
        (width / 2, height - inset, "md"),
        (inset, height / 2, "lm"),
        (width - inset, height / 2, "rm"),
    )
    for letter, (x, y, anchor) in zip(letters, places, strict=True):
        draw.text(
            (x, y),
            letter,
            font=face,
            anchor=anchor,
            fill=BRIGHT,
            stroke_width=1,
            stroke_fill=BLACK,
        )


def draw_centred(draw: ImageDraw.ImageDraw, text: str, width: int, height: int) -> None:
    """Write a remark on a dark field in the middle of the picture."""
    face = _fitting(text, width - 12, small_size(width) + 3)
    half = face.getlength(text) / 2 + 6
    x, y = width / 2, height / 2
    draw.rectangle((x - half, y - 12, x + half, y + 12), fill=PAPER)
    draw.text((x, y), text, font=face, fill=BRIGHT, anchor="mm")


def text_strip(text: str, width: int, *, bright: bool = False) -> Image.Image:
    """One line of text on a strip of the picture's width."""
    size = small_size(width)
    strip = Image.new("RGB", (width, size + 8), PAPER)
    face = _fitting(text, width - 6, size)
    while len(text) > 1 and face.getlength(text) > width - 6:
        text = text[:-2] + "…"
    place = (3, strip.height // 2)
    fill = BRIGHT if bright else PEN
    ImageDraw.Draw(strip).text(place, text, font=face, fill=fill, anchor="lm")
    return strip


def _fitting(text: str, width: float, size: int) -> ImageFont.FreeTypeFont:
    while size > 8 and font(size).getlength(text) > width:
        size -= 1
    return font(size)
