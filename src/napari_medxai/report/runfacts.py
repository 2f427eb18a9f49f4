"""What a report says of the run: the classifier, the methods, the circumstances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MethodFacts", "ModelFacts", "RunFacts"]


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """The classifier, as its card states it.

    Attributes
    ----------
    name, architecture : str
    classes : tuple of str
    training_data, intended_use, limits, licence : str
        Free text; "" where the card says nothing.
    performance : mapping of str to str
        Figures by name, formatted, for example ``{"macro F1": "0.91"}``.
    performance_set : str
        The data they were measured on, for example "the validation split that also
        chose the weights".
    sha256 : str
    intensity : str
        What its preprocessing does to the intensities, by modality.
    """

    name: str
    architecture: str = ""
    classes: tuple[str, ...] = ()
    training_data: str = ""
    performance: Mapping[str, str] = field(default_factory=dict)
    performance_set: str = ""
    intended_use: str = ""
    limits: str = ""
    licence: str = ""
    sha256: str = ""
    intensity: str = ""


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """How a saliency method was run.

    Attributes
    ----------
    name, label, family, reference : str
    parameters : mapping
        With the defaults filled in.
    """

    name: str
    label: str
    family: str = ""
    reference: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What was run on what.

    Attributes
    ----------
    model : ModelFacts
    methods : tuple of MethodFacts
    inputs : str
        What was given, without the path of the machine, for example the folder name.
    n_cases, n_slices : int
        Cases found, and images measured.
    n_patients : int or None
        None where no patients are known: the unit is then the slice.
    n_failed : int
        Cases with an error.
    simulated : bool
        Whether the images are simulated.
    has_masks : bool
        Whether any image has a ground-truth mask.
    command : str
    target : str
        Which class is explained: ``predicted``, ``label`` or a class name.
    seed : int
    device, precision : str
    started : str
        Time in words or ISO 8601.
    seconds : float or None
        Duration.
    stage_seconds : mapping of str to float
        Time by stage, summed over the cases.
    versions : mapping of str to str
    settings : mapping
        Anything else that decides the numbers, by name.
    """

    model: ModelFacts
    methods: tuple[MethodFacts, ...] = ()
    inputs: str = ""
    n_cases: int = 0
    n_slices: int = 0
    n_patients: int | None = None
    n_failed: int = 0
    simulated: bool = False
    has_masks: bool = True
    command: str = ""
    target: str = "predicted"
    seed: int = 0
    device: str = ""
    precision: str = ""
    started: str = ""
    seconds: float | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
