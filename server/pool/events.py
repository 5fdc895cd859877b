"""Hands what happens to models out to those who listen."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator

from server.pool.interface import PoolEvent

MOST_UNREAD = 1000
"""Events that wait for a reader. A reader that is slower misses the oldest."""


class Subscription(AsyncIterator[PoolEvent]):
    """What is published from now on, for as long as somebody holds this."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[PoolEvent] = asyncio.Queue(MOST_UNREAD)

    async def __anext__(self) -> PoolEvent:
        return await self._queue.get()

    def put(self, event: PoolEvent) -> None:
        """Add an event, in the place of the oldest if there is no more room."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(event)


class EventBoard:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()

    def __len__(self) -> int:
        """How many listen."""
        return len(self._subscriptions)

    def publish(self, event: PoolEvent) -> None:
        """Hand an event to everybody who listens now."""
        for subscription in list(self._subscriptions):
            subscription.put(event)

    def subscribe(self) -> AsyncIterator[PoolEvent]:
        """What is published from this call on."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        return subscription
