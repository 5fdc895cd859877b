"""How many requests may wait, and when a refused one should come back."""

from __future__ import annotations

import math
from collections import deque

from server.errors import Overloaded

REMEMBERED = 64
"""Finished requests from which the rate is estimated."""

MIN_RETRY_SECONDS = 1
MAX_RETRY_SECONDS = 600


class Admission:
    """A bounded queue: refuses at once what could only wait too long. Pure; time is passed in."""

    def __init__(self, max_queue: int, max_queue_tokens: int = 0) -> None:
        self._max_queue = max_queue
        self._max_queue_tokens = max_queue_tokens
        self._ends: deque[float] = deque(maxlen=REMEMBERED)

    def check(
        self,
        num_tokens: int,
        *,
        in_flight: int,
        n_slots: int,
        queued_tokens: int,
        now: float,
        is_first: bool = False,
        holds_place: bool = False,
    ) -> None:
        """Raise `Overloaded` unless one more request of so many prompt tokens may come in.

        `in_flight` counts the requests that run or wait, `queued_tokens` the prompts of those
        that wait. `is_first` is whether nothing else of the request's key waits: one may always,
        or a key that floods would lock out all others. `holds_place` is whether the request was
        let in before, and `in_flight` is without it.
        """
        if is_first and self._max_queue:
            return
        waiting = in_flight - n_slots
        if waiting >= self._max_queue and not holds_place:
            text, reason = f"{in_flight} requests are running or waiting", "queue_full"
        elif queued_tokens and 0 < self._max_queue_tokens < queued_tokens + num_tokens:
            text, reason = f"{queued_tokens} prompt tokens are waiting", "queue_tokens"
        else:
            return
        raise Overloaded(
            f"the server is at its limit: {text}",
            retry_after=self.retry_after(waiting, now),
            reason=reason,
        )

    def finished(self, now: float) -> None:
        """A request ended, whatever its outcome."""
        self._ends.append(now)

    def retry_after(self, waiting: int, now: float) -> int:
        """Whole seconds until the queue has likely moved on by all who wait now."""
        if len(self._ends) < 2:
            return MIN_RETRY_SECONDS
        rate = len(self._ends) / max(now - self._ends[0], 1e-3)
        seconds = math.ceil(max(waiting, 1) / rate)
        return max(MIN_RETRY_SECONDS, min(seconds, MAX_RETRY_SECONDS))
