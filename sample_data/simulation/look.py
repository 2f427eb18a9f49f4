"""How one simulated patient and one scanner setting look: drawn numbers only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Look:
    """Intensities (arbitrary units, grey matter near 65) and thicknesses (mm)."""

    csf: float
    grey: float
    white: float
    fat: float
    muscle: float
    marrow: float
    cortical: float
    air: float
    mucosa: float
    dura: float
    vessel: float
    bone_width: float
    scalp_width: float
    vessel_width: float


def look(rng: np.random.Generator) -> Look:
    """Draw a look."""
    grey = rng.uniform(56, 76)
    return Look(
        csf=grey * rng.uniform(0.35, 0.55),
        grey=grey,
        white=grey * rng.uniform(1.06, 1.28),
        fat=grey * rng.uniform(1.9, 3.3),
        muscle=grey * rng.uniform(0.85, 1.15),
        marrow=grey * rng.uniform(0.9, 1.9),
        cortical=rng.uniform(8, 18),
        air=rng.uniform(3, 8),
        mucosa=grey * rng.uniform(1.6, 2.6),
        dura=grey * rng.uniform(1.0, 1.9),
        vessel=grey * rng.uniform(1.7, 2.8),
        bone_width=rng.uniform(5.5, 9.0),
        scalp_width=rng.uniform(4.0, 8.0),
        vessel_width=rng.uniform(0.5, 1.1),
    )
