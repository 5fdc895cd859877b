"""Server-sent events: their frames, and the response that streams them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.http.disconnect import stop, while_connected
from server.http.json_response import encode_json

DONE = b"data: [DONE]\n\n"
"""The event that ends an OpenAI stream."""

PING = b":\n\n"
"""A comment, which clients skip; it keeps proxies from closing a silent connection."""

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Nobody keeps the stream, and nginx passes on each part of it at once."""


def frame(payload: Any) -> bytes:
    """One event whose data is the payload in JSON."""
    return b"data: " + encode_json(payload) + b"\n\n"


class EventStream(Response):
    """Sends frames as they are. Closes `resources` when the stream ends, for whatever reason.

    The handler enters the generation on `resources` before it makes this response, so that a
    refusal is still an ordinary HTTP error. From here on the response must release the generation,
    even if the client is gone before the first frame.
    """

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        resources: AsyncExitStack,
        *,
        ping_seconds: int,
        ping: bytes = PING,
        media_type: str = "text/event-stream",
    ) -> None:
        """A `ping` is sent after each `ping_seconds` of silence, if there are both."""
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(HEADERS)
        self._frames = frames
        self._resources = resources
        self._ping_seconds = ping_seconds if ping else 0
        self._ping = ping
        self._last_sent = 0.0
        self._sending = asyncio.Lock()
        """A large frame is sent in pieces; a ping must not come between them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(ClientDisconnect):
                await while_connected(receive, self._stream(send))
        finally:
            await self._resources.aclose()

    async def _stream(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        self._last_sent = time.monotonic()
        async with aclosing(self._frames) as frames, self._pings(send):
            async for data in frames:
                await self._send(send, data)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, data: bytes) -> None:
        async with self._sending:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        self._last_sent = time.monotonic()

    @asynccontextmanager
    async def _pings(self, send: Send) -> AsyncGenerator[None, None]:
        """Send pings while the block runs."""
        if not self._ping_seconds:
            yield
            return
        pinger = asyncio.create_task(self._send_pings(send), name="pings")
        try:
            yield
        finally:
            await stop(pinger)

    async def _send_pings(self, send: Send) -> None:
        while True:
            silent = time.monotonic() - self._last_sent
            if silent >= self._ping_seconds:
                await self._send(send, self._ping)
            else:
                await asyncio.sleep(self._ping_seconds - silent)
