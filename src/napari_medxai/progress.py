"""Progress of a study: steps, fractions and the time by stage."""

from __future__ import annotations

import time
from collections.abc import Callable

from .results import Step

__all__ = ["Clock", "Progress", "reporter", "tell"]

Progress = Callable[[Step], None]


class Clock:
    """Adds up the time by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.stage, self.since = "read", time.perf_counter()

    def enter(self, stage: str) -> None:
        """Book the time since the last call on the stage left, and enter another."""
        now = time.perf_counter()
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now - self.since
        self.stage, self.since = stage, now

    def stop(self) -> dict[str, float]:
        """Return the seconds by stage."""
        self.enter("")
        return {k: v for k, v in self.seconds.items() if k}


def tell(
    progress: Progress | None,
    stage: str,
    method: str,
    index: int | None,
    fraction: float,
) -> None:
    """Call the progress callback, where there is one."""
    if progress is not None:
        progress(Step(stage, method, index, min(1.0, fraction)))


def reporter(
    progress: Progress | None,
    stage: str,
    method: str,
    index: int | None,
    done: float,
    total: int,
    share: float = 1.0,
) -> Callable[[int, int], None] | None:
    """Turn a method's (done, total) into the study's fraction."""
    if progress is None:
        return None

    def report(inner: int, inner_total: int) -> None:
        part = share * inner / max(1, inner_total)
        tell(progress, stage, method, index, (done + part) / total)

    return report
