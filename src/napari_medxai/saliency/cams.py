"""Class activation maps from gradients: Grad-CAM and Grad-CAM++."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import Layer, Layers, activations_and_gradients, located
from .network import Session
from .registry import method

__all__ = ["averaged", "gradcam", "gradcam_pp", "upsampled"]


@method(
    "gradcam",
    label="Grad-CAM",
    family="cam",
    reference="Selvaraju et al. 2017, arXiv:1610.02391",
)
def gradcam(
    session: Session, x: Tensor, target: Tensor, *, target_layer: Layers = None
) -> Tensor:
    """ReLU of the feature maps weighted by their mean gradient.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    target_layer
        Dotted name of the layer; None for the last feature map. Of several names,
        the maps are averaged, each divided by its maximum.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial), linearly upsampled to the image.
    """
    return _cam(session, x, target, target_layer, _mean_gradient)


@method(
    "gradcam_pp",
    label="Grad-CAM++",
    family="cam",
    reference="Chattopadhay et al. 2018, arXiv:1710.11063, eq. 19",
)
def gradcam_pp(
    session: Session, x: Tensor, target: Tensor, *, target_layer: Layers = None
) -> Tensor:
    """ReLU of the feature maps weighted by their positive gradients.

    The weight of a channel is Σ α·ReLU(g) with α = g² / (2g² + ΣA·g³), eq. 19, and
    α = 0 where g or the denominator is 0.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    target_layer
        Dotted name of the layer; None for the last feature map. Of several names,
        the maps are averaged, each divided by its maximum.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial), linearly upsampled to the image.
    """
    return _cam(session, x, target, target_layer, _plus_plus)


def upsampled(
    maps: Tensor, sizes: torch.Size, *, align_corners: bool = False
) -> Tensor:
    """Upsample (B, C, *spatial') to the image's sizes, linearly along each axis."""
    mode = "trilinear" if len(sizes) == 3 else "bilinear"
    return F.interpolate(maps, size=sizes, mode=mode, align_corners=align_corners)


def averaged(maps: Sequence[Tensor]) -> Tensor:
    """Average the maps (B, *spatial) of several layers.

    Layers have scales of their own, and the largest would hide the others: each
    image's map is divided by its maximum first. A map that is zero everywhere stays
    zero. One layer's map is returned as it is.
    """
    if len(maps) == 1:
        return maps[0]
    scaled = []
    for values in maps:
        peak = values.amax(dim=tuple(range(1, values.ndim)), keepdim=True)
        scaled.append(values / torch.where(peak > 0, peak, 1.0))
    return torch.stack(scaled).mean(dim=0)


def _cam(
    session: Session,
    x: Tensor,
    target: Tensor,
    target_layer: Layers,
    weigh: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    layers = located(session, x, target_layer, passes=len(x))
    return averaged([_of_layer(session, x, target, layer, weigh) for layer in layers])


def _of_layer(
    session: Session,
    x: Tensor,
    target: Tensor,
    layer: Layer,
    weigh: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    # Grad-CAM and Grad-CAM++ differ in the weights alone.
    found = session.once(
        "activations and gradients",
        lambda: list(activations_and_gradients(session, x, target, layer)),
        x,
        target,
        settings=(layer.name,),
        passes=len(x),
    )
    parts = []
    for maps, gradient in found:
        weights = weigh(maps, gradient)
        cam = torch.einsum("bc,bc...->b...", weights, maps).relu()
        parts.append(upsampled(cam[:, None], x.shape[2:])[:, 0])
    return torch.cat(parts)


def _mean_gradient(maps: Tensor, gradient: Tensor) -> Tensor:
    return gradient.flatten(2).mean(dim=2)


def _plus_plus(maps: Tensor, gradient: Tensor) -> Tensor:
    g = gradient.flatten(2)
    # Eq. 19 divided by g², so that the square of a tiny gradient cannot vanish.
    denominator = 2 + maps.flatten(2).sum(dim=2, keepdim=True) * g
    defined = (g != 0) & (denominator != 0)
    alpha = torch.where(defined, denominator, 1.0).reciprocal() * defined
    return (alpha * g.relu()).sum(dim=2)
