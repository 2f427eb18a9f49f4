"""A finished case's exports as files, and which options they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from napari_medxai.errors import Cancelled, ExportError, OutputError
from napari_medxai.report.naming import safe_name
from napari_medxai.results import Explanation, Exported
from napari_medxai.study import Study

from .identity import identity
from .instance import EXPORT_VERSION, dicom_bytes
from .nifti import nifti_bytes
from .parametric_map import parametric_map
from .secondary_capture import secondary_captures
from .segmentation import segmentation
from .sources import read_source

__all__ = ["KINDS", "ExportOptions", "export_token", "exported"]

KINDS = ("nifti", "dicom-pm", "dicom-seg", "dicom-sc")
"""What besides ``png`` can be exported, as ``--export`` names it."""

TITLES = {
    "nifti": "NIfTI",
    "dicom-pm": "DICOM Parametric Map",
    "dicom-seg": "DICOM SEG",
    "dicom-sc": "DICOM Secondary Capture",
}


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How exports are made.

    Attributes
    ----------
    kinds : tuple of str
        Of :data:`KINDS`.
    seg_percentile : float
        Threshold of ``dicom-seg``, in percent of each slice's values.
    identify : bool
        Whether DICOM exports carry the patient and study modules of the images.
    """

    kinds: tuple[str, ...] = ()
    seg_percentile: float = 95.0
    identify: bool = False


def exported(
    study: Study,
    explanations: Iterable[Explanation],
    options: ExportOptions,
    *,
    progress: Callable[[str], None] | None = None,
) -> Iterator[Exported]:
    """Make the export files of a study, one after the other.

    Parameters
    ----------
    study : Study
    explanations : iterable of Explanation
        Of this study.
    options : ExportOptions
    progress : callable, optional
        Told the method before each file; it may raise :class:`Cancelled`.

    Yields
    ------
    Exported
        A file, or the reason why there is none. What fails costs that file only.
    """
    for explanation in explanations:
        for kind in options.kinds:
            if progress is not None:
                progress(explanation.method)
            try:
                yield from _files(study, explanation, kind, options)
            except ExportError as error:
                reason = f"no {TITLES[kind]}: {error}."
                yield Exported(kind, explanation.method, reason=reason)
            except (Cancelled, OutputError):
                raise
            except Exception as error:  # noqa: BLE001 - one file must not end the run
                # Texts of libraries can quote a header's values.
                reason = f"no {TITLES[kind]}: {type(error).__name__}."
                yield Exported(kind, explanation.method, reason=reason, failed=True)


def export_token(study: Study, kind: str, options: ExportOptions) -> str:
    """Hash what a kind's files depend on besides the case's key.

    Parameters
    ----------
    study : Study
    kind : str
        ``png`` or one of :data:`KINDS`.
    options : ExportOptions

    Returns
    -------
    str
        Changes with the options and, for DICOM, with what the images' headers say of
        patient, study and instances.
    """
    parts: list[object] = [EXPORT_VERSION, kind]
    if kind == "dicom-seg":
        parts.append(options.seg_percentile)
    if kind.startswith("dicom"):
        parts.append(options.identify)
        try:
            source = read_source(study, range(study.slices))
            who = identity(source, identify=options.identify)
            parts += [who.to_json(), sorted(source.references.items(), key=str)]
        except ExportError as error:
            parts.append(str(error))
    text = json.dumps(parts, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _files(
    study: Study, explanation: Explanation, kind: str, options: ExportOptions
) -> Iterator[Exported]:
    method = explanation.method
    stem = safe_name(method)
    if kind == "nifti":
        content = nifti_bytes(study, explanation)
        yield Exported(kind, method, f"{stem}.nii.gz", content)
    elif kind == "dicom-pm":
        ds = parametric_map(study, explanation, identify=options.identify)
        yield Exported(kind, method, f"{stem}-pm.dcm", dicom_bytes(ds))
    elif kind == "dicom-seg":
        ds = segmentation(
            study,
            explanation,
            percentile=options.seg_percentile,
            identify=options.identify,
        )
        yield Exported(kind, method, f"{stem}-seg.dcm", dicom_bytes(ds))
    else:
        captures = secondary_captures(study, explanation, identify=options.identify)
        # In the order in which they are made: ascending slices.
        names = [f"-slice{i}" for i in sorted(explanation.slices)] or [""]
        if study.is_volume and not explanation.slices:
            names = [f"-slice{i}" for i in range(study.slices)]
        for name, ds in zip(names, captures, strict=True):
            yield Exported(kind, method, f"{stem}-sc{name}.dcm", dicom_bytes(ds))
