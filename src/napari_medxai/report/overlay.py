"""A slice with its saliency map over it, as a picture.

The slice stays gray, the map lies over it in colour at one constant opacity, and
what is weaker than a percentile of the map is left out: opacity that follows the
value would show the same thing twice and hide the picture where it matters. The map
keeps its scale, which stands under it as a bar; only the top 0.5 % of its values may
share the last colour, and the bar then says "≥".
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from napari_medxai.errors import UsageError
from napari_medxai.files import write_atomically
from napari_medxai.results import SliceView

from .colours import MASK_COLOUR, ColourScale
from .fitting import (
    border,
    picture_size,
    resized_map,
    resized_mask,
    resized_slice,
)
from .lettering import (
    PAPER,
    PEN,
    draw_centred,
    draw_edge_letters,
    font,
    small_size,
    text_strip,
)
from .naming import is_safe, safe_name
from .network import NETWORK_PICTURE, frame_seen, network_picture
from .wording import significant

__all__ = [
    "DISCLAIMER",
    "case_pictures",
    "contact_sheet",
    "export_pictures",
    "export_pngs",
    "overlay_picture",
    "picture_bytes",
    "picture_size",
    "safe_name",
]

DISCLAIMER = "For research use only. Not for diagnosis."
BAR_HEIGHT = 8
SMALLEST_EXPORT = 320


def overlay_picture(
    view: SliceView,
    method: str | None,
    *,
    size: int | None = 320,
    opacity: float = 0.5,
    percentile: float = 80.0,
    outline: bool = True,
    colourbar: bool = True,
    letters: bool = True,
    caption: str = "",
) -> Image.Image:
    """Draw a slice with one method's map over it.

    Parameters
    ----------
    view : SliceView
        Its arrays stand as on a radiologist's screen.
    method : str or None
        A key of ``view.maps``; None draws the slice alone.
    size : int or None
        Pixels along the slice's short side, see :func:`picture_size`.
    opacity : float
        Of the colour where the map is shown, in [0, 1].
    percentile : float
        What is weaker than this percentile of the map is transparent, in [0, 100);
        0 shows the whole map.
    outline : bool
        Whether the mask's border pixels are drawn. What the network sees of a slice
        that was cropped for it is framed in any case.
    colourbar : bool
        Whether a bar with the map's end values stands below; its gray part is what
        is transparent.
    letters : bool
        Whether the orientation letters stand at the edges.
    caption : str
        Lines of text below.

    Returns
    -------
    PIL.Image.Image
        RGB. The slice lies at the top left, at :func:`picture_size`; what is
        written stands below it.

    Raises
    ------
    UsageError
        If there is no such map, or a number is out of range.
    """
    _check(view, method, size, opacity, percentile)
    rows, columns = picture_size(view.image.shape, aspect=view.screen.aspect, size=size)
    canvas = np.array(resized_slice(view.image, rows, columns))
    scale = None
    words, value = "", nan
    if method is not None:
        saliency = np.asarray(view.maps[method], dtype=np.float32)
        finite = saliency[np.isfinite(saliency)]
        if finite.size == 0:
            words = "no map: all values are NaN"
        elif finite.min() == finite.max():
            words, value = "constant map", float(finite[0])
        else:
            scale = ColourScale.of(finite, percentile=percentile)
            fitted = resized_map(saliency, rows, columns)
            shown = scale.shown(fitted)
            colour = scale.colours(fitted[shown]).astype(np.float32)
            mixed = (1 - opacity) * canvas[shown] + opacity * colour
            canvas[shown] = np.rint(mixed).astype(np.uint8)
    if outline and view.mask is not None and view.mask.any():
        width = max(1, round(min(rows, columns) / 400))
        canvas[border(resized_mask(view.mask, rows, columns), width)] = MASK_COLOUR
    frame_seen(canvas, view.network)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    if letters and view.screen.letters is not None:
        draw_edge_letters(draw, view.screen.letters, columns, rows)
    strips = []
    if words:
        draw_centred(draw, words, columns, rows)
    if colourbar and method is not None:
        strips.append(_bar(scale, columns, words, value))
    strips += [text_strip(line, columns) for line in caption.splitlines()]
    return _stacked(picture, strips)


def case_pictures(view: SliceView, *, size: int = 320) -> dict[str, Image.Image]:
    """Draw what the report shows of a slice.

    Parameters
    ----------
    view : SliceView
    size : int
        Pixels along the short side of each picture.

    Returns
    -------
    dict of str to PIL.Image.Image
        The slice alone under "", what the network sees under `NETWORK_PICTURE`, and
        each map under its method.
    """
    pictures = {"": overlay_picture(view, None, size=size)}
    if view.network is not None:
        pictures[NETWORK_PICTURE] = network_picture(view, size=size)
    return pictures | {m: overlay_picture(view, m, size=size) for m in view.maps}


def contact_sheet(
    view: SliceView,
    methods: Sequence[str],
    *,
    labels: Mapping[str, str] | None = None,
    size: int = 240,
    columns: int = 5,
    caption: str = DISCLAIMER,
) -> Image.Image:
    """Draw the slice and all its maps on one sheet.

    Parameters
    ----------
    view : SliceView
    methods : sequence of str
        Those without a map are left out.
    labels : mapping of str to str, optional
        Names to write above the maps.
    size : int
        Pixels along the short side of each picture.
    columns : int
        Pictures in a row.
    caption : str
        A line below everything.

    Returns
    -------
    PIL.Image.Image
    """
    names = labels or {}
    chosen: list[str | None] = [None, *(m for m in methods if m in view.maps)]
    tiles = []
    for method in chosen:
        picture = overlay_picture(view, method, size=size)
        title = "Image" if method is None else names.get(method, method)
        tiles.append(_stacked(text_strip(title, picture.width, bright=True), [picture]))
    gap = 8
    across = min(columns, len(tiles))
    width = max(t.width for t in tiles) + gap
    height = max(t.height for t in tiles) + gap
    down = -(-len(tiles) // across)
    sheet = Image.new("RGB", (across * width + gap, down * height + gap), PAPER)
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (gap + i % across * width, gap + i // across * height))
    return _stacked(sheet, [text_strip(caption, sheet.width)] if caption else [])


def picture_bytes(picture: Image.Image, *, mime: str = "image/webp") -> bytes:
    """Encode a picture.

    Parameters
    ----------
    picture : PIL.Image.Image
    mime : str
        ``image/webp`` (small, with losses) or ``image/png`` (exact).

    Returns
    -------
    bytes

    Raises
    ------
    UsageError
        If the type is another.
    """
    stream = io.BytesIO()
    if mime == "image/webp":
        picture.save(stream, "WEBP", quality=85, method=4)
    elif mime == "image/png":
        text = PngInfo()
        text.add_text("Disclaimer", DISCLAIMER)
        # Level 3 is three times as fast as 6, and no larger for pictures like these.
        picture.save(stream, "PNG", pnginfo=text, compress_level=3)
    else:
        raise UsageError(f"'{mime}' is no picture type; use image/webp or image/png.")
    return stream.getvalue()


def export_pictures(
    stem: str,
    view: SliceView,
    methods: Sequence[str],
    *,
    labels: Mapping[str, str] | None = None,
    explained: str = "",
) -> dict[str, bytes]:
    """Draw the slice and its maps as PNG, at the native size or whole multiples.

    Parameters
    ----------
    stem : str
        Start of the names; made safe by :func:`safe_name` where it is not.
    view : SliceView
    methods : sequence of str
        Those without a map are left out.
    labels : mapping of str to str, optional
        Names to write below the maps.
    explained : str
        The class explained and its probability, to write below the maps.

    Returns
    -------
    dict of str to bytes
        PNG files by name: ``<stem>_image.png`` and ``<stem>_<method>.png``.
    """
    short = min(picture_size(view.image.shape, aspect=view.screen.aspect, size=None))
    size = short * -(-SMALLEST_EXPORT // short)
    start = stem if is_safe(stem) else safe_name(stem)
    pictures = {}
    for method in (None, *(m for m in methods if m in view.maps)):
        if method is None:
            lines, end = [DISCLAIMER], "image"
        else:
            said = ": ".join(
                filter(None, ((labels or {}).get(method, method), explained))
            )
            lines, end = [said, DISCLAIMER], safe_name(method)
        picture = overlay_picture(view, method, size=size, caption="\n".join(lines))
        pictures[f"{start}_{end}.png"] = picture_bytes(picture, mime="image/png")
    return pictures


def export_pngs(
    folder: Path,
    stem: str,
    view: SliceView,
    methods: Sequence[str],
    *,
    labels: Mapping[str, str] | None = None,
    explained: str = "",
) -> tuple[Path, ...]:
    """Write what :func:`export_pictures` draws.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    stem, view, methods, labels, explained
        As for :func:`export_pictures`.

    Returns
    -------
    tuple of Path

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    pictures = export_pictures(stem, view, methods, labels=labels, explained=explained)
    for name, content in pictures.items():
        write_atomically(folder / name, content)
    return tuple(folder / name for name in pictures)


