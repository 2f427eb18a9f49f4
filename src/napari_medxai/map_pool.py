"""Maps of all cases of a run, computed once and kept.

The null ``other_case`` takes the same method's map of another patient as chance map,
so that every case needs the maps of others. And whoever tries several presets, nulls
or checks on one set of cases need not explain it again.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .chance_maps import Donors
from .errors import MetricError, OutputError, UsageError
from .files import output_errors, write_atomically
from .io import Case

__all__ = ["MapPool", "Maps"]

Map = NDArray[np.float32]
Maps = Mapping[tuple[int | None, str], Map]


class MapPool:
    """Maps on the network's grid, by case.

    Parameters
    ----------
    folder : Path
        Where they are kept.
    cases : sequence of Case
        All cases of the run.
    seed : int
        Seed of who is whose donor.
    donors : int
        Other cases, of other patients, that every case needs.

    Raises
    ------
    UsageError
        If a case has too few others of other patients.
    """

    def __init__(
        self, folder: Path, cases: Sequence[Case], *, seed: int, donors: int
    ) -> None:
        self.folder = folder
        self.keys: dict[str, str] = {}
        ring = sorted(cases, key=lambda c: _hash(f"{seed}:{c.name}"))
        self._donors: dict[str, tuple[str, ...]] = {}
        for place, case in enumerate(ring):
            others = [
                other.name
                for other in (*ring[place + 1 :], *ring[:place])
                if case.patient is None or other.patient != case.patient
            ]
            if len(others) < donors:
                raise UsageError(
                    f"the null 'other_case' with {donors} chance maps needs {donors} "
                    f"other cases, of other patients; {case.name} has {len(others)}. "
                    "Ask for fewer, or give more cases."
                )
            self._donors[case.name] = tuple(others)
        self._load = lru_cache(maxsize=64)(self._read)

    def has(self, key: str) -> bool:
        """Whether the maps of this key are there, whole."""
        try:
            with np.load(self._path(key), allow_pickle=False) as stored:
                return bool(len(stored.files))
        except (OSError, ValueError, zipfile.BadZipFile):
            return False

    def save(self, key: str, maps: Maps) -> None:
        """Keep a case's maps."""
        buffer = io.BytesIO()
        arrays = {
            f"{'' if index is None else index}|{method}": one
            for (index, method), one in maps.items()
        }
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path(key), buffer.getvalue())

    def maps(self, case: str) -> Maps:
        """Return the maps of a case; none where it could not be read."""
        key = self.keys.get(case)
        return {} if key is None else self._load(key)

    def digest(self, case: str) -> str:
        """Hash what a case's chance maps depend on besides the case."""
        names = self._donors[case]
        return _hash("|".join(self.keys.get(name, "") for name in names))

    def donors(self, case: str) -> Donors:
        """Return what gives the maps of other cases."""

        def draw(method: str, shape: tuple[int, ...], member: int) -> Map:
            found = 0
            for name in self._donors[case]:
                fitting = [
                    one
                    for (_, known), one in self.maps(name).items()
                    if known == method and one.shape == shape
                ]
                if fitting:
                    if found == member:
                        return fitting[member % len(fitting)]
                    found += 1
            raise MetricError(
                f"only {found} other cases have a map of {method}; the null "
                f"'other_case' asked for number {member + 1}."
            )

        return draw

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _read(self, key: str) -> Maps:
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = {}
                for name in stored.files:
                    index, _, method = name.partition("|")
                    found[int(index) if index else None, method] = stored[name]
                return found
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise OutputError(
                f"{path}: the stored maps are damaged ({error}); run the same command "
                "with --overwrite."
            ) from error


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
