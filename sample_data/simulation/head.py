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
    patch: Field
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
            patch=noise.field(rng, step=14.0, channels=2, smooth=1.5),
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
        vault = self.template.outer(points)
        skin = face.skin(points, vault, self.look)
        inside = np.flatnonzero(skin < 1)
        intensity = np.zeros(points.shape[1], np.float32)
        occupancy = np.zeros(points.shape[1], np.float32)
        canvas = Canvas(np.ascontiguousarray(points[:, inside]))
        hull, vault, skin = hull[inside], vault[inside], skin[inside]
        texture, patch = self.texture(canvas.points), self.patch(canvas.points)
        face.paint(canvas, -skin, texture, patch, self.look, self.shape)
        self._vault(canvas, hull, vault, texture, patch)
        fine = self.fine(canvas.points)
        self._base(canvas, fine)
        self._brain(canvas, hull, fine)
        occupancy[inside] = self.tumour.paint(canvas, hull, fine, self.look)
        intensity[inside] = canvas.value * np.clip(0.5 - skin, 0, 1)
        return intensity, occupancy

    def _vault(
        self,
        canvas: Canvas,
        hull: Floats,
        vault: Floats,
        texture: Floats,
        patch: Floats,
    ) -> None:
        look = self.look
        x, y, z = canvas.points
        # The vault is thick; the base under the frontal and temporal lobes thin, and
        # so is the squama under the temporal muscle.
        base = np.clip((-14 - z + 0.12 * y) / 16, 0, 1) * np.clip((y + 75) / 30, 0, 1)
        squama = np.clip((np.abs(x) - 50) / 12, 0, 1) * np.exp(
            -(((y - 0) / 38) ** 2) - ((z + 12) / 24) ** 2
        )
        width = look.bone_width * (1 - 0.55 * base) * (1 - 0.45 * squama)
        width = width * (1 + 0.08 * patch[1])
        # Outside it follows the smoother surface, inside the brain's.
        outer = np.maximum(vault - width, hull - width - 3)
        canvas.paint(np.minimum(outer, hull - 1.6), look.cortical, soft=1.0)
        # Marrow between the tables, thick here and lacking there.
        inner = 1.9 + 0.5 * np.abs(texture[2]) - hull
        marrow = look.marrow * (1 + 0.12 * texture[0])
        filled = np.clip(0.62 + 0.42 * patch[0], 0.06, 1) * (1 - 0.5 * base)
        filled = filled * (1 - 0.8 * squama)
        canvas.paint(
            np.maximum(outer + 1.3 * (1 - 0.3 * base), inner + 0.2),
            marrow.astype(np.float32),
            soft=1.6,
            opacity=filled.astype(np.float32),
        )
        dura = look.dura * (1 + 0.2 * texture[1])
        seen = np.clip(0.5 + 0.35 * patch[1], 0.1, 0.9).astype(np.float32)
        canvas.paint(hull - 1.5, look.csf * 0.6, soft=1.0)
        canvas.paint(np.abs(hull - 1.3) - 0.35, dura, soft=0.9, opacity=seen)

    def _base(self, canvas: Canvas, fine: Floats) -> None:
        look = self.look
        # Cavernous sinuses bright, the carotid arteries in them dark: fast blood.
        sinus = look.vessel * 0.62 * (1 + 0.1 * fine[0])
        canvas.ellipsoid((13, 2, -37), (4.8, 11, 6), sinus, pair=True, soft=1.6)
        canvas.ellipsoid((0, 6, -38), (6.5, 5, 3.2), look.mucosa * 0.7, soft=1.4)

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
        # Veins and arteries: where two random surfaces cross, in the CSF spaces, and
        # thinner ones within the white matter.
        line = np.sqrt(fine[0] ** 2 + fine[1] ** 2) * 3.2
        spaces = np.clip((172 - t1) / 45, 0, 1) * ((hull < 0.5) & (hull > -34))
        spaces = (spaces * np.clip(0.6 + 0.5 * fine[2], 0.15, 1)).astype(np.float32)
        canvas.paint(line - look.vessel_width, look.vessel, soft=1.1, opacity=spaces)
        # Falx, with the sagittal sinuses at its upper edge, and the tentorium.
        falx = np.abs(x) - 0.3
        deep = (hull < 1) & (hull > -24) & (z > -25) & (y < 65) & (t1 < 200)
        shown = np.clip(0.45 + 0.2 * fine[1], 0.1, 0.8) * deep
        canvas.paint(falx, look.dura, soft=1.2, opacity=shown.astype(np.float32))
        upper = ((z > 0) | (y < -85)) * np.clip(0.5 + (hull + 4) / 2.5, 0, 1)
        sinus = np.maximum(np.abs(x) + 0.6 * (-1 - hull) - 2.9, hull - 1.4)
        blood = look.vessel * (0.85 + 0.08 * fine[0])
        canvas.paint(sinus, blood, soft=2.4, opacity=(0.9 * upper).astype(np.float32))
        for start, end, radius, pair in VEINS:
            canvas.capsule(start, end, radius, look.vessel, pair=pair, soft=1.4)
        for start, end, radius in ARTERIES:
            canvas.capsule(start, end, radius, look.csf * 0.45, pair=True, soft=1.2)
        plexus = look.vessel * (0.75 + 0.12 * fine[0])
        canvas.capsule((20, -38, 6), (22, -30, -4), 2.4, plexus, pair=True, soft=2.4)


Triple = tuple[float, float, float]
Vessel = tuple[Triple, Triple, float, bool]
VEINS: list[Vessel] = [
    ((0, -42, 2), (0, -36, 10), 1.5, False),  # vein of Galen
    ((0, -42, 4), (0, -66, 0), 1.7, False),  # straight sinus
    ((0, -66, 0), (0, -92, -7), 2.0, False),
    ((2, -10, 16), (2, -26, 14), 0.7, True),  # internal cerebral veins
    ((2, -26, 14), (1.5, -38, 9), 0.9, True),
    ((4, -98, -14), (32, -88, -21), 3.0, True),  # transverse sinus
    ((32, -88, -21), (52, -68, -26), 3.2, True),
    ((52, -68, -26), (50, -42, -42), 3.4, True),  # sigmoid sinus
]
ARTERIES: list[tuple[Triple, Triple, float]] = [
    ((0, -16, -44), (0, -13, -22), 1.4),  # basilar
    ((14, -3, -40), (13.5, 7, -37), 2.0),  # internal carotid, in its sinus
    ((13.5, 7, -37), (12, 4, -29), 1.9),
    ((12, 4, -29), (14, 2, -19), 1.6),
    ((14, 2, -19), (26, 6, -16), 1.0),  # middle cerebral
    ((26, 6, -16), (38, 3, -13), 0.9),
    ((12, 6, -19), (3, 14, -15), 0.8),  # anterior cerebral
    ((3, 14, -15), (2, 30, -6), 0.8),
]
