"""What clients of llama-server count on: names, shapes and numbers that must not change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from config import ServeSettings
from server.app import create_app
from tests.support.fake_server import MODEL_NAME, FakeServer, make_server

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "a"}]


@asynccontextmanager
async def client_of(server: FakeServer) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(server.context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


# --- the name of the model ---------------------------------------------------------------

BODIES = [
    ("/v1/chat/completions", {"messages": MESSAGES}),
    ("/v1/completions", {"prompt": "a"}),
    ("/completion", {"prompt": "a"}),
]


@pytest.mark.parametrize("name", ["gpt-4o-mini", "models/other.gguf", "", "local model", "ä"])
@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_any_model_name_means_the_served_model(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], name: str
) -> None:
    answer = await client.post(path, json={**body, "model": name})
    assert answer.status_code == 200
    assert answer.json()["model"] == MODEL_NAME


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (None, 200),
        (MODEL_NAME, 200),
        ("fake.gguf", 200),
        ("gpt-4o-mini", 404),
        ("fake-model2", 404),
    ],
)
async def test_a_strict_server_knows_its_own_names_only(name: str | None, status: int) -> None:
    async with client_of(make_server(ServeSettings(strict_model=True))) as client:
        for path, body in BODIES[:2]:
            answer = await client.post(path, json={**body, "model": name})
            assert answer.status_code == status
            if status == 404:
                assert answer.json()["error"]["param"] == "model"
