"""How long a request may wait for a slot, and how long it may take as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from server.engine.sequence_stream import SequenceStream
from server.errors import Overloaded, TimedOut


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Limits in seconds from admission on; 0 is no limit. A timer each: tokens cost nothing."""

    queue_seconds: float = 0.0
    request_seconds: float = 0.0

    def watch(
        self, stream: SequenceStream, retry_after: Callable[[], int]
    ) -> list[asyncio.TimerHandle]:
        """Timers that fail the stream; the caller cancels them when the stream ends.

        A stream without a slot after `queue_seconds` fails with `Overloaded`. A stream that lasts
        longer than `request_seconds` fails with `TimedOut`. `retry_after` gives whole seconds.
        """
        loop = asyncio.get_running_loop()
        timers = []
        if self.queue_seconds:
            timers.append(
                loop.call_later(self.queue_seconds, self._end_waiting, stream, retry_after)
            )
        if self.request_seconds:
            timers.append(loop.call_later(self.request_seconds, self._end, stream))
        return timers

    def _end_waiting(self, stream: SequenceStream, retry_after: Callable[[], int]) -> None:
        if not stream.was_started:
            text = f"no slot was free within {self.queue_seconds:g} seconds"
            stream.fail(Overloaded(text, retry_after=retry_after(), reason="queue_timeout"))

    def _end(self, stream: SequenceStream) -> None:
        text = f"the answer was not complete after {self.request_seconds:g} seconds"
        stream.fail(TimedOut(text))


NO_DEADLINES = Deadlines()
