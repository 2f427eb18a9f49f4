"""A finished run as its output folder tells it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from napari_medxai.errors import UsageError

from .tables import AGAIN, number, read_object, read_table

__all__ = [
    "CURVES",
    "LOCALIZATION",
    "FinishedRun",
    "Image",
    "ImageFacts",
    "Quantity",
    "load_run",
]

CURVES = ("aic", "sic")
LOCALIZATION = (
    "pointing_hit",
    "relevance_mass",
    "relevance_rank",
    "iou_mask_area",
    "average_precision",
    "peak_distance_mm",
)
KEY = ("case", "slice", "method", "preset")
# Verdicts on whole volumes: the rank in numbers of chance maps, and that number. The
# ranks of their slices stand in results.csv.
OF_VOLUMES = ("_chance_rank", "_chance_n")

Image: TypeAlias = tuple[str, str]
"""Case, and slice ("" for an image)."""


class Quantity(NamedTuple):
    """What a number measures.

    Attributes
    ----------
    metric : str
    preset : str
        "" where the number does not depend on it.
    method : str
        "" where it belongs to the classifier.
    """

    metric: str
    preset: str
    method: str


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What the classifier made of an image."""

    label: str
    predicted: str
    target: str
    correct: bool | None

    @property
    def stratum(self) -> str:
        """The class it counts for: its label, else the class explained."""
        return self.label or self.target


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """The tables of one output folder.

    Attributes
    ----------
    folder : Path
    facts : mapping
        ``run.json``.
    images : mapping of Image to ImageFacts
    rows : frozenset of (Image, method, preset)
        The rows of ``results.csv``.
    failures : frozenset of (Image, method, preset)
        Those on which the method could not run.
    values : mapping of Quantity to mapping of Image to float
        NaN where an image was excluded, or the method failed on it; no entry where
        nothing was measured. Chance ranks are shares of the chance maps, 0 to 1.
    patients : mapping of str to str
        Patient by case; only cases that have one.
    nulls : frozenset of str
        Kinds of chance maps.
    errors : mapping of str to str
        Stage and error by case, of ``errors.csv``.
    summary : tuple of mapping or None
        Lines of ``summary.csv``; None where there is no such file.
    hashes : mapping of str to str
        SHA-256 of each file read.
    """

    folder: Path
    facts: Mapping[str, Any]
    images: Mapping[Image, ImageFacts]
    rows: frozenset[tuple[Image, str, str]]
    failures: frozenset[tuple[Image, str, str]]
    values: Mapping[Quantity, Mapping[Image, float]] = field(repr=False)
    patients: Mapping[str, str]
    nulls: frozenset[str]
    errors: Mapping[str, str]
    summary: tuple[Mapping[str, str], ...] | None
    hashes: Mapping[str, str]

    @property
    def cases(self) -> set[str]:
        """Cases with at least one row."""
        return {case for case, _ in self.images}

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods in the order of ``run.json``, then of their names."""
        said = self.facts.get("methods")
        order = [str(m.get("name", "")) for m in _list(said) if isinstance(m, Mapping)]
        found = {method for _, method, _ in self.rows}
        return tuple(dict.fromkeys([*(m for m in order if m in found), *sorted(found)]))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def load_run(folder: Path) -> FinishedRun:
    """Read an output folder of the batch.

    Parameters
    ----------
    folder : Path
        With ``run.json`` and ``results.csv``; ``measures.csv``, ``summary.csv`` and
        ``errors.csv`` are read where they are. Columns that an older version did not
        write count as empty.

    Returns
    -------
    FinishedRun

    Raises
    ------
    UsageError
        If the folder is no finished run, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise UsageError(f"'{folder}' is no folder; give the --out of a batch.")
    for name in ("run.json", "results.csv"):
        if not (folder / name).is_file():
            raise UsageError(
                f"'{folder}' is no finished run: it has no {name}. Give the --out of "
                "a batch; an interrupted one is finished by the same command."
            )
    facts, digest = read_object(folder / "run.json")
    collected = _Collected(hashes={"run.json": digest})
    collected.results(folder / "results.csv")
    if (folder / "measures.csv").is_file():
        collected.measures(folder / "measures.csv")
    return FinishedRun(
        folder=folder,
        facts=facts,
        images=collected.images,
        rows=frozenset(collected.rows),
        failures=frozenset(collected.failures),
        values=collected.values,
        patients=collected.patients,
        nulls=frozenset(collected.nulls),
        errors=collected.errors(folder / "errors.csv"),
        summary=collected.summary(folder / "summary.csv"),
        hashes=collected.hashes,
    )


