"""MONAI's transforms of a bundle, as this program's preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from napari_medxai.errors import ModelError
from napari_medxai.intensity import Intensity, Percentiles, Rule, Window, ZScore
from napari_medxai.preprocess import Preprocessing

__all__ = ["Unknown", "preprocessing_of"]

# Reading and types, which this program does by itself.
NOTHING = {
    "AddChannel",
    "AsChannelFirst",
    "CastToType",
    "DeleteItems",
    "EnsureChannelFirst",
    "EnsureType",
    "Identity",
    "SelectItems",
    "ToDevice",
    "ToTensor",
}
CLIP = 4.0
LETTERS = {"R": "-x", "L": "x", "A": "-y", "P": "y", "S": "z", "I": "-z"}
TRUE = (True, "true", "True", 1)


class Unknown(ModelError):
    """A transform has no equal here; the text is a sentence that names it."""


@dataclass
class _Chain:
    """What has been worked out so far.

    The network is given ``offset + factor * u``, u the image between 0 and 1.
    """

    channels: int
    axes: list[str]
    size: list[int] | None = None
    rule: Rule | None = None
    offset: list[float] = field(default_factory=lambda: [0.0])
    factor: list[float] = field(default_factory=lambda: [1.0])
    oriented: bool = False
    notes: list[str] = field(default_factory=list)

    def scale(self, rule: Rule, low: float, high: float) -> None:
        """Let a rule decide, whose ends the network is given as two values."""
        if not high > low:
            raise Unknown(f"It scales intensities to [{low:g}, {high:g}].")
        self.rule = rule
        self.offset, self.factor = [low], [high - low]

    def normalise(self, subtrahend: Sequence[float], divisor: Sequence[float]) -> None:
        """Subtract and divide what the network is given, by channel."""
        count = max(map(len, (subtrahend, divisor, self.offset, self.factor)))
        first, second, offset, factor = (
            list(values) * (count if len(values) == 1 else 1)
            for values in (subtrahend, divisor, self.offset, self.factor)
        )
        if min(second) <= 0:
            raise Unknown("It divides intensities by numbers that are not above 0.")
        self.offset = [
            (o - a) / b for o, a, b in zip(offset, first, second, strict=True)
        ]
        self.factor = [f / b for f, b in zip(factor, second, strict=True)]

    def swap(self, a: int, b: int) -> None:
        """Exchange two axes."""
        self.axes[a], self.axes[b] = self.axes[b], self.axes[a]
        if self.size is not None:
            self.size[a], self.size[b] = self.size[b], self.size[a]

    def flip(self, axis: int) -> None:
        """Turn an axis the other way."""
        name = self.axes[axis]
        self.axes[axis] = name[1:] if name.startswith("-") else f"-{name}"


def preprocessing_of(
    transforms: Sequence[Mapping[str, Any]],
    *,
    channels: int,
    size: Sequence[int] | None,
    value_range: Sequence[float] | None,
    dims: int,
    image: str = "image",
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Turn MONAI's transforms into preprocessing.

    Parameters
    ----------
    transforms : sequence of mapping
        Each with ``_target_`` and its arguments, as in a bundle's configuration.
    channels : int
        The network's.
    size : sequence of int or None
        Of the metadata; a ``Resize`` wins.
    value_range : sequence of float or None
        Of the metadata: what the network is given where no transform scales
        intensities.
    dims : int
        2 or 3.
    image : str
        Key of the image among the dictionary transforms' keys.

    Returns
    -------
    preprocessing : Preprocessing
    notes : tuple of str
        In what it is not quite the same.

    Raises
    ------
    Unknown
        If a transform has no equal here.
    """
    # MONAI's readers give (x, y) and (x, y, z).
    axes = ["x", "y"] if dims == 2 else ["-x", "-y", "z"]
    chain = _Chain(channels, axes)
    for one in transforms:
        name = _name(str(one.get("_target_", "")))
        keys = one.get("keys", image)
        if image not in ([keys] if isinstance(keys, str) else list(keys)):
            continue
        if name in NOTHING:
            continue
        if name not in KNOWN:
            raise Unknown(f"Its transform {name} has no equal here.")
        try:
            KNOWN[name](chain, one)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            if isinstance(error, ModelError):
                raise
            raise Unknown(
                f"Its transform {name} cannot be read ({type(error).__name__})."
            ) from error
    return _finished(chain, size, value_range, dims)


