"""uvicorn's HTTP connection, with bounds on slow clients and large heads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, ClassVar

from starlette.types import Scope
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.http.flow import HeldFlow
from server.http.large_reads import SMALL_READ, LargeReads
from server.http.request_parser import RequestParser

logger = logging.getLogger(__name__)

HEAD_SECONDS = 30.0
"""How long a client may take to send the head of a request. The time starts at the head's first
byte, or at the start of the connection."""

MAX_HEAD_BYTES = 64 * 1024
"""Maximum size of a head, or of trailers; many times what clients send."""

MAX_HEADERS = 256
"""Maximum number of headers, each of which takes much more memory than bytes."""

MAX_PIPELINED = 32
"""Most requests that may wait on a connection for the answer to another."""

MIN_READ_RATE = 64
"""Bytes per second that a client must read on average while output waits for it."""

REST_SECONDS = 10.0
"""How long the rest of a body may take to arrive once its request was answered."""


_EXTENSION = "llamapack.connection"
"""The name under which an ASGI scope has what this protocol adds."""


class _Timer:
    """Calls back once, unless it is stopped before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        """Whether the call is still to come."""
        return self._handle is not None

    def start(self, seconds: float) -> None:
        """Call back in `seconds`, unless the timer runs already."""
        if self._handle is None:
            self._handle = self._loop.call_later(seconds, self._fire)

    def stop(self) -> None:
        """Don't call back."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._callback()


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections of clients that send too slowly, send endless heads, or don't read."""

    large_reads: ClassVar[LargeReads]
    """The large pieces of all connections."""

    write_seconds: ClassVar[float | None] = None
    """How long a client may read next to nothing of what waits for it; None waits for ever."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser = RequestParser(self)  # type: ignore[assignment]
        self._held: list[bytes] = []
        """What has been received and waits to be parsed."""
        self._num_head_bytes = 0
        self._num_headers = 0
        self._barren_bytes = 0
        """Bytes received since a head or a part of a body was complete."""
        self._head_timer = _Timer(self.loop, self._close)
        self._rest_timer = _Timer(self.loop, self._close)
        self._write_timer = _Timer(self.loop, self._check_reader)
        self._unread_bytes = 0
        """What waited for the client when the timer was started."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow: HeldFlow = HeldFlow(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._rest_timer, self._write_timer):
            timer.stop()
        self._held = []
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if len(data) <= SMALL_READ and not self._held:
            return self._parse(data)
        self._held.append(data)
        if len(self._held) == 1 and not self.large_reads.do(len(data), self._parse_held):
            self.flow.hold()
        return None

    def _parse_held(self) -> None:
        """Parse what a turn of the loop had no time for; nothing came after it meanwhile."""
        held, self._held = self._held, []
        for data in held:
            if not self.transport.is_closing():
                self._parse(data)
        self.flow.release()

    def _parse(self, data: bytes) -> None:
        self._barren_bytes += len(data)
        super().data_received(data)
        if self._barren_bytes > MAX_HEAD_BYTES:
            self._head_timer.stop()
            self._refuse_head()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests")  # the parser ends with an error of its own
        super().on_message_begin()
        self._num_head_bytes = self._num_headers = 0
        self.scope["extensions"] = {_EXTENSION: {"abort": self.transport.abort}}
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._num_headers += 1
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_timer.stop()
        self._barren_bytes = 0
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            self.cycle.send = CloseDelimited(self.cycle)  # type: ignore[method-assign]

    def on_body(self, body: bytes) -> None:
        self._barren_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._barren_bytes = 0
        self._rest_timer.stop()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.cycle.response_complete:
            self.cycle.body = (
                bytearray()
            )  # what the handler didn't read, or the connection keeps it
            if self.cycle.more_body:
                self._rest_timer.start(REST_SECONDS)
        self._watch_reader()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The send buffer is full: from here on the client has `write_seconds` to read."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        self._write_timer.stop()
        super().resume_writing()

    def _watch_reader(self) -> None:
        """Look after `write_seconds` whether the client has read."""
        unread = self.transport.get_write_buffer_size()
        if unread and self.write_seconds is not None and not self._write_timer.is_running:
            self._unread_bytes = unread
            self._write_timer.start(self.write_seconds)

    def _check_reader(self) -> None:
        """Drop the client if it has hardly read; a slow client may go on."""
        assert self.write_seconds is not None
        read = self._unread_bytes - self.transport.get_write_buffer_size()
        if read < min(self._unread_bytes, MIN_READ_RATE * self.write_seconds):
            self._drop_reader()
        else:
            self._watch_reader()

    def _expect_head(self) -> None:
        self._head_timer.start(HEAD_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Answer 400, unless an answer is under way or due that the 400 would end up in."""
        cycle = self.cycle
        is_under_way = cycle is not None and cycle.response_started and not cycle.response_complete
        if is_under_way or self.pipeline:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _count_head(self, num_bytes: int) -> None:
        """Raise `ValueError` for a head that is too large, also if it comes at once."""
        self._num_head_bytes += num_bytes
        if self._num_head_bytes > MAX_HEAD_BYTES or self._num_headers > MAX_HEADERS:
            raise ValueError("too large a head")  # the parser ends with an error of its own

    def _refuse_head(self) -> None:
        self.send_400_response(f"The head of the request has over {MAX_HEAD_BYTES} bytes.")

    def _drop_reader(self) -> None:
        logger.warning("a client stopped reading its answer; the connection is closed")
        self.transport.abort()

    def _close(self) -> None:
        self.transport.close()


class CloseDelimited:
    """Sends answers to HTTP/1.0 clients, which know no chunks (RFC 9112, 6.1).

    An answer whose length is not known ends where the connection does.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send = cycle.send
        self._has_length = True

    async def __call__(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", [])}
            self._has_length = b"content-length" in names
            if not self._has_length:
                self._cycle.chunked_encoding = False
        elif message["type"] == "http.response.body" and not self._has_length:
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._send(message)


def abort_of(scope: Scope) -> Callable[[], None]:
    """What ends the request's connection at once; without this protocol, nothing."""
    extension: dict[str, Callable[[], None]] = scope.get("extensions", {}).get(_EXTENSION, {})
    return extension.get("abort", _nothing)


def _nothing() -> None:
    pass


def bounded_protocol(write_seconds: float) -> type[BoundedHttpProtocol]:
    """The protocol for connections on which one write may take this long, in seconds."""
    return type(
        "HttpConnection",
        (BoundedHttpProtocol,),
        {"write_seconds": write_seconds, "large_reads": LargeReads()},
    )