@dataclass
class _Collected:
    """What is known while the tables are read."""

    hashes: dict[str, str]
    images: dict[Image, ImageFacts] = field(default_factory=dict)
    rows: set[tuple[Image, str, str]] = field(default_factory=set)
    failures: set[tuple[Image, str, str]] = field(default_factory=set)
    values: dict[Quantity, dict[Image, float]] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    nulls: set[str] = field(default_factory=set)
    masked: set[Image] = field(default_factory=set)

    def put(
        self, metric: str, preset: str, method: str, image: Image, value: float
    ) -> None:
        of = self.values.setdefault(Quantity(metric, preset, method), {})
        of.setdefault(image, value)

    def results(self, path: Path) -> None:
        table = read_table(path, (*KEY, "status"))
        self.hashes[path.name] = table.source.sha256
        for line, row in table.rows():
            image = (row["case"], row["slice"])
            key = (image, row["method"], row["preset"])
            if key in self.rows:
                raise UsageError(
                    f"{path}, line {line}: the row of {', '.join(filter(None, key[0]))}"
                    f", {key[1]}, {key[2]} is there twice; {AGAIN}"
                )
            self.rows.add(key)
            if row.get("patient"):
                self.patients.setdefault(row["case"], row["patient"])
            if image not in self.images:
                self._classifier(image, row, path, line)
            if row["status"] == "ok":
                self._measured(image, row, path, line)
            else:
                self.failures.add(key)
        for image, method, preset in self.failures:
            for metric in CURVES:
                self.put(metric, preset, method, image, math.nan)
            for metric in LOCALIZATION if image in self.masked else ():
                self.put(metric, "", method, image, math.nan)

    def _classifier(
        self, image: Image, row: Mapping[str, str], path: Path, line: int
    ) -> None:
        said = row.get("correct", "")
        if said not in ("", "true", "false"):
            raise UsageError(
                f"{path}, line {line}: '{said[:40]}' under correct is neither true "
                f"nor false; {AGAIN}"
            )
        facts = ImageFacts(
            label=row.get("label", ""),
            predicted=row.get("predicted_class", ""),
            target=row.get("target_class", ""),
            correct=None if said == "" else said == "true",
        )
        self.images[image] = facts
        if facts.correct is not None:
            self.put("correct", "", "", image, float(facts.correct))
            known = facts.target == facts.label
            probability = number(row, "probability", path, line)
            self.put(
                "label_probability", "", "", image, probability if known else math.nan
            )

    def _measured(
        self, image: Image, row: Mapping[str, str], path: Path, line: int
    ) -> None:
        method, preset = row["method"], row["preset"]
        count = number(row, "chance_n", path, line)
        if row.get("null"):
            self.nulls.add(row["null"])
        for metric in CURVES:
            area = number(row, f"{metric}_auc", path, line)
            excluded = row.get(f"{metric}_excluded", "")
            if not excluded and math.isnan(area):
                continue
            self.put(metric, preset, method, image, area)
            # exclusions depend on image and network, not on the map
            self.put(f"{metric}_excluded", preset, "", image, float(bool(excluded)))
            rank = number(row, f"{metric}_chance_rank", path, line)
            if count > 0 and not math.isnan(rank):
                self.put(f"{metric}_chance_rank", preset, method, image, rank / count)
        if any(row.get(metric) for metric in LOCALIZATION):
            self.masked.add(image)
            for metric in LOCALIZATION:
                if metric in row:
                    value = number(row, metric, path, line)
                    self.put(metric, "", method, image, value)

    def measures(self, path: Path) -> None:
        table = read_table(path, (*KEY, "metric", "value"))
        self.hashes[path.name] = table.source.sha256
        for line, row in table.rows():
            metric = row["metric"]
            if metric.endswith(OF_VOLUMES):
                continue
            image = (row["case"], row["slice"])
            value = number(row, "value", path, line)
            quantity = Quantity(metric, row["preset"], row["method"])
            of = self.values.setdefault(quantity, {})
            if image in of:
                raise UsageError(
                    f"{path}, line {line}: {metric} of {', '.join(filter(None, image))}"
                    f", {row['method']} is there twice; {AGAIN}"
                )
            of[image] = value

    def errors(self, path: Path) -> dict[str, str]:
        if not path.is_file():
            return {}
        table = read_table(path, ("case", "stage", "error"))
        self.hashes[path.name] = table.source.sha256
        found: dict[str, str] = {}
        for _, row in table.rows():
            found.setdefault(row["case"], f"{row['stage']}: {row['error']}")
        return found

    def summary(self, path: Path) -> tuple[Mapping[str, str], ...] | None:
        if not path.is_file():
            return None
        table = read_table(
            path, ("method", "metric", "preset", "aggregation", "class", "n", "value")
        )
        self.hashes[path.name] = table.source.sha256
        return tuple(row for _, row in table.rows())
