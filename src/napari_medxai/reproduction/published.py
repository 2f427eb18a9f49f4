"""Figures that Brima & Atemkeng published, as far as they are known here.

Areas are those written in the figures of their article and of their code's notebooks.
What is not listed was not stated there, or not read: nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from napari_medxai.io import matlab

__all__ = [
    "CONFUSION",
    "EPOCHS",
    "F1",
    "MRI",
    "PRESET",
    "RADIOGRAPHS",
    "SOURCE",
    "TITLES",
    "Published",
    "area",
    "areas",
    "dataset_of",
]

SOURCE = (
    "Brima & Atemkeng, Saliency-driven explainable deep learning in medical imaging, "
    "BioData Mining 17:18 (2024)"
)
MRI, RADIOGRAPHS = "mri", "radiographs"
TITLES = {
    MRI: "brain tumour MRI (3064 slices, 3 classes)",
    RADIOGRAPHS: "chest radiographs (COVID-19)",
}
PRESET = "brima2024"  # the definition of curves that its areas belong to
EPOCHS = {MRI: 20, RADIOGRAPHS: 40}


@dataclass(frozen=True)
class Published:
    """A published figure.

    Attributes
    ----------
    value : float or None
        None where only words are known.
    note : str
        What goes with it.
    """

    value: float | None
    note: str = ""


# Macro F1 of an architecture.
F1: Mapping[tuple[str, str], Published] = {
    (MRI, "inception_resnet_v2"): Published(0.95, "split at random over slices"),
}
# Right answers and images of each class, of the same architecture.
CONFUSION: Mapping[str, Mapping[str, tuple[int, int]]] = {
    MRI: {"meningioma": (69, 72), "glioma": (133, 143), "pituitary": (91, 92)},
}
ABOUT_0 = Published(None, "about 0")
AREAS: Mapping[tuple[str, str, str], Published] = {
    (MRI, "aic", "scorecam"): Published(0.104, "0.084 in print"),
    (MRI, "aic", "xrai"): Published(0.073),
    # "the others": those whose SIC is known are the ones in the figure
    (MRI, "aic", "random"): ABOUT_0,
    (MRI, "aic", "guided_ig"): ABOUT_0,
    (MRI, "aic", "integrated_gradients"): ABOUT_0,
    (MRI, "aic", "gradcam"): ABOUT_0,
    (MRI, "aic", "gradcam_pp"): ABOUT_0,
    (MRI, "aic", "smoothgrad_ig"): ABOUT_0,
    (MRI, "sic", "random"): Published(0.654),
    (MRI, "sic", "guided_ig"): Published(0.513),
    (MRI, "sic", "scorecam"): Published(0.511),
    (MRI, "sic", "integrated_gradients"): Published(0.504),
    (MRI, "sic", "xrai"): Published(0.502),
    (MRI, "sic", "gradcam"): Published(0.498),
    (MRI, "sic", "smoothgrad_ig"): Published(0.479),
    (MRI, "sic", "gradcam_pp"): Published(0.449),
    (RADIOGRAPHS, "sic", "guided_ig"): Published(0.694),
    (RADIOGRAPHS, "sic", "integrated_gradients"): Published(0.679),
    (RADIOGRAPHS, "sic", "random"): Published(0.663),
}


def dataset_of(classes: Sequence[str]) -> str:
    """Say which of the paper's data sets has these classes; "" where none has.

    Only the names are compared: another data set may have the same classes.
    """
    found = {name.casefold() for name in classes}
    if found == set(matlab.CLASSES.values()):
        return MRI
    if any(name.startswith("covid") for name in found):
        return RADIOGRAPHS
    return ""


def area(dataset: str, metric: str, method: str) -> Published | None:
    """Return a published area under the curve."""
    return AREAS.get((dataset, metric, method))


def areas(dataset: str, metric: str) -> dict[str, Published]:
    """Return the published areas of a metric by method."""
    return {m: one for (d, of, m), one in AREAS.items() if (d, of) == (dataset, metric)}
