"""`--reverse-prompt` and `--special`: where answers stop, and which tokens they show."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from config import ServeSettings
from server.app import create_app
from server.generation.types import GenerationRequest
from tests.support.fake_server import BOS, make_server

pytestmark = pytest.mark.anyio

CHAT = {"messages": [{"role": "user", "content": "a"}]}
ENDPOINTS: dict[str, dict[str, Any]] = {
    "/completion": {"prompt": "a"},
    "/v1/completions": {"prompt": "a"},
    "/v1/chat/completions": CHAT,
}


async def asked(settings: ServeSettings, path: str, **body: Any) -> GenerationRequest:
    """The request that a body leads to."""
    server = make_server(settings)
    transport = httpx.ASGITransport(create_app(server.context))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post(path, json={**ENDPOINTS[path], **body})
    assert response.status_code == 200, response.text
    return server.generator.opened[0]


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ("User:", "\n")),
        ({"stop": []}, ("User:", "\n")),
        ({"stop": ["own"]}, ("own",)),
        ({"stop": "own"}, ("own",)),
    ],
)
async def test_reverse_prompts_count_without_stop(
    path: str, body: dict[str, Any], expected: tuple[str, ...]
) -> None:
    settings = ServeSettings(reverse_prompt=("User:", "\n"))
    assert (await asked(settings, path, **body)).stop == expected


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("special", [True, False])
async def test_control_tokens_are_shown_on_request(path: str, special: bool) -> None:
    request = await asked(ServeSettings(special=special), path)
    assert (BOS in request.visible_tokens) == special
