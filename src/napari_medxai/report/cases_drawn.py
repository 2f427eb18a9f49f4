"""Which slices the report draws, and what it says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from napari_medxai import saliency

from .content import CaseBlock, CasePicture
from .measures import measure_rows
from .naming import safe_name
from .network import NETWORK_PICTURE, network_text
from .records import Row, StoredCase
from .sentences import case_sentence

__all__ = [
    "Unit",
    "case_block",
    "chance_sentences",
    "choose",
    "overlay_stem",
    "rows_of",
    "slices_of",
    "volume_sentences",
]

BEST, WORST = "best: highest mean SIC", "worst: lowest mean SIC"
Unit: TypeAlias = tuple[StoredCase, int | None]


def overlay_stem(name: str, index: int | None) -> str:
    """Stem of an exported overlay's file name."""
    return safe_name(name if index is None else f"{name}-slice{index}")


def slices_of(case: StoredCase) -> list[int | None]:
    """Slices of a case that were measured; [None] of an image."""
    return list(dict.fromkeys(row.slice for row in case.rows))


def rows_of(unit: Unit) -> list[Row]:
    """Rows of one slice, all methods and presets."""
    case, index = unit
    return [row for row in case.rows if row.slice == index]


def choose(
    units: Sequence[Unit], methods: Sequence[str], drawn: int, seed: int
) -> list[tuple[Unit, tuple[str, ...]]]:
    """Choose what is drawn: best, worst, excluded, the rest by seed."""
    scores = np.array([_score(unit, methods) for unit in units])
    order = [int(i) for i in np.argsort(-scores, kind="stable")]
    scored = [i for i in order if np.isfinite(scores[i])]
    excluded = [i for i in range(len(units)) if not np.isfinite(scores[i])]
    quarter = max(1, drawn // 4)
    why: dict[int, list[str]] = {}

    def take(indices: Sequence[int], reason: str) -> None:
        for i in indices:
            if i in why:
                why[i].append(reason)
            elif len(why) < drawn:
                why[i] = [reason]

    if len(units) > drawn:
        take(scored[:quarter], BEST)
        take(scored[::-1][:quarter], WORST)
        take(excluded[:quarter], "excluded")
        rest = np.random.default_rng(seed).permutation(len(units))
        take([int(i) for i in rest if i not in why], "drawn by seed")
    else:
        why = {i: [] for i in range(len(units))}
        if len(scored) > 1:
            take(scored[:1], BEST)
            take(scored[-1:], WORST)
        take(excluded, "excluded")
    return [(units[i], tuple(why[i])) for i in sorted(why)]


def _score(unit: Unit, methods: Sequence[str]) -> float:
    """Mean SIC area over the methods that look at the network; NaN if excluded."""
    looking = {m for m in methods if saliency.get(m).needs_network}
    areas = [
        row.sic.auc
        for row in rows_of(unit)
        if row.sic is not None and (row.method in looking or not looking)
    ]
    finite = [a for a in areas if np.isfinite(a)]
    return float(np.mean(finite)) if finite else float("nan")


def case_block(
    unit: Unit,
    why: tuple[str, ...],
    methods: Sequence[str],
    labels: Mapping[str, str],
    *,
    overlays: bool,
    whole: Mapping[str, Sequence[str]] | None = None,
) -> CaseBlock:
    """Put together what is shown of one slice.

    Parameters
    ----------
    unit : tuple
        Case and slice. Of several presets the first one's numbers are shown.
    why : tuple of str
        Why it is drawn.
    methods : sequence of str
    labels : mapping of str to str
    overlays : bool
        Whether the larger pictures can be linked.
    whole : mapping of str to sequence of str
        By method: what is said of all slices of the volume together.

    Returns
    -------
    CaseBlock
    """
    case, index = unit
    rows = rows_of((case, index))
    stem = overlay_stem(case.name, index)
    pictures = [
        CasePicture(
            title="Image",
            plain=True,
            content=_content(case, index, ""),
            mime="image/webp",
            link=f"overlays/{stem}_image.png" if overlays else "",
        )
    ]
    network = _content(case, index, NETWORK_PICTURE)
    if network:
        pictures.append(
            CasePicture(
                title="What the network sees",
                plain=True,
                content=network,
                mime="image/webp",
                alt=network_text(case.name),
            )
        )
    for name in methods:
        row = next((r for r in rows if r.method == name), None)
        if row is None:
            continue
        place = row.localization
        pictures.append(
            CasePicture(
                title=labels[name],
                content=_content(case, index, name),
                mime="image/webp",
                missing=row.reason if row.status == "failed" else "",
                reason=row.reason,
                aic_auc=None if row.aic is None else row.aic.auc,
                sic_auc=None if row.sic is None else row.sic.auc,
                aic_excluded=(row.aic.excluded or "") if row.aic else "",
                sic_excluded=(row.sic.excluded or "") if row.sic else "",
                pointing_hit=None if place is None else place.pointing_hit,
                relevance_mass=None if place is None else place.relevance_mass,
                iou_mask_area=None if place is None else place.iou_mask_area,
                chance=(*chance_sentences(row), *(whole or {}).get(name, ())),
                link=f"overlays/{stem}_{safe_name(name)}.png" if overlays else "",
            )
        )
    return CaseBlock(
        name=case.name,
        slice=index,
        why=why,
        predicted_class=rows[0].predicted_class,
        target_class=rows[0].target_class,
        probabilities=case.probabilities.get(index, {}),
        label=rows[0].label,
        correct=rows[0].correct,
        pictures=tuple(pictures),
        notes=case.notes,
    )


def chance_sentences(row: Row) -> tuple[str, ...]:
    """Say how a map stands to its chance maps, for each curve it has."""
    if row.chance is None:
        return ()
    found = (("sic", row.chance.sic), ("aic", row.chance.aic))
    return tuple(
        case_sentence(
            metric,
            rank=curves.rank,
            drawn=row.chance.n,
            null=row.chance.null,
            p_value=curves.p_value,
        )
        for metric, curves in found
        if curves is not None
    )


def volume_sentences(case: StoredCase, preset: str) -> dict[str, list[str]]:
    """Say by method how all slices of a volume stand to chance together.

    Parameters
    ----------
    case : StoredCase
    preset : str

    Returns
    -------
    dict of str to list of str
        Empty for an image, and where there were no chance maps.
    """
    null = next((r.chance.null for r in case.rows if r.chance is not None), None)
    if null is None or len(slices_of(case)) < 2:
        return {}
    values = {
        (line["method"], line["metric"]): line["value"]
        for line in measure_rows([case])
        if line["slice"] is None and line["preset"] == preset
    }
    said: dict[str, list[str]] = {}
    for metric in ("sic", "aic"):
        for method in dict.fromkeys(method for method, _ in values):
            rank = values.get((method, f"{metric}_chance_rank"))
            if rank is not None:
                sentence = case_sentence(
                    metric,
                    rank=rank,
                    drawn=int(values[method, f"{metric}_chance_n"]),
                    null=null,
                    p_value=values.get((method, f"{metric}_p_value"), float("nan")),
                    whole=True,
                )
                said.setdefault(method, []).append(sentence)
    return said


def _content(case: StoredCase, index: int | None, method: str) -> bytes:
    path = case.pictures.get((index, method))
    return b"" if path is None else path.read_bytes()
