"""The scanner: pose, planes, slice thickness, coil, resolution and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from . import noise, template, tumour
from .head import Head
from .noise import Field, Floats
from .tumour import Kind

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
SIZE = 256

# RAS directions of (slice, row, column), in radiological convention.
_DIRECTIONS: dict[Plane, list[list[float]]] = {
    "axial": [[0, 0, 1], [0, -1, 0], [-1, 0, 0]],
    "coronal": [[0, 1, 0], [0, 0, -1], [-1, 0, 0]],
    "sagittal": [[1, 0, 0], [0, 0, -1], [0, -1, 0]],
}


@dataclass(frozen=True)
class Simulated:
    """A simulated image with its tumour.

    Attributes
    ----------
    image : ndarray
        uint8 (row, column) of a slice; int16 (slice, row, column) of a volume.
    mask : ndarray of bool
        The tumour, on the same grid.
    kind : str
        Which tumour.
    plane : str
        ``axial``, ``coronal`` or ``sagittal``.
    affine_lps : ndarray, shape (4, 4)
        (slice, row, column, 1) to LPS mm; of a slice too.
    """

    image: NDArray[np.uint8] | NDArray[np.int16]
    mask: NDArray[np.bool_]
    kind: Kind
    plane: Plane
    affine_lps: NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """Scanner space (RAS mm) to template space: affine, then a smooth warp."""

    linear: Floats
    shift: Floats
    coarse: Field
    fine: Field

    @classmethod
    def draw(cls, rng: np.random.Generator, tilt: Floats) -> Pose:
        """Draw a pose; ``tilt`` bounds the rotation about x, y, z in degrees."""
        angles = rng.uniform(-1, 1, 3) * tilt
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        scale = rng.uniform(0.92, 1.08) * rng.uniform(0.96, 1.04, 3)
        linear = (np.diag(1 / scale) @ turn).astype(np.float32)
        return cls(
            linear=linear,
            shift=np.array([0, -17, 0], np.float32),
            coarse=noise.field(rng, step=26.0, channels=3, smooth=2.0),
            fine=noise.field(rng, step=9.0, channels=3),
        )

    def __call__(self, points: Floats) -> Floats:
        """Template coordinates of scanner points (3, n)."""
        out = self.linear @ points + self.shift[:, None]
        out += 3.6 * self.coarse(out) + 0.55 * self.fine(out)
        return out

    def inverse(self, target: Floats) -> Floats:
        """Find the scanner point that maps to a template point (3,)."""
        back = np.linalg.inv(self.linear)
        point = back @ (target - self.shift)
        for _ in range(8):
            point = point + back @ (target - self(point[:, None])[:, 0])
        return np.asarray(point, np.float32)


def simulate_slice(kind: str, seed: int, *, plane: str | None = None) -> Simulated:
    """Simulate one slice through a tumour.

    Parameters
    ----------
    kind : str
        ``glioma``, ``meningioma`` or ``pituitary``.
    seed : int
        Everything random follows from it, the kind and the plane.
    plane : str, optional
        Drawn from `PLANES` where None.

    Returns
    -------
    Simulated
        ``image`` uint8 (256, 256) in radiological convention.

    Raises
    ------
    ValueError
        If kind or plane is unknown.
    """
    patient = _patient(kind, seed)
    rng = np.random.default_rng([seed, 2])
    drawn = PLANES[int(rng.integers(3))]
    chosen = _plane(plane) if plane is not None else drawn
    normal = np.abs(np.asarray(_DIRECTIONS[chosen][0]))
    tilt = np.where(normal > 0, 10, 6).astype(np.float32)
    pose = Pose.draw(rng, tilt)
    thickness = float(rng.uniform(3, 6))
    pixel = float(rng.uniform(212, 268)) / SIZE
    lesion = pose.inverse(np.asarray(patient.tumour.centre, np.float32))
    offset = float(rng.uniform(-0.45, 0.45)) * patient.tumour.radius
    middle = _middle(chosen) + rng.normal(0, 5, 3)
    for shrink in (1.0, 0.5, 0.0):
        centre = np.where(normal > 0, lesion + shrink * offset, middle)
        affine = _affine(chosen, (thickness, pixel, pixel), 1, centre)
        raw, occupancy = _expose(patient, pose, affine, 1, SIZE, thickness)
        mask = occupancy[0] >= 0.5
        if mask.sum() >= 90:
            break
    scanner = np.random.default_rng([seed, 3])
    plain = _scan(raw, affine, scanner)[0]
    top = np.quantile(plain, 0.999)
    image = np.clip(plain * (scanner.uniform(195, 232) / top), 0, 255)
    return Simulated(
        image=np.rint(image).astype(np.uint8),
        mask=mask,
        kind=patient.tumour.kind,
        plane=chosen,
        affine_lps=affine,
    )


def simulate_volume(
    kind: str,
    seed: int,
    *,
    plane: str = "axial",
    slices: int = 24,
    spacing: tuple[float, float, float] = (5.0, 0.9, 0.9),
    size: int = SIZE,
) -> Simulated:
    """Simulate a stack of slices whose middle one shows the tumour at its largest.

    Parameters
    ----------
    kind : str
        ``glioma``, ``meningioma`` or ``pituitary``.
    seed : int
        Everything random follows from it and the kind.
    plane : str
        Orientation of the slices.
    slices : int
        How many.
    spacing : tuple of float
        Millimetres between slices, rows and columns; slices are as thick as they
        are apart.
    size : int
        Rows and columns.

    Returns
    -------
    Simulated
        ``image`` int16 (slice, row, column), ``mask`` bool, ``affine_lps``.

    Raises
    ------
    ValueError
        If kind or plane is unknown, or a number is not positive.
    """
    if slices < 1 or size < 8 or min(spacing) <= 0:
        raise ValueError(
            f"slices={slices}, size={size} and spacing={spacing} must be positive "
            "(size at least 8)"
        )
    chosen = _plane(plane)
    patient = _patient(kind, seed)
    rng = np.random.default_rng([seed, 2])
    pose = Pose.draw(rng, np.full(3, 5, np.float32))
    normal = np.abs(np.asarray(_DIRECTIONS[chosen][0]))
    lesion = pose.inverse(np.asarray(patient.tumour.centre, np.float32))
    centre = np.where(normal > 0, lesion, _middle(chosen))
    if slices % 2 == 0:
        # Index slices // 2, half a slice beyond the centre, meets the tumour's.
        centre = centre - 0.5 * spacing[0] * np.asarray(_DIRECTIONS[chosen][0])
    affine = _affine(chosen, spacing, slices, centre, size)
    raw, occupancy = _expose(patient, pose, affine, slices, size, spacing[0])
    scanner = np.random.default_rng([seed, 3])
    plain = _scan(raw, affine, scanner)
    image = plain * (1000 / np.quantile(plain, 0.999))
    return Simulated(
        image=np.rint(np.clip(image, 0, 4095)).astype(np.int16),
        mask=occupancy >= 0.5,
        kind=patient.tumour.kind,
        plane=chosen,
        affine_lps=affine,
    )


def _patient(kind: str, seed: int) -> Head:
    known = tumour.kind(kind)
    maps = template.load()
    rng = np.random.default_rng([seed, 1, tumour.KINDS.index(known)])
    lesion = tumour.draw(known, maps, rng)
    return Head.draw(maps, lesion, rng)


def _plane(name: str) -> Plane:
    for plane in PLANES:
        if plane == name:
            return plane
    raise ValueError(f"plane {name!r} is unknown; take one of {', '.join(PLANES)}")


def _middle(plane: Plane) -> NDArray[np.float64]:
    """Scanner point (RAS mm) that the field of view is centred on."""
    return np.array([0.0, 9.0 if plane == "sagittal" else 0.0, -13.0])


def _affine(
    plane: Plane,
    spacing: tuple[float, float, float],
    slices: int,
    centre: NDArray[np.float64],
    size: int = SIZE,
) -> NDArray[np.float64]:
    columns = np.asarray(_DIRECTIONS[plane], float).T * np.asarray(spacing)
    half = (np.array([slices, size, size]) - 1) / 2
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = centre - columns @ half
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _expose(
    patient: Head,
    pose: Pose,
    affine_lps: NDArray[np.float64],
    slices: int,
    size: int,
    thickness: float,
) -> tuple[Floats, Floats]:
    """Noise-free intensity and occupancy, averaged over the slice thickness."""
    ras = (np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps).astype(np.float32)
    row, column = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    step = thickness / np.linalg.norm(ras[:3, 0])
    image = np.zeros((slices, size, size), np.float32)
    occupancy = np.zeros_like(image)
    offsets = (-1 / 3, 0.0, 1 / 3)
    for k in range(slices):
        for offset in offsets:
            level = np.full(row.size, k + offset * step)
            index = np.stack([level, row.ravel(), column.ravel()]).astype(np.float32)
            points = pose(ras[:3, :3] @ index + ras[:3, 3:])
            values, part = patient.render(points)
            image[k] += values.reshape(size, size) / len(offsets)
            occupancy[k] += part.reshape(size, size) / len(offsets)
    return image, occupancy


def _scan(
    raw: Floats, affine_lps: NDArray[np.float64], rng: np.random.Generator
) -> Floats:
    """Coil sensitivity, limited k-space and Rician noise."""
    slices, rows, columns = raw.shape
    index = np.stack(
        np.meshgrid(*(np.arange(n, dtype=float) for n in raw.shape), indexing="ij")
    ).reshape(3, -1)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps
    points = (ras[:3, :3] @ index + ras[:3, 3:]) / 100
    slope, curve = rng.normal(0, 0.10, 3), rng.normal(0.06, 0.10, 3)
    gain = np.exp(slope @ points + curve @ points**2)
    # The head coil ends at the neck.
    end = rng.uniform(-1.6, -1.05)
    gain *= 1 / (1 + np.exp(-(points[2] - end) / rng.uniform(0.06, 0.16)))
    image = raw * gain.reshape(raw.shape).astype(np.float32)
    kept = rng.uniform(0.62, 1.0, 2)
    taper = rng.uniform(0.08, 0.5)
    window = np.outer(
        *(
            _window(n, share, taper)
            for n, share in zip((rows, columns), kept, strict=True)
        )
    )
    spectrum = np.fft.fftshift(np.fft.fft2(image), axes=(1, 2)) * window
    image = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(1, 2)))
    sigma = 65 * rng.uniform(0.006, 0.035)
    shape = (2, slices, rows, columns)
    grain = ndimage.gaussian_filter(
        rng.standard_normal(shape, dtype=np.float32), (0, 0, 0.45, 0.45)
    )
    grain *= sigma / grain.std()
    noisy = np.hypot(image.real + grain[0], image.imag + grain[1])
    return np.asarray(noisy, np.float32)


def _window(count: int, share: float, taper: float) -> NDArray[np.float64]:
    """Cosine-tapered pass band over ``share`` of the frequencies."""
    position = np.abs(np.arange(count) - count // 2) / (count / 2)
    ramp = np.clip((share - position) / (taper * share), 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * ramp))
