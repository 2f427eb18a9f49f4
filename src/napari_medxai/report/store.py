"""Finished cases on disk: each durable on its own, tables are made from them.

A finished case is a folder ``.cases/KEY/`` with ``case.json`` (rows, knots of the
curves, errors), ``chance.npz`` where it was compared with chance maps, its small
pictures, and its exports, a folder for each kind, with ``exports.json``. It is written
under another name and renamed, so that it is there whole or not at all. See `records`
and `stored_chance` for what the files hold, `publishing` for what a run shows of the
exports.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from napari_medxai.errors import OutputError
from napari_medxai.files import output_errors
from napari_medxai.results import CaseResult, Exported

from .exports import (
    forget_identified,
    read_tokens,
    whole,
    write_durably,
    write_exports,
)
from .records import Row, StoredCase, case_of, picture_name, record_of
from .stored_chance import CHANCE_FILE, pack_chance

__all__ = ["UNFINISHED", "Row", "Store", "StoredCase", "picture_name"]

FOLDER = ".cases"
RECORD = "case.json"
UNFINISHED = ".unfinished-"


class Store:
    """The finished cases below an output folder.

    Parameters
    ----------
    out : Path
        The batch's output folder.
    """

    def __init__(self, out: Path) -> None:
        self.root = out / FOLDER

    def clear(self) -> None:
        """Forget all finished cases (``--overwrite``)."""
        with output_errors(self.root):
            if self.root.is_dir():
                shutil.rmtree(self.root)

    def has(self, key: str, exports: Mapping[str, str] | None = None) -> bool:
        """Whether a finished, readable case of this key is there.

        Parameters
        ----------
        key : str
        exports : mapping of str to str, optional
            Tokens by the kind of export that it must have, made with these tokens.
        """
        try:
            case = self.load(key)
        except OutputError:
            return False
        known = read_tokens(self.root / key)
        return all(
            known.get(kind) == token
            and whole(case.folder, kind, case.exports.get(kind, ()))
            for kind, token in (exports or {}).items()
        )

    def sweep(self, *, identify: bool = True) -> None:
        """Remove what a killed run left half-written.

        Parameters
        ----------
        identify : bool
            Whether exports that may name the patient, of this and of stale cases,
            can stay. Who is handed the folder of a run without ``--identify`` must
            not find those of an earlier one below ``.cases``.

        Raises
        ------
        OutputError
            If it cannot be removed.
        """
        with output_errors(self.root):
            for path in self.root.glob(f"{UNFINISHED}*"):
                shutil.rmtree(path)
            if not identify:
                for folder in self.root.glob("*/"):
                    forget_identified(folder)

    def save(
        self,
        result: CaseResult,
        pictures: Mapping[str, bytes],
        exports: Iterable[Exported] = (),
        tokens: Mapping[str, str] | None = None,
        *,
        identified: Collection[str] = (),
    ) -> None:
        """Make a finished case durable.

        Parameters
        ----------
        result : CaseResult
        pictures : mapping of str to bytes
            WebP files by the names of :func:`picture_name`.
        exports : iterable of Exported
            Taken one by one, so that one file at a time is in memory.
        tokens : mapping of str to str, optional
            What each kind of `exports` depends on besides the key. What an earlier
            run exported of other kinds is kept.
        identified : collection of str
            Kinds of `exports` that may name the patient.

        Raises
        ------
        OutputError
            If it cannot be written; nothing stands under the final name then.
        """
        final = self.root / result.key
        with output_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.root))
            try:
                for name, content in pictures.items():
                    write_durably(temporary / name, content)
                write_exports(
                    temporary, final, exports, tokens or {}, identified=identified
                )
                chance = pack_chance(result.outcomes)
                if chance is not None:
                    write_durably(temporary / CHANCE_FILE, chance)
                # Last: only now the time that the exports took is known.
                record = json.dumps(record_of(result, chance), allow_nan=False)
                write_durably(temporary / RECORD, record.encode())
                if final.exists():
                    shutil.rmtree(final)
                temporary.replace(final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise

    def load(self, key: str) -> StoredCase:
        """Read a finished case.

        Raises
        ------
        OutputError
            If its record, or its ``chance.npz``, is damaged.
        """
        folder = self.root / key
        try:
            data = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            return case_of(key, data, folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{folder}: the stored case is damaged ({error}); run the same "
                "command with --overwrite."
            ) from error

    def load_all(self, keys: Sequence[str]) -> Iterator[StoredCase]:
        """Read finished cases one after the other."""
        for key in keys:
            yield self.load(key)
