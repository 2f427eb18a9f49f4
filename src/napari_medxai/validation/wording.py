"""Names of quantities for people."""

from __future__ import annotations

__all__ = ["direction", "metric_label"]

LABELS = {
    "correct": "Answer is right",
    "label_probability": "Probability of the label",
    "aic_excluded": "Excluded from AIC",
    "sic_excluded": "Excluded from SIC",
    "aic": "AIC area",
    "sic": "SIC area",
    "aic_chance_rank": "Rank of the AIC area among chance maps",
    "sic_chance_rank": "Rank of the SIC area among chance maps",
    "pointing_hit": "Peak in mask",
    "relevance_mass": "Relevance in mask",
    "relevance_rank": "Relevance rank",
    "iou_mask_area": "IoU at mask area",
    "iou_otsu": "IoU at Otsu's threshold",
    "average_precision": "Average precision",
    "peak_distance_mm": "Distance of the peak to the mask, mm",
    "insertion_auc": "Insertion area",
    "deletion_auc": "Deletion area",
    "edge_spearman": "Rank correlation with edges",
    "randomised_spearman": "Rank correlation with the randomised network's map",
    "randomised_ssim": "SSIM to the randomised network's map",
    "tied_share": "Share of tied pixels",
}
SMALLER_IS_BETTER = ("aic_excluded", "sic_excluded", "peak_distance_mm", "deletion_auc")
LARGER_IS_BETTER = (
    *("correct", "label_probability", "aic", "sic"),
    *("aic_chance_rank", "sic_chance_rank", "pointing_hit", "relevance_mass"),
    *("relevance_rank", "iou_mask_area", "iou_otsu", "average_precision"),
    "insertion_auc",
)


def metric_label(metric: str) -> str:
    """Name of a metric for people; its own where it has no other."""
    name, colon, rest = metric.partition(":")
    if colon and name == "spearman":
        return f"Rank correlation with {rest}"
    return f"{LABELS.get(name, name)} ({rest})" if colon else LABELS.get(name, name)


def direction(metric: str) -> str:
    """Say which way is better, "" where neither is."""
    if metric in LARGER_IS_BETTER:
        return "larger is better"
    name = metric.partition(":")[0]
    if metric in SMALLER_IS_BETTER or name.startswith("randomised_"):
        return "smaller is better"
    return ""
