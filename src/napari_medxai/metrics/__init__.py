"""How far a saliency map can be trusted: information curves and localisation."""

from __future__ import annotations

from napari_medxai.metrics.aggregation import (
    Aggregate,
    Exclusion,
    aggregate,
    exclusions,
)
from napari_medxai.metrics.agreement import edge_map, spearman
from napari_medxai.metrics.body import body_mask
from napari_medxai.metrics.chance import NULLS, Chance, ChanceCurves, against_chance
from napari_medxai.metrics.curve import InformationCurve, InformationCurves, Knots
from napari_medxai.metrics.entropy import histogram_entropy, ms_ssim, webp_size
from napari_medxai.metrics.faithfulness import Faithfulness, insertion_deletion
from napari_medxai.metrics.interpolation import blur, random_mask
from napari_medxai.metrics.localization import Localization, localize
from napari_medxai.metrics.nulls import random_pixels, ranked_like, surrogate
from napari_medxai.metrics.pic import information_curves, prepare
from napari_medxai.metrics.prepared import PreparedImage, Revealed
from napari_medxai.metrics.presets import (
    Preset,
    get_preset,
    preset_names,
    tied_share,
)
from napari_medxai.metrics.sanity import Similarity, similarity

__all__ = [
    "NULLS",
    "Aggregate",
    "Chance",
    "ChanceCurves",
    "Exclusion",
    "Faithfulness",
    "InformationCurve",
    "InformationCurves",
    "Knots",
    "Localization",
    "PreparedImage",
    "Preset",
    "Revealed",
    "Similarity",
    "against_chance",
    "aggregate",
    "blur",
    "body_mask",
    "edge_map",
    "exclusions",
    "get_preset",
    "histogram_entropy",
    "information_curves",
    "insertion_deletion",
    "localize",
    "ms_ssim",
    "prepare",
    "preset_names",
    "random_mask",
    "random_pixels",
    "ranked_like",
    "similarity",
    "spearman",
    "surrogate",
    "tied_share",
    "webp_size",
]
