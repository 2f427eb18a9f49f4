"""A run's tables read back: plain CSV, checked, nothing guessed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_medxai.errors import UsageError

__all__ = ["Table", "Text", "number", "read_object", "read_table", "read_text"]

AGAIN = "run the batch again with the same command; it keeps what is finished."


@dataclass(frozen=True)
class Text:
    """A file's text and the SHA-256 of its bytes."""

    path: Path
    text: str
    sha256: str


@dataclass(frozen=True)
class Table:
    """A CSV file: its columns, and its rows by column with the line they end on."""

    source: Text
    columns: tuple[str, ...]

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield (line, cells by column).

        Raises
        ------
        UsageError
            If a row has more or fewer cells than the header, or quotes are broken.
        """
        reader = csv.reader(io.StringIO(self.source.text, newline=""), strict=True)
        name = self.source.path
        try:
            next(reader)
            for cells in reader:
                if len(cells) != len(self.columns):
                    raise UsageError(
                        f"{name}, line {reader.line_num}: {len(cells)} cells where "
                        f"the header has {len(self.columns)}; {AGAIN}"
                    )
                yield reader.line_num, dict(zip(self.columns, cells, strict=True))
        except csv.Error as error:
            raise UsageError(
                f"{name}, line {reader.line_num}: {error}; {AGAIN}"
            ) from error


def read_text(path: Path) -> Text:
    """Read a text file.

    Raises
    ------
    UsageError
        If it cannot be read, or is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.") from error
    return Text(path, text, hashlib.sha256(content).hexdigest())


def read_table(path: Path, needed: Sequence[str]) -> Table:
    """Open a CSV file that must have some columns.

    Raises
    ------
    UsageError
        If it cannot be read or lacks one of `needed`.
    """
    source = read_text(path)
    try:
        columns = next(csv.reader(io.StringIO(source.text, newline=""), strict=True))
    except StopIteration:
        raise UsageError(f"{path} is empty; {AGAIN}") from None
    except csv.Error as error:
        raise UsageError(f"{path}, line 1: {error}; {AGAIN}") from error
    missing = [name for name in needed if name not in columns]
    if missing:
        raise UsageError(
            f"{path} has no column {', '.join(missing)}; it is not the table of a run."
        )
    if len(set(columns)) != len(columns):
        raise UsageError(f"{path} names a column twice; it is not the table of a run.")
    return Table(source, tuple(columns))


def read_object(path: Path) -> tuple[Mapping[str, Any], str]:
    """Read a JSON object and return it with the file's SHA-256.

    Raises
    ------
    UsageError
        If it cannot be read or is something else.
    """
    source = read_text(path)
    try:
        content = json.loads(source.text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}; {AGAIN}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no JSON object; {AGAIN}")
    return content, source.sha256


def number(cells: Mapping[str, str], column: str, path: Path, line: int) -> float:
    """Value of a cell; NaN where it is empty, missing or not finite.

    Raises
    ------
    UsageError
        If it holds anything but a number.
    """
    text = cells.get(column, "")
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise UsageError(
            f"{path}, line {line}: '{text[:40]}' under {column} is no number; {AGAIN}"
        ) from None
    return value if math.isfinite(value) else math.nan
