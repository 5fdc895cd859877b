"""On whose behalf a thread works, and how that work is called off.

`Work` reaches the thread by a context variable, so code between the server and a confined process
needs no parameter for it. A thread of which nothing is known works for nobody, to the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar


class Cancelled(BaseException):
    """The work was called off. Like asyncio's error of that name, `except Exception` lets it
    pass."""


class Work:
    """What is done for one request. Thread-safe."""

    def __init__(self, owner: str = "", on_slow: Callable[[], object] = lambda: None) -> None:
        """Turns are shared fairly between owners. `on_slow` is called, in the working thread, as
        soon as the work has to wait among slow work."""
        self.owner = owner
        self.on_slow = on_slow
        self.num_slow = 0
        """Questions that weren't answered soon; the working thread counts them."""
        self.num_files = 0
        """Files that were read for it; whoever reads them counts and bounds them."""
        self.aside: Callable[[], AbstractContextManager[None]] = nullcontext
        """Makes blocks in which the working thread computes nothing: it waits for processes."""
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._stop: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Call the work off: nobody waits for its result."""
        with self._lock:
            self._is_cancelled = True
            if self._stop is not None:
                self._stop()

    def check(self) -> None:
        """Raise `Cancelled` if the work was called off."""
        if self._is_cancelled:
            raise Cancelled

    @contextmanager
    def stopped_by(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop`, from another thread, if the work is called off within the block.

        `stop` must not block. The end of the block raises `Cancelled` then, and so does its begin
        if the work was called off before.
        """
        with self._lock:
            self.check()
            self._stop = stop
        try:
            yield
        finally:
            with self._lock:
                self._stop = None
            self.check()


_current: ContextVar[Work] = ContextVar("_current")


def current_work() -> Work:
    """What this thread works for."""
    return _current.get(None) or Work()


@contextmanager
def working_for(work: Work) -> Iterator[None]:
    """Everything within the block is done for `work`, in threads that copy the context too."""
    token = _current.set(work)
    try:
        yield
    finally:
        _current.reset(token)
