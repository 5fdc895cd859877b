"""ASGI middleware that bounds the bodies of all requests under way together.

A body stays in memory until its request ends. Bodies that are still being read give way first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import Overloaded

FREE_BYTES = 128 * 1024
"""Bytes of each body that don't count, so that small requests are never refused for large ones."""

RETRY_SECONDS = 5


class BodyBudget:
    """The bytes of all bodies, as handlers read them. Belongs to one event loop."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` may be in use, besides `FREE_BYTES` of each body."""
        self.num_bytes = 0
        self._max_bytes = max_bytes
        self._reading: dict[_Body, None] = {}
        """The bodies that aren't complete, the oldest first."""

    @contextmanager
    def open(self) -> Iterator[_Body]:
        """A body, whose bytes count until the block ends."""
        body = _Body(self)
        self._reading[body] = None
        try:
            yield body
        finally:
            self._reading.pop(body, None)
            self.num_bytes -= body.num_counted

    def grow(self, body: _Body, num_bytes: int) -> None:
        """Count more of a body. While it is too much, the oldest that is being read is given up."""
        before = body.num_counted
        body.num_bytes += num_bytes
        self.num_bytes += body.num_counted - before
        while self.num_bytes > self._max_bytes:
            oldest = next(filter(lambda one: one.num_counted, self._reading), None)
            if oldest is None:
                return
            self._give_up(oldest)

    def complete(self, body: _Body) -> None:
        """The body is read as a whole, and gives way to none."""
        self._reading.pop(body, None)

    def _give_up(self, body: _Body) -> None:
        self.complete(body)
        self.num_bytes -= body.num_counted
        body.num_bytes = 0
        body.give_up()


class _Body:
    """One body."""

    def __init__(self, budget: BodyBudget) -> None:
        self.num_bytes = 0
        self.is_complete = False
        self._budget = budget
        self._is_given_up = False
        self._wait: asyncio.Timeout | None = None

    @property
    def num_counted(self) -> int:
        """The bytes that count."""
        return max(self.num_bytes - FREE_BYTES, 0)

    async def read(self, receive: Receive) -> Message:
        """The next message. Raises `Overloaded` if the body is given up."""
        message = await self._next(receive)
        if not self._is_given_up:
            self._budget.grow(self, len(message.get("body", b"")))
        if self._is_given_up:
            raise Overloaded(
                "the bodies of all requests together are too large",
                retry_after=RETRY_SECONDS,
                reason="bodies",
            )
        if not message.get("more_body", False):
            self.is_complete = True
            self._budget.complete(self)
        return message

    def give_up(self) -> None:
        """Wake the reader with an error."""
        self._is_given_up = True
        if self._wait is not None:
            self._wait.reschedule(asyncio.get_running_loop().time())

    async def _next(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(None) as self._wait:
                return await receive()
        except TimeoutError:
            if not self._is_given_up:
                raise
            return {"type": "http.request"}
        finally:
            self._wait = None


class BoundBodies:
    """Counts the body of each request in a budget."""

    def __init__(self, app: ASGIApp, *, budget: BodyBudget) -> None:
        self._app = app
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        with self._budget.open() as body:

            async def counting_receive() -> Message:
                return await (receive() if body.is_complete else body.read(receive))

            await self._app(scope, counting_receive, send)
        return None
