"""Imports go one way, and the package stays light until it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "napari_medxai"
GUI = {"napari", "qtpy", "PySide6", "PyQt6", "PyQt5", "magicgui", "superqt", "vispy"}
# Lower layers must not import upper ones.
LAYERS = (
    ("errors",),
    ("files", "download", "display", "study", "privacy"),
    ("grid", "crop", "intensity", "inputs", "smoothing", "preprocess", "io"),
    ("models", "saliency", "metrics"),
    (
        "samples",
        "settings",
        "results",
        "progress",
        "provenance",
        "slices",
        "map_pool",
        "chance_maps",
        "map_checks",
        "measure",
        "engine",
    ),
    ("report", "export"),
    ("options", "facts", "validation", "training"),
    ("run",),
    ("reproduction",),
    (
        "batch",
        "train",
        "reproduce",
        "fetch",
        "compare",
        "check",
        "catalogue",
        "cli",
        "_napari",
    ),
)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    parents = path.relative_to(PACKAGE.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(parents[: -node.level]) if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in result.stdout.split()}


def test_import_of_the_package_loads_no_torch():
    loaded = loaded_after("import napari_medxai")
    assert "napari_medxai" in loaded
    assert not loaded & ({"torch", "monai"} | GUI)


def test_everything_outside_napari_imports_without_qt():
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in modules()
        if "_napari" not in path.parts
    ]
    assert len(names) > 40
    loaded = loaded_after("\n".join(f"import {name}" for name in names))
    assert {"torch", "napari_medxai"} <= loaded
    assert not loaded & GUI


@pytest.mark.parametrize(
    "path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_source_outside_napari_never_names_qt(path):
    if "_napari" not in path.parts:
        assert not {name.partition(".")[0] for name in imported(path)} & GUI


def test_imports_point_one_way():
    rank = {name: i for i, names in enumerate(LAYERS) for name in names}
    upward = []
    for path in modules():
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in rank, f"{own}: give this module its layer in LAYERS"
        for name in imported(path):
            parts = name.split(".")
            below = parts[1] if len(parts) > 1 else ""
            if parts[0] == "napari_medxai" and rank.get(below, -1) > rank[own]:
                upward.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not upward


def test_modules_stay_small():
    long = {
        p.relative_to(PACKAGE).as_posix(): n
        for p in modules()
        if (n := len(p.read_text(encoding="utf-8").splitlines())) > 420
    }
    assert not long, "split them: one purpose a module"
