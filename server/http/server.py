"""uvicorn, configured for long streams and a graceful end."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from config import ServeSettings
from server.http.connection import bounded_protocol

STREAM_END_SECONDS = 2
"""How long a stream may take to report that it is ended early."""

LINGER_POLL_SECONDS = 0.1
"""Interval at which a second signal is noticed."""

KEEP_ALIVE_SECONDS = 75
"""Longer than the minute after which common proxies drop an idle connection. The server must not
close first, because the proxy may just be sending its next request."""


class HttpServer(uvicorn.Server):
    """Ends on SIGTERM and SIGINT after draining; a second signal ends all answers with an error.

    `on_stop` is called when the first signal arrives. For `linger_seconds` nothing else changes, so
    that requests of clients that don't know of the stop yet are still served. Then `on_close` is
    called. `on_deadline` is called if answers still run `drain_seconds` later, or at the second
    signal. The callback should end their streams with an error, because the remaining streams are
    cut off a moment later.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        on_stop: Callable[[], None],
        on_close: Callable[[], None] = lambda: None,
        on_deadline: Callable[[], None] = lambda: None,
        linger_seconds: float = 0,
        drain_seconds: float = 30,
    ) -> None:
        super().__init__(config)
        self._linger_until = 0.0
        self._linger_seconds = linger_seconds
        self._drain_seconds = drain_seconds
        self._on_stop = on_stop
        self._on_close = on_close
        self._on_deadline = on_deadline

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for late requests and running answers, then end the answers that are left."""
        await self._linger()
        self._on_close()
        deadline = asyncio.get_running_loop().call_later(self._drain_seconds, self._on_deadline)
        try:
            await super().shutdown(sockets)
        finally:
            deadline.cancel()
        if self.force_exit:
            await self._end_answers()
            await self.lifespan.shutdown()  # uvicorn leaves that out: the parts would be cut off

    async def _end_answers(self) -> None:
        """Give what still runs or waits an error, before the loop ends and cuts it off."""
        tasks = set(self.server_state.tasks)
        if not tasks:
            return
        self._on_deadline()
        _, left = await asyncio.wait(tasks, timeout=STREAM_END_SECONDS)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=STREAM_END_SECONDS)

    async def _linger(self) -> None:
        # A signal handler outside the loop ends the wait early, so there is no event to wait for.
        while time.monotonic() < self._linger_until and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(LINGER_POLL_SECONDS)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's own version, doesn't raise the signal again, because a stop is no
        error."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking requests; the second signal stops everything."""
        if self.should_exit:
            self.force_exit = True
            return
        self.should_exit = True
        self._linger_until = time.monotonic() + self._linger_seconds
        # Leave the context of the interrupted request, because the log would name that request.
        contextvars.Context().run(self._on_stop)


def http_config(app: ASGIApp, settings: ServeSettings) -> uvicorn.Config:
    """The configuration with which uvicorn serves the application."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=bounded_protocol(settings.timeout),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[("Server", "llamapack")],
        proxy_headers=False,
        ssl_keyfile=None if settings.ssl_key_file is None else str(settings.ssl_key_file),
        ssl_certfile=None if settings.ssl_cert_file is None else str(settings.ssl_cert_file),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_timeout + STREAM_END_SECONDS,
    )
