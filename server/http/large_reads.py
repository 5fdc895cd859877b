"""Large pieces from many connections are parsed in turns of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

SMALL_READ = 32 * 1024
"""Bytes. Pieces up to this size never wait."""

BYTES_PER_TURN = 1 << 20
"""Bytes of larger pieces that one turn of the loop parses, in some milliseconds."""


class LargeReads:
    """Parses pieces at once, as long as this turn of the loop has parsed few bytes."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._num_bytes = 0
        """Bytes that this turn has parsed."""
        self._is_turn_counted = False

    def do(self, num_bytes: int, parse: Callable[[], None]) -> bool:
        """Parse a piece now, or in a later turn. Returns whether it was parsed now."""
        if not self._is_turn_counted:
            self._count_turn()
        if self._waiting or self._num_bytes >= BYTES_PER_TURN:
            self._waiting.append((num_bytes, parse))
            return False
        self._num_bytes += num_bytes
        parse()
        return True

    def _count_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._next_turn)
        self._is_turn_counted = True  # not if memory was short for the call

    def _next_turn(self) -> None:
        self._num_bytes, self._is_turn_counted = 0, False
        if self._waiting:
            self._count_turn()  # first, because parsing may fail
        while self._waiting and self._num_bytes < BYTES_PER_TURN:
            num_bytes, parse = self._waiting.popleft()
            self._num_bytes += num_bytes
            parse()
