"""What the engine hands out: explanations, outcomes, finished cases.

Pure data. A :class:`Outcome` is one row of ``results.csv``; a :class:`CaseResult`
is everything that is known of a case once it is finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .display import Screen

if TYPE_CHECKING:
    from .inputs import NetworkInput
    from .io import Case
    from .metrics import Chance, InformationCurves, Localization
    from .study import Study

__all__ = [
    "CaseError",
    "CaseResult",
    "Explanation",
    "Exported",
    "NetworkView",
    "Outcome",
    "SliceView",
    "Step",
]


@dataclass(frozen=True)
class Step:
    """Progress of one study, handed to the progress callback.

    Attributes
    ----------
    stage : str
        ``read``, ``predict``, ``explain`` or ``curves``.
    method : str
        The method at work, "" outside of methods.
    slice : int or None
    fraction : float
        Share of the study's work that is done, 0 to 1.
    """

    stage: str
    method: str = ""
    slice: int | None = None
    fraction: float = 0.0


@dataclass(frozen=True, eq=False)
class Explanation:
    """One method's saliency map of one study.

    Attributes
    ----------
    method : str
    map : ndarray of float32
        On the native grid: (row, column), or (slice, row, column) with NaN in the
        slices that were not explained. Larger means more important; the scale is the
        method's own.
    target : int
        The class explained; of several slices the one of the first.
    target_class : str
    slices : tuple of int
        Slices explained; empty for an image.
    targets : tuple of int
        The class explained in each of `slices` (one entry for an image).
    probabilities : ndarray, shape (n, K)
        The network's answer for each slice explained.
    provenance : mapping
        How it was made: input and model hash, parameters, target layer, seed,
        versions.
    target_classes : tuple of str
        Names of `targets`.
    """

    method: str
    map: NDArray[np.float32]
    target: int
    target_class: str
    slices: tuple[int, ...]
    targets: tuple[int, ...]
    probabilities: NDArray[np.float64]
    provenance: Mapping[str, Any]
    target_classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Outcome:
    """One method under one preset on one slice: a row of ``results.csv``.

    Attributes
    ----------
    method, preset : str
    slice : int or None
    status : str
        ``ok``, or ``failed`` where the method could not run.
    reason : str
        Why it failed, or why a curve was excluded.
    predicted_class, target_class : str
    probability : float
        The network's probability of the target class on the network input image.
    label : str or None
    correct : bool or None
        None without label.
    probabilities : ndarray of float64, shape (K,)
        The network's answer for all classes.
    curves : InformationCurves or None
    localization : Localization or None
        None without a mask in this slice.
    chance : Chance or None
        How the curves stand among those of chance maps; None where not asked for.
    measures : mapping of str to float
        What else was measured of the map, by name: ``iou_otsu``, ``insertion_auc``,
        ``spearman:METHOD`` and so on; see ``docs/measures.md``.
    lesion_mm2 : float
        Area of the mask in this slice in mm², in pixels where the spacing is not
        known; NaN without mask.
    map : ndarray of float32 or None
        The saliency map on the native slice; not stored with the row.
    input : NetworkInput or None
        What the network saw of the slice, for pictures; not stored with the row.
    """

    method: str
    preset: str
    slice: int | None
    status: str
    reason: str
    predicted_class: str
    probability: float
    target_class: str
    label: str | None
    correct: bool | None
    probabilities: NDArray[np.float64] = field(repr=False)
    curves: InformationCurves | None = None
    localization: Localization | None = None
    chance: Chance | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    lesion_mm2: float = float("nan")
    map: NDArray[np.float32] | None = field(default=None, repr=False)
    input: NetworkInput | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class NetworkView:
    """What the network sees of a slice.

    Attributes
    ----------
    image : ndarray of uint8
        The network input image; a 2-D network's stands as on the screen.
    padding : ndarray of bool
        Its pixels that were added around the native ones.
    seen : ndarray of bool
        Native pixels that were not cropped away, turned for the screen.
    """

    image: NDArray[np.uint8]
    padding: NDArray[np.bool_]
    seen: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SliceView:
    """What a picture of one slice needs.

    Attributes
    ----------
    slice : int or None
    image : ndarray of uint8
        The native slice, window applied, turned for the screen; colour last.
    mask : ndarray of bool or None
    probabilities : mapping of str to float
    maps : mapping of str to ndarray of float32
        Saliency maps on the native slice, turned for the screen, by method.
    screen : Screen
        How the native slice was turned: image, mask and maps stand as on a
        radiologist's screen, with its edge letters and pixel aspect.
    network : NetworkView or None
        What the network sees of the slice; None where that is not to be shown.
    """

    slice: int | None
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    probabilities: Mapping[str, float]
    maps: Mapping[str, NDArray[np.float32]]
    screen: Screen
    network: NetworkView | None = None


@dataclass(frozen=True, eq=False)
class Exported:
    """One file to keep with a case, or why there is none.

    Attributes
    ----------
    kind : str
        As ``--export`` names it: ``png``, ``nifti``, ``dicom-pm`` and so on.
    method : str
        The method whose map it is; "" for the plain image.
    name : str
        The file's name within its case; "" where there is no file.
    content : bytes
    reason : str
        Why there is no file.
    failed : bool
        Whether that is an error, and not only how the study is.
    """

    kind: str
    method: str
    name: str = ""
    content: bytes = field(default=b"", repr=False)
    reason: str = ""
    failed: bool = False


@dataclass(frozen=True)
class CaseError:
    """A row of ``errors.csv``: what failed in a case and at which stage."""

    case: str
    stage: str
    error: str
    detail: str


@dataclass(frozen=True, eq=False)
class CaseResult:
    """A finished case, successful or not.

    Attributes
    ----------
    case : Case
    key : str
        What the numbers depend on, hashed; "" where the case could not be read.
    resumed : bool
        True where a finished result of this key exists, so that nothing was done.
    outcomes : tuple of Outcome
        Rows in the order slice, method, preset.
    views : tuple of SliceView
    errors : tuple of CaseError
    notes : tuple of str
        What the reader noted.
    seconds : mapping of str to float
        Time by stage.
    provenance : mapping
    study : Study or None
        The case as it was read, for exports; None where nothing was computed.
    """

    case: Case
    key: str = ""
    resumed: bool = False
    outcomes: tuple[Outcome, ...] = ()
    views: tuple[SliceView, ...] = ()
    errors: tuple[CaseError, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    study: Study | None = field(default=None, repr=False)
