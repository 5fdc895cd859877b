"""Behaviour that all routes share: errors, keys, ids, limits, the path prefix, and serving."""

from __future__ import annotations

import logging
import re
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import ServeSettings
from server.app import create_app
from server.http.middleware import POLLED
from tests.support.fake_server import FakeServer, ScriptedGenerator, key_ring, make_server
from tests.support.live import DEADLINE, serving

pytestmark = pytest.mark.anyio


def client_of(server: FakeServer, **options: Any) -> httpx.AsyncClient:
    app = create_app(server.context, **options)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.parametrize(
    "path", ["/nothing", "/a.html", "/completion/", "/v1/nothing", "/v1/models/"]
)
async def test_unknown_routes(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json={})
    assert response.status_code in (404, 405)
    response = await client.get(path)
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["code"] == 404
    assert error["type"] == "not_found_error"
    assert set(error) == {"code", "message", "type", "param"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/completion", "POST"),
        ("DELETE", "/props", "GET, HEAD, POST"),
        ("POST", "/health", "GET, HEAD"),
        ("OPTIONS", "/completion", "POST"),
    ],
)
async def test_wrong_methods(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert path in error["message"]
    assert allowed in error["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"prompt": "a",\n "n": }', "line 2, column 7"),
        (b'{"prompt": "a"', "ends too early"),
        (b"", "empty"),
        (b"[1]", "must be a JSON object"),
        (b'{"prompt": "\xff"}', "UTF-8"),
        (b"[" * 50_000, "nests more than"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "nests more than"),
    ],
)
async def test_broken_json(client: httpx.AsyncClient, body: bytes, message: str) -> None:
    response = await client.post("/completion", content=body)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


async def test_an_unexpected_failure_tells_nothing(
    client: httpx.AsyncClient, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.generator.fail_after = (0, RuntimeError("secret"))
    response = await client.post("/completion", json={"prompt": "a"})
    assert response.status_code == 500
    error = response.json()["error"]
    assert error["type"] == "server_error"
    assert error["message"] == "internal server error"
    assert response.headers["x-request-id"]
    assert "secret" not in response.text
    assert "RuntimeError: secret" in caplog.text


async def test_request_ids(client: httpx.AsyncClient) -> None:
    given = await client.get("/health", headers={"X-Request-Id": "trace-1:2"})
    assert given.headers["x-request-id"] == "trace-1:2"
    made = await client.get("/health")
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])
    refused = await client.get("/health", headers={"X-Request-Id": "a b"})
    assert re.fullmatch("[0-9a-f]{32}", refused.headers["x-request-id"])


async def test_access_log(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="llamapack.access"):
        await client.get("/nothing%0a?secret=1")
    [line] = caplog.messages
    assert re.fullmatch(r"GET '/nothing\\n' 404 \d+\.\d ms", line)


async def test_the_access_log_tells_tokens(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="llamapack.access"):
        body = {"prompt": "hello", "max_tokens": 3}
        usage = (await client.post("/v1/completions", json=body)).json()["usage"]
    [line] = caplog.messages
    num_in, num_out = usage["prompt_tokens"], usage["completion_tokens"]
    tokens = rf"{num_in} tokens in( \(\d+ cached\))?, {num_out} out"
    times = r"first after \d+\.\d ms, then \d+\.\d/s"
    assert re.fullmatch(rf"POST /v1/completions 200 \d+\.\d ms - {tokens}, {times}", line)


async def test_what_is_polled_is_logged_for_debugging_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make_server(ServeSettings(metrics=True))
    async with client_of(server) as client:
        with caplog.at_level(logging.DEBUG, logger="llamapack.access"):
            for path in (*POLLED, "/props"):
                await client.get(path)
            await client.post("/health")
    levels = {r.getMessage().rsplit(" ", 3)[0]: r.levelno for r in caplog.records}
    assert {levels[f"GET {path}"] for path in POLLED} == {logging.DEBUG}
    assert levels["GET /props"] == levels["POST /health"] == logging.INFO


