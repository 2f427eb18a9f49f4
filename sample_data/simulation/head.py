"""From points in template space to intensities of a head without its scanner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import face, noise
from .canvas import Canvas
from .look import Look, look
from .noise import Field, Floats
from .template import Template
from .tumour import Tumour


@dataclass(frozen=True)
class Head:
    """One simulated patient: template, intensities, random fields and tumour."""

    template: Template
    look: Look
    tumour: Tumour
    texture: Field
    fine: Field
    shape: Floats

    @classmethod
    def draw(cls, template: Template, tumour: Tumour, rng: np.random.Generator) -> Head:
        """Draw everything about the patient that is not the tumour."""
        return cls(
            template=template,
            look=look(rng),
            tumour=tumour,
            texture=noise.field(rng, step=5.0, channels=3),
            fine=noise.field(rng, step=4.0, channels=3, smooth=0.9),
            shape=rng.uniform(0.82, 1.15, 8).astype(np.float32),
        )

    def render(self, points: Floats) -> tuple[Floats, Floats]:
        """Intensity and tumour occupancy at RAS points of shape (3, n).

        Returns
        -------
        intensity : ndarray, shape (n,)
            Arbitrary units, air near 0.
        occupancy : ndarray, shape (n,)
            1 inside the tumour, 0 outside, a 1 mm ramp between.
        """
        hull = self.template.distance(points)
        skin = face.skin(points, hull, self.look)
        inside = np.flatnonzero(skin < 1)
        intensity = np.zeros(points.shape[1], np.float32)
        occupancy = np.zeros(points.shape[1], np.float32)
        canvas = Canvas(np.ascontiguousarray(points[:, inside]))
        hull, skin = hull[inside], skin[inside]
        texture = self.texture(canvas.points)
        face.paint(canvas, -skin, texture, self.look, self.shape)
        self._vault(canvas, hull, skin, texture)
        self._base(canvas)
        fine = self.fine(canvas.points)
        self._brain(canvas, hull, fine)
        occupancy[inside] = self.tumour.paint(canvas, hull, fine, self.look)
        intensity[inside] = canvas.value * np.clip(0.5 - skin, 0, 1)
        return intensity, occupancy

    def _vault(
        self, canvas: Canvas, hull: Floats, skin: Floats, texture: Floats
    ) -> None:
        look = self.look
        _, y, z = canvas.points
        # The vault is thick; the base under the frontal and temporal lobes thin.
        base = np.clip((-14 - z + 0.12 * y) / 16, 0, 1) * np.clip((y + 75) / 30, 0, 1)
        width = look.bone_width * (1 - 0.55 * base)
        # Never thicker than what the skin leaves.
        canvas.paint(hull - width, look.cortical, soft=0.8)
        table = 1.7 * (1 - 0.3 * base)
        middle = np.abs(hull - (2.2 + width) / 2) - ((width - 2.2) / 2 - table)
        marrow = look.marrow * (1 + 0.15 * texture[0])
        canvas.paint(middle, marrow, soft=1.2, opacity=1 - 0.4 * base)
        dura = look.dura * (1 + 0.3 * texture[1])
        canvas.paint(np.abs(hull - 1.5) - 0.55, dura, soft=0.9)

    def _base(self, canvas: Canvas) -> None:
        look = self.look
        canvas.ellipsoid((13, 3, -37), (4.5, 11, 5.5), look.vessel * 0.8, pair=True)
        canvas.ellipsoid((0, 6, -38), (6.5, 5, 3.5), look.mucosa * 0.85)

    def _brain(self, canvas: Canvas, hull: Floats, fine: Floats) -> None:
        look = self.look
        x, y, z = canvas.points
        t1 = self.template.brightness(self.tumour.push(canvas.points))
        tissue = np.interp(
            t1,
            [0, 90, 165, 178, 222, 245],
            [
                look.csf,
                look.csf,
                look.grey * 0.94,
                look.grey,
                look.white,
                look.white * 1.05,
            ],
        ).astype(np.float32)
        canvas.paint(hull - 0.9, tissue, soft=0.8)
        # Veins and arteries: where two random surfaces cross, mostly in CSF spaces.
        line = np.sqrt(fine[0] ** 2 + fine[1] ** 2) * 3.2
        spaces = (
            np.clip((205 - t1) / 60, 0, 1) * ((hull < 0.5) & (hull > -38))
        ).astype(np.float32)
        canvas.paint(line - look.vessel_width, look.vessel, soft=1.0, opacity=spaces)
        # Falx, with the sagittal sinuses at its upper edge, and the tentorium.
        falx = np.abs(x) - 0.35
        deep = (hull < 1) & (hull > -24) & (z > -25) & (y < 65) & (t1 < 200)
        canvas.paint(falx, look.dura, soft=1.2, opacity=np.float32(0.8) * deep)
        upper = ((z > 0) | (y < -85)) & (hull > -6)
        sinus = np.maximum(np.abs(x) + 0.6 * (-1 - hull) - 3.4, hull - 1.5)
        canvas.paint(sinus, look.vessel, soft=1.5, opacity=np.float32(1) * upper)
        for start, end, radius, pair in VESSELS:
            canvas.capsule(start, end, radius, look.vessel, pair=pair)
        canvas.capsule(
            (20, -38, 6), (22, -30, -4), 2.6, look.vessel * 0.85, pair=True, soft=2
        )


Vessel = tuple[tuple[float, float, float], tuple[float, float, float], float, bool]
VESSELS: list[Vessel] = [
    ((0, -42, 2), (0, -36, 10), 1.7, False),  # vein of Galen
    ((0, -42, 4), (0, -92, -6), 2.0, False),  # straight sinus
    ((2, -10, 16), (1.5, -38, 9), 0.9, True),  # internal cerebral veins
    ((4, -98, -14), (52, -70, -26), 3.2, True),  # transverse sinus
    ((52, -70, -26), (50, -42, -42), 3.6, True),  # sigmoid sinus
    ((0, -16, -44), (0, -13, -22), 1.6, False),  # basilar artery
    ((12, 4, -34), (13, 5, -18), 1.9, True),  # internal carotid artery
    ((13, 5, -17), (40, 6, -17), 1.3, True),  # middle cerebral artery
    ((11, 8, -15), (2, 30, -8), 1.0, True),  # anterior cerebral artery
    ((2, 30, -8), (2, 40, 8), 0.9, True),
    ((4, -16, -20), (24, -32, -8), 1.1, True),  # posterior cerebral artery
]
