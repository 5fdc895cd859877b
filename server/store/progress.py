"""How a pull tells what it does, and how it is called off."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from server.store.errors import PullCancelled
from server.store.remote_file import RemoteFile

_LOOK_SECONDS = 0.2
"""Interval at which a pause looks whether the pull is called off."""
_REPORT_SECONDS = 0.1
"""Interval of reports that differ in the number of bytes alone."""


class PullStatus(StrEnum):
    """What a pull does at the moment."""

    RESOLVING = "resolving"
    """It asks which files the model has."""
    WAITING = "waiting"
    """Another pull downloads the file."""
    DOWNLOADING = "downloading"
    CHECKING = "checking"
    """It reads what an earlier pull has left, to go on behind that."""
    RETRYING = "retrying"
    """It waits before it asks again."""
    DONE = "done"
    """The file is complete and checked."""


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One report of a pull. Sizes are bytes of this file; `total` is None if nobody knows it."""

    status: PullStatus
    file: str = ""
    digest: str = ""
    total: int | None = None
    completed: int = 0
    reason: str = ""
    """Why it waits, for people."""


OnProgress = Callable[[PullProgress], None]


def ignore(progress: PullProgress) -> None:
    """Take a report that nobody wants."""


def never() -> bool:
    """Whether a pull that nobody calls off is called off."""
    return False


BeforeFetch = Callable[[Sequence[RemoteFile]], None]
"""Called with all files of a model before what is missing of them is downloaded. A `StoreError`
ends the pull."""


def fetch_all(files: Sequence[RemoteFile]) -> None:
    """Let a pull download whatever is missing."""


class PullJob:
    """A running pull, as the code sees it that does the work."""

    def __init__(
        self,
        report: OnProgress = ignore,
        is_cancelled: Callable[[], bool] = never,
        sleep: Callable[[float], None] = time.sleep,
        before_fetch: BeforeFetch = fetch_all,
    ) -> None:
        self._before_fetch = before_fetch
        self._report = report
        self._is_cancelled = is_cancelled
        self._sleep = sleep
        self._last: tuple[PullStatus, str, str] | None = None
        self._next_report = 0.0

    def report(
        self,
        status: PullStatus,
        file: str = "",
        digest: str = "",
        total: int | None = None,
        completed: int = 0,
        reason: str = "",
    ) -> None:
        """Tell what the pull does, and look whether it is called off. Raises `PullCancelled`.

        Of many reports that differ in the number of bytes alone, some are left out.
        """
        self.check()
        now = time.monotonic()
        state = (status, file, reason)
        if state == self._last and now < self._next_report:
            return
        self._last, self._next_report = state, now + _REPORT_SECONDS
        self._report(PullProgress(status, file, digest, total, completed, reason))

    def begin(self, files: Sequence[RemoteFile]) -> None:
        """Tell that some of a model's files have to be downloaded. Raises `StoreError`."""
        self.check()
        self._before_fetch(files)

    def check(self) -> None:
        """Raise `PullCancelled` if the pull is called off."""
        if self._is_cancelled():
            raise PullCancelled("the pull was cancelled; the next pull goes on from here")

    def pause(self, seconds: float) -> None:
        """Wait. Raises `PullCancelled`."""
        while seconds > 0:
            self.check()
            self._sleep(min(seconds, _LOOK_SECONDS))
            seconds -= _LOOK_SECONDS
        self.check()
