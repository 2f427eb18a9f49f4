"""The strongest part of a saliency map as binary DICOM SEG (PS3.3 A.51)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from napari_medxai import __version__
from napari_medxai.errors import ExportError, UsageError
from napari_medxai.results import Explanation
from napari_medxai.study import Study

from .instance import DEVICE, NAME, finish, long_string, placeholder
from .multiframe import describe_frames, templates
from .parametric_map import content_label
from .sources import planes, read_source
from .subject import RESEARCH, Subject

__all__ = ["check_percentile", "segmentation", "strongest"]

SERIES_NUMBER = 9002


def check_percentile(percentile: float) -> float:
    """Return a percentile that a map can be thresholded at.

    Raises
    ------
    UsageError
        Unless it is above 0 and below 100.
    """
    if not 0.0 < percentile < 100.0:
        raise UsageError(
            f"seg-percentile {percentile:g} is not between 0 and 100 (both excluded)."
        )
    return percentile


def strongest(
    values: NDArray[np.float32], *, percentile: float = 95.0
) -> NDArray[np.bool_]:
    """Threshold one slice of a map at a percentile of its values.

    Parameters
    ----------
    values : ndarray, shape (row, column)
        NaN counts as nothing.
    percentile : float
        Above 0, below 100.

    Returns
    -------
    ndarray of bool
        Pixels at or above the percentile. Pixels tied at the slice's minimum are
        never among them, so that a map that is zero nearly everywhere does not
        cover the slice; a constant slice gives nothing.
    """
    check_percentile(percentile)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return np.zeros(values.shape, dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        chosen: NDArray[np.bool_] = (values >= np.percentile(finite, percentile)) & (
            values > finite.min()
        )
    return chosen & np.isfinite(values)


def segmentation(
    study: Study,
    explanation: Explanation,
    *,
    percentile: float = 95.0,
    identify: bool = False,
) -> Dataset:
    """Make a DICOM SEG of a saliency map thresholded at a percentile.

    Parameters
    ----------
    study : Study
        Read from DICOM, with a frame of reference.
    explanation : Explanation
        Of this study.
    percentile : float
        Of each slice by itself: slices were explained one by one, and their maps
        have no common scale.
    identify : bool
        As for :func:`parametric_map`.

    Returns
    -------
    Dataset
        One segment, SegmentAlgorithmType AUTOMATIC, a frame for each explained slice.

    Raises
    ------
    ExportError
        As for :func:`parametric_map`, and where the map is constant.
    UsageError
        If the percentile is out of range.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    check_percentile(percentile)
    subject = Subject.of(study, explanation)
    source = read_source(study, subject.indices)
    where = planes(study, source, subject.indices)
    chosen = np.stack([strongest(p.map, percentile=percentile) for p in subject.parts])
    if not chosen.any():
        raise ExportError("the map is constant, so no part of it is the strongest")
    name = f"{subject.label} top {100 - percentile:g} %"
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=long_string(name),
        segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
        segmented_property_type=codes.DCM.SelectedRegion,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=long_string(f"{NAME} {subject.method}"),
            family=codes.DCM.ArtificialIntelligence,
            version=__version__,
        ),
    )
    rows, columns = study.shape[-2:]
    ds: Dataset = hd.seg.Segmentation(
        source_images=templates(where, rows, columns, source.frame_of_reference),
        pixel_array=chosen,
        segmentation_type="BINARY",
        segment_descriptions=[description],
        series_instance_uid=placeholder(0),
        series_number=SERIES_NUMBER,
        sop_instance_uid=placeholder(0),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number=DEVICE,
        content_label=content_label(subject.method),
        content_description=long_string(f"{name} of each slice; {RESEARCH}"),
        omit_empty_frames=False,
    )
    describe_frames(ds, subject, source)
    finish(
        ds,
        subject,
        source,
        kind="dicom-seg",
        identify=identify,
        indices=subject.indices,
        variant=f"{percentile:g}",
    )
    return ds
