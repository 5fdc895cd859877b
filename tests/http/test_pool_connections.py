"""Clients of several models over real connections: pings reach them, and leaving costs nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import pytest
from starlette.applications import Starlette

from config import ServeSettings
from server.app import create_app
from server.context import SharedContext
from server.observability.metrics import ServerMetrics
from server.pool import routing
from server.pool.interface import ModelState
from server.pool.many import ManyModels
from server.pool.policy import Limits
from tests.support.fake_engines import FakeEngines, entry, pool_of
from tests.support.leaving import asking
from tests.support.live import serving, wait_for

CHAT = "/v1/chat/completions"
BODY = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}


@contextmanager
def served(
    load_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, ManyModels]]:
    monkeypatch.setattr(routing, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(routing, "PING_SECONDS", 0.05)
    maker = FakeEngines(load_seconds={"a": load_seconds})
    pool = pool_of([entry("a")], maker, Limits(), clock=time.monotonic)
    shared = SharedContext(settings=ServeSettings(), metrics=ServerMetrics(""))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await pool.close()

    with serving(create_app(shared, pool, lifespan=lifespan)) as url:
        yield url, pool


def test_pings_come_while_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(0.5, monkeypatch) as (url, _):
        lines = []
        with httpx.stream("POST", f"{url}{CHAT}", json={**BODY, "stream": True}) as response:
            assert response.status_code == 200
            assert "connection" not in response.headers
            lines = list(response.iter_lines())
    assert lines[:4] == [":", "", ":", ""]
    assert [line for line in lines if line][-1] == "data: [DONE]"


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_client_that_leaves_while_it_waits_uses_nothing(
    monkeypatch: pytest.MonkeyPatch, is_stream: bool
) -> None:
    with served(1.0, monkeypatch) as (url, pool):
        body = {**BODY, "stream": is_stream}
        with asking(url, CHAT, body) as connection:
            assert wait_for(lambda: pool.find("a").state is ModelState.LOADING)
            if is_stream:
                assert connection.recv(100)
        assert wait_for(lambda: pool.find("a").state is ModelState.LOADED)
        assert wait_for(lambda: pool.find("a").num_users == 0)
        assert httpx.post(f"{url}{CHAT}", json=BODY).status_code == 200


def test_events_reach_a_listener_as_they_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(0.1, monkeypatch) as (url, _):
        heard = []
        with httpx.stream("GET", f"{url}/models/sse") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert httpx.post(f"{url}/models/load", json={"model": "a"}).status_code == 200
            for line in response.iter_lines():
                heard.append(line)
                if '"loaded"' in line:
                    break
    assert any('"status":"loading"' in line for line in heard)
