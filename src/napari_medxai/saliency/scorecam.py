"""Score-CAM: feature maps weighted by the score of the image seen through them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from . import _checks
from .cams import averaged, upsampled
from .holding import precise
from .layers import Layer, Layers, located, tapped
from .network import Session
from .registry import method

__all__ = ["scorecam", "scorecam_topk"]

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


@method(
    "scorecam_topk",
    label="Score-CAM, strongest channels",
    family="cam",
    reference="after Wang et al. 2020, arXiv:1910.01279",
    approximates="scorecam",
)
def scorecam_topk(
    session: Session,
    x: Tensor,
    target: Tensor,
    *,
    channels: int = 64,
    target_layer: Layers = None,
) -> Tensor:
    """Score-CAM of the channels that vary most over the image.

    A weight is a probability, so that a channel of small variance adds little
    contrast to the map. Passes ``channels`` images instead of one for each channel.

    Parameters
    ----------
    session, x, target
        See :mod:`~napari_medxai.saliency.registry`.
    channels
        How many are kept, those with the largest variance.
    target_layer
        Dotted name of the layer; None for the last feature map. Of several names,
        the maps are averaged, each divided by its maximum.

    Returns
    -------
    torch.Tensor
        Maps (B, *spatial), linearly upsampled to the image.
    """
    _checks.count(session, "channels", channels)
    layers = located(session, x, target_layer, passes=len(x))
    return averaged(
        [_of_layer(session, x, target, layer, "authors", channels) for layer in layers]
    )


def _of_layer(
    session: Session,
    x: Tensor,
    target: Tensor,
    layer: Layer,
    variant: Variant,
    most: int | None = None,
) -> Tensor:
    maps = _activations(session, x, target, layer)
    chosen = [_channels(one, variant, most) for one in maps]
    session.expect(sum(len(masks) for _, masks, _ in chosen))
    result = []
    for index, (kept, masks, which) in enumerate(chosen):
        scores = _scores(session, x[index], masks, target[index], variant)[which]
        weights = scores.softmax(dim=0) if variant == "gradcam" else scores
        cam = torch.einsum("c,c...->...", precise(weights), precise(kept))[None, None]
        # The authors sum upsampled maps, grad-cam the maps themselves.
        if variant == "authors":
            cam = upsampled(cam, x.shape[2:]).relu()
        else:
            cam = upsampled(cam.relu(), x.shape[2:])
        result.append(cam[0, 0])
    return torch.stack(result)


def _channels(
    maps: Tensor, variant: Variant, most: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the channels (c, *spatial') that count, and their masks without doubles.

    Returns
    -------
    kept : torch.Tensor
        The channels.
    masks : torch.Tensor
        Maps (m, *spatial') that differ, m <= c: each is scored once.
    which : torch.Tensor
        For each channel the index of its mask.
    """
    flat = maps.flatten(1)
    constant = flat.amax(dim=1) == flat.amin(dim=1)
    if variant == "authors":
        flat, maps, constant = flat[~constant], maps[~constant], constant[~constant]
    if most is not None and len(flat) > most:
        strongest = flat.var(dim=1).topk(most).indices.sort().values
        flat, maps, constant = flat[strongest], maps[strongest], constant[strongest]
    # All constant channels mask the whole image.
    flat = torch.where(constant[:, None], 0.0, flat)
    masks, which = torch.unique(flat, dim=0, return_inverse=True)
    return maps, masks.reshape(len(masks), *maps.shape[1:]), which


def _activations(session: Session, x: Tensor, target: Tensor, layer: Layer) -> Tensor:
    parts = []
    with tapped(session, layer) as tap, torch.no_grad():
        for part in session.batches(len(x), gradient=False):
            session.call(session.prepare(x[part]), target[part])
            _, maps = tap.read(session, x[part])
            parts.append(maps.to(torch.promote_types(maps.dtype, torch.float32)))
            session.advance(part.stop - part.start)
    return torch.cat(parts)


def _scores(
    session: Session, image: Tensor, maps: Tensor, target: Tensor, variant: Variant
) -> Tensor:
    """Scores (m,) of one image seen through each of the maps (m, *spatial').

    Masks are made and used batch by batch: all of them at the image's size would be
    gigabytes.
    """
    scores = [torch.zeros(0, device=maps.device, dtype=maps.dtype)]
    for part in session.batches(len(maps), gradient=False):
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
    return torch.cat(scores)
