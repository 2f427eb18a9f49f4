"""Pseudonyms, and that no identity leaves the reader."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicom_files import SECRETS, dataset, save, uid, volume, write_stack
from napari_medxai import privacy
from napari_medxai.errors import OutputError, StudyError
from napari_medxai.io import find_cases, load_case, load_study, series
from truth_files import segmentation, two_masks


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "config"
    monkeypatch.setenv("MEDXAI_CONFIG_DIR", str(folder))
    return folder


def test_a_pseudonym_is_the_keyed_hash(config) -> None:
    name = privacy.pseudonym("4711-ID")
    salt = bytes.fromhex((config / "salt").read_text())
    digest = hashlib.blake2b(b"4711-ID", key=salt, digest_size=5, person=b"P")
    assert name == "P-" + digest.hexdigest()
    assert privacy.pseudonym(" 4711-ID ") == name
    assert privacy.pseudonym("4711-ID", prefix="S")[2:] != name[2:]
    assert privacy.pseudonym("4712-ID") != name


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_only_the_user_reads_the_salt(config) -> None:
    privacy.pseudonym("a")
    assert (config / "salt").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in config.iterdir()] == ["salt"]


def test_another_user_has_other_pseudonyms(tmp_path, monkeypatch) -> None:
    names = set()
    for user in ("one", "two"):
        monkeypatch.setenv("MEDXAI_CONFIG_DIR", str(tmp_path / user))
        names.add(privacy.pseudonym("a"))
    assert len(names) == 2


def test_of_several_makers_one_wins(config) -> None:
    path = config / "salt"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: privacy._make_salt(path), range(16)))
    assert len(bytes.fromhex(path.read_text())) == 32
    assert [path.name for path in config.iterdir()] == ["salt"]
    first = path.read_text()
    privacy._make_salt(path)
    assert path.read_text() == first


@pytest.mark.parametrize("content", ["", "zz", "ab"])
def test_a_damaged_salt_is_reported(config, content) -> None:
    config.mkdir()
    (config / "salt").write_text(content)
    with pytest.raises(OutputError, match="salt"):
        privacy.pseudonym("a")


def test_a_folder_that_cannot_be_made_is_reported(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDXAI_CONFIG_DIR", str(tmp_path / "file" / "folder"))
    with pytest.raises(OutputError, match="MEDXAI_CONFIG_DIR"):
        privacy.pseudonym("a")


def assert_clean(text: str) -> None:
    for secret in SECRETS:
        assert secret.casefold() not in text.casefold(), secret


def test_no_identity_in_a_study(tmp_path) -> None:
    folder = tmp_path / "images"
    write_stack(folder, volume(), SeriesDescription="T1 for jane doe", ProtocolName="x")
    study = load_study(folder)
    assert_clean(repr(study))
    assert_clean(repr(series(folder)))
    assert_clean(repr(find_cases(folder)))
    assert study.patient == privacy.pseudonym("4711-ID")
    patient, of_series = study.identifier.split("/")
    assert patient == study.patient
    assert of_series == privacy.pseudonym(study.metadata["series_uid"], prefix="S")
    (case,) = find_cases(folder).cases
    assert case.name == study.identifier
    assert_clean(repr(load_case(case)))


def test_the_patient_is_the_name_where_there_is_no_id(tmp_path) -> None:
    ds = dataset(volume(1)[0], PatientID="")
    study = load_study(save(ds, tmp_path / "a.dcm"))
    assert study.patient == privacy.pseudonym("Doe^Jane")
    ds = dataset(volume(1)[0], PatientID="", PatientName="")
    assert load_study(save(ds, tmp_path / "b.dcm")).patient is None


def test_no_identity_in_errors_and_warnings(tmp_path) -> None:
    texts = []

    def attempt(path: Path, key: str | None = None) -> None:
        try:
            load_study(path, series=key)
        except StudyError as error:
            texts.append("".join(traceback.format_exception(error)))
        else:
            raise AssertionError(path)

    paths = write_stack(tmp_path / "copies", volume())
    changed = b"x" * 128 + paths[0].read_bytes()[128:]
    (tmp_path / "copies" / "copy.dcm").write_bytes(changed)
    attempt(tmp_path / "copies")
    paths = write_stack(tmp_path / "cut", volume())
    paths[0].write_bytes(paths[0].read_bytes()[:-40])
    attempt(tmp_path / "cut")
    write_stack(tmp_path / "two", volume(), series="one")
    write_stack(tmp_path / "two" / "b", volume(), series="two")
    attempt(tmp_path / "two")
    attempt(tmp_path / "two", "nothing")
    # Names in the wrong places make pydicom warn and quote them.
    ds = dataset(volume(1)[0])
    path = save(ds, tmp_path / "odd" / "a.dcm")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"0.75\\0.5", b"Doe\\Jane"))
    attempt(path)
    path.write_bytes(raw.replace(b"0.75\\0.5", b"Doe^Jane"))
    study = load_study(path)
    assert study.spacing is None
    assert_clean(repr(study))
    assert len(texts) == 5
    for text in texts:
        assert_clean(text.replace(str(Path(__file__).parent), ""))


def named_after_the_patient(folder: Path, voxels: np.ndarray, **options) -> list[Path]:
    """A stack in a folder and in files that bear the patient's name."""
    place = folder / "DOE_JANE"
    return [
        path.rename(place / f"DOE_JANE_{number:03d}.dcm")
        for number, path in enumerate(write_stack(place, voxels, **options))
    ]


