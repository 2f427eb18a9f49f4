"""What the report of a training tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_medxai.models import ModelCard

from .evaluation import Evaluation
from .settings import TrainingSettings
from .splitting import Split

__all__ = ["Story"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Story:
    """All that the page tells.

    Attributes
    ----------
    settings : TrainingSettings
    card : ModelCard
    split : Split
    counts : mapping
        Images by part and class.
    dropped : int
        Training images left out as duplicates.
    history : tuple of mapping
    kept_epoch : int
    seconds : float
        Of training.
    device : str
    temperature : float or None
    described : mapping of str to str
        What each part is.
    found : mapping of str to Evaluation
        ``selection``, and ``test`` where there is one.
    versions : mapping of str to str
    """

    settings: TrainingSettings
    card: ModelCard
    split: Split
    counts: Mapping[str, Mapping[str, int]]
    dropped: int
    history: tuple[Mapping[str, float], ...]
    kept_epoch: int
    seconds: float
    device: str
    temperature: float | None
    described: Mapping[str, str]
    found: Mapping[str, Evaluation]
    versions: Mapping[str, str]
