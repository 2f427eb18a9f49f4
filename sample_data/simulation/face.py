"""Face and neck: skin surface, muscles, orbits, sinuses, airway, jaw and spine.

Simple shapes at their anatomical places, not a model of any person's face.
"""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, capsule, ellipsoid, union
from .look import Look
from .noise import Floats

Triple = tuple[float, float, float]


def skin(points: Floats, vault: Floats, look: Look) -> Floats:
    """Signed distance (mm) to the skin, negative inside the head."""
    x, y, z = points
    temple = 6 * np.exp(-(((y - 22) / 26) ** 2) - ((z + 22) / 30) ** 2)
    temple *= np.clip((np.abs(x) - 35) / 15, 0, 1)
    distance = vault - np.float32(look.bone_width + look.scalp_width) - temple
    parts: list[tuple[Triple, Triple, float]] = [
        ((0, 42, -70), (66, 53, 66), 9.0),
        ((0, 58, -112), (42, 38, 30), 12.0),  # jaw and chin
        ((0, 84, -62), (15, 18, 21), 8.0),  # root of the nose and upper lip
        ((0, 99, -66), (9.5, 13, 9), 7.0),  # its tip
        ((0, 92, -50), (5, 14, 12), 7.0),  # its bridge
        ((0, 93, -89), (19, 7, 6), 7.0),  # lips
        ((0, 91, -99), (19, 6.5, 5), 6.0),
        ((0, 14, -84), (64, 52, 56), 9.0),
    ]
    for centre, radii, blend in parts:
        local = points - np.asarray(centre, np.float32)[:, None]
        distance = union(distance, ellipsoid(local, radii), blend)
    flat = np.stack([x, y + 36, np.zeros_like(x)])
    neck = ellipsoid(flat, (60, 62, 60))
    neck = np.maximum(neck, (z + 40) * 0.7)
    distance = union(distance, neck, 20.0)
    mirrored = points.copy()
    np.abs(x, out=mirrored[0])
    mirrored -= np.array([[76], [-26], [-42]], np.float32)
    ear = ellipsoid(mirrored, (5, 13, 24))
    out: Floats = union(distance, ear, 5.0)
    return out


def paint(
    canvas: Canvas,
    depth: Floats,
    texture: Floats,
    patch: Floats,
    look: Look,
    shape: Floats,
) -> None:
    """Paint what lies below and in front of the skull base.

    Parameters
    ----------
    canvas : Canvas
        Painted over.
    depth : ndarray, shape (n,)
        Depth below the skin in mm.
    texture, patch : ndarray, shape (3, n), (1, n)
        Fields of unit variance, fine and coarse.
    look : Look
        Intensities.
    shape : ndarray, shape (8,)
        Factors near 1 for the sizes of air spaces.
    """
    z = canvas.points[2]
    # Loose tissue: fat crossed by septa; under the vault it is muscle.
    loose = look.fat * (0.66 + 0.1 * texture[0] - 0.16 * (np.abs(texture[1]) < 0.3))
    base = np.clip((-z - 42) / 16, 0, 1)
    canvas.value[:] = look.muscle * (1 - base) + loose * base
    fibre = np.sin(0.9 * canvas.points[0] + 0.35 * z + 2.5 * texture[2])
    flesh = look.muscle * (1 + 0.08 * texture[0] + 0.03 * fibre)
    for start, end, radius in MUSCLES:
        canvas.capsule(start, end, 1.2 * radius, flesh, pair=True, soft=1.6)
    gland = look.fat * 0.5 * (1 + 0.12 * texture[1])
    canvas.ellipsoid((59, -4, -86), (8, 13, 20), gland, pair=True, soft=3)
    canvas.ellipsoid((26, 40, -122), (9, 15, 9), gland, pair=True, soft=3)
    _spine(canvas, look, texture)
    _jaw(canvas, look, texture, fibre, shape)
    _clivus(canvas, look, texture)
    _sinuses(canvas, look, texture, shape)
    _orbits(canvas, look)
    cheek = 3.5 * np.clip((-z - 40) / 30, 0, 1)
    thick = np.float32(look.scalp_width * 0.74) * (1 + 0.15 * patch[0]) + cheek
    fat = look.fat * (1 + 0.05 * texture[2] + 0.07 * patch[0])
    canvas.paint(depth - thick, fat, soft=1.4)
    canvas.paint(depth - 1.2, look.fat * 0.66, soft=1.2)


