"""What differs between the settings of two runs, from their ``run.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["SettingDifference", "differing"]

ABSENT = "-"
MODEL = ("name", "architecture", "classes", "sha256", "intensity")
METHOD = "parameters"
# What was found and how long it took; what only exports depend on.
NO_SETTINGS = (
    *("cases", "command", "seconds", "stage_seconds", "started", "n_resumed"),
    *("n_cases", "n_failed", "n_patients", "n_slices"),
    *("settings.export", "settings.seg_percentile", "settings.identify"),
    *("settings.limit", "settings.batch_size"),
)


@dataclass(frozen=True)
class SettingDifference:
    """A setting that is not the same in both runs, as text."""

    name: str
    a: str
    b: str


def differing(
    a: Mapping[str, Any], b: Mapping[str, Any]
) -> tuple[SettingDifference, ...]:
    """List what differs between two ``run.json``.

    Parameters
    ----------
    a, b : mapping
        Their content. Of the model, what it is and what it sees count, not what its
        card tells; times, counts and exports do not count.

    Returns
    -------
    tuple of SettingDifference
        Model first, then methods, then the rest by name.
    """
    first, second = dict(_flat(a)), dict(_flat(b))
    names = dict.fromkeys([*first, *second])
    pairs = [(n, first.get(n, ABSENT), second.get(n, ABSENT)) for n in names]
    order = {"model": 0, "method": 1}
    found = [SettingDifference(*pair) for pair in pairs if pair[1] != pair[2]]
    return tuple(
        sorted(found, key=lambda d: (order.get(_head(d.name), 2), _head(d.name)))
    )


def _head(name: str) -> str:
    return name.replace(".", " ").split(" ")[0]


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if name == "model" and isinstance(value, Mapping):
            for key in MODEL:
                yield f"model.{key}", _text(value.get(key))
        elif name == "methods" and isinstance(value, list):
            yield from _methods(value)
        elif name not in NO_SETTINGS:
            yield from _nested(name, value)


def _methods(methods: list[Any]) -> Iterator[tuple[str, str]]:
    for method in methods:
        if isinstance(method, Mapping):
            name = method.get("name", "")
            yield f"method {name}", "run"
            parameters = method.get(METHOD)
            if isinstance(parameters, Mapping):
                for key, value in parameters.items():
                    yield f"method {name}.{key}", _text(value)


def _nested(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if f"{name}.{key}" not in NO_SETTINGS:
                yield from _nested(f"{name}.{key}", one)
    else:
        yield name, _text(value)


def _text(value: Any) -> str:
    if value is None or value == "":
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)
    return str(value)
