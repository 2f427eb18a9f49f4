"""Downloading large files so that an interruption costs nothing.

Pooch keeps nothing of a broken download; the downloader here, given to it, collects a
file under its name with ``.part`` and continues that with HTTP's Range (RFC 9110,
section 14) in the same run and in later ones.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .errors import FetchError
from .files import output_errors

__all__ = ["Resuming"]

CHUNK = 2**18
TIMEOUT = 60.0  # seconds without a byte
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
AGENT = "napari-medxai (https://pypi.org/project/napari-medxai/)"


class _Interrupted(Exception):
    """The connection ended before the file did."""


class Resuming:
    """A downloader for `pooch.retrieve`.

    Parameters
    ----------
    part : Path
        Where the bytes are collected; left there when the download fails.
    label : str
        Before the progress bar, which shows the time left.
    quiet : bool
        No bar.
    attempts : int
        Failures in a row, without a single byte between them, until it gives up.
    pause : float
        Seconds after the first failure; doubled after each further one.

    Raises
    ------
    FetchError
        When called: where the server refuses or cannot be reached.
    OutputError
        When called: where the file cannot be written.
    """

    def __init__(
        self,
        part: Path,
        *,
        label: str = "",
        quiet: bool = False,
        attempts: int = 4,
        pause: float = 1.0,
    ) -> None:
        self.part = part
        self.label = label
        self.quiet = quiet
        self.attempts = attempts
        self.pause = pause

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download `url` and move it to `output_file` once it is whole."""
        failures = 0
        while True:
            before = self._size()
            try:
                self._continue(url, before)
                break
            except (_Interrupted, OSError, http.client.HTTPException) as error:
                if not _of_network(error):
                    raise
                failures = 1 if self._size() > before else failures + 1
                if failures >= self.attempts or not _passing(error):
                    raise FetchError(f"{url}: {_words(error)}.") from error
            time.sleep(self.pause * 2 ** (failures - 1))
        with output_errors(Path(output_file)):
            self.part.replace(output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _continue(self, url: str, before: int) -> None:
        headers = {"User-Agent": AGENT}
        if before:
            headers["Range"] = f"bytes={before}-"
        request = urllib.request.Request(url, headers=headers)
        try:
            answer = urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()  # its headers stay
            if error.code != 416 or not before:
                raise
            # Nothing lies beyond: either all is here, or it was another file.
            if error.headers.get("Content-Range", "") == f"bytes */{before}":
                return
            self.part.unlink()
            raise _Interrupted("what was there did not fit and was deleted") from error
        with answer:
            self._receive(url, answer, before)

    def _receive(self, url: str, answer: http.client.HTTPResponse, before: int) -> None:
        kind = answer.headers.get_content_type()
        if answer.status not in (200, 206) or kind == "text/html":
            raise FetchError(f"{url}: the server answers {answer.status} with {kind}.")
        start, total = 0, answer.length
        if answer.status == 206:
            first, _, size = answer.headers.get("Content-Range", "").partition("/")
            if first.partition("-")[0] != f"bytes {before}":
                raise FetchError(f"{url}: the server sent another part than asked for.")
            start, total = before, int(size) if size.isdecimal() else None
        with (
            output_errors(self.part),
            self.part.open("ab" if start else "wb") as file,
            tqdm(
                desc=self.label,
                total=total,
                initial=start,
                unit="B",
                unit_scale=True,
                disable=self.quiet,
            ) as bar,
        ):
            while block := _block(answer):
                file.write(block)
                bar.update(len(block))
        if total is not None and self._size() != total:
            raise _Interrupted(f"{self._size()} of {total} bytes came")


def _block(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        # Apart from what writing the file raises.
        raise _Interrupted(str(error) or type(error).__name__) from error


def _of_network(error: BaseException) -> bool:
    kinds = (_Interrupted, urllib.error.URLError, TimeoutError, ConnectionError)
    return isinstance(error, (*kinds, http.client.HTTPException))


def _passing(error: BaseException) -> bool:
    return not isinstance(error, urllib.error.HTTPError) or error.code in AGAIN


def _words(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"the server cannot be reached ({error.reason})"
    return f"the connection broke off ({error})"
