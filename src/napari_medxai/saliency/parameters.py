"""A method's parameters as words: ``METHOD.PARAMETER=VALUE`` and back.

The types come from the signature of the method's function, where they are written
once. Forms read them from here too.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

from napari_medxai.errors import MethodError, UsageError

from .registry import Method, closest, get

__all__ = ["described", "kinds", "parse", "parse_value", "unknown_parameter"]

TRUTH = {"true": True, "yes": True, "on": True, "1": True}
TRUTH |= {"false": False, "no": False, "off": False, "0": False}
FORM = "METHOD.PARAMETER=VALUE, such as smoothgrad.samples=50"


def parse(
    assignments: Iterable[str], methods: Collection[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Read ``METHOD.PARAMETER=VALUE`` strings.

    Parameters
    ----------
    assignments
        Such as ``"captum:Occlusion.strides=8,8"``. Several numbers stand with
        commas, None is ``none``.
    methods
        Names of the methods that will run; None to take any.

    Returns
    -------
    dict
        Parameters by method, both sorted; values are numbers, words, truth values,
        None and tuples of them, so that JSON can hold them.

    Raises
    ------
    UsageError
        A string has another form, a value another type, a parameter is given twice,
        or a method will not run.
    MethodError
        There is no such method or parameter.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in assignments:
        target, equals, value = text.partition("=")
        name, dot, key = target.strip().rpartition(".")
        if not (equals and dot and name and key):
            raise UsageError(f"'{text}' is not of the form {FORM}.")
        method = get(name)
        if methods is not None and name not in methods:
            raise UsageError(
                f"'{text}': {name} is not among the methods that run: "
                f"{', '.join(methods)}."
            )
        if key not in method.parameters:
            raise unknown_parameter(method, key)
        given = found.setdefault(name, {})
        if key in given:
            raise UsageError(f"'{text}': {name}.{key} is given twice.")
        try:
            given[key] = parse_value(value.strip(), kinds(method)[key])
        except ValueError as error:
            raise UsageError(f"'{text}': {key} must be {error}.") from error
    return {name: dict(sorted(given.items())) for name, given in sorted(found.items())}


def unknown_parameter(method: Method, name: str) -> MethodError:
    """Make the error for a parameter that a method does not have."""
    known = tuple(method.parameters)
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    return MethodError(
        f"{method.name} has no parameter {name!r}{closest(name, known)}; {takes}"
    )


def kinds(method: Method) -> dict[str, Any]:
    """Types of a method's parameters, in their order.

    Where another package's annotations cannot be resolved, the default's type.
    """
    try:
        hints = typing.get_type_hints(method.function)
    except (NameError, TypeError):
        hints = {}
    return {
        name: hints.get(name, str | None if default is None else type(default))
        for name, default in method.parameters.items()
    }


def described(method: Method) -> tuple[str, ...]:
    """Say each parameter with its default and what it may be.

    Returns
    -------
    tuple of str
        Such as ``"samples=25 (a whole number)"``.
    """
    return tuple(
        f"{name}={_written(method.parameters[name])} ({_words(kind)})"
        for name, kind in kinds(method).items()
    )


def parse_value(text: str, kind: Any) -> Any:
    """Read a value of a type.

    Parameters
    ----------
    text
        What was written.
    kind
        ``int``, ``float``, ``bool``, ``str``, ``None``, a Literal, a tuple or
        Sequence, or a union of them. Of a union the narrowest that fits is taken.

    Raises
    ------
    ValueError
        It is none; the text says what it must be.
    """
    options = _options(kind)
    for option in options:
        # One word is a word, not several.
        if str in options and _items(option) and "," not in text:
            continue
        try:
            return _read(text, option)
        except ValueError:
            continue
    raise ValueError(_words(kind))


def _options(kind: Any) -> list[Any]:
    """Members of a union that can be written, the narrowest first."""
    # Python flattens unions of unions.
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    members = typing.get_args(kind) if union else (kind,)
    return sorted(filter(_rank, members), key=_rank)


def _rank(kind: Any) -> int:
    """Narrow types first, 0 for what cannot be written."""
    simple = {type(None): 1, bool: 2, int: 3, float: 4, str: 7}
    if kind in simple:
        return simple[kind]
    if typing.get_origin(kind) is Literal:
        return 5
    return 6 if _items(kind) else 0


def _items(kind: Any) -> list[Any]:
    """Options of the items of a tuple or a sequence, empty for anything else."""
    origin = typing.get_origin(kind)
    if not (isinstance(origin, type) and issubclass(origin, Sequence)):
        return []
    return [
        option
        for item in typing.get_args(kind)
        if item is not Ellipsis
        for option in _options(item)
    ]


def _read(text: str, kind: Any) -> Any:
    if kind is type(None):
        if text.lower() == "none":
            return None
        raise ValueError
    if kind is bool:
        if text.lower() in TRUTH:
            return TRUTH[text.lower()]
        raise ValueError
    if kind is int:
        return int(text)
    if kind is float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError
        return value
    if kind is str:
        return text
    if typing.get_origin(kind) is Literal:
        for choice in typing.get_args(kind):
            if text == str(choice):
                return choice
        raise ValueError
    parts = [part.strip() for part in text.strip("()[]").split(",") if part.strip()]
    if not parts:
        raise ValueError
    return tuple(parse_value(part, typing.Union[tuple(_items(kind))]) for part in parts)  # noqa: UP007


def _words(kind: Any) -> str:
    """Say what may be written."""
    one = {
        int: "a whole number",
        float: "a number",
        str: "a word",
        bool: "true or false",
    }
    many = {int: "whole numbers", float: "numbers", str: "words", bool: "true or false"}
    words, options = [], _options(kind)
    for option in options:
        if typing.get_origin(option) is Literal:
            words.append("one of " + ", ".join(map(str, typing.get_args(option))))
        elif items := _items(option):
            new = [many[item] for item in items if item in many and item not in options]
            words.append(" and ".join(new or ["several"]) + " with commas")
        elif option in one:
            words.append(one[option])
    if type(None) in options and words:
        words.append("none")
    return " or ".join(words) or "given from Python"


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)
