"""Speculative decoding over HTTP: the fields of requests, and the counts in answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from config import ServeSettings
from server.app import create_app
from tests.support.fake_server import FakeServer, make_server

pytestmark = pytest.mark.anyio

ROUTES: dict[str, dict[str, Any]] = {
    "/completion": {"prompt": "abc"},
    "/v1/completions": {"prompt": "abc"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "abc"}]},
}


@pytest.fixture
def server() -> FakeServer:
    settings = ServeSettings(spec_type=("ngram-simple", "draft-simple"), spec_draft_p_min=0.5)
    return make_server(settings)


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(server.context))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize("path", ROUTES)
async def test_every_route_takes_the_fields(
    client: httpx.AsyncClient, server: FakeServer, path: str
) -> None:
    wishes = {"spec_type": "draft-simple", "speculative.n_max": 3, "spec_p_min": 0.25}
    response = await client.post(path, json=ROUTES[path] | wishes)
    assert response.status_code == 200, response.text
    [request] = server.generator.opened
    assert request.spec.speculation is not None
    assert (request.spec.speculation.methods, request.spec.speculation.n_max) == (
        ("draft-simple",),
        3,
    )
    assert request.spec.speculation.p_min == 0.25


@pytest.mark.parametrize("path", ROUTES)
async def test_every_route_refuses_what_there_is_not(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json=ROUTES[path] | {"spec_type": "ngram-mod"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "spec_type"
    assert "started with ngram-simple, draft-simple" in error["message"]


@pytest.mark.parametrize("path", ROUTES)
async def test_timings_count_drafts_only_where_there_were_any(
    client: httpx.AsyncClient, server: FakeServer, path: str
) -> None:
    silent = (await client.post(path, json=ROUTES[path])).json()["timings"]
    assert not {"draft_n", "draft_n_accepted"} & set(silent)
    server.generator.draft_n = 3
    told = (await client.post(path, json=ROUTES[path])).json()["timings"]
    assert (told["draft_n"], told["draft_n_accepted"]) == (12, 4)


@pytest.mark.parametrize("path", ROUTES)
async def test_streams_count_them_in_their_last_event(
    client: httpx.AsyncClient, server: FakeServer, path: str
) -> None:
    server.generator.draft_n = 3
    response = await client.post(path, json=ROUTES[path] | {"stream": True})
    lines = [line.removeprefix("data: ") for line in response.text.splitlines()]
    events = [json.loads(line) for line in lines if line.startswith("{")]
    [told] = [event["timings"] for event in events if "timings" in event]
    assert (told["draft_n"], told["draft_n_accepted"]) == (12, 4)


async def test_generation_settings_show_what_holds(client: httpx.AsyncClient) -> None:
    body = ROUTES["/completion"] | {"spec_n_max": 20}
    settings = (await client.post("/completion", json=body)).json()["generation_settings"]
    found = {name: value for name, value in settings.items() if name.startswith("speculative")}
    assert found == {
        "speculative.types": "ngram-simple,draft-simple",
        "speculative.n_max": 20,
        "speculative.n_min": 0,
        "speculative.p_min": 0.5,
        "speculative.draft-simple.n_max": 16,
        "speculative.draft-simple.n_min": 0,
    }
    body = ROUTES["/completion"] | {"spec_type": "none"}
    settings = (await client.post("/completion", json=body)).json()["generation_settings"]
    assert settings["speculative.types"] == "none"


async def test_props_and_slots_tell_the_servers_defaults(client: httpx.AsyncClient) -> None:
    props = (await client.get("/props")).json()["default_generation_settings"]["params"]
    assert props["speculative.types"] == "ngram-simple,draft-simple"
    assert props["speculative.n_max"] == 48
    assert all(slot["speculative"] for slot in (await client.get("/slots")).json())
