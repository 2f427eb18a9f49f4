"""Intensity preprocessing: which values become 0 and 255 of the network's image.

A model folder states a rule for each modality it knows, and a default::

    "intensity": {
        "MR": {"percentiles": [0, 99.9], "over": "volume"},
        "CT": {"window": [40, 80]},
        "default": {"zscore": {"clip": 4, "nonzero": false}}
    }

Every rule names two values of the study; between them the intensities are scaled
linearly to 0 to 255, beyond them they are cut (MONAI's ``ScaleIntensityRange``).
Pixels that carry no measurement (NaN, infinite, pixel padding) never count in
percentiles, means or deviations and get the lowest value of the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import ModelError, StudyError
from .study import Study

__all__ = ["Intensity", "Percentiles", "Rule", "Window", "ZScore"]

DEFAULT = "default"
MIDDLE = 127.5
SCOPES = ("slice", "volume")
Ends = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Percentiles:
    """Values at two percentiles of the pixels become 0 and 255.

    Attributes
    ----------
    low, high : float
        0 and 100 are the least and the largest value.
    over : {"slice", "volume"}
        Whose pixels: those of what the network is shown, or of the whole study.
    """

    low: float = 0.0
    high: float = 99.9
    over: str = "slice"

    def __post_init__(self) -> None:
        """Check what a model folder may get wrong."""
        _check_scope(self.over)
        if not 0 <= self.low < self.high <= 100:
            raise ModelError(
                f"preprocessing: percentiles {self.low:g} and {self.high:g} must rise "
                "within 0 to 100."
            )

    def ends(self, values: torch.Tensor) -> Ends:
        """Values that become 0 and 255; the full range where both are the same."""
        from monai.transforms.utils_pytorch_numpy_unification import percentile

        low, high = percentile(values, (self.low, self.high))
        return (low, high) if high > low else (values.min(), values.max())

    def words(self) -> str:
        """Say what the rule does."""
        return (
            f"percentiles {self.low:g} and {self.high:g} of the {self.over} become "
            "black and white"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the rule as it stands in ``model.json``."""
        return {"percentiles": [self.low, self.high], "over": self.over}


@dataclass(frozen=True)
class Window:
    """A fixed window in the study's units, as in VOI windows of DICOM PS3.3 C.11.2.

    Attributes
    ----------
    level, width : float
        Centre and width in units of the rescaled pixels, Hounsfield units for CT.
    """

    level: float
    width: float

    def __post_init__(self) -> None:
        """Check what a model folder may get wrong."""
        if not (math.isfinite(self.level) and 0 < self.width < math.inf):
            raise ModelError(
                f"preprocessing: window {self.level:g}, {self.width:g}: a level and a "
                "width above 0 are needed."
            )

    def ends(self, values: torch.Tensor) -> Ends:
        """Values that become 0 and 255."""
        low, high = self.level - self.width / 2, self.level + self.width / 2
        return torch.tensor(low), torch.tensor(high)

    def words(self) -> str:
        """Say what the rule does."""
        return f"window of level {self.level:g} and width {self.width:g}"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as it stands in ``model.json``."""
        return {"window": [self.level, self.width]}


@dataclass(frozen=True)
class ZScore:
    """Distance from the mean in standard deviations, cut at ``clip`` on either side.

    ``z`` in [-clip, clip] becomes 0 to 255, so that a network with mean 0.5 and std
    ``1 / (2 * clip)`` is given z itself, in steps of ``2 * clip / 255``. What the
    network is padded with has z = 0.

    Attributes
    ----------
    clip : float
    nonzero : bool
        Whether mean and deviation are those of the pixels other than 0, which then
        are given z = 0, as MONAI's ``NormalizeIntensity(nonzero=True)`` leaves them.
    over : {"slice", "volume"}
        Whose pixels, as in :class:`Percentiles`.
    """

    clip: float = 4.0
    nonzero: bool = False
    over: str = "slice"

    def __post_init__(self) -> None:
        """Check what a model folder may get wrong."""
        _check_scope(self.over)
        if not 0 < self.clip < math.inf:
            raise ModelError(
                f"preprocessing: zscore needs a clip above 0, not {self.clip}."
            )

    def ends(self, values: torch.Tensor) -> Ends:
        """Values that become 0 and 255."""
        chosen = (values[values != 0] if self.nonzero else values).double()
        if chosen.numel() == 0:
            return torch.tensor(-1.0), torch.tensor(1.0)
        mean, deviation = chosen.mean(), chosen.std(correction=0)
        deviation = deviation if deviation > 0 else torch.ones_like(deviation)
        reach = self.clip * deviation
        return (mean - reach).float(), (mean + reach).float()

    def words(self) -> str:
        """Say what the rule does."""
        whose = "pixels other than 0" if self.nonzero else "pixels"
        return (
            f"mean and standard deviation of the {self.over}'s {whose}, "
            f"cut at {self.clip:g} deviations"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the rule as it stands in ``model.json``."""
        return {
            "zscore": {"clip": self.clip, "nonzero": self.nonzero},
            "over": self.over,
        }


Rule = Percentiles | Window | ZScore


