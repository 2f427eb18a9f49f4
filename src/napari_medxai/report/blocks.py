"""What a report shows of one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CaseBlock", "CasePicture"]


@dataclass(frozen=True, kw_only=True)
class CasePicture:
    """One picture of a case, with what was measured of its map.

    Attributes
    ----------
    title : str
        The method's label, or for the plain image "Image".
    content : bytes
        The picture; empty where there is none, see `missing`.
    mime : str
        ``image/png`` or ``image/webp``.
    alt : str
        What is to be seen, for people who cannot see it; made up where "".
    plain : bool
        True for the image without a map, and for what the network sees: nothing was
        measured.
    missing : str
        Why there is no picture.
    reason : str
        All that is to be said of the row, as in ``results.csv``.
    aic_auc, sic_auc : float or None
    aic_excluded, sic_excluded : str
        Why there is no curve; "" where there is one.
    pointing_hit, relevance_mass, iou_mask_area : float or None
    chance : tuple of str
        How the map stands to its chance maps, in words.
    link : str
        Path of the larger picture relative to the report, or "".
    """

    title: str
    content: bytes = b""
    mime: str = "image/png"
    alt: str = ""
    plain: bool = False
    missing: str = ""
    reason: str = ""
    aic_auc: float | None = None
    sic_auc: float | None = None
    aic_excluded: str = ""
    sic_excluded: str = ""
    pointing_hit: float | None = None
    relevance_mass: float | None = None
    iou_mask_area: float | None = None
    chance: tuple[str, ...] = ()
    link: str = ""

    @property
    def concerns(self) -> tuple[str, ...]:
        """What makes the map worth nothing, see `saliency.concerns`."""
        parts = self.reason.split("; ")
        return tuple(part for part in parts if part.startswith("the map is "))


@dataclass(frozen=True, kw_only=True)
class CaseBlock:
    """A case that is drawn.

    Attributes
    ----------
    name : str
    slice : int or None
    why : tuple of str
        Why it is drawn: ``best``, ``worst``, ``excluded``, ``drawn by seed`` or any
        words.
    predicted_class, target_class : str
    probabilities : mapping of str to float
        Of all classes.
    label : str or None
    correct : bool or None
    pictures : tuple of CasePicture
    notes : tuple of str
    """

    name: str
    slice: int | None
    why: tuple[str, ...]
    predicted_class: str
    target_class: str
    probabilities: Mapping[str, float]
    label: str | None = None
    correct: bool | None = None
    pictures: tuple[CasePicture, ...] = ()
    notes: tuple[str, ...] = ()
