"""The queue before the slots: who is let in, who waits, and when a refused request may return."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from server.errors import Overloaded

REMEMBERED = 64
"""Finished requests from which the rate is estimated."""

READING_SECONDS = 1.0
"""A request holds its place for this long while it is read. After that it needs a free place, once
its body is there: clients that send heads without bodies must not fill the queue."""

MIN_RETRY_SECONDS = 1
MAX_RETRY_SECONDS = 600


class Permit:
    """One request that was let in.

    enter ── is read ──┐
                       ├── admit ── waits ── started ── runs ── ended
    (no place held) ───┘

    As a context manager, a permit ends with its block at the latest.
    """

    __slots__ = ("_leave", "holds_until", "is_reading", "num_tokens", "tenant", "was_started")

    def __init__(
        self, tenant: str, leave: Callable[[Permit], None], holds_until: float = math.inf
    ) -> None:
        self.tenant = tenant
        self.holds_until = holds_until
        """When its place is free for others, if it is still being read then."""
        self.num_tokens = 0
        """Of the prompt; 0 while the request is read."""
        self.is_reading = True
        self.was_started = False
        self._leave = leave

    def started(self) -> None:
        """The request has a slot: its prompt waits no longer."""
        self.was_started = True

    def ended(self) -> None:
        """The request is over, whatever its outcome; a second call has no effect."""
        self._leave(self)

    def __enter__(self) -> Permit:
        return self

    def __exit__(self, *error: object) -> None:
        self.ended()


_own: ContextVar[Permit | None] = ContextVar("_own", default=None)
"""The permit that `enter` gave to the request that this task answers."""


class AdmissionQueue:
    """Refuses at once what would wait too long. Belongs to one event loop.

    Requests are counted from the moment at which the server begins to read them. Without that,
    requests that arrive together would all pass the check before any is counted.
    """

    def __init__(
        self,
        max_queue: int,
        max_queue_tokens: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_queue` requests may wait, with `max_queue_tokens` prompt tokens; 0 is no limit
        of tokens."""
        self._max_queue = max_queue
        self._max_queue_tokens = max_queue_tokens
        self._clock = clock
        self._permits: set[Permit] = set()
        self._ends: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def num_reading(self) -> int:
        """Requests that were let in and whose body is expected any moment."""
        return sum(permit.is_reading for permit in self._holders())

    @contextmanager
    def enter(self, tenant: str, n_slots: int) -> Iterator[None]:
        """Hold a place while a request is read; `admit` takes the place over.

        Entering raises `Overloaded`.
        """
        self._check(tenant, 0, n_slots)
        permit = Permit(tenant, self._leave, holds_until=self._clock() + READING_SECONDS)
        self._permits.add(permit)
        token = _own.set(permit)
        try:
            yield
        finally:
            _own.reset(token)
            if permit.is_reading:
                self._permits.discard(permit)

    def admit(self, tenant: str, num_tokens: int, n_slots: int) -> Permit:
        """Let a request of `num_tokens` prompt tokens wait for a slot. Raises `Overloaded`."""
        own = _own.get()
        is_mine = own is not None and own in self._permits and own.is_reading
        place = own if own is not None and is_mine and own.holds_until > self._clock() else None
        self._check(tenant, num_tokens, n_slots, place)
        permit = own if own is not None and is_mine else Permit(tenant, self._leave)
        permit.is_reading, permit.holds_until = False, math.inf
        permit.num_tokens = num_tokens
        self._permits.add(permit)
        return permit

    def retry_after(self, n_slots: int) -> int:
        """Whole seconds until all who wait now have likely got a slot."""
        if len(self._ends) < 2:
            return MIN_RETRY_SECONDS
        rate = len(self._ends) / max(self._clock() - self._ends[0], 1e-3)
        seconds = math.ceil(max(len(self._holders()) - n_slots, 1) / rate)
        return max(MIN_RETRY_SECONDS, min(seconds, MAX_RETRY_SECONDS))

    def _holders(self) -> list[Permit]:
        """The requests that hold a place now."""
        now = self._clock()
        return [permit for permit in self._permits if permit.holds_until > now]

    def _check(
        self, tenant: str, num_tokens: int, n_slots: int, place: Permit | None = None
    ) -> None:
        """Raise `Overloaded` unless the request may come in; `place` is its own.

        A key of which nothing waits may always send one request: a key that floods must not lock
        out the others.
        """
        others = [permit for permit in self._holders() if permit is not place]
        waiting = [permit for permit in others if not permit.was_started]
        is_first = bool(tenant) and not any(permit.tenant == tenant for permit in waiting)
        if is_first and self._max_queue:
            return
        queued_tokens = sum(permit.num_tokens for permit in waiting)
        if place is None and len(others) - n_slots >= self._max_queue:
            text, reason = f"{len(others)} requests are running or waiting", "queue_full"
        elif queued_tokens and 0 < self._max_queue_tokens < queued_tokens + num_tokens:
            text, reason = f"{queued_tokens} prompt tokens are waiting", "queue_tokens"
        else:
            return
        raise Overloaded(
            f"the server is at its limit: {text}",
            retry_after=self.retry_after(n_slots),
            reason=reason,
        )

    def _leave(self, permit: Permit) -> None:
        if permit in self._permits:
            self._permits.remove(permit)
            self._ends.append(self._clock())
