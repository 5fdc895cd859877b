"""The end of a server: answers that run may end, new work is sent elsewhere."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import Unavailable


class Drain:
    """How far the end has come."""

    def __init__(self) -> None:
        self.has_begun = False
        """The server is no longer ready, and each answer is the last on its connection."""
        self.is_closed = False
        """Nothing new is taken."""

    def begin(self) -> None:
        """The server was told to stop; others don't know that yet, and still send."""
        self.has_begun = True

    def close(self) -> None:
        """They have had their time to hear of it."""
        self.is_closed = True


class RefuseWhileDraining:
    """Closes each connection with its answer once the drain has begun; then refuses what is posted.

    A request in the meantime is answered like any other: whoever sends it on a connection that was
    open all along had no way to know.
    """

    def __init__(self, app: ASGIApp, *, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._drain.has_begun:
            return await self._app(scope, receive, send)
        if self._drain.is_closed and scope["method"] == "POST":
            raise Draining("the server is stopping and takes no new requests")

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        return await self._app(scope, receive, send_and_close)


class Draining(Unavailable):
    """Sent to whoever comes too late; its connection leads nowhere any more."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}
