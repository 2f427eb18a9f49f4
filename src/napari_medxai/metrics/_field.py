"""Random fields that are as rough as a given map, at every scale.

A map's order is turned into normal scores (ties share their mid-rank), so that heavy
tails do not decide. Its power spectrum with random phases gives fields of the same
texture (Theiler et al. 1992, doi:10.1016/0167-2789(92)90102-S). Putting the map's own
values back by rank changes the spectrum again, most where values are tied: sharp
plateaus come from a field much smoother than they are. So the spectrum is adjusted
until the fields have the map's power in every band of scales. Power is that of the
sets of the most salient pixels, at several levels: an information curve sees nothing
else of a map. (Power of the scores themselves is shared by few large steps and many
small ones: a map of segments got surrogates whose sets had four times its outline.)
This is the iteration of Schreiber & Schmitz 1996
(doi:10.1103/PhysRevLett.77.635) done once a map, for the mean over fields, and not
anew for every field: a field then costs two Fourier transforms.

The map is known in its domain only (the body), and the Fourier transform wraps
around. Both are settled by mirroring the domain at its outline into a margin in which
it fades to zero. The map and the fields it is compared with go through this alike.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special, stats

__all__ = ["RandomField", "fit_field", "normal_scores"]

BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.float64]
ComplexArray: TypeAlias = NDArray[np.complex128]
IntArray: TypeAlias = NDArray[np.int64]

# Chosen by the calibration of maps drawn from the null (benchmarks/calibration.py).
MARGIN = 0.17  # of the image's length, at either end
BANDS = 13  # of scales, by the logarithm of the frequency
COARSEST = 2.01  # waves across the grid up to which all are one band
ROUNDS = (2, 2, 2, 2, 4, 10)  # of the adjustment: fields drawn
STEP, LAST = 0.75, 0.5
LEVELS = (0.4, 0.6, 0.75, 0.87, 0.95)  # of the ranks, where sets are compared
LARGEST_GAIN = 8.0  # of an amplitude, as a natural logarithm


@dataclass(frozen=True, eq=False)
class RandomField:
    """Fields with one map's power at every scale.

    Attributes
    ----------
    shape
        Of the map.
    amplitude
        Of every frequency of the grid with margins.
    mismatch
        Largest deviation of a band's power from the map's before the last step, as
        the natural logarithm of their ratio. Bands that hold less than 1e-4 of the
        power are left out.
    """

    shape: tuple[int, ...]
    amplitude: FloatArray = field(repr=False)
    mismatch: float

    def draw(self, seed: int) -> FloatArray:
        """Field of a seed, of the map's shape.

        Its phases come from the seed and the shape alone: all maps of a shape get the
        same field but for their spectra.
        """
        return _shaped(_phases(padded_shape(self.shape), seed), self)


@dataclass(frozen=True, eq=False)
class _Window:
    """The way of a domain's values onto the grid with margins.

    `source` tells which of the values, `weight` how much of it; `white` is the
    amplitude that white noise gets by being mirrored.
    """

    source: IntArray = field(repr=False)
    weight: NDArray[np.float32] = field(repr=False)
    white: FloatArray = field(repr=False)

    def power(self, rows: FloatArray) -> FloatArray:
        """Mean power of some rows of values, by frequency."""
        total = np.zeros(1)
        for row in rows:
            # single precision is enough for a mean, and twice as fast
            transform = fft.rfftn(row.astype(np.float32)[self.source] * self.weight)
            total = total + (transform.real**2 + transform.imag**2) / len(rows)
        total.flat[0] = 0.0  # the mean of a field does not change its order
        return total


def normal_scores(values: NDArray[Any]) -> FloatArray:
    """Mid-ranks as quantiles of the normal distribution, their mean 0."""
    ranks = stats.rankdata(values)
    scores: FloatArray = special.ndtri((ranks - 0.5) / ranks.size)
    return np.asarray(scores - scores.mean())


def padded_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the grid with margins, quick to transform."""
    return tuple(
        int(fft.next_fast_len(n + 2 * margin, real=True))
        for n, margin in zip(shape, _margins(shape), strict=True)
    )


def fit_field(values: NDArray[Any], domain: BoolArray) -> RandomField:
    """Find the spectrum whose fields, ranked, have the map's power at every scale.

    Parameters
    ----------
    values
        The map's values in the domain, in the order of ``map[domain]``; not all
        equal.
    domain
        Where they lie, of the map's shape.

    Returns
    -------
    RandomField
        The same for the same values and domain. The fields it is fitted by are drawn
        from a seed made of the values' order: what error they leave differs from map
        to map and does not add up over a data set.
    """
    window = _window(domain.tobytes(), domain.shape)
    grid = padded_shape(domain.shape)
    band, place, centres = _bands(grid)
    scores = normal_scores(values)
    seeds = count(zlib.crc32(scores.tobytes()))
    counts = _set_sizes(scores)
    target = _power(window.power(_top_sets(np.argsort(scores), counts)), band)
    own = np.sqrt(window.power(scores[None])) / window.white

    gain = np.zeros(target.size)
    fitted = RandomField(domain.shape, own, np.inf)
    for fields in ROUNDS:
        power = np.zeros(target.size)
        for _ in range(fields):
            order = np.argsort(_shaped(_phases(grid, next(seeds)), fitted)[domain])
            power += _power(window.power(_top_sets(order, counts)), band) / fields
        ratio = np.log(power / target)
        step = LAST if fields == ROUNDS[-1] else STEP
        gain = np.clip(gain - step * ratio, -LARGEST_GAIN, LARGEST_GAIN)
        amplitude = own * np.exp(np.interp(place, centres, gain))
        counted = target > 1e-4 * target.sum()
        mismatch = float(np.abs(ratio[counted]).max())
        fitted = RandomField(domain.shape, amplitude, mismatch)
    return fitted