MUSCLES: list[tuple[Triple, Triple, float]] = [
    ((52, 34, -70), (49, 22, -108), 8.5),  # masseter
    ((49, 12, -30), (49, 30, -62), 7.5),  # temporalis, its lower end
    ((28, 20, -60), (42, 6, -74), 7.5),  # pterygoids
    ((24, 18, -70), (42, 10, -100), 7.0),
    ((56, -34, -66), (34, 22, -190), 8.5),  # sternocleidomastoid
    ((14, -74, -74), (17, -80, -190), 11.0),  # back of the neck, in layers
    ((34, -66, -72), (37, -70, -190), 9.5),
    ((16, -54, -70), (22, -58, -110), 6.0),
    ((52, -52, -76), (56, -48, -190), 8.0),
    ((30, -30, -84), (40, -32, -190), 8.5),  # scalene and levator
    ((9, -9, -72), (9, -15, -190), 5.5),  # in front of the spine
    ((20, 14, -78), (22, 2, -190), 5.0),  # wall of the throat
    ((9, 62, -122), (8, 30, -128), 6.0),  # floor of the mouth
]


def _spine(canvas: Canvas, look: Look, texture: Floats) -> None:
    z = canvas.points[2]
    wave = np.sin(2 * np.pi * (z + 84) / 17)
    share = np.clip(0.5 + (wave + 0.7) / 0.25, 0, 1)
    bone = look.marrow * 0.8 * (1 + 0.05 * texture[0])
    disc = look.muscle * 0.72
    value = (disc + share * (bone - disc)).astype(np.float32)
    edge = look.cortical + 22
    canvas.capsule(
        (0, -26, -88), (0, -30, -190), 10, value, rim=edge, rim_width=0.8, soft=2.2
    )
    canvas.capsule(  # dens
        (0, -24, -70), (0, -26, -92), 5, bone, rim=edge, rim_width=0.6, soft=2
    )
    canvas.ellipsoid((0, -15, -72), (9, 3.2, 4), bone, rim=edge, rim_width=0.8)
    for level in range(7):
        low = -92.0 - 17 * level
        canvas.ellipsoid(
            (0, -74, low), (3.5, 11, 5), bone, rim=edge, rim_width=0.8, soft=2
        )
        canvas.ellipsoid(
            (21, -44, low), (7, 6, 6.5), bone * 0.8, rim=edge, pair=True, soft=2.5
        )
    canvas.capsule((0, -50, -62), (0, -53, -190), 9, look.csf, rim=look.dura * 0.6)
    canvas.capsule((0, -50, -62), (0, -53, -190), 5, look.grey * 1.05, soft=1.8)
    # Vertebral and carotid arteries (blood that flows fast is dark), jugular veins.
    flow = look.csf * 0.5
    canvas.capsule((24, -36, -78), (23, -34, -190), 2.0, flow, pair=True)
    canvas.capsule((26, -6, -60), (28, 2, -190), 3.0, flow, pair=True, soft=1.5)
    canvas.capsule(
        (33, -20, -60), (34, -4, -190), 4.2, look.vessel * 0.8, pair=True, soft=2
    )


