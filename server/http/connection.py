"""uvicorn's HTTP connection, with bounds on slow clients and large heads."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

logger = logging.getLogger(__name__)

HEAD_SECONDS = 30.0
"""How long a client may take to send the head of a request, from its first byte on, or from the
start of the connection."""

MAX_HEAD_BYTES = 64 * 1024
"""Of a head that comes in parts; many times what clients and proxies send."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections whose heads come too slowly or never end, and those nobody reads."""

    write_seconds: ClassVar[float | None] = None
    """How long a full send buffer may wait for the client to read; None waits for ever."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_head()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is None:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._has_head()
            self.send_400_response(f"The head of the request has over {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._has_head()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """The send buffer is full: from here on the client has `write_seconds` to read."""
        super().pause_writing()
        if self.write_seconds is not None and self._write_timer is None:
            self._write_timer = self.loop.call_later(self.write_seconds, self._drop_reader)

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    def _drop_reader(self) -> None:
        logger.warning("a client stopped reading its answer; the connection is closed")
        self.transport.abort()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _has_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()


def bounded_protocol(write_seconds: float) -> type[BoundedHttpProtocol]:
    """The protocol for connections on which one write may take this long, in seconds."""
    return type("HttpConnection", (BoundedHttpProtocol,), {"write_seconds": write_seconds})
