"""``napari-medxai fetch cheng``: the paper's brain slices, as published.

Nothing of a data set is shipped with the package. This downloads the archives from
where they were published, checks and unpacks them, and writes the ``labels.csv`` that
batch and training read.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .download import Resuming
from .errors import FetchError, MedXAIError, StudyError
from .files import output_errors, write_atomically
from .io import matlab
from .io.archive import extract
from .io.formats import natural_key

__all__ = ["CHENG", "DATASETS", "Archive", "Dataset", "fetch", "main", "parser"]

RECORD = "fetched.json"
IMAGES = "images"
MAX_BYTES = 4 * 2**30  # of one archive, unpacked


@dataclass(frozen=True)
class Archive:
    """A published file.

    Attributes
    ----------
    name : str
        Its name on the data set's page, under which it may also be put by hand.
    url : str
    md5 : str
        As the publisher states it; a difference is said, not refused.
    """

    name: str
    url: str
    md5: str


@dataclass(frozen=True)
class Dataset:
    """A data set and where it is published.

    Attributes
    ----------
    name, title, page, licence : str
    archives : tuple of Archive
        ``.zip`` files with one ``.mat`` file for each slice.
    folds : Archive
        The MATLAB file with the official fold of each slice.
    count : int
        How many slices there are.
    """

    name: str
    title: str
    page: str
    licence: str
    archives: tuple[Archive, ...]
    folds: Archive
    count: int


def _figshare(name: str, number: int, md5: str) -> Archive:
    return Archive(name, f"https://ndownloader.figshare.com/files/{number}", md5)


CHENG = Dataset(
    name="cheng",
    title="Cheng, J. (2017): brain tumor dataset. figshare, "
    "https://doi.org/10.6084/m9.figshare.1512427",
    page="https://figshare.com/articles/dataset/brain_tumor_dataset/1512427",
    licence="CC BY 4.0",
    archives=(
        _figshare(
            "brainTumorDataPublic_1-766.zip",
            3381290,
            "74b949ad33f042e6e103523091cd1428",
        ),
        _figshare(
            "brainTumorDataPublic_767-1532.zip",
            3381296,
            "7e8a875500d2c8a346f270538e29890e",
        ),
        _figshare(
            "brainTumorDataPublic_1533-2298.zip",
            3381293,
            "8227bf6080cb71f15a88be8d25c79ae7",
        ),
        _figshare(
            "brainTumorDataPublic_2299-3064.zip",
            3381302,
            "b378a80d6174e5317d59eb28430c6652",
        ),
    ),
    folds=_figshare("cvind.mat", 7005344, "5ea82eb3212c9fcb84290ccf0beb486d"),
    count=3064,
)
DATASETS: Mapping[str, Dataset] = {CHENG.name: CHENG}


def fetch(
    dataset: Dataset, out: Path, *, keep: bool = False, quiet: bool = False
) -> Mapping[str, int]:
    """Download, check and unpack a data set; continue where an earlier call stopped.

    Parameters
    ----------
    dataset : Dataset
    out : Path
        Gets ``images/NUMBER.mat``, ``labels.csv`` (file, label, patient, fold) and
        ``fetched.json`` with the checksum (SHA-256) of each archive, recorded when it
        was first unpacked and compared whenever it is downloaded again. An archive
        that already lies there under its published name is used.
    keep : bool
        Leave the archives there once they are unpacked.
    quiet : bool
        No progress bars.

    Returns
    -------
    mapping of str to int
        Slices by class.

    Raises
    ------
    FetchError
        Where an archive cannot be had or is not what it was.
    OutputError
        Where `out` cannot be written.
    """
    with output_errors(out):
        (out / IMAGES).mkdir(parents=True, exist_ok=True)
    record = _read_record(out)
    new = False
    for number, archive in enumerate(dataset.archives, start=1):
        if _unpacked(record.get(archive.name), out):
            continue
        label = f"{number} of {len(dataset.archives)}"
        path, sha256 = _retrieve(dataset, archive, out, record, label, quiet=quiet)
        files = _unpack(path, out)
        record[archive.name] = {"sha256": sha256, "files": files}
        _write_record(out, record)
        if not keep:
            path.unlink()
        new = True
    before = record.get(dataset.folds.name)
    folds = _folds(dataset, out, record, quiet=quiet)
    new = new or record.get(dataset.folds.name) != before
    table = out / "labels.csv"
    if new or not table.is_file():
        write_atomically(table, _labels(out, folds).encode())
    with table.open(newline="", encoding="utf-8") as file:
        return Counter(row["label"] for row in csv.DictReader(file))


def _read_record(out: Path) -> dict[str, Any]:
    path = out / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FetchError(
            f"{path}: cannot be read ({type(error).__name__}). Delete it; the archives "
            "are then downloaded again."
        ) from error
    return record if isinstance(record, dict) else {}


def _write_record(out: Path, record: Mapping[str, Any]) -> None:
    write_atomically(out / RECORD, (json.dumps(record, indent=1) + "\n").encode())


def _unpacked(entry: Any, out: Path) -> bool:
    """Whether every file of an archive lies there in its size."""
    files: Mapping[str, int] = (entry or {}).get("files", {})
    return bool(files) and all(
        (path := out / IMAGES / name).is_file() and path.stat().st_size == size
        for name, size in files.items()
    )


def _retrieve(
    dataset: Dataset,
    archive: Archive,
    out: Path,
    record: Mapping[str, Any],
    label: str,
    *,
    quiet: bool,
) -> tuple[Path, str]:
    """Have a file in `out`, and its SHA-256."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    known = record.get(archive.name, {}).get("sha256")
    part = out / f"{archive.name}.part"
    try:
        place = pooch.retrieve(
            archive.url,
            known_hash=f"sha256:{known}" if known else None,
            fname=archive.name,
            path=out,
            downloader=Resuming(part, label=label, quiet=quiet),
        )
    except FetchError as error:
        raise FetchError(
            f"{error} Run the same command again to continue. Without a connection, "
            f"download {archive.name} from {dataset.page}, put it into {out}, and run "
            "the command again."
        ) from error
    except ValueError as error:
        raise FetchError(
            f"{archive.name}: what came is not what was downloaded before; its "
            f"checksum differs from that in {out / RECORD}. See {dataset.page}; delete "
            "the record to take the new file."
        ) from error
    path = Path(place)
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    if md5.hexdigest() != archive.md5:
        print(
            f"{archive.name}: its MD5 is {md5.hexdigest()}, the publisher's was "
            f"{archive.md5}: another version, or damaged. See {dataset.page}.",
            file=sys.stderr,
        )
    return path, pooch.file_hash(path, alg="sha256")


