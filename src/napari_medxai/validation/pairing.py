"""Two finished runs on the same cases: what pairs, and what differs by how much."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_medxai.errors import UsageError
from napari_medxai.metrics.comparison import paired_test
from napari_medxai.metrics.statistics import holm

from .finished import CURVES, LOCALIZATION, FinishedRun, Image, Quantity

__all__ = ["GROUPS", "LEVEL", "PairedDifference", "Pairing", "group_of", "pair_runs"]

LEVEL = 0.05
CLASSIFIER = "The classifier"
AREAS = "Information curves"
CHANCE = "Against chance"
MASK = "Against the mask"
OTHER = "Other measures"
GROUPS = (CLASSIFIER, AREAS, CHANCE, MASK, OTHER)
PSEUDONYMS = (
    "Cases pair by their names, which are paths below INPUT; those of DICOM are "
    "pseudonyms made with a salt in the user's configuration folder, so that runs of "
    "two users or of two machines do not pair."
)


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """One quantity in both runs, B minus A.

    Attributes
    ----------
    metric, preset, method : str
        As in :class:`~napari_medxai.validation.finished.Quantity`.
    n_units, n_pairs : int
        Patients (else cases) and images with a value in both runs.
    n_only_a, n_only_b, n_neither : int
        Images of both runs with a value in A only, in B only, and in neither
        although the quantity was measured: excluded images and failed methods.
    mean_a, mean_b : float
        Over the pairs, averaged by patient first.
    difference, ci_low, ci_high : float
        Mean of B minus A with its 95 % bootstrap interval by patient.
    p_value, p_adjusted : float
        Two-sided, by permutation; after Holm over the methods of one metric and
        preset.
    """

    metric: str
    preset: str
    method: str
    n_units: int
    n_pairs: int
    n_only_a: int
    n_only_b: int
    n_neither: int
    mean_a: float
    mean_b: float
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    p_adjusted: float = math.nan

    @property
    def n_images(self) -> int:
        """Images of both runs on which it was measured in at least one."""
        return self.n_pairs + self.n_only_a + self.n_only_b + self.n_neither

    @property
    def told_apart(self) -> bool:
        """Whether the runs differ after the correction for several methods."""
        return self.p_adjusted <= LEVEL

    @property
    def noteworthy(self) -> bool:
        """Whether it belongs into a short list.

        The classifier's own figures always do; others where the corrected p-value is
        at most 0.05 or the interval leaves zero out.
        """
        aside = self.ci_low > 0 or self.ci_high < 0
        return not self.method or self.told_apart or aside


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """What two runs have in common, and how they differ.

    Attributes
    ----------
    n_rows, n_images : int
        Rows of ``results.csv`` that pair, and images among them.
    n_cases, n_units : int
        Cases and units that pair.
    unit : str
        ``patients`` where one is known, else ``cases``.
    only_a, only_b : tuple of str
        Cases that only one run has, with the error where the other failed on it.
    images_only_a, images_only_b : int
        Further images (slices) of paired cases that only one run has.
    differences : tuple of PairedDifference
        In the order of :data:`GROUPS`.
    cautions : tuple of str
        What limits the comparison, in sentences.
    """

    n_rows: int
    n_images: int
    n_cases: int
    n_units: int
    unit: str
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    images_only_a: int
    images_only_b: int
    differences: tuple[PairedDifference, ...]
    cautions: tuple[str, ...]


def group_of(metric: str, method: str) -> str:
    """Heading a quantity stands under, one of :data:`GROUPS`."""
    if not method:
        return CLASSIFIER
    if metric in CURVES:
        return AREAS
    if metric.endswith("_chance_rank"):
        return CHANCE
    return MASK if metric in (*LOCALIZATION, "iou_otsu") else OTHER


def pair_runs(
    a: FinishedRun,
    b: FinishedRun,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Pairing:
    """Pair two runs by case, slice, method and preset, and compare them.

    Parameters
    ----------
    a, b : FinishedRun
    seed : int
        Of permutations and bootstrap.
    progress : callable, optional
        Called with the number of quantities tested, and how many there are.

    Returns
    -------
    Pairing

    Raises
    ------
    UsageError
        If no row of one has its like in the other.
    """
    shared = a.rows & b.rows
    if not shared:
        raise UsageError(f"nothing pairs: {_nothing(a, b)}")
    images = sorted({image for image, _, _ in shared})
    units = _units(a, b, images)
    places = _places(shared)
    compare_ranks = a.nulls == b.nulls
    quantities = [
        q
        for q in _quantities(a, b)
        if compare_ranks or group_of(q.metric, q.method) != CHANCE
    ]
    found = []
    for i, q in enumerate(quantities, start=1):
        found.append(_difference(q, a.values[q], b.values[q], places, units, seed))
        if progress is not None:
            progress(i, len(quantities))
    measured = [d for d in found if d.n_images]
    known = {a.patients.get(c) or b.patients.get(c) for c, _ in images} - {None}
    return Pairing(
        n_rows=len(shared),
        n_images=len(images),
        n_cases=len({case for case, _ in images}),
        n_units=len(set(units.values())),
        unit="patients" if known else "cases",
        only_a=tuple(_alone(a, b)),
        only_b=tuple(_alone(b, a)),
        images_only_a=_further(a, b),
        images_only_b=_further(b, a),
        differences=_corrected(measured),
        cautions=tuple(_cautions(a, b, images, units, measured)),
    )


def _nothing(a: FinishedRun, b: FinishedRun) -> str:
    if not a.rows or not b.rows:
        return f"run {'A' if not a.rows else 'B'} has no result."
    if not a.cases & b.cases:
        example = f"A has '{min(a.cases)}', B has '{min(b.cases)}'"
        return f"no case is in both runs ({example}). {PSEUDONYMS}"
    if not a.images.keys() & b.images.keys():
        return "the cases are the same, but no slice is in both; use one --slices."
    methods = [", ".join(run.methods) for run in (a, b)]
    if not set(a.methods) & set(b.methods):
        return f"no method is in both runs (A: {methods[0]}; B: {methods[1]})."
    presets = [", ".join(sorted({p for _, _, p in run.rows})) for run in (a, b)]
    return f"no preset is in both runs (A: {presets[0]}; B: {presets[1]})."


def _units(
    a: FinishedRun, b: FinishedRun, images: Iterable[Image]
) -> dict[str, tuple[str, str]]:
    """Return each case's patient, else the case itself; the two cannot be confused."""
    found = {}
    for case, _ in images:
        patient = a.patients.get(case) or b.patients.get(case)
        found[case] = ("patient", patient) if patient else ("case", case)
    return found


