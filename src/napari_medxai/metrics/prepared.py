"""What the curves of all saliency maps of one image share, and those curves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medxai.errors import MetricError
from napari_medxai.metrics._checks import (
    BoolArray,
    FloatArray,
    Image,
    Predict,
    checked_map,
    expand,
    predicted,
)
from napari_medxai.metrics._work import Progress, mapped, report
from napari_medxai.metrics.curve import (
    InformationCurves,
    Knots,
    build_curve,
    normalise,
)
from napari_medxai.metrics.interpolation import blur, with_corners
from napari_medxai.metrics.presets import GateInput, Metric, Preset

__all__ = ["PreparedImage", "Revealed"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Revealed:
    """Images with the most salient pixels revealed, one a threshold.

    Attributes
    ----------
    images
        uint8 ``(N, H, W[, C])``: the distinct images that still need a forward.
    index
        int ``(T,)``: for each threshold its entry in `images`, -1 for the original,
        -2 for the fully blurred image.
    sizes
        float ``(T,)``: entropy in the preset's unit.
    fractions
        float ``(T,)``: part of the pixels that is revealed.
    """

    images: Image
    index: NDArray[np.int64]
    sizes: FloatArray
    fractions: FloatArray


_ORIGINAL, _BLURRED = -1, -2


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedImage:
    """What the curves of all saliency maps of one image have in common.

    Made by :func:`prepare`.

    Attributes
    ----------
    image, blurred
        uint8 ``(H, W)`` or ``(H, W, C)``: the original and the fully blurred image.
    random_mask
        bool ``(H, W)``: pixels kept in the blurred image, corners excepted.
    original_size, blurred_size
        Their entropies in the preset's unit.
    original_probabilities, blurred_probabilities
        float ``(K,)``: the network's predictions.
    preset
        The definition followed.
    seed
        Seed of the random mask and of the preset's ties.
    """

    image: Image = field(repr=False)
    blurred: Image = field(repr=False)
    random_mask: BoolArray = field(repr=False)
    original_size: float
    blurred_size: float
    original_probabilities: FloatArray
    blurred_probabilities: FloatArray
    preset: Preset = field(repr=False)
    seed: int
    _pixels: Image = field(repr=False)
    _predict: Predict = field(repr=False)
    _threads: int = field(repr=False)

    def excluded(
        self,
        target: int,
        *,
        label: int | None = None,
        min_probability: float = 0.8,
    ) -> tuple[str | None, str | None]:
        """Why this image has no AIC and no SIC: it does not depend on a map.

        Parameters
        ----------
        target, label, min_probability
            As in :meth:`curves`.

        Returns
        -------
        tuple
            For AIC and for SIC: None, or the reason in plain words.
        """
        target, label = self._classes(target, label)
        if not 0.0 <= min_probability <= 1.0:
            raise MetricError(
                f"min_probability {min_probability} is not between 0 and 1"
            )
        ends = (self.original_probabilities, self.blurred_probabilities)
        right = [float(np.argmax(p) == label) for p in ends]
        sure = [float(p[target]) for p in ends]
        reasons = {}
        metrics: tuple[tuple[Metric, list[float]], ...] = (
            ("aic", right),
            ("sic", sure),
        )
        for metric, (original, blurred) in metrics:
            reasons[metric] = self.preset.gate(
                GateInput(
                    metric=metric,
                    original_score=original,
                    blurred_score=blurred,
                    original_size=self.original_size,
                    blurred_size=self.blurred_size,
                    min_probability=min_probability,
                )
            )
        return reasons["aic"], reasons["sic"]

    def reveal(
        self, saliency_map: NDArray[Any], *, progress: Progress | None = None
    ) -> Revealed:
        """Make the images for all thresholds; no forward happens.

        Parameters
        ----------
        saliency_map
            float ``(H, W)``; larger is revealed earlier.
        progress
            Called as ``progress(done, total)`` after every image; what it raises
            stops the work.

        Raises
        ------
        MetricError
            If the map does not fit the image or holds NaN or infinite values.
        """
        masks = self.preset.reveal(
            checked_map(saliency_map, self.image),
            self.preset.thresholds,
            self.seed,
        )
        masks = [with_corners(mask | self.random_mask) for mask in masks]
        everything = np.ones_like(self.random_mask)
        slots = {
            _mask_key(with_corners(self.random_mask)): _BLURRED,
            _mask_key(everything): _ORIGINAL,
        }
        todo: list[BoolArray] = []
        index = []
        for mask in masks:
            found = _mask_key(mask)
            if found not in slots:
                slots[found] = len(todo)
                todo.append(mask)
            index.append(slots[found])
        pixels: list[Image] = []
        sizes: list[float] = []
        with mapped(self._render, todo, self._threads) as rendered:
            for image, size in rendered:
                pixels.append(image)
                sizes.append(size)
                report(progress, len(pixels), len(todo))
        # negative slots index the two ends, appended in this order
        sizes += [self.blurred_size, self.original_size]
        images = np.empty((0, *self.image.shape), dtype=np.uint8)
        if pixels:
            images = expand(np.stack(pixels), self.image)
        return Revealed(
            images=images,
            index=np.asarray(index, dtype=np.int64),
            sizes=np.asarray(sizes, dtype=np.float64)[index],
            fractions=np.asarray([mask.mean() for mask in masks]),
        )

    def curves(
        self,
        saliency_map: NDArray[Any],
        target: int,
        *,
        label: int | None = None,
        min_probability: float = 0.8,
        progress: Progress | None = None,
    ) -> InformationCurves:
        """AIC and SIC of one saliency map.

        Parameters
        ----------
        saliency_map
            float ``(H, W)``; larger means more important. Only its order counts.
        target
            Index of the class whose probability SIC follows.
        label
            Index of the class AIC counts as right; `target` where None.
        min_probability
            Least score of the original image, in [0, 1].
        progress
            Called as ``progress(done, total)`` after every image and after the
            forward; what it raises (:class:`~napari_medxai.errors.Cancelled`)
            stops the work.

        Returns
        -------
        InformationCurves
            An excluded image gives NaN curves that carry the reason; where both are
            excluded nothing is computed.

        Raises
        ------
        MetricError
            If the map does not fit the image or holds NaN or infinite values, a
            class does not exist, or the predictions are not finite ``(B, K)``.
        """
        reasons = self.excluded(target, label=label, min_probability=min_probability)
        target, label = self._classes(target, label)
        if None in reasons:
            steps = len(self.preset.thresholds) + 1

            def step(done: int, total: int) -> None:
                report(progress, steps - 1 - (total - done), steps)

            revealed = self.reveal(saliency_map, progress=step)
            knots = self._measure(revealed, target)
            report(progress, steps, steps)
        else:
            checked_map(saliency_map, self.image)
            knots = self._ends(target)
            report(progress, 1, 1)
        scores: tuple[tuple[Metric, NDArray[Any]], ...] = (
            ("aic", knots.predicted == label),
            ("sic", knots.probabilities),
        )
        built = {}
        for (metric, raw), reason in zip(scores, reasons, strict=True):
            x = y = np.empty(0)
            if reason is None:
                x = normalise(knots.sizes, monotone=False)
                y = normalise(raw, monotone=self.preset.monotone)
            built[metric] = build_curve(metric, x, y, self.preset, reason)
        return InformationCurves(
            aic=built["aic"],
            sic=built["sic"],
            knots=knots,
            preset=self.preset.name,
            target=target,
            label=label,
        )

    def _measure(self, revealed: Revealed, target: int) -> Knots:
        probabilities = np.empty((0, self.original_probabilities.size))
        if len(revealed.images):
            probabilities = predicted(self._predict, revealed.images)
        ends = np.stack([self.blurred_probabilities, self.original_probabilities])
        if probabilities.shape[1] != ends.shape[1]:
            raise MetricError(
                f"the network gave {ends.shape[1]} classes for the original image and"
                f" {probabilities.shape[1]} for the revealed ones"
            )
        every = np.concatenate([probabilities, ends])[revealed.index]
        return self._ends(target, every, revealed)

    def _ends(
        self,
        target: int,
        between: FloatArray | None = None,
        revealed: Revealed | None = None,
    ) -> Knots:
        """Knots of the two ends, and what was measured between them."""
        middle = [self.blurred_probabilities[None], self.original_probabilities[None]]
        if between is not None:
            middle.insert(1, between)
        probabilities = np.concatenate(middle)
        inner = () if revealed is None else self.preset.thresholds
        fractions = () if revealed is None else revealed.fractions
        sizes = () if revealed is None else revealed.sizes
        start = with_corners(self.random_mask).mean()
        return Knots(
            thresholds=np.array([0.0, *inner, 1.0]),
            revealed=np.array([start, *fractions, 1.0]),
            sizes=np.array([self.blurred_size, *sizes, self.original_size]),
            probabilities=probabilities[:, target],
            predicted=np.argmax(probabilities, axis=1).astype(np.int64),
        )

    def _render(self, mask: BoolArray) -> tuple[Image, float]:
        image = blur(self._pixels, mask)
        return image, float(self.preset.entropy(image))

    def _classes(self, target: int, label: int | None) -> tuple[int, int]:
        count = self.original_probabilities.size
        label = target if label is None else label
        for name, value in (("target", target), ("label", label)):
            if not 0 <= value < count:
                raise MetricError(
                    f"{name} {value} is not one of the network's {count} classes"
                    f" (0 to {count - 1})"
                )
        return int(target), int(label)


def _mask_key(mask: BoolArray) -> bytes:
    return np.packbits(mask).tobytes()
