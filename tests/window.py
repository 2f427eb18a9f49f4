"""Whether a real window can be opened here, and if not, what is missing."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import sys


def missing_for_a_window() -> str:
    """Return what is missing for a napari window, "" where nothing is."""
    if importlib.util.find_spec("napari") is None:
        return "napari is not installed"
    if not any(
        importlib.util.find_spec(name) for name in ("PySide6", "PyQt6", "PyQt5")
    ):
        return "no Qt binding is installed: pip install napari-medxai[gui]"
    if os.environ.get("QT_QPA_PLATFORM", "") in ("offscreen", "minimal"):
        return "QT_QPA_PLATFORM is offscreen, which has no OpenGL: unset it"
    if not sys.platform.startswith("linux"):
        return ""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "no display: run under xvfb-run"
    for library in ("GL", "EGL", "xkbcommon-x11", "xcb-cursor"):
        if ctypes.util.find_library(library) is None:
            return f"lib{library} is not installed (see tests/window.sh)"
    return ""
