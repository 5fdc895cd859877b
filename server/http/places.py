"""Places for requests that are prepared in threads, shared fairly between tenants."""

from __future__ import annotations

import asyncio

from anyio import CapacityLimiter

from confined.turns import FairQueue

_MOST_THREADS = 1000
"""More than there can be: places bound the threads, and so do the places for slow work."""


class Place:
    """One request that may use a thread."""

    def __init__(self, places: Places) -> None:
        self._places: Places | None = places

    def leave(self) -> None:
        """Let the next request come; a second call has no effect."""
        places, self._places = self._places, None
        if places is not None:
            places.leave()


class Places:
    """`size` requests at a time have a place, and the others wait. Belongs to one event loop."""

    def __init__(self, size: int) -> None:
        self.threads = CapacityLimiter(_MOST_THREADS)
        """For anyio: not the threads that everything else uses."""
        self._free = size
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    async def take(self, tenant: str) -> Place:
        """A place, as soon as it is the tenant's turn."""
        if self._free:
            self._free -= 1
            return Place(self)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.add(tenant, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(tenant, turn)
            else:
                self.leave()
            raise
        return Place(self)

    def leave(self) -> None:
        """Give a place to the next request."""
        if self._waiting:
            self._waiting.pop().set_result(None)
        else:
            self._free += 1
