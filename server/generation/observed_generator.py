"""A generator whose answers are watched: one loop over the items, any number of observers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from server.generation.types import Ended, GenerationRequest, Generator, Item, TextDelta


class AnswerObserver(Protocol):
    """Watches one answer from the request to its end; times are monotonic seconds.

        made ─┬─ opened ── delta ... delta ─┬─ ended ──────────┬─ closed
              │                             ├─ failed ─────────┤
              │                             └─ (left early) ───┤
              └─ (refused) ────────────────────────────────────┘

    Methods are called on the event loop and for each piece of text, so they must be fast. They
    must not raise.
    """

    def opened(self) -> None:
        """The request was admitted."""
        ...

    def delta(self, delta: TextDelta, now: float) -> None:
        """There is new text."""
        ...

    def ended(self, ended: Ended, now: float) -> None:
        """The answer is complete."""
        ...

    def failed(self, error: Exception) -> None:
        """An error ended the answer."""
        ...

    def closed(self, error: Exception | None) -> None:
        """Nothing follows. `error` is what refused the request or left the reader's block."""
        ...


Observe = Callable[[GenerationRequest], AnswerObserver]
"""Makes the observer of one answer, before its request is admitted."""

Prepare = Callable[[GenerationRequest], GenerationRequest]
"""Changes or refuses a request before anything is observed or queued; raises `ApiError`."""


class ObservedGenerator:
    """Wraps a `Generator`. Whoever adds an observer adds no loop."""

    def __init__(
        self, inner: Generator, observers: Sequence[Observe] = (), prepare: Prepare | None = None
    ) -> None:
        self._inner = inner
        self._observers = tuple(observers)
        self._prepare = prepare

    def observed_by(self, observe: Observe, prepare: Prepare | None = None) -> ObservedGenerator:
        """The same generator with one more observer; `prepare` replaces the one before."""
        return ObservedGenerator(self._inner, (*self._observers, observe), prepare or self._prepare)

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Item]]:
        """The same as the inner generator's; also raises what `prepare` raises."""
        if self._prepare is not None:
            request = self._prepare(request)
        observers = [observe(request) for observe in self._observers]
        left_with: Exception | None = None
        try:
            async with self._inner.open(request) as items:
                for observer in observers:
                    observer.opened()
                yield _observed(items, observers)
        except Exception as error:
            left_with = error
            raise
        finally:
            for observer in observers:
                observer.closed(left_with)


async def _observed(
    items: AsyncIterator[Item], observers: Sequence[AnswerObserver]
) -> AsyncIterator[Item]:
    monotonic = time.monotonic
    on_delta = [observer.delta for observer in observers]
    try:
        async for item in items:
            if isinstance(item, TextDelta):
                now = monotonic()
                for notify in on_delta:
                    notify(item, now)
            elif isinstance(item, Ended):
                now = monotonic()
                for observer in observers:
                    observer.ended(item, now)
            yield item
    except Exception as error:
        for observer in observers:
            observer.failed(error)
        raise
