"""The paper's question on real slices: which method holds, and against which chance.

Usage: ``python benchmarks/brain_study.py FOLDER --out DIR``, with the folder
``../shared/data/brain-tumor-mri`` and for example ``runs/fold4``.
Runs the batch on fold 4 (the classifier's selection set): the eight methods, ``random``
and the controls under three presets; then, on slices drawn by class and seed, every
null: the paper's comparison (`random_pixels`) and `surrogate` under the three presets,
the two others under `corrected`. Prints Markdown for ``docs/results.md``. What was
finished is not done again, so that the command can be stopped and given again.

Guided IG takes the settings of its authors' notebook, which are the paper's (25 steps,
fraction 0.5, distance 1).
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from napari_medxai.run import BatchOptions, BatchResult, BatchStep, run

PRESETS = ("pair", "brima2024", "corrected")
METHODS = "core,edge,center"
# In a network of random weights all 1280 last channels are alive: Score-CAM then asks
# the network 1280 times for each of its maps.
LEFT_OUT = {"random_network": "score_cam"}
GUIDED = ("guided_ig.steps=25", "guided_ig.fraction=0.5", "guided_ig.max_dist=1.0")
NULLS = {
    "surrogate": PRESETS,
    "random_pixels": PRESETS,
    "other_case": PRESETS[2:],
    "random_network": PRESETS[2:],
}
PLACES = ("pointing_hit", "relevance_mass", "iou_mask_area")


def cases(folder: Path, fold: str) -> list[dict[str, str]]:
    """Slices of a fold with mask and label, in the order of the table."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == fold]
    return [
        {
            "image": str((folder / "images" / row["file"]).resolve()),
            "mask": str((folder / "masks" / row["file"]).resolve()),
            "label": row["label"],
        }
        for row in rows
    ]


def drawn(rows: Sequence[dict[str, str]], each: int, seed: int) -> list[dict[str, str]]:
    """As many slices of every class, drawn by seed."""
    rng = np.random.default_rng(seed)
    found = []
    for label in sorted({row["label"] for row in rows}):
        own = [row for row in rows if row["label"] == label]
        found += [own[i] for i in sorted(rng.choice(len(own), each, replace=False))]
    return found


def write(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    """Write the cases as a table for the batch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("image", "mask", "label"))
        writer.writeheader()
        writer.writerows(rows)
    return path


def batch(
    table: Path,
    out: Path,
    methods: str,
    presets: tuple[str, ...] = PRESETS,
    **changes: object,
) -> BatchResult:
    """Run the batch with a bar."""
    options = BatchOptions(
        inputs=(table,),
        out=out,
        methods=methods,
        assignments=GUIDED,
        presets=presets,
        export=(),
        maps=table.parent / "maps",
        **changes,  # type: ignore[arg-type]
    )
    with tqdm(desc=out.name, total=1.0, bar_format="{desc} {percentage:5.1f}%") as bar:

        def show(at: BatchStep) -> None:
            bar.total = float(at.total)
            bar.update(max(0.0, at.index + at.step.fraction - bar.n))

        return run(options, progress=show)


def lines(out: Path) -> dict[tuple[str, str, str, str], dict[str, str]]:
    """Lines of ``summary.csv`` over all classes."""
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {
            (r["method"], r["metric"], r["preset"], r["aggregation"]): r
            for r in csv.DictReader(file)
            if r["class"] == "all"
        }


def cell(line: dict[str, str] | None) -> str:
    """Value and interval."""
    if line is None or not line["value"]:
        return "–"
    text = f"{float(line['value']):.3f}"
    if line["ci_low"]:
        text += f" [{float(line['ci_low']):.2f}, {float(line['ci_high']):.2f}]"
    return text


def print_areas(out: Path, methods: Sequence[str]) -> None:
    """Areas of the median curves by preset, and localisation."""
    found = lines(out)
    heads = [f"{m.upper()} {p}" for p in PRESETS for m in ("sic", "aic")]
    print(f"| method | {' | '.join(heads)} | {' | '.join(PLACES)} |")
    print("|---" * (1 + len(heads) + len(PLACES)) + "|")
    for method in methods:
        areas = [
            cell(found.get((method, metric, preset, "median_curve")))
            for preset in PRESETS
            for metric in ("sic", "aic")
        ]
        places = [cell(found.get((method, name, "", "mean"))) for name in PLACES]
        print(f"| {method} | {' | '.join([*areas, *places])} |")
    some = found[methods[0], "aic", "pair", "median_curve"]
    print(f"\nAIC under `pair` leaves out {some['n_excluded']} slices.\n")


def print_chance(out: Path, methods: Sequence[str], null: str, preset: str) -> None:
    """Share of chance maps below, with its interval and corrected p-value."""
    found = lines(out)
    print(f"| against `{null}` | SIC share below | p (Holm) | AIC share below | p |")
    print("|---|---|---|---|---|")
    for method in methods:
        cells = []
        for metric in ("sic", "aic"):
            rank = found.get((method, f"{metric}_chance_rank", preset, "mean"))
            curve = found.get((method, metric, preset, "median_curve"))
            p = curve["p_adjusted"] if curve else ""
            cells += [cell(rank), f"{float(p):.3f}" if p else "–"]
        print(f"| {method} | {' | '.join(cells)} |")
    print()


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", default="4")
    parser.add_argument("--limit", type=int, help="first slices only, to try it")
    parser.add_argument("--each", type=int, default=8, help="of a class, for chance")
    parser.add_argument("--chance", type=int, default=20)
    parser.add_argument("--nulls", default=",".join(NULLS))
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = cases(a.folder, a.fold)
    table = write(a.out / "fold.csv", rows[: a.limit])
    part = write(a.out / "drawn.csv", drawn(rows, a.each, 0))
    batch(table, a.out / "all", METHODS)
    with (a.out / "all" / "results.csv").open(encoding="utf-8", newline="") as file:
        methods = list(dict.fromkeys(r["method"] for r in csv.DictReader(file)))
    print(f"{len(rows[: a.limit])} slices of fold {a.fold}, median curves:\n")
    print_areas(a.out / "all", methods)
    for null in filter(None, a.nulls.split(",")):
        out = a.out / null
        asked = [m for m in methods if m != LEFT_OUT.get(null)]
        presets = NULLS[null]
        batch(part, out, ",".join(asked), presets, chance=a.chance, null=null)
        for preset in presets:
            print(f"{a.each} slices of each class, {a.chance} chance maps, `{preset}`:")
            print()
            print_chance(out, asked, null, preset)


if __name__ == "__main__":
    main()
