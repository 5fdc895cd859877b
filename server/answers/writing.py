"""Where the parts of an answer in one piece are written: on the event loop, or in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from server.http.large_bodies import lane_of
from server.http.turns import LoopTurns

SHORT_PART = 8 * 1024
"""Bytes of memory. Longer parts are written in turns of the loop: many may be there at once."""

SMALL_PART = 64 * 1024
"""Bytes of memory. Larger parts are written in a thread. A part is shaped by Python: one with this
many bytes of log-probabilities takes about a millisecond."""

SMALL_WHOLE = 512 * 1024
"""Bytes of memory. What reads a larger answer as a whole is called in a thread. It is quicker: all
but the frame of the answer is JSON already."""

ResultT = TypeVar("ResultT")


class Writing:
    """Calls what writes one answer, in the order of the calls. Sizes are bytes of memory."""

    def __init__(self, owner: str, turns: LoopTurns) -> None:
        """`owner` is the tenant, whose large answers wait for one another."""
        self._owner = owner
        self._turns = turns

    async def part(self, num_bytes: int, write: Callable[[], ResultT]) -> ResultT:
        """The result of a function that writes a part of this size."""
        if num_bytes <= SHORT_PART:
            return write()
        if num_bytes <= SMALL_PART:
            await self._turns.come()
            return write()
        return await lane_of(num_bytes).run(self._owner, write)

    async def whole(self, num_bytes: int, write: Callable[[], ResultT]) -> ResultT:
        """The result of a function that reads what was written, which has this size."""
        if num_bytes <= SMALL_WHOLE:
            return write()
        return await lane_of(num_bytes).run(self._owner, write)