@dataclass(frozen=True)
class Intensity:
    """The rules of a model.

    Attributes
    ----------
    default : Rule
        For modalities without a rule of their own, and files that name none.
    modalities : mapping of str to Rule
        By DICOM's Modality.
    """

    default: Rule = field(default_factory=Percentiles)
    modalities: Mapping[str, Rule] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Intensity:
        """Build from the ``intensity`` object of a ``model.json``.

        Raises
        ------
        ModelError
            If a rule is not one of those known, or there is no default.
        """
        if not isinstance(data, Mapping) or DEFAULT not in data:
            raise ModelError(
                "preprocessing: 'intensity' needs a rule for 'default'; other keys are "
                "modalities, for example 'MR'."
            )
        rules = {str(name): _rule(str(name), value) for name, value in data.items()}
        return cls(default=rules.pop(DEFAULT), modalities=rules)

    def to_json(self) -> dict[str, Any]:
        """Return the ``intensity`` object of a ``model.json``."""
        rules = {**self.modalities, DEFAULT: self.default}
        return {name: rule.to_json() for name, rule in rules.items()}

    def rule(self, study: Study) -> Rule:
        """Return the rule for a study's modality."""
        return self.modalities.get(study.modality, self.default)

    def notes(self, study: Study) -> tuple[str, ...]:
        """Say where a study's modality is not one that the model states rules for."""
        known = ", ".join(sorted(self.modalities))
        if not known or not study.modality or study.modality in self.modalities:
            return ()
        return (
            f"The model states intensity preprocessing for {known}, none for "
            f"{study.modality}; its default was used: {self.default.words()}.",
        )

    def words(self) -> str:
        """Say what is done to which modality."""
        said = [f"{name}: {rule.words()}" for name, rule in self.modalities.items()]
        other = "other modalities: " if said else ""
        return "; ".join([*said, f"{other}{self.default.words()}"])

    def scale(
        self, study: Study, pixels: NDArray[np.float32], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], float]:
        """Scale pixels to 0..255, all channels alike.

        Parameters
        ----------
        study : Study
            Chooses the rule, and is measured where the rule goes over the volume.
        pixels : ndarray of float32
        valid : ndarray of bool
            Pixels that carry a measurement, see :func:`measured`.

        Returns
        -------
        scaled : ndarray of float32
        fill : float
            What stands for nothing: the value to pad with.

        Raises
        ------
        StudyError
            If no pixel carries a measurement.
        """
        from monai.transforms import ScaleIntensityRange

        if not valid.any():
            raise StudyError(
                f"{study.identifier}: there is no finite value outside the pixel "
                "padding, so nothing to classify."
            )
        rule = self.rule(study)
        values = pixels if valid.all() else pixels[valid]
        low, high = _ends(rule, study, torch.from_numpy(values))
        fill = MIDDLE if isinstance(rule, ZScore) else 0.0
        if high <= low:
            return np.zeros_like(pixels), fill
        filled = pixels if valid.all() else np.where(valid, pixels, values.min())
        scale = ScaleIntensityRange(low, high, b_min=0.0, b_max=255.0, clip=True)
        scaled = np.asarray(scale(filled), dtype=np.float32)
        if isinstance(rule, ZScore) and rule.nonzero:
            scaled[filled == 0] = MIDDLE
        return scaled, fill


def measured(
    pixels: NDArray[Any], padding: tuple[float, float] | None
) -> NDArray[np.bool_]:
    """Pixels that carry a measurement: finite, and not pixel padding.

    Parameters
    ----------
    pixels : ndarray
    padding : tuple of float or None
        See :attr:`Study.padding`.

    Returns
    -------
    ndarray of bool
    """
    valid: NDArray[np.bool_] = np.isfinite(pixels)
    if padding is not None:
        valid &= (pixels < padding[0]) | (pixels > padding[1])
    return valid


# A study's own pixels never change, so that a volume is measured once.
_MEASURED: WeakKeyDictionary[Study, dict[Rule, Ends]] = WeakKeyDictionary()


def _ends(rule: Rule, study: Study, values: torch.Tensor) -> Ends:
    if isinstance(rule, Window) or rule.over == "slice" or not study.is_volume:
        return rule.ends(values.flatten())
    known = _MEASURED.setdefault(study, {})
    if rule not in known:
        volume = np.asarray(study.array, dtype=np.float32)
        known[rule] = rule.ends(
            torch.from_numpy(volume[measured(volume, study.padding)])
        )
    return known[rule]


def _check_scope(over: str) -> None:
    if over not in SCOPES:
        raise ModelError(
            f"preprocessing: 'over' is '{over}'; it can be {' or '.join(SCOPES)}."
        )


def _rule(name: str, data: Any) -> Rule:
    """Read one rule."""
    kinds = {"percentiles", "window", "zscore"}
    named = kinds & set(data) if isinstance(data, Mapping) else set()
    allowed = named | (set() if named == {"window"} else {"over"})
    if len(named) != 1 or set(data) - allowed:
        raise ModelError(
            f"preprocessing: the intensity rule for {name} must be one of "
            "{'percentiles': [low, high]}, {'window': [level, width]} and {'zscore': "
            "{'clip': 4, 'nonzero': false}}; the first and the last may say 'over': "
            f"'slice' or 'volume'. It is {data}."
        )
    (kind,) = named
    over = str(data.get("over", "slice"))
    try:
        if kind == "zscore":
            options = dict(data[kind])
            clip = float(options.pop("clip", ZScore.clip))
            nonzero = options.pop("nonzero", ZScore.nonzero)
            if options or not isinstance(nonzero, bool):
                raise ValueError("zscore takes 'clip' and 'nonzero' (true or false)")
            return ZScore(clip, nonzero, over)
        first, second = (float(value) for value in data[kind])
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"preprocessing: the intensity rule for {name} is damaged: {error}."
        ) from error
    return (
        Window(first, second) if kind == "window" else Percentiles(first, second, over)
    )
