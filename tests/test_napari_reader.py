"""The reader, the sample data and the manifest. No window."""

from __future__ import annotations

import importlib
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import napari_medxai
from napari_medxai.errors import StudyError

pytest.importorskip("napari")

from npe2 import PluginManifest

from napari_medxai._napari import sample_data
from napari_medxai._napari.reader import MAX_SERIES, get_reader, read_layers

MANIFEST = Path(napari_medxai.__file__).with_name("napari.yaml")


def test_nonsense_is_declined_and_nothing_is_raised(tmp_path):
    (tmp_path / "text.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").write_bytes(b"")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("print()")
    looped = tmp_path / "loop"
    looped.symlink_to(looped)
    for path in (
        "text.txt",
        "empty",
        "bare",
        "code",
        "loop",
        "absent.png",
        "absent",
        "a\0b.png",
        "x" * 5000,
    ):
        assert get_reader(str(tmp_path / path)) is None
    assert get_reader("") is None
    assert get_reader([]) is None
    assert get_reader([str(tmp_path / "text.txt"), str(tmp_path / "bare")]) is None
    assert get_reader("https://example.org/a.png") is None


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads all")
def test_a_folder_without_permission_is_declined(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    tmp_path.chmod(0)
    try:
        assert get_reader(str(tmp_path)) is None
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("name", ["broken.png", "broken.nii.gz", "broken.dcm"])
def test_a_damaged_file_fails_in_words_only_when_it_is_read(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(bytes(range(256)) * 4)
    reader = get_reader(str(path))
    assert reader is not None
    with pytest.raises(StudyError, match="broken"):
        reader(str(path))


def test_a_file_gives_its_image_and_its_mask(blobs):
    path = blobs / "images" / "1.png"
    reader = get_reader(str(path))
    assert reader is not None
    (image, mask) = reader(str(path))
    assert image[2] == "image"
    assert np.array_equal(image[0], np.asarray(Image.open(path)))
    assert image[1]["name"] == "1.png"
    assert mask[2] == "labels"
    truth = np.asarray(Image.open(blobs / "masks" / "1.png")) > 0
    assert np.array_equal(mask[0] > 0, truth)


def test_a_dicom_folder_is_one_volume_and_so_are_its_files(samples):
    folder = samples / "dicom"
    reader = get_reader(str(folder))
    assert reader is not None
    whole = reader(str(folder))
    assert [kind for *_, kind in whole] == ["image", "labels"]
    files = [str(p) for p in sorted(folder.glob("IM*.dcm"), reverse=True)]
    reader = get_reader(files)
    assert reader is not None
    (together, *_) = reader(files)
    assert np.array_equal(together[0], whole[0][0])
    assert together[1]["translate"] == pytest.approx(whole[0][1]["translate"])


def test_a_zip_opens_as_the_folder_does(tmp_path, samples):
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for one in sorted((samples / "dicom").iterdir()):
            archive.write(one, f"a/{one.name}")
    reader = get_reader(str(path))
    assert reader is not None
    packed, whole = reader(str(path)), read_layers(samples / "dicom")
    assert [kind for *_, kind in packed] == ["image", "labels"]
    assert np.array_equal(packed[0][0], whole[0][0])
    assert packed[0][1]["translate"] == pytest.approx(whole[0][1]["translate"])


def test_a_folder_of_too_many_series_needs_a_choice(tmp_path, blobs):
    for i in range(MAX_SERIES + 1):
        shutil.copy(blobs / "images" / "0.png", tmp_path / f"{i}.png")
    reader = get_reader(str(tmp_path))
    assert reader is not None
    with pytest.raises(StudyError, match="Open study"):
        reader(str(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "chest",
        "dicom",
        "dicom_rtstruct",
        "nifti",
        "png_axial",
        "png_coronal",
        "png_sagittal",
    ],
)
def test_every_sample_opens_with_its_mask(name):
    image, mask = getattr(sample_data, name)()
    assert (image[2], mask[2]) == ("image", "labels")
    assert image[0].shape == mask[0].shape
    assert mask[0].any()
    assert image[1]["scale"] == mask[1]["scale"]
    assert image[1]["translate"] == mask[1]["translate"]


def test_the_manifest_is_valid_and_all_it_names_exists():
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    for command in manifest.contributions.commands or ():
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    patterns = manifest.contributions.readers[0].filename_patterns
    assert "*" not in patterns
    assert manifest.contributions.readers[0].accepts_directories
    from napari._app_model.constants._menus import is_menu_contributable

    assert all(map(is_menu_contributable, manifest.contributions.menus))


def test_read_layers_takes_paths_and_strings(blobs):
    path = blobs / "images" / "0.png"
    by_path, by_text = read_layers(path), read_layers(str(path))
    assert np.array_equal(by_path[0][0], by_text[0][0])