def _finished(
    chain: _Chain,
    size: Sequence[int] | None,
    value_range: Sequence[float] | None,
    dims: int,
) -> tuple[Preprocessing, tuple[str, ...]]:
    wanted = chain.size or (None if size is None else list(size))
    if wanted is None or len(wanted) != dims:
        raise Unknown("No transform and no metadata say to which size images come.")
    if chain.rule is None:
        if value_range is None or len(value_range) != 2:
            raise Unknown("No transform says which intensities the network is given.")
        low, high = map(float, value_range)
        given_offset, given_factor = chain.offset, chain.factor
        chain.rule = Window((low + high) / 2, high - low)
        chain.offset = [low * f + o for o, f in _pairs(given_offset, given_factor)]
        chain.factor = [(high - low) * f for _, f in _pairs(given_offset, given_factor)]
    if dims == 3 and not chain.oriented:
        chain.notes.append(
            "The bundle states no Orientation: volumes are given to it as RAS. Where "
            "it was trained on others, state 'axes' in the preprocessing."
        )
    axes = "".join(chain.axes)
    pairs = _pairs(chain.offset, chain.factor)
    pairs = pairs * chain.channels if len(pairs) == 1 else pairs
    return (
        Preprocessing(
            size=tuple(int(n) for n in wanted),
            channels=chain.channels,
            intensity=Intensity(chain.rule),
            mean=tuple(-o / f for o, f in pairs),
            std=tuple(1 / f for _, f in pairs),
            axes="" if axes in ("yx", "zyx") else axes,
        ),
        tuple(chain.notes),
    )


def _pairs(
    offset: Sequence[float], factor: Sequence[float]
) -> list[tuple[float, float]]:
    count = max(len(offset), len(factor))
    spread = [list(v) * (count if len(v) == 1 else 1) for v in (offset, factor)]
    return list(zip(*spread, strict=True))


def _name(target: str) -> str:
    """Name of a transform without module and the mark of dictionary transforms."""
    name = target.rpartition(".")[2]
    import monai.transforms

    for ending in ("Dict", "d", "D"):
        plain = name.removesuffix(ending)
        if plain != name and (plain in NOTHING or hasattr(monai.transforms, plain)):
            return plain
    return name


def _numbers(value: Any) -> list[float]:
    many = value if isinstance(value, list | tuple) else [value]
    return [float(v) for v in many]


def _load(chain: _Chain, given: Mapping[str, Any]) -> None:
    reader = str(given.get("reader") or "")
    upright = "Numpy" in reader or given.get("reverse_indexing") is False
    if upright:
        chain.axes.reverse()


def _scale(chain: _Chain, given: Mapping[str, Any]) -> None:
    low, high = given.get("minv", 0.0), given.get("maxv", 1.0)
    if given.get("factor") is not None or low is None or high is None:
        raise Unknown("Its ScaleIntensity scales by a factor, which depends on units.")
    _together(chain, given)
    over = "volume" if len(chain.axes) == 3 else "slice"
    chain.scale(Percentiles(0.0, 100.0, over), float(low), float(high))


def _scale_range(chain: _Chain, given: Mapping[str, Any]) -> None:
    first, last = float(given["a_min"]), float(given["a_max"])
    low, high = given.get("b_min"), given.get("b_max")
    if given.get("clip", False) not in TRUE:
        chain.notes.append(
            f"Intensities beyond {first:g} to {last:g} are cut; the bundle leaves them."
        )
    low, high = (first, last) if low is None or high is None else (low, high)
    window = Window((first + last) / 2, last - first)
    chain.scale(window, float(low), float(high))


