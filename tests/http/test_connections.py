"""Clients that keep connections: slow heads, endless heads, and the server's shutdown."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from config import ServeSettings
from server.app import create_app
from server.http import connection
from server.http.server import HttpServer, http_config
from server.http.sockets import bind_all, close_all, url_of
from tests.support.fake_server import FakeServer
from tests.support.live import DEADLINE, serving, wait_for


@pytest.fixture
def url(server: FakeServer) -> Iterator[str]:
    with serving(create_app(server.context)) as url:
        yield url


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads have to come soon."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1.0)


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port or 80))
    connection.settimeout(DEADLINE)
    return connection


@pytest.mark.usefixtures("impatient")
def test_a_client_that_says_nothing_is_dropped(url: str) -> None:
    with connect(url) as connection:
        assert connection.recv(100) == b""


@pytest.mark.usefixtures("impatient")
def test_a_head_that_trickles_in_is_dropped(url: str) -> None:
    began = time.monotonic()
    with connect(url) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            trickle(connection)
    assert time.monotonic() - began < 20


def trickle(connection: socket.socket) -> None:
    """Send one header after the other, without an end."""
    while True:
        connection.sendall(b"X-A: 1\r\n")
        time.sleep(0.02)


@pytest.mark.usefixtures("impatient")
def test_a_second_head_has_to_come_in_time_too(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(1.5)  # an idle connection may stay
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /hea")
        assert connection.recv(4096) == b""


def test_an_endless_head_is_refused(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        answer = b""
        for _ in range(100):
            try:
                connection.sendall(b"X-A: " + b"a" * 1000 + b"\r\n")
            except OSError:
                break
            time.sleep(0.001)
        try:
            answer = connection.recv(4096)
        except OSError:
            return
        assert answer.startswith(b"HTTP/1.1 400") or answer == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 5000 + b"\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X-A: 1\r\n" * 257 + b"\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_a_large_head_that_comes_at_once_is_refused(url: str, head: bytes) -> None:
    with connect(url) as connection:
        connection.sendall(head)
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        (b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", 1000),
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 5000),
        (b"POST /completion HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 500),
    ],
)
def test_few_requests_wait_on_a_connection(url: str, request_: bytes, count: int) -> None:
    with connect(url) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request_ * count)
        answers = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                answers += part
        assert answers.count(b"HTTP/1.1") < 100


def test_some_requests_may_wait_on_a_connection(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 20:
            answers += connection.recv(65536)


def test_slow_clients_do_not_hold_up_others(url: str) -> None:
    slow = [connect(url) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(b"POST /completion HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        began = time.monotonic()
        answer = httpx.post(f"{url}/completion", json={"prompt": "a"}, timeout=DEADLINE)
        assert answer.status_code == 200
        assert time.monotonic() - began < 20
    finally:
        for connection in slow:
            connection.close()


def test_a_client_that_stops_reading_frees_its_slot(server: FakeServer) -> None:
    """Its stream is ended, though there would be more to send for ever."""
    server.generator.pieces = ["word " * 50_000] * 1000
    with serving(create_app(server.context), ServeSettings(timeout=1)) as url, connect(url) as idle:
        body = b'{"prompt": "a", "stream": true}'
        head = b"POST /completion HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        idle.sendall(head % len(body) + body)
        assert wait_for(lambda: server.generator.opened)
        assert wait_for(lambda: server.generator.aborted == 1)


def test_new_requests_are_taken_while_the_server_lingers(server: FakeServer) -> None:
    """The server takes requests on open connections and on new ones, and ends afterwards."""
    drain = server.context.drain
    sockets = bind_all(["127.0.0.1"], 0)
    http = HttpServer(
        http_config(create_app(server.context), ServeSettings()),
        on_stop=drain.begin,
        on_close=drain.close,
        linger_seconds=3.0,
    )
    thread = threading.Thread(target=http.run, args=(sockets,), daemon=True)
    thread.start()
    assert wait_for(lambda: http.started)
    url = f"{url_of(sockets[0], tls=False)}/completion"
    with httpx.Client() as kept, httpx.Client() as new:
        assert kept.post(url, json={"prompt": "a"}).status_code == 200
        http.handle_exit(signal.SIGTERM, None)
        for client in (kept, new):
            response = client.post(url, json={"prompt": "a"})
            assert (response.status_code, response.headers["connection"]) == (200, "close")
        assert not drain.is_closed
    thread.join(DEADLINE)
    close_all(sockets)
    assert not thread.is_alive()
    assert drain.is_closed


def test_the_deadline_of_the_drain(server: FakeServer) -> None:
    """`on_deadline` is called if an answer still runs, and not if all answers ended in time."""
    server.generator.pieces = ["a"] * 150
    server.generator.delay = 0.01
    for drain_seconds, expected in ((0.1, 1), (DEADLINE, 0)):
        told: list[float] = []
        settings = ServeSettings()
        sockets = bind_all(["127.0.0.1"], 0)
        http = HttpServer(
            http_config(create_app(server.context), settings),
            on_stop=lambda: None,
            on_deadline=lambda told=told: told.append(0.0),  # type: ignore[misc]
            drain_seconds=drain_seconds,
        )
        thread = threading.Thread(target=http.run, args=(sockets,), daemon=True)
        thread.start()
        assert wait_for(lambda http=http: http.started)
        body = {"prompt": "a", "stream": True}
        url = url_of(sockets[0], tls=False)
        with httpx.stream("POST", f"{url}/completion", json=body, timeout=DEADLINE) as response:
            http.should_exit = True
            assert response.read().count(b"data: ") == 151
        thread.join(DEADLINE)
        close_all(sockets)
        assert len(told) == expected
