"""What happens to every request before its handler: pure ASGI, in the order given here.

`RequestLog` names and logs the request, `CatchErrors` turns exceptions into error bodies,
`RequireKey` asks for an API key, `LimitBody` bounds what is read.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Collection, Iterable

from sse_starlette.sse import SendTimeoutError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import ApiError, BodyTooLarge, InvalidRequest, Unauthenticated
from server.json_response import JsonResponse
from server.request_id import HEADER, choose_request_id, current_request_id

MAX_BODY_BYTES = 100 * 1024 * 1024
"""llama-server's limit, which it inherits from its HTTP library."""

CLIENT_GONE = 499
"""What the log calls the status of a request whose client left before any answer."""

_access_log = logging.getLogger("llamapack.access")
_log = logging.getLogger(__name__)


class RequestLog:
    """Gives each request an id, returns it as X-Request-Id, and writes one line at the end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
            milliseconds = (time.perf_counter() - started) * 1000
            _access_log.info(
                "%s %s %d %.1f ms", scope["method"], _loggable(scope["path"]), status, milliseconds
            )
        return None


class CatchErrors:
    """The last resort: known errors become their answer, others a 500 and a logged traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def noting_send(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except ClientDisconnect:
            _log.debug("the client left before its answer was ready")
        except SendTimeoutError:
            _log.warning("a client stopped reading its stream; the stream was closed")
        except Exception as error:
            if not isinstance(error, ApiError):
                _log.exception("a handler failed")
            if has_started or scope["type"] != "http":
                raise
            known = error if isinstance(error, ApiError) else ApiError("internal server error")
            await error_response(known)(scope, receive, send)


class RequireKey:
    """Lets only those in who know one of the keys, except on public paths."""

    def __init__(self, app: ASGIApp, *, keys: Iterable[str], public_paths: Collection[str]) -> None:
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]
        self._public_paths = frozenset(public_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._digests and scope["path"] not in self._public_paths:
            self._check(Headers(scope=scope))
        await self._app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        given = _given_key(headers)
        if given is None:
            raise Unauthenticated(
                "an API key is needed: send it as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'"
            )
        digest = _digest(given)
        # All keys are compared, each in constant time: how long it takes tells nothing.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        if not any(matches):
            raise Unauthenticated("Invalid API Key")


class LimitBody:
    """Refuses bodies above a number of bytes, whether announced or not, and stalled ones."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int = MAX_BODY_BYTES,
        read_seconds: float | None = None,
    ) -> None:
        """`read_seconds` may pass between two parts of a body; None is any time."""
        self._app = app
        self._max_bytes = max_bytes
        self._read_seconds = read_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            raise self._too_large()
        read = 0
        is_complete = False

        async def counting_receive() -> Message:
            nonlocal read, is_complete
            # Once the body is there, this waits for the client to leave, as long as it takes.
            message = await (receive() if is_complete else self._in_time(receive))
            read += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if read > self._max_bytes:
                raise self._too_large()
            return message

        return await self._app(scope, counting_receive, send)

    async def _in_time(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self._read_seconds):
                return await receive()
        except TimeoutError:
            raise InvalidRequest(f"the body stalled for {self._read_seconds} seconds") from None

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body is larger than {self._max_bytes} bytes")


def error_response(error: ApiError) -> JsonResponse:
    """The answer that tells the client of an error."""
    return JsonResponse(error.body(), status_code=error.status, headers=error.headers)


def _given_key(headers: Headers) -> bytes | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip().encode("latin-1")
    key = headers.get("x-api-key")
    return None if key is None else key.encode("latin-1")


def _digest(key: bytes) -> bytes:
    """Of one length for all keys, so that comparing doesn't tell theirs."""
    return hashlib.sha256(key).digest()


def _loggable(path: str) -> str:
    """The path without what could forge a log line."""
    return path if path.isprintable() else ascii(path)