def _jaw(
    canvas: Canvas, look: Look, texture: Floats, fibre: Floats, shape: Floats
) -> None:
    x, y, z = canvas.points
    # The tongue's fibres fan out from the chin.
    fan = np.arctan2(z + 128, y - 66)
    streak = np.sin(26 * fan + 1.5 * texture[1])
    tongue = look.muscle * (1.04 + 0.06 * streak + 0.05 * texture[0])
    tongue += 0.1 * look.fat * (np.abs(x) < 1.2 + 0.3 * texture[2])
    canvas.ellipsoid((0, 46, -106), (23, 34, 19), tongue.astype(np.float32), soft=2.5)
    canvas.ellipsoid((0, 20, -112), (17, 13, 18), tongue.astype(np.float32), soft=2.5)
    # Hard and soft palate.
    canvas.ellipsoid((0, 56, -83), (20, 27, 1.8), look.cortical + 10, soft=1.5)
    veil = look.muscle * (1.1 + 0.08 * fibre)
    canvas.capsule((0, 30, -83), (0, 17, -93), 3.2, veil, soft=1.6)
    teeth = look.cortical + 6 + 5 * texture[1]
    canvas.ellipsoid((0, 83, -89), (22, 5, 5.5), teeth, soft=2)
    canvas.ellipsoid((0, 82, -99), (20, 4.5, 5), teeth, soft=2)
    marrow = look.marrow * (1.05 + 0.1 * texture[0])
    edge = look.cortical + 8
    chin: list[tuple[Triple, Triple, float]] = [
        ((0, 84, -113), (20, 80, -113), 6.0),
        ((20, 80, -113), (44, 34, -108), 5.5),
        ((46, 30, -106), (50, 8, -64), 4.8),
    ]
    for start, end, radius in chin:
        canvas.capsule(
            start, end, radius, marrow, pair=True, rim=edge, rim_width=1.2, soft=1.6
        )
    # Throat: behind the palate, behind the tongue, then the windpipe.
    width = float(shape[0])
    way: list[tuple[Triple, Triple, float]] = [
        ((0, 24, -70), (0, 7, -72), 6.0),
        ((0, 7, -72), (0, 3, -104), 4.4),
        ((0, 3, -104), (0, 8, -132), 4.2),
        ((0, 8, -132), (0, 6, -190), 6.5),
    ]
    for start, end, radius in way:
        canvas.capsule(
            start,
            end,
            radius * width,
            look.air,
            rim=look.mucosa * 0.75,
            rim_width=1.1,
            soft=1.8,
        )


def _clivus(canvas: Canvas, look: Look, texture: Floats) -> None:
    """Fatty marrow that slopes from the sella to the foramen magnum."""
    flat = canvas.points * np.array([[0.3], [1], [1]], np.float32)
    line = capsule(flat, (0, -4, -46), (0, -20, -66))
    slope = np.clip((-46 - canvas.points[2]) / 20, 0, 1)
    thick = 5.6 - 2.6 * slope + 0.7 * texture[1]
    canvas.paint(line - thick - 0.8, look.cortical + 14, soft=1.8)
    marrow = look.marrow * (0.95 + 0.14 * texture[0])
    canvas.paint(line - thick, marrow.astype(np.float32), soft=2.6)
    # The body of the sphenoid around its sinus.
    canvas.ellipsoid((0, 13, -52), (19, 17, 13), marrow.astype(np.float32), soft=4)


