"""``napari-medxai check RUN --require FILE``: a run against an acceptance protocol."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from .errors import MedXAIError, UsageError
from .files import write_atomically
from .validation.acceptance import Verdict, judge
from .validation.finished import FinishedRun, load_run
from .validation.listing import aligned, figure, printable
from .validation.protocol import Protocol, read_protocol

__all__ = ["main", "parser"]

MET, NOT_MET, USAGE = 0, 1, 2
HEAD = ("requirement", "of", "value", "bound", "verdict", "")
VALUE, VERDICT = 2, 4
COLOURS = {True: "\033[32m", False: "\033[31m"}
PLAIN = "\033[0m"


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    p = argparse.ArgumentParser(
        prog="napari-medxai check",
        description="Hold an output folder of the batch against an acceptance "
        "protocol, a TOML file with thresholds. What the run does not have is not "
        "met. For research use only.",
        epilog="Exit status: 0 all requirements are met, 1 some are not, 2 wrong "
        "usage: the folder is no finished run, the protocol is malformed, or --out "
        "cannot be written.",
    )
    p.add_argument("run", type=Path, metavar="RUN", help="an output folder")
    p.add_argument(
        "--require",
        type=Path,
        required=True,
        metavar="FILE",
        help="the protocol; docs/examples/acceptance.toml is one",
    )
    p.add_argument(
        "--out", type=Path, metavar="FILE", help="write the verdicts as JSON too"
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0 all requirements are met, 1 some are not, 2 wrong usage.
    """
    a = parser().parse_args(arguments)
    try:
        return _run(a)
    except MedXAIError as error:
        print(f"napari-medxai check: {error}", file=sys.stderr)
        return USAGE


def _run(a: argparse.Namespace) -> int:
    protocol = read_protocol(a.require)
    run = load_run(a.run)
    verdicts = judge(run, protocol)
    accepted = all(v.met for v in verdicts)
    if a.out is not None:
        _keep_apart(a.out, a.run, a.require)
        write_atomically(a.out, _document(run, protocol, verdicts, accepted))
    for line in _lines(protocol, verdicts):
        print(line)
    n = sum(v.met for v in verdicts)
    print("For research use only. Not for diagnosis.")
    print(
        f"{n} of {len(verdicts)} requirements met: "
        f"{'accepted' if accepted else 'NOT accepted'} by this protocol."
    )
    return MET if accepted else NOT_MET


def _keep_apart(out: Path, run: Path, protocol: Path) -> None:
    """Refuse to write over the protocol or over a file of the run.

    Raises
    ------
    UsageError
    """
    place = out.resolve()
    if place == protocol.resolve():
        raise UsageError(f"--out {out} is the protocol itself; choose another file.")
    if place.is_relative_to(run.resolve()) and place.exists():
        try:
            known = "protocol_sha256" in json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, RecursionError):
            known = False
        if not known:
            raise UsageError(
                f"--out {out} is a file of the run; choose another name, so that the "
                "run stays as it is."
            )


def _document(
    run: FinishedRun, protocol: Protocol, verdicts: Sequence[Verdict], accepted: bool
) -> bytes:
    model = run.facts.get("model")
    content = {
        "protocol": protocol.title,
        "protocol_sha256": protocol.sha256,
        "checked": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "run_started": run.facts.get("started"),
        "run_files_sha256": dict(sorted(run.hashes.items())),
        "model_sha256": model.get("sha256") if isinstance(model, dict) else None,
        "accepted": accepted,
        "n_met": sum(v.met for v in verdicts),
        "n_requirements": len(verdicts),
        "requirements": [asdict(v) for v in verdicts],
        "note": "For research use only. Not for diagnosis.",
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def _lines(protocol: Protocol, verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield printable(protocol.title)
    rows = [HEAD, *(_cells(v) for v in verdicts)]
    lines = aligned(rows, right=(VALUE,))
    yield lines[0]
    for line, verdict in zip(lines[1:], verdicts, strict=True):
        yield _coloured(line, verdict)


def _cells(verdict: Verdict) -> tuple[str, ...]:
    return (
        printable(verdict.requirement),
        printable(verdict.quantity),
        _shown(verdict.value),
        f"{verdict.sign} {_shown(verdict.bound)}",
        "met" if verdict.met else "NOT MET",
        printable(verdict.remark),
    )


def _shown(value: float | str | None) -> str:
    if isinstance(value, str):
        plain = printable(value)
        # hashes may differ at their end only
        return plain if len(plain) <= 24 else f"{plain[:10]}...{plain[-10:]}"
    return figure(value, digits=6)


def _coloured(line: str, verdict: Verdict) -> str:
    """Colour the verdict on a terminal; see https://no-color.org."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return line
    word = "met" if verdict.met else "NOT MET"
    before, _, after = line.partition(f"  {word}")
    return f"{before}  {COLOURS[verdict.met]}{word}{PLAIN}{after}"


if __name__ == "__main__":
    sys.exit(main())