def _places(
    shared: Iterable[tuple[Image, str, str]],
) -> Mapping[tuple[str, str], set[Image]]:
    """Images that pair, by (method, preset); "" stands for any."""
    places: dict[tuple[str, str], set[Image]] = defaultdict(set)
    for image, method, preset in shared:
        # a volume's own figures have no slice
        for one in (image, (image[0], "")):
            for key in ((method, preset), (method, ""), ("", preset), ("", "")):
                places[key].add(one)
    return places


def _quantities(a: FinishedRun, b: FinishedRun) -> list[Quantity]:
    """List what both runs measured, in the order of the report.

    No p-values: a difference of p-values is no effect.
    """
    methods = {name: i for i, name in enumerate(("", *a.methods))}
    metrics = (
        *("correct", "label_probability", "aic_excluded", "sic_excluded", *CURVES),
        *("aic_chance_rank", "sic_chance_rank", *LOCALIZATION),
    )
    order = {name: i for i, name in enumerate(metrics)}

    def place(q: Quantity) -> tuple[int, int, str, str, int]:
        group = GROUPS.index(group_of(q.metric, q.method))
        metric = order.get(q.metric, len(order))
        return group, metric, q.metric, q.preset, methods.get(q.method, len(methods))

    both = a.values.keys() & b.values.keys()
    return sorted((q for q in both if not q.metric.endswith("_p_value")), key=place)


def _difference(
    quantity: Quantity,
    of_a: Mapping[Image, float],
    of_b: Mapping[Image, float],
    places: Mapping[tuple[str, str], set[Image]],
    units: Mapping[str, tuple[str, str]],
    seed: int,
) -> PairedDifference:
    paired = places.get((quantity.method, quantity.preset), set())
    images = sorted((of_a.keys() | of_b.keys()) & paired)
    first = np.array([of_a.get(i, math.nan) for i in images], dtype=np.float64)
    second = np.array([of_b.get(i, math.nan) for i in images], dtype=np.float64)
    in_a, in_b = ~np.isnan(first), ~np.isnan(second)
    test = paired_test(second, first, [units[case] for case, _ in images], seed=seed)
    return PairedDifference(
        **quantity._asdict(),
        n_units=test.n_units,
        n_pairs=test.n_images,
        n_only_a=int((in_a & ~in_b).sum()),
        n_only_b=int((in_b & ~in_a).sum()),
        n_neither=int((~in_a & ~in_b).sum()),
        mean_a=test.mean_b,
        mean_b=test.mean_a,
        difference=test.difference,
        ci_low=test.ci_low,
        ci_high=test.ci_high,
        p_value=test.p_value,
    )


