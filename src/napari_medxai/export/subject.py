"""One method's map of one study, checked, slice by slice: what every format writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai import saliency
from napari_medxai.errors import ExportError, MethodError
from napari_medxai.results import Explanation, Outcome
from napari_medxai.study import Study

__all__ = ["Part", "Subject", "explanation_of", "explanations_of"]

RESEARCH = "research use only"


@dataclass(frozen=True, eq=False)
class Part:
    """One explained slice of a map.

    Attributes
    ----------
    index : int or None
        Along array axis 0; None for an image.
    map : ndarray of float32, shape (row, column)
    target_class : str
        The class explained.
    probability : float
        The network's probability of that class; NaN where unknown.
    """

    index: int | None
    map: NDArray[np.float32]
    target_class: str
    probability: float

    @property
    def explained(self) -> str:
        """The class and its probability in words; "" where no class is known."""
        known = f" {self.probability:.2f}" if isfinite(self.probability) else ""
        return f"{self.target_class}{known}".strip()


@dataclass(frozen=True, eq=False)
class Subject:
    """A map together with its study.

    Attributes
    ----------
    study : Study
    explanation : Explanation
    parts : tuple of Part
        The explained slices in ascending order.
    """

    study: Study
    explanation: Explanation
    parts: tuple[Part, ...] = field(repr=False)

    @classmethod
    def of(cls, study: Study, explanation: Explanation) -> Subject:
        """Check that a map belongs to a study, and take it apart.

        Raises
        ------
        ExportError
            Where the map is not on the study's grid or holds no number.
        """
        values = explanation.map
        if values.shape != study.shape:
            raise ExportError(
                f"the map of {explanation.method} has shape {values.shape}, the study "
                f"{study.shape}; explain this very study"
            )
        parts = tuple(_parts(study, explanation))
        if not any(np.isfinite(part.map).any() for part in parts):
            raise ExportError(f"the map of {explanation.method} holds no number")
        return cls(study, explanation, parts)

    @property
    def method(self) -> str:
        """The method's registered name."""
        return self.explanation.method

    @property
    def label(self) -> str:
        """The method's name for people."""
        try:
            return saliency.get(self.method).label
        except MethodError:
            return self.method

    @property
    def model(self) -> str:
        """The model's name; "" where unknown."""
        return str(self.explanation.provenance.get("model", ""))

    @property
    def indices(self) -> tuple[int, ...]:
        """Slices of the study that are explained; (0,) for an image."""
        return tuple(part.index or 0 for part in self.parts)

    @property
    def values(self) -> NDArray[np.float32]:
        """The explained slices, shape (n, row, column)."""
        return np.stack([part.map for part in self.parts])

    @property
    def classes(self) -> str:
        """The classes explained, in words."""
        return ", ".join(
            dict.fromkeys(p.target_class for p in self.parts if p.target_class)
        )

    def says(self, part: Part | None = None) -> str:
        """Say in one sentence what the map is."""
        words = [f"{self.label} saliency map"]
        explained = self.classes if part is None else part.explained
        if explained:
            words.append(f"of class {explained}")
        if self.model:
            digest = str(self.explanation.provenance.get("model_sha256", ""))[:12]
            words.append(f"by model {self.model}" + (f" ({digest})" if digest else ""))
        return f"{' '.join(words)}; {RESEARCH}"

    @property
    def digest(self) -> str:
        """Hash of the map and of what it says of itself."""
        text = json.dumps(
            [
                self.method,
                [[p.index, p.target_class, repr(p.probability)] for p in self.parts],
                _stable(self.explanation.provenance),
            ],
            sort_keys=True,
            default=str,
        )
        digest = hashlib.sha256(text.encode())
        for part in self.parts:
            digest.update(np.ascontiguousarray(part.map).tobytes())
        return digest.hexdigest()


def explanation_of(
    study: Study,
    values: NDArray[Any],
    *,
    method: str,
    target_class: str = "",
    probability: float = nan,
    model: str = "",
) -> Explanation:
    """Make an explanation of a bare array, for the functions that take one.

    Parameters
    ----------
    study : Study
    values : ndarray
        On the study's grid, NaN in the slices that are not explained.
    method : str
        A registered method's name, or any other.
    target_class : str
        The class explained.
    probability : float
        The network's probability of it.
    model : str

    Returns
    -------
    Explanation
    """
    array = np.asarray(values, dtype=np.float32)
    slices: tuple[int, ...] = ()
    if study.is_volume and array.shape == study.shape:
        filled = np.isfinite(array).any(axis=(1, 2))
        slices = tuple(int(i) for i in np.flatnonzero(filled))
    count = max(1, len(slices))
    return Explanation(
        method=method,
        map=array,
        target=0,
        target_class=target_class,
        slices=slices,
        targets=(0,) * count,
        probabilities=np.full((count, 1), probability),
        provenance={"model": model} if model else {},
        target_classes=(target_class,) * count,
    )


def explanations_of(
    study: Study,
    outcomes: Sequence[Outcome],
    classes: Sequence[str],
    provenance: Mapping[str, Any],
    parameters: Mapping[str, Mapping[str, Any]],
) -> Iterator[Explanation]:
    """Collect a finished case's maps, one explanation for each method.

    Parameters
    ----------
    study : Study
    outcomes : sequence of Outcome
        Of `study`, with their maps.
    classes : sequence of str
        The model's.
    provenance : mapping
        Of the case.
    parameters : mapping
        Keyword arguments by method.
    """
    by_method: dict[str, dict[int | None, Outcome]] = {}
    for outcome in outcomes:
        if outcome.map is not None:
            by_method.setdefault(outcome.method, {})[outcome.slice] = outcome
    for method, found in by_method.items():
        chosen = [found[i] for i in sorted(found, key=lambda i: -1 if i is None else i)]
        maps = [o.map for o in chosen if o.map is not None]
        slices = tuple(o.slice for o in chosen if o.slice is not None)
        volume = maps[0]
        if slices:
            volume = np.full(study.shape, np.nan, dtype=np.float32)
            for index, part in zip(slices, maps, strict=True):
                volume[index] = part
        targets = tuple(classes.index(o.target_class) for o in chosen)
        yield Explanation(
            method=method,
            map=volume,
            target=targets[0],
            target_class=chosen[0].target_class,
            slices=slices,
            targets=targets,
            probabilities=np.stack([o.probabilities for o in chosen]),
            provenance={
                **provenance,
                "method": method,
                "parameters": {
                    **saliency.get(method).parameters,
                    **parameters.get(method, {}),
                },
            },
            target_classes=tuple(o.target_class for o in chosen),
        )


def _parts(study: Study, explanation: Explanation) -> Iterator[Part]:
    names = explanation.target_classes
    if not names:
        names = tuple(
            explanation.target_class if t == explanation.target else f"class {t}"
            for t in explanation.targets
        )
    chances = [
        float(row[target])
        for row, target in zip(
            explanation.probabilities, explanation.targets, strict=True
        )
    ]
    if not study.is_volume:
        yield Part(None, explanation.map, names[0], chances[0])
    elif explanation.slices:
        rows = zip(explanation.slices, names, chances, strict=True)
        for index, name, chance in sorted(rows):
            yield Part(index, explanation.map[index], name, chance)
    else:  # a network that takes whole volumes
        for index, part in enumerate(explanation.map):
            yield Part(index, part, names[0], chances[0])


def _stable(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what changes no meaning: the device and the versions."""
    return {k: v for k, v in provenance.items() if k not in ("device", "versions")}
