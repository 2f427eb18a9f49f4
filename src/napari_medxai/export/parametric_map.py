"""A saliency map as DICOM Parametric Map: the object made for such pictures.

32-bit float, the map's own values, a frame for each explained slice at its own place
in the patient (DICOM PS3.3 A.75).
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from napari_medxai import __version__
from napari_medxai.errors import ExportError
from napari_medxai.results import Explanation
from napari_medxai.study import Study

from .instance import DEVICE, NAME, finish, long_string, placeholder
from .multiframe import describe_frames, templates
from .sources import planes, read_source
from .subject import RESEARCH, Subject

__all__ = ["parametric_map"]

SERIES_NUMBER = 9001


def parametric_map(
    study: Study, explanation: Explanation, *, identify: bool = False
) -> Dataset:
    """Make a DICOM Parametric Map of a saliency map.

    Parameters
    ----------
    study : Study
        Read from DICOM, with a frame of reference.
    explanation : Explanation
        Of this study.
    identify : bool
        Whether the patient and study modules are the source's; else a pseudonym
        stands in them.

    Returns
    -------
    Dataset
        With ``FloatPixelData``: the explained slices, values unchanged. The window
        goes from the smallest to the largest of them; values have no unit.

    Raises
    ------
    ExportError
        Where the study is not DICOM or has no frame of reference, or the map holds
        values that are no numbers.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    subject = Subject.of(study, explanation)
    source = read_source(study, subject.indices)
    where = planes(study, source, subject.indices)
    values = subject.values
    if not np.isfinite(values).all():
        raise ExportError("the map holds values that are NaN or infinite")
    low, high = float(values.min()), float(values.max())
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="SALIENCY",
        lut_explanation="saliency on the method's own scale, larger is more important",
        unit=codes.UCUM.NoUnits,
        value_range=(low, high),
        slope=1,
        intercept=0,
    )
    window = hd.VOILUTTransformation(
        window_center=(low + high) / 2,
        window_width=high - low or 1.0,
        voi_lut_function="LINEAR_EXACT",
    )
    rows, columns = study.shape[-2:]
    ds: Dataset = hd.pm.ParametricMap(
        source_images=templates(where, rows, columns, source.frame_of_reference),
        pixel_array=values,
        series_instance_uid=placeholder(0),
        series_number=SERIES_NUMBER,
        sop_instance_uid=placeholder(0),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number=DEVICE,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_label=content_label(subject.method),
        content_description=long_string(f"{subject.label} saliency; {RESEARCH}"),
        content_qualification="RESEARCH",
    )
    describe_frames(ds, subject, source)
    finish(
        ds,
        subject,
        source,
        kind="dicom-pm",
        identify=identify,
        indices=subject.indices,
    )
    return ds


def content_label(method: str) -> str:
    """Fit a method's name into a CS: 16 capitals, digits and underscores."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in method.upper())
    return plain[:16]
