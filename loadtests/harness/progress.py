"""Progress on stderr: the current run, its outcome, and the estimated time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO


class Progress:
    """Counts runs and estimates the time left from the remaining work (in any unit)."""

    def __init__(
        self,
        runs: int,
        work: float,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs, self._work = runs, work
        self._out = out or sys.stderr
        self._clock = clock
        self._started = clock()
        self._begun = 0
        self._done = 0.0

    def begin(self, label: str) -> None:
        self._begun += 1
        width = len(str(self._runs))
        self._write(f"[{self._begun:{width}}/{self._runs}] {label} ... ")

    def end(self, work: float, result: str) -> None:
        self._done += work
        self._write(f"{result}{self._left()}\n")

    def say(self, line: str) -> None:
        self._write(line + "\n")

    def _left(self) -> str:
        if self._begun == self._runs or self._done <= 0:
            return ""
        elapsed = self._clock() - self._started
        return f" · {duration(elapsed / self._done * (self._work - self._done))} left"

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def duration(seconds: float) -> str:
    """A rough duration for people."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"
