"""Maps as NIfTI: nibabel and SimpleITK find every value at the source's place."""

from __future__ import annotations

import gzip
import io
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from dicom_files import volume, write_stack
from napari_medxai import export, load_study
from napari_medxai.errors import ExportError, OutputError, UsageError

IMPULSE = 1000.0
OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)


def explained(study, voxel, *, slices=None):
    """Noise with one voxel far above, NaN outside `slices`."""
    values = np.random.default_rng(0).random(study.shape).astype(np.float32)
    values[voxel] = IMPULSE
    if slices is not None:
        hidden = np.ones(study.slices, dtype=bool)
        hidden[list(slices)] = False
        values[hidden] = np.nan
    return export.explanation_of(study, values, method="gradcam", target_class="a")


def saved(study, explanation, folder: Path) -> Path:
    return export.save_nifti(study, explanation, folder / "out" / "map.nii.gz")


def turned(turn, flips, rng) -> np.ndarray:
    """One of the 48 ways to store axes, with uneven spacing and an offset."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, turn] * np.array([0.9, 1.3, 2.1]) * flips
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    return affine


@pytest.mark.parametrize("turn", list(itertools.permutations(range(3))))
def test_the_files_own_voxels_and_affine_for_all_48_turns(tmp_path, turn):
    rng = np.random.default_rng(1)
    for n, flips in enumerate(itertools.product((1, -1), repeat=3)):
        affine = turned(turn, flips, rng)
        source = nib.Nifti1Image(
            np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6), None
        )
        source.set_sform(affine, 2)
        source.set_qform(affine, 1)
        path = tmp_path / f"{n}.nii.gz"
        nib.save(source, path)
        study = load_study(path, masks="none")
        explanation = explained(study, (3, 1, 2), slices=(2, 3))
        out = nib.load(saved(study, explanation, tmp_path))
        np.testing.assert_allclose(out.affine, source.affine, atol=1e-3)
        for form in ("sform", "qform"):
            ours, code = getattr(out.header, f"get_{form}")(coded=True)
            theirs, wanted = getattr(source.header, f"get_{form}")(coded=True)
            assert code == wanted
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
        data = np.asarray(out.dataobj)
        assert data.dtype == np.float32
        assert data[2, 1, 3] == IMPULSE
        np.testing.assert_array_equal(data, explanation.map.transpose(2, 1, 0))
        assert np.isnan(data[:, :, :2]).all()
        ours, theirs = (
            sitk.ReadImage(saved(study, explanation, tmp_path)),
            (sitk.ReadImage(path)),
        )
        for name in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
            np.testing.assert_allclose(
                getattr(ours, name)(), getattr(theirs, name)(), atol=1e-3
            )
        # The value lies where the study says that its voxel lies.
        np.testing.assert_allclose(
            ours.TransformIndexToPhysicalPoint((2, 1, 3)),
            (study.affine_lps @ [3, 1, 2, 1])[:3],
            atol=1e-3,
        )


def test_oblique_two_forms_units_and_one_slice(tmp_path):
    affine = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.3, -0.2, 0.5) @ np.diag([0.7, 0.9, 3.0]), [1, 2, 3]
    )
    other = affine.copy()
    other[:3, 3] += 5
    source = nib.Nifti1Image(np.zeros((4, 5, 1), np.uint8), None)
    source.set_qform(other, 1)
    source.set_sform(affine, 4)
    source.header.set_xyzt_units("micron")
    nib.save(source, tmp_path / "one.nii")
    study = load_study(tmp_path / "one.nii", masks="none")
    assert not study.is_volume
    out = nib.load(saved(study, explained(study, (3, 2)), tmp_path))
    assert out.shape == (4, 5, 1)
    assert out.get_fdata()[2, 3, 0] == IMPULSE
    np.testing.assert_allclose(out.get_sform(), affine, atol=1e-4)
    np.testing.assert_allclose(out.get_qform(), other, atol=1e-4)
    assert out.header.get_xyzt_units()[0] == "micron"
    assert (out.header["sform_code"], out.header["qform_code"]) == (4, 1)


def test_a_chosen_volume_of_several(tmp_path):
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    array = np.random.default_rng(0).random((4, 5, 6, 3)).astype(np.float32)
    nib.save(nib.Nifti2Image(array, affine), tmp_path / "four.nii")
    study = load_study(tmp_path / "four.nii", series="1", masks="none")
    out = nib.load(saved(study, explained(study, (5, 4, 3)), tmp_path))
    assert out.shape == (4, 5, 6)
    np.testing.assert_allclose(out.affine, affine)


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), OBLIQUE])
def test_from_dicom_the_place_is_simpleitks(tmp_path, orientation):
    files = write_stack(
        tmp_path / "in", volume(5), orientation=tuple(map(float, orientation))
    )
    study = load_study(tmp_path / "in")
    path = saved(study, explained(study, (4, 2, 5), slices=(3, 4)), tmp_path)
    out = sitk.ReadImage(path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(f) for f in files])
    source = reader.Execute()
    for name in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
        np.testing.assert_allclose(
            getattr(out, name)(), getattr(source, name)(), atol=1e-3
        )
    assert out.GetPixel(5, 2, 4) == IMPULSE
    header = nib.load(path).header
    assert (header["sform_code"], header["qform_code"]) == (1, 1)


def test_a_tilted_stack_has_no_qform(tmp_path):
    write_stack(tmp_path / "in", volume(5), step=np.array([0.0, 1.0, 2.5]))
    study = load_study(tmp_path / "in")
    path = saved(study, explained(study, (4, 2, 5)), tmp_path)
    out = nib.load(path)
    assert (out.header["sform_code"], out.header["qform_code"]) == (1, 0)
    lps = np.diag([-1, -1, 1, 1]) @ out.affine @ [5, 2, 4, 1]
    # ImagePositionPatient of slice 4, its columns 0.5 mm and rows 0.75 mm apart.
    np.testing.assert_allclose(
        lps[:3], [-20 + 5 * 0.5, 10 + 4 + 2 * 0.75, 30 + 10], atol=1e-3
    )


def test_without_orientation_the_file_says_so(tmp_path):
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(5, 6)).save(
        tmp_path / "a.png"
    )
    study = load_study(tmp_path / "a.png")
    out = nib.load(saved(study, explained(study, (4, 2)), tmp_path))
    assert (out.header["sform_code"], out.header["qform_code"]) == (0, 0)
    assert out.shape == (6, 5, 1)
    assert out.get_fdata()[2, 4, 0] == IMPULSE
    plain = nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None)
    plain.header.set_zooms((1.5, 2.0, 2.5))
    nib.save(plain, tmp_path / "plain.nii")
    study = load_study(tmp_path / "plain.nii", masks="none")
    out = nib.load(saved(study, explained(study, (4, 2, 1)), tmp_path))
    assert (out.header["sform_code"], out.header["qform_code"]) == (0, 0)
    np.testing.assert_allclose(out.header.get_zooms(), (1.5, 2.0, 2.5))


def test_the_same_map_gives_the_same_bytes_and_says_what_it_is(tmp_path):
    write_stack(tmp_path / "in", volume(3))
    study = load_study(tmp_path / "in")
    explanation = explained(study, (1, 1, 1))
    first = export.nifti_bytes(study, explanation)
    assert export.nifti_bytes(study, explanation) == first
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(gzip.decompress(first)))
    said = bytes(header["descrip"]).decode().rstrip("\0")
    assert said == "napari-medxai gradcam, research use only"
    assert float(header["cal_max"]) == IMPULSE
    plain = export.save_nifti(study, explanation, tmp_path / "map.nii")
    assert plain.read_bytes() == gzip.decompress(first)


def test_what_cannot_be_written_is_refused_in_words(tmp_path):
    write_stack(tmp_path / "in", volume(3))
    study = load_study(tmp_path / "in")
    explanation = explained(study, (1, 1, 1))
    with pytest.raises(UsageError, match=r"\.nii"):
        export.save_nifti(study, explanation, tmp_path / "map.png")
    other = export.explanation_of(study, explanation.map[:, :, :2], method="gradcam")
    with pytest.raises(ExportError, match="has shape"):
        export.save_nifti(study, other, tmp_path / "map.nii")
    nothing = export.explanation_of(
        study, np.full(study.shape, np.nan), method="gradcam"
    )
    with pytest.raises(ExportError, match="no number"):
        export.save_nifti(study, nothing, tmp_path / "map.nii")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        export.save_nifti(study, explanation, tmp_path / "file" / "map.nii")
    path = tmp_path / "gone.nii"
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), path)
    study = load_study(path, masks="none")
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 6), np.uint8), np.eye(4)), path)
    with pytest.raises(ExportError, match="changed"):
        export.nifti_bytes(study, explained(study, (1, 1, 1)))
    path.unlink()
    with pytest.raises(ExportError, match="no longer"):
        export.nifti_bytes(study, explained(study, (1, 1, 1)))


def test_real_files_keep_their_geometry(shared_data, tmp_path):
    """Big-endian, LAS, 4-D, NIfTI-2 and oblique files."""
    seen = 0
    for path in sorted((shared_data / "nifti" / "nibabel").iterdir()):
        if not path.name.endswith((".nii", ".nii.gz")):
            continue
        source = nib.load(path)
        several = len(source.shape) > 3 and source.shape[3] > 1
        study = load_study(path, series="0" if several else None, masks="none")
        voxel = tuple(n // 2 for n in study.shape)
        out = nib.load(saved(study, explained(study, voxel), tmp_path))
        np.testing.assert_allclose(out.affine, source.affine, atol=1e-3)
        assert out.shape == source.shape[:3]
        assert np.asarray(out.dataobj)[voxel[::-1]] == IMPULSE
        for code in ("sform_code", "qform_code"):
            assert out.header[code] == source.header[code]
        seen += 1
    assert seen >= 4
