"""What is different from the paper, and the limits of what came out."""

from __future__ import annotations

from collections.abc import Sequence

from napari_medxai.report.content import Cell, Head, Table
from napari_medxai.report.html import NO_PATIENTS
from napari_medxai.report.wording import count_text, listed
from napari_medxai.training import TrainingSettings

from . import published
from .classifiers import Trained
from .explaining import Explained
from .material import Material
from .options import ReproductionOptions

__all__ = ["contrast_table", "limits"]


def contrast_table(
    options: ReproductionOptions, material: Material, settings: TrainingSettings
) -> Table:
    """Put the paper and this run side by side.

    Parameters
    ----------
    options : ReproductionOptions
    material : Material
    settings : TrainingSettings
        Of any of the architectures.
    """
    rows = (
        (
            "Data",
            published.TITLES.get(
                material.dataset, "brain tumour MRI and chest radiographs"
            ),
            _data(options, material),
        ),
        (
            "Split",
            "80, 10 and 10 % at random over slices: slices of one patient stand on "
            "both sides",
            f"{material.words}; judged on the {material.title}",
        ),
        (
            "Input",
            "225 × 225, one channel; z-scored floats",
            f"{' × '.join(map(str, settings.size))}, "
            f"{count_text(settings.channels, 'channel')}, 8 bits a pixel; "
            f"{_normalised(settings)}",
        ),
        (
            "Networks",
            "Keras' nine, from scratch; flattened features, dense softmax",
            f"{listed(options.architectures)}; timm's, {_begun(settings)}, with their "
            "own pooling",
        ),
        ("Training", _paper_training(material), _training(settings)),
        (
            "Explained class",
            "path methods the predicted softmax, class activation maps the true label; "
            "Score-CAM's softmax is applied twice",
            "all methods the logit of the predicted class; Score-CAM the softmax, once",
        ),
        (
            "Guided IG",
            "25 steps, fraction 0.5, distance 1",
            "the same" if options.assignments else "not run",
        ),
        (
            "Curves",
            "on z-scored floats; information is the entropy of the histogram; an image "
            "is left out only where blurring makes the answer surer, and one that "
            "stays right when blurred has a zero curve",
            "on the 8-bit image that the network sees; presets "
            f"{listed([f'“{p}”' for p in options.presets])}",
        ),
    )
    return Table(
        caption=f"The paper: {published.SOURCE}, as its text and code say.",
        heads=(
            Head(title="", number=False),
            Head(title="The paper", number=False),
            Head(title="This run", number=False),
        ),
        rows=tuple(
            tuple(Cell(text=text) for text in (name, theirs, ours))
            for name, theirs, ours in rows
        ),
    )


def _data(options: ReproductionOptions, material: Material) -> str:
    parts = material.split.parts()
    counts = ", ".join(f"{name} {len(part)}" for name, part in parts.items() if part)
    text = f"{count_text(material.n_available, 'image')}; {counts}"
    if options.quick:
        few = sum(len(part) for part in parts.values())
        text = f"a quick run on {few} of {text}"
    return text


def _normalised(settings: TrainingSettings) -> str:
    return {
        "data": "z-scored with mean and deviation of the training part",
        "half": "scaled to −1..1",
        "imagenet": "z-scored with ImageNet's mean and deviation",
    }[settings.normalise]


def _begun(settings: TrainingSettings) -> str:
    if settings.initial_weights is None:
        return "from scratch"
    if settings.initial_weights == "hub":
        return "from timm's ImageNet weights"
    return "from a file of weights"


def _paper_training(material: Material) -> str:
    epochs = {
        published.MRI: "20 epochs",
        published.RADIOGRAPHS: "40 epochs",
    }.get(material.dataset, "20 epochs (MRI), 40 (radiographs)")
    return (
        "SGD, rate 0.001, momentum 0.9395, decay 0.0003, batches of 64, "
        f"{epochs}; no augmentation"
    )


def _training(settings: TrainingSettings) -> str:
    recipe = f"recipe “{settings.recipe}”: "
    if settings.optimiser == "sgd":
        how = (
            f"SGD, rate {settings.learning_rate:g}, momentum {settings.momentum:.4g}, "
            f"decay {settings.learning_rate_decay:g}"
        )
    else:
        how = f"AdamW, one cycle to rate {settings.learning_rate:g}"
    augmented = {"none": "no augmentation"}.get(
        settings.augmentation, f"{settings.augmentation} augmentation"
    )
    kept = {"best": "the best epoch on the selection set", "last": "the last epoch"}
    return (
        f"{recipe}{how}, batches of {settings.batch_size}, "
        f"{count_text(settings.epochs, 'epoch')}, {augmented}, "
        f"{settings.precision}; kept: {kept[settings.keep]}"
    )


def limits(
    options: ReproductionOptions,
    material: Material,
    trained: Sequence[Trained],
    explained: Sequence[Explained],
) -> list[str]:
    """Say what the figures cannot carry."""
    found = []
    if options.quick:
        found.append(
            "A quick run: so few images and epochs show that the command works, and "
            "nothing about architectures or methods."
        )
    if material.part == "selection":
        keep = options.settings(options.architectures[0]).keep
        epoch = "the epoch that was kept, " if keep == "best" else ""
        found.append(
            "There is no test part: all figures are of the selection set, which chose "
            f"{epoch}each classifier's temperature, and the architecture that is "
            "called best. They are too good. Keep a fold for a test with --test."
        )
    if material.by == "image":
        found.append(
            "The images were split at random, image by image: the classifiers have "
            "seen the patients that they are judged on wherever a patient has several."
        )
    if any(not sample.patient for sample in material.judged):
        found.append(NO_PATIENTS)
    if options.limit is not None and any(one.n_cases for one in explained):
        most = max(one.n_cases for one in explained)
        if most < len(material.judged):
            found.append(
                f"Maps and curves rest on {most} of {len(material.judged)} images of "
                f"the {material.title}, drawn by class and seed {options.seed}."
            )
    if material.dataset:
        found.append(
            "The published areas come from other networks, another split and another "
            "part of the data, under the paper's own definition of the curves, to "
            f"which “{published.PRESET}” is the nearest. A difference is not an error "
            "of either side, and likeness no proof."
        )
    else:
        found.append(
            "The classes are not those of the paper's data sets, so that no published "
            "figures stand beside."
        )
    if material.dataset == published.RADIOGRAPHS:
        found.append(
            "In collections of COVID-19 radiographs each class often comes from its "
            "own hospital, so that a classifier can win by recognising the source "
            "(markers, borders, collimation). These figures cannot show it; maps can."
        )
    if any(one.reason for one in trained):
        names = [one.architecture for one in trained if one.reason]
        found.append(
            f"{listed(names)} could not be trained; the best is that of the others."
        )
    found += [
        "One training of each architecture: another seed gives another classifier, "
        "other maps and other figures. The intervals cover the sampling of patients or "
        "images only.",
        "Scattered random pixels are a strong sampler for these curves: interpolated, "
        "they give back nearly the whole image in few bytes. Beating “random”, or "
        "losing to it, says neither that a map is informative nor that it is not.",
    ]
    return found
