"""Score-CAM: feature maps weighted by the score of the image seen through them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from . import _checks
from .cams import averaged, upsampled
from .layers import Layer, Layers, located, tapped
from .network import Session, precise
from .registry import method

__all__ = ["scorecam"]

Variant = Literal["authors", "gradcam"]


@method(
    "scorecam",
    label="Score-CAM",
    family="cam",
    reference="Wang et al. 2020, arXiv:1910.01279",
)
def scorecam(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    variant: Variant = "authors",
    target_layer: Layers = None,
) -> Tensor:
    """ReLU of the feature maps weighted by the score of the image masked with each.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    variant
        ``"authors"``: a channel's weight is the class's softmax probability on the
        image times the channel's upsampled, min-max scaled map; constant channels
        are skipped. ``"gradcam"``: as grad-cam 1.5.7, the softmax *over channels* of
        the class's logits, masks upsampled with aligned corners, no channel skipped.
    target_layer
        Dotted name of the layer; None for the last feature map. Of several names,
        the maps are averaged, each divided by its maximum.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial), linearly upsampled to the image.
    """
    _checks.choice(session, "variant", variant, ("authors", "gradcam"))
    layers = located(session, x, target_layer, passes=len(x))
    return averaged([_of_layer(session, x, target, layer, variant) for layer in layers])


def _of_layer(
    session: Session, x: Tensor, target: Tensor, layer: Layer, variant: Variant
) -> Tensor:
    maps = _activations(session, x, target, layer)
    if variant == "authors":
        live = maps.flatten(2).amax(dim=2) > maps.flatten(2).amin(dim=2)
    else:
        live = torch.ones(maps.shape[:2], dtype=torch.bool, device=maps.device)
    session.expect(int(live.sum()))
    result = []
    for index in range(len(x)):
        channels = live[index].nonzero()[:, 0]
        kept = maps[index, channels]
        weights = _weights(session, x[index], kept, target[index], variant)
        cam = torch.einsum("c,c...->...", precise(weights), precise(kept))[None, None]
        # The authors sum upsampled maps, grad-cam the maps themselves.
        if variant == "authors":
            cam = upsampled(cam, x.shape[2:]).relu()
        else:
            cam = upsampled(cam.relu(), x.shape[2:])
        result.append(cam[0, 0])
    return torch.stack(result)


def _activations(session: Session, x: Tensor, target: Tensor, layer: Layer) -> Tensor:
    parts = []
    with tapped(session, layer) as tap, torch.no_grad():
        for part in session.batches(len(x)):
            session.call(session.prepare(x[part]), target[part])
            _, maps = tap.read(session, x[part])
            parts.append(maps.to(torch.promote_types(maps.dtype, torch.float32)))
            session.advance(part.stop - part.start)
    return torch.cat(parts)


def _weights(
    session: Session, image: Tensor, maps: Tensor, target: Tensor, variant: Variant
) -> Tensor:
    """Weights (c,) of the channels (c, *spatial') of one image.

    Masks are made and used batch by batch: all of them at the image's size would be
    gigabytes.
    """
    scores = [torch.zeros(0, device=maps.device, dtype=maps.dtype)]
    for part in session.batches(len(maps)):
        mask = upsampled(
            maps[part][:, None], image.shape[1:], align_corners=variant == "gradcam"
        )
        low = mask.flatten(1).amin(dim=1).reshape(-1, *[1] * image.ndim)
        span = mask.flatten(1).amax(dim=1).reshape(low.shape) - low
        span = torch.where(span > 0, span, 1.0) if variant == "authors" else span + 1e-8
        masked = image * ((mask - low) / span).to(image.dtype)
        value = session.scores(
            masked,
            target.expand(len(masked)),
            score="probability" if variant == "authors" else "logit",
        )
        scores.append(value.to(maps.dtype))
    weights = torch.cat(scores)
    return weights.softmax(dim=0) if variant == "gradcam" else weights
