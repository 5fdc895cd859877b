"""Work that is started in turns of the event loop, so that the rest goes on in between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container

from starlette.types import ASGIApp, Receive, Scope, Send

STARTS_PER_TURN = 4
"""Requests that one turn of the loop may start. Each takes up to a millisecond until its first
wait. Between two turns, tokens are sent and probes are answered."""


class LoopTurns:
    """Lets `most` tasks go on in each turn of the loop, in the order in which they came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._num_gone = 0
        """Tasks that went on in this turn."""
        self._is_turn_counted = False

    async def come(self) -> None:
        """Wait for one's turn; in a quiet loop that is at once."""
        loop = asyncio.get_running_loop()
        if not self._is_turn_counted:
            loop.call_soon(self._next_turn)
            self._is_turn_counted = True  # not if memory was short for the call
        if self._num_gone < self._most and not self._waiting:
            self._num_gone += 1
            return
        start: asyncio.Future[None] = loop.create_future()
        self._waiting.append(start)
        await start

    def _next_turn(self) -> None:
        """Let the next tasks go on, and come again while there is anything to count."""
        self._num_gone = 0
        self._is_turn_counted = False
        while self._waiting and self._num_gone < self._most:
            start = self._waiting.popleft()
            if not start.done():  # it was cancelled
                start.set_result(None)
                self._num_gone += 1
        if self._num_gone > 0:
            asyncio.get_running_loop().call_soon(self._next_turn)
            self._is_turn_counted = True


class StartInTurns:
    """ASGI middleware that starts `STARTS_PER_TURN` requests a turn."""

    def __init__(self, app: ASGIApp, *, at_once: Container[str] = ()) -> None:
        """Paths in `at_once` never wait."""
        self._app = app
        self._at_once = at_once
        self._turns = LoopTurns(STARTS_PER_TURN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._at_once:
            await self._turns.come()
        await self._app(scope, receive, send)
