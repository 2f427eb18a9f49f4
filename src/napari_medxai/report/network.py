"""What the network sees, beside the native slice it was made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_medxai.results import NetworkView, SliceView

from .fitting import border, picture_size, resized_mask, resized_slice
from .lettering import draw_edge_letters

__all__ = ["NETWORK_PICTURE", "frame_seen", "network_picture", "network_text"]

# Name of the stored picture; no method can be called so.
NETWORK_PICTURE = "what-the-network-sees"
PADDING_COLOUR = (38, 52, 84)
FRAME_COLOUR = (190, 190, 190)


def network_picture(
    view: SliceView, *, size: int | None = 320, letters: bool = True
) -> Image.Image:
    """Draw the network input image, padding in dark blue.

    Parameters
    ----------
    view : SliceView
        With its `network`.
    size : int or None
        Pixels along the short side, see :func:`picture_size`; None draws one pixel
        for each of the network's.
    letters : bool
        Whether the orientation letters stand at the edges.

    Returns
    -------
    PIL.Image.Image
        RGB, turned like the native slice.

    Raises
    ------
    ValueError
        If the view has no network input image.
    """
    if view.network is None:
        raise ValueError("the view has no network input image to draw.")
    rows, columns = picture_size(view.network.image.shape, size=size)
    canvas = np.array(resized_slice(view.network.image, rows, columns))
    canvas[resized_mask(view.network.padding, rows, columns)] = PADDING_COLOUR
    picture = Image.fromarray(canvas)
    if letters and view.screen.letters is not None:
        draw_edge_letters(ImageDraw.Draw(picture), view.screen.letters, columns, rows)
    return picture


def network_text(case: str) -> str:
    """Say what the picture shows, for people who cannot see it."""
    return (
        f"{case}: the network input image, 8 bit, after scaling of its intensities, "
        "cropping, padding (dark blue) and resizing"
    )


def frame_seen(canvas: NDArray[np.uint8], network: NetworkView | None) -> None:
    """Draw a frame around what the network sees of a native slice, where not all.

    Parameters
    ----------
    canvas : ndarray of uint8, shape (rows, columns, 3)
        The drawn slice; changed in place.
    network : NetworkView or None
    """
    if network is None or network.seen.all():
        return
    rows, columns = canvas.shape[:2]
    width = max(1, round(min(rows, columns) / 400))
    seen = resized_mask(network.seen, rows, columns)
    canvas[border(seen, width)] = FRAME_COLOUR
