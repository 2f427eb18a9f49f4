"""The one exception hierarchy.

Every error a user can cause is a :class:`MedXAIError`; its text names the file or
the thing, says what is wrong and what to do.
"""

from __future__ import annotations

__all__ = [
    "Cancelled",
    "ExportError",
    "FetchError",
    "MedXAIError",
    "MethodError",
    "MetricError",
    "ModelError",
    "OutputError",
    "StudyError",
    "UsageError",
]


class MedXAIError(Exception):
    """Base of all errors raised on purpose by napari-medxai."""


class StudyError(MedXAIError, ValueError):
    """A study, series or mask cannot be read or does not fit."""


class ModelError(MedXAIError, ValueError):
    """A model cannot be loaded, or does not fit the study."""


class MethodError(MedXAIError, ValueError):
    """A saliency method is unknown, misused or cannot run on this network."""


class MetricError(MedXAIError, ValueError):
    """A metric was given data it is not defined for."""


class UsageError(MedXAIError, ValueError):
    """The command line or a setting is wrong."""


class ExportError(MedXAIError, ValueError):
    """A map cannot be written in this format: the study or the map does not allow."""


class FetchError(MedXAIError, OSError):
    """A data set cannot be downloaded, or what came is not what was published."""


class OutputError(MedXAIError, OSError):
    """A result cannot be written: disk full, read-only or vanished folder."""


class Cancelled(MedXAIError):
    """The work was cancelled through its progress callback."""
