"""Memory by client: answers that nobody reads, and bodies that don't end, are bounded."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from config import ServeSettings
from protocol.messages import EmbeddingInfo
from server.app import create_app
from tests.support.fake_server import FakeServer, make_server
from tests.support.live import DEADLINE, serving, wait_for
from tests.support.live_engine import LetterBackend, Live, live_server

N_CTX_SLOT = 100_000


def make_backend() -> LetterBackend:
    return LetterBackend(n_ctx_slot=N_CTX_SLOT, n_vocab=259, next_token=lambda tokens: 97)


@contextmanager
def live(settings: ServeSettings) -> Iterator[Live]:
    """A server with the engine's loop on a fake model, whose answers have 100,000 tokens."""
    with live_server(make_backend, settings, client_seconds=120) as server:
        yield server


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
        ("/completion", {"prompt": "a", "n_probs": 100}),
        ("/completion", {"prompt": ["a", "b", "c"], "n_probs": 100}),
        ("/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 100, "n": 2}),
    ],
)
class TestAnswersThatAreTooLarge:
    def test_a_stream_that_nobody_reads_ends(self, path: str, body: dict[str, Any]) -> None:
        with live(ServeSettings(max_answer_size=1)) as server:
            url = str(server.client.base_url)
            with ask(url, path, {**body, "stream": True}) as idle:
                assert wait_for(lambda: server.pair.client.streams)
                assert wait_for(server.is_idle)
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
        assert data.count(b'"logprob":') == 1600  # of each token, and of its one alternative
        assert b'"tokens_predicted":800' in data[-9000:]


@pytest.mark.parametrize("size", [8_000_000, 12_000_000, 20_000_000])
def test_a_whole_answer_that_nobody_reads_is_dropped(size: int) -> None:
    fake: FakeServer = make_server()
    fake.generator.pieces = ["a" * (size // 10)] * 10
    settings = ServeSettings(timeout=1)
    with serving(create_app(fake.context), settings) as url:
        with ask(url, "/completion", {"prompt": "a"}) as idle:
            assert wait_for(lambda: fake.generator.opened)
            time.sleep(5)
            assert len(read_to_end(idle)) < size
        answer = httpx.post(f"{url}/completion", json={"prompt": "a"}, timeout=DEADLINE)
        assert len(answer.json()["content"]) == size


@pytest.mark.parametrize(
    ("path", "count", "status"),
    [
        ("/embedding", 3000, 400),
        ("/embeddings", 2000, 400),
        ("/embedding", 100, 200),
    ],
)
def test_vectors_of_one_request_are_bounded(path: str, count: int, status: int) -> None:
    settings = ServeSettings(max_answer_size=1)
    fake = make_server(settings)
    fake.engine.embedding = EmbeddingInfo(
        pooling="none", size=4, max_tokens=100, is_whole=True, max_rows=128
    )
    with serving(create_app(fake.context), settings) as url:
        body = {"input": ["a" * 90] * min(count, 2048)}
        answer = httpx.post(url + path, json=body, timeout=DEADLINE)
        assert answer.status_code == status
        assert ("1 MiB" in answer.text) is (status == 400)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("count", [4, 9, 20])
def test_half_read_bodies_give_way(packed: bool, count: int) -> None:
    """However many clients send a part of a large body, the next one is read."""
    settings = ServeSettings(max_body_size=1)
    fake = make_server(settings)
    text = b'{"prompt": "a", "n_predict": 1, "user": "' + b"u" * 1_000_000
    data, encoding = (gzip.compress(text), "gzip") if packed else (text, "identity")
    head = f"POST /completion HTTP/1.1\r\nHost: a\r\nContent-Encoding: {encoding}\r\n"
    head += f"Content-Length: {len(data) + 100}\r\n\r\n"
    with serving(create_app(fake.context), settings) as url, ExitStack() as stack:
        parts = urlsplit(url)
        address = (str(parts.hostname), parts.port or 80)
        idle = [stack.enter_context(socket.create_connection(address)) for _ in range(count)]
        for connection in idle:
            connection.sendall(head.encode() + data)
        answer = httpx.post(f"{url}/completion", content=text + b'"}', timeout=DEADLINE)
        assert answer.status_code == 200
        refused = stack.enter_context(ThreadPoolExecutor(1)).submit(idle[0].recv, 100)
        assert refused.result(DEADLINE).startswith(b"HTTP/1.1 429")
