"""Which DICOM elements are read from headers, and what they tell slices apart by."""

from __future__ import annotations

__all__ = [
    "COMPANIONS",
    "GROUPS",
    "MEDIA_DIRECTORY",
    "MOMENTS",
    "NOT_IMAGES",
    "PARAMETRIC_MAPS",
    "SPACINGS",
    "SPLITTERS",
    "TAGS",
]

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
COMPANIONS = frozenset({"SEG", "RTSTRUCT"})
NOT_IMAGES = COMPANIONS | {
    "ANN",
    "AU",
    "DOC",
    "ECG",
    "EPS",
    "FID",
    "HD",
    "KO",
    "PLAN",
    "PR",
    "REG",
    "RESP",
    "RTDOSE",
    "RTPLAN",
    "RTRECORD",
    "SMR",
    "SR",
    "TEXTUREMAP",
}
PARAMETRIC_MAPS = frozenset({"1.2.840.10008.5.1.4.1.1.30"})

# By what slices at one position may rightly differ; on equal terms the first is taken.
SPLITTERS = {
    "AcquisitionNumber": "acquisition",
    "FrameAcquisitionNumber": "acquisition",
    "TemporalPositionIdentifier": "time point",
    "TemporalPositionIndex": "time point",
    "EchoTime": "echo time",
    "EffectiveEchoTime": "echo time",
    "DiffusionBValue": "b-value",
    "DiffusionGradientOrientation": "gradient",
    "TriggerTime": "trigger time",
    "NominalCardiacTriggerDelayTime": "trigger delay",
    "InversionTime": "inversion time",
    "FlipAngle": "flip angle",
    "FrameReferenceTime": "frame time",
    "ImageType": "image type",
    "FrameType": "frame type",
    "ComplexImageComponent": "component",
    "ReferencedSegmentNumber": "segment",
    "AcquisitionTime": "time point",
}
# Clock times: every slice can have its own, and nobody needs to read them.
MOMENTS = frozenset({"AcquisitionTime"})
# The functional group of a multi-frame object that holds the element.
GROUPS = {
    "FrameAcquisitionNumber": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "NominalCardiacTriggerDelayTime": "CardiacSynchronizationSequence",
    "FrameType": "MRImageFrameTypeSequence",
    "ReferencedSegmentNumber": "SegmentIdentificationSequence",
}
SPACINGS = {
    "PixelSpacing": "",
    "ImagerPixelSpacing": "spacing is that of the detector (ImagerPixelSpacing), not "
    "of the patient: magnification is not corrected",
    "NominalScannedPixelSpacing": "spacing is that of a scanned film "
    "(NominalScannedPixelSpacing)",
}
TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "Modality",
    "SeriesDescription",
    "PatientName",
    "OtherPatientNames",
    "PatientID",
    "OtherPatientIDs",
    "PatientBirthDate",
    "AccessionNumber",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelAspectRatio",
    "BurnedInAnnotation",
    "RecognizableVisualFeatures",
    "GridFrameOffsetVector",
    "DimensionIndexSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
    *SPLITTERS,
    *SPACINGS,
]
