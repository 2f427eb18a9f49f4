"""``python -m napari_medxai.batch INPUT... --out DIR``: the headless command."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Cancelled, MedXAIError, OutputError

if TYPE_CHECKING:
    from tqdm import tqdm

    from .run import BatchStep

__all__ = ["main", "parser"]

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed} elapsed, {remaining} left"


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    p = argparse.ArgumentParser(
        prog="napari_medxai.batch",
        description="Classify studies, explain the decisions, measure the "
        "explanations, and write tables and a report. The same command continues an "
        "interrupted run. For research use only.",
        epilog="Exit status: 0 all done, 1 some case failed (the rest is complete) or "
        "the output could not be written, 2 wrong usage, 130 interrupted.",
    )
    p.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="a file, a folder (searched recursively, DICOM grouped by series), or a "
        "CSV with the columns image and optionally mask, label, patient",
    )
    p.add_argument("--out", type=Path, required=True, help="output folder")
    p.add_argument(
        "--model",
        default="brain-tumor-mri",
        help="a bundled classifier's name, a model folder, a MONAI bundle, a "
        "TorchScript file, weights with --arch, or package.module:function "
        "[%(default)s]",
    )
    p.add_argument("--arch", help="the network of a file of weights, such as resnet50")
    p.add_argument(
        "--classes",
        default="",
        metavar="NAME,NAME",
        help="the classes in the order of the outputs, where the model does not say",
    )
    p.add_argument(
        "--preprocessing",
        type=Path,
        metavar="FILE",
        help="JSON that says how images become input [model.json beside the model]",
    )
    p.add_argument(
        "--trust",
        action="store_true",
        help="load what can execute code: TorchScript, MONAI bundles, factories",
    )
    p.add_argument(
        "--methods",
        default="core",
        help="comma list of methods and groups: core (the eight and random), "
        "baselines (random, edge, center: they look at no network), all (own methods), "
        "captum:NAME, gradcam:NAME, captum:all, gradcam:all [%(default)s]",
    )
    p.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="METHOD.PARAMETER=VALUE",
        help="a method's parameter, such as smoothgrad.samples=50; repeatable. "
        "`napari-medxai methods METHOD` lists them",
    )
    p.add_argument(
        "--target",
        default="predicted",
        help="class to explain: predicted, label or a class name [%(default)s]",
    )
    p.add_argument(
        "--masks",
        default="auto",
        help="ground truth: auto (found beside the image), a folder, or none "
        "[%(default)s]",
    )
    p.add_argument(
        "--labels",
        type=Path,
        help="CSV with file, label and optionally patient [labels.csv in INPUT]",
    )
    p.add_argument(
        "--slices",
        help="of a volume under a 2-D model: mask, middle, all or A:B [mask, else "
        "middle]",
    )
    p.add_argument(
        "--pic",
        default="pair",
        help="comma list of definitions of the information curves: pair, brima2024, "
        "corrected; each with another entropy as in corrected:histogram or "
        "corrected:ms_ssim [%(default)s]",
    )
    p.add_argument(
        "--chance",
        type=int,
        default=0,
        metavar="K",
        help="chance maps for each slice and method, to test each map against chance: "
        "20 for a data set, 199 for a p-value of a single case [%(default)s]",
    )
    p.add_argument(
        "--null",
        choices=("surrogate", "random_pixels", "other_case", "random_network"),
        default="surrogate",
        help="what a chance map is: a map of the same shape placed by chance in the "
        "body, the map's values at random pixels, the method's map of another case, "
        "or of a network with randomised weights [%(default)s]",
    )
    p.add_argument(
        "--checks",
        default="none",
        help="comma list of checks that cost more passes: insertion (insertion and "
        "deletion curves), randomised (maps of networks randomised layer by layer), "
        "or none [%(default)s]",
    )
    p.add_argument(
        "--maps",
        type=Path,
        metavar="DIR",
        help="keep the saliency maps there, so that other runs on the same cases, with "
        "other presets, nulls or checks, need not compute them again",
    )
    p.add_argument(
        "--export",
        default="png",
        help="comma list: png (pictures in overlays/), nifti, dicom-pm (Parametric "
        "Map), dicom-seg, dicom-sc (Secondary Capture; these four in exports/), or "
        "none [%(default)s]",
    )
    p.add_argument(
        "--seg-percentile",
        type=float,
        default=95.0,
        metavar="P",
        help="dicom-seg holds what lies at or above this percentile of each slice's "
        "map [%(default)s]",
    )
    p.add_argument(
        "--identify",
        action="store_true",
        help="DICOM exports carry the patient and study of the images, so that a PACS "
        "files them with the patient; else a pseudonym",
    )
    p.add_argument(
        "--resample",
        action="store_true",
        help="put tilted and unevenly spaced volumes onto a regular grid",
    )
    p.add_argument("--device", default="auto", help="auto, cpu or cuda:N [%(default)s]")
    p.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="bf16 is faster on some processors and rounds more [%(default)s]",
    )
    p.add_argument(
        "--batch-size",
        default="auto",
        help="most images in one pass through the network: auto (by memory) or a "
        "number [%(default)s]",
    )
    p.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of everything random: noise, the blurred image, intervals [%(default)s]",
    )
    p.add_argument("--limit", type=int, help="first N cases only")
    p.add_argument(
        "--overwrite", action="store_true", help="start afresh instead of resuming"
    )
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument(
        "--profile", action="store_true", help="print where the time went at the end"
    )
    p.add_argument(
        "--report-cases",
        type=int,
        default=50,
        metavar="N",
        help="slices drawn in the report [%(default)s]",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0 all done, 1 some case failed or the output could not be written, 2 wrong
        usage, 130 interrupted.
    """
    a = parser().parse_args(arguments)
    try:
        return _run(a)
    except OutputError as error:
        return _fail(FAILED, f"{error} Finished cases are kept.")
    except Cancelled:
        return _interrupted()
    except MedXAIError as error:
        return _fail(USAGE, str(error))
    except KeyboardInterrupt:
        return _interrupted()


