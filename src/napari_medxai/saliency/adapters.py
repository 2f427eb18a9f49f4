"""Methods of other libraries, found in what is installed: ``captum:`` and ``gradcam:``.

Nothing is listed by hand: each public class that explains an image classifier
becomes a method, and the arguments of its constructor and its call that can be
written down become its parameters. A newer version of a library brings its methods.
"""

from __future__ import annotations

import importlib
import inspect
import types
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

from torch import Tensor

from napari_medxai.errors import MethodError

from .network import Session
from .registry import Family, Method

__all__ = ["adapted", "arguments", "load", "parameter", "writable"]

DISTRIBUTIONS = {"captum": "captum", "gradcam": "grad-cam"}
LEAVES = (int, float, bool, str, type(None))
Run = Callable[[Session, Tensor, Tensor, Mapping[str, Any]], Tensor]


def load(prefix: str) -> dict[str, Method]:
    """Import a library and adapt its methods.

    Parameters
    ----------
    prefix
        ``"captum"`` or ``"gradcam"``.

    Returns
    -------
    dict
        Methods by their full names, sorted.

    Raises
    ------
    MethodError
        The library is not installed or cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries, while they load
            module = importlib.import_module(f"{__package__}.{prefix}_adapter")
    except ImportError as error:
        name = DISTRIBUTIONS[prefix]
        raise MethodError(
            f"the methods {prefix}:NAME need {name}, which cannot be imported "
            f"({error}); install it: pip install {name}"
        ) from error
    found: dict[str, Method] = module.found()
    return dict(sorted(found.items()))


def adapted(
    prefix: str,
    cls: type,
    *,
    family: Family,
    parameters: Sequence[inspect.Parameter],
    notes: str,
    run: Run,
) -> Method:
    """Make a method of a library's class.

    Parameters
    ----------
    prefix
        ``"captum"`` or ``"gradcam"``.
    cls
        The class.
    family
        See :class:`~napari_medxai.saliency.registry.Method`.
    parameters
        Keyword-only, each with its default and type.
    notes
        What to know of it, for the docstring.
    run
        ``f(session, x, target, parameters) -> maps``; it gets every parameter.

    Returns
    -------
    Method
        Its function has the signature of a method written by hand.
    """
    library = DISTRIBUTIONS[prefix]
    defaults = {given.name: given.default for given in parameters}

    def function(session: Session, x: Tensor, target: Tensor, **chosen: Any) -> Tensor:
        return run(session, x, target, {**defaults, **chosen})

    name = f"{prefix}:{cls.__name__}"
    first = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__name__ = cls.__name__
    function.__qualname__ = name
    function.__doc__ = f"{cls.__name__} as {library} computes it.\n\n{notes}"
    function.__annotations__ = {
        "session": Session,
        "x": Tensor,
        "target": Tensor,
        **{given.name: given.annotation for given in parameters},
        "return": Tensor,
    }
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            *(inspect.Parameter(word, first) for word in ("session", "x", "target")),
            *parameters,
        ]
    )
    return Method(
        name=name,
        label=f"{cls.__name__} ({library})",
        family=family,
        reference=f"{library} {version(library)}: {cls.__module__}.{cls.__name__}",
        function=function,
        parameters=types.MappingProxyType(defaults),
        needs_network=True,
    )


def parameter(name: str, default: Any, kind: Any) -> inspect.Parameter:
    """Make a keyword-only parameter of a type."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
    )


def arguments(callee: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Arguments of a library's function that have a name, without ``self``."""
    signature = inspect.signature(callee)
    various = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: given
        for name, given in signature.parameters.items()
        if given.kind not in various and name != "self"
    }


def writable(given: inspect.Parameter) -> inspect.Parameter | None:
    """Turn a library's argument into a parameter, None where it cannot be written.

    Numbers, words, truth values and tuples of them can; tensors, functions and
    objects cannot, so the library's own default stands.
    """
    if given.default is inspect.Parameter.empty:
        return None
    kind = given.annotation
    if kind is inspect.Parameter.empty or isinstance(kind, str):
        kind = _kind_of(given.default)
    kept = _written(kind)
    if kept is None or (given.default is None and kept is type(None)):
        return None
    return parameter(given.name, given.default, kept)


def _kind_of(default: Any) -> Any:
    """Guess the type of an argument without annotation."""
    if default is None:
        return float | str | None
    return type(default)


def _written(kind: Any) -> Any:
    """Keep of a type what can be written down; None where nothing is left."""
    if kind in LEAVES:
        return kind
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return kind
    if origin in (typing.Union, types.UnionType):
        parts = [part for part in map(_written, inner) if part is not None]
        if not parts or all(part is type(None) for part in parts):
            return None
        return typing.Union[tuple(parts)]  # noqa: UP007 - built from a list
    if origin in (tuple, list):
        parts = [_written(part) for part in inner if part is not Ellipsis]
        if not parts or any(part is None for part in parts):
            return None
        return tuple[typing.Union[tuple(parts)], ...]  # type: ignore[misc] # noqa: UP007
    return None