def everything_said(folder: Path, **options) -> tuple[list[str], list[str]]:
    """Case names and notes, and error texts, as a run over a folder reports them."""
    texts, errors = [], []
    for case in find_cases(folder, **options).cases:
        texts.append(case.name)
        try:
            study = load_case(case)
        except StudyError as error:
            errors.append(str(error))
        else:
            texts += [study.identifier, *study.notes, *study.masks]
    for text in (*texts, *errors):
        assert_clean(text)
    return texts, errors


def test_file_names_stay_out_of_notes(tmp_path) -> None:
    paths = named_after_the_patient(tmp_path / "in", volume(8))
    paths[3].unlink()
    paths[6].write_bytes(paths[6].read_bytes()[:400])
    (paths[0].parent / "DOE_JANE.txt").write_text("text")
    assert_clean(" ".join(load_study(paths[0].parent).notes))
    texts, errors = everything_said(tmp_path / "in")
    assert any("GAP" in text for text in texts)
    relative = paths[6].relative_to(tmp_path / "in").as_posix()
    name = "unreadable-" + privacy.pseudonym(relative, prefix="F")
    assert name in texts
    assert len(errors) == 1
    assert errors[0].startswith(name)
    # A person who opens the file itself is told its name.
    with pytest.raises(StudyError, match=paths[6].name):
        load_study(paths[6])
    assert find_cases(paths[6]).cases[0].name.startswith("unreadable-")
    assert len(everything_said(paths[6])[1]) == 1


def test_file_names_stay_out_of_errors(tmp_path) -> None:
    cut = named_after_the_patient(tmp_path / "cut", volume())
    cut[2].write_bytes(cut[2].read_bytes()[:-40])
    (error,) = everything_said(tmp_path / "cut")[1]
    assert "instance 3 at 35.00 mm" in error
    copied = named_after_the_patient(tmp_path / "copied", volume())
    changed = b"x" * 128 + copied[0].read_bytes()[128:]
    (copied[0].parent / "DOE_copy.dcm").write_bytes(changed)
    (error,) = everything_said(tmp_path / "copied")[1]
    assert "same position" in error
    mosaic = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    named_after_the_patient(tmp_path / "mosaic", volume(1), ImageType=mosaic)
    (error,) = everything_said(tmp_path / "mosaic")[1]
    assert "mosaic" in error
    mixed = named_after_the_patient(tmp_path / "mixed", volume(2))
    ds = dataset(volume(1)[0], position=(-20.0, 10.0, 50.0), photometric="MONOCHROME1")
    save(ds, mixed[0].parent / "DOE_last.dcm")
    (error,) = everything_said(tmp_path / "mixed")[1]
    assert "MONOCHROME1" in error


