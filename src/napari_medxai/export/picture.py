"""The overlay as a picture that says of itself that it is not for diagnosis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_medxai.display import Screen, window_image
from napari_medxai.report.lettering import font
from napari_medxai.report.overlay import DISCLAIMER, overlay_picture, picture_size
from napari_medxai.results import SliceView
from napari_medxai.study import Study

from .subject import Part, Subject

__all__ = ["BANNER", "burned_in_picture", "view_of"]

BANNER = "NOT FOR DIAGNOSIS - RESEARCH USE ONLY"
SMALLEST = 512
AMBER, BLACK = (255, 196, 0), (0, 0, 0)


def view_of(study: Study, part: Part, method: str) -> SliceView:
    """Turn one explained slice for the screen."""
    screen = Screen.of(study)
    mask = study.mask
    if mask is not None and part.index is not None:
        mask = mask[part.index]
    return SliceView(
        slice=part.index,
        image=screen.turn(window_image(study, part.index)),
        mask=None if mask is None else screen.turn(mask),
        probabilities={},
        maps={method: screen.turn(part.map)},
        screen=screen,
    )


def burned_in_picture(subject: Subject, part: Part) -> NDArray[np.uint8]:
    """Draw a slice, its map, the ground truth's outline and the colourbar.

    Parameters
    ----------
    subject : Subject
    part : Part
        One of its parts.

    Returns
    -------
    ndarray of uint8, shape (row, column, 3)
        At a whole multiple of the native size, at least 512 pixels along the short
        side, with :data:`BANNER` across the top, and below it the method, the class
        explained and its probability, and the model.
    """
    view = view_of(subject.study, part, subject.method)
    short = min(picture_size(view.image.shape, aspect=view.screen.aspect, size=None))
    said = ": ".join(filter(None, (subject.label, part.explained)))
    lines = [said, f"model {subject.model}"] if subject.model else [said]
    if view.mask is not None and view.mask.any():
        lines.append("outline: ground truth")
    drawn = overlay_picture(
        view,
        subject.method,
        size=short * -(-SMALLEST // short),
        caption="\n".join([*lines, DISCLAIMER]),
    )
    banner = _banner(drawn.width)
    picture = Image.new("RGB", (drawn.width, banner.height + drawn.height))
    picture.paste(banner, (0, 0))
    picture.paste(drawn, (0, banner.height))
    return np.array(picture)


def _banner(width: int) -> Image.Image:
    size = 28
    while size > 8 and font(size).getlength(BANNER) > width - 12:
        size -= 1
    strip = Image.new("RGB", (width, size + 12), AMBER)
    ImageDraw.Draw(strip).text(
        (width / 2, strip.height / 2), BANNER, font=font(size), fill=BLACK, anchor="mm"
    )
    return strip
