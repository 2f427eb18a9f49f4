"""Face and neck: skin surface, orbits, sinuses, airway, jaw and spine.

Simple shapes at their anatomical places, not a model of any person's face.
"""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, ellipsoid, union
from .look import Look
from .noise import Floats


def skin(points: Floats, hull: Floats, look: Look) -> Floats:
    """Signed distance (mm) to the skin, negative inside the head."""
    x, y, z = points
    temple = 6 * np.exp(-(((y - 22) / 26) ** 2) - ((z + 22) / 30) ** 2)
    temple *= np.clip((np.abs(x) - 35) / 15, 0, 1)
    distance = hull - np.float32(look.bone_width + look.scalp_width) - temple
    parts = [
        ((0, 42, -70), (66, 53, 66)),
        ((0, 60, -116), (44, 38, 28)),
        ((0, 92, -60), (13, 21, 19)),
        ((0, 14, -84), (64, 52, 56)),
    ]
    for centre, radii in parts:
        local = points - np.asarray(centre, np.float32)[:, None]
        distance = union(distance, ellipsoid(local, radii), 9.0)
    flat = np.stack([x, y + 36, np.zeros_like(x)])
    neck = ellipsoid(flat, (62, 64, 64))
    neck = np.maximum(neck, (z + 40) * 0.7)
    distance = union(distance, neck, 16.0)
    mirrored = points.copy()
    np.abs(x, out=mirrored[0])
    mirrored -= np.array([[77], [-26], [-42]], np.float32)
    ear = ellipsoid(mirrored, (8, 13, 22))
    out: Floats = union(distance, ear, 5.0)
    return out


def paint(
    canvas: Canvas, depth: Floats, texture: Floats, look: Look, shape: Floats
) -> None:
    """Paint what lies below and in front of the skull base.

    Parameters
    ----------
    canvas : Canvas
        Painted over.
    depth : ndarray, shape (n,)
        Depth below the skin in mm.
    texture : ndarray, shape (3, n)
        Fields of unit variance.
    look : Look
        Intensities.
    shape : ndarray, shape (8,)
        Factors near 1 for the sizes of air spaces.
    """
    z = canvas.points[2]
    soft = look.muscle * (1 + 0.12 * texture[0])
    canvas.value[:] = soft
    planes = np.abs(texture[1] + 0.5 * texture[2]) - 0.22
    canvas.paint(planes, look.fat * 0.75, soft=0.3)
    canvas.paint(0.9 - texture[2], look.fat * 0.85, soft=0.5)
    canvas.paint(1.25 - texture[0], look.mucosa, soft=0.4)
    _spine(canvas, look, texture)
    _jaw(canvas, look, texture, shape)
    _sinuses(canvas, look, texture, shape)
    _orbits(canvas, look)
    width = 1 + 0.35 * texture[1]
    cheek = 3.5 * np.clip((-z - 40) / 30, 0, 1)
    rim = depth - np.float32(look.scalp_width * 0.72) * width - cheek
    canvas.paint(rim, look.fat * (1 + 0.1 * texture[2]), soft=1.2)
    canvas.paint(depth - 1.3, look.fat * 0.72, soft=1.0)


def _spine(canvas: Canvas, look: Look, texture: Floats) -> None:
    z = canvas.points[2]
    wave = np.sin(2 * np.pi * (z + 84) / 17)
    bone = np.where(wave > -0.75, look.marrow * 0.8, look.csf).astype(np.float32)
    canvas.capsule((0, -26, -80), (0, -30, -190), 11, bone, rim=look.cortical)
    spinous = np.where(wave > 0, look.marrow, look.fat * 0.8).astype(np.float32)
    canvas.capsule((0, -72, -90), (0, -76, -190), 5, spinous, rim=look.cortical)
    canvas.capsule(
        (22, -45, -80), (22, -48, -190), 6, look.cortical + 25, pair=True, soft=3
    )
    canvas.capsule((0, -50, -62), (0, -53, -190), 9.5, look.csf, rim=look.dura)
    canvas.capsule((0, -50, -62), (0, -53, -190), 5, look.grey * 1.1, soft=1.5)
    # Vertebral and carotid arteries, jugular veins.
    canvas.capsule((24, -14, -60), (27, 2, -190), 3.5, look.vessel, pair=True)
    canvas.capsule((31, -22, -60), (33, -6, -190), 4.5, look.vessel, pair=True)
    # Clivus: fatty marrow in front of the brainstem.
    canvas.capsule(
        (0, -4, -46), (0, -22, -70), 6, look.marrow * 1.25, rim=look.cortical
    )