def test_folder_names_stay_out_of_the_cases_of_a_table(tmp_path) -> None:
    named_after_the_patient(tmp_path / "two", volume())
    named_after_the_patient(tmp_path / "two" / "DOE_JANE", volume(), series="two")
    table = tmp_path / "list.csv"
    table.write_text("image\ntwo/DOE_JANE\nDOE_JANE_lost.dcm\n")
    texts, errors = everything_said(table)
    assert all(name.startswith("unreadable-") for name in texts)
    assert len(errors) == 2
    assert "holds 2 series" in "".join(errors)
    # Without a SeriesInstanceUID the key is a file's name.
    for path in (tmp_path / "two").rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        del ds.SeriesInstanceUID
        ds.save_as(path)
    assert "holds 10 series" in "".join(everything_said(table)[1])


def test_names_of_masks_stay_out_of_notes_and_errors(tmp_path) -> None:
    voxels = volume()
    files = named_after_the_patient(tmp_path / "seg", voxels)
    path = files[0].parent / "DOE_SEG.dcm"
    segmentation(files, two_masks(voxels.shape), path)
    seg = pydicom.dcmread(path)
    whole = seg.PixelData
    seg.PixelData = whole[:4]
    seg.save_as(path)
    (error,) = everything_said(tmp_path / "seg")[1]
    assert "segmentation cannot be read" in error
    seg.PixelData, seg.FrameOfReferenceUID = whole, uid("another")
    seg.save_as(path)
    texts, errors = everything_said(tmp_path / "seg")
    assert any("frame of reference" in text for text in texts)
    assert not errors
    # Raster masks beside one slice.
    (one,) = named_after_the_patient(tmp_path / "slice", volume(1))
    truth = Image.fromarray(np.ones((6, 7), dtype=np.uint8))
    truth.save(one.with_name("DOE_JANE_000_mask.png"))
    truth.save(one.with_name("DOE_JANE_000_seg.png"))
    texts, errors = everything_said(tmp_path / "slice")
    assert {"mask", "mask 2"} <= set(texts)
    assert not errors
    Image.fromarray(np.ones((3, 3), dtype=np.uint8)).save(
        one.with_name("DOE_JANE_000_mask.png")
    )
    (error,) = everything_said(tmp_path / "slice")[1]
    assert "another grid" in error
    (tmp_path / "DOE_masks").mkdir()
    texts, _ = everything_said(tmp_path / "slice", masks=tmp_path / "DOE_masks")
    assert any("no mask for" in text for text in texts)
    (error,) = everything_said(tmp_path / "slice", masks=tmp_path / "DOE_lost.png")[1]
    assert "no such mask" in error


def test_a_pseudonym_of_any_file_name(config) -> None:
    odd = privacy.pseudonym(os.fsdecode(b"M\xfcller"), prefix="F")
    assert odd != privacy.pseudonym(os.fsdecode(b"M\xe4ller"), prefix="F")


def test_importing_the_readers_loads_nothing_heavy() -> None:
    code = (
        "import sys, napari_medxai.io\n"
        "heavy = 'torch monai SimpleITK highdicom napari qtpy PySide6'.split()\n"
        "sys.exit(', '.join(m for m in heavy if m in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_study_becomes_a_metatensor(tmp_path) -> None:
    from napari_medxai.io.monai_reader import metatensor

    write_stack(tmp_path / "a", volume())
    study = load_study(tmp_path / "a")
    tensor = metatensor(study)
    assert tuple(tensor.shape) == (1, *study.shape)
    np.testing.assert_array_equal(tensor[0].numpy(), study.array)
    assert study.affine_lps is not None
    x, y, z, _ = study.affine_lps @ [3, 2, 1, 1]
    np.testing.assert_allclose(np.asarray(tensor.affine) @ [3, 2, 1, 1], [-x, -y, z, 1])
    assert_clean(str(tensor.meta))
