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
import pytest

from dicom_files import SECRETS, dataset, save, volume, write_stack
from napari_medxai import privacy
from napari_medxai.errors import OutputError, StudyError
from napari_medxai.io import find_cases, load_case, load_study, series


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
    (tmp_path / "copies" / "copy.dcm").write_bytes(paths[0].read_bytes())
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
