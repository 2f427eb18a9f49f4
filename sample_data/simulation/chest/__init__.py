"""Simulated frontal chest radiographs with opacities and their exact mask.

A projection of simple solids, tubes and branching trees along the rays of an X-ray
tube: what lies behind one another adds up, as it does in a patient. Coordinates are
millimetres of the patient, LPS (x grows to the left, y to the back, z upwards), with
z = 0 at the top of the lungs; no value comes from an image of a patient.
"""

from __future__ import annotations

from .marks import CONFOUNDED, Extras
from .radiograph import KINDS, Radiograph, simulate_radiograph

__all__ = ["CONFOUNDED", "KINDS", "Extras", "Radiograph", "simulate_radiograph"]