def _unpack(path: Path, out: Path) -> dict[str, int]:
    """Unpack the slices of an archive into ``images``; names and sizes."""
    staging = out / ".unpacking"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with output_errors(out):
            staging.mkdir()
        try:
            extract(path, staging, max_bytes=MAX_BYTES)
        except StudyError as error:
            raise FetchError(f"{error} Delete {path} and run again.") from error
        slices = [one for one in staging.rglob("*.mat") if one.stem.isdecimal()]
        if not slices:
            raise FetchError(
                f"{path}: holds no slices (NUMBER.mat). Delete it and run again."
            )
        files = {one.name: one.stat().st_size for one in slices}
        with output_errors(out):
            for one in slices:
                one.replace(out / IMAGES / one.name)
        return dict(sorted(files.items(), key=lambda item: natural_key(item[0])))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _folds(
    dataset: Dataset, out: Path, record: dict[str, Any], *, quiet: bool
) -> Sequence[int]:
    """Give the official fold of each slice, by number; none where they are not had."""
    name = dataset.folds.name
    try:
        path, sha256 = _retrieve(
            dataset, dataset.folds, out, record, "folds", quiet=quiet
        )
        folds = matlab.folds(path)
    except (FetchError, StudyError) as error:
        print(f"{error} The table of labels has no folds.", file=sys.stderr)
        return ()
    if record.get(name) != {"sha256": sha256}:
        record[name] = {"sha256": sha256}
        _write_record(out, record)
    return folds


def _labels(out: Path, folds: Sequence[int]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", "patient", "fold"])
    paths = (out / IMAGES).glob("*.mat")
    for path in sorted(paths, key=lambda one: natural_key(one.name)):
        said = matlab.facts(path)
        number = int(path.stem) if path.stem.isdecimal() else 0
        fold = folds[number - 1] if 0 < number <= len(folds) else ""
        writer.writerow([path.name, said.label or "", said.patient or "", fold])
    return text.getvalue()


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    p = argparse.ArgumentParser(
        prog="napari-medxai fetch",
        description="Download a public data set. Interrupted, the same command "
        "continues where it stopped.",
    )
    p.add_argument("dataset", choices=sorted(DATASETS), help="cheng: 3064 brain slices")
    p.add_argument("--out", type=Path, help="folder to fill [brain-tumor-DATASET]")
    p.add_argument(
        "--keep", action="store_true", help="keep the archives once unpacked (0.9 GB)"
    )
    p.add_argument("--quiet", action="store_true", help="no progress bars")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = parser().parse_args(arguments)
    dataset = DATASETS[options.dataset]
    out = options.out or Path(f"brain-tumor-{dataset.name}")
    try:
        classes = fetch(dataset, out, keep=options.keep, quiet=options.quiet)
    except MedXAIError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    count = sum(classes.values())
    said = ", ".join(f"{name or 'none'} {n}" for name, n in sorted(classes.items()))
    print(f"{out}: {count} slices ({said}).\n{dataset.title}, {dataset.licence}.")
    if count != dataset.count:
        print(f"{dataset.count} were published; see {out / RECORD}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
