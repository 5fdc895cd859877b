"""A thread that does jobs in fair turns of their owners, and none that was called off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from confined.turns import FairQueue

PAUSE_SECONDS = 0.01
"""Between two looks whether a job may begin."""

_T = TypeVar("_T")


class FairThread:
    """One thread, in which owners take turns. Jobs can't be stopped once they have begun.

    A job that is cancelled before leaves nothing behind.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._lock = threading.Lock()
        self._waiting: FairQueue[_Job] = FairQueue()

    @property
    def num_waiting(self) -> int:
        """Jobs that have not begun."""
        with self._lock:
            return len(self._waiting)

    def submit(
        self, owner: str, call: Callable[[], _T], may_begin: Callable[[], bool] = lambda: True
    ) -> Future[_T]:
        """Let the thread call a function in a turn of the owner, as soon as `may_begin` says so."""
        job = _Job(call, may_begin)
        with self._lock:
            self._waiting.add(owner, job)
        job.add_done_callback(partial(self._forget, owner))
        self._thread.submit(self._do_next)
        return job

    def close(self) -> None:
        """Call off what has not begun, and wait for the job that has."""
        with self._lock:
            jobs = [self._waiting.pop() for _ in range(len(self._waiting))]
        for job in jobs:
            job.cancel()
        self._thread.shutdown(cancel_futures=True)

    def _do_next(self) -> None:
        """Do the job whose turn it is, if one is left. Each job brings one call of this."""
        while self.num_waiting:
            with self._lock:
                job = self._waiting.pop_where(lambda job: job.may_begin())
            if job is not None:
                return job.do()
            time.sleep(PAUSE_SECONDS)
        return None

    def _forget(self, owner: str, job: Future[Any]) -> None:
        """Take a cancelled job out of the queue, unless it has left the queue already."""
        if job.cancelled() and isinstance(job, _Job):
            with self._lock:
                self._waiting.discard(owner, job)


class _Job(Future[Any]):
    """A function to call, and what comes of it. What has come dies with the last who wants it."""

    def __init__(self, call: Callable[[], Any], may_begin: Callable[[], bool]) -> None:
        super().__init__()
        self._call = call
        self.may_begin = may_begin

    def do(self) -> None:
        """Call the function, unless the job was cancelled."""
        if not self.set_running_or_notify_cancel():
            return
        try:
            self.set_result(self._call())
        except BaseException as error:
            self.set_exception(error)
