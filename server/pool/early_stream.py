"""A stream that begins before its model is loaded: headers and pings let the client wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from server.errors import ApiError, EngineFailed
from server.http.disconnect import stop
from server.http.sse import PING

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)

logger = logging.getLogger(__name__)


class EarlyStream(Response):
    """Sends the answer of `work` as soon as there is one, and pings before.

    An error of the work can't have a status any more: it becomes the last event of the stream.
    """

    def __init__(
        self,
        work: asyncio.Future[Response],
        ping_seconds: float,
        error_frame: Callable[[ApiError], bytes],
        on_refusal: Callable[[ApiError], None],
    ) -> None:
        """`on_refusal` is called with an error that occurs before the answer begins."""
        self.status_code = 200
        self.background = None
        self._work = work
        self._ping_seconds = ping_seconds
        self._error_frame = error_frame
        self._on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
            while not (await asyncio.wait((self._work,), timeout=self._ping_seconds))[0]:
                await send({"type": "http.response.body", "body": PING, "more_body": True})
            await self._answer(scope, receive, send)
        finally:
            await stop(self._work)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_the_rest(message: Message) -> None:
            if message["type"] != "http.response.start":
                await send(message)

        error = self._work.exception()
        if error is None:
            await self._work.result()(scope, receive, send_the_rest)
        elif not isinstance(error, ClientDisconnect):
            await send({"type": "http.response.body", "body": self._frame_of(error)})

    def _frame_of(self, error: BaseException) -> bytes:
        if isinstance(error, ApiError):
            self._on_refusal(error)
            return self._error_frame(error)
        logger.error("a handler failed", exc_info=error)
        return self._error_frame(EngineFailed("internal server error"))
