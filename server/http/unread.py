"""ASGI middleware that counts what clients don't read, and sends large bodies in pieces."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.engine.unread_output import UnreadBudget, UnreadOutput
from server.http.connection import abort_of

PIECE = 64 * 1024
"""Bytes of a body that are sent at once. After each piece, the next one waits for the client."""

logger = logging.getLogger(__name__)


class BoundUnread:
    """Opens the output of each request, and ends connections whose output is ended."""

    def __init__(self, app: ASGIApp, *, budget: UnreadBudget) -> None:
        self._app = app
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        abort = abort_of(scope)

        def end_sending() -> None:
            logger.warning("a client doesn't read its answer; the connection is closed")
            abort()

        with self._budget.open() as output:

            async def send_in_pieces(message: Message) -> None:
                if message["type"] == "http.response.start":
                    output.end_sending = end_sending
                await _send(message, send, output)

            await self._app(scope, receive, send_in_pieces)
        return None


async def _send(message: Message, send: Send, output: UnreadOutput) -> None:
    body = message.get("body", b"")
    if len(body) <= PIECE:
        return await send(message)
    view = memoryview(body)
    if message.get("more_body", False):
        output.add(len(body))
    else:
        output.send_whole(len(body))
    for start in range(0, len(body), PIECE):
        piece = bytes(view[start : start + PIECE])
        more = start + PIECE < len(body) or message.get("more_body", False)
        await send({**message, "body": piece, "more_body": more})
        output.remove(len(piece))
    return None
