"""One sequence as the API process sees it: its events, and what a restart of the engine needs."""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from protocol.commands import AddRequest
from protocol.events import EmbeddedEvent, Event, Generated, Prefilled, Scored, Started
from server.engine.sequence_times import SequenceTimes
from server.engine.unread_output import current_output

_EVENT_BYTES = 300
_TOKEN_BYTES = 40
_LOGPROB_BYTES = 110
"""Memory that an unread event, a token and one of its log-probabilities take."""


class TimedEvent(msgspec.Struct, frozen=True):
    """An event with the monotonic times between which the engine's step ran."""

    event: Event
    begin: float
    end: float


class Handle(msgspec.Struct, frozen=True):
    """By what clients can act on a sequence while it runs."""

    name: str = ""
    """The id that its client knows; empty if it knows none."""
    can_end_thinking: bool = False
    """Whether the request allows that its thinking is ended from outside."""


NO_HANDLE = Handle()


class StreamListener(Protocol):
    """Told at once what the reader learns from events later."""

    def started(self) -> None:
        """The sequence has a slot, for the first time."""
        ...

    def ended(self) -> None:
        """The engine runs the sequence no longer."""
        ...


class SequenceStream:
    """The events of a sequence as they come; a restart of the engine doesn't show in them."""

    def __init__(
        self,
        request: AddRequest,
        listener: StreamListener | None = None,
        handle: Handle = NO_HANDLE,
    ) -> None:
        self.request = request
        self.handle = handle
        self._listener = listener
        self.times = SequenceTimes()
        self.tokens: list[int] = []
        self.thinking_ended_at: int | None = None
        """Tokens of the answer after which its thinking was ended from outside."""
        self.was_started = False
        self.has_enough = False
        """Whether the reader has the end of the answer, which the engine may not know."""
        self.is_submitted = False
        """Whether the current engine has the sequence."""
        self.is_being_added = False
        """Whether that engine has begun to add the sequence, and not said that it is queued."""
        self.is_running = False
        """Whether that engine has given it a slot."""
        self.num_deaths = 0
        """Deaths that the sequence is blamed for, also with new tokens in between."""
        self.num_blamed = 0
        """Deaths in a row that the sequence is blamed for, without a new token in between."""
        self.num_tokens_at_death = 0
        self._events: list[TimedEvent] = []
        self._num_bytes = 0
        """Memory that these events take."""
        self._unread = current_output()
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        """What the one reader waits for while there is nothing to read."""

    def push(self, event: Event, begin: float, end: float) -> None:
        """Take an event from the engine. Events that a restarted engine repeats are dropped."""
        if isinstance(event, Generated):
            self.tokens += event.tokens
            self.times.note_tokens(event, end)
        elif isinstance(event, Started):
            self.is_running = True
            if self.was_started:
                return
            self.was_started = True
            self.times.note_start(event, begin)
            if self._listener is not None:
                self._listener.started()
        elif isinstance(event, Prefilled) and self.tokens:
            return
        if self._error is None:
            self._events.append(TimedEvent(event, begin, end))
            self._count(_memory(event))
            self._wake()

    def fail(self, error: Exception) -> None:
        """End the stream with an error, after the events that it has already."""
        self._error = self._error or error
        self._wake()

    def end(self) -> None:
        """The engine runs the sequence no longer; its last events may still be unread."""
        if self._listener is not None:
            self._listener.ended()

    async def events(self) -> list[TimedEvent]:
        """Wait for events, and take all there are, so at least one; for one reader at a time.

        Raises what the stream was failed with.
        """
        while not self._events:
            if self._error is not None:
                raise self._error
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        events, self._events = self._events, []
        self._unread.remove(self._num_bytes)
        self._num_bytes = 0
        return events

    def _count(self, num_bytes: int) -> None:
        """Count what is unread; forget it all, if it is too much."""
        self._num_bytes += num_bytes
        self._unread.add(num_bytes)
        if self._unread.error is not None:
            self._events.clear()
            self.fail(self._unread.error)

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    def resumption(self) -> AddRequest:
        """The request for the next engine, which continues where the one before died."""
        return msgspec.structs.replace(
            self.request, resumed=list(self.tokens), thinking_ended_at=self.thinking_ended_at
        )


def _memory(event: Event) -> int:
    """Bytes of memory that an event takes, roughly."""
    match event:
        case Generated():
            logprobs, num_tokens = event.logprobs, len(event.tokens)
        case Scored():
            logprobs, num_tokens = event.logprobs, len(event.logprobs)
        case EmbeddedEvent():
            return _EVENT_BYTES + len(event.vectors)
        case _:
            return _EVENT_BYTES
    num_logprobs = sum(1 + len(one.top) for one in logprobs)
    return _EVENT_BYTES + _TOKEN_BYTES * num_tokens + _LOGPROB_BYTES * num_logprobs
