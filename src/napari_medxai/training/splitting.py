"""Training part, selection set and test part, without leaks between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from napari_medxai.errors import UsageError

from .samples import Sample

__all__ = ["PARTS", "Split", "refuse_shared_patients", "refuse_shared_pixels", "split"]

PARTS = ("training", "selection", "test")
TITLES = {
    "training": "the training part",
    "selection": "the selection set",
    "test": "the test part",
}


@dataclass(frozen=True)
class Split:
    """Who trains, who chooses the epoch, who is kept for a test.

    Attributes
    ----------
    training, selection, test : tuple of Sample
        Each with its fold. `test` is empty where none was asked for.
    by : str
        ``fold``, ``patient`` or ``image``: what the folds keep together.
    validation_folds, test_folds : tuple of str
    """

    training: tuple[Sample, ...]
    selection: tuple[Sample, ...]
    test: tuple[Sample, ...]
    by: str
    validation_folds: tuple[str, ...]
    test_folds: tuple[str, ...]

    def parts(self) -> dict[str, tuple[Sample, ...]]:
        """Parts by name."""
        return {name: getattr(self, name) for name in PARTS}

    @property
    def words(self) -> str:
        """Say how it was split."""
        return {
            "fold": "by the folds of the data set",
            "patient": "by patient, at random and with the classes in proportion",
            "image": "by image, at random: images of one patient may stand in several "
            "parts, and the figures are then too good",
        }[self.by]


def split(
    samples: Sequence[Sample],
    *,
    by: str = "auto",
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    folds: int = 5,
    seed: int = 0,
) -> Split:
    """Split a data set into a training part, a selection set and a test part.

    Parameters
    ----------
    samples : sequence of Sample
    by : {"auto", "fold", "patient", "image"}
        ``fold`` takes the data set's folds. ``patient`` makes folds ``1`` to `folds`
        at random, with each patient in one and the classes in proportion
        (scikit-learn's ``StratifiedGroupKFold``); ``image`` does so image by image,
        which leaks where a patient has several. ``auto`` is ``fold`` where there are
        folds, else ``patient``; never ``image``.
    validation, test : sequence of str
        Folds of the selection set and of the test part. Without the first, the last
        fold that is not in the test part; without the second, there is no test part.
    folds : int
        How many to make.
    seed : int

    Returns
    -------
    Split

    Raises
    ------
    UsageError
        If a fold does not exist or is in two parts, a class is missing in the
        training part or the selection set, or a patient stands in two parts.
    """
    by = _resolved(samples, by)
    if by != "fold":
        samples = _dealt(samples, by, folds, seed)
    names = sorted({s.fold for s in samples})
    free = [name for name in names if name not in test]
    if not validation and len(names) < 2:
        raise UsageError(
            f"all images are of fold '{names[0]}'; nothing is left for a selection set."
        )
    validation = tuple(validation) or tuple(free[-1:])
    _check_folds(names, validation, tuple(test))
    result = Split(
        training=tuple(s for s in samples if s.fold not in {*validation, *test}),
        selection=tuple(s for s in samples if s.fold in validation),
        test=tuple(s for s in samples if s.fold in test),
        by=by,
        validation_folds=validation,
        test_folds=tuple(test),
    )
    for part in PARTS[:2]:
        missing = {s.label for s in samples} - {s.label for s in getattr(result, part)}
        if missing:
            raise UsageError(
                f"no {', '.join(sorted(missing))} in {TITLES[part]}; choose other "
                "folds."
            )
    if by != "image":
        refuse_shared_patients(result.parts())
    return result


def _resolved(samples: Sequence[Sample], by: str) -> str:
    without = sum(s.patient is None for s in samples)
    unfolded = sum(not s.fold for s in samples)
    if by == "auto":
        by = "fold" if unfolded < len(samples) else "patient"
    if by == "fold" and unfolded:
        raise UsageError(
            f"{unfolded} of {len(samples)} images have no fold; give each one in the "
            "column 'fold' of labels.csv, or split by patient (--split-by patient)."
        )
    if by == "patient" and without:
        raise UsageError(
            f"{without} of {len(samples)} images have neither fold nor patient. Images "
            "of one patient resemble each other and must not stand on both sides: "
            "name the patients in the column 'patient' of labels.csv. Where each image "
            "is of another patient, say --split-by image."
        )
    return by


def _dealt(
    samples: Sequence[Sample], by: str, folds: int, seed: int
) -> tuple[Sample, ...]:
    """Give each sample one of the folds 1 to n."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [s.patient if by == "patient" else s.name or str(s.path) for s in samples]
    labels = np.array([s.label for s in samples])
    units = len(set(groups))
    by_class = Counter(label for _, label in {*zip(groups, labels, strict=True)})
    if min(by_class.values()) < folds:
        rarest = min(by_class, key=by_class.__getitem__)
        raise UsageError(
            f"{rarest} has {by_class[rarest]} {by}(s); {folds} folds need as many of "
            f"each class. Choose fewer with --folds."
        )
    dealer = StratifiedGroupKFold(
        n_splits=min(folds, units), shuffle=True, random_state=seed
    )
    fold = np.zeros(len(samples), dtype=int)
    for number, (_, held) in enumerate(dealer.split(labels, labels, groups), start=1):
        fold[held] = number
    return tuple(
        replace(s, fold=str(number)) for s, number in zip(samples, fold, strict=True)
    )


def _check_folds(
    names: Sequence[str], validation: tuple[str, ...], test: tuple[str, ...]
) -> None:
    unknown = {*validation, *test} - set(names)
    if unknown:
        raise UsageError(
            f"fold {', '.join(sorted(unknown))} does not exist; the data has "
            f"{', '.join(names)}."
        )
    both = set(validation) & set(test)
    if both:
        raise UsageError(
            f"fold {', '.join(sorted(both))} cannot both choose the epoch and test."
        )


def refuse_shared_patients(parts: dict[str, tuple[Sample, ...]]) -> None:
    """Refuse a patient in two parts.

    Raises
    ------
    UsageError
        It says how many patients, and what to do.
    """
    patients = {
        name: {s.patient for s in part if s.patient} for name, part in parts.items()
    }
    for first, second in combinations(parts, 2):
        shared = patients[first] & patients[second]
        if shared:
            example = sorted(str(p) for p in shared)[0]
            raise UsageError(
                f"{len(shared)} patient(s) stand both in {TITLES[first]} and in "
                f"{TITLES[second]}, for example {example}: the figures would be too "
                "good. Put all images of a patient into one fold, or split by patient "
                "(--split-by patient). If they are different people, give them "
                "different names."
            )


def refuse_shared_pixels(
    parts: dict[str, tuple[Sample, ...]],
    digests: dict[str, tuple[str, ...]],
    *,
    drop: bool = False,
) -> dict[str, list[int]]:
    """Refuse the same network input image in two parts.

    Parameters
    ----------
    parts, digests : dict
        Samples and the hashes of their images, by part.
    drop : bool
        Leave such images out of the training part instead.

    Returns
    -------
    dict of str to list of int
        Which samples of each part remain.

    Raises
    ------
    UsageError
        It says how many images, names some, and says what to do.
    """
    keep = {name: list(range(len(part))) for name, part in parts.items()}
    for first, second in combinations(parts, 2):
        shared = set(digests[first]) & set(digests[second])
        if not shared:
            continue
        if drop and first == "training":
            keep[first] = [i for i in keep[first] if digests[first][i] not in shared]
            continue
        pairs = [
            (
                parts[first][digests[first].index(d)],
                parts[second][digests[second].index(d)],
            )
            for d in sorted(shared)
        ]
        a, b = min(pairs, key=lambda pair: pair[0].name)
        advice = (
            "leave them out of the training part with --drop-duplicates"
            if first == "training"
            else "remove them from labels.csv"
        )
        raise UsageError(
            f"{len(shared)} image(s) have the same pixels in {TITLES[first]} and in "
            f"{TITLES[second]}, for example {a.name} and {b.name}: the figures would "
            f"be too good. Put them into one fold, or {advice}."
        )
    return keep
