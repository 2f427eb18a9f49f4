"""Every DICOM file at hand: what opens, equal to an independent decode, and what not.

A file must open if pydicom or SimpleITK decodes its pixels. The files are those that
pydicom carries and those of the shared data. Run as a program with ``--write``, it
renews the table in docs/dicom-files.md, which the tests compare with.
"""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array

from napari_medxai import load_study, series
from napari_medxai.errors import StudyError
from napari_medxai.io.dicom_access import quiet

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "dicom-files.md"
MARK = "<!-- The table below is written by tests/test_io_dicom_catalogue.py -->"
HEAD = ("file", "transfer syntax", "photometric", "frames x rows x columns", "result")
# What lies beside the DICOM files.
OTHER = {".dump", ".gz", ".icc", ".jpeg", ".json", ".md", ".nii", ".txt"}
OTHER_NAMES = {"LICENSE", "README"}
LOSSLESS = {"RLE", "JLSL", "JPLL", "J2KR"}


@dataclass(frozen=True)
class Entry:
    """A row of the table, and what went against the rule."""

    row: tuple[str, ...]
    problem: str


def carried() -> dict[str, Path]:
    """What the installed pydicom brings along, charset and palette files too."""
    folder = Path(pydicom.data.__file__).parent
    return {
        f"pydicom:{name}": path
        for part in ("test_files", "charset_files", "palettes")
        for name, path in within(folder / part).items()
    }


def within(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix not in OTHER
        and path.name not in OTHER_NAMES
        and "__pycache__" not in path.parts
    }


def header(path: Path) -> Dataset:
    with quiet():
        return pydicom.dcmread(path, force=True)


def by_pydicom(dataset: Dataset) -> np.ndarray[Any, Any]:
    """Frames in units or colours, MONOCHROME1 inverted: one frame after another."""
    stored = pixel_array(dataset)
    colour = dataset.SamplesPerPixel > 1
    if stored.ndim == (3 if colour else 2):
        stored = stored[np.newaxis]
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        table = apply_color_lut(stored, dataset)
        return table >> 8 if table.dtype == np.uint16 else table
    if colour:
        return stored
    frames = []
    for number, frame in enumerate(stored):
        values = frame.astype(np.int64) if frame.dtype.kind in "iu" else frame
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            signed = dataset.PixelRepresentation == 1
            values = (-1 if signed else 2**dataset.BitsStored - 1) - values
        frames.append(apply_modality_lut(values, holder(dataset, number)))
    return np.stack(frames)


