"""The registry of saliency methods: a dict and a decorator.

A method is a function ``f(session, x, target, *, ...)`` that takes a
:class:`~napari_medxai.saliency.network.Session`, the images (B, C, *spatial) on the
network's device and the classes (B,), and returns maps (B, *spatial). Its
keyword-only arguments are its parameters; forms and ``--set`` are derived from them.

Other packages add methods through the entry-point group ``napari_medxai.saliency``.
The methods of captum and pytorch-grad-cam, ``captum:NAME`` and ``gradcam:NAME``, are
imported when one is named, and never before.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from napari_medxai.errors import MethodError

__all__ = [
    "ADAPTERS",
    "Family",
    "Method",
    "get",
    "groups",
    "method",
    "methods",
    "resolve",
]

ENTRY_POINT_GROUP = "napari_medxai.saliency"
BUILTIN_MODULES = (
    "gradients",
    "paths",
    "guided_ig",
    "blur_ig",
    "xrai",
    "cams",
    "scorecam",
    "recipro_cam",
    "baselines",
)
CORE = (
    "vanilla_gradient",
    "smoothgrad",
    "integrated_gradients",
    "guided_ig",
    "xrai",
    "gradcam",
    "gradcam_pp",
    "scorecam",
    "random",
)
BASELINES = ("random", "edge", "center")
# Prefixes of the methods of other libraries. Their groups are not called by the
# prefix alone: Grad-CAM itself is ``gradcam``.
ADAPTERS = ("captum", "gradcam")
GROUPS = ("core", "baselines", "all", *(f"{prefix}:all" for prefix in ADAPTERS))

Family = Literal["gradient", "path", "region", "cam", "baseline", "other"]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Method:
    """One saliency method.

    Attributes
    ----------
    name
        Its name in commands, tables and files.
    label
        Its name on screen.
    family
        What kind of method it is; the first four need a network.
    reference
        Where it is defined.
    function
        ``f(session, x, target, **parameters) -> maps``.
    parameters
        Its parameters and their defaults, from the function's signature.
    needs_network
        Whether it looks at the network at all.
    approximates
        The method that it approximates; None for methods in their own right.
    """

    name: str
    label: str
    family: Family
    reference: str
    function: Callable[..., Any]
    parameters: Mapping[str, Any]
    needs_network: bool
    approximates: str | None = None

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


class _State:
    """What has been registered and loaded so far."""

    def __init__(self) -> None:
        self.methods: dict[str, Method] = {}
        self.adapted: dict[str, dict[str, Method]] = {}
        self.builtin_loaded = False
        self.plugins_loaded = False


_state = _State()


def method(
    name: str,
    *,
    label: str,
    family: Family,
    reference: str,
    needs_network: bool = True,
    approximates: str | None = None,
) -> Callable[[Function], Function]:
    """Register a function as a saliency method; returns the function unchanged.

    Parameters
    ----------
    name, label, family, reference, needs_network, approximates
        See :class:`Method`.

    Raises
    ------
    MethodError
        The name is taken, or a keyword-only argument has no default.
    """

    def register(function: Function) -> Function:
        parameters: dict[str, Any] = {}
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                continue
            if parameter.default is inspect.Parameter.empty:
                raise MethodError(
                    f"saliency method {name!r}: parameter {parameter.name!r} has no "
                    "default; give it one"
                )
            parameters[parameter.name] = parameter.default
        _add(
            Method(
                name=name,
                label=label,
                family=family,
                reference=reference,
                function=function,
                parameters=MappingProxyType(parameters),
                needs_network=needs_network,
                approximates=approximates,
            )
        )
        return function

    return register


def methods() -> tuple[str, ...]:
    """Names of all own methods: the core, the other baselines, then other packages'.

    Those of captum and pytorch-grad-cam are in :func:`groups`.
    """
    known = _load()
    ours = dict.fromkeys((*CORE, *BASELINES))
    return (*ours, *(name for name in known if name not in ours))


def groups() -> dict[str, tuple[str, ...]]:
    """Names of the groups and of the methods in each.

    ``core``, ``baselines``, ``all`` (those of :func:`methods`: own ones and those of
    entry points), and ``captum:all`` and ``gradcam:all``, which hold everything that
    the installed versions of these libraries offer; both are imported here.

    Raises
    ------
    MethodError
        One of the two libraries cannot be imported.
    """
    return {name: _group(name) for name in GROUPS}


def get(name: str) -> Method:
    """Return a method by its name.

    Raises
    ------
    MethodError
        There is none; the text lists those there are.
    """
    if prefix := _prefix(name):
        known = _adapted(prefix)
        if name not in known:
            raise _unknown(name, tuple(known))
        return known[name]
    known = _load()
    if name not in known:
        raise _unknown(name, methods())
    return known[name]


def resolve(text: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Turn a comma list of methods and groups into method names.

    Parameters
    ----------
    text
        Such as ``"core,edge,captum:DeepLift"``, or a list of such.

    Returns
    -------
    tuple of str
        Each name once, in the order first named.

    Raises
    ------
    MethodError
        A name is neither a method nor a group, or nothing is named.
    """
    parts = [text] if isinstance(text, str) else list(text)
    words = [word.strip() for part in parts for word in part.split(",")]
    chosen: dict[str, None] = {}
    for word in filter(None, words):
        if word in GROUPS:
            chosen.update(dict.fromkeys(_group(word)))
        elif _prefix(word) or word in methods():
            chosen[get(word).name] = None
        else:
            raise _unknown(word, (*GROUPS, *methods()))
    if not chosen:
        raise MethodError(
            f"no saliency method named; choose among {', '.join((*GROUPS, *methods()))}"
        )
    return tuple(chosen)


