"""An acceptance protocol: what a run must reach, written as TOML."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_medxai.errors import UsageError

from .tables import read_text

__all__ = ["BOUNDS", "RUN_BOUNDS", "Bound", "Protocol", "Requirement", "read_protocol"]


@dataclass(frozen=True)
class Bound:
    """What a key of the protocol bounds.

    Attributes
    ----------
    of : str
        What is looked at, in words.
    sign : str
        ``>=`` or ``<=``.
    column : str
        Of ``summary.csv``; "" where the number comes from elsewhere.
    share : bool
        Whether it lies within 0 and 1.
    """

    of: str
    sign: str
    column: str = ""
    share: bool = False


RUN_BOUNDS: Mapping[str, Bound] = {
    "max_failed_cases": Bound("failed cases", "<="),
    "min_cases": Bound("cases with results", ">="),
    "min_patients": Bound("patients", ">="),
    "min_labelled_images": Bound("labelled images", ">="),
    "min_accuracy": Bound("accuracy", ">=", share=True),
    "min_class_accuracy": Bound("accuracy of the worst class", ">=", share=True),
}
BOUNDS: Mapping[str, Bound] = {
    "at_least": Bound("value", ">=", "value"),
    "at_most": Bound("value", "<=", "value"),
    "ci_low_at_least": Bound("lower end", ">=", "ci_low"),
    "ci_high_at_most": Bound("upper end", "<=", "ci_high"),
    "p_adjusted_at_most": Bound("p adjusted", "<=", "p_adjusted", share=True),
    "effect_at_least": Bound("effect size", ">=", "effect_size", share=True),
    "n_at_least": Bound("images", ">=", "n"),
    "max_excluded_share": Bound("share left out", "<=", share=True),
    "every_at_least": Bound("smallest image", ">="),
    "every_at_most": Bound("largest image", "<="),
}
SELECT = ("method", "metric", "preset", "aggregation", "class", "null")
NEEDED = ("method", "metric")
CURVE_METRICS = ("aic", "sic")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One ``[[require]]``: a line of ``summary.csv`` and its bounds.

    Attributes
    ----------
    select : mapping of str to str
        What the line's columns must hold.
    bounds : mapping of str to float
        By key of :data:`BOUNDS`.
    """

    select: Mapping[str, str]
    bounds: Mapping[str, float]

    @property
    def title(self) -> str:
        """The line in words."""
        return " ".join(self.select[key] for key in SELECT if key in self.select)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What a run must reach.

    Attributes
    ----------
    title : str
    run : mapping of str to float
        Bounds on the whole run by key of :data:`RUN_BOUNDS`.
    model_sha256 : str
        "" where any model will do.
    equals : mapping of str to str
        Fields of ``run.json`` by their path, such as ``settings.slices``.
    requirements : tuple of Requirement
    sha256 : str
        Of the file.
    """

    title: str
    sha256: str
    run: Mapping[str, float] = field(default_factory=dict)
    model_sha256: str = ""
    equals: Mapping[str, str] = field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()


def read_protocol(path: Path) -> Protocol:
    """Read a protocol.

    Parameters
    ----------
    path : Path
        A TOML file; see ``docs/validation.md``.

    Returns
    -------
    Protocol

    Raises
    ------
    UsageError
        If it cannot be read, is no TOML, has an unknown key or a value of the wrong
        kind, or asks for nothing.
    """
    source = read_text(path)
    try:
        content = tomllib.loads(source.text)
        return _protocol(content, source.sha256)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML: {error}.") from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deep.") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _protocol(content: Mapping[str, Any], sha256: str) -> Protocol:
    _known(content, ("protocol", "run", "require"), "at the top")
    run = content.get("run", {})
    lines = content.get("require", [])
    if not isinstance(run, dict):
        raise UsageError("run must be a table: [run].")
    if not isinstance(lines, list) or not all(isinstance(r, dict) for r in lines):
        raise UsageError("require must be a list of tables: [[require]].")
    title = _text(content.get("protocol", ""), "protocol")
    if not title:
        raise UsageError('it has no name; write protocol = "..." at the top.')
    _known(run, (*RUN_BOUNDS, "model_sha256", "equals"), "in [run]")
    digest = _text(run.get("model_sha256", ""), "model_sha256")
    if "model_sha256" in run and not SHA256.fullmatch(digest):
        raise UsageError(
            "model_sha256 must have 64 hexadecimal digits; run.json says it under "
            "model.sha256."
        )
    equals = run.get("equals", {})
    if not isinstance(equals, dict):
        raise UsageError("run.equals must be a table: [run.equals].")
    protocol = Protocol(
        title=title,
        sha256=sha256,
        run={
            key: _number(run[key], key, bound)
            for key, bound in RUN_BOUNDS.items()
            if key in run
        },
        model_sha256=digest.lower(),
        equals=_flat(equals, ""),
        requirements=tuple(_requirement(r, i) for i, r in enumerate(lines, start=1)),
    )
    if not (protocol.run or digest or protocol.equals or protocol.requirements):
        raise UsageError("it asks for nothing; give [run] or [[require]].")
    return protocol


def _requirement(table: Mapping[str, Any], index: int) -> Requirement:
    where = f"in [[require]] number {index}"
    _known(table, (*SELECT, *BOUNDS), where)
    missing = [key for key in NEEDED if key not in table]
    if missing:
        raise UsageError(f"{' and '.join(missing)} missing {where}.")
    select = {
        key: _text(table[key], f"{key} {where}") for key in SELECT if key in table
    }
    empty = [key for key in select if not select[key] and key != "preset"]
    if empty:
        raise UsageError(f"{', '.join(empty)} {where} is empty.")
    select.setdefault("class", "all")
    select.setdefault(
        "aggregation", "median_curve" if select["metric"] in CURVE_METRICS else "mean"
    )
    bounds = {
        key: _number(table[key], f"{key} {where}", bound)
        for key, bound in BOUNDS.items()
        if key in table
    }
    if not bounds:
        raise UsageError(f"no bound {where}; there are {', '.join(BOUNDS)}.")
    return Requirement(select=select, bounds=bounds)


def _known(table: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    unknown = [key for key in table if key not in keys]
    if unknown:
        raise UsageError(
            f"{', '.join(unknown)} {where} is unknown; there are {', '.join(keys)}."
        )


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text in quotes.")
    return value.strip()


def _number(value: Any, name: str, bound: Bound) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name} must be a number without quotes.")
    if not math.isfinite(value):
        raise UsageError(f"{name} must be finite.")
    if bound.share and not 0 <= value <= 1:
        raise UsageError(f"{name} is {value}; it is a share from 0 to 1.")
    return float(value)


def _flat(table: Mapping[str, Any], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            found |= _flat(value, f"{name}.")
        elif isinstance(value, bool | int | float | str):
            found[name] = as_text(value)
        else:
            raise UsageError(f"run.equals.{name} must be text, a number or true/false.")
    return found


def as_text(value: Any) -> str:
    """Write a value of ``run.json`` or of a protocol so that equal ones are alike."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