def _jaw(canvas: Canvas, look: Look, texture: Floats, shape: Floats) -> None:
    tongue = look.muscle * (1.0 + 0.12 * np.sin(canvas.points[1] * 0.8))
    canvas.ellipsoid(
        (0, 46, -104),
        (24, 34, 18),
        (tongue + 9 * texture[0]).astype(np.float32),
        rim=look.mucosa * 0.8,
        soft=2,
    )
    canvas.ellipsoid((0, 50, -84), (20, 32, 2.2), look.cortical, rim=look.mucosa * 0.8)
    canvas.ellipsoid((0, 86, -94), (24, 5, 8), look.cortical + 5, soft=2)
    canvas.capsule(
        (14, 88, -112),
        (44, 34, -104),
        5,
        look.marrow * 1.2,
        pair=True,
        rim=look.cortical,
    )
    canvas.capsule(
        (46, 28, -104),
        (50, 8, -62),
        4.5,
        look.marrow * 1.2,
        pair=True,
        rim=look.cortical,
    )
    width = float(shape[0])
    canvas.capsule((0, 15, -66), (0, 6, -180), 5.5 * width, look.air, rim=look.mucosa)


def _sinuses(canvas: Canvas, look: Look, texture: Floats, shape: Floats) -> None:
    # Honeycomb of air and mucosa: ethmoid cells and turbinates.
    y, z = canvas.points[1:]
    cells = np.sin(y * 0.6 + 2 * texture[0]) * np.sin(z * 0.55 + 2 * texture[1])
    comb = look.air + (look.mucosa - look.air) * np.clip(1 - 3.2 * np.abs(cells), 0, 1)
    x = canvas.mirrored[0]
    turn = np.sin(x * 0.7 + texture[2]) * np.cos(z * 0.42 + 1.5 * texture[0])
    conch = look.air + (look.mucosa - look.air) * np.clip(0.4 + 2.5 * turn, 0, 1)
    a, b, c, d, e = (float(v) for v in shape[1:6])
    canvas.ellipsoid((0, 56, -66), (15, 31, 15), conch.astype(np.float32), soft=2)
    canvas.ellipsoid((0, 48, -43), (13 * a, 24, 13), comb.astype(np.float32), soft=2)
    canvas.ellipsoid(
        (30, 46, -66), (13 * b, 16 * b, 16 * c), look.air, pair=True, rim=look.mucosa
    )
    canvas.ellipsoid(
        (0, 19, -50), (13 * d, 13 * d, 8.5 * d), look.air, rim=look.mucosa * 0.9
    )
    canvas.ellipsoid(
        (10, 79, -12),
        (11 * e, 5 * e, 10 * e),
        look.air,
        pair=True,
        rim=look.mucosa * 0.7,
    )
    mixed = np.where(texture[1] > 0.4, look.mucosa * 0.6, look.air + 8)
    canvas.ellipsoid(
        (54, -32, -54), (10, 13, 15), mixed.astype(np.float32), pair=True, soft=2
    )
    canvas.ellipsoid((36, -19, -49), (20, 8, 8), look.cortical, pair=True, soft=2)
    canvas.capsule((24, 8, -52), (34, 30, -56), 6, look.marrow, pair=True, soft=3)


def _orbits(canvas: Canvas, look: Look) -> None:
    canvas.ellipsoid(
        (31, 50, -40),
        (17, 25, 16),
        look.fat * 0.9,
        pair=True,
        rim=look.cortical,
        soft=2,
    )
    canvas.capsule((42, 60, -40), (17, 26, -36), 2.0, look.mucosa * 0.8, pair=True)
    canvas.capsule((21, 60, -40), (15, 26, -36), 2.0, look.mucosa * 0.8, pair=True)
    canvas.capsule((32, 58, -29), (16, 26, -33), 1.8, look.mucosa * 0.8, pair=True)
    canvas.capsule((32, 58, -51), (16, 26, -39), 1.8, look.mucosa * 0.8, pair=True)
    canvas.capsule((32, 52, -40), (11, 18, -33), 2.2, look.grey, pair=True)
    canvas.ellipsoid(
        (32, 65, -40),
        (12, 12, 12),
        look.csf * 0.9,
        pair=True,
        rim=look.grey * 1.4,
        rim_width=1.2,
    )
    canvas.ellipsoid((32, 73.5, -40), (4.5, 2.2, 4.5), look.grey, pair=True)