def _corrected(found: Sequence[PairedDifference]) -> tuple[PairedDifference, ...]:
    """Correct after Holm over the methods of one metric and preset."""
    families: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, one in enumerate(found):
        families[one.metric, one.preset].append(i)
    corrected = list(found)
    for members in families.values():
        adjusted = holm([found[i].p_value for i in members])
        for i, p in zip(members, adjusted, strict=True):
            corrected[i] = replace(found[i], p_adjusted=float(p))
    return tuple(corrected)


def _alone(run: FinishedRun, other: FinishedRun) -> Iterator[str]:
    for case in sorted(run.cases - other.cases):
        error = other.errors.get(case)
        yield f"{case} (the other run failed: {error})" if error else case


def _further(run: FinishedRun, other: FinishedRun) -> int:
    alone = run.images.keys() - other.images.keys()
    return sum(case in other.cases for case, _ in alone)


def _cautions(
    a: FinishedRun,
    b: FinishedRun,
    images: Sequence[Image],
    units: Mapping[str, tuple[str, str]],
    found: Sequence[PairedDifference],
) -> Iterator[str]:
    n = len(images)
    if a.hashes["results.csv"] == b.hashes["results.csv"]:
        yield "Both runs have the same results.csv, byte by byte."
    changed = _changed_inputs(a, b, {case for case, _ in images})
    if changed:
        yield (
            f"The pixels of {changed} of {len(units)} cases are not the same in both "
            "runs: cases of one name need not be the same images."
        )
    for what, name in (("label", "label"), ("target", "explained class")):
        moved = sum(
            getattr(a.images[i], what) != getattr(b.images[i], what) for i in images
        )
        if moved:
            yield f"The {name} of {moved} of {n} images is not the same in both runs."
    other = sum(
        a.patients[case] != b.patients[case]
        for case in units
        if case in a.patients and case in b.patients
    )
    if other:
        yield (
            f"The patient of {other} of {len(units)} cases is not the same in both "
            "runs; that of A counts."
        )
    if a.nulls != b.nulls and (a.nulls or b.nulls):
        said = [", ".join(sorted(run.nulls)) or "none" for run in (a, b)]
        yield (
            f"Ranks among chance maps are not compared: the null is {said[0]} in A "
            f"and {said[1]} in B."
        )
    only = [
        f"{', '.join(sorted(set(run.methods) - set(rest.methods)))} only in {name}"
        for run, rest, name in ((a, b, "A"), (b, a, "B"))
        if set(run.methods) - set(rest.methods)
    ]
    if only:
        yield f"Methods that do not pair: {'; '.join(only)}."
    if all(kind == "case" for kind, _ in units.values()):
        yield (
            "No patients are known, so that everything counts cases, not patients. "
            "Cases of one patient resemble each other, and the true uncertainty is "
            "larger."
        )
    if len(set(units.values())) < 5:
        yield (
            f"{len(set(units.values()))} independent units are too few for an "
            "interval (5 are needed)."
        )
    yield from _selections(found)


def _changed_inputs(a: FinishedRun, b: FinishedRun, cases: Iterable[str]) -> int:
    count = 0
    for case in cases:
        first, second = _input(a, case), _input(b, case)
        count += first is not None and second is not None and first != second
    return count


def _input(run: FinishedRun, case: str) -> str | None:
    cases = run.facts.get("cases")
    entry = cases.get(case) if isinstance(cases, Mapping) else None
    digest = entry.get("input_sha256") if isinstance(entry, Mapping) else None
    return digest if isinstance(digest, str) else None


def _selections(found: Sequence[PairedDifference]) -> Iterator[str]:
    """Say where values of one run only make the pairs a selection."""
    for metric in CURVES:
        for preset in dict.fromkeys(d.preset for d in found if d.metric == metric):
            rows = [d for d in found if (d.metric, d.preset) == (metric, preset)]
            worst = max(rows, key=lambda d: d.n_only_a + d.n_only_b)
            if worst.n_only_a + worst.n_only_b:
                yield (
                    f"{metric.upper()} ({preset}): {worst.n_only_a} images have an "
                    f"area in A only, {worst.n_only_b} in B only and "
                    f"{worst.n_neither} in neither (counted for {worst.method}). The "
                    f"{worst.n_pairs} pairs are a selection."
                )
    for one in found:
        if one.metric == "label_probability" and one.n_pairs < one.n_images:
            yield (
                f"The probability of the label is known where the label's class was "
                f"explained: {one.n_pairs} of {one.n_images} images have it "
                "in both runs, and they are a selection. Runs with --target label "
                "have it for all."
            )
