"""Server-sent events: framing, and a response that owns the resources that produce the events."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, cast

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.types import Receive, Scope, Send

from server.errors import ApiError, EngineFailed
from server.http.json_response import encode_json

DONE = b"data: [DONE]\n\n"
"""The event that ends an OpenAI stream."""

PING = b":\n\n"
"""A comment, which clients skip; it keeps proxies from closing a silent connection."""

logger = logging.getLogger(__name__)

# When the server stops, it lets running answers end; sse-starlette would cut them off.
AppStatus.enable_automatic_graceful_drain = False


def frame(payload: Any) -> bytes:
    """One event whose data is the payload in JSON."""
    return b"data: " + encode_json(payload) + b"\n\n"


class EventStream(EventSourceResponse):
    """Sends framed events; closes `resources` when the stream ends for any reason.

    The handler enters the generation on `resources` before it makes this response, so that a
    refusal is still an ordinary HTTP error. From then on the response must release the generation,
    even if the client is gone before the first event. An error while iterating becomes an event.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        resources: AsyncExitStack,
        *,
        ping_seconds: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            _with_errors(events),
            ping=ping_seconds,
            ping_message_factory=_ping,
            headers=headers,
            media_type="text/event-stream",
        )
        # uvicorn says whether the connection stays; two headers could contradict each other.
        del self.headers["connection"]
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._resources.aclose()


def error_event(error: ApiError) -> bytes:
    """The event that ends a stream which failed after its first byte."""
    return frame(error.body())


def _ping() -> ServerSentEvent:
    # sse-starlette passes bytes on unchanged, though its annotation doesn't say so.
    return cast(ServerSentEvent, PING)


async def _with_errors(events: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for event in events:
            yield event
    except ApiError as error:
        yield error_event(error)
    except Exception:
        logger.exception("a stream failed")
        yield error_event(EngineFailed("the server failed while it produced this answer"))
