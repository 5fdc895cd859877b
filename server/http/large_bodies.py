"""Large bodies are worked on one after another, so that the event loop is never far from its turn.

The interpreter runs one thread at a time. Where many threads decode and check large bodies, or
write large answers, the loop waits for all of them. So work of similar size takes turns in lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
from starlette.types import Scope

from confined.turns import Turns
from confined.work import Work
from server.bodies.json_bounds import value_bytes

SMALL_BODY = 32 * 1024
"""Bytes. Larger bodies are parsed in a thread, because parsing would block the event loop."""

SMALL_VALUES = 1 << 19
"""Bytes of memory. So are bodies whose values take more."""

MEDIUM_BODY = 256 * 1024
LARGE_BODY = 2 << 20
"""Bytes. Bodies up to each size wait for no larger ones."""

ResultT = TypeVar("ResultT")

_SCOPE_KEY = "llamapack.lane"


class Lane:
    """Bodies and answers of similar size. One request at a time computes with its own."""

    def __init__(self) -> None:
        self._turns = Turns(1)
        self._threads = anyio.CapacityLimiter(1)
        """Plain requests need the other threads."""

    async def run(self, owner: str, call: Callable[[], ResultT]) -> ResultT:
        """The result of a function that computes. It is called in a thread."""
        compute = partial(self.compute, Work(owner), call)
        return await anyio.to_thread.run_sync(compute, limiter=self._threads)

    def compute(self, work: Work, call: Callable[[], ResultT]) -> ResultT:
        """The result of a function, called in a turn of the owner of the work."""
        return self._turns.shared(work, call)


_medium, _large, _huge = Lane(), Lane(), Lane()


def lane_for(data: bytes | bytearray) -> Lane | None:
    """The lane of a body; None for a small one, which needs no thread."""
    size = len(data)
    if size <= SMALL_BODY and value_bytes(data) <= SMALL_VALUES:
        return None
    return lane_of(size)


def lane_of(size: int) -> Lane:
    """The lane for this many bytes, which are not few."""
    if size <= MEDIUM_BODY:
        return _medium
    return _large if size <= LARGE_BODY else _huge


def note_lane(scope: Scope, lane: Lane) -> None:
    """Let what else is computed for this request stay in the lane of its body."""
    scope[_SCOPE_KEY] = lane


def noted_lane(scope: Scope) -> Lane | None:
    """The lane of the request's body, if it is large."""
    lane: Lane | None = scope.get(_SCOPE_KEY)
    return lane
