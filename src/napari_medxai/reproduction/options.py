"""What the reproduction is asked for, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_medxai import saliency
from napari_medxai.errors import UsageError
from napari_medxai.models import names
from napari_medxai.options import BatchOptions, settings_of
from napari_medxai.training import RECIPES, TrainingSettings

__all__ = ["GUIDED", "ReproductionOptions"]

# Guided IG as its authors' notebook and the paper have it.
GUIDED = ("guided_ig.steps=25", "guided_ig.fraction=0.5", "guided_ig.max_dist=1.0")
# What --quick changes where nothing else is said.
QUICK: Mapping[str, Any] = {
    "architectures": ("efficientnet_b0", "densenet121"),
    "size": (64, 64),
    "epochs": 2,
    "batch_size": 8,
    "limit": 6,
}


@dataclass(frozen=True, kw_only=True)
class ReproductionOptions:
    """What the command line says; defaults as there.

    Attributes
    ----------
    data, out : Path
        Data folder as :func:`napari_medxai.training.read_samples` takes it, and the
        folder to write.
    architectures : tuple of str
        The paper's nine, or any names that training takes.
    recipe : str
        ``default`` or ``brima2024``, see :data:`napari_medxai.training.RECIPES`.
    validation, test : tuple of str
        Folds of the selection set (none: the last one) and of the test part.
    split_by, folds
        See :func:`napari_medxai.training.split`.
    drop_duplicates : bool
        Leave training images out that also stand in another part.
    epochs, size, batch_size, precision
        Instead of the recipe's; None leaves those.
    methods : str
        Comma list of methods and groups.
    presets : tuple of str
        Definitions of the information curves.
    explain : str
        ``best`` (by macro F1 on the selection set), ``all`` or names with commas.
    limit : int or None
        Cases explained, drawn by class and seed; all where None.
    initial_weights : Path, "hub" or None
    device : str
    seed : int
    quick : bool
        A small run: few images of each class take part.
    """

    data: Path
    out: Path
    architectures: tuple[str, ...] = names()
    recipe: str = "default"
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    split_by: str = "auto"
    folds: int = 5
    drop_duplicates: bool = False
    epochs: int | None = None
    size: tuple[int, ...] | None = None
    batch_size: int | None = None
    precision: str | None = None
    methods: str = "core"
    presets: tuple[str, ...] = ("pair", "brima2024", "corrected")
    explain: str = "best"
    limit: int | None = None
    initial_weights: Path | str | None = None
    device: str = "auto"
    seed: int = 0
    quick: bool = False

    def __post_init__(self) -> None:
        """Check what a user may get wrong."""
        if not self.architectures:
            raise UsageError("no architecture given; leave --arch out for the nine.")
        if len(set(self.architectures)) < len(self.architectures):
            raise UsageError("an architecture is given twice.")
        if self.recipe not in RECIPES:
            raise UsageError(
                f"recipe '{self.recipe}' is unknown; {', '.join(RECIPES)} can be had."
            )
        if isinstance(self.initial_weights, Path) and len(self.architectures) > 1:
            raise UsageError(
                f"{self.initial_weights.name} holds weights of one architecture: name "
                "that one with --arch, or take --initial-weights hub."
            )
        unknown = set(self.explained_names()) - set(self.architectures)
        if unknown:
            raise UsageError(
                f"--explain {', '.join(sorted(unknown))}: not among the architectures "
                f"that are trained ({', '.join(self.architectures)})."
            )
        # limit, presets, methods and seed are checked as the batch checks them
        settings_of(
            BatchOptions(
                inputs=(),
                out=self.out,
                methods=self.methods,
                presets=self.presets,
                limit=self.limit,
                seed=self.seed,
            )
        )
        self.settings(self.architectures[0])

    @classmethod
    def of(cls, *, quick: bool = False, **given: Any) -> ReproductionOptions:
        """Fill in what is None, by the defaults or those of ``--quick``."""
        chosen = {name: value for name, value in given.items() if value is not None}
        return cls(**{**(QUICK if quick else {}), **chosen, "quick": quick})

    @property
    def resolved_methods(self) -> tuple[str, ...]:
        """Names of the methods, in the order they run."""
        return tuple(saliency.resolve(self.methods))

    @property
    def assignments(self) -> tuple[str, ...]:
        """Parameters of methods that are the paper's and not this program's."""
        return GUIDED if "guided_ig" in self.resolved_methods else ()

    def explained_names(self) -> tuple[str, ...]:
        """Architectures named by ``--explain``; () for ``best``."""
        if self.explain == "best":
            return ()
        if self.explain == "all":
            return self.architectures
        return tuple(n.strip() for n in self.explain.split(",") if n.strip())

    def settings(self, architecture: str, **changes: Any) -> TrainingSettings:
        """Return how an architecture is trained.

        Parameters
        ----------
        architecture : str
        **changes
            Of :class:`TrainingSettings`, beyond what the options say.

        Raises
        ------
        UsageError
            If a value is wrong.
        """
        said: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("epochs", "size", "batch_size", "precision")
            if getattr(self, name) is not None
        }
        said |= {
            "validation": self.validation,
            "test": self.test,
            "split_by": self.split_by,
            "folds": self.folds,
            "drop_duplicates": self.drop_duplicates,
            "initial_weights": self.initial_weights,
            "device": self.device,
            "seed": self.seed,
        }
        return TrainingSettings.of(
            self.recipe, **{**said, "arch": architecture, **changes}
        )
