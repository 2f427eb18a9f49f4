"""Time opening a DICOM series against SimpleITK's own series reader.

Usage: ``python benchmarks/reading.py [--slices N] [--size N] [--repeat N]``. Prints
Markdown. The series is written into a temporary folder, its files in shuffled order.
Both readers take turns, so that whatever else the machine does meets both; compare
within one run only. ``open`` is all that `load_study` does: scanning the folder,
grouping, sorting, checks, decoding, and looking for masks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

import napari_medxai as mx

SYNTAXES = {
    "uncompressed": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
}
LIMIT = 1.5


def write_series(folder: Path, slices: int, size: int, syntax: str) -> None:
    """Write a CT series of smooth noise, with a header of the usual length."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    body = 900 * np.exp(-((rows - size / 2) ** 2 + (columns - size / 2) ** 2) / size**2)
    pictures = [
        (body + rng.normal(0, 12, (size, size))).astype(np.int16) for _ in range(8)
    ]
    study, series, frame = (generate_uid(entropy_srcs=[w]) for w in ("a", "b", "c"))
    for k, name in enumerate(rng.permutation(slices)):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["d", str(k)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.FrameOfReferenceUID = frame
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20260101"
        ds.StudyTime = ds.SeriesTime = "120000"
        ds.AcquisitionTime = ds.ContentTime = f"1200{k % 60:02d}.{k:06d}"
        ds.Modality, ds.Manufacturer = "CT", "simulated"
        ds.SeriesDescription, ds.StudyDescription = "simulated", "simulated"
        ds.PatientName, ds.PatientID = "Simulated", "0"
        ds.PatientPosition, ds.BodyPartExamined = "HFS", "HEAD"
        ds.KVP, ds.ExposureTime, ds.XRayTubeCurrent = 120, 500, 200
        ds.ConvolutionKernel, ds.DataCollectionDiameter = "H30s", 500
        ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 2, 1, k + 1
        ds.SliceThickness, ds.SliceLocation = 1.0, float(k)
        ds.ImagePositionPatient = [-120.0, -120.0, float(k)]
        ds.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        ds.PixelSpacing = [0.5, 0.5]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows = ds.Columns = size
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.WindowCenter, ds.WindowWidth = 40, 400
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -24, "HU"
        ds.PixelData = pictures[k % 8].tobytes()
        if syntax != "uncompressed":
            ds.compress(SYNTAXES[syntax], generate_instance_uid=False)
        ds.save_as(folder / f"IM{name:04d}.dcm", enforce_file_format=True)


def by_simpleitk(folder: Path) -> sitk.Image:
    """Read a series as SimpleITK's users do."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def taking_turns(
    works: dict[str, Callable[[], object]], repeat: int
) -> dict[str, list[float]]:
    """Run each work in turn, once to warm up and then `repeat` times, in seconds."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeat + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - start)
    return times


def compare(slices: int, size: int, repeat: int, syntax: str) -> float:
    """Print a line of the table; return the ratio of the medians."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_series(folder, slices, size, syntax)
        # The same pixels in the same order, or the times mean nothing.
        image = by_simpleitk(folder)
        np.testing.assert_array_equal(
            mx.load_study(folder).array, sitk.GetArrayViewFromImage(image)
        )
        del image
        times = taking_turns(
            {
                "SimpleITK": lambda: by_simpleitk(folder),
                "open": lambda: mx.load_study(folder),
            },
            repeat,
        )
    a, b = (statistics.median(times[name]) for name in ("SimpleITK", "open"))
    pairs = [y / x for x, y in zip(times["SimpleITK"], times["open"], strict=True)]
    print(
        f"| {syntax} | {a:.2f} | {b:.2f} | {b / a:.2f} "
        f"| {min(pairs):.2f} to {max(pairs):.2f} |"
    )
    return b / a


def bench_reading(slices: int = 400, size: int = 512, repeat: int = 5) -> bool:
    """Print the comparison; return whether the uncompressed series is fast enough."""
    print(f"Opening {slices} files of {size} x {size}, {os.cpu_count()} cores:\n")
    print("| pixels | SimpleITK, s | open, s | ratio | in single turns |")
    print("|---|---|---|---|---|")
    ratios = {name: compare(slices, size, repeat, name) for name in SYNTAXES}
    fast = ratios["uncompressed"] <= LIMIT
    print(f"\nWithin {LIMIT} times SimpleITK: {'yes' if fast else 'NO'}.\n")
    return fast


def main() -> None:
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=5)
    a = parser.parse_args()
    raise SystemExit(0 if bench_reading(a.slices, a.size, a.repeat) else 1)


if __name__ == "__main__":
    main()
