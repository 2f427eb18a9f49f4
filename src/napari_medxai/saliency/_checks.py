"""Checks of parameters, with errors that name method and parameter."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Literal

import torch
from torch import Tensor

from .network import Session

__all__ = [
    "Baseline",
    "Reduce",
    "RegionReduce",
    "baseline_like",
    "choice",
    "count",
    "number",
    "reduced",
]

Baseline = float | Tensor
Reduce = Literal["abs_sum", "sum"]
RegionReduce = Literal["max", "sum", "abs_sum"]


def count(session: Session, name: str, value: object, *, least: int = 1) -> int:
    """Check a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise session.error(
            f"{name} must be a whole number of at least {least}, not {value!r}"
        )
    return int(value)


def number(
    session: Session,
    name: str,
    value: object,
    *,
    least: float = 0.0,
    most: float = math.inf,
    above: bool = False,
) -> float:
    """Check a number within [least, most], or (least, most] where ``above``."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not least <= float(value) <= most
        or (above and float(value) == least)
    ):
        opening = "(" if above else "["
        raise session.error(
            f"{name} must be a number in {opening}{least:g}, {most:g}], not {value!r}"
        )
    return float(value)


def choice(session: Session, name: str, value: object, known: tuple[str, ...]) -> str:
    """Check one of several words."""
    if value not in known:
        options = ", ".join(repr(word) for word in known)
        raise session.error(f"{name} must be one of {options}, not {value!r}")
    return str(value)


def baseline_like(session: Session, baseline: Any, x: Tensor) -> Tensor:
    """Spread a baseline image, a value or a tensor, over the batch ``x``."""
    if isinstance(baseline, bool) or not isinstance(baseline, Real | Tensor):
        raise session.error(
            f"baseline must be a number or a tensor, not {type(baseline).__name__}"
        )
    values = torch.as_tensor(baseline).detach().to(x.device, x.dtype)
    session.require_finite(values, "the baseline")
    try:
        return values.broadcast_to(x.shape)
    except RuntimeError as error:
        raise session.error(
            f"the baseline {tuple(values.shape)} does not fit the images "
            f"{tuple(x.shape)}"
        ) from error


def reduced(session: Session, attribution: Tensor, reduce: str) -> Tensor:
    """Reduce (B, C, *spatial) over the channels."""
    if reduce == "abs_sum":
        return attribution.abs().sum(dim=1)
    if reduce == "sum":
        return attribution.sum(dim=1)
    if reduce == "max":
        return attribution.amax(dim=1)
    raise session.error(f"reduce must be 'abs_sum', 'sum' or 'max', not {reduce!r}")
