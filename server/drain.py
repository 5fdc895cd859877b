"""The end of a server: answers that run may end, new work is sent elsewhere."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import Unavailable


class Drain:
    """Whether the server was told to stop."""

    def __init__(self) -> None:
        self.has_begun = False

    def begin(self) -> None:
        """From now on nothing new is taken."""
        self.has_begun = True


class RefuseWhileDraining:
    """Once the drain has begun, refuses what is posted and closes every connection."""

    def __init__(self, app: ASGIApp, *, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._drain.has_begun:
            return await self._app(scope, receive, send)
        if scope["method"] == "POST":
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
