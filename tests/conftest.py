"""Shared fixtures: real data, sample data, and a tiny classifier that is sure."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SIZE = 48


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; the test skips visibly without it."""
    path = Path(os.environ.get("MEDXAI_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set MEDXAI_SHARED_DATA")
    return path


@pytest.fixture(scope="session")
def samples() -> Path:
    """The project's own simulated studies."""
    return ROOT / "sample_data" / "brain"


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path_factory, monkeypatch):
    """Keep the tests' salt out of the user's configuration."""
    monkeypatch.setenv(
        "MEDXAI_CONFIG_DIR", str(tmp_path_factory.getbasetemp() / "config")
    )


def blob_image(rng: np.random.Generator, *, low: bool) -> tuple[np.ndarray, np.ndarray]:
    """Make noise with a bright blob in the upper or the lower half, and its mask."""
    row = rng.integers(30, 40) if low else rng.integers(8, 18)
    column = rng.integers(12, 36)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(rows - row, columns - column)
    image = rng.normal(60, 12, (SIZE, SIZE)) + 150 * np.exp(-((distance / 5) ** 2))
    image = image + 30 * np.sin(columns / 5)
    return np.clip(image, 0, 255).astype(np.uint8), distance < 6


def write_blobs(folder: Path, count: int, seed: int) -> Path:
    """Write a labelled data set with masks, folds 1 to 4."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = ["file,label,fold,patient"]
    for i in range(count):
        low = bool(i % 2)
        image, mask = blob_image(rng, low=low)
        Image.fromarray(image).save(folder / "images" / f"{i}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{i}.png")
        lines.append(f"{i}.png,{'low' if low else 'high'},{i // 2 % 4 + 1},p{i // 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def blobs(tmp_path_factory) -> Path:
    """Six labelled cases with masks."""
    return write_blobs(tmp_path_factory.mktemp("data") / "blobs", 6, seed=1)


@pytest.fixture(scope="session")
def training_data(tmp_path_factory) -> Path:
    """Data that a tiny network learns in seconds."""
    return write_blobs(tmp_path_factory.mktemp("data") / "training", 96, seed=2)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, training_data) -> Path:
    """A model folder, trained by the project's own code, that is sure of its answer."""
    from napari_medxai.training import TrainingSettings, train

    out = tmp_path_factory.mktemp("models") / "tiny"
    settings = TrainingSettings(
        arch="test_efficientnet",
        size=(SIZE, SIZE),
        epochs=8,
        batch_size=12,
        learning_rate=4e-3,
        label_smoothing=0.0,
        ema_decay=0.5,
        precision="fp32",
        device="cpu",
        seed=3,
    )
    train(training_data, out, settings, quiet=True)
    return out
