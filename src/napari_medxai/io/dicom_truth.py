"""Which images a DICOM SEG or RTSTRUCT belongs to, and why it is refused."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from napari_medxai.errors import StudyError
from napari_medxai.study import Study

from .dicom_access import BROKEN, quiet
from .dicom_headers import read_dataset
from .naming import shown
from .structure_names import identity_words

__all__ = ["Unfit", "check_references", "known_words", "open_truth"]

OTHER_FRAME = "it lies in another frame of reference than the images"
OTHER_IMAGES = "it refers to other images"
# The Manufacturer of the objects that `export` writes.
OWN = "napari-medxai"


class Unfit(StudyError):
    """A SEG or RTSTRUCT that is whole, but no ground truth of these images.

    Attributes
    ----------
    reason : str
        Why, without names of files or patients.
    """

    def __init__(self, path: Path, kind: str, reason: str) -> None:
        super().__init__(f"{shown(path, f'its {kind}')}: {reason}.")
        self.reason = reason


def open_truth(path: Path, study: Study, kind: str) -> Dataset:
    """Read a SEG or RTSTRUCT.

    Raises
    ------
    Unfit
        Where it is an export of a saliency map.
    StudyError
        Where it is damaged, something else, or the study is not from DICOM.
    """
    if study.metadata.get("format") != "dicom":
        raise StudyError(
            f"{shown(path, f'its {kind}')}: a DICOM {kind} needs the DICOM images it "
            f"refers to, and {shown(study.source)} is none."
        )
    with quiet():
        dataset = read_dataset(path)
    found = str(dataset.get("Modality") or "object without Modality")
    if found != kind:
        raise StudyError(
            f"{shown(path, 'its mask')}: is a DICOM {found}; a mask is a SEG, an "
            "RTSTRUCT, a NIfTI, PNG or TIFF file."
        )
    if str(dataset.get("Manufacturer") or "") == OWN:
        raise Unfit(path, kind, "it was made of a saliency map and is no ground truth")
    return dataset


def check_references(
    path: Path,
    kind: str,
    study: Study,
    *,
    series: frozenset[str],
    instances: frozenset[str],
    frame_of_reference: str,
) -> None:
    """Refuse what refers to other images.

    Parameters
    ----------
    path, kind : Path, str
        For the text of the error.
    study : Study
        The images, read from DICOM.
    series, instances : frozenset of str
        SeriesInstanceUIDs and SOPInstanceUIDs that the object refers to.
    frame_of_reference : str
        Its FrameOfReferenceUID, "" where it has none or where it is looked at
        elsewhere.

    Raises
    ------
    Unfit
        Where the frame of reference is another; where it refers to images, and
        neither this series nor one of these instances is among them; where it
        refers to none and has no frame of reference in common.
    """
    own = str(study.metadata["frame_of_reference_uid"] or "")
    slices = set(study.metadata.get("sop_instance_uids", ()))
    if frame_of_reference and own and frame_of_reference != own:
        raise Unfit(path, kind, OTHER_FRAME)
    named = study.metadata["series_uid"] in series or bool(instances & slices)
    if (series or instances) and not named:
        raise Unfit(path, kind, OTHER_IMAGES)
    if not named and not (own and frame_of_reference == own):
        raise Unfit(path, kind, "it does not say to which images it belongs")


def known_words(dataset: Dataset, study: Study) -> frozenset[str]:
    """Words of the patient's identity in a mask's header and the images' first one."""
    first = Dataset()
    try:
        with quiet():
            first = pydicom.dcmread(study.files[0], stop_before_pixels=True, force=True)
    except BROKEN:
        # The pixels were read, so this is a file that has gone since.
        return identity_words(dataset)
    return identity_words(dataset, first)