async def test_a_poll_that_fails_is_logged(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(server, keys=key_ring("k1")) as client:
        with caplog.at_level(logging.INFO, logger="llamapack.access"):
            await client.get("/load")
    [line] = caplog.messages
    assert line.startswith("GET /load 401 ")


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer k2"}, {"authorization": "bearer k1"}, {"X-Api-Key": "k1"}],
)
async def test_keys_that_fit(server: FakeServer, headers: dict[str, str]) -> None:
    async with client_of(server, keys=key_ring("k1", "k2")) as client:
        assert (await client.get("/props", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer k"}, {"Authorization": "Basic k1"}, {"X-Api-Key": "ké"}],
)
async def test_keys_that_do_not_fit(server: FakeServer, headers: dict[str, str]) -> None:
    encoded = [(name, value.encode()) for name, value in headers.items()]
    async with client_of(server, keys=key_ring("k1", "k2")) as client:
        for path in ("/props", "/metrics", "/v1/models", "/nothing"):
            response = await client.get(path, headers=encoded)  # type: ignore[arg-type]
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json()["error"]["type"] == "authentication_error"


async def test_probes_need_no_key(server: FakeServer) -> None:
    async with client_of(server, keys=key_ring("k1")) as client:
        for path in ("/health", "/v1/health", "/livez", "/readyz"):
            assert (await client.get(path)).status_code == 200


async def test_prefix() -> None:
    server = make_server(ServeSettings(api_prefix="/llm"))
    async with client_of(server, keys=key_ring("k1")) as client:
        assert (await client.get("/llm/health")).status_code == 200
        headers = {"X-Api-Key": "k1"}
        body = {"prompt": "a"}
        response = await client.post("/llm/completion", json=body, headers=headers)
        assert response.status_code == 200
        assert (await client.get("/health", headers=headers)).status_code == 404


async def test_an_announced_body_that_is_too_large(client: httpx.AsyncClient) -> None:
    limit = ServeSettings().max_body_size << 20
    headers = {"content-length": str(limit + 1)}
    response = await client.post("/completion", content=b"{}", headers=headers)
    assert response.status_code == 413
    assert str(limit) in response.json()["error"]["message"]


async def test_head_is_answered_like_get(client: httpx.AsyncClient) -> None:
    assert (await client.head("/health")).status_code == 200
    assert (await client.head("/props")).status_code == 200


async def test_no_cross_origin_headers(client: httpx.AsyncClient) -> None:
    response = await client.get("/health", headers={"Origin": "http://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_over_ipv6(server: FakeServer) -> None:
    with serving(create_app(server.context), host="::1") as url:
        assert url.startswith("http://[::1]:")
        assert httpx.get(f"{url}/health").status_code == 200


def test_over_a_unix_socket(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "llamapack.sock"
    with serving(create_app(server.context), host=str(path)):
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            assert client.post("/completion", json={"prompt": "a"}).status_code == 200
    assert not path.exists()


def test_a_hundred_clients_at_once() -> None:
    """There are more connections than slots; all get their answer."""
    server = make_server(generator=ScriptedGenerator(delay=0.01))
    with serving(create_app(server.context)) as url:
        host, port = url.removeprefix("http://").split(":")
        body = b'{"prompt": "a", "stream": true}'
        request = (
            f"POST /completion HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        connections = [socket.create_connection((host, int(port))) for _ in range(100)]
        for connection in connections:
            connection.sendall(request)
        answers = [_read_all(connection) for connection in connections]
    assert all(answer.count(b"data: ") == 5 for answer in answers)
    assert server.generator.running == 0


def _read_all(connection: socket.socket) -> bytes:
    with connection:
        connection.settimeout(DEADLINE)
        return b"".join(iter(lambda: connection.recv(65536), b""))