def holder(dataset: Dataset, frame: int) -> Dataset:
    """Where the rescale of a frame stands."""
    for groups, index in (
        ("PerFrameFunctionalGroupsSequence", frame),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        if dataset.get(groups):
            item = dataset[groups].value[index]
            if item.get("PixelValueTransformationSequence"):
                return item.PixelValueTransformationSequence[0]
    return dataset


def by_simpleitk(path: Path, dataset: Dataset) -> np.ndarray[Any, Any]:
    """SimpleITK rescales and inverts by itself, one-bit pixels it spreads to 255."""
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    array = SimpleITK.GetArrayFromImage(reader.Execute())
    return array // 255 if dataset.get("BitsAllocated") == 1 else array


def independent(path: Path, dataset: Dataset) -> np.ndarray[Any, Any] | None:
    with quiet():
        try:
            return by_pydicom(dataset)
        except Exception:  # noqa: BLE001 - any failure means: not decoded
            pass
        try:
            return by_simpleitk(path, dataset)
        except Exception:  # noqa: BLE001
            return None


def tiles(mosaic: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    rows, columns = mosaic.shape[0] // shape[1], mosaic.shape[1] // shape[2]
    cut = mosaic.reshape(rows, shape[1], columns, shape[2]).swapaxes(1, 2)
    return cut.reshape(-1, *shape[1:])


def examine(name: str, path: Path) -> Entry:
    """Open a file as a user does, and compare."""
    dataset = header(path)
    expected = independent(path, dataset)
    try:
        found = series(path)
        if {file for one in found for file in one.files} != {path}:
            return Entry(row(name, dataset, f"lists {len(found)} series"), "")
        studies = [load_study(path, series=one.key) for one in found]
    except StudyError as error:
        text = str(error)
        problem = (
            "" if expected is None else f"refused though it can be decoded: {text}"
        )
        if path.name not in text:
            problem = f"the reason does not name the file: {text}"
        return Entry(row(name, dataset, f"refused: {short(text, path)}"), problem)
    except Exception as error:  # noqa: BLE001 - no other may come out
        return Entry(row(name, dataset, "failed"), f"{type(error).__name__}: {error}")
    decoder = "pydicom"
    if any("GDCM" in note for study in studies for note in study.notes):
        decoder = "GDCM"
    problem = "opens without an independent decode to compare with"
    if expected is not None:
        problem = differs(studies, expected)
    return Entry(row(name, dataset, f"opens ({decoder})"), problem)


def differs(studies: list[Any], expected: np.ndarray[Any, Any]) -> str:
    """Compare each frame; every frame must be in one of the studies."""
    seen: set[int] = set()
    for study in studies:
        array = study.array if study.is_volume else study.array[np.newaxis]
        if study.metadata.get("mosaic"):
            cut = tiles(expected[0], array.shape)
            found = [
                [n for n, tile in enumerate(cut) if np.array_equal(tile, one)]
                for one in array
            ]
            if not all(found) or len({n[0] for n in found}) != len(array):
                return "a slice is no tile of the mosaic"
            seen.add(0)
            continue
        indices = list(study.metadata["frame_indices"])
        seen |= set(indices)
        wanted = expected[indices]
        if array.shape != wanted.shape:
            return f"has shape {array.shape}, not {wanted.shape}"
        if not np.array_equal(array, wanted):
            error = np.abs(array.astype(float) - wanted.astype(float)).max()
            return f"differs by up to {error:g}"
    if seen != set(range(len(expected))):
        return f"holds {len(seen)} of {len(expected)} frames"
    return ""


def row(name: str, dataset: Dataset, result: str) -> tuple[str, ...]:
    meta = getattr(dataset, "file_meta", None) or {}
    syntax = meta.get("TransferSyntaxUID")
    shape = ""
    if dataset.get("Rows"):
        with quiet():
            try:
                frames = int(dataset.get("NumberOfFrames") or 1)
            except ValueError:
                frames = 1
        shape = f"{frames} x {dataset.Rows} x {dataset.Columns}"
    said = (
        re.sub(
            r" \(Process.*|, Non-Hier.*| Image Compression| \(Lossless Only\)",
            "",
            syntax.name,
        )
        if syntax
        else "none"
    )
    if syntax and "Lossless Only" in syntax.name:
        said += " Lossless"
    return (
        name,
        said,
        str(dataset.get("PhotometricInterpretation") or ""),
        shape,
        result,
    )


def short(text: str, path: Path) -> str:
    """The reason without the file's name and what libraries say in brackets."""
    text = text.removeprefix(f"{path.name}: ")
    while text != (bare := re.sub(r" ?\([^()]*\)", "", text)):
        text = bare
    return " ".join(text.split()).replace("|", "/")


def table(entries: list[Entry]) -> list[str]:
    lines = [HEAD, ("---",) * len(HEAD)]
    lines += [(f"`{e.row[0]}`", *e.row[1:]) for e in entries]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def recorded() -> dict[str, str]:
    """The rows of the page by file."""
    lines = PAGE.read_text(encoding="utf-8").split(MARK)[1].splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    return {line.split("`")[1]: line for line in rows}


def check(files: dict[str, Path], share: float, mine: Any) -> None:
    entries = [examine(name, path) for name, path in files.items()]
    lines = table(entries)
    print("\n".join(lines))
    wrong = [f"{e.row[0]}: {e.problem}" for e in entries if e.problem]
    assert not wrong, "\n".join(wrong)
    kept = {name: line for name, line in recorded().items() if mine(name)}
    made = {e.row[0]: line for e, line in zip(entries, lines[2:], strict=True)}
    common = made.keys() & kept.keys()
    assert len(common) >= share * len(kept) > 0
    stale = [f"{kept[n]}\n  is now {made[n]}" for n in common if kept[n] != made[n]]
    renew = "renew the page: python tests/test_io_dicom_catalogue.py --write\n"
    assert not stale, renew + "\n".join(stale)
    # Nobody's name stands in it.
    for path in files.values():
        parts = re.split(r"[\^= ]+", str(header(path).get("PatientName") or ""))
        for part in parts:
            assert len(part) < 5 or part not in "\n".join(lines), part


def test_files_that_pydicom_carries() -> None:
    """Another version may carry some others; half of those known must be there."""
    check(carried(), 0.5, lambda name: name.startswith("pydicom:"))


def test_files_of_the_shared_data(shared_data) -> None:
    files = within(shared_data / "dicom")
    check(files, 1.0, lambda name: not name.startswith("pydicom:"))


def near(path: Path) -> int:
    """How far a JPEG-LS stream may be off: NEAR of its start of scan (T.87 C.2.3)."""
    raw = pydicom.dcmread(path).PixelData
    start = raw.index(b"\xff\xda")
    components = raw[start + 4]
    return raw[start + 5 + 2 * components]


def test_codecs_against_the_uncompressed_reference(shared_data) -> None:
    """Lossless: equal. Near-lossless: by NEAR at most. Lossy: 35 dB at least."""
    folder = shared_data / "dicom" / "wg04-codecs"
    checked = dict.fromkeys([*LOSSLESS, "JLSN", "JPLY", "J2KI"], 0)
    references = {p.name.split("_")[0]: p for p in (folder / "REF").iterdir()}
    references["RG3"] = folder.parent / "pydicom-data" / "RG3_J2KR.dcm"
    for path in sorted(folder.glob("*/*_*")):
        codec, name = path.parent.name, path.name.split("_")[0]
        if codec == "REF" or name not in references:
            continue
        checked[codec] += 1
        expected = load_study(references[name], masks="none").array.astype(float)
        found = load_study(path, masks="none").array.astype(float)
        if codec in LOSSLESS:
            np.testing.assert_array_equal(found, expected, err_msg=str(path))
            continue
        error = found - expected
        if codec == "JLSN":
            slope = float(header(path).get("RescaleSlope") or 1)
            assert 0 < near(path) < 20
            assert np.abs(error).max() <= near(path) * slope * (1 + 1e-9), path.name
        else:
            noise = math.sqrt(np.mean(error**2))
            assert 20 * math.log10(np.ptp(expected) / noise) > 35, path.name
    assert checked == {
        "RLE": 4, "JLSL": 4, "JPLL": 4, "J2KR": 4, "JLSN": 5, "JPLY": 3, "J2KI": 5,
    }  # fmt: skip


def write() -> None:
    """Renew the table in the page."""
    shared = Path(os.environ.get("MEDXAI_SHARED_DATA", ROOT.parent / "shared" / "data"))
    files = {**within(shared / "dicom"), **carried()}
    assert any(not name.startswith("pydicom:") for name in files), "no shared data"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDXAI_CONFIG_DIR"] = folder
        entries = [examine(name, path) for name, path in files.items()]
    before = PAGE.read_text(encoding="utf-8").split(MARK)[0]
    text = "\n".join([before + MARK, "", *table(entries), ""])
    PAGE.write_text(text, encoding="utf-8")
    for entry in entries:
        if entry.problem:
            print(f"{entry.row[0]}: {entry.problem}")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_io_dicom_catalogue.py --write")
    write()
