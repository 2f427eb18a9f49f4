"""Chance maps: a map's own values in an order that knows nothing of the image.

Each null hypothesis answers one question. Every chance map holds exactly the values
of the map it stands against, ties included: where ties are broken, and by what,
decides an information curve. Ties are never broken pixel by pixel, since scattered
pixels are the best support that interpolation can have.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import MetricError
from napari_medxai.metrics._field import RandomField, fit_field

__all__ = ["random_pixels", "ranked_like", "surrogate"]

BoolArray: TypeAlias = NDArray[np.bool_]
Map: TypeAlias = NDArray[Any]


def random_pixels(saliency_map: Map, *, seed: int) -> Map:
    """Put the map's own values at random places, pixel by pixel.

    The paper's random map, with the map's histogram. It is a strong sampler, not a
    map that knows nothing: its pixels are scattered over the whole image.

    Parameters
    ----------
    saliency_map
        float, 2-D or 3-D.
    seed
        Seed of the permutation.

    Returns
    -------
    numpy.ndarray
        Of the same shape and type.

    Raises
    ------
    MetricError
        If the map is not a finite array.
    """
    values = _checked(saliency_map)
    places = np.random.default_rng(seed).permutation(values.size)
    return _ordered(values, places)


def surrogate(saliency_map: Map, body: BoolArray, *, seed: int) -> Map:
    """Draw a map of the same texture that lies anywhere in the body.

    A random field with the map's power spectrum (random phases) orders the pixels.
    The pixels of the body get the map's highest values in that order, those outside
    get the rest. So the map's histogram and its ties stay; tied pixels lie together
    as the field has them.

    Parameters
    ----------
    saliency_map
        float, 2-D or 3-D.
    body
        bool, of the same shape: where a map may lie, see
        :func:`~napari_medxai.metrics.body.body_mask`.
    seed
        Seed of the field. Maps of one shape get the same field from it, but for
        their spectra.

    Returns
    -------
    numpy.ndarray
        Of the same shape and type; equal to a map that is constant.

    Raises
    ------
    MetricError
        If the map is not a finite array, or the body is empty or does not fit it.

    Notes
    -----
    The spectrum is that of the map's normal scores within the body. Scores of the
    whole image would count the step from body to background as texture: the
    surrogates of noise would be smooth, and noise would beat them. Where the body
    holds little of the map (the share of its pixels above the minimum is less than
    half that of the image), or one value only, the spectrum is the whole image's.

    The first surrogate of a map costs some thirty times as much as the next: its
    spectrum is fitted, see ``_field.py``, and kept.

    Stationary texture is assumed. The values of a map that is smooth here and rough
    there are put back with an average texture. Maps drawn from the null are calibrated
    (``docs/calibration.md``): of textures with no scale shorter than the body the test
    is conservative, of pixel noise the mean rank is at most 0.05 too good.
    """
    values = _checked(saliency_map)
    inside = np.asarray(body)
    if inside.dtype != np.bool_ or inside.shape != values.shape:
        raise MetricError(
            f"the body mask must be bool of shape {values.shape}, the map's, not"
            f" {inside.dtype} of {inside.shape}"
        )
    if not inside.any():
        raise MetricError("the body mask is empty; a surrogate needs a place to lie")
    if values.min() == values.max():
        return values.copy()
    domain = _domain(values, inside)
    field = _fitted(values.tobytes(), values.dtype.str, values.shape, domain.tobytes())
    drawn = field.draw(seed)
    keys = (drawn.ravel(), inside.ravel())
    return _ordered(values, np.lexsort(keys))


def ranked_like(saliency_map: Map, order: Map, *, seed: int) -> Map:
    """Put the map's own values in the order of another map.

    Parameters
    ----------
    saliency_map
        float, 2-D or 3-D.
    order
        Of the same shape: the map of another case, or of a random network.
    seed
        Seed of a random field with the texture of `saliency_map`, which decides where
        `order` is tied; all of a constant `order`.

    Returns
    -------
    numpy.ndarray
        Of the shape and type of `saliency_map`.

    Raises
    ------
    MetricError
        If the maps are not finite or differ in shape.

    Notes
    -----
    Without ties in `order` the seed plays no part. Where `order` has more ties than
    the map (a class activation map that is zero outside a small place), the chance
    map consists in part of the field.
    """
    values, other = _checked(saliency_map), _checked(order)
    if other.shape != values.shape:
        raise MetricError(
            f"the map that gives the order has shape {other.shape}, the saliency map"
            f" {values.shape}; both must lie on one grid"
        )
    if values.min() == values.max():
        return values.copy()
    keys = [other.ravel()]
    if np.unique(other).size < other.size:
        everywhere = np.ones(values.shape, dtype=np.bool_).tobytes()
        form = (values.dtype.str, values.shape)
        field = _fitted(values.tobytes(), *form, everywhere)
        keys.insert(0, field.draw(seed).ravel())
    return _ordered(values, np.lexsort(keys))


def _ordered(values: Map, places: NDArray[np.int64]) -> Map:
    """Put the values, ascending, at the places in turn."""
    result = np.empty_like(values)
    result.flat[places] = np.sort(values, axis=None)
    return result


def _domain(values: Map, body: BoolArray) -> BoolArray:
    """Where the map's texture is taken from: the body, or everywhere."""
    above = values > values.min()
    within = values[body]
    if within.min() == within.max() or above[body].mean() < 0.5 * above.mean():
        return np.ones(values.shape, dtype=np.bool_)
    return body


@lru_cache(maxsize=4)
def _fitted(
    values: bytes, dtype: str, shape: tuple[int, ...], domain: bytes
) -> RandomField:
    """Field of a map, kept while its chance maps are drawn."""
    inside = np.frombuffer(domain, dtype=np.bool_).reshape(shape)
    array = np.frombuffer(values, dtype=dtype).reshape(shape)
    return fit_field(array[inside], inside)


def _checked(saliency_map: Map) -> Map:
    array = np.ascontiguousarray(saliency_map)
    if array.size == 0 or array.ndim not in (2, 3):
        raise MetricError(
            f"chance maps are made of maps of two or three axes, not of {array.shape}"
        )
    if not np.isfinite(array).all():
        raise MetricError(
            "the saliency map holds NaN or infinite values; its pixels cannot be"
            " put in order"
        )
    return array
