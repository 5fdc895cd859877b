"""The output that clients have not read yet: bounded for each request, and for all together.

An answer grows in memory when its client reads more slowly than the engine writes, or asked for the
answer in one piece.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from config.units import MIB
from server.errors import ApiError, InvalidRequest, Overloaded

IDLE_SECONDS = 10.0
"""A client that has read nothing for this long gives way to others, the longest idle client first.
"""

RETRY_SECONDS = 10


class UnreadOutput:
    """What one request's client has not read. Belongs to one event loop."""

    __slots__ = ("_budget", "end_sending", "error", "last_progress", "num_bytes")

    def __init__(self, budget: UnreadBudget) -> None:
        self._budget = budget
        self.num_bytes = 0
        self.last_progress = budget.clock()
        self.end_sending: Callable[[], None] | None = None
        """Ends the connection. None until the response begins: an error can be sent up to then."""
        self.error: ApiError | None = None
        """Why nothing is kept any more."""

    def add(self, num_bytes: int) -> None:
        """Note that this much waits for the client; it may cost this request or another one."""
        if self.error is not None:
            return
        self.num_bytes += num_bytes
        if self.end_sending is None:
            self.last_progress = self._budget.clock()
        self._budget.grow(self, num_bytes)

    def send_whole(self, num_bytes: int) -> None:
        """The answer is complete and takes this much; what it was made of counts no more.

        It is not too large for itself any more: its memory is taken.
        """
        if self.error is None:
            self.remove(self.num_bytes)
            self.num_bytes = num_bytes
            self._budget.num_bytes += num_bytes
            self._budget.make_room()

    def remove(self, num_bytes: int) -> None:
        """Note that the client has read this much."""
        if self.error is None:
            self.num_bytes -= num_bytes
            self.last_progress = self._budget.clock()
            self._budget.num_bytes -= num_bytes

    def check(self) -> None:
        """Raise the error that ended this output, if there is one."""
        if self.error is not None:
            raise self.error


class UnreadBudget:
    """The outputs of all requests."""

    def __init__(
        self,
        max_each: int = 32 * MIB,
        max_in_all: int = 64 * MIB,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bytes of memory that the output of one request, and of all together, may take."""
        self.num_bytes = 0
        self.clock = clock
        self._max_each = max_each
        self._max_in_all = max_in_all
        self._outputs: set[UnreadOutput] = set()

    @contextmanager
    def open(self) -> Iterator[UnreadOutput]:
        """The output of a request, which `current_output` finds until the block ends."""
        output = UnreadOutput(self)
        self._outputs.add(output)
        token = _current.set(output)
        try:
            yield output
        finally:
            _current.reset(token)
            self._outputs.discard(output)
            self.num_bytes -= output.num_bytes
            output.num_bytes = 0
            output.error = output.error or Overloaded("it is over", retry_after=RETRY_SECONDS)

    def grow(self, output: UnreadOutput, num_bytes: int) -> None:
        """Count more bytes of an output, and end this output or others if that is too much."""
        self.num_bytes += num_bytes
        if output.num_bytes > self._max_each:
            self._end(output, _too_large(self._max_each))
        self.make_room()

    def make_room(self) -> None:
        """End outputs while all together are too large."""
        while self.num_bytes > self._max_in_all:
            victim = self._victim()
            if victim is None:
                return
            self._end(victim, _too_much(self._max_in_all))

    def _victim(self) -> UnreadOutput | None:
        """The client that has been idle longest. If none is idle, that of the largest output: small
        ones must not give way to those who read the least."""
        now = self.clock()
        idle = [o for o in self._outputs if o.num_bytes and now - o.last_progress >= IDLE_SECONDS]
        if idle:
            return min(idle, key=lambda output: output.last_progress)
        used = [output for output in self._outputs if output.num_bytes]
        return max(used, key=lambda output: output.num_bytes, default=None)

    def _end(self, output: UnreadOutput, error: ApiError) -> None:
        output.error = error
        self.num_bytes -= output.num_bytes
        output.num_bytes = 0
        if output.end_sending is not None:
            output.end_sending()


_current: ContextVar[UnreadOutput | None] = ContextVar("_current", default=None)


def current_output() -> UnreadOutput:
    """The output of the request that this task answers; outside of requests, one of its own."""
    return _current.get() or UnreadOutput(UnreadBudget())


def _too_large(limit: int) -> ApiError:
    return InvalidRequest(
        f"the answer takes more than the {limit // MIB} MiB that may wait for its client: ask for "
        "fewer answers, tokens or log-probabilities, stream the answer, and read it in time"
    )


def _too_much(limit: int) -> ApiError:
    text = f"answers that wait for their clients take more than {limit // MIB} MiB"
    return Overloaded(text, retry_after=RETRY_SECONDS, reason="unread_answers")
