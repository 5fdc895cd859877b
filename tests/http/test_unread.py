"""Clients that don't read: what waits for them is bounded, and they lose their slot."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from config import ServeSettings
from server.app import create_app
from tests.http.test_engine import LetterBackend, Live, _context
from tests.support.fake_server import FakeServer, make_server
from tests.support.inprocess import DEADLINE, Pair
from tests.support.live import serving, wait_for

N_CTX_SLOT = 100_000


def make_backend() -> LetterBackend:
    return LetterBackend(n_ctx_slot=N_CTX_SLOT, n_vocab=259, next_token=lambda tokens: 97)


@contextmanager
def live(settings: ServeSettings) -> Iterator[Live]:
    """A server with the engine's loop on a fake model, whose answers have 100,000 tokens."""
    pair = Pair(make_backend)
    loops: list[asyncio.AbstractEventLoop] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await pair.start_engine()
        loops.append(asyncio.get_running_loop())
        try:
            yield
        finally:
            await pair.stop()

    context = dataclasses.replace(_context(pair), settings=settings)
    with (
        serving(create_app(context, lifespan=lifespan), settings) as url,
        httpx.Client(base_url=url, timeout=DEADLINE) as client,
    ):
        yield Live(client, pair, loops[0])


def ask(url: str, path: str, body: dict[str, Any]) -> socket.socket:
    """Send a request on a connection with a small buffer, and don't read the answer."""
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((parts.hostname, parts.port))
    connection.settimeout(DEADLINE)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def read_to_end(connection: socket.socket, pause: float = 0.0) -> bytes:
    data = bytearray()
    while True:
        try:
            part = connection.recv(1 << 16)
        except ConnectionError:
            part = b""
        if not part:
            return bytes(data)
        data += part
        time.sleep(pause)


CHAT = {"messages": [{"role": "user", "content": "a"}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/completion", {"prompt": "a", "n_probs": 50}),
        ("/completion", {"prompt": ["a", "b", "c"], "n_probs": 50}),
        ("/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 20, "n": 2}),
    ],
)
class TestAnswersThatAreTooLarge:
    def test_a_stream_that_nobody_reads_ends(self, path: str, body: dict[str, Any]) -> None:
        with live(ServeSettings(max_answer_size=1)) as server:
            url = str(server.client.base_url)
            with ask(url, path, {**body, "stream": True}) as idle:
                assert wait_for(lambda: server.pair.client.streams, seconds=DEADLINE)
                assert wait_for(server.is_idle, seconds=DEADLINE)
                assert len(read_to_end(idle)) < 8 << 20
            assert server.complete("a", n_predict=1).status_code == 200

    def test_a_whole_answer_is_refused(self, path: str, body: dict[str, Any]) -> None:
        with live(ServeSettings(max_answer_size=1)) as server:
            answer = server.client.post(path, json=body)
            assert answer.status_code == 400
            assert "1 MiB" in answer.json()["error"]["message"]
            assert wait_for(server.is_idle)


def test_a_slow_client_gets_everything() -> None:
    """The answer takes several times as long as a client may stop."""
    with live(ServeSettings(timeout=1)) as server:
        body = {"prompt": "a", "n_probs": 50, "n_predict": 800, "stream": True}
        with ask(str(server.client.base_url), "/completion", body) as slow:
            data = bytearray()
            while b'"stop":true' not in data[-9000:]:
                data += slow.recv(1 << 16)
                time.sleep(0.001)
        assert data.count(b"data: ") == 801


@pytest.mark.parametrize("size", [8_000_000, 12_000_000, 20_000_000])
def test_a_whole_answer_that_nobody_reads_is_dropped(size: int) -> None:
    fake: FakeServer = make_server()
    fake.generator.pieces = ["a" * (size // 10)] * 10
    settings = ServeSettings(timeout=1)
    with serving(create_app(fake.context), settings) as url:
        with ask(url, "/completion", {"prompt": "a"}) as idle:
            assert wait_for(lambda: fake.generator.opened)
            time.sleep(2.5)
            assert len(read_to_end(idle)) < size
        answer = httpx.post(f"{url}/completion", json={"prompt": "a"}, timeout=DEADLINE)
        assert len(answer.json()["content"]) == size
