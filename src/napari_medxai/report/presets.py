"""What the presets of the information curves do, in words."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medxai.errors import MetricError
from napari_medxai.metrics.presets import get_preset

__all__ = ["Traits", "axis_text", "preset_text", "traits"]

WHAT = {
    "pair": "Curves as the PAIR library defines them (Kapishnikov et al. 2019): the "
    "image is revealed from its blurred version in the map's order; pixels that tie "
    "are revealed together.",
    "brima2024": "Curves as in Brima & Atemkeng 2024: revealed as PAIR does, but "
    "images that stay right when they are blurred are kept, with a curve that is zero "
    "throughout.",
    "corrected": "PAIR's curves with its traps removed: exactly the stated share of "
    "the pixels is revealed, revealing stops where the map's ranking ends (pixels "
    "tied at its minimum), and score gained at no extra information counts.",
}
ENTROPY = {
    "webp": "the size of a lossless WebP file",
    "histogram": "the entropy of the histogram of gray values, which does not look at "
    "where a value lies",
    "ms_ssim": "the likeness to the original (MS-SSIM)",
}
# How a preset treats pixels that tie, and images that stay right when blurred.
TIES = {"pair": "together", "brima2024": "together", "corrected": "stops"}
GATE = {"pair": "drops", "brima2024": "keeps", "corrected": "drops"}


@dataclass(frozen=True)
class Traits:
    """What presets disagree about.

    Attributes
    ----------
    base : str
        The preset without another entropy.
    entropy : str
        ``webp``, ``histogram``, ``ms_ssim`` or another name.
    ties : str
        ``together``: what ties is revealed at once; ``stops``: not what ties at the
        minimum; "" where it is not known.
    gate : str
        What AIC does with images that stay right when blurred: ``drops`` or
        ``keeps``; "" where it is not known.
    """

    base: str
    entropy: str
    ties: str
    gate: str


def traits(preset: str) -> Traits:
    """Return what a preset does, by its name (``NAME`` or ``NAME:ENTROPY``)."""
    base, _, asked = preset.partition(":")
    try:
        entropy = get_preset(preset).entropy.name
    except MetricError:
        entropy = asked
    return Traits(base, entropy, TIES.get(base, ""), GATE.get(base, ""))


def preset_text(preset: str) -> str:
    """Say what a preset is; "" for one that is not known."""
    found = traits(preset)
    parts = [WHAT.get(found.base, "")]
    if found.entropy in ENTROPY:
        parts.append(f"The x axis is {ENTROPY[found.entropy]}.")
    parts.append("Median curve over images.")
    return " ".join(filter(None, parts)) if parts[0] else ""


def axis_text(preset: str) -> str:
    """Say what the x axis of a preset's drawing measures."""
    try:
        return get_preset(preset).entropy.text
    except MetricError:
        return "information"
