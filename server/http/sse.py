"""Server-sent events: their frames, and the response that streams them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from sse_starlette import EventSourceResponse
from sse_starlette.sse import AppStatus
from starlette.types import Message, Receive, Scope, Send

from server.http.json_response import encode_json

DONE = b"data: [DONE]\n\n"
"""The event that ends an OpenAI stream."""

PING = b":\n\n"
"""A comment, which clients skip; it keeps proxies from closing a silent connection."""

# Told to stop, the server lets running answers end; sse-starlette would cut them off.
AppStatus.enable_automatic_graceful_drain = False


def frame(payload: Any) -> bytes:
    """One event whose data is the payload in JSON."""
    return b"data: " + encode_json(payload) + b"\n\n"


class EventStream(EventSourceResponse):
    """Sends frames as they are. Closes `resources` when the stream ends, for whatever reason.

    The handler enters the generation on `resources` before it makes this response, so that a
    refusal is still an ordinary HTTP error. From here on the response must release the generation,
    even if the client is gone before the first frame.
    """

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        resources: AsyncExitStack,
        *,
        ping_seconds: int,
        ping: bytes = PING,
        media_type: str = "text/event-stream",
    ) -> None:
        """A `ping` is sent after each `ping_seconds` of silence, if there are both."""
        super().__init__(frames, ping=ping_seconds if ping else 0, media_type=media_type)
        # uvicorn says whether the connection stays; two headers could contradict each other.
        del self.headers["connection"]
        self._resources = resources
        self._ping_frame, self._ping_seconds = ping, ping_seconds
        self._last_sent = time.monotonic()
        self._sending = asyncio.Lock()
        """A large frame is sent in pieces; a ping must not come between them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._resources.aclose()

    async def _send_with_timeout(self, send: Send, message: Message) -> None:
        """Send without a timer for each frame: the connection bounds what nobody reads."""
        async with self._sending:
            await send(message)
        self._last_sent = time.monotonic()

    async def _ping(self, send: Send) -> None:
        """Send pings after silence; sse-starlette's come at fixed intervals."""
        message = {"type": "http.response.body", "body": self._ping_frame, "more_body": True}
        while self.active:
            silent = time.monotonic() - self._last_sent
            if silent >= self._ping_seconds:
                await self._send_with_timeout(send, message)
            else:
                await asyncio.sleep(self._ping_seconds - silent)
