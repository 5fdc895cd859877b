"""The CORS middleware: which web pages of other origins may use the server."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config import ServeSettings
from server.access import rate_headers
from server.access.origins import AllowedOrigins

EXPOSED = ", ".join(("X-Request-Id", "Retry-After", "Llamapack-Left-To-Model", *rate_headers.NAMES))
"""Headers of an answer that a page may read."""

PREFLIGHT_SECONDS = "600"
"""How long a browser may remember the answer to a preflight."""


class Cors:
    """Answers preflights, and marks the other answers for pages of allowed origins.

    A preflight is a browser's question whether a page may send a request. Browsers send no key with
    it. An origin that isn't allowed gets the same answer without `Access-Control-Allow-Origin`.
    """

    def __init__(self, app: ASGIApp, *, settings: ServeSettings) -> None:
        self._app = app
        self._origins = AllowedOrigins(settings.cors_origins)
        self._methods = ", ".join(settings.cors_methods)
        self._headers = ", ".join(settings.cors_headers)
        self._any_header = "*" in settings.cors_headers
        # With any origin allowed, credentials would let every web page act for its user.
        self._credentials = settings.cors_credentials and "*" not in settings.cors_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            return await self._preflight(headers)(scope, receive, send)
        if not self._origins:
            return await self._app(scope, receive, send)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), headers.get("origin"))
            await send(message)

        return await self._app(scope, receive, marked)

    def _preflight(self, asked: Headers) -> Response:
        response = Response()
        if self._origins:
            wanted = asked.get("access-control-request-headers", "")
            response.headers["Access-Control-Allow-Methods"] = self._methods
            response.headers["Access-Control-Allow-Headers"] = self._allowed_headers(wanted)
            response.headers["Access-Control-Max-Age"] = PREFLIGHT_SECONDS
            self._mark(response.headers, asked.get("origin"))
            response.headers.add_vary_header("Access-Control-Request-Headers")
        return response

    def _allowed_headers(self, wanted: str) -> str:
        """The headers that a page may send, out of which it wants to send some.

        For browsers `*` doesn't cover Authorization, and nothing if credentials are allowed. So the
        wanted headers follow it by name.
        """
        names = [name.strip() for name in wanted.split(",") if name.strip()]
        if not self._any_header or not names:
            return self._headers
        if self._credentials:
            return ", ".join(names)
        uncovered = [name for name in names if name.lower() == "authorization"]
        return ", ".join([self._headers, *uncovered])

    def _mark(self, answer: MutableHeaders, origin: str | None) -> None:
        """Tell the browser that pages of this origin may read the answer, if they may."""
        answer.add_vary_header("Origin")
        if origin is None or not self._origins.allows(origin):
            return
        answer["Access-Control-Allow-Origin"] = origin
        answer["Access-Control-Expose-Headers"] = EXPOSED
        if self._credentials:
            answer["Access-Control-Allow-Credentials"] = "true"


def cors_middleware(settings: ServeSettings) -> Middleware:
    """The middleware for these settings."""
    return Middleware(Cors, settings=settings)