def _set_sizes(scores: FloatArray) -> list[int]:
    """How many pixels a map reveals at some levels; those tied come together."""
    ascending = np.sort(scores)
    sizes = set()
    for level in LEVELS:
        value = ascending[int(level * ascending.size)]
        above = int(np.count_nonzero(ascending > value))
        sizes |= {above, int(np.count_nonzero(ascending >= value))}
    return sorted(sizes - {0, scores.size})


def _top_sets(order: IntArray, sizes: list[int]) -> FloatArray:
    """Tell the last pixels of an order from the others: (sets, pixels), variance 1."""
    sets = np.zeros((len(sizes), order.size))
    for indicator, size in zip(sets, sizes, strict=True):
        indicator[order[-size:]] = 1.0
        share = size / order.size
        indicator -= share
        indicator /= np.sqrt(share * (1.0 - share))
    return sets


def _power(power: FloatArray, band: IntArray) -> FloatArray:
    """Sum by band, a little more than nothing; band 0, the mean alone, left out."""
    sums = np.bincount(band.ravel(), weights=power.ravel())[1:].astype(np.float64)
    return np.asarray(sums + 1e-12 * sums.sum())


def _shaped(phases: ComplexArray, spectrum: RandomField) -> FloatArray:
    grid = padded_shape(spectrum.shape)
    full: FloatArray = fft.irfftn(phases * spectrum.amplitude, s=grid)
    return full[tuple(slice(n) for n in spectrum.shape)]


def _phases(grid: tuple[int, ...], seed: int) -> ComplexArray:
    """Phases of white noise as complex numbers of modulus 1."""
    noise: ComplexArray = fft.rfftn(np.random.default_rng(seed).standard_normal(grid))
    return noise / np.maximum(np.abs(noise), np.finfo(np.float64).tiny)


def _margins(shape: tuple[int, ...]) -> list[int]:
    return [max(1, int(n * MARGIN)) for n in shape]


@lru_cache(maxsize=2)
def _bands(grid: tuple[int, ...]) -> tuple[IntArray, FloatArray, FloatArray]:
    """Band of every frequency, its place on the scale, and the bands' places."""
    axes = [*(fft.fftfreq(n) for n in grid[:-1]), fft.rfftfreq(grid[-1])]
    squares = np.meshgrid(*(axis**2 for axis in axes), indexing="ij", sparse=True)
    frequency: FloatArray = np.sqrt(sum(squares))
    place = np.log(np.maximum(frequency, COARSEST / max(grid)))
    edges = np.linspace(place.min(), place.max(), BANDS + 1)
    band = np.clip(np.digitize(place, edges), 1, BANDS)
    band.flat[0] = 0
    _, band = np.unique(band, return_inverse=True)  # without empty bands
    counts = np.bincount(band.ravel())
    centres = np.bincount(band.ravel(), weights=place.ravel()) / counts
    return band, place, centres[1:]


@lru_cache(maxsize=4)
def _window(domain: bytes, shape: tuple[int, ...]) -> _Window:
    """Mirror a domain at its outline into margin and holes, fading to zero."""
    inside = np.frombuffer(domain, dtype=np.bool_).reshape(shape)
    grid, margins = padded_shape(shape), _margins(shape)
    big = np.zeros(grid, dtype=np.bool_)
    big[tuple(slice(n) for n in shape)] = inside
    # the nearest pixel may lie beyond the end, where the grid wraps around
    around = np.pad(big, [(m, m) for m in margins], mode="wrap")
    far, nearest = ndimage.distance_transform_edt(~around, return_indices=True)
    middle = tuple(slice(m, m + n) for m, n in zip(margins, grid, strict=True))
    close, mirrored = [], []
    for axis, (m, n) in enumerate(zip(margins, grid, strict=True)):
        near = nearest[axis][middle] - m
        close.append(near % n)
        mirrored.append((2 * near - np.indices(grid, sparse=True)[axis]) % n)
    usable = big[tuple(mirrored)]
    flat = np.where(
        usable,
        np.ravel_multi_index(tuple(mirrored), grid),
        np.ravel_multi_index(tuple(close), grid),
    )
    index = np.zeros(big.size, dtype=np.int64)
    index[big.ravel()] = np.arange(np.count_nonzero(inside))
    weight = np.cos(0.5 * np.pi * np.minimum(far[middle] / min(margins), 1.0)) ** 2
    weight[far[middle] >= min(margins)] = 0.0
    source = index[flat]
    return _Window(source, weight.astype(np.float32), _white(source, weight))


def _white(source: IntArray, weight: FloatArray) -> FloatArray:
    """Root of the power that white noise has on the grid, its mean square 1.

    A value and its mirror images are correlated, which would look like texture. The
    expected power is the transform of the products of all pairs of pixels that show
    one value, by their distance.
    """
    grid = source.shape
    seen = np.flatnonzero(weight)
    seen = seen[np.argsort(source.flat[seen], kind="stable")]
    value, share = source.flat[seen], weight.flat[seen]
    where = np.stack(np.unravel_index(seen, grid))
    sums = np.zeros(source.size)
    sums[0] = np.sum(share**2)
    for apart in range(1, seen.size):
        pair = np.flatnonzero(value[apart:] == value[:-apart])
        if pair.size == 0:
            break
        product = share[pair] * share[pair + apart]
        lag = where[:, pair + apart] - where[:, pair]
        for way in (lag, -lag):
            at = np.ravel_multi_index(tuple(way), grid, mode="wrap")
            sums += np.bincount(at, weights=product, minlength=sums.size)
    power = fft.rfftn(sums.reshape(grid)).real
    return np.asarray(np.sqrt(np.maximum(power / power.mean(), 0.05)))
