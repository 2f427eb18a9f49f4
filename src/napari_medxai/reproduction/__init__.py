"""The paper as one command: classifiers, their maps, the curves, tables and a page."""

from __future__ import annotations

from .options import ReproductionOptions
from .pipeline import Reproduction, reproduce

__all__ = ["Reproduction", "ReproductionOptions", "reproduce"]
