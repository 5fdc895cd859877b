"""The application behind a real uvicorn on a free port, for tests that need a connection."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp

from config import ServeSettings
from server.http.server import HttpServer, http_config
from server.http.sockets import bind_all, close_all, url_of

DEADLINE = 120.0
"""Seconds after which a test fails; a slow machine must not need them."""


@contextmanager
def serving(
    app: ASGIApp, settings: ServeSettings | None = None, *, host: str = "127.0.0.1"
) -> Iterator[str]:
    """The URL of a running server, which stops when the block ends."""
    settings = settings or ServeSettings()
    sockets: list[socket.socket] = bind_all([host], 0)
    url = url_of(sockets[0], tls=settings.ssl_cert_file is not None)
    server = HttpServer(http_config(app, settings), on_stop=lambda: None)
    # A server that does not stop fails its test, and not the whole run, which would wait for it.
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        yield url
    finally:
        server.should_exit = True
        thread.join(DEADLINE)
        close_all(sockets)
    assert not thread.is_alive()


def wait_for(condition: object, seconds: float = DEADLINE) -> bool:
    """Whether a callable becomes true within `seconds`."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False