def _sinuses(canvas: Canvas, look: Look, texture: Floats, shape: Floats) -> None:
    a, b, c, d, e = (float(v) for v in shape[1:6])
    lining = look.mucosa * 0.62
    x, y, _ = canvas.points
    # Nose: air, a septum between the halves, three shells hanging from the sides.
    canvas.ellipsoid((0, 54, -66), (14.5, 32, 16.5), look.air + 6, soft=3)
    shells: list[tuple[Triple, Triple]] = [
        ((8.6, 50, -75), (5.6, 29, 6.6)),
        ((7.6, 47, -62.5), (4.8, 25, 5.6)),
        ((6.4, 40, -54), (3.8, 18, 3.6)),
    ]
    swollen = look.mucosa * (0.72 + 0.1 * texture[0])
    for centre, radii in shells:
        canvas.ellipsoid(centre, radii, swollen, pair=True, soft=2)
    within = (y > 26) & (y < 96)
    septum = np.abs(x - 0.6 * texture[2]) - 1.9
    near = ellipsoid(
        canvas.points - np.array([[0], [56], [-66]], np.float32), (12, 36, 18)
    )
    canvas.paint(np.maximum(septum, near), look.muscle, soft=1.4, opacity=within * 0.9)
    # Ethmoid cells: air between thin walls.
    wall = np.minimum(np.abs(texture[0]), np.abs(texture[1])) * 5
    share = np.clip(1.35 - wall, 0, 1)
    cells = look.air + 5 + share * (lining - look.air)
    canvas.ellipsoid(
        (0, 44, -43), (12.5 * a, 25, 11), cells.astype(np.float32), soft=2.5
    )
    canvas.ellipsoid(
        (31, 47, -68),
        (13 * b, 16 * b, 16 * c),
        look.air,
        pair=True,
        rim=lining,
        rim_width=1.0,
        soft=1.8,
    )
    canvas.ellipsoid(
        (0, 15, -51.5),
        (12.5 * d, 12 * d, 8.5 * d),
        look.air,
        rim=lining,
        rim_width=0.8,
        soft=1.6,
    )
    canvas.ellipsoid(
        (9, 80, -16),
        (10 * e, 4.5 * e, 11 * e),
        look.air,
        pair=True,
        rim=lining,
        rim_width=0.7,
        soft=1.6,
    )
    mixed = np.where(texture[1] > 0.5, look.mucosa * 0.55, look.air + 8)
    canvas.ellipsoid(
        (54, -32, -54), (10, 13, 15), mixed.astype(np.float32), pair=True, soft=3
    )
    petrous = look.cortical + 5 + 6 * np.abs(texture[0])
    canvas.ellipsoid((38, -20, -49), (19, 8, 8), petrous, pair=True, soft=3)
    canvas.capsule((24, 8, -52), (34, 30, -56), 6, look.marrow, pair=True, soft=3)


def _orbits(canvas: Canvas, look: Look) -> None:
    # Cones of fat that point backwards and inwards.
    bone = look.cortical + 4
    canvas.ellipsoid((31, 56, -40), (19.2, 19.2, 18.2), bone, pair=True, soft=2)
    cone: list[tuple[Triple, Triple, float]] = [
        ((27, 46, -39.5), (21, 34, -37), 12.0),
        ((21, 36, -37.5), (17, 28, -36), 8.0),
        ((17, 29, -36), (13, 21, -34.5), 4.5),
    ]
    for start, end, radius in cone:
        canvas.capsule(start, end, radius + 1.2, bone, pair=True, soft=2)
    canvas.ellipsoid((31, 56, -40), (18, 18, 17), look.fat * 0.88, pair=True, soft=2)
    for start, end, radius in cone:
        canvas.capsule(start, end, radius, look.fat * 0.86, pair=True, soft=2.5)
    flesh = look.mucosa * 0.72
    canvas.capsule((44, 60, -40), (17, 24, -36), 1.9, flesh, pair=True, soft=1.4)
    canvas.capsule((20, 60, -40), (14, 24, -36), 1.9, flesh, pair=True, soft=1.4)
    canvas.capsule((32, 60, -27), (16, 25, -33), 1.7, flesh, pair=True, soft=1.4)
    canvas.capsule((32, 60, -53), (16, 25, -39), 1.7, flesh, pair=True, soft=1.4)
    canvas.capsule((31, 53, -40), (12, 19, -34), 2.1, look.grey * 0.95, pair=True)
    canvas.ellipsoid(
        (32, 65, -40),
        (12, 12, 12),
        look.csf * 0.9,
        pair=True,
        rim=look.grey * 1.2,
        rim_width=1.0,
        soft=1.3,
    )
    canvas.ellipsoid((32, 73.5, -40), (4.5, 2.2, 4.5), look.grey * 0.9, pair=True)
