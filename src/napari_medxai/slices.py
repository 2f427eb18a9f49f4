"""One slice: its input, prediction, class to explain, map and picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import saliency
from .display import Screen, window_image
from .errors import ModelError, StudyError, UsageError
from .models import Classifier
from .preprocess import NetworkInput
from .results import NetworkView, Outcome, SliceView
from .study import Study

__all__ = [
    "SliceJob",
    "job_of",
    "map_concerns",
    "resolve_indices",
    "saliency_map",
    "select_slices",
    "slice_mask",
    "target_layer",
    "views",
]


def select_slices(study: Study, how: str | None) -> tuple[int, ...]:
    """Resolve ``--slices`` for a volume under a 2-D model.

    Parameters
    ----------
    study : Study
        A volume.
    how : str or None
        See :class:`Settings`.

    Returns
    -------
    tuple of int

    Raises
    ------
    StudyError
        If ``mask`` is asked for and there is none, or a range is empty.
    """
    mask = study.mask
    if how is None:
        how = "mask" if mask is not None and mask.any() else "middle"
    if how == "all":
        return tuple(range(study.slices))
    if how == "middle":
        return (study.slices // 2,)
    if how == "mask":
        if mask is None or not mask.any():
            raise StudyError(
                f"{study.identifier}: no mask, so no slices with a lesion; choose "
                "slices 'middle', 'all' or 'A:B'."
            )
        return tuple(int(i) for i in np.flatnonzero(mask.any(axis=(1, 2))))
    try:
        first, last = how.split(":")
        chosen = range(
            *slice(int(first or 0), int(last or study.slices)).indices(study.slices)
        )
    except ValueError:
        raise UsageError(
            f"slices '{how}' is not mask, middle, all or A:B (B excluded)."
        ) from None
    if not chosen:
        raise StudyError(
            f"{study.identifier}: slices {how} are empty; there are {study.slices}."
        )
    return tuple(chosen)


@dataclass(frozen=True, eq=False)
class SliceJob:
    """One network input with its prediction and the class to explain."""

    input: NetworkInput
    tensor: torch.Tensor
    probabilities: NDArray[np.float64]
    target: int
    shared: saliency.Shared = field(default_factory=saliency.Shared)


def job_of(
    study: Study,
    model: Classifier,
    index: int | None,
    target: str | int,
    label: str | None,
) -> SliceJob:
    """Compute a slice's input and prediction, and choose the class to explain."""
    data = model.input(study, index)
    probabilities = model.probabilities(data.image[None])[0]
    if isinstance(target, int):
        if not 0 <= target < len(model.classes):
            raise ModelError(f"class {target} does not exist in '{model.name}'.")
        chosen = target
    elif target == "predicted":
        chosen = int(probabilities.argmax())
    elif target == "label":
        if label is None:
            raise UsageError(
                f"{study.identifier}: target is 'label', but the case has no label; "
                "give --labels or a labels.csv."
            )
        known = model.label_indices(label) or (model.class_index(label),)
        chosen = max(known, key=lambda k: float(probabilities[k]))
    else:
        chosen = model.class_index(target)
    return SliceJob(data, model.tensor(data.image[None]), probabilities, chosen)


def saliency_map(
    model: Classifier,
    name: str,
    job: SliceJob,
    parameters: Mapping[str, Any],
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> NDArray[np.float32]:
    """Saliency map of one input on the network's grid."""
    chosen = dict(parameters)
    if model.card.target_layer is not None:
        chosen.setdefault("target_layer", model.card.target_layer)
    module, target = model.explained(job.target)
    result = saliency.compute(
        name,
        module,
        job.tensor,
        torch.tensor([target], device=model.device),
        seed=seed,
        progress=progress,
        batch_size=model.batch_size,
        precision="bf16" if model.precision == "bf16" else "fp32",
        shared=job.shared,
        **chosen,
    )
    array: NDArray[np.float32] = result[0].float().cpu().numpy()
    return array


def map_concerns(
    model: Classifier,
    name: str,
    job: SliceJob,
    network_map: NDArray[np.float32],
    parameters: Mapping[str, Any],
    progress: Callable[[int, int], None] | None,
) -> list[str]:
    """Say what makes a map worth nothing; see :mod:`.saliency.concerns`.

    Whether it is the same for the second most probable class is asked of own methods:
    those of other libraries have no parameters that make the question cheap.
    """
    found = saliency.map_concern(torch.from_numpy(network_map))
    if found is not None:
        return [found]
    if ":" in name or len(job.probabilities) < 2:
        return []
    others = [k for k in np.argsort(-job.probabilities) if k != job.target]
    same = saliency.class_concern(
        name,
        model.module,
        job.tensor,
        job.target,
        int(others[0]),
        target_layer=parameters.get("target_layer", model.card.target_layer),
        precision="bf16" if model.precision == "bf16" else "fp32",
        shared=job.shared,
        # The map is done: this may cancel, and moves no bar.
        progress=None if progress is None else lambda *_: progress(1, 1),
    )
    return [] if same is None else [same]


def target_layer(
    model: Classifier, name: str, job: SliceJob, parameters: Mapping[str, Any]
) -> Any:
    """Layer that a CAM read; None for methods that read none."""
    if "target_layer" not in saliency.get(name).parameters:
        return None
    given = parameters.get("target_layer", model.card.target_layer)
    return given or saliency.find_target_layer(model.module, job.tensor)


def views(
    study: Study, model: Classifier, outcomes: Sequence[Outcome]
) -> Iterator[SliceView]:
    """Collect what the pictures need, turned for the screen."""
    screen = Screen.of(study)
    by_slice: dict[int | None, list[Outcome]] = {}
    for outcome in outcomes:
        by_slice.setdefault(outcome.slice, []).append(outcome)
    for index, own in by_slice.items():
        shown = _shown(study) if index is None else index
        mask = slice_mask(study, shown)
        data = own[0].input if shown == index else None
        maps = {o.method: o.map for o in own if o.map is not None}
        if shown != index:
            maps = {method: volume[shown] for method, volume in maps.items()}
        yield SliceView(
            slice=index,
            image=screen.turn(window_image(study, shown)),
            mask=None if mask is None else screen.turn(mask),
            probabilities=dict(
                zip(model.classes, map(float, own[0].probabilities), strict=True)
            ),
            maps={method: screen.turn(one) for method, one in maps.items()},
            screen=screen,
            network=None
            if data is None
            else NetworkView(data.image, data.padding, screen.turn(data.seen)),
        )


def _shown(study: Study) -> int | None:
    """Slice that stands for a volume: with most of the lesion, else the middle one."""
    if not study.is_volume:
        return None
    mask = study.mask
    if mask is not None and mask.any():
        return int(mask.sum(axis=(1, 2)).argmax())
    return study.slices // 2


def slice_mask(study: Study, index: int | None) -> NDArray[np.bool_] | None:
    """Return the union of the masks in a slice, None without masks."""
    if index is None or not study.masks:
        return study.mask
    union: NDArray[np.bool_] = np.logical_or.reduce(
        [mask[index] for mask in study.masks.values()]
    )
    return union


def resolve_indices(
    study: Study, model: Classifier, slices: str | Sequence[int] | None
) -> tuple[int | None, ...]:
    """Resolve the slices to explain; (None,) for an image or a 3-D network."""
    available = model.preprocessing.indices(study)
    if available == (None,):
        return available
    if slices is None or isinstance(slices, str):
        return select_slices(study, slices)
    return tuple(slices)
