"""Hands what happens to models out to those who listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from server.pool.interface import PoolEvent

MOST_UNREAD = 1000
"""Events that wait for a reader. A reader that is slower misses the oldest."""


class EventBoard:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[PoolEvent]] = set()

    def publish(self, event: PoolEvent) -> None:
        """Hand an event to everybody who listens now."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    async def subscribe(self) -> AsyncIterator[PoolEvent]:
        """What is published from the first iteration on, until the reader stops."""
        queue: asyncio.Queue[PoolEvent] = asyncio.Queue(MOST_UNREAD)
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)
