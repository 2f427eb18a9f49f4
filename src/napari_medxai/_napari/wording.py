"""What the engine is doing, in words for the status line."""

from __future__ import annotations

from collections.abc import Mapping

from napari_medxai.results import Step

__all__ = ["words"]


def words(
    step: Step, labels: Mapping[str, str], slices: Mapping[int, str] | None = None
) -> str:
    """Return what is being done.

    Parameters
    ----------
    step : Step
    labels : mapping
        Name on screen by method.
    slices : mapping, optional
        What to call a slice, by its index in the array.
    """
    where = ""
    if step.slice is not None:
        where = f", {(slices or {}).get(step.slice, f'array slice {step.slice}')}"
    method = labels.get(step.method, step.method)
    if step.stage == "predict":
        return f"Asking the network{where}"
    if step.stage == "curves":
        return f"Information curves{f' of {method}' if method else ''}{where}"
    if method:
        return f"{method}{where}"
    return {"read": "Reading", "done": "Done"}.get(step.stage, step.stage)
