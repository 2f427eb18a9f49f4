"""How to train: the settings of a run and the recipes they start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from napari_medxai.errors import UsageError

__all__ = ["HUB", "RECIPES", "TrainingSettings"]

HUB = "hub"
# Of images scaled to 0..1; grey is the mean over the colours.
IMAGENET = {
    1: ((0.449,), (0.226,)),
    3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
CHOICES = {
    "optimiser": ("adamw", "sgd"),
    "normalise": ("half", "data", "imagenet"),
    "augmentation": ("none", "light", "strong"),
    "precision": ("fp32", "bf16"),
    "keep": ("best", "last"),
    "split_by": ("auto", "fold", "patient", "image"),
}
# May differ when a run continues: they do not enter the weights.
FREE = frozenset({"device", "workers", "card", "checkpoint_minutes", "recipe"})

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    # Brima & Atemkeng (2024), as their code trains; see docs/training.md for what
    # is different here.
    "brima2024": {
        "size": (225, 225),
        "normalise": "data",
        "optimiser": "sgd",
        "learning_rate": 1e-3,
        "learning_rate_decay": 3e-4,
        "momentum": 0.9394867962846013,
        "weight_decay": 0.0,
        "clip": 0.0,
        "ema_decay": 0.0,
        "label_smoothing": 0.0,
        "epochs": 20,
        "batch_size": 64,
        "augmentation": "none",
        "precision": "fp32",
        "keep": "last",
    },
}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train. The defaults are those of the recipe ``default``.

    Attributes
    ----------
    arch : str
        As :func:`napari_medxai.models.build` takes it.
    size : tuple of int
        Network input (H, W), or (D, H, W) for volumes.
    channels : int
        1 or 3.
    preprocessing : mapping
        ``intensity`` and ``crop`` as in a ``model.json``; the rest is set here.
    normalise : {"half", "data", "imagenet"}
        Mean and deviation of the network input: 0.5 and 0.5 (which gives -1 to 1),
        those of the training part, or ImageNet's.
    epochs, batch_size : int
        Every batch is full; what is left over comes in the next epoch's order.
    optimiser : {"adamw", "sgd"}
        AdamW with a one-cycle rate, or SGD whose rate falls as
        ``learning_rate / (1 + learning_rate_decay * step)``.
    learning_rate : float
        Peak of the cycle, or the first rate of SGD.
    learning_rate_decay, momentum : float
        Of SGD.
    weight_decay : float
        On kernels and matrices only.
    clip : float
        Largest norm of the gradient; 0 lets it be.
    ema_decay : float
        Of the averaged weights, which are what is kept; 0 keeps the network's own.
    label_smoothing : float
    class_weights : str or tuple of float
        ``"none"``, ``"balanced"`` (n / (classes * n of the class)), or a weight for
        each class in alphabetical order.
    augmentation : {"none", "light", "strong"}
        See :mod:`napari_medxai.training.augmentation`.
    flip : bool
        Whether augmentation mirrors left and right.
    mixup : float
        Share of the batches that are mixed with themselves in another order; 0 none.
    mixup_alpha : float
        One share for the whole batch is drawn from Beta(alpha, alpha).
    precision : {"bf16", "fp32"}
        bfloat16 autocast, on a GPU as on the CPU, or float32.
    device : str
    workers : int
        Processes that augment; 0 augments in the training process. -1 chooses: none
        on the CPU, where they gain nothing, up to 8 beside a GPU. The weights do not
        depend on it.
    deterministic : bool
        Deterministic algorithms, so that a run that was killed at any moment ends
        with the same weights on the same device with the same number of threads.
    seed : int
    split_by : {"auto", "fold", "patient", "image"}
        See :func:`napari_medxai.training.split`.
    folds : int
        How many, where they are made here.
    validation, test : tuple of str
        Folds of the selection set (none: the last one) and of the test part.
    drop_duplicates : bool
        Leave images out of the training part that also stand in another part,
        instead of refusing.
    initial_weights : Path, "hub" or None
        A file of ImageNet weights, timm's hub, or from scratch.
    patience : int
        Stop after so many epochs without improvement; 0 never.
    keep : {"best", "last"}
        Which epoch is kept: that with the best macro F1 on the selection set (of
        equal ones that with the lower loss), or the last.
    checkpoint_minutes : float
        A checkpoint is written after each epoch, and within one after so many
        minutes.
    card : mapping
        Text for ``model.json``.
    recipe : str
        Name of the recipe the settings started from, for the record.
    """

    arch: str
    size: tuple[int, ...] = (224, 224)
    channels: int = 1
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    normalise: str = "half"
    epochs: int = 16
    batch_size: int = 32
    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    learning_rate_decay: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 0.05
    clip: float = 1.0
    ema_decay: float = 0.995
    label_smoothing: float = 0.05
    class_weights: str | tuple[float, ...] = "none"
    augmentation: str = "light"
    flip: bool = True
    mixup: float = 0.0
    mixup_alpha: float = 0.4
    precision: str = "bf16"
    device: str = "auto"
    workers: int = -1
    deterministic: bool = False
    seed: int = 0
    split_by: str = "auto"
    folds: int = 5
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    drop_duplicates: bool = False
    initial_weights: Path | str | None = None
    patience: int = 0
    keep: str = "best"
    checkpoint_minutes: float = 5.0
    card: Mapping[str, Any] = field(default_factory=dict)
    recipe: str = "default"

    def __post_init__(self) -> None:
        """Check what a user may get wrong."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"{name} is '{getattr(self, name)}'; it can be "
                    f"{', '.join(choices)}."
                )
        for name, least in (("epochs", 1), ("batch_size", 2), ("folds", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}.")
        shares = {"mixup", "label_smoothing", "ema_decay", "momentum"}
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie between 0 and 1.")
        if not self.learning_rate > 0 or not self.mixup_alpha > 0:
            raise UsageError("learning_rate and mixup_alpha must be above 0.")
        if isinstance(self.class_weights, str):
            if self.class_weights not in ("none", "balanced"):
                raise UsageError(
                    f"class_weights is '{self.class_weights}'; it can be none, "
                    "balanced or a number for each class."
                )
        elif min(self.class_weights) <= 0:
            raise UsageError("class_weights must all be above 0.")
        unknown = set(self.preprocessing) - {"intensity", "crop"}
        if unknown:
            raise UsageError(
                f"preprocessing can say intensity and crop, not "
                f"{', '.join(sorted(unknown))}; size, channels and normalisation are "
                "options of their own."
            )

    @classmethod
    def of(cls, recipe: str, **overrides: Any) -> TrainingSettings:
        """Start from a recipe.

        Parameters
        ----------
        recipe : str
            A key of ``RECIPES``.
        **overrides
            Settings that are different.

        Raises
        ------
        UsageError
            If there is no such recipe.
        """
        if recipe not in RECIPES:
            raise UsageError(
                f"recipe '{recipe}' is unknown; {', '.join(RECIPES)} can be had."
            )
        return cls(**{**RECIPES[recipe], **overrides, "recipe": recipe})

    @property
    def spatial_dims(self) -> int:
        """2 for images, 3 for volumes."""
        return len(self.size)

    def fingerprint(self) -> dict[str, str]:
        """Return what must be the same when a run continues."""
        return {
            one.name: str(getattr(self, one.name))
            for one in fields(self)
            if one.name not in FREE
        }

    def to_json(self) -> dict[str, Any]:
        """Return all settings but the card's text, for the record."""
        values = {k: v for k, v in asdict(self).items() if k != "card"}
        if isinstance(self.initial_weights, Path):
            values["initial_weights"] = self.initial_weights.name
        return values
