"""Long work in a thread: progress, results, cancelling and errors as Qt signals.

A job is a generator function that gets a :class:`Reporter`. It runs in a worker of
napari's thread pool and must touch neither widgets nor layers; what it yields arrives
on the GUI thread by the signal `produced`.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import (  # type: ignore[attr-defined]
    QCoreApplication,
    QObject,
    QThreadPool,
    Signal,
)

from napari_medxai.errors import Cancelled, MedXAIError

from ._libraries import keep_none_alive, keep_triton_out

__all__ = ["UNKNOWN", "Job", "Reporter", "Runner"]

log = logging.getLogger(__name__)

# One run at a time in the whole process: saliency methods put hooks on the network,
# and both docks may use the same one.
_engine = threading.Lock()
WAITING = "Waiting for another run to finish"
# Least seconds between two progress signals, so that the GUI keeps up.
INTERVAL = 0.05
# A run that waits for another holds a thread; on few cores the pool has only one.
THREADS = 4
# PySide loses a reference to None each time one crosses threads in a signal.
UNKNOWN = -1.0


@dataclass(frozen=True)
class _Failure:
    text: str


class Reporter:
    """Called by a job to tell how far it is; raises `Cancelled` when asked to stop.

    Parameters
    ----------
    emit : callable
        Takes the fraction (`UNKNOWN` where unknown) and a text. Called in the worker.
    """

    def __init__(self, emit: Callable[[float, str], None]) -> None:
        self._emit = emit
        self._last = (0.0, "")
        self.cancelled = threading.Event()
        # When napari ends, it tells the workers to quit, before anything else, and
        # waits for them.
        self.aborted: Callable[[], bool] = bool

    def __call__(self, fraction: float | None, text: str) -> None:
        """Report, and stop here if the user cancelled."""
        self.check()
        now = time.monotonic()
        if text != self._last[1] or now - self._last[0] >= INTERVAL:
            self._last = (now, text)
            try:
                self._emit(UNKNOWN if fraction is None else fraction, text)
            except RuntimeError as error:
                if "deleted" not in str(error):
                    raise
                # Nobody is left to be told: the dock is gone, or the application.
                raise Cancelled("cancelled: nobody waits for it.") from error

    def check(self) -> None:
        """Raise `Cancelled` if the user cancelled."""
        if self.aborted():
            self.cancelled.set()
        if self.cancelled.is_set():
            raise Cancelled("cancelled by the user.")


Job = Callable[[Reporter], Iterator[Any]]


class Runner(QObject):
    """Runs one job at a time.

    Signals
    -------
    progressed(float, str)
        Fraction, `UNKNOWN` where it is not known, and what is being done.
    produced(object)
        What the job yielded.
    ended(str, str)
        ``done``, ``cancelled`` or ``failed``, and the error's text.
    """

    progressed = Signal(float, str)
    produced = Signal(object)
    ended = Signal(str, str)

    def __init__(self) -> None:
        # No parent: a worker may outlive the dock, and its signals need a target.
        super().__init__()
        self._worker: Any = None
        self._reporter: Reporter | None = None
        self._stream: Generator[Any, None, None] | None = None
        self._failure = ""
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.cancel)

    @property
    def running(self) -> bool:
        """Whether a job is at work."""
        return self._worker is not None

    def start(self, job: Job, *, exclusive: bool = True) -> None:
        """Start a job.

        Parameters
        ----------
        job : callable
        exclusive : bool
            Whether it uses a network and so waits for other such jobs.

        Raises
        ------
        RuntimeError
            If one is running.
        """
        if self.running:
            raise RuntimeError("a job is running already")
        self._failure = ""
        keep_none_alive()
        self._reporter = Reporter(self.progressed.emit)
        weakref.finalize(self, self._reporter.cancelled.set)
        self._stream = _stream(job, self._reporter, exclusive=exclusive)
        worker = create_worker(_drain, self._stream, _ignore_errors=True)
        self._reporter.aborted = lambda: bool(worker.abort_requested)
        worker.yielded.connect(self._on_yielded)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        pool = QThreadPool.globalInstance()
        pool.setMaxThreadCount(max(THREADS, pool.maxThreadCount()))
        worker.start()

    def cancel(self) -> None:
        """Ask the job to stop at its next report; returns at once."""
        if self._worker is not None and self._reporter is not None:
            self._reporter.cancelled.set()
            self._worker.quit()

    def _on_yielded(self, item: object) -> None:
        if isinstance(item, _Failure):
            self._failure = item.text
        elif self._reporter is not None and not self._reporter.cancelled.is_set():
            self.produced.emit(item)

    def _on_finished(self) -> None:
        # A worker that is told to quit while it hands over a result leaves its
        # generator suspended; closing it frees the network and the lock.
        if self._stream is not None:
            self._stream.close()
        cancelled = self._reporter is not None and self._reporter.cancelled.is_set()
        self._worker = self._stream = self._reporter = None
        if self._failure:
            self.ended.emit("failed", self._failure)
        else:
            self.ended.emit("cancelled" if cancelled else "done", "")


def _log_warning(message: Any, category: type[Warning], *rest: Any) -> None:
    log.info("%s: %s", category.__name__, message)


def _drain(stream: Iterator[Any]) -> Generator[Any, None, bool]:
    """Hand on a stream; what is returned crosses threads, and so must not be None."""
    yield from stream
    return True


def _stream(
    job: Job, report: Reporter, *, exclusive: bool
) -> Generator[Any, None, None]:
    """Run the job; errors become a `_Failure` in plain words."""
    held = False
    # napari shows every warning of a worker in a notification; those of libraries
    # belong in the log. The worker restores this when it ends.
    warnings.showwarning = _log_warning  # type: ignore[assignment]
    keep_triton_out()
    try:
        while exclusive and not held:
            held = _engine.acquire(timeout=0.1)
            if not held:
                report(None, WAITING)
        yield from job(report)
    except Cancelled:
        return
    except MedXAIError as error:
        yield _Failure(str(error))
    except MemoryError:
        yield _Failure("There is not enough memory; choose fewer slices or methods.")
    except Exception as error:
        # A fault of ours or of a network: the details belong in the log.
        log.exception("a job failed")
        text = str(error).strip().splitlines()
        detail = f": {text[0]}" if text else ""
        yield _Failure(f"Something unexpected failed ({type(error).__name__}{detail}).")
    finally:
        if held:
            _engine.release()