def _scale_percentiles(chain: _Chain, given: Mapping[str, Any]) -> None:
    if given.get("relative", False) in TRUE:
        raise Unknown("Its ScaleIntensityRangePercentiles is relative.")
    _together(chain, given)
    over = "volume" if len(chain.axes) == 3 else "slice"
    rule = Percentiles(float(given["lower"]), float(given["upper"]), over)
    if given.get("clip", False) not in TRUE:
        chain.notes.append(
            "Intensities beyond the two percentiles are cut; the bundle leaves them."
        )
    chain.scale(rule, float(given["b_min"]), float(given["b_max"]))


def _normalise(chain: _Chain, given: Mapping[str, Any]) -> None:
    subtrahend, divisor = given.get("subtrahend"), given.get("divisor")
    if subtrahend is not None or divisor is not None:
        if subtrahend is None or divisor is None:
            raise Unknown("Its NormalizeIntensity measures half of what it does.")
        chain.normalise(_numbers(subtrahend), _numbers(divisor))
        return
    nonzero = given.get("nonzero", False) in TRUE
    if nonzero and chain.rule is not None:
        raise Unknown("Its NormalizeIntensity leaves out zeros of scaled intensities.")
    _together(chain, given)
    over = "volume" if len(chain.axes) == 3 else "slice"
    chain.notes.append(
        f"Intensities beyond {CLIP:g} standard deviations are cut, since images are "
        "shown to the network in 8 bit."
    )
    chain.scale(ZScore(CLIP, nonzero, over), -CLIP, CLIP)


def _together(chain: _Chain, given: Mapping[str, Any]) -> None:
    if given.get("channel_wise", False) in TRUE and chain.channels > 1:
        chain.notes.append(
            "The bundle scales each channel for itself; here all are scaled alike."
        )


def _resize(chain: _Chain, given: Mapping[str, Any]) -> None:
    size = given["spatial_size"]
    if given.get("size_mode", "all") != "all":
        raise Unknown("Its Resize scales the longest side only.")
    many = size if isinstance(size, list | tuple) else [size] * len(chain.axes)
    chain.size = [int(n) for n in many]
    chain.notes.append(
        "Images that are not square are padded to a square; the bundle stretches them."
    )


def _repeat(chain: _Chain, given: Mapping[str, Any]) -> None:
    repeats = int(given["repeats"])
    if repeats != chain.channels:
        raise Unknown(f"It repeats the channel {repeats} times.")


def _orient(chain: _Chain, given: Mapping[str, Any]) -> None:
    if len(chain.axes) == 2:
        raise Unknown("It turns volumes (Orientation), but the network is 2-D.")
    chain.axes = [LETTERS[letter] for letter in str(given["axcodes"])]
    chain.oriented = True


def _transpose(chain: _Chain, given: Mapping[str, Any]) -> None:
    order = [int(i) - 1 for i in given["indices"]]
    if order[0] != -1:
        raise Unknown("Its Transpose moves the channels.")
    before = list(chain.axes)
    size = chain.size
    chain.axes = [before[i] for i in order[1:]]
    chain.size = None if size is None else [size[i] for i in order[1:]]


def _flip(chain: _Chain, given: Mapping[str, Any]) -> None:
    which = given.get("spatial_axis")
    for axis in range(len(chain.axes)) if which is None else map(int, _numbers(which)):
        chain.flip(axis)


def _rotate(chain: _Chain, given: Mapping[str, Any]) -> None:
    a, b = (int(i) for i in given.get("spatial_axes", (0, 1)))
    for _ in range(int(given.get("k", 1)) % 4):
        chain.flip(b)
        chain.swap(a, b)


KNOWN: dict[str, Callable[[_Chain, Mapping[str, Any]], None]] = {
    "Flip": _flip,
    "LoadImage": _load,
    "NormalizeIntensity": _normalise,
    "Orientation": _orient,
    "RepeatChannel": _repeat,
    "Resize": _resize,
    "Rotate90": _rotate,
    "ScaleIntensity": _scale,
    "ScaleIntensityRange": _scale_range,
    "ScaleIntensityRangePercentiles": _scale_percentiles,
    "Transpose": _transpose,
}
