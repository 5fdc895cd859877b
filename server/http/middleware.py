"""ASGI middleware that every request passes before its handler, in the order given here.

`RequestLog` names and logs the request, `CatchErrors` turns exceptions into error bodies,
`LimitBody` bounds the body. The middleware for API keys is in `server.access`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import ApiError, BodyTooLarge, InvalidRequest
from server.http.drain import Drain, Draining
from server.http.json_response import JsonResponse
from server.http.status import CLIENT_GONE
from server.observability.request_id import HEADER, choose_request_id, current_request_id

BODY_SECONDS = 60.0
"""How long a body of any size may take to arrive."""

MIN_BODY_RATE = 4096
"""Bytes per second that a body must reach on average after `BODY_SECONDS`."""

POLLED = frozenset(
    {"/health", "/v1/health", "/livez", "/readyz", "/metrics", "/load", "/is_sleeping"}
)
"""What probes, scrapers and routers ask again and again, some of them 20 times a second."""

ERROR = "llamapack.error"
"""Where a request's scope keeps the `ApiError` that it was answered with."""

MAX_FIELD = 64
"""Characters of a field's name in the log."""

access_logger = logging.getLogger("llamapack.access")
logger = logging.getLogger(__name__)


class RequestLog:
    """Gives each request an id, returns the id as X-Request-Id, and writes one log line at the
    end."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        on_end: Callable[[int], None] = lambda status: None,
        describe: Callable[[Scope], str] = lambda scope: "",
    ) -> None:
        """`on_end` is called with the status of every request. What `describe` says of a request
        ends its line."""
        self._app = app
        self._on_end = on_end
        self._describe = describe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = choose_request_id(dict(scope["headers"]).get(HEADER))
        current_request_id.set(request_id)
        status = CLIENT_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._on_end(status)
            milliseconds = (time.perf_counter() - started) * 1000
            access_logger.log(
                logging.DEBUG if _is_routine(scope, status) else logging.INFO,
                "%s %s %d %.1f ms%s%s",
                *(scope["method"], _loggable(scope["path"]), status, milliseconds),
                *(_reason(scope.get(ERROR)), self._described(scope)),
            )
        return None

    def _described(self, scope: Scope) -> str:
        words = self._describe(scope)
        return f" - {words}" if words else ""


def _reason(error: ApiError | None) -> str:
    """What was wrong with a request, without a word of the client's: the kind of the error, and the
    field of the body. Parts of the field may have names that the client chose."""
    if error is None:
        return ""
    field, _, _ = (error.param or "").partition(".")
    return f" {error.kind}" + (f" in {_loggable(field[:MAX_FIELD])}" if field else "")


def _is_routine(scope: Scope, status: int) -> bool:
    """Whether the answer to a poll is the usual one: the line is for those who look for it."""
    return scope["method"] == "GET" and scope["path"] in POLLED and status == HTTPStatus.OK


ErrorResponder = Callable[[str, ApiError], Response]
"""Makes the response for an error of a path. Dialects differ in the shape of errors."""


class CatchErrors:
    """Turns known errors into their responses, and any other error into a 500 with a logged
    traceback. What a stopping server cuts off gets a 503."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        on_refusal: Callable[[ApiError], None] = lambda error: None,
        respond: ErrorResponder | None = None,
        drain: Drain | None = None,
    ) -> None:
        """`on_refusal` is called for errors that occur before a request is admitted."""
        self._app = app
        self._drain = drain or Drain()
        self._on_refusal = on_refusal
        self._respond = respond or (lambda path, error: error_response(error))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def noting_send(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except ClientDisconnect:
            logger.debug("the client left before its answer was ready")
        except asyncio.CancelledError:
            if has_started or scope["type"] != "http" or not self._drain.has_begun:
                raise
            stopping = Draining("the server is stopping")
            scope[ERROR] = stopping
            await self._respond(scope["path"], stopping)(scope, receive, send)
        except Exception as error:
            if not isinstance(error, ApiError):
                logger.exception("a handler failed")
            if has_started or scope["type"] != "http":
                raise
            known = error if isinstance(error, ApiError) else ApiError("internal server error")
            if not known.was_admitted:
                self._on_refusal(known)
            scope[ERROR] = known
            await self._respond(scope["path"], known)(scope, receive, send)


class RequireHost:
    """Refuses HTTP/1.1 requests without exactly one Host header (RFC 9112, 3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["http_version"] == "1.1":
            count = sum(name == b"host" for name, _ in scope["headers"])
            if count != 1:
                raise InvalidRequest(f"the request must have one Host header (got {count})")
        await self._app(scope, receive, send)


class LimitBody:
    """Refuses stalled bodies and bodies above `max_bytes`, with or without a declared length."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        read_seconds: float | None = None,
    ) -> None:
        """`read_seconds` may pass between two parts of a body; None allows as long as for the whole
        body."""
        self._app = app
        self._max_bytes = max_bytes
        self._read_seconds = read_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            raise self._too_large()
        started = time.monotonic()
        read = 0
        is_complete = False

        async def counting_receive() -> Message:
            nonlocal read, is_complete
            # Once the body is complete, this waits for the client to leave, without a time limit.
            if is_complete:
                return await receive()
            deadline = started + BODY_SECONDS + read / MIN_BODY_RATE
            message = await self._in_time(receive, deadline - time.monotonic())
            read += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if read > self._max_bytes:
                raise self._too_large()
            return message

        return await self._app(scope, counting_receive, send)

    async def _in_time(self, receive: Receive, seconds_left: float) -> Message:
        """The next part of the body; raises if it doesn't arrive within the seconds left."""
        stall = self._read_seconds
        try:
            async with asyncio.timeout(seconds_left if stall is None else min(stall, seconds_left)):
                return await receive()
        except TimeoutError:
            if stall is not None and stall <= seconds_left:
                raise InvalidRequest(f"the body stalled for {stall} seconds") from None
            raise InvalidRequest("the body comes too slowly") from None

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body is larger than {self._max_bytes} bytes")


def error_response(error: ApiError) -> JsonResponse:
    """The response that reports an error to the client."""
    return JsonResponse(error.body(), status_code=error.status, headers=error.headers)


def _loggable(text: str) -> str:
    """The text without characters that could forge a log line."""
    return text if text.isprintable() else ascii(text)
