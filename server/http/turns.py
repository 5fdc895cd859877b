"""Starts requests in turns of the event loop, so that many at once don't hold up the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container

from starlette.types import ASGIApp, Receive, Scope, Send

STARTS_PER_TURN = 4
"""Requests that one turn of the loop may start. Each takes up to a millisecond until its first
wait. Between two turns, tokens are sent and probes are answered."""


class StartInTurns:
    """Starts `STARTS_PER_TURN` requests a turn, in the order in which they came."""

    def __init__(self, app: ASGIApp, *, at_once: Container[str] = ()) -> None:
        """Paths in `at_once` never wait."""
        self._app = app
        self._at_once = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._num_started = 0
        """Requests that this turn has started."""
        self._is_turn_counted = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._at_once:
            await self._turn()
        await self._app(scope, receive, send)

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._is_turn_counted:
            loop.call_soon(self._next_turn)
            self._is_turn_counted = True  # not if memory was short for the call
        if self._num_started < STARTS_PER_TURN and not self._waiting:
            self._num_started += 1
            return
        start: asyncio.Future[None] = loop.create_future()
        self._waiting.append(start)
        await start

    def _next_turn(self) -> None:
        """Let the next requests start, and come again while there is anything to count."""
        self._num_started = 0
        self._is_turn_counted = False
        while self._waiting and self._num_started < STARTS_PER_TURN:
            start = self._waiting.popleft()
            if not start.done():  # it was cancelled
                start.set_result(None)
                self._num_started += 1
        if self._num_started > 0:
            asyncio.get_running_loop().call_soon(self._next_turn)
            self._is_turn_counted = True