def _run(a: argparse.Namespace) -> int:
    from tqdm import tqdm

    if not a.quiet:
        print("napari-medxai: loading ...", end="\r", file=sys.stderr, flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, while they load
        from .run import BatchOptions, run

    options = BatchOptions(
        inputs=tuple(a.inputs),
        out=a.out,
        model=a.model,
        arch=a.arch,
        classes=_names(a.classes),
        preprocessing=a.preprocessing,
        trust=a.trust,
        methods=a.methods,
        target=a.target,
        masks=a.masks,
        labels=a.labels,
        slices=a.slices,
        presets=_names(a.pic),
        chance=a.chance,
        null=a.null,
        maps=a.maps,
        checks=tuple(n for n in _names(a.checks) if n != "none"),
        export=tuple(dict.fromkeys(n for n in _names(a.export) if n != "none")),
        seg_percentile=a.seg_percentile,
        identify=a.identify,
        resample=a.resample,
        device=a.device,
        precision=a.precision,
        batch_size=a.batch_size,
        assignments=tuple(a.assignments),
        seed=a.seed,
        limit=a.limit,
        overwrite=a.overwrite,
        report_cases=a.report_cases,
    )
    with tqdm(total=1.0, disable=a.quiet, bar_format=BAR, dynamic_ncols=True) as bar:
        result = run(options, progress=lambda step: _show(bar, step))
    done = result.n_cases - result.n_failed
    again = f", {result.n_resumed} of them from before" if result.n_resumed else ""
    print(f"{done} of {result.n_cases} cases complete{again}.")
    if result.n_failed:
        print(f"{result.n_failed} with errors: {result.out / 'errors.csv'}")
    for line in result.export_lines:
        print(line)
    if a.profile:
        total = sum(result.stage_seconds.values()) or 1.0
        for stage, seconds in result.stage_seconds.items():
            print(f"{stage:10} {seconds:10.1f} s {100 * seconds / total:5.1f} %")
    print(f"Report: {result.page}")
    return result.status


def _show(bar: tqdm[Any], at: BatchStep) -> None:
    bar.total = float(at.total)
    name = at.case if len(at.case) <= 28 else f"…{at.case[-27:]}"
    doing = " ".join(part for part in (at.step.stage, at.step.method) if part)
    bar.set_description_str(
        f"{at.index + 1}/{at.total} {name}: {doing}"[:60], refresh=False
    )
    bar.update(max(0.0, at.index + at.step.fraction - bar.n))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _fail(status: int, message: str) -> int:
    print(f"napari_medxai.batch: {message}", file=sys.stderr)
    return status


def _interrupted() -> int:
    return _fail(
        INTERRUPTED,
        "interrupted; finished cases are kept, the same command continues.",
    )


if __name__ == "__main__":
    sys.exit(main())
