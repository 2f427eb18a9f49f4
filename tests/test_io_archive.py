"""Studies as .zip: the same as the folder, and nothing dangerous."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_files import SECRETS, uid, volume, write_stack
from napari_medxai.errors import StudyError
from napari_medxai.io import find_cases, load_case, load_study, series
from napari_medxai.io.archive import extracted

IMAGE = np.arange(48, dtype=np.uint8).reshape(6, 8)


def packed(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return target


def images(folder: Path) -> Path:
    for name in ("a/b.png", "a/c.png", "d.png", "masks/d.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGE + len(name)).save(path)
    (folder / "labels.csv").write_text("file,label\na/b.png,x\nd.png,y\n")
    return folder


def test_a_zip_of_a_series_opens_as_its_folder(tmp_path) -> None:
    write_stack(tmp_path / "ct", volume(4), order=[2, 0, 3, 1])
    expected = load_study(tmp_path / "ct")
    path = packed(tmp_path / "ct", tmp_path / "study.ZIP")
    study = load_study(path)
    np.testing.assert_array_equal(study.array, expected.array)
    np.testing.assert_array_equal(study.affine_lps, expected.affine_lps)
    assert study.identifier == expected.identifier
    assert [one.key for one in series(path)] == [uid("one")]
    (case,) = find_cases(path).cases
    assert case.name == expected.identifier
    np.testing.assert_array_equal(load_case(case).array, expected.array)


def test_cases_are_named_after_the_zip(tmp_path) -> None:
    path = packed(images(tmp_path / "in"), tmp_path / "study.zip")
    found = find_cases(path)
    labels = {case.name: case.label for case in found.cases}
    assert labels == {
        "study.zip/a/b.png": "x",
        "study.zip/a/c.png": None,
        "study.zip/d.png": "y",
    }
    last = load_case(found.cases[2])
    assert last.masks["mask"].any()
    assert [one.key for one in series(path)] == ["a/b.png", "a/c.png", "d.png"]
    np.testing.assert_array_equal(load_study(path, series="d.png").array, last.array)
    with pytest.raises(StudyError, match=r"study\.zip: holds 3 images"):
        load_study(path)
    table = tmp_path / "list.csv"
    (tmp_path / "one").mkdir()
    Image.fromarray(IMAGE).save(tmp_path / "one" / "only.png")
    packed(tmp_path / "one", tmp_path / "one.zip")
    table.write_text("image,label\none.zip,z\n")
    (case,) = find_cases(table).cases
    np.testing.assert_array_equal(load_case(case).array, IMAGE)


def test_a_zip_within_a_folder_is_passed_over_and_said(tmp_path) -> None:
    images(tmp_path / "in")
    packed(tmp_path / "in" / "a", tmp_path / "in" / "more.zip")
    found = find_cases(tmp_path / "in")
    assert len(found) == 3
    (reason,) = [o.reason for o in found.skipped if o.path.suffix == ".zip"]
    assert "name it itself" in reason
    (tmp_path / "zips").mkdir()
    (tmp_path / "in" / "more.zip").rename(tmp_path / "zips" / "more.zip")
    for call in (find_cases, series, load_study):
        with pytest.raises(StudyError, match=r"no image.*a \.zip within a folder"):
            call(tmp_path / "zips")


def test_the_same_content_is_extracted_once_and_privately(tmp_path) -> None:
    path = packed(images(tmp_path / "in"), tmp_path / "study.zip")
    twin = tmp_path / "twin.zip"
    twin.write_bytes(path.read_bytes())
    folder = extracted(path)
    assert extracted(path) == extracted(twin) == folder
    assert folder.name == "study.zip"
    if os.name == "posix":
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    images(tmp_path / "in" / "deeper")
    packed(tmp_path / "in", path)
    assert extracted(path) != folder
    # What somebody has cleared away is extracted again.
    (folder / "d.png").unlink()
    for inside in sorted(folder.rglob("*"), reverse=True):
        inside.rmdir() if inside.is_dir() else inside.unlink()
    folder.rmdir()
    assert (extracted(twin) / "d.png").is_file()


def test_the_folder_goes_with_the_process(tmp_path) -> None:
    path = packed(images(tmp_path / "in"), tmp_path / "study.zip")
    code = (
        "import os, sys; from pathlib import Path\n"
        "from napari_medxai.io.archive import extracted\n"
        "folder = extracted(Path(sys.argv[1]))\n"
        "assert (folder / 'd.png').is_file()\n"
        "if hasattr(os, 'fork'):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        sys.exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "assert (folder / 'd.png').is_file()\n"
        "print(folder.parent)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(done.stdout.strip())
    assert folder.name.startswith("napari-medxai-")
    assert not folder.exists()


def member(name: str, *, mode: int = 0o100644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    "name",
    ["../out.png", "a/../../out.png", "/out.png", "..\\out.png", "C:\\out.png", "C:x"],
)
def test_no_member_climbs_out(tmp_path, name) -> None:
    path = tmp_path / "in" / "study.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member("good.png"), b"1")
        archive.writestr(member("aaa.png"), b"2")
    # Written by hand, since the library itself would clean the name.
    data = path.read_bytes()
    if len(name) <= 7:
        filler = name.ljust(7, "_").encode()
        path.write_bytes(data.replace(b"aaa.png", filler))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            info = member("x")
            info.filename = name
            archive.writestr(info, b"2")
    with pytest.raises(StudyError, match=r"study\.zip.*outside its folder"):
        series(path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["study.zip"]


def test_links_and_doubles_are_refused(tmp_path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member("link", mode=0o120777), b"/etc/passwd")
    with pytest.raises(StudyError, match="holds a link"):
        load_study(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member("a.png"), b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(member("a.png"), b"2")
    with pytest.raises(StudyError, match="a file twice"):
        load_study(path)


def test_what_is_too_large_is_refused(tmp_path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(5):
            archive.writestr(
                member(f"{number}.png"), b"\0" * 2**20, zipfile.ZIP_DEFLATED
            )
    assert path.stat().st_size < 10_000
    with pytest.raises(StudyError, match=r"holds 5 files, more than the limit of 4"):
        extracted(path, max_members=4)
    with pytest.raises(StudyError, match=r"holds more than .* GiB"):
        extracted(path, max_bytes=5 * 2**20 - 1)
    folder = extracted(path, max_members=5, max_bytes=5 * 2**20)
    assert len(list(folder.iterdir())) == 5


def test_an_encrypted_archive_is_refused(tmp_path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member("a.png"), b"1")
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = data.index(signature) + offset
        (flags,) = struct.unpack_from("<H", data, place)
        struct.pack_into("<H", data, place, flags | 1)
    path.write_bytes(bytes(data))
    with pytest.raises(StudyError, match=r"study\.zip: is encrypted"):
        load_study(path)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "content"])
def test_a_damaged_archive_is_named(tmp_path, damage) -> None:
    path = packed(images(tmp_path / "in"), tmp_path / "study.zip")
    data = path.read_bytes()
    middle = len(data) // 3
    path.write_bytes(
        {
            "empty": b"",
            "text": b"no archive at all " * 20,
            "cut": data[:-30],
            "content": data[:middle] + b"\xff" * 40 + data[middle + 40 :],
        }[damage]
    )
    with pytest.raises(StudyError, match=r"study\.zip: the archive cannot"):
        series(path)


def test_no_patient_in_the_text_of_a_case(tmp_path) -> None:
    """Names of files within an archive can be names, too."""
    paths = write_stack(tmp_path / "in" / "Doe Jane", volume())
    paths[1].write_bytes(paths[1].read_bytes()[:-30])
    found = find_cases(packed(tmp_path / "in", tmp_path / "Doe.zip"))
    (case,) = found.cases
    with pytest.raises(StudyError) as caught:
        load_case(case)
    assert not any(secret in str(caught.value) for secret in SECRETS)
