"""What RFC 9110 and 9112 ask of a server, seen by clients that write bytes."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from config import ServeSettings
from server.app import create_app
from server.http import connection
from tests.support.fake_server import FakeServer, make_server
from tests.support.live import DEADLINE, serving

BODY = json.dumps({"prompt": "a"}).encode()
STREAM = json.dumps({"prompt": "a", "stream": True}).encode()
OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "websocket": b"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n",
    "tls": b"Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
    "two": b"Connection: Upgrade\r\nConnection: keep-alive\r\nUpgrade: h2c, IRC/6.9\r\n",
}


@pytest.fixture
def url(server: FakeServer) -> Iterator[str]:
    with serving(create_app(server.context)) as url:
        yield url


def exchange(url: str, *segments: bytes) -> bytes:
    """Everything that the server sends until it closes, or is silent for a while afterwards."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port or 80)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(DEADLINE)
        for segment in segments:
            client.sendall(segment)
            time.sleep(0.02)
        answer = b""
        try:
            while data := client.recv(65536):
                answer += data
                client.settimeout(0.5)
        except TimeoutError:
            pass
        return answer


def post(body: bytes, headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    head = b"POST /completion HTTP/%b\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n"
    return head % (version, headers, len(body)) + body


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("cut", [None, -1, -len(BODY), 20, "each byte of the body"])
def test_offers_to_upgrade_are_ignored(url: str, offer: bytes, cut: int | str | None) -> None:
    """Whatever the segments are in which the request comes."""
    request = post(BODY, offer)
    if isinstance(cut, str):
        segments = [request[: -len(BODY)], *(bytes([byte]) for byte in BODY)]
    else:
        segments = [request] if cut is None else [request[:cut], request[cut:]]
    answer = exchange(url, *segments)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"content":"Hello, world' in answer


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_a_body_behind_an_offer_is_not_a_second_request(url: str, offer: bytes) -> None:
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
    request = post(hidden, offer)
    answer = exchange(url, request[: -len(hidden)], hidden)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400")


def test_requests_after_an_ignored_offer_are_answered(url: str) -> None:
    answer = exchange(url, post(BODY, OFFERS["h2c"]) + post(BODY, OFFERS["two"]) + post(BODY))
    assert answer.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize(
    "hosts", [b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nHost: b\r\nHost: c\r\n"]
)
def test_http_1_1_needs_one_host(url: str, hosts: bytes) -> None:
    answer = exchange(url, b"GET /health HTTP/1.1\r\n" + hosts + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"Host header" in answer


@pytest.mark.parametrize("body", [BODY, STREAM])
@pytest.mark.parametrize("headers", [b"", b"Connection: keep-alive\r\n", b"Connection: close\r\n"])
def test_http_1_0_gets_no_chunks(url: str, body: bytes, headers: bytes) -> None:
    """An answer whose length is not known ends where the connection does."""
    answer = exchange(url, post(body, headers, version=b"1.0"))
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"200 OK" in head
    assert b"transfer-encoding" not in head.lower()
    assert head.lower().count(b"\r\nconnection:") == 1
    assert b"connection: close" in head.lower()
    if body is STREAM:
        assert content.startswith(b"data: {")
        assert content.endswith(b"}\n\n")


def test_http_1_0_needs_no_host(url: str) -> None:
    assert b"200 OK" in exchange(url, b"GET /health HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("connection_header", ["keep-alive", "close"])
def test_a_stream_says_once_what_becomes_of_the_connection(
    url: str, connection_header: str
) -> None:
    headers = b"Connection: " + connection_header.encode() + b"\r\n"
    head = exchange(url, post(STREAM, headers)).partition(b"\r\n\r\n")[0].lower()
    assert head.count(b"\r\nconnection:") == (connection_header == "close")


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
    ],
    ids=["gzip", "capitals", "x-gzip", "deflate", "identity"],
)
def test_packed_bodies_are_read(url: str, encoding: str, packed: bytes) -> None:
    response = httpx.post(
        f"{url}/completion", content=packed, headers={"Content-Encoding": encoding}
    )
    assert response.json()["content"].startswith("Hello, world")


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "rot13"])
def test_other_encodings_are_refused_by_name(url: str, encoding: str) -> None:
    response = httpx.post(f"{url}/completion", content=BODY, headers={"Content-Encoding": encoding})
    assert response.status_code == 415
    assert encoding in response.json()["error"]["message"]
    assert response.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    "packed",
    [BODY, b"", gzip.compress(BODY)[:-4], gzip.compress(BODY) + b"more", gzip.compress(BODY)[:5]],
    ids=["plain", "empty", "cut", "longer", "head"],
)
def test_damaged_bodies_are_refused(url: str, packed: bytes) -> None:
    response = httpx.post(f"{url}/completion", content=packed, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 400
    assert "gzip" in response.json()["error"]["message"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_small_body_that_unpacks_to_much_is_refused(chunked: bool) -> None:
    settings = ServeSettings(max_body_size=1)
    bomb = gzip.compress(b" " * (64 << 20))
    content = iter([bomb[:100], bomb[100:]]) if chunked else bomb
    with serving(create_app(make_server(settings).context)) as url:
        response = httpx.post(
            f"{url}/completion", content=content, headers={"Content-Encoding": "gzip"}
        )
    assert response.status_code == 413


@pytest.mark.parametrize("part", [b"", b"{", BODY[:-1]])
def test_a_body_whose_rest_never_comes_does_not_keep_the_connection(
    url: str, part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was an error that needed no body."""
    monkeypatch.setattr(connection, "REST_SECONDS", 0.2)
    head = b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port or 80)) as client:
        client.settimeout(20)
        client.sendall(head)
        assert client.recv(4096).startswith(b"HTTP/1.1 404")
        client.sendall(part)
        while client.recv(4096):
            pass


CHUNKED = b"POST /completion HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY_CHUNK = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    "trailers", [b"X-A: 1\r\n", b"Content-Encoding: br\r\n", b"Authorization: Bearer x\r\n" * 3]
)
def test_trailers_are_dropped(url: str, trailers: bytes) -> None:
    answer = exchange(url, CHUNKED, BODY_CHUNK + trailers + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("trailer", [b"X-A: 1\r\n", b"X-A: " + b"a" * 1000 + b"\r\n", b"a" * 1000])
def test_endless_trailers_end_the_connection(url: str, trailer: bytes) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port or 80)) as client:
        client.settimeout(5)
        client.sendall(CHUNKED + BODY_CHUNK)
        part = trailer * (8192 // len(trailer))
        assert not takes_all(client, part)


def takes_all(client: socket.socket, part: bytes) -> bool:
    """Whether the server reads the part 2,000 times, which is about 16 MiB."""
    try:
        for _ in range(2000):
            client.sendall(part)
            time.sleep(0.001)
    except OSError:
        return False
    return True
