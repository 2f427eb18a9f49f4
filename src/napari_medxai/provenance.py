"""What decided the numbers: hashes, versions, and the key of a finished case."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .io import Case
from .models import Classifier
from .settings import Settings
from .study import Study

__all__ = [
    "RESULT_VERSION",
    "case_key",
    "image_seed",
    "maps_key",
    "provenance",
    "versions",
]

# Raised by every change that changes numbers: finished cases are then redone.
RESULT_VERSION = 4
PACKAGES = (
    "napari-medxai",
    "torch",
    "timm",
    "monai",
    "captum",
    "grad-cam",
    "numpy",
    "scipy",
    "scikit-image",
)


def case_key(
    case: Case,
    study: Study,
    model: Classifier,
    settings: Settings,
    *,
    others: str = "",
) -> str:
    """Key of everything a case's numbers depend on, in hexadecimal.

    Parameters
    ----------
    case : Case
    study : Study
        The case as it was read, masks included.
    model : Classifier
    settings : Settings
    others : str
        Digest of other cases that take part, see :class:`.map_pool.MapPool`.

    Returns
    -------
    str
        SHA-256 over pixels, geometry, masks, label, model, settings and
        :data:`RESULT_VERSION`.
    """
    chosen = {name: getattr(settings, name) for name in settings.__slots__}
    return _key(case, study, model, [[case.name, case.patient], chosen, others])


def maps_key(case: Case, study: Study, model: Classifier, settings: Settings) -> str:
    """Key of everything a case's saliency maps depend on, in hexadecimal."""
    names = ("methods", "parameters", "target", "slices", "seed")
    return _key(case, study, model, [{n: getattr(settings, n) for n in names}])


def _key(case: Case, study: Study, model: Classifier, also: list[Any]) -> str:
    digest = hashlib.sha256(_study_digest(study).encode())
    for name, mask in sorted(study.masks.items()):
        digest.update(name.encode() + np.packbits(mask).tobytes())
    digest.update(
        json.dumps(
            [
                RESULT_VERSION,
                case.label,
                None if study.affine_lps is None else study.affine_lps.tolist(),
                study.spacing,
                [model.digest, model.precision, model.batch_size, str(model.device)],
                *also,
            ],
            sort_keys=True,
            default=str,
        ).encode()
    )
    return digest.hexdigest()


def provenance(study: Study, model: Classifier, seed: int) -> dict[str, Any]:
    """Say how a result was made: hashes, seed, precision, device, versions."""
    return {
        "input_sha256": _study_digest(study),
        "model": model.name,
        "model_sha256": model.digest,
        "seed": seed,
        "precision": model.precision,
        "device": str(model.device),
        "versions": versions(),
    }


def _study_digest(study: Study) -> str:
    digest = hashlib.sha256(f"{study.array.dtype.str}{study.array.shape}".encode())
    digest.update(np.ascontiguousarray(study.array).tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def image_seed(seed: int, image: NDArray[np.uint8]) -> int:
    """Seed for one image, from the run's seed and the image's content alone."""
    digest = hashlib.sha256(f"{seed}:{image.shape}".encode() + image.tobytes())
    return int.from_bytes(digest.digest()[:4], "little")
