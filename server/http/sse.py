"""Server-sent events: their frames, and the response that streams them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, cast

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.types import Receive, Scope, Send

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
        # Bytes pass through sse-starlette as they are, though its annotation doesn't say so.
        super().__init__(
            frames,
            ping=ping_seconds if ping else 0,
            ping_message_factory=lambda: cast(ServerSentEvent, ping),
            media_type=media_type,
        )
        # uvicorn says whether the connection stays; two headers could contradict each other.
        del self.headers["connection"]
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._resources.aclose()
