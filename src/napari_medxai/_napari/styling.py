"""What a layer's constructor cannot say: outlines of masks, the plane shown first."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from .layers import KEY, Placement

__all__ = ["plain", "role_of", "show_plane", "watch", "watch_current_viewer"]

_watched: WeakSet[Any] = WeakSet()


def role_of(layer: Any) -> dict[str, Any]:
    """Return what this package wrote into a layer; empty for other layers."""
    entry = layer.metadata.get(KEY)
    return entry if isinstance(entry, dict) else {}


def plain(thing: Any) -> Any:
    """Return the object behind the proxy that napari hands to docks."""
    return getattr(thing, "__wrapped__", thing)


def watch(viewer: Any) -> None:
    """Style our layers in this viewer, those to come and those there.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
        Watched once, however often this is called.
    """
    layers = plain(viewer.layers)
    if any(layers is known for known in _watched):
        return
    _watched.add(layers)

    def on_inserted(event: Any) -> None:
        _style(viewer, event.value)

    layers.events.inserted.connect(on_inserted)
    for layer in layers:
        _style(viewer, layer)


def watch_current_viewer() -> None:
    """Watch the viewer that is open, if one is."""
    from napari.viewer import current_viewer

    viewer = current_viewer()
    if viewer is not None:
        watch(viewer)


def _style(viewer: Any, layer: Any) -> None:
    entry = role_of(layer)
    if entry.get("role") == "mask":
        layer.contour = 1
    elif entry.get("role") == "study":
        studies = [one for one in viewer.layers if role_of(one).get("role") == "study"]
        placement = entry["placement"]
        if len(studies) == 1 and isinstance(placement, Placement):
            show_plane(viewer, layer, placement)


def show_plane(viewer: Any, layer: Any, placement: Placement) -> None:
    """Turn the viewer so that the study's own slices are shown, one at a time."""
    extra = viewer.dims.ndim - layer.ndim
    order = tuple(range(extra)) + tuple(extra + a for a in placement.view_order)
    if viewer.dims.ndisplay == 2 and viewer.dims.order != order:
        viewer.dims.order = order
        viewer.reset_view()
