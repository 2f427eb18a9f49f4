"""``napari-medxai compare RUN_A RUN_B``: two runs on the same cases, paired."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import MedXAIError, OutputError, UsageError
from .validation.differing import differing
from .validation.finished import FinishedRun, load_run
from .validation.listing import aligned, figure, printable

if TYPE_CHECKING:
    from .validation.pairing import PairedDifference, Pairing

__all__ = ["main", "parser"]

DONE, UNWRITTEN, USAGE = 0, 1, 2
LISTED = 10  # cases of one run only that the screen names
HEAD = ("metric", "preset", "method", "A", "B", "B - A", "95 % interval", "p")
COUNTS = ("p Holm", "pairs", "A only", "B only", "neither")
TEXT_COLUMNS = 3


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    p = argparse.ArgumentParser(
        prog="napari-medxai compare",
        description="Compare two output folders of the batch on the cases that both "
        "have: two models, or two settings. Every difference is B minus A, averaged "
        "by patient. For research use only.",
        epilog="Exit status: 0 done, 1 the output could not be written, 2 wrong usage "
        "(a folder is no finished run, or nothing pairs).",
    )
    p.add_argument("run_a", type=Path, metavar="RUN_A", help="an output folder")
    p.add_argument("run_b", type=Path, metavar="RUN_B", help="another one")
    p.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for compare.csv and compare.html [RUN_B/compare-with-NAME, NAME "
        "being that of RUN_A's folder]",
    )
    p.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of permutations and intervals [%(default)s]",
    )
    p.add_argument(
        "--all",
        action="store_true",
        help="print every difference, not only those that say something",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0 done, 1 the output could not be written, 2 wrong usage.
    """
    a = parser().parse_args(arguments)
    try:
        return _run(a)
    except OutputError as error:
        return _fail(UNWRITTEN, str(error))
    except MedXAIError as error:
        return _fail(USAGE, str(error))


def _run(a: argparse.Namespace) -> int:
    if a.seed < 0:
        raise UsageError(f"seed {a.seed} is negative; 0 or more is needed.")
    if a.run_a.resolve() == a.run_b.resolve():
        raise UsageError("RUN_A and RUN_B are the same folder.")
    first, second = load_run(a.run_a), load_run(a.run_b)
    # matplotlib and the report are loaded once the folders are known to be runs
    from tqdm import tqdm

    from .files import write_atomically
    from .report.naming import safe_name
    from .validation.page import comparison_csv, head_of, render_comparison
    from .validation.pairing import pair_runs

    with tqdm(desc="comparing", disable=None, leave=False) as bar:  # on a terminal

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        pairing = pair_runs(first, second, seed=a.seed, progress=tell)
    settings = differing(first.facts, second.facts)
    heads = (head_of(first, "A"), head_of(second, "B"))
    out = a.out or a.run_b / f"compare-with-{safe_name(a.run_a.resolve().name)}"
    labels = {**_labels(second), **_labels(first)}
    html = render_comparison(pairing, heads, settings, labels=labels, seed=a.seed)
    write_atomically(out / "compare.csv", comparison_csv(pairing).encode())
    write_atomically(out / "compare.html", html.encode())
    for head in heads:
        name = f"{head.name}: " if head.name else ""
        print(
            printable(
                f"{head.letter}: {name}{head.model or '-'}, "
                f"{_count(head.n_cases, 'case')}, {_count(head.n_images, 'image')}, "
                f"{head.n_failed} with errors"
            )
        )
    print()
    print("What differs in the settings (A, B):" if settings else "Same settings.")
    if settings:
        rows = [[printable(t, 46) for t in (s.name, s.a, s.b)] for s in settings]
        for line in aligned(rows):
            print(f"  {line}")
    print()
    for line in _pairs(pairing):
        print(line)
    print()
    for line in _table(pairing, every=a.all):
        print(line)
    print(f"Page: {out / 'compare.html'}")
    print("For research use only. Not for diagnosis.")
    return DONE


def _labels(run: FinishedRun) -> Mapping[str, str]:
    methods = run.facts.get("methods")
    return {
        str(m["name"]): str(m["label"])
        for m in (methods if isinstance(methods, list) else [])
        if isinstance(m, dict) and "name" in m and "label" in m
    }


def _pairs(pairing: Pairing) -> Iterator[str]:
    yield (
        f"Pairs: {_count(pairing.n_images, 'image')} of "
        f"{_count(pairing.n_cases, 'case')} ({pairing.n_units} {pairing.unit}), "
        f"{_count(pairing.n_rows, 'row')}."
    )
    for letter, cases, more in (
        ("A", pairing.only_a, pairing.images_only_a),
        ("B", pairing.only_b, pairing.images_only_b),
    ):
        if more:
            yield f"Only in {letter}: {_count(more, 'further slice')} of these cases."
        if cases:
            yield f"Only in {letter}: {_count(len(cases), 'case')}."
            yield from (f"  {printable(case)}" for case in cases[:LISTED])
            if len(cases) > LISTED:
                yield f"  and {len(cases) - LISTED} more"
    for sentence in pairing.cautions:
        yield f"Note: {printable(sentence)}"


def _table(pairing: Pairing, *, every: bool) -> Iterator[str]:
    chosen = [d for d in pairing.differences if every or d.noteworthy]
    if chosen:
        yield "B - A, averaged by patient; * p <= 0.05 after Holm over the methods."
        rows = [[*HEAD, *COUNTS], *(_cells(d) for d in chosen)]
        yield from aligned(rows, right=range(TEXT_COLUMNS, len(rows[0])))
    left = len(pairing.differences) - len(chosen)
    if left:
        yield (
            f"{_count(left, 'further difference')} not told from zero; --all prints "
            "them."
        )


def _cells(one: PairedDifference) -> list[str]:
    interval = "-"
    if one.ci_low == one.ci_low:
        interval = f"[{one.ci_low:+.4f}, {one.ci_high:+.4f}]"
    known = one.difference == one.difference
    return [
        printable(one.metric),
        printable(one.preset) or "-",
        printable(one.method) or "-",
        figure(one.mean_a),
        figure(one.mean_b),
        f"{one.difference:+.4f}" if known else "-",
        interval,
        figure(one.p_value, digits=2),
        figure(one.p_adjusted, digits=2) + ("*" if one.told_apart else ""),
        str(one.n_pairs),
        str(one.n_only_a),
        str(one.n_only_b),
        str(one.n_neither),
    ]


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _fail(status: int, message: str) -> int:
    print(f"napari-medxai compare: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
