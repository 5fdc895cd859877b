"""One submitted sequence as the API process sees it: its events, and what a restart would need."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from protocol.commands import AddRequest
from protocol.events import Event, Generated, Prefilled, Started


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event with the monotonic times between which the engine's step ran."""

    event: Event
    begin: float
    end: float


class SequenceStream:
    """The events of a sequence as they come; deaths of the engine don't show in them."""

    def __init__(self, request: AddRequest) -> None:
        self.request = request
        self.tokens: list[int] = []
        self.was_started = False
        self.is_submitted = False
        """Whether the engine that is alive now knows of it."""
        self.is_running = False
        """Whether that engine has begun with it."""
        self.num_deaths = 0
        """Of engines while they ran it."""
        self.num_blamed = 0
        """Deaths in a row that it is blamed for, with no new token in between."""
        self.num_tokens_at_death = 0
        self._events: asyncio.Queue[TimedEvent | Exception] = asyncio.Queue()

    def push(self, event: Event, begin: float, end: float) -> None:
        """Take an event from the engine; what is repeated is not news."""
        if isinstance(event, Prefilled) and self.tokens:
            return
        if isinstance(event, Started):
            self.is_running = True
            if self.was_started:
                return
            self.was_started = True
        elif isinstance(event, Generated):
            self.tokens += event.tokens
        self._events.put_nowait(TimedEvent(event, begin, end))

    def fail(self, error: Exception) -> None:
        """End the stream with an error."""
        self._events.put_nowait(error)

    async def next(self) -> TimedEvent:
        """The next event. Raises what the stream was failed with."""
        item = await self._events.get()
        if isinstance(item, Exception):
            raise item
        return item

    def resumption(self) -> AddRequest:
        """What to tell an engine so that it goes on where the one before died."""
        return msgspec.structs.replace(self.request, resumed=list(self.tokens))
