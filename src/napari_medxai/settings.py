"""What is asked of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHECKS = ("insertion", "randomised")

__all__ = ["CHECKS", "Settings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What is asked of the engine.

    Attributes
    ----------
    methods : tuple of str
        Registered names, in the order they run.
    parameters : mapping
        Keyword arguments by method.
    target : str
        ``predicted``, ``label`` or a class name: which class is explained.
    slices : str or None
        ``mask``, ``middle``, ``all`` or ``A:B`` along array axis 0; None is ``mask``
        where there is one, else ``middle``.
    presets : tuple of str
        Presets of the information curves.
    seed : int
    chance : int
        Chance maps for each method and slice; 0 for none.
    null : str
        What a chance map is, see :data:`.metrics.NULLS`.
    checks : tuple of str
        Checks that cost passes: ``insertion`` (and deletion), ``randomised`` (the
        map of networks that are randomised layer by layer).
    min_probability : float
        Below this probability of the target on the original the curve is excluded.
    """

    methods: tuple[str, ...]
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    target: str = "predicted"
    slices: str | None = None
    presets: tuple[str, ...] = ("pair",)
    seed: int = 0
    min_probability: float = 0.8
    chance: int = 0
    null: str = "surrogate"
    checks: tuple[str, ...] = ()
