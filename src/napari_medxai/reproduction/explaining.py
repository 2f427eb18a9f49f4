"""The maps and curves of a trained classifier, by the batch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from napari_medxai import report
from napari_medxai.errors import Cancelled, MedXAIError, OutputError
from napari_medxai.run import BatchOptions, BatchStep, run

from .classifiers import Trained, safe
from .options import ReproductionOptions

__all__ = ["EXPLAINED", "Explained", "explain"]

EXPLAINED = "explained"
BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed} elapsed, {remaining} left"
DRAWN = 12  # cases in the batch's own report


@dataclass(frozen=True, kw_only=True, eq=False)
class Explained:
    """A finished batch, or why there is none.

    Attributes
    ----------
    architecture : str
    folder : Path
        The batch's output.
    summary : report.Summary or None
    cases : tuple of report.StoredCase
    n_cases, n_failed : int
    seconds : float
        Of all cases, those of earlier parts of the run included.
    reason : str
        Why nothing was explained.
    """

    architecture: str
    folder: Path
    summary: report.Summary | None = None
    cases: tuple[report.StoredCase, ...] = ()
    n_cases: int = 0
    n_failed: int = 0
    seconds: float = 0.0
    reason: str = ""


def explain(
    options: ReproductionOptions,
    trained: Trained,
    table: Path,
    *,
    masks: str,
    quiet: bool = False,
    progress: Callable[[BatchStep], None] | None = None,
) -> Explained:
    """Explain the cases of a table by a trained classifier, or continue.

    Parameters
    ----------
    options : ReproductionOptions
    trained : Trained
    table : Path
        Cases as the batch reads them.
    masks : str
        Where to look for masks that the table does not name.
    quiet : bool
    progress : callable, optional
        May raise :class:`Cancelled`.

    Raises
    ------
    OutputError, Cancelled
        These end the run; finished cases stay.
    """
    name = trained.architecture
    out = options.out / EXPLAINED / safe(name)
    asked = BatchOptions(
        inputs=(table,),
        out=out,
        model=str(trained.folder),
        methods=options.methods,
        assignments=options.assignments,
        masks=masks,
        presets=options.presets,
        export=(),
        device=options.device,
        precision=options.precision or "fp32",
        seed=options.seed,
        report_cases=DRAWN,
    )
    if not quiet:
        print(f"Explaining with {name}", file=sys.stderr)
    try:
        with tqdm(total=1.0, disable=quiet, bar_format=BAR, dynamic_ncols=True) as bar:

            def show(at: BatchStep) -> None:
                bar.total = float(at.total)
                doing = " ".join(filter(None, (at.step.stage, at.step.method)))
                bar.set_description_str(
                    f"case {at.index + 1}/{at.total}: {doing}", refresh=False
                )
                bar.update(max(0.0, at.index + at.step.fraction - bar.n))
                if progress is not None:
                    progress(at)

            result = run(asked, progress=show)
    except (Cancelled, OutputError):
        raise
    except MedXAIError as error:
        if not quiet:
            print(f"{name} cannot be explained: {error}", file=sys.stderr)
        return Explained(architecture=name, folder=out, reason=str(error))
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    keys = [case["key"] for case in record["cases"].values()]
    return Explained(
        architecture=name,
        folder=out,
        summary=result.summary,
        cases=tuple(report.Store(out).load_all(keys)),
        n_cases=result.n_cases,
        n_failed=result.n_failed,
        seconds=sum(result.stage_seconds.values()),
    )
