"""The graceful end of a server: running answers may finish, and new work is refused."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import Unavailable


class Drain:
    """The state of the drain."""

    def __init__(self) -> None:
        self.has_begun = False
        """The server isn't ready any more, and each answer is the last on its connection."""
        self.is_closed = False
        """New work is refused."""

    def begin(self) -> None:
        """The server was told to stop. Clients and proxies don't know that yet and still send
        requests."""
        self.has_begun = True

    def close(self) -> None:
        """Clients and proxies have had their time to notice; refuse new work."""
        self.is_closed = True


class RefuseWhileDraining:
    """Closes connections after their answers once the drain has begun; then refuses POST requests.

    Between `begin` and `close`, requests are answered as usual: a client on an open connection
    could not know that the server is stopping.
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
    """The answer to requests that come too late; the connection is closed."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}
