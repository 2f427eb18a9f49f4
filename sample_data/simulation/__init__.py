"""Simulated contrast-enhanced T1 head MRI with a tumour and its exact mask.

Coordinates are millimetres in the space of the ICBM 152 template, RAS (x grows to
the right, y to the front, z upwards), unless a name ends in ``_lps``.
"""

from __future__ import annotations

from .acquisition import PLANES, Simulated, simulate_slice, simulate_volume
from .tumour import KINDS

__all__ = ["KINDS", "PLANES", "Simulated", "simulate_slice", "simulate_volume"]
