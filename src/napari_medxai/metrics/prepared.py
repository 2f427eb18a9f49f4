"""What the curves of all saliency maps of one image share, and those curves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
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
    predicted,
)
from napari_medxai.metrics._work import Progress, report, workers
from napari_medxai.metrics.curve import InformationCurves, Knots, read_curves
from napari_medxai.metrics.pixels import Pixels
from napari_medxai.metrics.plan import BLURRED, ORIGINAL, Plan, group_key, planned
from napari_medxai.metrics.presets import GateInput, Metric, Preset

__all__ = ["PreparedImage", "Revealed"]

GROUP_IMAGES = 64
GROUP_BYTES = 64_000_000
REMEMBERED = 64

Rendered = tuple[Image, dict[str, float]]
Forwards = tuple[list[dict[str, float]], FloatArray]


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


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedImage:
    """What the curves of all saliency maps of one image have in common.

    Made by :func:`prepare`. Presets that reveal the same pixels share images and
    forwards; each reads them in its own way.

    Attributes
    ----------
    image, blurred
        uint8: the original and the fully blurred image.
    random_mask
        bool, of the spatial shape: pixels kept in the blurred image, corners
        excepted.
    sizes
        By entropy: that of the blurred and that of the original image.
    original_probabilities, blurred_probabilities
        float ``(K,)``: the network's predictions.
    presets
        The definitions followed, by name.
    seed
        Seed of the random mask and of the order of ties.
    """

    image: Image = field(repr=False)
    blurred: Image = field(repr=False)
    random_mask: BoolArray = field(repr=False)
    sizes: Mapping[str, tuple[float, float]]
    original_probabilities: FloatArray
    blurred_probabilities: FloatArray
    presets: Mapping[str, Preset] = field(repr=False)
    seed: int
    _pixels: Pixels = field(repr=False)
    _predict: Predict = field(repr=False)
    _threads: int = field(repr=False)
    _known: OrderedDict[bytes, Forwards] = field(
        default_factory=OrderedDict, repr=False
    )

    def excluded(
        self,
        target: int,
        *,
        label: int | None = None,
        min_probability: float = 0.8,
    ) -> dict[str, tuple[str | None, str | None]]:
        """Why this image has no AIC and no SIC: it does not depend on a map.

        Parameters
        ----------
        target, label, min_probability
            As in :meth:`curves`.

        Returns
        -------
        dict
            By preset, for AIC and for SIC: None, or the reason in plain words.
        """
        target, label = self._classes(target, label)
        if not 0.0 <= min_probability <= 1.0:
            raise MetricError(
                f"min_probability {min_probability} is not between 0 and 1"
            )
        ends = (self.original_probabilities, self.blurred_probabilities)
        scores: dict[Metric, list[float]] = {
            "aic": [float(np.argmax(p) == label) for p in ends],
            "sic": [float(p[target]) for p in ends],
        }
        found = {}
        for name, preset in self.presets.items():
            blurred_size, original_size = self.sizes[preset.entropy.name]
            reasons = [
                preset.gate(
                    GateInput(
                        metric=metric,
                        original_score=original,
                        blurred_score=blurred,
                        original_size=original_size,
                        blurred_size=blurred_size,
                        min_probability=min_probability,
                    )
                )
                for metric, (original, blurred) in scores.items()
            ]
            found[name] = (reasons[0], reasons[1])
        return found

    def reveal(
        self,
        saliency_map: NDArray[Any],
        *,
        preset: str | None = None,
        progress: Progress | None = None,
    ) -> Revealed:
        """Make the images for all thresholds; no forward happens.

        Parameters
        ----------
        saliency_map
            float, of the spatial shape; larger is revealed earlier.
        preset
            Name of one of :attr:`presets`; the first where None.
        progress
            Called as ``progress(done, total)`` after every image; what it raises
            stops the work.

        Raises
        ------
        MetricError
            If the map does not fit the image or holds NaN or infinite values.
        """
        name = next(iter(self.presets)) if preset is None else preset
        plan = self._plan(saliency_map, [name])
        images: list[Image] = []
        sizes: list[dict[str, float]] = []
        with workers(self._threads) as pool:
            for future in [pool.submit(self._render, mask) for mask in plan.masks]:
                image, size = future.result()
                images.append(image)
                sizes.append(size)
                report(progress, len(images), len(plan.masks))
        return Revealed(
            images=self._pixels.expanded(images),
            index=plan.index[name],
            sizes=self._sizes(name, sizes)[plan.index[name]],
            fractions=plan.fractions[name],
        )

    def curves(
        self,
        saliency_map: NDArray[Any],
        target: int,
        *,
        label: int | None = None,
        min_probability: float = 0.8,
        progress: Progress | None = None,
    ) -> dict[str, InformationCurves]:
        """AIC and SIC of one saliency map, by preset.

        Parameters
        ----------
        saliency_map
            float, of the spatial shape; larger means more important. Only its order
            counts.
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
        dict of str to InformationCurves
            An excluded image gives NaN curves that carry the reason; where all are
            excluded nothing is computed.

        Raises
        ------
        MetricError
            If the map does not fit the image or holds NaN or infinite values, a
            class does not exist, or the predictions are not finite ``(B, K)``.
        """
        (found,) = self.curves_of(
            [saliency_map],
            target,
            label=label,
            min_probability=min_probability,
            progress=progress,
        )
        return found

    def curves_of(
        self,
        maps: Iterable[NDArray[Any]],
        target: int,
        *,
        label: int | None = None,
        min_probability: float = 0.8,
        progress: Progress | None = None,
    ) -> Iterator[dict[str, InformationCurves]]:
        """Curves of several maps, one after the other.

        Maps are taken in groups whose images go through the network together; the
        next group is made in threads meanwhile. A map's numbers depend on its group,
        so give maps that belong together (the chance maps of one method).

        Parameters
        ----------
        maps
            As in :meth:`curves`; taken as they are needed.
        target, label, min_probability, progress
            As in :meth:`curves`; the total of `progress` is that of a group.

        Yields
        ------
        dict of str to InformationCurves
            In the order of the maps.
        """
        reasons = self.excluded(target, label=label, min_probability=min_probability)
        target, label = self._classes(target, label)
        wanted = [name for name, pair in reasons.items() if None in pair]
        size = max(len(p.thresholds) for p in self.presets.values())
        images = min(GROUP_IMAGES, max(1, GROUP_BYTES // self.image.nbytes))
        waiting = iter(maps)
        with workers(self._threads) as pool:
            behind: tuple[list[Plan], list[Future[Rendered]] | None] | None = None
            while True:
                group = [
                    self._plan(one, wanted)
                    for one in islice(waiting, max(1, images // size))
                ]
                ahead = None
                if group:
                    known = group_key(group) in self._known
                    masks = [] if known else [m for plan in group for m in plan.masks]
                    ahead = (
                        group,
                        None
                        if known
                        else [pool.submit(self._render, mask) for mask in masks],
                    )
                if behind is not None:
                    yield from self._finish(*behind, reasons, target, label, progress)
                if ahead is None:
                    return
                behind = ahead

    def _finish(
        self,
        group: list[Plan],
        futures: list[Future[Rendered]] | None,
        reasons: Mapping[str, tuple[str | None, str | None]],
        target: int,
        label: int,
        progress: Progress | None,
    ) -> Iterator[dict[str, InformationCurves]]:
        """Predict a group's images and read the curves."""
        key = group_key(group)
        total = sum(len(plan.masks) for plan in group) + 1
        if futures is None:
            self._known.move_to_end(key)
        else:
            images: list[Image] = []
            measured: list[dict[str, float]] = []
            for future in futures:
                image, size = future.result()
                images.append(image)
                measured.append(size)
                report(progress, len(images), total)
            self._known[key] = (measured, self._forward(images))
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        sizes, probabilities = self._known[key]
        report(progress, total, total)
        first = 0
        for plan in group:
            part = slice(first, first + len(plan.masks))
            first = part.stop
            yield {
                name: self._read(
                    preset,
                    plan,
                    sizes[part],
                    probabilities[part],
                    reasons[name],
                    target,
                    label,
                )
                for name, preset in self.presets.items()
            }

    def _plan(self, saliency_map: NDArray[Any], names: Sequence[str]) -> Plan:
        values = checked_map(saliency_map, self.random_mask)
        presets = {name: self.presets[name] for name in names}
        return planned(values, self.random_mask, self._pixels, presets, self.seed)

    def _render(self, mask: BoolArray) -> Rendered:
        image = self._pixels.blur(mask)
        return image, self._pixels.sizes(image, self.presets.values())

    def _forward(self, images: list[Image]) -> FloatArray:
        classes = self.original_probabilities.size
        if not images:
            return np.empty((0, classes))
        result = predicted(self._predict, self._pixels.expanded(images))
        if result.shape[1] != classes:
            raise MetricError(
                f"the network gave {classes} classes for the original image and"
                f" {result.shape[1]} for the revealed ones"
            )
        return result

    def _sizes(self, name: str, measured: Sequence[dict[str, float]]) -> FloatArray:
        """Sizes of the images, and of the two ends, which negative slots index."""
        entropy = self.presets[name].entropy.name
        return np.array([*(m[entropy] for m in measured), *self.sizes[entropy]])

    def _read(
        self,
        preset: Preset,
        plan: Plan,
        measured: Sequence[dict[str, float]],
        probabilities: FloatArray,
        reasons: tuple[str | None, str | None],
        target: int,
        label: int,
    ) -> InformationCurves:
        """Read both curves of one map under one preset."""
        ends = np.stack([self.blurred_probabilities, self.original_probabilities])
        # the two ends alone where the preset asked for no image
        index = plan.index.get(preset.name, np.empty(0, dtype=np.int64))
        between = np.concatenate([probabilities, ends])[index]
        sizes = self._sizes(preset.name, measured)
        every = np.concatenate([ends[:1], between, ends[1:]])
        start = self._pixels.with_corners(self.random_mask).mean()
        fractions = plan.fractions.get(preset.name, np.empty(0))
        inner = preset.thresholds[: len(index)]
        knots = Knots(
            thresholds=np.array([0.0, *inner, 1.0]),
            revealed=np.array([start, *fractions, 1.0]),
            sizes=np.array([sizes[BLURRED], *sizes[index], sizes[ORIGINAL]]),
            probabilities=every[:, target],
            predicted=np.argmax(every, axis=1).astype(np.int64),
        )
        return read_curves(knots, preset, reasons, target, label)

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