def _check(
    view: SliceView,
    method: str | None,
    size: int | None,
    opacity: float,
    percentile: float,
) -> None:
    if method is not None and method not in view.maps:
        known = ", ".join(view.maps) or "none"
        raise UsageError(f"there is no map of '{method}' to draw; there are: {known}.")
    if size is not None and size < 1:
        raise UsageError(f"a picture of {size} pixels cannot be drawn; take 1 or more.")
    if not (0.0 <= opacity <= 1.0 and 0.0 <= percentile < 100.0):
        raise UsageError(
            f"opacity {opacity:g} must be in [0, 1] and percentile {percentile:g} in "
            "[0, 100)."
        )


def _bar(
    scale: ColourScale | None, width: int, words: str, value: float
) -> Image.Image:
    """Draw the colour bar with its end values, or say why there is none."""
    if scale is None:
        known = isfinite(value)
        return text_strip(f"all {significant(value)}" if known else words, width)
    small = font(small_size(width))
    height = round(small.size) + 10
    strip = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(strip)
    low, high = scale.ends()
    left = 8 + round(small.getlength(low))
    right = width - 8 - round(small.getlength(high))
    if right - left > 20:
        values = np.linspace(scale.low, scale.high, right - left).astype(np.float32)
        colours = scale.colours(values)
        colours[~scale.shown(values)] = (70, 70, 70)
        row: NDArray[Any] = np.repeat(colours[None], BAR_HEIGHT, axis=0)
        strip.paste(Image.fromarray(row), (left, (height - BAR_HEIGHT) // 2))
    draw.text((3, height // 2), low, font=small, fill=PEN, anchor="lm")
    draw.text((width - 3, height // 2), high, font=small, fill=PEN, anchor="rm")
    return strip


def _stacked(top: Image.Image, below: Sequence[Image.Image]) -> Image.Image:
    if not below:
        return top
    height = top.height + sum(s.height for s in below)
    picture = Image.new(
        "RGB", (max(top.width, *(s.width for s in below)), height), PAPER
    )
    y = 0
    for part in (top, *below):
        picture.paste(part, (0, y))
        y += part.height
    return picture