def _prefix(name: str) -> str:
    """Prefix of another library's method, '' where it is none."""
    prefix, colon, _ = name.partition(":")
    return prefix if colon and prefix in ADAPTERS else ""


def _group(name: str) -> tuple[str, ...]:
    if prefix := _prefix(name):
        return tuple(_adapted(prefix))
    return {"core": CORE, "baselines": BASELINES}.get(name) or methods()


def _adapted(prefix: str) -> dict[str, Method]:
    """Methods of another library, found once."""
    if prefix not in _state.adapted:
        # Imported here: it loads torch and the library.
        from .adapters import load

        _state.adapted[prefix] = load(prefix)
    return _state.adapted[prefix]


def closest(name: str, known: tuple[str, ...]) -> str:
    """Return ' (did you mean ...?)' or nothing."""
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _unknown(name: str, known: tuple[str, ...]) -> MethodError:
    return MethodError(
        f"unknown saliency method {name!r}{closest(name, known)}; "
        f"choose among {', '.join(known)}"
        + ("" if ":" in name else "; or captum:NAME, gradcam:NAME")
    )


def _add(entry: Method) -> None:
    held = _state.methods.get(entry.name)
    # A module that is imported anew registers its own functions again.
    if held is not None and (
        held.function.__module__ != entry.function.__module__
        or held.function.__qualname__ != entry.function.__qualname__
    ):
        raise MethodError(
            f"saliency method {entry.name!r} is already registered by "
            f"{held.function.__module__}; choose another name"
        )
    if (
        entry.name in GROUPS
        or _prefix(entry.name)
        or any(sign in entry.name for sign in ",= ")
    ):
        raise MethodError(
            f"{entry.name!r} cannot name a saliency method: it is a group's name, "
            f"begins with {' or '.join(f'{prefix}:' for prefix in ADAPTERS)}, or has "
            "a comma, a space or = in it"
        )
    _state.methods[entry.name] = entry


def _load() -> dict[str, Method]:
    if not _state.builtin_loaded:
        for module in BUILTIN_MODULES:
            importlib.import_module(f"{__package__}.{module}")
        _state.builtin_loaded = True
    if not _state.plugins_loaded:
        _state.plugins_loaded = True
        for point in entry_points(group=ENTRY_POINT_GROUP):
            _load_plugin(point)
    return _state.methods


def _load_plugin(point: EntryPoint) -> None:
    """Load one entry point; a broken one is reported, the others still load."""
    try:
        loaded = point.load()
        if isinstance(loaded, Method):
            _add(loaded)
        elif not any(entry.function is loaded for entry in _state.methods.values()):
            raise MethodError(
                "it is neither a Method nor a function decorated with "
                "napari_medxai.saliency.method"
            )
    except Exception as error:  # noqa: BLE001 - whatever another package raises
        warnings.warn(
            f"the saliency method of entry point {point.name!r} ({point.value}) is "
            f"left out: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
