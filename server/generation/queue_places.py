"""Places in the queue for requests that are still being read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    tenant: str


_own: ContextVar[_Place | None] = ContextVar("_own", default=None)
"""What is held for the request that this task answers."""


class QueuePlaces:
    """Counts who was let in but isn't queued yet.

    Of a crowd that comes at once all would pass a mere check of the queue, and be read in vain.
    """

    def __init__(self) -> None:
        self._held: set[_Place | None] = set()

    def __len__(self) -> int:
        return len(self._held)

    def has(self, tenant: str) -> bool:
        """Whether a request of this tenant holds one."""
        return any(place is not None and place.tenant == tenant for place in self._held)

    @contextmanager
    def hold(self, tenant: str) -> Iterator[None]:
        """One place for what the block does, at most until it calls `redeem`."""
        place = _Place(tenant)
        self._held.add(place)
        token = _own.set(place)
        try:
            yield
        finally:
            _own.reset(token)
            self._held.discard(place)

    def redeem(self) -> bool:
        """Give up this request's place, for it is queued now; False if it holds none (any more)."""
        holds = _own.get() in self._held
        self._held.discard(_own.get())
        return holds
